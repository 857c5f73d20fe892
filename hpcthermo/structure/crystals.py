"""Three-dimensional crystals by name: prototype, lattice constant and its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.errors import InputError

_CENTRINGS = {
    "P": [[0.0, 0.0, 0.0]],
    "I": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
    "F": [[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]],
}
#: rows are primitive vectors in terms of the cubic ones
_PRIMITIVE = {
    "P": np.eye(3),
    "I": 0.5 * np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]]),
    "F": 0.5 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
}
#: prototype -> centring and the atoms of one lattice point: index of the species, place in the cubic cell
_PROTOTYPES: dict[str, tuple[str, list[tuple[int, tuple[float, float, float]]]]] = {
    "fcc": ("F", [(0, (0.0, 0.0, 0.0))]),
    "bcc": ("I", [(0, (0.0, 0.0, 0.0))]),
    "diamond": ("F", [(0, (0.0, 0.0, 0.0)), (0, (0.25, 0.25, 0.25))]),
    "zincblende": ("F", [(0, (0.0, 0.0, 0.0)), (1, (0.25, 0.25, 0.25))]),
    "rocksalt": ("F", [(0, (0.0, 0.0, 0.0)), (1, (0.5, 0.5, 0.5))]),
    "fluorite": ("F", [(0, (0.0, 0.0, 0.0)), (1, (0.25, 0.25, 0.25)), (1, (0.75, 0.75, 0.75))]),
}


@dataclass(frozen=True, eq=False)
class UnitCell:
    """A cell of a crystal.

    Attributes
    ----------
    name : str
    cell : (3, 3) float64, rows a, b, c, A
    species : tuple of str
    fractional : (n, 3) float64
    """

    name: str
    cell: np.ndarray
    species: tuple[str, ...]
    fractional: np.ndarray

    @classmethod
    def create(cls, name: str, cell: Any, species: Sequence[str], fractional: Any) -> UnitCell:
        """A cell from anything that can be made into arrays."""
        return cls(name, np.array(cell, dtype=np.float64), tuple(species), np.array(fractional, dtype=np.float64))

    def in_basis(self, rows: np.ndarray) -> UnitCell:
        """The same crystal in a smaller or larger cell.

        Parameters
        ----------
        rows : (3, 3) float64
            New cell vectors in terms of the present ones; integers, or vectors of the lattice that centring allows.
        """
        inverse = np.linalg.inv(rows)
        volume = abs(float(np.linalg.det(rows)))
        reach = np.abs(rows).sum(axis=0).max()
        steps = np.arange(-int(np.ceil(reach)) - 1, int(np.ceil(reach)) + 2)
        corners = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        places = ((corners + self.fractional) @ inverse).reshape(-1, 3)
        inside = np.flatnonzero(np.all((places > -1e-6) & (places < 1.0 - 1e-6), axis=1))
        if len(inside) != round(volume * len(self.species)):
            raise ValueError(f"{self.name}: not a cell of the crystal: {rows.tolist()}")
        owner = inside % len(self.species)
        return UnitCell(self.name, rows @ self.cell, tuple(self.species[k] for k in owner), places[inside].clip(0.0))


@dataclass(frozen=True)
class Crystal:
    """A cubic crystal.

    Attributes
    ----------
    prototype : str
        Key of the table of prototypes.
    species : tuple of str
    lattice_constant : float
        Of the cubic cell at room temperature, A.
    source : str
    """

    prototype: str
    species: tuple[str, ...]
    lattice_constant: float
    source: str = "Wyckoff, Crystal Structures, 2nd ed., vol. 1 (1963)"

    def unit_cell(self, name: str, shape: str = "conventional", lattice_constant: float | None = None) -> UnitCell:
        """The cubic ("conventional") or the primitive cell."""
        centring, motif = _PROTOTYPES[self.prototype]
        a = self.lattice_constant if lattice_constant is None else lattice_constant
        points = np.array(_CENTRINGS[centring])
        species = [self.species[kind] for _ in points for kind, _ in motif]
        fractional = np.concatenate([(point + np.array([place for _, place in motif])) % 1.0 for point in points])
        cubic = UnitCell.create(name, a * np.eye(3), species, fractional)
        return cubic if shape == "conventional" else cubic.in_basis(_PRIMITIVE[centring])

    @property
    def primitive_rows(self) -> np.ndarray:
        """(3, 3) primitive vectors in terms of the cubic ones."""
        return _PRIMITIVE[_PROTOTYPES[self.prototype][0]]


_SEMICONDUCTORS = "Ioffe Institute, NSM archive of semiconductor parameters: 300 K"

CRYSTALS = {
    "Si": Crystal("diamond", ("Si",), 5.431, "CODATA 2018, Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021): 22.5 C"),
    "Ge": Crystal("diamond", ("Ge",), 5.658, _SEMICONDUCTORS),
    "diamond": Crystal("diamond", ("C",), 3.567),
    "GaAs": Crystal("zincblende", ("Ga", "As"), 5.653, _SEMICONDUCTORS),
    "Al": Crystal("fcc", ("Al",), 4.050),
    "Cu": Crystal("fcc", ("Cu",), 3.615),
    "Ag": Crystal("fcc", ("Ag",), 4.086),
    "Au": Crystal("fcc", ("Au",), 4.078),
    "Ni": Crystal("fcc", ("Ni",), 3.524),
    "Pt": Crystal("fcc", ("Pt",), 3.923),
    "Fe": Crystal("bcc", ("Fe",), 2.866),
    "W": Crystal("bcc", ("W",), 3.165),
    "NaCl": Crystal("rocksalt", ("Na", "Cl"), 5.640, "Walker et al., Am. Mineral. 89, 204 (2004)"),
    "MgO": Crystal("rocksalt", ("Mg", "O"), 4.211, "Hazen, Am. Mineral. 61, 266 (1976)"),
    "PbTe": Crystal("rocksalt", ("Pb", "Te"), 6.460, "CRC Handbook of Chemistry and Physics, 87th ed.: 6.46 A"),
    "CaF2": Crystal("fluorite", ("Ca", "F"), 5.463, "Speziale and Duffy, Phys. Chem. Miner. 29, 465 (2002)"),
    "ThO2": Crystal("fluorite", ("Th", "O"), 5.600),
}


def find_crystal(name: str, key: str) -> Crystal:
    """A crystal by name.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in CRYSTALS:
        raise InputError(f"{key}: no crystal is called {name!r}; expected one of {', '.join(CRYSTALS)}, or a file with "
                         "its cell")
    return CRYSTALS[name]
