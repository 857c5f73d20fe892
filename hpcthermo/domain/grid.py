"""Which rank owns which part of the cell: pure geometry, no communication.

The cell is cut into one brick per rank in fractional coordinates s = r C^-1 (C: rows a, b, c), so bricks
follow a cell that changes. Cuts are nested: along the first axis of `order` the cell is cut into slabs,
each slab along the second axis into columns, each column along the third into bricks, every time into
parts with equal numbers of atoms. Planes of atoms that share a coordinate are not cut; the cut goes into
a gap. Along a periodic axis bricks fill [0, 1), along another (-inf, inf).

    h_a = 1 / |column a of C^-1|    distance between the cell faces of axis a
    d_a = depth / h_a               halo depth in fractional coordinates
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError

Layout = str | tuple[int, int, int]


def frame_cell(cell: np.ndarray) -> np.ndarray:
    """The cell with zero vectors replaced by unit vectors (1 A) orthogonal to the others.

    Raises
    ------
    InputError
        If the vectors that are not zero lie in a plane or on a line.
    """
    frame = np.array(cell, dtype=np.float64)
    missing = np.linalg.norm(frame, axis=1) == 0.0
    if missing.any():
        # the right null space of the vectors present completes them
        _, _, right = np.linalg.svd(frame)
        frame[missing] = right[3 - int(missing.sum()):]
    lengths = np.linalg.norm(frame, axis=1)
    if not np.isfinite(frame).all() or abs(np.linalg.det(frame)) < 1e-8 * float(np.prod(lengths)):
        raise InputError(f"cell: expected three independent vectors (or zero ones), got {np.asarray(cell).tolist()}")
    return frame


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of the cell, A."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def wrap(positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move atoms into the cell along the periodic axes.

    Returns
    -------
    wrapped : (n, 3) float64
        Cartesian positions, A; those of atoms inside already are returned unchanged to the last bit.
    fractional : (n, 3) float64
        In [0, 1) along periodic axes.
    shifts : (n, 3) int32
        Lattice vectors taken away.
    """
    fractional = positions @ np.linalg.inv(cell)
    shifts = np.where(periodic, np.floor(fractional), 0.0)
    # s - floor(s) rounds to 1 for s just below 0: such an atom stays where it is and counts as s = 0
    on_face = fractional - shifts >= 1.0
    on_face &= periodic
    shifts[on_face] += 1.0
    fractional = np.where(on_face, 0.0, fractional - shifts)
    moved = shifts.any(axis=1)
    wrapped = positions.copy()
    wrapped[moved] -= shifts[moved] @ cell
    return wrapped, fractional, shifts.astype(np.int32)


