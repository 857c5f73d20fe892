"""Two different layers in the smallest cell that strains them little, turned or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.structure.coincidence import (
    DEFAULT_AREA,
    DEFAULT_STRAIN,
    Coincidence,
    aligned_cells,
    find_coincidence,
)
from hpcthermo.structure.materials import find_material
from hpcthermo.structure.pile import Pile, PlacedSheet, common_cell, pile_up
from hpcthermo.structure.sheet import Sheet, strain_and_rotation
from hpcthermo.structure.stacking import find_registry


@dataclass(frozen=True)
class Heterobilayer(Pile):
    """Atoms of two layers.

    Attributes
    ----------
    match : Coincidence
    strains : (2, 2, 2) float64
        In-plane strain tensor of each layer.
    """

    match: Coincidence
    strains: np.ndarray


def build_heterobilayer(
    lower: str | Sheet, upper: str | Sheet, maximum_strain: float = DEFAULT_STRAIN, maximum_area: float = DEFAULT_AREA,
    angle: float | tuple[float, float] | None = 0.0, registry: str = "AA", lattice: str | float = "mean",
    repeat: tuple[int, int] = (1, 1), spacing: float | Sequence[float] | None = None, vacuum: float = 0.0,
) -> Heterobilayer:
    """The smallest coincidence cell of two layers with the strain shared as chosen.

    Parameters
    ----------
    lower, upper : str or Sheet
    maximum_strain, maximum_area, angle
        See `hpcthermo.structure.coincidence.find_coincidence`.
    registry : str
        How the layers lie on each other at the corner of the cell, before the upper one is turned.
    lattice : "first", "second", "mean", "stiffness" or fraction
        Who bears the strain, see `hpcthermo.structure.pile.common_cell`.
    repeat : (int, int)
    spacing, vacuum : float
        See `hpcthermo.structure.pile.pile_up`.

    Raises
    ------
    InputError
        If there is no such cell, or the layers overlap.
    """
    sheets = [find_material(lower, "structure.materials"), find_material(upper, "structure.materials")]
    relation = find_registry(registry, *sheets)
    match = find_coincidence(sheets[0].lattice, sheets[1].lattice, maximum_strain, maximum_area, angle)
    edges, strains = share_strain(match, sheets, lattice)
    copies = np.diag(repeat)
    placed = [PlacedSheet(sheets[0], copies @ match.first, np.zeros(2)),
              PlacedSheet(sheets[1].turned() if relation.turned else sheets[1], copies @ match.second, relation.shift)]
    pile = pile_up(placed, copies @ edges, spacing, vacuum)
    return Heterobilayer(pile.cell, pile.periodic, pile.symbols, pile.positions, pile.layers, match, strains)


def share_strain(match: Coincidence, sheets: Sequence[Sheet], rule: str | float) -> tuple[np.ndarray, np.ndarray]:
    """The common cell (2, 2) of two matching supercells, and the strain tensors (2, 2, 2) of both in it."""
    natural = aligned_cells(match, sheets[0].lattice, sheets[1].lattice)
    edges = common_cell(natural, rule, sheets)
    x, y = edges[0] / np.linalg.norm(edges[0])
    edges = edges @ np.array([[x, -y], [y, x]])
    return edges, np.stack([strain_and_rotation(own, edges)[0] for own in natural])
