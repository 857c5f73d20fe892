r"""Four-phonon linewidths: sums over all processes of a point, or over batches of a sample.

    gamma_l = (pi / 6 h^2 N^2) sum_{l1 l2 l3} S sum_{s1 s2 s3} F d(f + s1 f1 + s2 f2 + s3 f3)

    F = [(n1+1)(n2+1)(n3+1) - n1 n2 n3]   for signs - - -        f -> f1 + f2 + f3      "split"
        [n1 (n2+1)(n3+1) - (n1+1) n2 n3]  for signs + - -        f + f1 -> f2 + f3      "redistribute", three ways
        [n1 n2 (n3+1) - (n1+1)(n2+1) n3]  for signs + + -        f + f1 + f2 -> f3      "combine", three ways

Where energy is conserved, detailed balance makes all of these the same,

    F = z1 z2 z3 / z        z = 1 / (2 sinh(h f / 2 k T)) = sqrt(n (n + 1))

which is used here: it is positive also for a smeared energy conservation and keeps the scattering operator symmetric.

    symbol   is
    gamma    half width at half maximum, THz; the lifetime is 1/(4 pi gamma)
    S        strength N^2 |Phi4|^2, eV^2 (quartic_strength.py)
    h        Planck constant, eV/THz
    n        Bose-Einstein occupations
    d        energy conservation: Gaussians whose width joins those of the four modes in quadrature, 1/THz
    l        mode (q, b); l1, l2, l3 are modes of q1, q2, q3 with q + q1 + q2 + q3 a reciprocal lattice vector

Frequencies and widths are means over degenerate bands, and so is gamma: sums over degenerate partners do not depend on
the choice of eigenvectors then.

**Sample.** For one q a batch draws q1 and, for each q1, several q2, and evaluates all bands. Points are drawn with
probabilities p in proportion to what their modes may contribute, sum_b z f, equivalent points alike; q1 from equal
strata of p, q2 too. Each pair counts 1 / (p1 p2); as the sum is symmetric in the three partners, only pairs count whose
q3 is the least probable of the three, and three times. Numbers come from Philox, keyed by seed and point and counted by
batch: a batch depends on seed, point and its number alone. How many batches there are is `four_phonon_sample`'s
business.

Strengths come from products of matrices (quartic_strength.py), energy conservation from a kernel (four_phonon.h), the
sum over occupations from products again, for all temperatures at once. Pairs are taken so many at a time that a thread
holds about ten arrays of `MOST_BYTES`, whatever the mesh and the sample.

Reference: T. Feng, X. Ruan, Phys. Rev. B 93, 045202 (2016); sampling: Z. Guo et al., npj Comput. Mater. 10, 31 (2024).
"""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend, make_backend
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean
from hpcthermo.transport.bte.collisions import inverse_sinh
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.quartic_strength import QuarticStrength, Workspace
from hpcthermo.transport.bte.smearing import Gaussian
from hpcthermo.units import PLANCK_EV_PER_THZ

#: kinds of processes by the number of partners that are absorbed
CHANNELS = ("split", "redistribute", "combine")
#: q1 of a batch, and q2 of each q1
_FIRST, _SECOND = 4, 6
#: pairs that a batch draws
PAIRS_OF_BATCH = _FIRST * _SECOND
#: share of points drawn without regard to their weight
_UNIFORM = 0.2
#: pairs that are looked at together where all are taken
_LISTED_PAIRS = 10_000
#: a sum of frequencies that no pair of modes makes up, THz
_BEYOND_THZ = 1e15


@dataclass(frozen=True)
class Pairs:
    """Pairs (q2, q3) for one q, with the points q1 that they belong to.

    Attributes
    ----------
    points1 : (G,) ndarray of int
    group : (T,) ndarray of int
        Which of the points q1, ascending.
    points2, points3 : (T,) ndarray of int
    weights : (T,) ndarray
        What each counts.
    """

    points1: np.ndarray
    group: np.ndarray
    points2: np.ndarray
    points3: np.ndarray
    weights: np.ndarray


