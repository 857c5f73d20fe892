r"""Harmonic phonons.

The dynamical matrix and its eigenvalue problem:

    D_ia,jb(q) = (m_i m_j)^(-1/2) sum_R Phi(0 i a; R j b) exp(2 pi i q . R)        D e = w^2 e        f = w / 2 pi

    symbol   is
    q        wave vector in units of the reciprocal lattice vectors (fractional)
    R        lattice vector in units of the primitive ones: phases carry lattice vectors only, so that D and e are
             periodic in q
    f        frequency, THz; negative if w^2 is
    e        eigenvector, a column of length B = 3 n
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.units import TIME_FS

#: (eV/A^2/amu)^(1/2) in THz
FREQUENCY_THZ = 1e3 / (2.0 * np.pi * TIME_FS)


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


class HarmonicCrystal:
    """Dynamical matrices and phonons of a crystal.

    Parameters
    ----------
    crystal : Crystal
    second : Interactions
        Of order 2.
    """

    def __init__(self, crystal: Crystal, second: Interactions) -> None:
        self.crystal, self.second = crystal, second
        n, n_bands = crystal.n_atoms, crystal.n_bands
        self._vectors, which = np.unique(second.vectors[:, 0], axis=0, return_inverse=True)
        blocks = np.zeros((len(self._vectors), n, 3, n, 3))
        weight = 1.0 / np.sqrt(crystal.masses[second.atoms[:, 0]] * crystal.masses[second.atoms[:, 1]])
        np.add.at(blocks.transpose(0, 1, 3, 2, 4), (which.ravel(), second.atoms[:, 0], second.atoms[:, 1]),
                  second.values * weight[:, None, None])
        self._blocks = blocks.reshape(len(self._vectors), n_bands * n_bands)

    def dynamical_matrices(self, q: np.ndarray) -> np.ndarray:
        """D(q), (N, B, B), eV/(A^2 amu), for fractional q (N, 3)."""
        n_bands = self.crystal.n_bands
        angle = 2.0 * np.pi * (q @ self._vectors.T)
        matrix = (np.cos(angle) @ self._blocks + 1j * (np.sin(angle) @ self._blocks)).reshape(-1, n_bands, n_bands)
        return 0.5 * (matrix + matrix.conj().transpose(0, 2, 1))

    def phonons(self, q: np.ndarray) -> Phonons:
        """Frequencies and eigenvectors at fractional q (N, 3)."""
        squares, vectors = np.linalg.eigh(self.dynamical_matrices(q))
        return Phonons(q, np.sign(squares) * np.sqrt(np.abs(squares)) * FREQUENCY_THZ, vectors)
