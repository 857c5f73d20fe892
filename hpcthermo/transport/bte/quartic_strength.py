r"""Interaction strengths of four phonons.

    V(b0 b1 b2 b3) = sum_{ijkm R1 R2 R3} Phi(0 i, R1 j, R2 k, R3 m) U_i(q0 b0) U_j(q1 b1) U_k(q2 b2) U_m(q3 b3) f
    f = exp(2 pi i (q1.R1 + q2.R2 + q3.R3))
    U_i(q b) = (hbar / 2 m_i w)^(1/2) e_i(q b)                                    q0 + q1 + q2 + q3 = G

|V|^2 is N^2 |Phi4|^2 of H = (1/4!) sum Phi4 A A A A, in eV^2. With q3 = G - q0 - q1 - q2, r = R1 - R3 and s = R2 - R3
the phase is exp(2 pi i (q1.r + q2.s - q0.R3)), so the sums are nested, each done once for all that follows:

    A0(jkm rs; b0)      = sum_i U_i(q0 b0) sum_R3 Phi(0 i, R3 + r j, R3 + s k, R3 m) exp(-2 pi i q0.R3)
    A1(km s; b0 b1)     = sum_j U_j(q1 b1) sum_r A0(jkm rs; b0) exp(2 pi i q1.r)
    A2(km; b0 b1)       = sum_s A1(km s; b0 b1) exp(2 pi i q2.s)
    V                   = sum_km A2(km; b0 b1) U_k(q2 b2) U_m(q3 b3)

The third line is one matrix product for all q2 that share q0 and q1. Of the bands of leg 0 and the columns (b1 b0) so
many are taken at a time that no array has more than `MOST_BYTES`, or one band and one vector of lanes. Strengths of
single bands depend on the choice of eigenvectors where bands are degenerate; sums over degenerate bands do not
(`hpcthermo.transport.bte.four_phonon`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions, row_codes
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.strength import amplitudes

#: of one array, bytes; there are about ten of this size at a time
MOST_BYTES = 2**21
_COMPLEX_BYTES = 16


class Workspace:
    """Arrays that a thread uses again and again: fresh memory takes longer than what is done in it."""

    def __init__(self) -> None:
        self._held: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type = float) -> np.ndarray:
        """An array with whatever is in it, until it is taken again."""
        count, held = math.prod(shape), self._held.get(name)
        if held is None or len(held) < count:
            held = self._held[name] = np.empty(count, dtype=dtype)
        return held[:count].reshape(shape)


@dataclass(frozen=True)
class QuarticSize:
    """How large the sums are, and what they cost.

    Attributes
    ----------
    n_bands : int
    n_terms, n_places, n_steps : int
        Of the sums above: (jkm rs), (km s) and s.
    """

    n_bands: int
    n_terms: int
    n_places: int
    n_steps: int

    @classmethod
    def of_cutoff(cls, supercell: Supercell, near: np.ndarray) -> QuarticSize:
        """Of force constants between all quadruples of atoms that are near each other, (N_s, N_s) bool."""
        n_terms = n_places = 0
        steps = []
        for row, home in enumerate(supercell.origin_of):
            around = np.flatnonzero(near[home])
            n_places += len(around)
            n_terms += int(near[np.ix_(around, around)].sum())
            steps.append(supercell.images[1][row, around, 0])
        return cls(supercell.crystal.n_bands, n_terms, n_places, len(np.unique(np.concatenate(steps), axis=0)))

    @classmethod
    def of_interactions(cls, n_bands: int, fourth: Interactions) -> QuarticSize:
        """Of a list."""
        apart = fourth.vectors[:, :2] - fourth.vectors[:, 2:]
        keys = np.column_stack([apart[:, 1], fourth.atoms[:, 2:], fourth.atoms[:, 1], apart[:, 0]])
        return cls(n_bands, *(len(np.unique(row_codes(keys[:, :columns]))) for columns in (9, 5, 3)))

    @property
    def bands_together(self) -> int:
        """Bands of leg 0 that are taken at a time."""
        of_a_band = _COMPLEX_BYTES * max(27 * self.n_terms, 9 * self.n_bands * self.n_places)
        return max(1, min(self.n_bands, MOST_BYTES // of_a_band))

    def columns(self, lanes: int) -> tuple[int, int]:
        """Bands 1 that are taken at a time, and columns (b1 b0) of them, padded to whole lanes."""
        room = MOST_BYTES // (_COMPLEX_BYTES * self.n_bands**2 * max(lanes, self.n_steps))
        seconds = max(1, min(self.n_bands, room // self.bands_together))
        return seconds, -(-seconds * self.bands_together // lanes) * lanes

    def pairs_together(self, n_own: int) -> int:
        """Pairs whose strengths are held at a time."""
        return max(1, MOST_BYTES // (_COMPLEX_BYTES * self.n_bands**2 * n_own))

    def points_together(self, n_own: int) -> int:
        """Points q1 whose A1 is held at a time."""
        return max(1, MOST_BYTES // (_COMPLEX_BYTES * self.n_steps * self.n_bands**2 * n_own))

    def thread_bytes(self, lanes: int) -> float:
        """Memory of a thread: legs 0 and 1, and sums, strengths and amounts of pairs."""
        bands, n_own = self.bands_together, self.columns(lanes)[1]
        leg0, leg1 = 27 * self.n_terms * bands, 9 * self.n_bands * self.n_places * bands
        points, pairs = self.points_together(n_own), self.pairs_together(n_own)
        of_pair = self.n_bands**2 * n_own
        return _COMPLEX_BYTES * (2.0 * leg0 + points * (3.0 * leg1 + self.n_steps * of_pair) + 5.5 * pairs * of_pair)

    @property
    def operations_of_pair(self) -> float:
        """Of one pair (q1, q2): products of matrices, and energy conservation of seven kinds of processes."""
        return float(self.n_bands**4) * (8.0 * self.n_steps + 16.0 * self.n_bands + 100.0)


class QuarticStrength:
    """Strengths of four phonons on a mesh.

    Parameters
    ----------
    mesh : Mesh
    phonons : Phonons
        On the whole mesh.
    fourth : Interactions
        Of order 4, eV/A^4; permutations of the legs listed each.

    Attributes
    ----------
    size : QuarticSize

    Raises
    ------
    InputError
        If the force constants are not of order 4.
    """

    def __init__(self, mesh: Mesh, phonons: Phonons, fourth: Interactions) -> None:
        if fourth.order != 4:
            raise InputError(f"fourth-order force constants: expected order 4, got {fourth.order}; give crystal.fc4")
        self.mesh = mesh
        self.amplitudes = amplitudes(mesh, phonons)
        self.n_bands = mesh.crystal.n_bands
        steps, which = np.unique(fourth.vectors[:, 1] - fourth.vectors[:, 2], axis=0, return_inverse=True)
        self._steps = steps
        apart = fourth.vectors[:, 0] - fourth.vectors[:, 2]
        keys = np.column_stack([which.ravel(), fourth.atoms[:, 2], fourth.atoms[:, 3], fourth.atoms[:, 1], apart])
        order = np.argsort(row_codes(keys), kind="stable")
        keys = keys[order]
        self._atoms, self._last = fourth.atoms[order, 0], fourth.vectors[order, 2]
        self._values = fourth.values[order].reshape(-1, 3, 27)
        self._terms = _begins(keys)
        terms = keys[self._terms]
        self._apart = terms[:, 4:]
        self._rows = _begins(terms[:, :4])
        rows = terms[self._rows]
        self._second_atom = rows[:, 3]
        places = _begins(rows[:, :3])
        self._place_of_row = np.repeat(np.arange(len(places)), np.diff(np.append(places, len(rows))))
        self._step, self._third_atom, self._fourth_atom = rows[places, :3].T
        self.size = QuarticSize(self.n_bands, len(terms), len(places), len(steps))

    def leg0(self, point0: int, bands: slice) -> np.ndarray:
        """A0: (terms, 27, B0)."""
        phase = np.exp(-2j * np.pi * (self._last @ self.mesh.q[point0]))
        own = self.amplitudes[point0].reshape(-1, 3, self.n_bands)[:, :, bands]
        ends = np.append(self._terms, len(self._atoms))
        result = np.empty((self.size.n_terms, 27, own.shape[2]), dtype=complex)
        together = max(1, MOST_BYTES // (_COMPLEX_BYTES * 27 * own.shape[2]))
        begin = 0
        while begin < self.size.n_terms:
            # whole terms, as many members as fit
            end = max(begin + 1, int(np.searchsorted(ends, ends[begin] + together, side="right")) - 1)
            members = slice(ends[begin], ends[end])
            parts = self._values[members].transpose(0, 2, 1) @ (own[self._atoms[members]] * phase[members, None, None])
            result[begin:end] = np.add.reduceat(parts, self._terms[begin:end] - ends[begin], axis=0)
            begin = end
        return result

    def leg1(self, leg0: np.ndarray, points1: np.ndarray, work: Workspace) -> np.ndarray:
        """A1: (points (G,), places, 3, 3, B, B0), axes of legs 2 and 3, bands 1 and 0; from `leg0` of any B0 bands."""
        from scipy.sparse import csr_matrix

        n, n_bands, n_first, n_places = self.mesh.crystal.n_atoms, self.n_bands, leg0.shape[2], self.size.n_places
        count, n_terms, n_rows = len(points1), self.size.n_terms, len(self._rows)
        phase = np.exp(2j * np.pi * (self.mesh.q[points1] @ self._apart.T))
        # one row of the sparse matrix for each point and row of terms
        ends = np.append(np.add.outer(n_terms * np.arange(count), self._rows).ravel(), count * n_terms)
        sums = csr_matrix((phase.ravel(), np.tile(np.arange(n_terms), count), ends),
                          shape=(count * n_rows, n_terms)) @ leg0.reshape(n_terms, -1)
        spread = work.take("spread", (count, n_places, n, 3, 9 * n_first), complex)
        spread.fill(0.0)
        spread[:, self._place_of_row, self._second_atom] = sums.reshape(count, n_rows, 3, 9 * n_first)
        second = self.amplitudes[points1].transpose(0, 2, 1)[:, None] @ spread.reshape(count, n_places, n_bands, -1)
        return second.reshape(count, n_places, n_bands, 3, 3, n_first).transpose(0, 1, 3, 4, 2, 5)

    def steps(self, leg1: np.ndarray, n_own: int, work: Workspace) -> np.ndarray:
        """A1 of all steps s, (G, steps, B B n_own): from some bands 1 of `leg1`, padded to n_own columns (b1 b0)."""
        n, count = self.mesh.crystal.n_atoms, len(leg1)
        result = work.take("steps", (count, self.size.n_steps, n, 3, n, 3, n_own), complex)
        result.fill(0.0)
        values = leg1.reshape(*leg1.shape[:4], -1)
        result[:, self._step, self._third_atom, :, self._fourth_atom, :, :values.shape[4]] = values.swapaxes(0, 1)
        return result.reshape(count, self.size.n_steps, -1)

    def legs23(self, steps: np.ndarray, first: np.ndarray, points2: np.ndarray, points3: np.ndarray,
               work: Workspace) -> np.ndarray:
        """|V|^2 of bands 2, 3 and columns (b1 b0): (T, B, B, n_own), eV^2.

        Parameters
        ----------
        steps : (G, steps, B B n_own)
        first : (T,) array of int
            Which of the G points q1 belongs to each pair, ascending.
        points2, points3 : (T,) array of int
        """
        n_bands, count = self.n_bands, len(points2)
        phase = np.exp(2j * np.pi * (self.mesh.q[points2] @ self._steps.T))
        columns = steps.shape[2] // n_bands**2
        whole = (count, n_bands, n_bands, columns)
        sums = work.take("sums", (count, steps.shape[2]), complex)
        begins = _begins(first[:, None])
        for begin, end in zip(begins, np.append(begins[1:], count), strict=True):
            np.matmul(phase[begin:end], steps[first[begin]], out=sums[begin:end])
        third = np.matmul(self.amplitudes[points2].transpose(0, 2, 1), sums.reshape(count, n_bands, -1),
                          out=work.take("third", (count, n_bands, n_bands * columns), complex))
        found = np.matmul(self.amplitudes[points3].transpose(0, 2, 1)[:, None], third.reshape(whole),
                          out=work.take("found", whole, complex))
        strength: np.ndarray = np.square(found.real, out=work.take("strength", whole))
        strength += np.square(found.imag, out=work.take("square", whole))
        return strength


def _begins(keys: np.ndarray) -> np.ndarray:
    """First rows of runs of equal ones."""
    return np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
