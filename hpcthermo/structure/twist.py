"""Commensurate twisted bilayers: the exact angles, their cells, and the bilayer itself.

Two equal hexagonal lattices, one turned by theta, share a lattice if a vector m a1 + n a2 of one has the length of
n a1' + m a2' of the other and is turned onto it. With a1 . a2 = a^2 / 2,

    |m a1 + n a2|^2 = a^2 (m^2 + m n + n^2)
    (m a1 + n a2) . (n a1 + m a2) = a^2 (m^2 + 4 m n + n^2) / 2

so that

    cos(theta) = (m^2 + 4 m n + n^2) / (2 (m^2 + m n + n^2)),     gcd(m, n) = 1.

The common cell is spanned by t1 = m a1 + n a2 and t1 turned by 60 degrees, t2 = -n a1 + (m + n) a2. It holds
m^2 + m n + n^2 primitive cells of each layer, 4 (m^2 + m n + n^2) atoms for two honeycombs. If n - m is a multiple of
3, (2 t1 - t2) / 3 and (t1 + t2) / 3 are lattice vectors of both layers as well, and the cell is a third as large. That
is the case for one of each pair theta, 60 - theta, whose common lattices are the same.

======  =============================================
symbol  meaning
======  =============================================
m, n    positive integers, m < n
a1, a2  lattice vectors of the lower layer, 60 degrees apart, length a
theta   twist angle, 0 < theta < 60 degrees
======  =============================================

Source of the closed form: Lopes dos Santos, Peres, Castro Neto, Phys. Rev. Lett. 99, 256802 (2007); Shallcross et al.,
Phys. Rev. B 81, 165105 (2010).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.limits import MAXIMUM_ATOMS, MAXIMUM_STRAIN
from hpcthermo.structure.materials import find_material
from hpcthermo.structure.pile import Pile, PlacedSheet, common_cell, pile_up
from hpcthermo.structure.sheet import Sheet, strain_and_rotation, upright
from hpcthermo.structure.stacking import find_registry

#: angles are asked for with two or three decimals, degrees
DEFAULT_TOLERANCE = 0.005
#: every angle has a cell within any tolerance, if it may be large enough
DEFAULT_ATOMS = 100_000
_LARGEST_INDEX = 2000
_SHOWN = 4
_SMALL_CELL = 3000


@dataclass(frozen=True)
class Twist:
    """A commensurate twist of two equal hexagonal lattices.

    Attributes
    ----------
    m, n : int
        Coprime, 0 < m < n.
    """

    m: int
    n: int

    @property
    def angle(self) -> float:
        """Theta, degrees; by the sine of its half, which keeps its digits at small angles."""
        norm = self.m**2 + self.m * self.n + self.n**2
        return math.degrees(2.0 * math.asin((self.n - self.m) / (2.0 * math.sqrt(norm))))

    @property
    def reduced(self) -> bool:
        """Whether the common cell is a third of that of t1 and t2."""
        return (self.n - self.m) % 3 == 0

    @property
    def cells(self) -> int:
        """Primitive cells of each layer in the common cell."""
        norm = self.m**2 + self.m * self.n + self.n**2
        return norm // 3 if self.reduced else norm

    @property
    def atoms(self) -> int:
        """Atoms of two honeycomb layers in the common cell."""
        return 4 * self.cells

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """Integer matrices of the common cell in terms of the lattices of the lower and the turned upper layer.

        The common vector is m a1 + n a2 below and n a1' + m a2' above, where a1' and a2' are turned by +theta.
        """
        return self._matrix(self.m, self.n), self._matrix(self.n, self.m)

    def _matrix(self, m: int, n: int) -> np.ndarray:
        if self.reduced:
            return np.array([[2 * m + n, n - m], [m - n, m + 2 * n]]) // 3
        return np.array([[m, n], [-n, m + n]])


def twists_between(low: float, high: float, maximum_atoms: int = MAXIMUM_ATOMS) -> list[Twist]:
    """All commensurate twists in a range of angles, smallest cells first.

    Parameters
    ----------
    low, high : float
        Degrees, 0 < low <= theta <= high < 60.
    maximum_atoms : int
        Of two honeycomb layers in the common cell.

    Raises
    ------
    InputError
        For a range that is none.
    """
    if not 0.0 <= low <= high <= 60.0:
        raise InputError(f"structure: angles must lie in 0 ... 60 degrees with the lower one first, got {low:g} and "
                         f"{high:g}; correct them (an angle and its 60-degree complement differ by stacking)")
    # m^2 + m n + n^2 <= 3 maximum_atoms / 4, with m < n
    n = np.arange(2, min(int(math.sqrt(0.75 * maximum_atoms)) + 1, _LARGEST_INDEX) + 1)
    m, n = (grid.ravel() for grid in np.meshgrid(np.arange(1, n.max(initial=2)), n, indexing="ij"))
    m, n = m[m < n], n[m < n]
    norm = m**2 + m * n + n**2
    cells = np.where((n - m) % 3 == 0, norm // 3, norm)
    angle = np.degrees(2.0 * np.arcsin((n - m) / (2.0 * np.sqrt(norm))))
    kept = (angle >= low) & (angle <= high) & (4 * cells <= maximum_atoms) & (np.gcd(m, n) == 1)
    found = [Twist(int(i), int(j)) for i, j in zip(m[kept], n[kept], strict=True)]
    return sorted(found, key=lambda twist: (twist.cells, twist.angle))


def find_twist(angle: float, tolerance: float = DEFAULT_TOLERANCE, maximum_atoms: int = DEFAULT_ATOMS) -> Twist:
    """The commensurate twist with the fewest atoms within a tolerance of an angle.

    Parameters
    ----------
    angle, tolerance : float
        Degrees.
    maximum_atoms : int
        Of two honeycomb layers in the common cell.

    Raises
    ------
    InputError
        For an angle outside 0 ... 60, or if none is that near; names the nearest ones with their atom counts.
    """
    if not 0.0 < angle < 60.0:
        raise InputError(f"structure.angle_deg: expected more than 0 and less than 60, got {angle:g}; correct it (for "
                         "0 and 60 use a layered_stack)")
    low, high = max(0.0, angle - tolerance), min(60.0, angle + tolerance)
    found = twists_between(low, high, maximum_atoms)
    if found:
        return found[0]
    # small cells within 2 degrees, and the two nearest of the family (m, m + 1), the smallest cells near 0
    series = sorted((Twist(m, m + 1) for m in range(1, _LARGEST_INDEX)), key=lambda t: abs(t.angle - angle))[:2]
    small = twists_between(max(0.0, angle - 2.0), min(60.0, angle + 2.0), _SMALL_CELL)
    nearest = sorted({*small, *series}, key=lambda t: abs(t.angle - angle))[:_SHOWN]
    raise InputError(
        f"structure.angle_deg: no commensurate cell of up to {maximum_atoms} atoms within {tolerance:g} of "
        f"{angle:g} degrees; the nearest are "
        f"{', '.join(f'{t.angle:.4f} ({t.m},{t.n}: {t.atoms} atoms)' for t in nearest)}; take one, or raise "
        "angle_tolerance_deg or maximum_atoms")


def make_twist(m: int, n: int) -> Twist:
    """The twist of two indices.

    Raises
    ------
    InputError
        If they are not coprime with 0 < m < n.
    """
    if not 0 < m < n:
        raise InputError(f"structure.indices: expected [m, n] with 0 < m < n, got [{m}, {n}]; correct them")
    if math.gcd(m, n) != 1:
        k = math.gcd(m, n)
        raise InputError(f"structure.indices: expected numbers without a common divisor, got [{m}, {n}]; use "
                         f"[{m // k}, {n // k}], which is the same twist")
    return Twist(m, n)


@dataclass(frozen=True)
class TwistedBilayer(Pile):
    """Atoms of a twisted bilayer.

    Attributes
    ----------
    twist : Twist
    angle : float
        Of the upper layer, degrees.
    strains : (2, 2) float64
        In-plane strain xx and yy of each layer.
    """

    twist: Twist
    angle: float
    strains: np.ndarray


def build_twisted_bilayer(
    lower: str | Sheet, upper: str | Sheet, twist: Twist, registry: str = "AA", lattice: str | float = "mean",
    cell: str = "primitive", repeat: tuple[int, int] = (1, 1), spacing: float | Sequence[float] | None = None,
    vacuum: float = 0.0,
) -> TwistedBilayer:
    """A bilayer whose upper layer is turned by a commensurate angle about site 0 of the corner of the cell.

    Parameters
    ----------
    lower, upper : str or Sheet
        Hexagonal crystals; two materials share their strain.
    twist : Twist
    registry : str
        How the layers lie on each other before the upper one is turned: AA and AB of two h-BN layers are parallel,
        AA', AB' and A'B antiparallel (60 degrees apart in angle).
    lattice : "first", "second", "mean", "stiffness" or fraction
        Who bears the strain, see `hpcthermo.structure.pile.common_cell`.
    cell : "primitive" or "orthogonal"
        The hexagonal common cell, or the rectangular one of twice the size.
    repeat : (int, int)
        Copies of that cell.
    spacing, vacuum : float
        See `hpcthermo.structure.pile.pile_up`.

    Raises
    ------
    InputError
        For layers that are not hexagonal, a strain beyond the limit, overlap, or too many atoms.
    """
    sheets = [find_material(lower, "structure.materials"), find_material(upper, "structure.materials")]
    for sheet in sheets:
        if not sheet.is_hexagonal:
            raise InputError(f"structure.materials: twisted_bilayer needs hexagonal layers, {sheet.name} is not one; "
                             "use heterobilayer")
    relation = find_registry(registry, *sheets)
    if sheets[1].lattice.tobytes() == sheets[0].lattice.tobytes() and sheets[1].name == sheets[0].name:
        sheets[1] = sheets[0]
    shape = np.diag(repeat) @ sheets[0].cell_matrix(cell)
    matrices = [shape @ matrix for matrix in twist.matrices]
    natural = [upright(matrix @ sheet.lattice) for matrix, sheet in zip(matrices, sheets, strict=True)]
    edges = common_cell(natural, lattice, sheets)
    strains = np.array([np.diag(strain_and_rotation(own, edges)[0]) for own in natural])
    if np.abs(strains).max() > MAXIMUM_STRAIN:
        raise InputError(f"structure: {sheets[0].name} and {sheets[1].name} would be strained by "
                         f"{100 * strains[0, 0]:.1f} and {100 * strains[1, 0]:.1f} %, limit {100 * MAXIMUM_STRAIN:.0f} "
                         "%; use heterobilayer, which finds numbers of cells for both")
    placed = [PlacedSheet(sheets[0], matrices[0], np.zeros(2)),
              PlacedSheet(sheets[1].turned() if relation.turned else sheets[1], matrices[1], relation.shift)]
    pile = pile_up(placed, edges, spacing, vacuum)
    angles = [strain_and_rotation(matrix @ sheet.lattice, edges)[1]
              for matrix, sheet in zip(matrices, sheets, strict=True)]
    return TwistedBilayer(pile.cell, pile.periodic, pile.symbols, pile.positions, pile.layers, twist,
                          float(angles[1] - angles[0]), strains)
