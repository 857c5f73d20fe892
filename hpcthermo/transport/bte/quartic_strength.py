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

The third line is one matrix product for all q2 that share q0 and q1. Strengths of single bands depend on the choice of
eigenvectors where bands are degenerate; sums over degenerate bands do not (`hpcthermo.transport.bte.four_phonon`).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from hpcthermo.errors import InputError
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions, row_codes
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.strength import amplitudes

#: elements of leg 0 made at a time
_CHUNK = 2**22


class QuarticStrength:
    """Strengths of four phonons on a mesh.

    Parameters
    ----------
    mesh : Mesh
    phonons : Phonons
        On the whole mesh.
    fourth : Interactions
        Of order 4, eV/A^4; permutations of the legs listed each.

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

    def leg0(self, point0: int) -> np.ndarray:
        """A0: (terms, 27, B)."""
        phase = np.exp(-2j * np.pi * (self._last @ self.mesh.q[point0]))
        own = self.amplitudes[point0].reshape(-1, 3, self.n_bands)
        ends = np.append(self._terms, len(self._atoms))
        result = np.empty((len(self._terms), 27, self.n_bands), dtype=complex)
        together = max(1, _CHUNK // (27 * self.n_bands))
        begin = 0
        while begin < len(self._terms):
            # whole terms, as many members as fit
            end = max(begin + 1, int(np.searchsorted(ends, ends[begin] + together, side="right")) - 1)
            members = slice(ends[begin], ends[end])
            parts = self._values[members].transpose(0, 2, 1) @ (own[self._atoms[members]] * phase[members, None, None])
            result[begin:end] = np.add.reduceat(parts, self._terms[begin:end] - ends[begin], axis=0)
            begin = end
        return result

    def leg1(self, leg0: np.ndarray, point1: int) -> np.ndarray:
        """A1: (steps s, B, B, B, B0), components of legs 2 and 3, bands 1 and 0; from `leg0` of any B0 bands."""
        n, n_bands, n_first = self.mesh.crystal.n_atoms, self.n_bands, leg0.shape[2]
        phase = np.exp(2j * np.pi * (self._apart @ self.mesh.q[point1]))
        sums = csr_matrix((phase, np.arange(len(phase)), np.append(self._rows, len(phase))),
                          shape=(len(self._rows), len(phase))) @ leg0.reshape(len(phase), -1)
        n_places = len(self._step)
        spread = np.zeros((n_places, n, 3, 9 * n_first), dtype=complex)
        spread[self._place_of_row, self._second_atom] = sums.reshape(-1, 3, 9 * n_first)
        second = self.amplitudes[point1].T @ spread.reshape(n_places, n_bands, 9 * n_first)
        result = np.zeros((len(self._steps), n, 3, n, 3, n_bands, n_first), dtype=complex)
        result[self._step, self._third_atom, :, self._fourth_atom] = second.reshape(
            n_places, n_bands, 3, 3, n_first).transpose(0, 2, 3, 1, 4)
        return result.reshape(len(self._steps), n_bands, n_bands, n_bands, n_first)

    def legs23(self, leg1: np.ndarray, points2: np.ndarray, points3: np.ndarray) -> np.ndarray:
        """|V|^2 of bands 2, 3, 1, 0: (T, B, B, B, B0), eV^2; from `leg1` for points (T,) each."""
        n_bands, count = self.n_bands, len(points2)
        phase = np.exp(2j * np.pi * (self.mesh.q[points2] @ self._steps.T))
        sums = (phase @ leg1.reshape(len(self._steps), -1)).reshape(count, n_bands, -1)
        third = self.amplitudes[points2].transpose(0, 2, 1) @ sums
        last = self.amplitudes[points3].transpose(0, 2, 1)[:, None]
        found = last @ third.reshape(count, n_bands, n_bands, -1)
        strength: np.ndarray = found.real**2 + found.imag**2
        return strength.reshape(count, n_bands, n_bands, *leg1.shape[3:])


def _begins(keys: np.ndarray) -> np.ndarray:
    """First rows of runs of equal ones."""
    return np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
