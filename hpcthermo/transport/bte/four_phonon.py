r"""Four-phonon linewidths, by all processes or by a sample with error bars.

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
probabilities p in proportion to what their modes may contribute, sum_b z f; q1 from equal strata of p, q2 too. Each
pair counts 1 / (p1 p2); as the sum is symmetric in the three partners, only pairs count whose q3 is the least probable
of the three, and three times. Batches are independent: their scatter is the error of the mean, and what one batch says
of kappa,

    sum_b dkappa/dgamma_b gamma_b        dkappa/dgamma = - k_l / gamma_total        k_l: contribution of the mode

has the correlations between the bands of a batch in it. Batches are added where they lower the error of kappa most,
until it is below the target. Numbers come from Philox, keyed by seed and point and counted by batch, so that a result
does not depend on threads.

Reference: T. Feng, X. Ruan, Phys. Rev. B 93, 045202 (2016); sampling: Z. Guo et al., npj Comput. Mater. 10, 31 (2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean, occupations
from hpcthermo.transport.bte.conductivity import Conductivity
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.quartic_strength import QuarticStrength
from hpcthermo.transport.bte.smearing import Gaussian
from hpcthermo.units import PLANCK_EV_PER_THZ

#: kinds of processes by the number of partners that are absorbed
CHANNELS = ("split", "redistribute", "combine")
#: q1 of a batch, and q2 of each q1
_FIRST, _SECOND = 4, 6
#: batches of a point in the first round; eight of four times the size say too little of their scatter, for it is skew:
#: kappa of silicon is one standard error too large then, on the mean
_LEAST_BATCHES = 32
#: share of points drawn without regard to their weight
_UNIFORM = 0.2
#: strengths held at a time, bytes
_STRENGTH_BYTES = 2**24
_SIGNS = [signs for signs in itertools.product((-1, 1), repeat=3) if signs != (1, 1, 1)]


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
    """

    def __init__(self, mesh: Mesh, phonons: Phonons, fourth: Interactions, temperatures: np.ndarray | list[float],
                 gaussian: Gaussian, seed: int = 1) -> None:
        self.mesh, self.seed, self.gaussian = mesh, seed, gaussian
        self.temperatures = np.asarray(temperatures, dtype=np.float64)
        if not len(self.temperatures) or not (self.temperatures > 0.0).all():
            raise InputError(f"temperatures: expected positive ones, got {self.temperatures.tolist()}")
        self.points = mesh.irreducible[0]
        self.strength = QuarticStrength(mesh, phonons, fourth)
        f = phonons.frequencies
        self.frequencies = degenerate_mean(f, f[..., None])[..., 0]
        self._variances = degenerate_mean(f, gaussian.widths[..., None])[..., 0] ** 2
        n = occupations(self.frequencies, self.temperatures)
        self._z = np.sqrt(n * (n + 1.0))
        self.prefactor = np.pi / (6.0 * PLANCK_EV_PER_THZ**2 * mesh.n_points**2)
        # a long wave couples in proportion to its frequency (of which the amplitude takes back a part)
        weight = (self._z * np.where(f > CUTOFF_FREQUENCY_THZ, f, 0.0)).sum(axis=2)
        weight = (weight / np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(float).tiny)).mean(axis=0)
        weight = (1.0 - _UNIFORM) * weight / max(weight.sum(), np.finfo(float).tiny) + _UNIFORM / mesh.n_points
        # equivalent points are alike
        self._probability = np.bincount(mesh.representative, weight, mesh.n_points)[mesh.representative]
        self._probability /= self._probability.sum()
        self._cumulative = np.cumsum(self._probability)

    def exact(self, index: int) -> np.ndarray:
        """By all processes of one irreducible point: (3, n_T, B) linewidths by channel, THz."""
        mesh, point0 = self.mesh, int(self.points[index])
        leg0 = self.strength.leg0(point0)
        everywhere = np.arange(mesh.n_points)
        total = np.zeros((3, len(self.temperatures), mesh.crystal.n_bands))
        for point1 in range(mesh.n_points):
            point3 = mesh.index(-mesh.addresses[point0] - mesh.addresses[point1] - mesh.addresses)
            # of all orders of the three partners one
            kept = (everywhere >= point1) & (point3 >= everywhere)
            alike = (everywhere == point1).astype(int) + (point3 == everywhere)
            orders = np.array([6.0, 3.0, 1.0])[alike]
            total += self._sum(leg0, point0, point1, everywhere[kept], point3[kept], orders[kept])
        return self._linewidths(point0, total)

    def batch(self, index: int, number: int, leg0: np.ndarray | None = None) -> np.ndarray:
        """An estimate from one batch of one irreducible point: (3, n_T, B) linewidths by channel, THz."""
        mesh, point0 = self.mesh, int(self.points[index])
        leg0 = self.strength.leg0(point0) if leg0 is None else leg0
        random = np.random.Generator(np.random.Philox(key=[self.seed, point0], counter=[0, 0, 0, number]))
        total = np.zeros((3, len(self.temperatures), mesh.crystal.n_bands))
        for point1 in self._draw(random, _FIRST):
            points2 = self._draw(random, _SECOND)
            points3 = mesh.index(-mesh.addresses[point0] - mesh.addresses[point1] - mesh.addresses[points2])
            p1, p2, p3 = (self._probability[points] for points in (point1, points2, points3))
            least = np.minimum(p1, p2)
            kept = p3 <= least
            ties = 1.0 + (p1 == p3) + (p2 == p3)
            weights = 3.0 / (ties * _FIRST * _SECOND * p1 * p2)
            total += self._sum(leg0, point0, int(point1), points2[kept], points3[kept], weights[kept])
        return self._linewidths(point0, total)

    def batches(self, index: int, begin: int, end: int) -> np.ndarray:
        """Estimates from several batches, (end - begin, 3, n_T, B)."""
        leg0 = self.strength.leg0(int(self.points[index]))
        return np.array([self.batch(index, number, leg0) for number in range(begin, end)])

    def _draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Points by their probabilities, one from each of equal strata."""
        where = (np.arange(count) + random.random(count)) / count * self._cumulative[-1]
        return np.minimum(np.searchsorted(self._cumulative, where, side="right"), self.mesh.n_points - 1)

    def _sum(self, leg0: np.ndarray, point0: int, point1: int, points2: np.ndarray, points3: np.ndarray,
             weights: np.ndarray) -> np.ndarray:
        """Weighted sum over partners of z1 z2 z3 S d, (3, n_T, B), eV^2/THz."""
        n_bands = self.mesh.crystal.n_bands
        total = np.zeros((3, len(self.temperatures), n_bands))
        if not len(points2):
            return total
        # few bands of leg 0 at a time where there are many
        bands = max(1, min(n_bands, _STRENGTH_BYTES // (16 * n_bands**3)))
        together = max(1, _STRENGTH_BYTES // (16 * n_bands**3 * bands))
        for band in range(0, n_bands, bands):
            chosen = slice(band, min(band + bands, n_bands))
            leg1 = self.strength.leg1(np.ascontiguousarray(leg0[:, :, chosen]), point1)
            for begin in range(0, len(points2), together):
                part = slice(begin, begin + together)
                two, three = points2[part], points3[part]
                strength = self.strength.legs23(leg1, two, three)
                z = weights[part, None, None] * self._z[:, two][..., :, None] * self._z[:, three][..., None, :]
                z = z.reshape(len(self.temperatures), -1)
                for channel, energy in enumerate(self._energy(point0, chosen, point1, two, three)):
                    pairs = z @ (energy * strength).reshape(z.shape[1], -1)
                    pairs = pairs.reshape(len(pairs), n_bands, -1)
                    total[channel, :, chosen] += (self._z[:, point1, None, :] @ pairs)[:, 0]
        return total

    def _energy(self, point0: int, bands: slice, point1: int, two: np.ndarray, three: np.ndarray) -> np.ndarray:
        """Energy conservation by channel, (3, T, B, B, B, B0): bands 2, 3, 1, 0; 1/THz."""
        f, s = self.frequencies, self._variances
        variance = ((s[two, :, None] + s[three, None, :])[..., None, None]
                    + s[point0, bands] + s[point1, :, None])
        inverse = 1.0 / (2.0 * variance)
        height = np.sqrt(inverse / np.pi) / self.gaussian.integral
        limit = 0.5 * self.gaussian.cutoff**2
        found = np.zeros((3, *variance.shape))
        for s1, s2, s3 in _SIGNS:
            pair = s2 * f[two, :, None] + s3 * f[three, None, :]
            exponent = (pair[..., None, None] + (f[point0, bands] + s1 * f[point1, :, None])) ** 2
            exponent *= inverse
            near = np.flatnonzero(exponent < limit)
            channel = (s1 + s2 + s3 + 3) // 2
            found[channel].reshape(-1)[near] += np.exp(-exponent.reshape(-1)[near]) * height.reshape(-1)[near]
        return found

    def _linewidths(self, point0: int, total: np.ndarray) -> np.ndarray:
        z, f = self._z[:, point0], self.frequencies[point0]
        gamma = self.prefactor * np.where(z > 0.0, total / np.where(z > 0.0, z, 1.0), 0.0)
        return degenerate_mean(f, gamma.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)


@dataclass(frozen=True)
class FourPhononLinewidths:
    """Linewidths of four-phonon scattering and what is known of their errors.

    Attributes
    ----------
    gamma : (I, n_T, B) ndarray
        THz.
    errors : (I, n_T, B) ndarray
        Standard errors, THz; zero for the sum over all processes.
    channels : (3, I, n_T, B) ndarray
        By channel (`CHANNELS`), THz; their sum is gamma.
    samples : (I,) ndarray of int
        Pairs (q1, q2) drawn for each point; zero for the sum over all.
    kappa_error : (n_T, 3, 3) ndarray
        Standard errors of the conductivity, W/(m K).
    relative_error : float
        Largest error of the trace of kappa at any temperature, relative.
    reached : bool
        False if the largest sample was not enough for the target.
    """

    gamma: np.ndarray
    errors: np.ndarray
    channels: np.ndarray
    samples: np.ndarray
    kappa_error: np.ndarray
    relative_error: float
    reached: bool


def all_processes(rates: FourPhononRates, threads: int = 1,
                  note: Callable[[int], None] | None = None) -> FourPhononLinewidths:
    """By all processes: for small meshes, for the work goes as N^2 for each irreducible point."""
    found = _in_order(rates.exact, [(i,) for i in range(len(rates.points))], threads, note)
    channels = np.array(found).transpose(1, 0, 2, 3)
    gamma = channels.sum(axis=0)
    return FourPhononLinewidths(gamma, np.zeros_like(gamma), channels, np.zeros(len(gamma), dtype=int),
                                np.zeros((len(rates.temperatures), 3, 3)), 0.0, True)


def sampled(rates: FourPhononRates, conductivity: Callable[[np.ndarray], tuple[Conductivity, np.ndarray]],
            target_error: float, most_samples: int = 100_000, threads: int = 1,
            note: Callable[[int], None] | None = None) -> FourPhononLinewidths:
    """By samples, until the trace of kappa is known to a relative standard error.

    Parameters
    ----------
    conductivity : callable
        From four-phonon linewidths (I, n_T, B) the conductivity with all scattering and the total linewidths.
    target_error : float
        Of the trace of kappa, at all temperatures.
    most_samples : int
        Pairs (q1, q2) of a point at most.
    note : callable, optional
        Told of the tasks of a round that are done; what it raises ends the work.
    """
    n_points, size = len(rates.points), _FIRST * _SECOND
    most = max(_LEAST_BATCHES, most_samples // size)
    wanted = np.full(n_points, _LEAST_BATCHES)
    samples = [np.empty((0, 3, len(rates.temperatures), rates.mesh.crystal.n_bands)) for _ in range(n_points)]
    while True:
        tasks = [(i, begin, min(begin + _LEAST_BATCHES, int(wanted[i]))) for i in range(n_points)
                 for begin in range(len(samples[i]), int(wanted[i]), _LEAST_BATCHES)]
        made = _in_order(rates.batches, tasks, threads, note)
        for (i, _, _), part in zip(tasks, made, strict=True):
            samples[i] = np.concatenate([samples[i], part])
        counts = np.array([len(s) for s in samples])
        channels = np.array([s.mean(axis=0) for s in samples]).transpose(1, 0, 2, 3)
        gamma = channels.sum(axis=0)
        found, total = conductivity(gamma)
        slopes = -found.shares / np.where(total > 0.0, total, np.inf).transpose(1, 0, 2)[..., None, None]
        # what each batch of a point says of kappa, its scatter, and the error of the mean
        said = [np.einsum("btk,tkij->btij", s.sum(axis=1), slopes[:, i]) for i, s in enumerate(samples)]
        scatter = np.array([x.var(axis=0, ddof=1) for x in said])
        of_trace = np.array([np.trace(x, axis1=2, axis2=3).var(axis=0, ddof=1) for x in said])
        trace = np.trace(found.kappa, axis1=1, axis2=2)
        errors = np.sqrt((of_trace / counts[:, None]).sum(axis=0)) / np.maximum(trace, np.finfo(float).tiny)
        worst = int(errors.argmax())
        enough = errors[worst] <= target_error
        if enough or (counts >= most).all():
            break
        # least work for the target: batches in proportion to the standard deviation; at most four times as many at once
        deviation = np.sqrt(of_trace[:, worst]) / trace[worst]
        optimal = deviation * deviation.sum() / target_error**2
        grown = np.minimum(np.ceil(1.1 * optimal), 4 * counts).astype(int)
        wanted = np.clip(grown, counts, most)
        if (wanted == counts).all():
            wanted = np.minimum(counts + _LEAST_BATCHES, most)
    spread = np.array([s.sum(axis=1).std(axis=0, ddof=1) for s in samples]) / np.sqrt(counts)[:, None, None]
    return FourPhononLinewidths(gamma, spread, channels, counts * size,
                                np.sqrt((scatter / counts[:, None, None, None]).sum(axis=0)), float(errors[worst]),
                                bool(enough))


def _in_order(function: Callable[..., np.ndarray], tasks: Sequence[tuple[int, ...]], threads: int,
              note: Callable[[int], None] | None) -> list[np.ndarray]:
    """What a function makes of tasks (its arguments), on threads, in the order of the tasks."""
    results = []
    with ThreadPoolExecutor(threads) as pool:
        for result in pool.map(lambda task: function(*task), tasks):
            results.append(result)
            if note is not None:
                note(len(results))
    return results
