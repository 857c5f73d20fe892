r"""Interaction strengths of three phonons.

    V(q0 b0, q1 b1, q2 b2) = sum_{ijk R1 R2} Phi(0 i, R1 j, R2 k) U_i(q0 b0) U_j(q1 b1) U_k(q2 b2) f
    f = exp(2 pi i (q1.R1 + q2.R2))
    U_i(q b) = (hbar / 2 m_i w)^(1/2) e_i(q b)                                    q0 + q1 + q2 = G

|V|^2 is N |Phi3|^2 of H = (1/3!) sum Phi3 A A A, in eV^2. With q2 = G - q0 - q1 and dR = R1 - R2 the phase is
exp(2 pi i (q1.dR - q0.R2)), so that the sums separate (all triplets of one q0 share the first two lines):

    A(jk dR; i) = sum_R2 Phi(0 i, R2 + dR j, R2 k) exp(-2 pi i q0.R2)
    A0(jk dR)   = sum_i A(jk dR; i) U_i(q0 b0)
    W(jk)       = sum_dR A0(jk dR) exp(2 pi i q1.dR)
    V           = sum_jk W(jk) U_j(q1 b1) U_k(q2 b2)

The third line is done direction by direction, along each for the lines that wanted points q1 lie on, and for +a and -a
together (`gpu/kernels/cubic_strength.h`). On a mesh of D divisions dR counts modulo D.

    symbol   is
    P        terms of the force constants (third.atoms)
    L1       pairs (j, k, dR) that occur; L2, L3: the same without the first direction, without the first two
    n1, n2   wanted values of q1's first address; wanted lines along the third direction
    T        triplets of one q0

Floating-point operations of one q0:

    leg 0        4 x 27 P  +  8 x 9 B 3 i            i: first atoms that occur, summed over the L1 pairs
    sum over dR  4 x 9 B (n1 L1 + n2 L2 + T L3)      half of a plain sum, as +a and -a share their products
    legs 1, 2    16 B^4 T

A plain sum over dR for each point would cost 8 x 9 B L1 T; even for one triplet the separated one costs no more than
that. The directions are taken in the order that costs least for a full mesh. Below `PRODUCTS_FROM` bands legs 1 and 2
are a kernel with lanes over b0, above they are products of real matrices of size 2 B (BLAS).

Reference: A. Togo, L. Chaput, I. Tanaka, Phys. Rev. B 91, 094306 (2015), equations 10 and 41.
"""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend, make_backend
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, first_of_group
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.units import REDUCED_PLANCK, TIME_FS

#: bands from which on legs 1 and 2 are matrix products
PRODUCTS_FROM = 24
#: points whose leg 0 is done together, so that force constants are read once
POINTS_TOGETHER = 2
#: bytes of one stage's output that are made before the next stage reads them: in a core's cache, in a GPU's memory
_STAGE_BYTES = {"cpu": 256 << 10, "cuda": 1 << 30}
#: bytes of the matrices that legs 1 and 2 multiply at a time
_PRODUCT_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
#: force constants that are copied at a time
_TERMS_TOGETHER = 4096
#: points whose amplitudes are converted at a time
_POINTS_CONVERTED = 512
#: elements of a third-order force constant
_ELEMENTS = 27
#: LINES_JOB, TRIPLET and MOST_PAIRS of cubic_strength.h
_JOB, _TRIPLET, _MOST_PAIRS = 11, 5, 3
#: bits for each of three folded addresses in a sorting key (KEY_BITS)
_BITS = 20


def group_sizes(frequencies: np.ndarray, cutoff: float = CUTOFF_FREQUENCY_THZ) -> np.ndarray:
    """Sizes of groups of degenerate bands among those that take part.

    Parameters
    ----------
    frequencies : (N, B) ndarray
        THz, ascending.
    cutoff : float
        Modes that are not above take no part and belong to no group.

    Returns
    -------
    (N, B) ndarray of int32
        Size of the group that begins with a band, 0 for the further members of a group.
    """
    taking = frequencies > cutoff
    joined = np.zeros(frequencies.shape, dtype=bool)
    joined[:, 1:] = ~first_of_group(frequencies)[:, 1:] & taking[:, 1:] & taking[:, :-1]
    starts = np.flatnonzero(~joined.ravel())
    sizes = np.zeros(joined.size, dtype=np.int32)
    sizes[starts] = np.diff(np.r_[starts, joined.size])
    return sizes.reshape(joined.shape)


