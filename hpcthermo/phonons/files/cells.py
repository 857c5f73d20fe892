"""Cells as files give them, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell

#: atoms closer than this are the same one written twice, A
CLOSEST = 0.05


def standard_mass(symbol: str, where: str) -> float:
    """Standard atomic weight of an element, amu; numbers after the element (Fe1) are left out."""
    from ase.data import atomic_masses, atomic_numbers

    number = atomic_numbers.get(symbol.rstrip("0123456789"))
    if not number:
        raise InputError(f"{where}: expected elements, got {symbol[:20]!r}; correct the symbol or give a mass")
    return float(atomic_masses[number])


def require_crystal(crystal: Crystal, where: str) -> None:
    """Refuse a cell without volume and atoms without mass."""
    if not crystal.volume > 1e-3 * crystal.n_atoms:
        raise InputError(f"{where}.lattice: expected three independent vectors in A, got a volume of "
                         f"{crystal.volume:.3g} A^3; correct the cell")
    if np.abs(crystal.cell).max() > 1e4 or np.abs(crystal.positions).max() > 1e3:
        raise InputError(f"{where}: expected a cell of at most 10,000 A and fractional positions, got "
                         f"{np.abs(crystal.cell).max():.3g} A and {np.abs(crystal.positions).max():.3g}; correct them")
    apart = crystal.positions[:, None, :] - crystal.positions[None, :, :]
    distance = np.linalg.norm((apart - np.rint(apart)) @ crystal.cell, axis=2) + np.eye(crystal.n_atoms)
    if distance.min() < CLOSEST:
        raise InputError(f"{where}: expected atoms apart from each other, got two within {distance.min():.2g} A; "
                         "correct the positions")
    if not (crystal.masses > 0.0).all():
        raise InputError(f"{where}: expected positive masses, got {crystal.masses.min():g} amu; correct the masses")


def match_supercell(crystal: Crystal, cell: Crystal, reduced: list[Any], where: str) -> Supercell:
    """Recognise a supercell; ``reduced`` says, from 1, which of its atoms stands for each, or None."""
    try:
        supercell = Supercell.match(crystal, cell.cell, cell.positions, cell.symbols)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if all(isinstance(index, int) and 1 <= index <= cell.n_atoms for index in reduced):
        standing = np.array(reduced) - 1
        firsts = np.array([standing[np.flatnonzero(supercell.atom_of == i)[0]] for i in range(crystal.n_atoms)])
        if (supercell.atom_of[firsts] != np.arange(crystal.n_atoms)).any():
            raise InputError(f"{where}: expected reduced_to to name an image of the same atom, got another; is the "
                             "file edited?")
        supercell = Supercell(crystal, supercell.cell, supercell.positions, supercell.atom_of, firsts)
    return supercell