@dataclass(frozen=True)
class RankGrid:
    """Bricks of all ranks.

    Attributes
    ----------
    order : (3,) tuple of int
        Axes in the order in which they are cut.
    shape : (3,) tuple of int
        Parts along the axes of `order`; rank = (i * shape[1] + j) * shape[2] + k.
    cuts : tuple of three float64 arrays
        Bounds (shape[0] + 1), (shape[0], shape[1] + 1) and (shape[0], shape[1], shape[2] + 1).
    """

    order: tuple[int, int, int]
    shape: tuple[int, int, int]
    cuts: tuple[np.ndarray, np.ndarray, np.ndarray]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper fractional bounds (n_ranks, 3) by axis; an atom s belongs to lower <= s < upper."""
        lower, upper = np.empty((*self.shape, 3)), np.empty((*self.shape, 3))
        first, second, third = self.order
        lower[..., first], upper[..., first] = self.cuts[0][:-1, None, None], self.cuts[0][1:, None, None]
        lower[..., second], upper[..., second] = self.cuts[1][:, :-1, None], self.cuts[1][:, 1:, None]
        lower[..., third], upper[..., third] = self.cuts[2][..., :-1], self.cuts[2][..., 1:]
        return lower.reshape(-1, 3), upper.reshape(-1, 3)

    def owners(self, fractional: np.ndarray) -> np.ndarray:
        """Rank (n,) int64 that owns each atom."""
        first, second, third = (fractional[:, axis] for axis in self.order)
        i = np.searchsorted(self.cuts[0][1:-1], first, side="right")
        j = (second[:, None] >= self.cuts[1][i, 1:-1]).sum(axis=1)
        k = (third[:, None] >= self.cuts[2][i, j, 1:-1]).sum(axis=1)
        return (i * self.shape[1] + j) * self.shape[2] + k


def choose_layout(n_ranks: int, layout: Layout, lengths: np.ndarray, periodic: np.ndarray,
                  depth: float) -> tuple[int, int, int]:
    """Parts along a, b, c.

    Parameters
    ----------
    layout : "auto", "slab" or (pa, pb, pc)
        "slab" cuts the longest axis only; "auto" takes the layout with the fewest ghosts.
    lengths : (3,) float64
        Extent of the atoms perpendicular to the cell faces, A.
    depth : float
        Halo depth, A.

    Raises
    ------
    InputError
        If the parts do not multiply to the number of ranks.
    """
    if isinstance(layout, str):
        if layout not in ("auto", "slab"):
            raise InputError(f"decomposition: expected 'auto', 'slab' or three counts, got {layout!r}")
        if layout == "slab":
            parts = [1, 1, 1]
            parts[int(np.argmax(lengths))] = n_ranks
            return parts[0], parts[1], parts[2]
        return min(_factorisations(n_ranks), key=lambda parts: _ghost_cost(parts, lengths, periodic, depth))
    parts = [int(part) for part in layout]
    if len(parts) != 3 or min(parts) < 1 or int(np.prod(parts)) != n_ranks:
        raise InputError(
            f"decomposition: expected three counts with product {n_ranks} (the number of ranks), got {list(layout)}; "
            "change the counts, the number of ranks, or use decomposition = \"auto\""
        )
    return parts[0], parts[1], parts[2]


def _factorisations(n_ranks: int) -> list[tuple[int, int, int]]:
    divisors = [d for d in range(1, n_ranks + 1) if n_ranks % d == 0]
    return [(a, b, n_ranks // (a * b)) for a, b in itertools.product(divisors, divisors) if n_ranks % (a * b) == 0]


def _ghost_cost(parts: tuple[int, int, int], lengths: np.ndarray, periodic: np.ndarray,
                depth: float) -> tuple[float, int]:
    """Volume of all halos over that of the system, then the number of axes cut."""
    lengths = np.maximum(lengths, 1e-3)
    sizes = lengths / np.array(parts)
    # open ends have no halo: of the 2 p faces across an open axis, 2 (p - 1) face another brick
    faces = np.where(periodic, 2.0, 2.0 * (np.array(parts) - 1.0) / np.array(parts))
    expanded = sizes + faces * depth
    ghosts = float(np.prod(expanded / sizes)) - 1.0
    return round(ghosts, 9), sum(part > 1 for part in parts)


def cut_by_count(values: np.ndarray, parts: int, low: float, high: float) -> np.ndarray:
    """Bounds (parts + 1,) from `low` to `high` that leave equal numbers of values between them.

    A bound lies in the middle of a wide gap between values near its place (1 % of a part), so a plane of
    equal values stays whole. Bounds increase strictly even if there are fewer planes than parts.
    """
    ordered = np.sort(values)
    n = len(ordered)
    finite_low = low if np.isfinite(low) else (float(ordered[0]) - 1.0 if n else 0.0)
    finite_high = high if np.isfinite(high) else (float(ordered[-1]) + 1.0 if n else 1.0)
    gaps = np.diff(ordered)
    window = max(1, n // (100 * parts))
    bounds = [finite_low]
    for part in range(1, parts):
        bound = _bound_near(ordered, gaps, round(part * n / parts), window)
        # room for the bounds still to come, and never below the last one
        remaining = parts - part
        room = (finite_high - bounds[-1]) / (remaining + 1)
        if not bounds[-1] < bound < finite_high:
            bound = bounds[-1] + room
        bounds.append(bound)
    result = np.array([*bounds, finite_high])
    if not (np.diff(result) > 0.0).all():
        result = np.linspace(finite_low, finite_high, parts + 1)
    result[0], result[-1] = low, high
    return result


def _bound_near(ordered: np.ndarray, gaps: np.ndarray, target: int, window: int) -> float:
    """Middle of the nearest wide gap within `window` places of the target, or of the nearest gap at all."""
    if len(gaps) == 0 or not 0 < target <= len(gaps):
        return float("nan")
    start, stop = max(0, target - 1 - window), min(len(gaps), target + window)
    significant = 1e-9 * max(float(ordered[-1] - ordered[0]), 1e-30)
    wide = start + np.flatnonzero(gaps[start:stop] > max(significant, 0.5 * float(gaps[start:stop].max())))
    if len(wide) == 0:
        wide = np.flatnonzero(gaps > significant)
        if len(wide) == 0:
            return float("nan")
    best = int(wide[np.argmin(np.abs(wide - (target - 1)))])
    return 0.5 * float(ordered[best] + ordered[best + 1])


def make_grid(fractional: np.ndarray, parts: tuple[int, int, int], periodic: np.ndarray) -> RankGrid:
    """Cut the cell into bricks with equal numbers of atoms.

    Parameters
    ----------
    fractional : (n, 3) float64
        Wrapped coordinates of all atoms.
    parts : (3,) tuple of int
        Parts along a, b, c.
    """
    by_parts = sorted(range(3), key=lambda axis: (-parts[axis], axis))
    first, second, third = by_parts
    shape = (parts[first], parts[second], parts[third])
    ends = [(0.0, 1.0) if periodic[axis] else (-np.inf, np.inf) for axis in by_parts]
    slab_cuts = cut_by_count(fractional[:, first], shape[0], *ends[0])
    column_cuts = np.empty((shape[0], shape[1] + 1))
    brick_cuts = np.empty((shape[0], shape[1], shape[2] + 1))
    slab_of = np.searchsorted(slab_cuts[1:-1], fractional[:, first], side="right")
    for i in range(shape[0]):
        slab = fractional[slab_of == i]
        column_cuts[i] = cut_by_count(slab[:, second], shape[1], *ends[1])
        column_of = np.searchsorted(column_cuts[i, 1:-1], slab[:, second], side="right")
        for j in range(shape[1]):
            brick_cuts[i, j] = cut_by_count(slab[column_of == j, third], shape[2], *ends[2])
    return RankGrid((first, second, third), shape, (slab_cuts, column_cuts, brick_cuts))


def images_in_brick(fractional: np.ndarray, lower: np.ndarray, upper: np.ndarray, depth: np.ndarray,
                    periodic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Atoms and their periodic images inside a brick expanded by the halo depth.

    Parameters
    ----------
    fractional : (n, 3) float64
        Wrapped coordinates.
    lower, upper : (3,) float64
        Fractional bounds of the brick.
    depth : (3,) float64
        Fractional halo depth.

    Returns
    -------
    index : (m,) int32
        Atom of each image, ordered by lattice vector, then atom.
    images : (m, 3) int32
        Lattice vector: the image stands at fractional + images.
    """
    empty = np.zeros(0, np.int32), np.zeros((0, 3), np.int32)
    if len(fractional) == 0:
        return empty
    low, high = lower - depth, upper + depth
    smallest, largest = fractional.min(axis=0), fractional.max(axis=0)
    spans = []
    for axis in range(3):
        if periodic[axis]:
            begin, end = np.ceil(low[axis] - largest[axis]), np.floor(high[axis] - smallest[axis])
            spans.append(range(int(begin), int(end) + 1))
        else:
            spans.append(range(1))
    atoms = np.arange(len(fractional), dtype=np.int32)
    indices, images = [], []
    for a in spans[0]:
        in_a = atoms[_inside(fractional[:, 0] + a, low[0], high[0])]
        for b in spans[1] if len(in_a) else ():
            in_b = in_a[_inside(fractional[in_a, 1] + b, low[1], high[1])]
            for c in spans[2] if len(in_b) else ():
                in_c = in_b[_inside(fractional[in_b, 2] + c, low[2], high[2])]
                if len(in_c):
                    indices.append(in_c)
                    images.append(np.broadcast_to(np.array([a, b, c], np.int32), (len(in_c), 3)))
    if not indices:
        return empty
    return np.concatenate(indices), np.concatenate(images)


def _inside(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values <= high)
