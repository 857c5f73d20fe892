"""An interface of two crystals: coincidence of their surfaces, gap, frozen ends, bath regions.

The lower crystal ends and the upper one begins at the gap. Groups name what an experiment needs, from bottom to top:

    0 frozen end of the lower crystal     3 upper crystal
    1 bath of the lower crystal           4 bath of the upper crystal
    2 lower crystal                       5 frozen end of the upper crystal
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.coincidence import DEFAULT_AREA, DEFAULT_STRAIN, Coincidence, find_coincidence
from hpcthermo.structure.crystals import UnitCell
from hpcthermo.structure.heterobilayer import share_strain
from hpcthermo.structure.pile import Pile, PlacedSheet, pile_up
from hpcthermo.structure.surface import slab

FROZEN_LOW, BATH_LOW, LOWER, UPPER, BATH_HIGH, FROZEN_HIGH = range(6)


@dataclass(frozen=True)
class CrystalSide:
    """One side of an interface.

    Attributes
    ----------
    crystal : UnitCell
    miller : (int, int, int)
        Of the interface plane.
    length : float
        Thickness along the normal, A; rounded to whole cells.
    """

    crystal: UnitCell
    miller: tuple[int, int, int]
    length: float


@dataclass(frozen=True)
class Interface(Pile):
    """Atoms of an interface.

    Attributes
    ----------
    groups : (N,) int32
        See the module.
    match : Coincidence
    strains : (2, 2, 2) float64
        In-plane strain tensor of each side.
    lengths : (float, float)
        Thickness of whole cells of each side, A.
    gap : float
        Between the outermost planes, A.
    """

    groups: np.ndarray
    match: Coincidence
    strains: np.ndarray
    lengths: tuple[float, float]
    gap: float


def build_interface(
    lower: CrystalSide, upper: CrystalSide, gap: float | None = None, vacuum: float = 0.0,
    maximum_strain: float = DEFAULT_STRAIN, maximum_area: float = DEFAULT_AREA,
    angle: float | tuple[float, float] | None = 0.0, lattice: str | float = "mean", repeat: tuple[int, int] = (1, 1),
    frozen: float = 0.0, bath: float = 0.0,
) -> Interface:
    """Two crystals, one on the other, in the smallest cell that strains them little.

    Parameters
    ----------
    lower, upper : CrystalSide
    gap : float, optional
        Distance of the outermost planes of atoms, A; by default the mean of the distances that would continue either
        crystal.
    vacuum : float
        Empty height in total beyond the ends, A; 0 makes z periodic, with a second interface of the same gap.
    maximum_strain, maximum_area, angle
        See `hpcthermo.structure.coincidence.find_coincidence`; the angle is counted from the x axes of both surfaces.
    lattice : "first", "second", "mean" or fraction
        Who bears the strain: "first" leaves the lower crystal as it is.
    repeat : (int, int)
        Copies of the coincidence cell.
    frozen, bath : float
        Thickness of the frozen end and of the bath next to it on both sides, A.

    Raises
    ------
    InputError
        If the surfaces do not match, a side is too short for its frozen end and bath, or the crystals overlap.
    """
    sheets = [slab(lower.crystal, lower.miller, lower.length, "structure.lower"),
              slab(upper.crystal, upper.miller, upper.length, "structure.upper")]
    match = find_coincidence(sheets[0].lattice, sheets[1].lattice, maximum_strain, maximum_area, angle)
    edges, strains = share_strain(match, sheets, lattice)
    copies = np.diag(repeat)
    placed = [PlacedSheet(sheets[0], copies @ match.first, np.zeros(2)),
              PlacedSheet(sheets[1], copies @ match.second, np.zeros(2))]
    tops = [float(sheet.heights.max()) for sheet in sheets]
    if gap is None:
        gap = 0.5 * sum(sheet.spacing - top for sheet, top in zip(sheets, tops, strict=True))
    # heights of a slab begin at 0: from bottom to bottom it is the thickness of the planes plus the gap
    steps = [tops[0] + gap, tops[1] + gap][: 2 if vacuum == 0.0 else 1]
    _check_regions(tops, frozen, bath)
    pile = pile_up(placed, copies @ edges, steps, vacuum, "structure.gap_A")
    groups = _label(pile, frozen, bath)
    solid = np.full(len(pile.symbols), -1, dtype=np.int32)
    return Interface(pile.cell, pile.periodic, pile.symbols, pile.positions, solid, groups, match, strains,
                     (sheets[0].spacing, sheets[1].spacing), float(gap))


def _check_regions(tops: list[float], frozen: float, bath: float) -> None:
    for side, top in zip(("lower", "upper"), tops, strict=True):
        if frozen + bath >= top and frozen + bath > 0.0:
            raise InputError(f"structure.{side}: {top:.1f} A thick, but frozen_A and bath_A take {frozen + bath:g} A "
                             "of it; increase length_A")


def _label(pile: Pile, frozen: float, bath: float) -> np.ndarray:
    """(N,) int32 groups; a plane on the border of a region belongs to it."""
    groups = np.where(pile.layers == 0, LOWER, UPPER).astype(np.int32)
    z = pile.positions[:, 2]
    from_low, from_high = z - z.min() - 1e-6, z.max() - z - 1e-6
    if bath > 0.0:
        groups[from_low <= frozen + bath] = BATH_LOW
        groups[from_high <= frozen + bath] = BATH_HIGH
    if frozen > 0.0:
        groups[from_low <= frozen] = FROZEN_LOW
        groups[from_high <= frozen] = FROZEN_HIGH
    return groups
