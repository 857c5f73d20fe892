"""Slabs of a crystal with a given orientation, as sheets of many atomic planes.

For Miller indices (h k l) the integer vectors with h u + k v + l w = 0 span the surface lattice, and one with
h u + k v + l w = 1 leads to the next plane of the lattice. The three form a cell of the volume of the given one.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.coincidence import reduce_bases
from hpcthermo.structure.crystals import UnitCell
from hpcthermo.structure.sheet import Sheet

_LARGEST_INDEX = 9


def surface_cell(crystal: UnitCell, miller: tuple[int, int, int], key: str = "structure") -> UnitCell:
    """The cell with a and b in the surface and c leading out of it, turned so that a lies along x and z is the normal.

    Parameters
    ----------
    crystal : UnitCell
        Its vectors define the Miller indices.
    miller : (int, int, int)

    Raises
    ------
    InputError
        For indices that are all zero, too large, or have a common divisor.
    """
    if not any(miller) or max(map(abs, miller)) > _LARGEST_INDEX or math.gcd(*miller) != 1:
        raise InputError(f"{key}.miller: expected three integers up to {_LARGEST_INDEX} without a common divisor, not "
                         f"all 0, got {list(miller)}; correct them")
    rows = _surface_rows(np.array(miller), crystal.cell)
    cell = crystal.in_basis(rows)
    a, b = cell.cell[0], cell.cell[1]
    normal = np.cross(a, b)
    frame = np.stack([a / np.linalg.norm(a), np.cross(normal, a) / np.linalg.norm(np.cross(normal, a)),
                      normal / np.linalg.norm(normal)])
    return UnitCell(cell.name, cell.cell @ frame.T, cell.species, cell.fractional)


def _surface_rows(miller: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """(3, 3) int, two vectors in the plane and one to the next plane, right-handed."""
    reach = max(1, int(np.abs(miller).max()))
    points = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    level = points @ miller
    in_plane = points[(level == 0) & points.any(axis=1)]
    # two vectors of the plane that span all its lattice points: their cross product is the Miller vector itself
    order = np.argsort(np.round(np.linalg.norm(in_plane @ cell, axis=1), 6), kind="stable")
    u, v = next((p, q) for p, q in itertools.combinations(in_plane[order], 2)
                if np.array_equal(np.abs(np.cross(p, q)), np.abs(miller)))
    basis = reduce_bases(np.stack([u, v])[None], cell)[0]
    out = points[level == 1] if (level == 1).any() else _next_plane(miller)
    basis = _preferred(basis, miller, cell)
    normal = np.cross(basis[0] @ cell, basis[1] @ cell)
    inclination = np.linalg.norm(np.cross(out @ cell, normal), axis=1)
    return np.stack([*basis, out[int(np.argmin(np.round(inclination, 9)))]])


def _preferred(basis: np.ndarray, miller: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Of the right-handed bases +-u, +-v: an acute or right angle, and first vectors with large first components."""
    u, v = basis
    options = [np.stack([s * p, t * q]) for p, q in ((u, v), (v, u)) for s in (1, -1) for t in (1, -1)
               if np.cross(s * p, t * q) @ miller > 0]
    return max(options, key=lambda rows: (round(float((rows[0] @ cell) @ (rows[1] @ cell)), 6), tuple(rows[0])))


def _next_plane(miller: np.ndarray) -> np.ndarray:
    """(K, 3) int vectors that lead to the next plane, for indices whose small vectors do not."""
    points = np.array(list(itertools.product(range(-2 * _LARGEST_INDEX, 2 * _LARGEST_INDEX + 1), repeat=3)))
    return points[points @ miller == 1]


def slab(crystal: UnitCell, miller: tuple[int, int, int], length: float, key: str = "structure") -> Sheet:
    """A slab of about a given thickness, as a sheet whose heights begin at 0.

    Parameters
    ----------
    crystal : UnitCell
    miller : (int, int, int)
    length : float
        Thickness along the normal, A; rounded to whole cells, at least one.

    Returns
    -------
    Sheet
        With `spacing` the thickness of the whole cells, A.
    """
    cell = surface_cell(crystal, miller, key)
    step = float(cell.cell[2, 2])
    count = max(1, round(length / step))
    fractional = (cell.fractional[None] + np.arange(count)[:, None, None] * [0.0, 0.0, 1.0]).reshape(-1, 3)
    cartesian = fractional @ cell.cell
    lattice = cell.cell[:2, :2]
    species = np.tile(np.array(cell.species), count)
    order = np.argsort(np.round(cartesian[:, 2], 6), kind="stable")
    heights = cartesian[order, 2] - cartesian[:, 2].min()
    return Sheet.create(f"{crystal.name}({''.join(map(str, miller))})", lattice, species[order].tolist(),
                        (cartesian[order, :2] @ np.linalg.inv(lattice)) % 1.0, heights, count * step, None,
                        crystal.name)


class MillerBasis:
    """Miller indices of one cell in terms of another.

    Parameters
    ----------
    rows : (3, 3) float64
        Vectors of the cell that is used in terms of the one that defines the indices.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows

    def indices(self, miller: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same plane in the cell that is used: h'_i = sum_j P_ij h_j, without common divisors."""
        doubled = np.rint(2.0 * self._rows @ np.array(miller)).astype(int)
        h, k, m = (int(index) // (math.gcd(*map(int, doubled)) or 1) for index in doubled)
        return h, k, m
