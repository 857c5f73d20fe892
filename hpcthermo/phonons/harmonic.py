r"""Harmonic phonons.

The dynamical matrix and its eigenvalue problem:

    D_ia,jb(q) = (m_i m_j)^(-1/2) sum_R Phi(0 i a; R j b) exp(2 pi i q . R)        D e = w^2 e        f = w / 2 pi

    symbol   is
    q        wave vector in units of the reciprocal lattice vectors (fractional)
    R        lattice vector in units of the primitive ones: phases carry lattice vectors only, so that D and e are
             periodic in q
    f        frequency, THz; negative if w^2 is
    e        eigenvector, a column of length B = 3 n

An insulator's dipoles add a part of their own to D (`hpcthermo.phonons.nonanalytic`).

Slopes are taken in the gauge in which phases carry the positions of atoms, exp(2 pi i q . (R + tau_j - tau_i)), for
there eigenvectors change least along q; they are given for the eigenvectors of the lattice gauge:

    W_ia,jb = (m_i m_j)^(-1/2) sum_R i r Phi(0 i a; R j b) exp(2 pi i q . R)        r = (R + tau_j - tau_i) . a
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.nonanalytic import NonAnalytic
from hpcthermo.units import TIME_FS

#: (eV/A^2/amu)^(1/2) in THz
FREQUENCY_THZ = 1e3 / (2.0 * np.pi * TIME_FS)

#: of dynamical matrices made at a time
_CHUNK_BYTES = 2**25


@dataclass(frozen=True)
class Phonons:
    """Phonons at wave vectors.

    Attributes
    ----------
    q : (N, 3) ndarray
        Fractional.
    frequencies : (N, B) ndarray
        THz, ascending; imaginary ones negative.
    eigenvectors : (N, B, B) complex ndarray
        Columns [:, :, band]; rows x, y, z of atom 1, of atom 2, ...
    """

    q: np.ndarray
    frequencies: np.ndarray
    eigenvectors: np.ndarray

    def at(self, points: np.ndarray | slice) -> Phonons:
        """Those of some of the points."""
        return Phonons(self.q[points], self.frequencies[points], self.eigenvectors[points])

    def parts(self, most: int) -> Iterator[tuple[np.ndarray, Phonons]]:
        """All points in some order, at most so many at a time, and the phonons at them."""
        for begin in range(0, len(self.q), most):
            points = np.arange(begin, min(begin + most, len(self.q)))
            yield points, self.at(points)


class HarmonicCrystal:
    """Dynamical matrices and phonons of a crystal.

    Parameters
    ----------
    crystal : Crystal
    second : Interactions
        Of order 2.
    nonanalytic : NonAnalytic, optional
        Born charges and dielectric tensor of an insulator.
    """

    def __init__(self, crystal: Crystal, second: Interactions, nonanalytic: NonAnalytic | None = None) -> None:
        self.crystal, self.second = crystal, second
        self._dipoles = None if nonanalytic is None else nonanalytic.dipoles()
        if self._dipoles is not None:
            second = self._dipoles.short_range(second)
        n, n_bands = crystal.n_atoms, crystal.n_bands
        self._vectors, which = np.unique(second.vectors[:, 0], axis=0, return_inverse=True)
        blocks = np.zeros((len(self._vectors), n, 3, n, 3))
        weight = 1.0 / np.sqrt(crystal.masses[second.atoms[:, 0]] * crystal.masses[second.atoms[:, 1]])
        np.add.at(blocks.transpose(0, 1, 3, 2, 4), (which.ravel(), second.atoms[:, 0], second.atoms[:, 1]),
                  second.values * weight[:, None, None])
        self._blocks = blocks.reshape(len(self._vectors), n_bands * n_bands)

    @cached_property
    def _moved_blocks(self) -> np.ndarray:
        """Blocks times r, (3, R, B B)."""
        crystal = self.crystal
        positions = np.repeat(crystal.positions, 3, axis=0) @ crystal.cell
        apart = (positions[None, :, :] - positions[:, None, :]).reshape(-1, 3)
        vectors = self._vectors @ crystal.cell
        return np.stack([self._blocks * (vectors[:, c, None] + apart[:, c]) for c in range(3)])

    def dynamical_matrices(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """D(q), eV/(A^2 amu).

        Parameters
        ----------
        q : (N, 3) array
            Fractional.
        direction : (3,) array, optional
            Fractional; from which q comes to zero, where dipoles make it matter; without it their limit is left out
            there.

        Returns
        -------
        (N, B, B) complex ndarray
        """
        n_bands = self.crystal.n_bands
        found = np.empty((len(q), n_bands, n_bands), dtype=complex)
        for some in self._chunks(len(q)):
            found[some] = self._dynamical_matrices(q[some], direction)
        return found

    def _chunks(self, points: int) -> list[slice]:
        """Wave vectors whose matrices, and what makes them, are few bytes."""
        step = max(1, _CHUNK_BYTES // (16 * (self.crystal.n_bands**2 + len(self._vectors))))
        return [slice(i, i + step) for i in range(0, points, step)]

    def _dynamical_matrices(self, q: np.ndarray, direction: np.ndarray | None) -> np.ndarray:
        n_bands = self.crystal.n_bands
        angle = 2.0 * np.pi * (q @ self._vectors.T)
        matrix = (np.cos(angle) @ self._blocks + 1j * (np.sin(angle) @ self._blocks)).reshape(-1, n_bands, n_bands)
        if self._dipoles is not None:
            matrix += self._dipoles.dynamical_matrices(q, direction)
        return 0.5 * (matrix + matrix.conj().transpose(0, 2, 1))

    def slopes(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """W(q), slopes of D along the Cartesian axes of the wave vector 2 pi q, (3, N, B, B), eV/(A amu)."""
        n_bands = self.crystal.n_bands
        found = np.empty((3, len(q), n_bands, n_bands), dtype=complex)
        for some in self._chunks(len(q)):
            found[:, some] = self._slopes(q[some], direction)
        return found

    def _slopes(self, q: np.ndarray, direction: np.ndarray | None) -> np.ndarray:
        n_bands = self.crystal.n_bands
        angle = 2.0 * np.pi * (q @ self._vectors.T)
        matrix = -np.sin(angle) @ self._moved_blocks + 1j * (np.cos(angle) @ self._moved_blocks)
        matrix = matrix.reshape(3, -1, n_bands, n_bands)
        if self._dipoles is not None:
            matrix += self._dipoles.slopes(q, direction)
        return 0.5 * (matrix + matrix.conj().transpose(0, 1, 3, 2))

    def phonons(self, q: np.ndarray, direction: np.ndarray | None = None) -> Phonons:
        """Frequencies and eigenvectors at fractional q (N, 3); `direction` as for the dynamical matrices."""
        n_bands = self.crystal.n_bands
        squares = np.empty((len(q), n_bands))
        vectors = np.empty((len(q), n_bands, n_bands), dtype=complex)
        for some in self._chunks(len(q)):
            squares[some], vectors[some] = np.linalg.eigh(self._dynamical_matrices(q[some], direction))
        return Phonons(q, np.sign(squares) * np.sqrt(np.abs(squares)) * FREQUENCY_THZ, vectors)