class FourPhononRates:
    """The sum over processes of four phonons, for all temperatures at once.

    Parameters
    ----------
    mesh : Mesh
    phonons : Phonons
        On the whole mesh.
    fourth : Interactions
        Of order 4.
    temperatures : (n_T,) array
        K.
    gaussian : Gaussian
        Widths of the modes; see `hpcthermo.transport.bte.smearing`.
    seed : int
        Of the sample.
    backend : Backend, optional
        In double precision, of energy conservation; strengths and sums are the processor's on any. Jobs take the
        processor's.
    """

    def __init__(self, mesh: Mesh, phonons: Phonons, fourth: Interactions, temperatures: np.ndarray | list[float],
                 gaussian: Gaussian, seed: int = 1, backend: Backend | None = None) -> None:
        self.mesh, self.seed, self.gaussian = mesh, seed, gaussian
        self.temperatures = np.asarray(temperatures, dtype=np.float64)
        if not len(self.temperatures) or not (self.temperatures > 0.0).all():
            raise InputError(f"temperatures: expected positive ones, got {self.temperatures.tolist()}")
        self.points = mesh.irreducible[0]
        self.strength = QuarticStrength(mesh, phonons, fourth)
        self._threads = threading.local()
        self._backend = backend or make_backend("cpu", "double")
        f = phonons.frequencies
        self.frequencies = np.ascontiguousarray(degenerate_mean(f, f[..., None])[..., 0])
        self._variances = np.ascontiguousarray(degenerate_mean(f, gaussian.widths[..., None])[..., 0]) ** 2
        self._tables = [self._backend.from_host(x) for x in (self.frequencies, self._variances)]
        # not from occupations, which are nothing or few digits where f > 708 k T / h (15 THz at 1 K)
        self._z = np.array([0.5 * inverse_sinh(self.frequencies, float(t)) for t in self.temperatures])
        self.prefactor = np.pi / (6.0 * PLANCK_EV_PER_THZ**2 * mesh.n_points**2)
        # a long wave couples in proportion to its frequency (of which the amplitude takes back a part)
        weight = (self._z * np.where(f > CUTOFF_FREQUENCY_THZ, f, 0.0)).sum(axis=2)
        weight = (weight / np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(float).tiny)).mean(axis=0)
        weight = (1.0 - _UNIFORM) * weight / max(weight.sum(), np.finfo(float).tiny) + _UNIFORM / mesh.n_points
        # equivalent points are alike: each has the mean of its star
        star = mesh.representative
        self._probability = (np.bincount(star, weight) / np.maximum(np.bincount(star), 1))[star]
        self._probability /= self._probability.sum()
        self._cumulative = np.cumsum(self._probability)

    def exact(self, index: int, part: int = 0, parts: int = 1) -> np.ndarray:
        """By all processes of one irreducible point, or those of every n-th q1: (3, n_T, B) by channel, THz."""
        mesh, point0 = self.mesh, int(self.points[index])
        own = np.arange(part, mesh.n_points, parts)
        together = max(1, _LISTED_PAIRS // mesh.n_points)
        total = np.zeros((3, len(self.temperatures), mesh.crystal.n_bands))
        for bands in self._bands():
            leg0 = self.strength.leg0(point0, bands)
            for begin in range(0, len(own), together):
                pairs = self._every(point0, own[begin:begin + together])
                total[..., bands] += self._sums(leg0, point0, bands, pairs).sum(axis=0)
        return self._linewidths(point0, total)

    def _every(self, point0: int, points1: np.ndarray) -> Pairs:
        """All pairs of some points q1, of all orders of the three partners one."""
        mesh = self.mesh
        point2 = np.arange(mesh.n_points)
        point3 = mesh.index(-mesh.addresses[point0] - mesh.addresses[points1, None] - mesh.addresses)
        kept = (point2 >= points1[:, None]) & (point3 >= point2)
        alike = (point2 == points1[:, None]).astype(int) + (point3 == point2)
        group, points2 = np.nonzero(kept)
        return Pairs(points1, group, points2, point3[kept], np.array([6.0, 3.0, 1.0])[alike[kept]])

    def batches(self, index: int, begin: int, end: int) -> np.ndarray:
        """Estimates from batches [begin, end) of one irreducible point: (end - begin, 3, n_T, B) by channel, THz."""
        point0, count = int(self.points[index]), end - begin
        pairs = self._drawn(point0, range(begin, end))
        total = np.zeros((count, 3, len(self.temperatures), self.mesh.crystal.n_bands))
        for bands in self._bands():
            sums = self._sums(self.strength.leg0(point0, bands), point0, bands, pairs)
            total[..., bands] = sums.reshape(count, _FIRST, *sums.shape[1:]).sum(axis=1)
        return np.array([self._linewidths(point0, one) for one in total])

    def _drawn(self, point0: int, numbers: range) -> Pairs:
        """The pairs of batches, `_FIRST` points q1 each."""
        mesh = self.mesh
        draws = [np.random.Generator(np.random.Philox(key=[self.seed, point0], counter=[0, 0, 0, number])).random(
            (_FIRST, 1 + _SECOND)) for number in numbers]
        random = np.array(draws)
        points1 = self._points((np.arange(_FIRST) + random[:, :, 0]) / _FIRST).ravel()
        points2 = self._points((np.arange(_SECOND) + random[:, :, 1:]) / _SECOND).ravel()
        group = np.repeat(np.arange(len(points1)), _SECOND)
        points3 = mesh.index(-mesh.addresses[point0] - mesh.addresses[points1[group]] - mesh.addresses[points2])
        p1, p2, p3 = (self._probability[points] for points in (points1[group], points2, points3))
        kept = p3 <= np.minimum(p1, p2)
        ties = 1.0 + (p1 == p3) + (p2 == p3)
        weights = 3.0 / (ties * PAIRS_OF_BATCH * p1 * p2)
        return Pairs(points1, group[kept], points2[kept], points3[kept], weights[kept])

    def _points(self, shares: np.ndarray) -> np.ndarray:
        """Points by their probabilities, at shares from 0 to 1 of the sum."""
        where = shares * self._cumulative[-1]
        return np.minimum(np.searchsorted(self._cumulative, where, side="right"), self.mesh.n_points - 1)

    def _bands(self) -> list[slice]:
        """Bands of q that are taken together."""
        n_bands, together = self.mesh.crystal.n_bands, self.strength.size.bands_together
        return [slice(begin, min(begin + together, n_bands)) for begin in range(0, n_bands, together)]

    def _sums(self, leg0: np.ndarray, point0: int, bands: slice, pairs: Pairs) -> np.ndarray:
        """Weighted sums over partners of z1 z2 z3 S d for each q1, (G, 3, n_T, B0), eV^2/THz."""
        strength, n_bands, n_first = self.strength, self.mesh.crystal.n_bands, leg0.shape[2]
        total = np.zeros((len(pairs.points1), 3, len(self.temperatures), n_first))
        # bands of leg 1, pairs, and points q1 at a time
        seconds, n_own = strength.size.columns(self._backend.lanes)
        together, points = strength.size.pairs_together(n_own), strength.size.points_together(n_own)
        group, begin = pairs.group, 0
        while begin < len(group):
            end = min(begin + together, int(np.searchsorted(group, group[begin] + points)))
            groups, first = np.unique(group[begin:end], return_inverse=True)
            leg1 = strength.leg1(leg0, pairs.points1[groups], self._workspace)
            part = Pairs(pairs.points1[groups], first, pairs.points2[begin:end], pairs.points3[begin:end],
                         pairs.weights[begin:end])
            for second in range(0, n_bands, seconds):
                total[groups] += self._part(leg1, point0, bands, slice(second, min(second + seconds, n_bands)), n_own,
                                            part)
            begin = end
        return total

    def _part(self, leg1: np.ndarray, point0: int, bands: slice, seconds: slice, n_own: int,
              pairs: Pairs) -> np.ndarray:
        """As `_sums`, over some bands of q1."""
        n_bands, n_temperatures, count = self.mesh.crystal.n_bands, len(self.temperatures), len(pairs.points2)
        work = self._workspace
        steps = self.strength.steps(leg1[..., seconds, :], n_own, work)
        strengths = self.strength.legs23(steps, pairs.group, pairs.points2, pairs.points3, work)
        rows, backend = count * n_bands**2, self._backend
        arrays = [backend.from_host(np.ascontiguousarray(x, dtype=np.int32))
                  for x in (pairs.group, pairs.points2, pairs.points3)]
        own = backend.from_host(self._own(point0, bands, pairs.points1, seconds, n_own))
        on_device = backend.from_host(work.take("amounts", (3, count, n_bands**2, n_own)))
        norm = 1.0 / (math.sqrt(2.0 * math.pi) * self.gaussian.integral)
        backend.launch("four_phonon", "conserve", 0, rows, n_bands, *arrays, *self._tables, n_own, own,
                       self.gaussian.cutoff, norm, backend.from_host(strengths), rows, on_device)
        amounts = backend.to_host(on_device)
        z = (pairs.weights[:, None, None] * self._z[:, pairs.points2, :, None] * self._z[:, pairs.points3, None, :]
             ).reshape(n_temperatures, count, -1)
        result = np.zeros((len(pairs.points1), 3, n_temperatures, bands.stop - bands.start))
        ends = np.searchsorted(pairs.group, np.arange(len(result) + 1))
        n_seconds = seconds.stop - seconds.start
        for g, (begin, end) in enumerate(itertools.pairwise(ends)):
            columns = z[:, begin:end].reshape(n_temperatures, -1) @ amounts[:, begin:end].reshape(3, -1, n_own)
            columns = columns[..., :n_seconds * result.shape[3]].reshape(3, n_temperatures, n_seconds, -1)
            result[g] = (self._z[:, pairs.points1[g], None, seconds] @ columns)[:, :, 0]
        return result

    @property
    def _workspace(self) -> Workspace:
        """That of this thread."""
        if not hasattr(self._threads, "workspace"):
            self._threads.workspace = Workspace()
        work: Workspace = self._threads.workspace
        return work

    def _own(self, point0: int, bands: slice, points1: np.ndarray, seconds: slice, n_own: int) -> np.ndarray:
        """Tables of columns (b1 b0) for the kernel: f0 + f1, f0 - f1 and both variances, (G, 3, n_own)."""
        f, w = self.frequencies, self._variances
        columns = (f[point0, bands] + f[points1, seconds, None], f[point0, bands] - f[points1, seconds, None],
                   w[point0, bands] + w[points1, seconds, None])
        table = np.empty((len(points1), 3, n_own))
        table[:, :2], table[:, 2] = _BEYOND_THZ, 1.0
        for row, values in enumerate(columns):
            table[:, row, :values[0].size] = values.reshape(len(points1), -1)
        return table

    def _linewidths(self, point0: int, total: np.ndarray) -> np.ndarray:
        z, f = self._z[:, point0], self.frequencies[point0]
        gamma = self.prefactor * np.where(z > 0.0, total / np.where(z > 0.0, z, 1.0), 0.0)
        return degenerate_mean(f, gamma.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)
