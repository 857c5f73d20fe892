r"""The collision matrix of three-phonon processes, as a list.

On a field F of vectors, one for each mode, that turns with the crystal (F at S q is S applied to F at q, -F at -q),

    (M F)_a = K sum over processes of a   (amount/2) [ F_b / sinh(x_c) + F_c / sinh(x_b) ]        x = h f / 2 k_B T

    symbol   is
    K        pi / 2 h^2 N (`ThreePhononRates.prefactor`)
    amount   strength, weight and multiplicity of a process of modes a, b, c, eV^2/THz; no temperature is in it
    F        given at the irreducible points, (I, B, 3)

Each process is held once, as its three modes and its amount: 21 bytes, for all temperatures. Where many bands make
several processes for each element of M (28 atoms), M itself is made, for one temperature after the other: a product
takes a fifth of the time then. A process of an irreducible point stands for its images under the little group of that
point, so M is projected on it: M = P M0 P, with P the mean over the rotations that map a point onto itself or an
equivalent one. P also takes means over degenerate bands, so that M does not depend on their eigenvectors.

Weights of tetrahedra differ a little between the three legs of one process. So M is not symmetric on a finite mesh, and
its symmetric part in the scalar product (F, G) = sum_i |star of i| F_i . G_i is taken.

Nor is Gamma + M positive then, with linewidths Gamma that have the weight of one leg, and occupations in place of
sinh(x), which agree where energy is conserved exactly:

    n_b + n_c + 1 = sinh(x_a) / 2 sinh(x_b) sinh(x_c)        if x_a = x_b + x_c
    n_b - n_c     = sinh(x_a) / 2 sinh(x_b) sinh(x_c)        if x_a = x_c - x_b

On sheets directions with negative eigenvalues are met (AB bilayer h-BN, 12 x 12 x 1). With *shared weights* a process
has the mean weight of its legs, and linewidths are made of sinh(x) as M is. Each entry of the list then stands for a
third of its process with all three legs, and the quadratic form is a sum of squares:

    (F, (Gamma + M) F) = K sum over the list  |star of a| (amount/3) / (2 s_a s_b s_c)  (s_a F_a + s_b F_b + s_c F_c)^2

with s = sinh(x). It is positive or zero whatever the mesh and the weights are, and partners b and c of an entry act on
each other. Modes with x > `FROZEN` take no part: sinh(x) stays finite.

Source of the form, for exact energies: J. M. Ziman, Electrons and Phonons (1960), chapter VII; G. Fugallo et al.,
Phys. Rev. B 88, 045430 (2013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean
from hpcthermo.transport.bte.linear_algebra import one_thread
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import Processes, RateSum, ThreePhononRates, by_threads, in_order
from hpcthermo.units import BOLTZMANN_EV_PER_K, PLANCK_EV_PER_THZ

#: parts of the list that may be worked on at once
SHARES = 4
#: elements of M at a temperature for each process of the list, up to which M is made: no more bytes than the list
MERGED_UP_TO = 2.5
#: half the energy of a mode by k_B T beyond which nothing of it is left, with shared weights
FROZEN = 200.0


@dataclass(frozen=True)
class Stars:
    """How fields at irreducible points and on the whole mesh go together.

    Attributes
    ----------
    sizes : (I,) ndarray
        Points of each star.
    slots : (N,) ndarray
        Irreducible point (0 .. I - 1) of each point.
    onto : (N,) ndarray
        Rotation that takes a point onto its irreducible one.
    from_irreducible : (N, 3, 3) ndarray
        Cartesian rotation that takes the irreducible point onto each point.
    projections : (I, 3, 3) ndarray
        Means over the rotations that leave an irreducible point where it is.
    permutations : (G, N) ndarray
        Point that each rotation takes a point onto.
    """

    sizes: np.ndarray
    slots: np.ndarray
    onto: np.ndarray
    from_irreducible: np.ndarray
    projections: np.ndarray
    permutations: np.ndarray

    @classmethod
    def of(cls, mesh: Mesh) -> Stars:
        """Those of a mesh."""
        points, sizes = mesh.irreducible
        onto, rotations = mesh.to_representative, mesh.cartesian_rotations
        stays = (mesh.permutations[:, points] == points).astype(float)
        projections = np.einsum("gi,gab->iab", stays / stays.sum(axis=0), rotations)
        return cls(sizes, np.searchsorted(points, mesh.representative), onto, rotations[onto].transpose(0, 2, 1),
                   projections, mesh.permutations)

    def spread(self, fields: np.ndarray) -> np.ndarray:
        """Fields (I, B, 3, K) on the whole mesh, (N, B, 3, K)."""
        everywhere: np.ndarray = self.from_irreducible[:, None] @ fields[self.slots]
        return everywhere

    def gather(self, fields: np.ndarray) -> np.ndarray:
        """The transpose of `spread`: sums over stars of fields (N, B, 3, K) turned back, (I, B, 3, K)."""
        back = self.from_irreducible.transpose(0, 2, 1)[:, None] @ fields
        order = np.argsort(self.slots, kind="stable")
        sums: np.ndarray = np.add.reduceat(back[order], np.r_[0, np.cumsum(self.sizes)[:-1]], axis=0)
        return sums



@dataclass(frozen=True)
class Collisions:
    """Processes, in the parts in which they were found.

    Attributes
    ----------
    parts : tuple of tuples of (K,) ndarrays
        Modes a as (slot of the irreducible point) B + band, int32; modes b and c as (point of the mesh) B + band,
        int32; kinds, uint8 (0: f = f_b + f_c; 1: f + f_b = f_c; 2: f + f_c = f_b); amounts (strength, weight and
        multiplicity), eV^2/THz.
    """

    parts: tuple[tuple[np.ndarray, ...], ...]

    def __len__(self) -> int:
        return sum(len(part[0]) for part in self.parts)

    @property
    def whole(self) -> tuple[np.ndarray, ...]:
        """Modes a, b, c, kinds and amounts of all processes."""
        return tuple(np.concatenate(columns) for columns in zip(*self.parts, strict=True))


class CollisionMatrix:
    """M at one temperature, on fields (I, B, 3) or (I, B, 3, K).

    Parameters
    ----------
    collisions : Collisions
    stars : Stars
    frequencies : (N, B) ndarray
        On the whole mesh, THz.
    prefactor : float
        K.
    temperature : float
        K.
    threads : int
        Of this process; the result does not depend on how many.
    merged : bool, optional
        Add up processes of the same modes once, in a whole matrix; without it, where that is smaller than the list.
    shared : bool
        One weight for the three legs of a process.

    Attributes
    ----------
    linewidths : (I, B) ndarray or None
        Gamma of the processes with shared weights, THz.
    """

    def __init__(self, collisions: Collisions, stars: Stars, frequencies: np.ndarray, prefactor: float,
                 temperature: float, threads: int = 1, merged: bool | None = None, shared: bool = False) -> None:
        self._collisions, self._stars, self._threads, self._prefactor = collisions, stars, threads, prefactor
        self._frequencies = frequencies[np.unique(stars.slots, return_index=True)[1]]
        self._inverse_sinh = inverse_sinh(frequencies, temperature, FROZEN if shared else np.inf)
        self._backend = make_backend("cpu", "double")
        shape = self._frequencies.size, frequencies.size
        if merged is None:
            merged = shape[0] * shape[1] <= MERGED_UP_TO * len(collisions)
        self._starred, self.linewidths = None, None
        if shared:
            at_points = self._inverse_sinh[np.unique(stars.slots, return_index=True)[1]]
            self._starred = stars.sizes[:, None] * at_points
            diagonal = _shared_diagonal(collisions, stars, self._inverse_sinh, at_points)[..., None]
            self.linewidths = prefactor * degenerate_mean(self._frequencies, diagonal)[..., 0]
        self._merged = None
        if merged:
            self._merged = (_merged_shared(collisions, stars, self._inverse_sinh, at_points) if shared
                            else _merged(collisions, self._inverse_sinh.ravel(), shape))

    def __call__(self, fields: np.ndarray) -> np.ndarray:
        """The symmetric part of M on fields, THz times their unit."""
        stars, shape = self._stars, fields.shape
        projected = np.ascontiguousarray(self._project(fields.reshape(*shape[:3], -1)))
        everywhere = np.ascontiguousarray(stars.spread(projected))
        sizes = stars.sizes[:, None, None, None]
        own = np.ascontiguousarray(sizes * projected)

        def share(number: int) -> tuple[np.ndarray, np.ndarray]:
            gained, given = np.zeros_like(projected), np.zeros_like(everywhere)
            if self._merged is not None:
                rows = slice(number * len(self._merged) // SHARES, (number + 1) * len(self._merged) // SHARES)
                some, n_rows, n_columns = self._merged[rows], *self._merged.shape
                gained.reshape(n_rows, -1)[rows] = some @ everywhere.reshape(n_columns, -1)
                given.reshape(n_columns, -1)[:] = some.T @ own.reshape(n_rows, -1)[rows]
                return gained, given
            parts = self._collisions.parts
            for part in parts[number * len(parts) // SHARES:(number + 1) * len(parts) // SHARES]:
                modes, first, second, _, amounts = part
                self._backend.launch("collisions", "collide", 0, len(modes), modes, first, second, amounts,
                                     self._inverse_sinh, self._starred, 0.5 if self._starred is None else 1.0 / 3.0,
                                     projected[0, 0].size, everywhere, own, gained, given)
            return gained, given

        # in a fixed order, whatever runs at once
        with one_thread():
            shares = list(by_threads(share, range(SHARES), self._threads))
        gained, given = (np.sum(both, axis=0) for both in zip(*shares, strict=True))
        both = gained + stars.gather(given) / sizes
        return 0.5 * self._prefactor * self._project(both).reshape(shape)

    def _project(self, fields: np.ndarray) -> np.ndarray:
        """P on fields (I, B, 3, K)."""
        return degenerate_mean(self._frequencies, self._stars.projections[:, None] @ fields)


def _merged(collisions: Collisions, partner: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sums over the processes of each pair of modes, (I B, N B), from 1/sinh(x) of all modes."""
    total = np.zeros(shape)
    for modes, first, second, _, amounts in collisions.parts:
        row, half = modes * np.int64(shape[1]), 0.5 * amounts
        np.add.at(total.reshape(-1), row + first, half * partner[second])
        np.add.at(total.reshape(-1), row + second, half * partner[first])
    return total


