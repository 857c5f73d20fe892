"""Honeycomb layers as four-atom rectangular cells, and how layers of one material are stacked.

A honeycomb sheet of lattice constant a has the rectangular cell (a, sqrt(3) a) with x along zigzag and y along
armchair. In fractions of that cell its two sublattices, 0 and 1, sit at

    sublattice 0: (0, 0), (1/2, 1/2)        sublattice 1: (1/2, 1/6), (0, 2/3)

so that bonds have the length a / sqrt(3) = b / 3 and a shift by (0, 1/3) moves a sheet by one bond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: fractional x, y and sublattice of the four atoms
RECTANGULAR_BASIS = np.array([[0.0, 0.0], [0.5, 1.0 / 6.0], [0.5, 0.5], [0.0, 2.0 / 3.0]])
RECTANGULAR_SUBLATTICE = np.array([0, 1, 0, 1])


@dataclass(frozen=True)
class Honeycomb:
    """A two-dimensional honeycomb crystal.

    Attributes
    ----------
    species : tuple of str
        Chemical symbols on sublattices 0 and 1.
    lattice_constant : float
        a in A.
    source : str
        Where the lattice constant comes from.
    """

    species: tuple[str, str]
    lattice_constant: float
    source: str


#: experimental constants; NEP and PBE+MBD give the same two digits (Liang et al. 2025, Table S1)
MATERIALS = {
    "graphene": Honeycomb(("C", "C"), 2.46, "Liang et al. 2025, Table S1, column Expt."),
    "h-BN": Honeycomb(("B", "N"), 2.50, "Liang et al. 2025, Table S1, column Expt."),
}


@dataclass(frozen=True)
class Stacking:
    """Placement of layer k of a material: entry k modulo the length of the tables.

    Attributes
    ----------
    shifts : tuple of float
        Shift along y in fractions of the rectangular cell.
    swaps : tuple of bool
        Whether the species of the two sublattices change places.
    """

    shifts: tuple[float, ...]
    swaps: tuple[bool, ...]


STACKINGS = {
    "AA": Stacking((0.0,), (False,)),
    "AA'": Stacking((0.0, 0.0), (False, True)),
    "AB": Stacking((0.0, 1.0 / 3.0), (False, False)),
    "ABC": Stacking((0.0, 1.0 / 3.0, 2.0 / 3.0), (False, False, False)),
}
