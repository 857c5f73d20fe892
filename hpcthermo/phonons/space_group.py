"""Space groups of crystals, by spglib: the one place that asks it, with one tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal

#: positions that symmetry maps onto each other agree to this, A
SYMMETRY_TOLERANCE = 1e-5
#: those of a structure before it is relaxed, A
ROUGH_TOLERANCE = 1e-3


def space_group_of(crystal: Crystal, kinds: np.ndarray | None = None,
                   tolerance: float = SYMMETRY_TOLERANCE) -> tuple[np.ndarray, np.ndarray]:
    """Operations (W|w) of the space group, x' = W x + w on fractional positions.

    Parameters
    ----------
    kinds : (n,) ndarray of int, optional
        Only atoms of one kind are mapped onto each other; elements without.
    tolerance : float
        A.

    Returns
    -------
    rotations : (G, 3, 3) ndarray of int
    translations : (G, 3) ndarray

    Raises
    ------
    InputError
        If spglib finds none, not even the identity.
    """
    structure: Any = crystal.cell, crystal.positions, crystal.numbers if kinds is None else kinds
    found = spglib.get_symmetry(structure, symprec=tolerance)
    if found is None:
        raise InputError("crystal: expected a cell whose symmetry spglib can find, got none; look for atoms at one "
                         "place")
    return found["rotations"].astype(int), found["translations"]


def primitive_cell(crystal: Crystal, kinds: np.ndarray,
                   tolerance: float = ROUGH_TOLERANCE) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Primitive cell of a crystal, turned and shifted as it is given.

    Returns
    -------
    cell : (3, 3) ndarray
        Rows, A.
    positions : (n, 3) ndarray
        Fractional.
    kinds : (n,) ndarray of int
        None in place of all three if spglib finds none.
    """
    structure: Any = crystal.cell, crystal.positions, kinds
    found: Any = spglib.standardize_cell(structure, to_primitive=True, no_idealize=True, symprec=tolerance)
    return found
