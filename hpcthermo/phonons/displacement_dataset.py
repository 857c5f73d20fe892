"""Displaced supercells, and the forces in them once they are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hpcthermo.errors import InputError


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

    def with_forces(self, forces: np.ndarray, residual: np.ndarray | None = None) -> DisplacementDataset:
        """The dataset with forces (C, N_s, 3), less those of the undisplaced supercell, ``residual`` (N_s, 3).

        Raises
        ------
        InputError
            If there are other numbers of cells, or forces that are not numbers.
        """
        if forces.ndim != 3 or len(forces) != self.n_cells or forces.shape[2] != 3:
            raise InputError(f"forces: expected one array (N_s, 3) for each of the {self.n_cells} displaced "
                             f"supercells, got the shape {forces.shape}")
        bad = np.flatnonzero(~np.isfinite(forces).all(axis=(1, 2)))
        if len(bad):
            raise InputError(f"forces: expected finite numbers, got others in {len(bad)} displaced supercells, "
                             f"first in number {bad[0] + 1}; calculate these again")
        return replace(self, forces=forces if residual is None else forces - residual)
