"""Displaced supercells, and the forces in them once they are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DisplacementDataset:
    """Displaced supercells, and the forces in them once they are known.

    Attributes
    ----------
    atoms : (C, m) ndarray of int
        Displaced atoms of the supercell; -1 fills up rows with fewer. An atom may stand twice: displacements add.
    vectors : (C, m, 3) ndarray
        Displacements, A, Cartesian.
    forces : (C, N_s, 3) ndarray or None
        eV/A.
    """

    atoms: np.ndarray
    vectors: np.ndarray
    forces: np.ndarray | None = None

    @property
    def n_cells(self) -> int:
        """Number of displaced supercells, C."""
        return len(self.atoms)

    def dense(self, n_atoms: int) -> np.ndarray:
        """Displacements of all atoms, (C, N_s, 3)."""
        displacements = np.zeros((self.n_cells, n_atoms, 3))
        cell, slot = np.nonzero(self.atoms >= 0)
        np.add.at(displacements, (cell, self.atoms[cell, slot]), self.vectors[cell, slot])
        return displacements
