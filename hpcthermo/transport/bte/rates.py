r"""Three-phonon linewidths.

    gamma_l = (pi / 2 h^2 N) sum_{l1 l2} S { (n1 + n2 + 1) d(f - f1 - f2)
                                             + (n1 - n2) [d(f + f1 - f2) - d(f - f1 + f2)] }

    symbol   is
    gamma    half width at half maximum, THz; the lifetime is 1/(4 pi gamma)
    S        strength N |Phi3|^2, eV^2, which knows no temperature
    h        Planck constant, eV/THz
    n        Bose-Einstein occupations
    d        energy conservation: linear tetrahedra (tetrahedron.py) or Gaussians (smearing.py), 1/THz
    l        mode (q, a); l1 and l2 are modes (q1, b), (q2, c) with q + q1 + q2 a reciprocal lattice vector
    I        irreducible points

Work is shared out as *tasks*, runs of irreducible points that depend on the problem alone. A task is a pure function;
the sum of its results in the order of the tasks is the same, to the last bit, for any number of threads or workers.

The collision matrix of the full Boltzmann equation needs the processes themselves. `ThreePhononRates.task` lists them
on request as `Processes`. With the prefactor P = pi / 2 h^2 N each listed process contributes

    gamma_a += P amount (n_b + n_c + 1 | n_b - n_c | n_c - n_b)                                  by kind 0 | 1 | 2
    W_ab    += P amount / (2 sinh(h f_c / 2 k T)) s_b        W_ac += P amount / (2 sinh(h f_b / 2 k T)) s_c

where W is off the diagonal of the collision matrix in units of gamma (THz). On fields odd in q, such as a heat current,
all s = 1; on even ones s_b is -1 for kinds 0 and 2 and s_c is -1 for kinds 0 and 1 (and (f / sinh(h f / 2 k T)) is a
null vector of gamma + W as far as the energies of a process match: conservation of energy). From leg 0 modes b and c
are those of q_1 and q_2; from the other legs cyclically.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend, make_backend
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean, occupations
from hpcthermo.transport.bte.linear_algebra import one_thread
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.smearing import Gaussian
from hpcthermo.transport.bte.strength import POINTS_TOGETHER, CubicStrength
from hpcthermo.transport.bte.tetrahedron import N_PLACES, neighbour_frequencies, tetrahedron_cuts
from hpcthermo.transport.bte.triplets import Triplets, TripletSymmetry, is_normal
from hpcthermo.units import PLANCK_EV_PER_THZ

#: strengths held at a time, bytes; a GPU has a warp for each triplet and needs many of them
STRENGTH_BYTES = {"cpu": 2**26, "cuda": 2**31}
#: triplets at a time on a processor, for few bands: more are not faster
TRIPLETS_TOGETHER = 512
Task = TypeVar("Task")
Result = TypeVar("Result")
#: irreducible points of a task of a large problem
POINTS_OF_TASK = 4
#: so many tasks are always allowed; more, for many workers, while their deposits together have no more bytes than this
ALLOWED_TASKS, DEPOSIT_BYTES = 128, 2**30
#: temperatures that the kernel takes together (linewidths.h)
_TEMPERATURES_TOGETHER = 4
#: bands that the 32 bits of a listed process tell apart (`Processes.modes`): 3 B^3 below 2^32
MOST_BANDS = 1127
#: candidates that the kernel holds (linewidths.h)
_CAPACITY = 1024
#: bounds are widened by this against the rounding of float32, THz
_SLACK_THZ = 1e-5
#: a frequency that no pair of modes makes up, THz
_BEYOND_THZ = 1e30


class Strength(Protocol):
    """Source of strengths S, for several threads at the same time."""

    def prepare(self, points: tuple[int, ...] | np.ndarray) -> None:
        """Told of the first points that this thread asks for next."""
        ...

    def of(self, point0: int, point1: np.ndarray, point2: np.ndarray, out: Any = None) -> Any:
        """S of triplets (T,) with one first point, (T, B, B, B), eV^2; a mean over degenerate bands of each leg.

        An array of the host or of the device; it may be `out`, an array of the backend in which strengths may be made.
        """
        ...


@dataclass(frozen=True)
class Processes:
    """Processes of the triplets of one first point, in the order in which they are found.

    Attributes
    ----------
    triplets : Triplets
    legs : (K,) ndarray of int32
        3 x (number of the triplet) + leg. From leg i the modes a, b, c lie at the points i, i + 1, i + 2 (modulo 3).
    modes : (K,) ndarray of uint32
        ((kind B + a) B + b) B + c; kind 0: f = f_b + f_c, 1: f + f_b = f_c, 2: f + f_c = f_b.
    amounts : (K,) ndarray
        Strength, weight and multiplicity, eV^2/THz.
    """

    triplets: Triplets
    legs: np.ndarray
    modes: np.ndarray
    amounts: np.ndarray

    def decoded(self, n_bands: int) -> tuple[np.ndarray, ...]:
        """Triplet, leg, kind, a, b and c of each process, (K,) each."""
        rest, c = np.divmod(self.modes, n_bands)
        rest, b = np.divmod(rest, n_bands)
        kind, a = np.divmod(rest, n_bands)
        triplet, leg = np.divmod(self.legs, 3)
        return triplet, leg, kind, a, b, c


@dataclass(frozen=True)
class PhaseSpace:
    """Strength 1/(f f1 f2) in place of the cubic one: linewidths become a weighted phase space."""

    phonons: Phonons

    def prepare(self, points: tuple[int, ...] | np.ndarray) -> None:
        """Nothing."""

    def of(self, point0: int, point1: np.ndarray, point2: np.ndarray, out: Any = None) -> np.ndarray:
        """1/(f f1 f2), THz^-3; zero if a mode is below the cutoff frequency."""
        f = self.phonons.frequencies
        inverse = np.where(f > CUTOFF_FREQUENCY_THZ, 1.0 / np.where(f > CUTOFF_FREQUENCY_THZ, f, 1.0), 0.0)
        product: np.ndarray = np.einsum("a,tb,tc->tabc", inverse[point0], inverse[point1], inverse[point2])
        return product


class RateSum:
    """The sum of the deposits of all tasks: how many there are, and linewidths from it; without tables.

    Parameters
    ----------
    mesh : Mesh
    frequencies : (N, B) array
        On the whole mesh, THz.
    temperatures : (n_T,) array
        K.
    split : bool
        Normal and Umklapp processes apart.

    Raises
    ------
    InputError
        If frequencies or temperatures do not fit, or there are too many bands.
    """

    def __init__(self, mesh: Mesh, frequencies: np.ndarray, temperatures: np.ndarray | list[float],
                 split: bool = False) -> None:
        f = np.ascontiguousarray(frequencies, dtype=np.float64)
        if len(f) != mesh.n_points:
            raise InputError(f"phonons: expected those of the {mesh.n_points} points of the mesh, got {len(f)}")
        require_few_bands(f.shape[1])
        at = np.asarray(temperatures, dtype=np.float64)
        if at.ndim != 1 or len(at) == 0 or not (at >= 0).all():
            raise InputError(f"temperatures: expected a list of numbers not below zero, K, got {temperatures}")
        self.mesh, self.temperatures, self.split = mesh, at, split
        self._frequencies = f

    @property
    def n_irreducible(self) -> int:
        """I."""
        return len(self.mesh.irreducible[0])

    @property
    def n_bands(self) -> int:
        """B."""
        return int(self._frequencies.shape[1])

    @property
    def prefactor(self) -> float:
        """Pi / 2 h^2 N, 1/(THz eV)^2 x THz^2."""
        return math.pi / (2.0 * PLANCK_EV_PER_THZ**2 * self.mesh.n_points)

    @property
    def n_tasks(self) -> int:
        """Number of tasks; large problems have whole sets of points that the strength takes together."""
        return task_count(self.n_irreducible, 2 if self.split else 1, self.n_bands, len(self.temperatures))

    @property
    def n_slots(self) -> int:
        """Rows of deposits: irreducible points, twice if processes are split."""
        return self.n_irreducible * (2 if self.split else 1)

    def linewidths(self, total: np.ndarray) -> np.ndarray:
        """Linewidths (I, n_T, B), THz, from the sum of all tasks' deposits (or (2 I, n_T, B), normal and Umklapp)."""
        points, _ = self.mesh.irreducible
        f = np.tile(self._frequencies[points], (len(total) // len(points), 1))
        gamma: np.ndarray = self.prefactor * degenerate_mean(f, total).transpose(0, 2, 1)
        return np.where(f[:, None, :] > CUTOFF_FREQUENCY_THZ, gamma, 0.0)


class ThreePhononRates(RateSum):
    """The sum over triplets, for all temperatures at once.

    Parameters
    ----------
    mesh : Mesh
    phonons : Phonons
        On the whole mesh, in its order.
    strength : Strength
        Safe for use by several threads.
    temperatures : (n_T,) array
        K.
    gaussian : Gaussian, optional
        In place of tetrahedra.
    symmetrised : bool
        Mean over the tetrahedra that the point group makes of the first ones; matters on meshes that are not of
        face-centred cubic type.
    permute : bool
        Find each triplet once for all three legs, which needs strengths that are the same from each (False: once for
        each; the linewidths are then those of the irreducible points' own tetrahedra).
    split : bool
        Normal and Umklapp processes apart.
    backend : Backend, optional
        That of the strength; ``"double"`` for weights in float64. On a GPU sums have no fixed order.
    """

    def __init__(self, mesh: Mesh, phonons: Phonons, strength: Strength, temperatures: np.ndarray | list[float], *,
                 gaussian: Gaussian | None = None, symmetrised: bool = False, permute: bool = True, split: bool = False,
                 backend: Backend | None = None) -> None:
        super().__init__(mesh, phonons.frequencies, temperatures, split)
        self.strength = strength
        self.backend = backend or make_backend("cpu", "mixed")
        self.symmetry = TripletSymmetry(mesh, permute)
        self._n_padded = -(-len(self.temperatures) // _TEMPERATURES_TOGETHER) * _TEMPERATURES_TOGETHER
        self._gaussian = gaussian
        self._held = threading.local()
        self._set_tables(tetrahedron_cuts(mesh, symmetrised))

    def _set_tables(self, cuts: np.ndarray) -> None:
        """Tables of the kernel: frequencies, widths, rows round each point, bounds of each mode, occupations."""
        f, backend, gaussian = self._frequencies, self.backend, self._gaussian
        self._stride = -(-f.shape[1] // backend.lanes) * backend.lanes
        active = f > CUTOFF_FREQUENCY_THZ
        if gaussian is None:
            widths, self._n_cuts = None, len(cuts)
            rows, low, high = neighbour_frequencies(self.mesh, f, cuts, backend.real)
            own_low, own_high = f, f
        else:
            widths, self._n_cuts = np.ascontiguousarray(gaussian.widths, dtype=np.float64), 0
            rows = np.zeros(N_PLACES, dtype=backend.real)
            low, high = f - gaussian.cutoff * widths, f + gaussian.cutoff * widths
            own_low, own_high = low, high
        bounds = (self._bound(np.where(active, low - _SLACK_THZ, np.inf), self._stride, np.inf),
                  self._bound(np.where(active, high + _SLACK_THZ, -np.inf), self._stride, -np.inf),
                  # out of reach of any pair
                  self._bound(np.where(active, own_low, _BEYOND_THZ), f.shape[1], 0.0),
                  self._bound(np.where(active, own_high, _BEYOND_THZ), f.shape[1], 0.0))
        n = np.zeros((*f.shape, self._n_padded))
        n[..., :len(self.temperatures)] = occupations(f, self.temperatures).transpose(1, 2, 0)
        numbers = np.arange(self._stride, dtype=np.int32)
        self._tables = [None if table is None else backend.from_host(table)
                        for table in (f, widths, rows, *bounds, numbers, n)]

    def _bound(self, values: np.ndarray, stride: int, padding: float) -> np.ndarray:
        padded = np.full((len(values), stride), padding, dtype=self.backend.real)
        padded[:, :values.shape[1]] = values
        return padded

    def divided(self) -> ThreePhononRates:
        """The same tables, with normal and Umklapp processes apart."""
        other = copy.copy(self)
        other.split = True
        return other

    def slots(self, task: int) -> range:
        """Irreducible points whose triplets a task takes: every n-th, for the first have the most."""
        return range(task, self.n_irreducible, self.n_tasks)

    def task(self, task: int, collect: Callable[[Processes], None] | None = None) -> np.ndarray:
        """Deposits of one task.

        Parameters
        ----------
        collect : callable, optional
            Gets the processes of each part of the work.

        Returns
        -------
        (I, B, n_T) ndarray, or (2 I, B, n_T) with Umklapp processes in the second half
            eV^2/THz, to be added up over the tasks.
        """
        gamma = self.backend.xp.zeros((self.n_slots, self.n_bands, self._n_padded))
        slots, points = self.slots(task), self.mesh.irreducible[0]
        size = _triplets_at_a_time(self.backend.device, self.n_bands)
        for begin in range(0, len(slots), POINTS_TOGETHER):
            together = slots[begin:begin + POINTS_TOGETHER]
            self.strength.prepare(points[list(together)])
            for slot in together:
                triplets = self.symmetry.of(slot)
                if self.split:
                    triplets = self._with_umklapp_apart(triplets)
                for part in _parts(triplets, size):
                    self._deposit(part, gamma, collect)
        return self.backend.to_host(gamma)[..., :len(self.temperatures)]

    def _strengths_of_thread(self, count: int) -> Any:
        """Memory of this thread for strengths of so many triplets."""
        held, n_bands = getattr(self._held, "strengths", None), self.n_bands
        if held is None or len(held) < count:
            held = self._held.strengths = None
            held = self._held.strengths = self.backend.xp.empty((count, n_bands, n_bands, n_bands))
        return held[:count]

    def _with_umklapp_apart(self, triplets: Triplets) -> Triplets:
        beyond = ~is_normal(self.mesh, triplets)[:, None] & (triplets.slots >= 0)
        slots = triplets.slots + np.where(beyond, self.symmetry.n_irreducible, 0).astype(np.int32)
        return Triplets(triplets.point0, triplets.point1, triplets.point2, slots, triplets.multiplicities)

    def _deposit(self, part: Triplets, gamma: Any, collect: Callable[[Processes], None] | None) -> None:
        backend, gaussian, n_bands = self.backend, self._gaussian, self._frequencies.shape[1]
        triplets = [backend.from_host(np.ascontiguousarray(x))
                    for x in (part.point1, part.point2, part.slots, part.multiplicities)]
        strengths = backend.from_host(self.strength.of(part.point0, part.point1, part.point2,
                                                       self._strengths_of_thread(len(part))))
        slices, empty = backend.scratch_slices, backend.xp.empty
        scratch = (empty((slices, 3 * (2 * n_bands + 1) * n_bands), dtype=np.float64),
                   empty((slices, 2 * _CAPACITY + 3 * backend.lanes), dtype=np.int32),
                   empty((slices, 4 * backend.lanes), dtype=backend.real))
        reach = gaussian.cutoff if gaussian else 0.0
        norm = 1.0 / (math.sqrt(2.0 * math.pi) * gaussian.integral) if gaussian else 0.0

        def launch(room: int, gamma: Any) -> tuple[int, list[Any]]:
            count = backend.from_host(np.zeros(1, dtype=np.int32))
            listed = [empty(room, dtype=kind) for kind in (np.int32, np.uint32, np.float64)]
            backend.launch("linewidths", "deposit", 0, len(part), part.point0, *triplets, strengths, n_bands,
                           self.mesh.n_points, self._n_cuts, self._stride, *self._tables, reach, norm, self._n_padded,
                           *scratch, gamma, room, count, *listed, per="scratch")
            return int(backend.to_host(count)[0]), listed

        if collect is None:
            launch(0, gamma)
            return
        room = len(part) * 3 * n_bands**3 // 8 + 1024
        found, listed = launch(room, gamma)
        if found > room:
            found, listed = launch(found, None)
        collect(Processes(part, *(backend.to_host(x)[:found].copy() for x in listed)))


def require_few_bands(n_bands: int) -> None:
    """Refuse crystals whose processes cannot be numbered.

    Raises
    ------
    InputError
        If there are more than `MOST_BANDS` bands.
    """
    if n_bands > MOST_BANDS:
        raise InputError(f"crystal: expected at most {MOST_BANDS // 3} atoms for three phonons, for their modes "
                         f"are numbered together in 32 bits, got {n_bands // 3}; use a smaller cell")


def task_count(n_irreducible: int, rows_of_point: int, n_bands: int, n_temperatures: int) -> int:
    """Number of tasks of a problem; deposits have one row for each irreducible point, or two if they are split."""
    n = n_irreducible
    allowed = max(ALLOWED_TASKS, DEPOSIT_BYTES // (8 * n * rows_of_point * n_bands * n_temperatures))
    return min(allowed, n if n < 16 * POINTS_OF_TASK else -(-n // POINTS_OF_TASK))


def _triplets_at_a_time(device: str, n_bands: int) -> int:
    most = max(1, STRENGTH_BYTES[device] // (8 * n_bands**3))
    return min(most, TRIPLETS_TOGETHER) if device == "cpu" else most


def strength_bytes(device: str, n_bands: int, n_triplets: float) -> float:
    """Memory of the strengths that are held at a time, of a first point with so many triplets, bytes."""
    return 8.0 * n_bands**3 * min(n_triplets, _triplets_at_a_time(device, n_bands))


def three_phonon_linewidths(mesh: Mesh, phonons: Phonons, third: Interactions | Strength,
                            temperatures: np.ndarray | list[float], *, threads: int = 1,
                            gaussian: Gaussian | None = None, symmetrised: bool = False, permute: bool = True,
                            backend: Backend | None = None) -> np.ndarray:
    """Linewidths of all irreducible points, (I, n_T, B), THz, with the tasks on threads of this process.

    Parameters are those of `ThreePhononRates`. Strengths of third-order force constants are found in the precision of
    the backend; in float32, the default, linewidths of silicon change by up to 5e-6 and their sum by 4e-7.
    """
    backend = backend or make_backend("cpu", "mixed")
    strength = CubicStrength(mesh, phonons, third, backend) if isinstance(third, Interactions) else third
    rates = ThreePhononRates(mesh, phonons, strength, temperatures, gaussian=gaussian, symmetrised=symmetrised,
                             permute=permute, backend=backend)
    return rates.linewidths(sum_in_order(rates, threads))


def sum_in_order(rates: ThreePhononRates, threads: int = 1, note: Callable[[int], None] | None = None) -> np.ndarray:
    """Sum of all tasks' deposits, added in the order of the tasks.

    Parameters
    ----------
    note : callable, optional
        Told of the number of tasks that are done; what it raises ends the work.
    """
    with one_thread(), closing(by_threads(rates.task, range(rates.n_tasks), threads)) as parts:
        return in_order(parts, note)


def by_threads(evaluate: Callable[[Task], Result], tasks: Iterable[Task],
               threads: int) -> Generator[Result, None, None]:
    """Results of tasks in their order, by threads of this process; when closed, it drops those that wait."""
    if threads == 1:
        yield from map(evaluate, tasks)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(evaluate, tasks)


def in_order(parts: Iterator[np.ndarray], note: Callable[[int], None] | None = None) -> np.ndarray:
    """Sum of deposits as they come; arguments are those of `sum_in_order`."""
    total = next(parts).copy()
    for done, part in enumerate(parts, start=2):
        total += part
        if note is not None:
            note(done)
    return total


def _parts(triplets: Triplets, size: int) -> Iterator[Triplets]:
    for begin in range(0, len(triplets), size):
        yield triplets.part(begin, min(begin + size, len(triplets)))
