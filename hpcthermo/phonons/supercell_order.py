"""Atoms of a supercell by their lattice vectors: what translations do to them, and how two orders of them correspond.

symbol   is
R_J      lattice vector of atom J, in units of the primitive ones: place of J = R_J + tau of its atom
code     one integer for an atom of the primitive cell and R modulo the supercell
"""

from __future__ import annotations

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell


class SupercellOrder:
    """Finds atoms of a supercell by atom of the primitive cell and lattice vector.

    Attributes
    ----------
    lattice : (N_s, 3) ndarray of int
        R_J.
    """

    def __init__(self, supercell: Supercell) -> None:
        self.supercell = supercell
        crystal = supercell.crystal
        to_primitive = supercell.cell @ np.linalg.inv(crystal.cell)
        self._to_supercell = np.linalg.inv(to_primitive)
        self.lattice = np.rint(supercell.positions @ to_primitive - crystal.positions[supercell.atom_of]).astype(int)
        self._cells = supercell.n_atoms // crystal.n_atoms
        codes = self._codes(supercell.atom_of, self.lattice)
        self._order = np.argsort(codes)
        self._sorted = codes[self._order]

    def _codes(self, atoms: np.ndarray, lattice: np.ndarray) -> np.ndarray:
        """Lattice vectors have a denominator that divides the number of cells, in units of the supercell's."""
        address = np.rint((lattice @ self._to_supercell) * self._cells).astype(np.int64) % self._cells
        code = atoms
        for axis in range(3):
            code = code * self._cells + address[..., axis]
        return np.asarray(code)

    def find(self, atoms: np.ndarray, lattice: np.ndarray) -> np.ndarray:
        """Atoms of the supercell, (...), for atoms of the primitive cell (...) in cells (..., 3)."""
        place = np.searchsorted(self._sorted, self._codes(atoms, lattice))
        return np.asarray(self._order[place % len(self._order)])

    @property
    def brought_home(self) -> np.ndarray:
        """(N_s, N_s): row J is where all atoms go under the translation that takes atom J to its representative."""
        supercell = self.supercell
        back = self.lattice[supercell.origin_of][supercell.atom_of] - self.lattice
        target = self.lattice[None, :, :] + back[:, None, :]
        return self.find(np.broadcast_to(supercell.atom_of, target.shape[:2]), target)


def full_from_compact(supercell: Supercell, values: np.ndarray) -> np.ndarray:
    """(N_s, N_s, ..., 3, ...) from compact force constants (n, N_s, ..., 3, ...)."""
    order = values.ndim // 2
    full = np.empty((supercell.n_atoms, *values.shape[1:]))
    for atom, places in enumerate(SupercellOrder(supercell).brought_home):
        full[atom] = values[supercell.atom_of[atom]][np.ix_(*(places,) * (order - 1))]
    return full


def reordered(supercell: Supercell, values: np.ndarray, target: Supercell) -> np.ndarray:
    """Compact force constants for the same supercell with its atoms in another order.

    Raises
    ------
    InputError
        If the supercells are not the same.
    """
    ratio = target.cell @ np.linalg.inv(supercell.cell)
    if np.abs(ratio - np.rint(ratio)).max() > 1e-3 or target.n_atoms != supercell.n_atoms:
        raise InputError("supercell: expected another order of the same atoms, got another cell")
    here, there = SupercellOrder(supercell), SupercellOrder(target)
    result = np.empty_like(values)
    for i in range(supercell.crystal.n_atoms):
        shift = here.lattice[supercell.origin_of[i]] - there.lattice[target.origin_of[i]]
        places = here.find(target.atom_of, there.lattice + shift)
        result[i] = values[i][np.ix_(*(places,) * (values.ndim // 2 - 1))]
    return result
