"""Supercells built for finite displacements, and the operations of the space group that they keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell
from phonopy.structure.symmetry import Symmetry

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.space_group import SYMMETRY_TOLERANCE


def build_supercell(crystal: Crystal, matrix: np.ndarray) -> Supercell:
    """The supercell whose lattice vectors are ``matrix @ crystal.cell``, all images of an atom after one another.

    Parameters
    ----------
    matrix : (3, 3) or (3,) array of int
        Rows are the vectors of the supercell in terms of the primitive ones; three numbers stand for a diagonal matrix.

    Raises
    ------
    InputError
        If the matrix is singular, or mixes a direction without periodicity with others.
    """
    matrix = np.asarray(matrix)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    if matrix.shape != (3, 3) or np.abs(matrix - np.rint(matrix)).max() > 0 or round(np.linalg.det(matrix)) == 0:
        raise InputError(f"supercell: expected three integers or a 3 x 3 matrix of integers with a volume, got "
                         f"{matrix.tolist()}")
    for axis in np.flatnonzero(~np.array(crystal.periodic)):
        if (matrix[axis] != np.eye(3)[axis]).any() or (matrix[:, axis] != np.eye(3)[axis]).any():
            raise InputError(f"supercell: expected 1 and zeros along direction {axis + 1}, in which the sheet is not "
                             f"periodic, got {matrix.tolist()}")
    # reversed vectors span the same lattice, with the handedness that phonopy asks for; it counts them as columns
    matrix = matrix if np.linalg.det(matrix) > 0 else -matrix
    built = get_supercell(_as_phonopy(crystal.cell, crystal.positions, crystal.symbols), matrix.T)
    return Supercell.match(crystal, built.cell, built.scaled_positions, list(built.symbols))


def _as_phonopy(cell: np.ndarray, positions: np.ndarray, symbols: tuple[str, ...] | list[str]) -> PhonopyAtoms:
    return PhonopyAtoms(symbols=list(symbols), cell=cell, scaled_positions=positions)


def phonopy_atoms(supercell: Supercell) -> PhonopyAtoms:
    """The supercell as phonopy holds it."""
    symbols = [supercell.crystal.symbols[i] for i in supercell.atom_of]
    return _as_phonopy(supercell.cell, supercell.positions, symbols)


@dataclass(frozen=True)
class SpaceGroup:
    """Operations that map a supercell onto itself, its lattice translations included.

    Attributes
    ----------
    phonopy : Symmetry
        As phonopy holds it, for its displacement directions.
    rotations : (G, 3, 3) ndarray of int
        On fractional coordinates of the supercell (columns).
    cartesian : (G, 3, 3) ndarray
        On vectors (columns).
    permutations : (G, N_s) ndarray of int
        Operation g takes atom J to the place of atom ``permutations[g, J]``.
    """

    phonopy: Symmetry
    rotations: np.ndarray
    cartesian: np.ndarray
    permutations: np.ndarray

    @classmethod
    def of(cls, supercell: Supercell) -> SpaceGroup:
        """Found by spglib."""
        symmetry = Symmetry(phonopy_atoms(supercell), symprec=SYMMETRY_TOLERANCE)
        operations = symmetry.symmetry_operations
        rotations = np.asarray(operations["rotations"])
        columns = supercell.cell.T
        cartesian = columns @ rotations @ np.linalg.inv(columns)
        images = np.einsum("gab,nb->gna", rotations, supercell.positions) + operations["translations"][:, None, :]
        return cls(symmetry, rotations, cartesian, _places(images, supercell))

    @property
    def independent_atoms(self) -> np.ndarray:
        """One atom of each set of equivalent ones, the first."""
        return np.asarray(self.phonopy.get_independent_atoms())

    def fixing(self, atom: int) -> np.ndarray:
        """Operations of the site symmetry: those that leave an atom in its place."""
        return np.flatnonzero(self.permutations[:, atom] == atom)

    def taking(self, atoms: np.ndarray, target: int) -> tuple[int, int]:
        """An atom of the list and an operation that takes it to the target."""
        operation, which = np.argwhere(self.permutations[:, atoms] == target)[0]
        return int(atoms[which]), int(operation)


def _places(images: np.ndarray, supercell: Supercell) -> np.ndarray:
    """Atoms at which images of atoms come to lie, (G, N_s), for fractional images (G, N_s, 3)."""
    from scipy.spatial import cKDTree

    # wrapped with a margin: a coordinate at 1 - epsilon is the same as one at 0
    margin = 0.5 * SYMMETRY_TOLERANCE / np.linalg.norm(supercell.cell, axis=1)
    tree = cKDTree(np.mod(supercell.positions + margin, 1.0) % 1.0, boxsize=1.0)
    place = tree.query(np.mod(images + margin, 1.0).reshape(-1, 3) % 1.0)[1]
    found = np.asarray(place).reshape(images.shape[:2])
    apart = images - supercell.positions[found]
    apart -= np.rint(apart)
    if np.linalg.norm(apart @ supercell.cell, axis=2).max() > 10 * SYMMETRY_TOLERANCE:
        raise InputError("supercell: expected atoms on symmetric positions, got a structure whose symmetry holds only "
                         f"roughly (tolerance {SYMMETRY_TOLERANCE} A); symmetrise or relax it first")
    return found
