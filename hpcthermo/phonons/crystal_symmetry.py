r"""What operations of the space group do to the atoms of a crystal.

An operation g = (W|w) takes atom i of cell R, at R + tau_i, to

    W (R + tau_i) + w = W R + s_gi + tau_(g i),

atom g i of cell W R + s_gi.

    symbol    is
    W, w      rotation (on columns) and translation in units of the lattice vectors
    tau_i     position of atom i in its cell
    s_gi      lattice vector of the cell in which the image of atom (i, 0) lies
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import PLACE_TOLERANCE, Crystal
from hpcthermo.phonons.space_group import space_group_of


@dataclass(frozen=True)
class CrystalSymmetry:
    """Operations of the space group, up to lattice translations.

    Attributes
    ----------
    crystal : Crystal
    rotations : (G, 3, 3) ndarray of int
        W.
    atom_images : (G, n) ndarray of int
        g i.
    shifts : (G, n, 3) ndarray of int
        s_gi.
    """

    crystal: Crystal
    rotations: np.ndarray
    atom_images: np.ndarray
    shifts: np.ndarray

    @classmethod
    def of(cls, crystal: Crystal) -> CrystalSymmetry:
        """All operations, found by spglib.

        Raises
        ------
        InputError
            If there are none, or one takes an atom to where none of its element is.
        """
        rotations, translations = space_group_of(crystal)
        foreign = crystal.numbers[:, None] != crystal.numbers[None, :]
        atom_images = np.empty((len(rotations), crystal.n_atoms), dtype=int)
        shifts = np.empty((len(rotations), crystal.n_atoms, 3), dtype=int)
        for g, (rotation, translation) in enumerate(zip(rotations, translations, strict=True)):
            images = crystal.positions @ rotation.T + translation
            apart = images[:, None, :] - crystal.positions
            distance = np.linalg.norm((apart - np.rint(apart)) @ crystal.cell, axis=2)
            distance[foreign] = np.inf
            if distance.min(axis=1).max() > 100 * PLACE_TOLERANCE:
                raise InputError("crystal: expected an operation of its space group, got one that moves atoms "
                                 "elsewhere")
            atom_images[g] = distance.argmin(axis=1)
            shifts[g] = np.rint(images - crystal.positions[atom_images[g]])
        return cls(crystal, rotations, atom_images, shifts)

    @property
    def cartesian(self) -> np.ndarray:
        """Rotations on Cartesian columns, (G, 3, 3)."""
        columns = self.crystal.cell.T
        return np.asarray(columns @ self.rotations @ np.linalg.inv(columns))

    def some(self, operations: np.ndarray) -> CrystalSymmetry:
        """Some of the operations, by index or mask."""
        return CrystalSymmetry(self.crystal, self.rotations[operations], self.atom_images[operations],
                               self.shifts[operations])

    def kept_by(self, supercell: np.ndarray) -> CrystalSymmetry:
        """The operations that map the lattice of a supercell, rows (3, 3) in A, onto itself."""
        turned = supercell @ np.swapaxes(self.cartesian, 1, 2) @ np.linalg.inv(supercell)
        return self.some(np.abs(turned - np.rint(turned)).max(axis=(1, 2)) < 1e-3)

    def images(self, operation: int, atoms: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images of atoms (...) in cells (..., 3): atoms and lattice vectors."""
        return (self.atom_images[operation][atoms],
                vectors @ self.rotations[operation].T + self.shifts[operation][atoms])
