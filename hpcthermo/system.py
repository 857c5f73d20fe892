"""The atoms of one rank as a struct of arrays: owned rows first, ghost rows after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: per-atom state that travels with an atom (migration, checkpoint): name -> (dtype, components)
ATOM_FIELDS: dict[str, tuple[type, int]] = {
    "positions": (np.float64, 3),  # A, Cartesian, wrapped only when neighbour lists are rebuilt
    "velocities": (np.float64, 3),  # A per natural unit of time, sqrt(eV/amu)
    "forces": (np.float64, 4),  # eV/A, fourth column unused
    "images": (np.int32, 3),  # lattice vectors to add to unwrap
    "types": (np.int32, 1),  # index into species
    "tags": (np.int64, 1),  # index in the whole system, never changes
    "layers": (np.int32, 1),  # number of the two-dimensional layer, -1 without
    "groups": (np.int32, 1),  # experiment group, -1 without
}


@dataclass
class System:
    """Owned and ghost atoms of one rank.

    Arrays live on the rank's device (`backend.xp`). Rows ``[0, n_owned)`` belong to this rank, rows
    ``[n_owned, n_owned + n_ghost)`` are copies of atoms of other ranks or periodic images.

    Attributes
    ----------
    cell : (3, 3) float64, host
        Rows are the cell vectors a, b, c in A; the same on all ranks.
    periodic : (3,) bool, host
    species : tuple of str
        Chemical symbols; ``types`` index it.
    masses : (len(species),) float64, host
        amu, by type.
    positions : (n_total, 3) float64, A
    velocities : (n_owned, 3) float64, sqrt(eV/amu)
    forces : (n_total + 1, 4) float64, eV/A; the last row takes what padding slots scatter
    types, layers : (n_total,) int32
    tags : (n_total,) int64
    images : (n_owned, 3) int32
    groups : (n_owned,) int32
    frozen_groups : frozenset of int
        Groups whose atoms do not move.
    """

    cell: np.ndarray
    periodic: np.ndarray
    species: tuple[str, ...]
    masses: np.ndarray
    n_owned: int
    n_ghost: int
    positions: Any
    velocities: Any
    forces: Any
    types: Any
    tags: Any
    layers: Any
    images: Any
    groups: Any
    frozen_groups: frozenset[int] = field(default_factory=frozenset)

    @property
    def n_total(self) -> int:
        """Rows in use: owned and ghost atoms."""
        return self.n_owned + self.n_ghost

    @property
    def volume(self) -> float:
        """Cell volume, A^3."""
        return float(abs(np.linalg.det(self.cell)))