def _shared_diagonal(collisions: Collisions, stars: Stars, partner: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Linewidths with shared weights by K, (I, B), from 1/sinh(x) of all modes and of those of irreducible points.

    An entry adds (amount/6) s_b/(s_c s_a) to its mode b, as the quadratic form has it, and so on in turn.
    """
    n_bands = own.shape[1]
    inverse, own_inverse = partner.ravel(), own.ravel()
    # 1/s_a s_b s_c is 0 where one of them is; no other of these overflows
    squares, own_squares = (1.0 / np.where(x > 0.0, x, np.inf) ** 2 for x in (inverse, own_inverse))
    sizes = np.repeat(stars.sizes, n_bands).astype(np.float64)
    total = np.zeros(own.size)
    for a, b, c, _, amounts in collisions.parts:
        form = amounts / 6.0 * own_inverse[a] * inverse[b] * inverse[c]
        total += np.bincount(a, form * own_squares[a], own.size)
        form *= sizes[a]
        for mode in (b, c):
            slots = stars.slots[mode // n_bands] * n_bands + mode % n_bands
            total += np.bincount(slots, form * squares[mode], own.size) / sizes
    return total.reshape(own.shape)


def _merged_shared(collisions: Collisions, stars: Stars, partner: np.ndarray, own: np.ndarray) -> np.ndarray:
    """`_merged` with shared weights: partners b and c are turned so that b lies at an irreducible point."""
    n_bands = own.shape[1]
    inverse, own_inverse, n_columns = partner.ravel(), own.ravel(), np.int64(partner.size)
    sizes = np.repeat(stars.sizes, n_bands)
    total = np.zeros((own.size, partner.size))
    flat = total.reshape(-1)
    for modes, first, second, _, amounts in collisions.parts:
        of_own, of_first, of_second = own_inverse[modes], inverse[first], inverse[second]
        third = np.where((of_own > 0.0) & (of_first > 0.0) & (of_second > 0.0), amounts / 3.0, 0.0)
        np.add.at(flat, modes * n_columns + first, third * of_second)
        np.add.at(flat, modes * n_columns + second, third * of_first)
        point, band = np.divmod(first, n_bands)
        slots = stars.slots[point] * n_bands + band
        other, band = np.divmod(second, n_bands)
        turned = stars.permutations[stars.onto[point], other] * np.int64(n_bands) + band
        np.add.at(flat, slots * n_columns + turned, third * of_own * sizes[modes] / sizes[slots])
    return total


def inverse_sinh(frequencies: np.ndarray, temperature: float, frozen: float = np.inf) -> np.ndarray:
    """1/sinh(x), x = h f / 2 k_B T; zero below the cutoff frequency, and for x above `frozen`."""
    active = frequencies > CUTOFF_FREQUENCY_THZ
    x = 0.5 * PLANCK_EV_PER_THZ * np.where(active, frequencies, 1.0) / (BOLTZMANN_EV_PER_K * temperature)
    inverse: np.ndarray = np.where(active & (x <= frozen), 2.0 * np.exp(-x) / -np.expm1(-2.0 * x), 0.0)
    return inverse


def collect_collisions(rates: ThreePhononRates, threads: int = 1,
                       note: Callable[[int], None] | None = None) -> tuple[np.ndarray, Collisions]:
    """Linewidths and processes in one pass, with the tasks on threads of this process.

    Parameters
    ----------
    threads : int
    note : callable, optional
        Told of the number of tasks that are done; what it raises ends the work.

    Returns
    -------
    gamma : (I, n_T, B) ndarray
        THz.
    collisions : Collisions
        In an order that does not depend on the number of threads.
    """
    stars = Stars.of(rates.mesh)
    tasks = by_threads(lambda task: listed_task(rates, stars, task), range(rates.n_tasks), threads)
    with one_thread(), closing(tasks) as results:
        return joined(rates, results, note)


#: columns of a list of processes: modes a, b and c, kinds, amounts
LISTED = ("modes", "first", "second", "kinds", "amounts")
_TYPES = (np.int32, np.int32, np.int32, np.uint8, np.float64)


def listed_task(rates: ThreePhononRates, stars: Stars, task: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Deposits of a task, and its processes as the columns `LISTED`."""
    if rates.split:
        raise ValueError("processes are listed without the division into normal and Umklapp ones")
    parts = [tuple(np.empty(0, dtype=kind) for kind in _TYPES)]
    deposits = rates.task(task, lambda found: parts.append(_modes(found, rates.mesh, stars, rates.n_bands)))
    return deposits, tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def joined(rates: RateSum, results: Iterator[tuple[np.ndarray, tuple[np.ndarray, ...]]],
           note: Callable[[int], None] | None = None) -> tuple[np.ndarray, Collisions]:
    """Linewidths and processes from the results of `listed_task` for all tasks, in their order."""
    parts: list[tuple[np.ndarray, ...]] = []

    def deposits() -> Iterator[np.ndarray]:
        for deposited, columns in results:
            parts.append(columns)
            yield deposited

    total = in_order(deposits(), note)
    return rates.linewidths(total), Collisions(tuple(parts))


def _modes(processes: Processes, mesh: Mesh, stars: Stars, n_bands: int) -> tuple[np.ndarray, ...]:
    """Modes a, b, c, kinds and amounts of processes, turned so that a lies at an irreducible point."""
    triplets = processes.triplets
    points = np.stack([np.full(len(triplets), triplets.point0), triplets.point1, triplets.point2], axis=1)
    # by leg: the point itself, the next and the one after, cyclically
    own, following, last = points, points[:, [1, 2, 0]], points[:, [2, 0, 1]]
    turn = stars.onto[own]
    base = [(stars.slots[own] * n_bands).astype(np.int32).ravel(),
            (mesh.permutations[turn, following] * n_bands).astype(np.int32).ravel(),
            (mesh.permutations[turn, last] * n_bands).astype(np.int32).ravel()]
    code, c = np.divmod(processes.modes, np.uint32(n_bands))
    code, b = np.divmod(code, np.uint32(n_bands))
    kind, a = np.divmod(code, np.uint32(n_bands))
    modes = [start[processes.legs] + band.astype(np.int32) for start, band in zip(base, (a, b, c), strict=True)]
    return *modes, kind.astype(np.uint8), processes.amounts


def energy_imbalance(mesh: Mesh, collisions: Collisions, frequencies: np.ndarray, gamma: np.ndarray,
                     prefactor: float, temperature: float) -> float:
    """How well processes conserve energy: 0 if they do.

    On a scalar field that is even in q the partners of a mode count with signs, and f/sinh(x) is a null vector then:

        0 = 2 gamma_a phi_a + K sum (amount) [ s_b phi_b / sinh(x_c) + s_c phi_c / sinh(x_b) ]        phi = f / sinh(x)

    with s = -1 for the modes that the process makes, else +1. Exact deltas leave nothing; weights of a finite mesh
    leave this norm, relative to that of the first term.

    Parameters
    ----------
    frequencies : (N, B) array
        On the whole mesh, THz.
    gamma : (I, B) array
        At this temperature, THz.
    """
    partner = inverse_sinh(frequencies, temperature).ravel()
    phi = frequencies.ravel() * partner
    gained = np.zeros(gamma.size)
    for a, b, c, kinds, amounts in collisions.parts:
        sign_b, sign_c = np.array([-1.0, 1.0, -1.0])[kinds], np.array([-1.0, -1.0, 1.0])[kinds]
        terms = amounts * (sign_b * phi[b] * partner[c] + sign_c * phi[c] * partner[b])
        gained += prefactor * np.bincount(a, weights=terms, minlength=gamma.size)
    points, sizes = mesh.irreducible
    lost = 2.0 * gamma.ravel() * phi.reshape(frequencies.shape)[points].ravel()
    weights = np.repeat(sizes, frequencies.shape[1])
    energy = (weights * lost**2).sum()
    return float(np.sqrt((weights * (lost + gained) ** 2).sum() / energy)) if energy > 0.0 else 0.0