def amplitudes(mesh: Mesh, phonons: Phonons, cutoff: float = CUTOFF_FREQUENCY_THZ) -> np.ndarray:
    """U = (hbar / 2 m w)^(1/2) e, (N, B, B) complex, A; columns are bands, 0 where f is not above the cutoff (THz)."""
    taking = phonons.frequencies > cutoff
    omega = 2.0 * np.pi * np.where(taking, phonons.frequencies, 1.0) * (1e-3 * TIME_FS)
    length = np.where(taking, np.sqrt(0.5 * REDUCED_PLANCK / omega), 0.0)
    masses = np.repeat(mesh.crystal.masses, 3)
    scaled: np.ndarray = phonons.eigenvectors * length[:, None, :] / np.sqrt(masses)[None, :, None]
    return scaled


@dataclass(frozen=True)
class _Lines:
    """Fourier sums along one direction: which blocks each line has, and the waves of the mesh along it.

    Attributes
    ----------
    count, width : int
        Lines, and half their length.
    set_size : int
        Numbers of one set of input blocks.
    inputs : (count, 2 width + 1) int32 array
        Where the blocks at t = 0, 1, -1, 2, -2, ... begin in a set; the last block of a set is zero.
    reaches : (count,) int32 array
        Largest abs(t) with a block.
    waves : (D // 2 + 1, width + 1, 2) array
        cos and sin of 2 pi a t / D.
    """

    count: int
    width: int
    set_size: int
    inputs: Any
    reaches: Any
    waves: Any

    @classmethod
    def of(cls, line: np.ndarray, place: np.ndarray, count: int, divisions: int, half: int,
           backend: Backend) -> _Lines:
        width = int(np.abs(place).max(initial=0))
        block = 2 * half
        inputs = np.full((count, 2 * width + 1), len(line) * block, dtype=np.int64)
        inputs[line, 2 * np.abs(place) - (place > 0)] = np.arange(len(line)) * block
        if inputs.max() > np.iinfo(np.int32).max:
            raise InputError("third-order force constants: expected at most 2^31 numbers for one wave vector, got "
                             f"{inputs.max()}; give them a cutoff")
        reaches = np.zeros(count, dtype=np.int32)
        np.maximum.at(reaches, line, np.abs(place).astype(np.int32))
        turns = np.outer(np.arange(divisions // 2 + 1), np.arange(width + 1)) % divisions
        angle = 2.0 * np.pi * turns / divisions
        waves = np.stack([np.cos(angle), np.sin(angle)], axis=2).astype(backend.real)
        return cls(count, width, (len(line) + 1) * block,
                   *(backend.from_host(x) for x in (inputs.astype(np.int32), reaches, waves)))


@dataclass(frozen=True)
class _Stage:
    """Jobs of one stage of the Fourier sums, by parent and then by output.

    Attributes
    ----------
    jobs : (J, LINES_JOB) int32 array
    parents : (J,) ndarray
    first_output : (J + 1,) ndarray
        Outputs of a job are numbered from here.
    first_child : (J + 1,) ndarray
        First job of the next stage (in the last one: first triplet) that needs an output of a job.
    """

    jobs: Any
    parents: np.ndarray
    first_output: np.ndarray
    first_child: np.ndarray

    def jobs_of(self, first_parent: int, last_parent: int) -> tuple[int, int]:
        """Range of the jobs of parents [first_parent, last_parent)."""
        first, last = np.searchsorted(self.parents, (first_parent, last_parent))
        return int(first), int(last)


def _changes(values: np.ndarray) -> np.ndarray:
    """Where sorted values differ from those before; 0 is the first."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))


class _Workspace(threading.local):
    """Memory of one thread: grown when needed, and leg 0 of the points done last."""

    def __init__(self) -> None:
        self.buffers: dict[str, Any] = {}
        self.points: tuple[int, ...] = ()


class CubicStrength:
    """|V|^2 for triplets of phonons of a mesh.

    Parameters
    ----------
    mesh : Mesh
    phonons : Phonons
        At all points of the mesh, in its order.
    third : Interactions
        Of order 3; best symmetric under permutations of the legs, as `Interactions.third` makes them.
    backend : Backend
        Its precision is that of the sums; "double" for results to rounding errors.
    cutoff : float
        Modes with frequencies below take no part: their strengths are zero. THz.

    Notes
    -----
    Several threads may call `of` of one object at the same time; each has memory of its own.
    """

    def __init__(self, mesh: Mesh, phonons: Phonons, third: Interactions, backend: Backend,
                 cutoff: float = CUTOFF_FREQUENCY_THZ) -> None:
        self.mesh, self.backend = mesh, backend
        # plans of the sums
        self._host = backend if backend.device == "cpu" else make_backend("cpu", backend.precision)
        self.n_bands = mesh.crystal.n_bands
        self._workspace = _Workspace()
        # loads of whole lanes may run past the end of a table
        self._spare = 2 * backend.lanes
        self._half = -(-9 * self.n_bands // backend.lanes) * backend.lanes
        self._block_bytes = 2 * self._half * backend.real.itemsize
        self._row = -(-3 * self.n_bands // backend.lanes) * backend.lanes
        self._part_size = 2 * self._row * self.n_bands * mesh.crystal.n_atoms
        # sorting the terms takes the most memory
        self._set_terms(third)
        self._set_modes(phonons, cutoff)

    def _set_modes(self, phonons: Phonons, cutoff: float) -> None:
        n_points, n_bands = self.mesh.n_points, self.n_bands
        size = n_points * 2 * n_bands**2
        table = np.zeros(size + self._spare, dtype=self.backend.real)
        parts = table[:size].reshape(n_points, 2, n_bands, n_bands)
        for points, some in phonons.parts(_POINTS_CONVERTED):
            modes = amplitudes(self.mesh, some, cutoff)
            parts[points, 0], parts[points, 1] = modes.real, modes.imag
        groups = group_sizes(phonons.frequencies, cutoff)
        self._amplitudes = self.backend.from_host(table)
        self._groups = self.backend.from_host(groups)
        self._has_groups = self.backend.from_host(np.asarray((groups > 1).any(axis=1), dtype=np.int32))

    def _set_terms(self, third: Interactions) -> None:
        """Sort the terms by pair (dR, j, k), first atom and R2; find the lines of the Fourier sums."""
        mesh, backend, n = self.mesh, self.backend, self.mesh.crystal.n_atoms
        divisions = mesh.divisions
        least = -((divisions - 1) // 2)
        code, order = self._codes(third, least)
        sizes = divisions[list(order)]
        by_code = np.argsort(code, kind="stable")
        code = code[by_code]
        starts = _changes(code)
        code = code[starts]
        values = np.zeros((len(code), -(-_ELEMENTS // backend.lanes) * backend.lanes), dtype=backend.real)
        ends = np.append(starts, len(by_code))
        for begin in range(0, len(starts), _TERMS_TOGETHER):
            end = min(begin + _TERMS_TOGETHER, len(starts))
            values[begin:end, :_ELEMENTS] = np.add.reduceat(third.elements_of(by_code[ends[begin]:ends[end]]),
                                                            starts[begin:end] - starts[begin], axis=0,
                                                            dtype=np.float64)
        # terms -> runs of one first atom -> pairs -> lines along the first, the second, the third direction
        runs = _changes(code // mesh.n_points)
        run = code[runs] // mesh.n_points
        pairs = _changes(run // n)
        pair = run[pairs] // n
        second = code % mesh.n_points
        translations = np.flatnonzero(np.bincount(second))
        translation = np.searchsorted(translations, second).astype(np.int32)
        self.n_pairs, self.n_terms, self.n_runs = len(pairs), len(code), len(runs)
        self._translations = mesh.addresses[translations]
        self._terms = [backend.from_host(np.ascontiguousarray(x)) for x in (
            np.r_[pairs, len(runs)].astype(np.int32), (run % n).astype(np.int32),
            np.r_[runs, len(code)].astype(np.int32), translation, values)]
        least = least[list(order)]
        columns, column = np.unique(pair // sizes[0], return_inverse=True)
        rows, row = np.unique(columns // sizes[1], return_inverse=True)
        self._lines = (
            _Lines.of(column, pair % sizes[0] + least[0], len(columns), int(sizes[0]), self._half, backend),
            _Lines.of(row, columns % sizes[1] + least[1], len(rows), int(sizes[1]), self._half, backend),
            _Lines.of(rows // sizes[2], rows % sizes[2] + least[2], n * n, int(sizes[2]), self._half, backend))
        self._set_lines_of_pairs(columns // sizes[1] // sizes[2], rows // sizes[2])
        folded = 2 * np.minimum(mesh.addresses, divisions - mesh.addresses) + (2 * mesh.addresses > divisions)
        x, y, z = folded[:, list(order)].astype(np.int64).T
        #: sorts points by first, second, third direction, +a and -a beside each other
        self._key = (((x << _BITS) | y) << _BITS) | z

    def _codes(self, third: Interactions, least: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Pair (dR, j, k), first atom and R2 of each term as one number; and the order of the directions in it."""
        mesh, n, divisions = self.mesh, self.mesh.crystal.n_atoms, self.mesh.divisions
        second, third_leg = (mesh.lattice_vectors(third.vectors[:, leg]).astype(np.int32) for leg in (0, 1))
        difference = ((second - third_leg - least) % divisions).astype(np.int32)
        atom_pair = third.atoms[:, 1] * n + third.atoms[:, 2]
        order = _cheapest_order(difference, atom_pair, divisions)
        x, y, z = order
        line = (atom_pair.astype(np.int64) * divisions[z] + difference[:, z]) * divisions[y] + difference[:, y]
        pair = line * divisions[x] + difference[:, x]
        return (pair * n + third.atoms[:, 0]) * mesh.n_points + mesh.index(third_leg), order

    def _set_lines_of_pairs(self, *atom_pairs: np.ndarray) -> None:
        """Lines along the first and second direction by atom pair; inputs of the next with one pair's lines alone."""
        block, n_pairs = 2 * self._half, self._lines[2].count
        self._lines_of, self._most, self._own_inputs = [], [], []
        for atom_pair, following in zip(atom_pairs, self._lines[1:], strict=True):
            lines_of = np.searchsorted(atom_pair, np.arange(n_pairs + 1))
            most = int((lines_of[1:] - lines_of[:-1]).max())
            inputs = self.backend.to_host(following.inputs)
            # lines of the next direction are sorted by atom pair too
            pair_of_line = atom_pairs[1] if following is self._lines[1] else np.arange(n_pairs)
            own = inputs - lines_of[pair_of_line, None] * block
            own[inputs == len(atom_pair) * block] = most * block
            self._most.append(most)
            self._lines_of.append(self.backend.from_host(lines_of.astype(np.int32)))
            self._own_inputs.append(self.backend.from_host(own.astype(np.int32)))

    # ---- leg 0 -----------------------------------------------------------------------------------

    def prepare(self, points: tuple[int, ...] | np.ndarray) -> None:
        """Do leg 0 of points that this thread asks for next: `POINTS_TOGETHER` at once cost little more than one."""
        chosen = tuple(int(p) for p in points)
        if chosen == self._workspace.points:
            return
        backend, n_bands = self.backend, self.n_bands
        turns = (self.mesh.addresses[list(chosen)] / self.mesh.divisions) @ self._translations.T
        phases = np.stack([np.cos(2.0 * np.pi * turns), -np.sin(2.0 * np.pi * turns)], axis=2).astype(backend.real)
        self._workspace.points = ()
        set_size = self._lines[0].set_size
        output = self._buffer("leg_0", len(chosen) * set_size)
        output[:len(chosen) * set_size].reshape(len(chosen), set_size)[:, -2 * self._half:] = 0
        backend.launch("cubic_strength", "contract_first_leg", 0, self.n_pairs, self.n_pairs, *self._terms,
                       len(self._translations), backend.from_host(phases), len(chosen),
                       backend.from_host(np.array(chosen, dtype=np.int32)), n_bands, self._amplitudes, self._half,
                       self._scratch(2 * self._terms[4].shape[1] * self.mesh.crystal.n_atoms), output, per="scratch")
        self._workspace.points = chosen

    def operations(self, point1: np.ndarray) -> dict[str, float]:
        """Floating-point operations of `prepare` for one point and of `of` for triplets with these points."""
        n_bands = self.n_bands
        keys = np.unique(self._key[point1])
        outputs = [len(np.unique(keys >> shift)) for shift in (2 * _BITS, _BITS, 0)]
        places = [self.n_pairs, self._lines[0].count, self._lines[1].count]
        sums = sum(4 * 9 * n_bands * n * length for n, length in zip(outputs, places, strict=True))
        return {"leg 0": float(4 * _ELEMENTS * self.n_terms + 8 * 9 * n_bands * 3 * self.n_runs),
                "triplets": float(sums + 16 * n_bands**4 * len(point1))}

    # ---- triplets --------------------------------------------------------------------------------

    def of(self, point0: int, point1: np.ndarray, point2: np.ndarray, out: Any = None) -> Any:
        """N |Phi3|^2 of the triplets (point0, point1[t], point2[t]).

        Parameters
        ----------
        point0 : int
            Point of the mesh that all triplets share. Its leg 0 is kept until another one is asked for.
        point1, point2 : (T,) ndarray of int
            Points with q0 + q1 + q2 a reciprocal lattice vector, in any order. One call with many triplets costs less
            than several with few.
        out : (T, B, B, B) float64 array, optional
            Of the backend; written to.

        Returns
        -------
        (T, B, B, B) float64 array
            eV^2, index order leg 0, 1, 2; means over degenerate bands of each leg.
        """
        backend, n_bands = self.backend, self.n_bands
        if out is None:
            out = backend.xp.empty((len(point1), n_bands, n_bands, n_bands))
        if len(point1) == 0:
            return out
        if int(point0) not in self._workspace.points:
            self.prepare((int(point0),))
        place = self._workspace.points.index(int(point0))

        in_one_go = backend.device == "cpu" and n_bands < PRODUCTS_FROM
        stages, triplets = self._plan(int(point0), point1, point2, in_one_go)
        leg_0 = self._workspace.buffers["leg_0"]
        if in_one_go:
            self._finish(stages, triplets, leg_0, place, out)
            return out
        # triplets of each point q1
        first_triplet = np.searchsorted(triplets[:, 0], np.arange(stages[2].first_output[-1] + 1))
        on_device = backend.from_host(triplets)
        for x0, x1, along_x in self._transformed(0, stages[0], 0, 1, leg_0, -place):
            for y0, y1, along_y in self._transformed(1, stages[1], x0, x1, along_x, x0):
                for z0, z1, blocks in self._transformed(2, stages[2], y0, y1, along_y, y0):
                    self._contract(int(first_triplet[z0]), int(first_triplet[z1]), on_device, z0, blocks, out)
        return out

    def _plan(self, point0: int, point1: np.ndarray, point2: np.ndarray,
              in_one_go: bool) -> tuple[list[_Stage], np.ndarray]:
        """Jobs of the three directions, and triplets in the order of their points q1 (TRIPLET of cubic_strength.h)."""
        key = self._key[point1]
        by_key = np.argsort(key, kind="stable")
        count = len(key)
        lines_at_once = self._most[0] if in_one_go else self._lines[0].count
        budget = _STAGE_BYTES[self.backend.device]
        pairs_at_once = min(_MOST_PAIRS, max(1, budget // (2 * lines_at_once * self._block_bytes)))
        jobs = np.empty((3, count, _JOB), dtype=np.int32)
        first_output, first_child = np.empty((2, 3, count + 1), dtype=np.int32)
        triplets = np.empty((count, _TRIPLET), dtype=np.int32)
        n_jobs = np.empty(3, dtype=np.int32)
        by_stage = [table[stage] for stage in range(3) for table in (jobs, first_output, first_child)]
        self._host.launch("cubic_strength", "plan_lines", 0, count, key[by_key], by_key, point0,
                          *(np.ascontiguousarray(points, dtype=np.int32) for points in (point1, point2)), pairs_at_once,
                          *by_stage, triplets, n_jobs)
        return [_Stage(self.backend.from_host(j[:n]), j[:n, 0], output[:n + 1], child[:n + 1])
                for n, j, output, child in zip(n_jobs, jobs, first_output, first_child, strict=True)], triplets

    def _finish(self, stages: list[_Stage], triplets: Any, leg_0: Any, place: int, out: Any) -> None:
        """All after leg 0 in one kernel: a core keeps in its cache what a GPU shares out."""
        first, second, third = stages
        x, y, z = self._lines
        points = third.first_output[second.first_child[first.first_child]]
        blocks = (2 * _MOST_PAIRS * (self._most[0] + self._most[1] + 2) + 1
                  + int((points[1:] - points[:-1]).max()) * (z.count + 1))
        size = blocks * 2 * self._half + self._part_size
        self.backend.launch(
            "cubic_strength", "strengths_of_lines", 0, len(first.parents),
            first.jobs, first.first_output, first.first_child, self._lines_of[0], self._most[0], x.inputs, x.reaches,
            x.width, x.waves, second.jobs, second.first_output, second.first_child, self._lines_of[1], self._most[1],
            self._own_inputs[0], y.reaches, y.width, y.waves, third.jobs, third.first_output, third.first_child,
            self._own_inputs[1], z.reaches, z.width, z.waves, triplets, self._half, leg_0, place * x.set_size,
            self.n_bands, self._amplitudes, self._groups, self._has_groups, self._row, size, self._scratch(size), out)

    def _transformed(self, level: int, stage: _Stage, first_parent: int, last_parent: int, source: Any,
                     first_in_source: int) -> Any:
        """Outputs [first, last) of one stage for a range of parents, as many at a time as the budget holds."""
        lines = self._lines[level]
        begin, end = stage.jobs_of(first_parent, last_parent)
        bytes_of_output = lines.count * self._block_bytes
        target_bytes = _STAGE_BYTES[self.backend.device]
        while begin < end:
            limit = stage.first_output[begin] + max(1, target_bytes // bytes_of_output)
            last = max(begin + 1, int(np.searchsorted(stage.first_output, limit, side="right")) - 1)
            last = min(last, end)
            first_output, last_output = int(stage.first_output[begin]), int(stage.first_output[last])
            target = self._buffer(f"stage_{level}", (last_output - first_output) * (lines.count + 1) * 2 * self._half)
            self.backend.launch("cubic_strength", "transform_lines", begin * lines.count, last * lines.count,
                                stage.jobs, lines.count, lines.inputs, lines.reaches, lines.width, lines.waves,
                                self._half, lines.set_size, first_in_source, source, first_output, target,
                                self._buffer("bin", 2 * self._half))
            yield first_output, last_output, target
            begin = last

    def _contract(self, begin: int, end: int, triplets: Any, first_point: int, blocks: Any, out: Any) -> None:
        """Legs 1 and 2 of the triplets [begin, end), whose transformed blocks begin with those of first_point."""
        n_bands = self.n_bands
        if n_bands < PRODUCTS_FROM:
            self.backend.launch("cubic_strength", "contract_legs", begin, end, triplets, first_point, blocks,
                                self._half, n_bands, self._amplitudes, self._groups, self._has_groups, self._row,
                                self._scratch(self._part_size), out, per="scratch")
            return
        self._contract_by_products(begin, end, triplets, first_point, blocks, out)

    def _contract_by_products(self, begin: int, end: int, triplets: Any, first_point: int, blocks: Any,
                              out: Any) -> None:
        """Legs 1 and 2 as products of real matrices: [V_r V_i] [[U_r U_i], [-U_i U_r]] and the like."""
        backend, xp, n_bands, n = self.backend, self.backend.xp, self.n_bands, self.mesh.crystal.n_atoms
        modes = self._amplitudes[:self._amplitudes.size - self._spare].reshape(-1, 2, n_bands, n_bands)
        # 8 B^2 numbers for each leading band, in three arrays that are kept
        room = _PRODUCT_BYTES[backend.device] // backend.real.itemsize // (8 * n_bands**2)
        leading = max(1, min(n_bands, room))
        together = max(1, room // leading)
        set_size = (n * n + 1) * 2 * self._half
        for first in range(begin, end, together):
            last = min(first + together, end)
            count, rows = last - first, triplets[first:last]
            third = xp.empty((count, 2, n_bands, 2, n_bands), dtype=backend.real)
            parts = modes[rows[:, 3]]
            third[:, 0, :, 0], third[:, 0, :, 1] = parts[:, 0], parts[:, 1]
            third[:, 1, :, 0], third[:, 1, :, 1] = -parts[:, 1], parts[:, 0]
            third = third.reshape(count, 2 * n_bands, 2 * n_bands)
            second = modes[rows[:, 2]].transpose(0, 1, 3, 2).reshape(count, 2 * n_bands, n_bands)
            places = backend.to_host(rows[:, 0]) - first_point
            sets = blocks[int(places[0]) * set_size:(int(places[-1]) + 1) * set_size].reshape(-1, set_size)
            used = sets if count == 1 else sets[backend.from_host(places - places[0])]
            used = used[:, :-2 * self._half].reshape(count, n, n, 2, self._half)[..., :9 * n_bands]
            used = used.reshape(count, n, n, 2, 3, 3, n_bands).transpose(0, 3, 2, 5, 1, 4, 6)
            for band in range(0, n_bands, leading):
                bands = min(leading, n_bands - band)
                # rows: part and direction of k; columns: direction of j, and b0
                matrix = self._array("matrix", (count, 2, n, 3, n, 3, bands))
                matrix[...] = used[..., band:band + bands]
                matrix = matrix.reshape(count, 2 * n_bands, n_bands * bands).transpose(0, 2, 1)
                half = self._array("half", (count, n_bands * bands, 2 * n_bands))
                xp.matmul(matrix, third, out=half)
                products = self._array("products", (count, 2 * n_bands, bands * 2 * n_bands))
                xp.matmul(second, half.reshape(count, n_bands, bands * 2 * n_bands), out=products)
                backend.launch("cubic_strength", "square_products", first, last, triplets, band, bands, n_bands,
                               int(band + bands == n_bands), self._groups, self._has_groups, products, out)

    # ---- memory ----------------------------------------------------------------------------------

    def _buffer(self, name: str, size: int) -> Any:
        """An array of this thread with at least so many numbers, and room for loads past its end."""
        buffer = self._workspace.buffers.get(name)
        if buffer is None or buffer.size < size + self._spare:
            self._workspace.buffers.pop(name, None)
            # a processor takes pages when they are written to: room to grow costs nothing, and leaves no holes behind
            room = size if self.backend.device == "cpu" else size // 8
            buffer = self.backend.empty_aligned((size + room + self._spare,), self.backend.real)
            self._workspace.buffers[name] = buffer
        return buffer

    def _array(self, name: str, shape: tuple[int, ...]) -> Any:
        size = math.prod(shape)
        return self._buffer(name, size)[:size].reshape(shape)

    def _scratch(self, size: int) -> Any:
        slices = self.backend.scratch_slices if self.backend.device != "cpu" else 1
        return self._buffer("scratch", slices * size)


def _cheapest_order(difference: np.ndarray, atom_pair: np.ndarray, divisions: np.ndarray) -> tuple[int, int, int]:
    """Order of directions with the least D1 L1 + D1 D2 L2 + D1 D2 D3 L3; the given one if others are no better."""
    sizes = [int(d) for d in divisions]

    def lines(axes: tuple[int, ...]) -> int:
        code = atom_pair.astype(np.int64)
        for axis in axes:
            code = code * sizes[axis] + difference[:, axis] % sizes[axis]
        return len(_changes(np.sort(code)))

    several = {axes: lines(axes) for axes in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]}

    def cost(order: tuple[int, ...]) -> int:
        first, second, last = order
        return sizes[first] * (several[0, 1, 2] + sizes[second] * several[min(second, last), max(second, last)]) \
            + sizes[0] * sizes[1] * sizes[2] * several[last,]

    return min(itertools.permutations(range(3)), key=cost)  # type: ignore[return-value]
