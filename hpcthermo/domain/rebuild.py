"""Owned atoms at a neighbour rebuild: wrapped, put into order, and which of them have copies where.

Everything stays in the memory of the device; the host reads a few extremes and counts. Coordinates s = r C^-1 are
kept by axis, (3, n). `hpcthermo.domain.grid` has the same geometry for plans made on the host.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from hpcthermo.gpu.backend import Backend

#: edge of the cells in whose order owned atoms are stored, A
_SORT_CELL_EDGE = 6.0
#: COPY_CHUNK of kernels/rebuild.h
_COPY_CHUNK = 64


def wrap_atoms(positions: Any, images: Any, cell: np.ndarray, periodic: np.ndarray, backend: Backend) -> Any:
    """Move atoms into the cell along the periodic axes, in place, and count the lattice vectors taken away.

    Parameters
    ----------
    positions : (n, 3) float64
        Those inside already keep their bits, A.
    images : (n, 3) int32
    cell : (3, 3) float64
        Frame cell (no zero vectors), A.

    Returns
    -------
    (3, n) float64
        Coordinates by axis, in [0, 1) along periodic axes.
    """
    xp, n = backend.xp, len(positions)
    fractional = xp.empty((3, n))
    backend.launch("rebuild", "wrap_atoms", 0, n, n, xp.asarray(cell), xp.asarray(np.linalg.inv(cell)),
                   xp.asarray(periodic.astype(np.int32)), positions, images, fractional, per="thread")
    return fractional


def fractional_coordinates(positions: Any, cell: np.ndarray, backend: Backend) -> Any:
    """Coordinates by axis, (3, n) float64, of positions (n, 3)."""
    xp, n = backend.xp, len(positions)
    fractional = xp.empty((3, n))
    backend.launch("rebuild", "fractional_coordinates", 0, n, n, positions, xp.asarray(np.linalg.inv(cell)),
                   fractional, per="thread")
    return fractional


def canonical_order(fractional: Any, tags: Any, lower: np.ndarray, upper: np.ndarray, depth: np.ndarray,
                    heights: np.ndarray, backend: Backend) -> tuple[Any, int]:
    """Order of the owned atoms: interior first, then by cell of space, then by tag.

    Parameters
    ----------
    fractional : (3, n) float64
        By axis.
    tags : (n,) int64
    lower, upper, depth : (3,) float64
        Fractional bounds of the brick and halo depth.
    heights : (3,) float64
        Distances between opposite faces of the cell, A.

    Returns
    -------
    order : (n,) int64
    n_interior : int
        Atoms farther than the depth from every face of the brick.
    """
    xp, n = backend.xp, len(tags)
    if n == 0:
        return xp.zeros(0, dtype=np.int64), 0
    count = np.maximum(1.0, np.floor(heights / _SORT_CELL_EDGE))
    cells, boundary = xp.empty((3, n), dtype=np.int64), xp.empty(n, dtype=np.int64)
    backend.launch("rebuild", "sort_into_cells", 0, n, n, fractional,
                   xp.asarray(np.concatenate([lower, upper, depth, count])), cells, boundary, per="thread")
    extremes = xp.concatenate([cells.min(axis=1), cells.max(axis=1), xp.stack([tags.max(), boundary.sum()])])
    low, high, (last_tag, n_boundary) = (part.tolist() for part in np.split(backend.to_host(extremes), [3, 6]))
    spans = [1, *(int(b) - int(a) + 1 for a, b in zip(low, high, strict=True)), int(last_tag) + 1]
    columns = [boundary, *(cells[axis] - low[axis] for axis in range(3)), tags]
    if 2 * int(np.prod(spans, dtype=object)) > np.iinfo(np.int64).max:
        # an atom is so far away that one integer does not hold the key
        order = backend.from_host(np.lexsort([backend.to_host(column) for column in reversed(columns)]))
        return order, n - n_boundary
    key = columns[0]
    for column, span in zip(columns[1:], spans[1:], strict=True):
        key = key * span + column
    return xp.argsort(key), n - n_boundary


def copies_in_boxes(fractional: Any, boxes: np.ndarray, backend: Backend) -> tuple[Any, Any, np.ndarray]:
    """Atoms whose coordinates, moved by a lattice vector, lie in a box.

    Parameters
    ----------
    fractional : (3, n) float64
        By axis.
    boxes : (n_boxes, 9) float64
        Lattice vector, lower bounds, upper bounds.

    Returns
    -------
    index : (m,) int32
        Atom of each copy, ordered by box, then atom.
    images : (m, 3) int32
        Lattice vector of each copy.
    counts : (n_boxes,) int64, host
    """
    xp, n = backend.xp, fractional.shape[1]
    chunks = -(-n // _COPY_CHUNK)
    if len(boxes) == 0 or n == 0:
        return xp.zeros(0, dtype=np.int32), xp.zeros((0, 3), dtype=np.int32), np.zeros(len(boxes), np.int64)
    search = (n, fractional, len(boxes), xp.asarray(boxes), chunks)
    copies = xp.empty((len(boxes), chunks), dtype=np.int32)
    backend.launch("rebuild", "count_copies", 0, chunks, *search, copies, per="thread")
    ends = xp.cumsum(copies.ravel(), dtype=np.int32)
    counts = np.diff(backend.to_host(ends[chunks - 1::chunks]), prepend=0).astype(np.int64)
    total = int(counts.sum())
    index, images = xp.empty(total, dtype=np.int32), xp.empty((total, 3), dtype=np.int32)
    backend.launch("rebuild", "place_copies", 0, chunks, *search, copies, ends, index, images, per="thread")
    return index, images, counts


def boxes_of_copies(smallest: np.ndarray, largest: np.ndarray, low: np.ndarray, high: np.ndarray,
                    periodic: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that can hold copies of this rank's atoms: the widened brick of a rank, and one lattice vector.

    Parameters
    ----------
    smallest, largest : (3,) float64
        Extremes of this rank's coordinates.
    low, high : (n_ranks, 3) float64
        Bricks of all ranks, widened by the halo.
    rank : int
        This rank, on which an atom itself is no copy.

    Returns
    -------
    boxes : (n_boxes, 9) float64
        Lattice vector, lower bounds, upper bounds; ordered by rank, then lattice vector.
    receivers : (n_boxes,) int64
    """
    first = np.where(periodic, np.ceil(low - largest), 0.0)
    last = np.where(periodic, np.floor(high - smallest), 0.0)
    within = np.asarray(periodic) | ((low <= largest) & (high >= smallest))  # no copies across an open side
    near = np.flatnonzero(((last >= first) & within).all(axis=1))
    boxes, receivers = [], []
    for receiver in near.tolist():
        spans = [range(int(a), int(b) + 1) for a, b in zip(first[receiver], last[receiver], strict=True)]
        for image in itertools.product(*spans):
            if receiver != rank or any(image):
                boxes.append([*image, *low[receiver], *high[receiver]])
                receivers.append(receiver)
    return np.array(boxes, dtype=np.float64).reshape(-1, 9), np.array(receivers, dtype=np.int64)


def lattice_shifts(images: Any, cell: np.ndarray, shifts: Any, backend: Backend) -> None:
    """Write n C, A, into `shifts` (m, 3) for the lattice vectors n, `images` (m, 3)."""
    backend.launch("rebuild", "lattice_shifts", 0, len(images), images, backend.xp.asarray(cell), shifts, per="thread")
