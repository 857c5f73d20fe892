"""Verlet lists over owned and ghost atoms: one row of int32 slots per owned atom, sorted by type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.errors import ResourceError
from hpcthermo.gpu.backend import POSITION_DTYPE, Backend
from hpcthermo.system import System

#: integer steps across the packed frame; the padding row stands near the upper end
_FRAME_STEPS = 2_147_483_000.0
#: coarsest integer step, A: as fine as float32 is for a pair 8 A apart; reached by a frame of about 2,100 A
_COARSEST_STEP = 1e-6


@dataclass(frozen=True)
class PackedPositions:
    """Positions in the form kernels read (portable.h, Position).

    Attributes
    ----------
    rows : (n_total + 1, 4)
        int32 fixed point (mixed) or float64 (double): x, y, z, type; the last row is the padding atom.
    scale : float
        Length in A of one integer step (mixed); 1.0 in double.
    """

    rows: Any
    scale: float


@dataclass(frozen=True)
class PackingFrame:
    """Region in which positions can be packed, kept from one neighbour rebuild to the next.

    Attributes
    ----------
    scale : float
        Length in A of one integer step (mixed); 1.0 in double.
    values : (5,) float64, device
        Origin (3), scale, coordinate of the padding row.
    """

    scale: float
    values: Any


def packing_frame(system: System, backend: Backend, reach: float, margin: float = 0.0) -> PackingFrame:
    """Frame of the present positions, with room for atoms to move.

    Parameters
    ----------
    reach : float
        Longest distance a kernel may ask about, A; the padding row is farther than it from every atom.
    margin : float
        How far atoms may leave the present bounding box, A.

    Raises
    ------
    ResourceError
        If the frame is too long for the integer steps of mixed precision.
    """
    n = system.n_total
    positions = system.positions[:n]
    if n:
        low = backend.to_host(positions.min(axis=0)) - margin
        extent = float((backend.to_host(positions.max(axis=0)) + margin - low).max())
    else:
        low, extent = np.zeros(3), 0.0
    padding = extent + 2.0 * reach + 1.0
    scale = (padding + 1.0) / _FRAME_STEPS if backend.precision == "mixed" else 1.0
    if backend.precision == "mixed" and scale > _COARSEST_STEP:
        raise ResourceError(
            f"execution.precision: a rank's atoms and ghosts extend over {extent:,.0f} A, expected less than "
            f"{_COARSEST_STEP * _FRAME_STEPS:,.0f} A in mixed precision; use more ranks along that direction, or "
            'precision = "double"'
        )
    return PackingFrame(scale, backend.xp.asarray([*low, scale, padding], dtype=np.float64))


def pack_rows(system: System, backend: Backend, frame: PackingFrame, rows: Any, begin: int, end: int) -> None:
    """Pack the atoms [begin, end) into `rows` (n_total + 1, 4); row n_total is the padding row."""
    backend.launch("neighbors", "pack_positions", begin, end, system.positions, system.types, frame.values,
                   system.n_total, rows, per="thread")


def empty_rows(system: System, backend: Backend) -> Any:
    """Memory for the packed rows of all atoms and the padding row."""
    return backend.empty_aligned((system.n_total + 1, 4), POSITION_DTYPE[backend.precision])


def pack_positions(system: System, backend: Backend, reach: float) -> PackedPositions:
    """Packed rows of all atoms; the padding row is farther than `reach` from every atom.

    Parameters
    ----------
    reach : float
        Longest distance a kernel may ask about, A.
    """
    frame, rows = packing_frame(system, backend, reach), empty_rows(system, backend)
    pack_rows(system, backend, frame, rows, 0, system.n_total + 1)
    return PackedPositions(rows, frame.scale)


@dataclass(frozen=True)
class NeighborList:
    """Neighbours of the owned atoms within per-type-pair cutoffs (which include the skin).

    Attributes
    ----------
    indices : (n_owned, stride) int32
        Rows of the neighbours; per type a segment padded with ``n_total`` to a multiple of the lanes.
    segments : (n_owned, n_types + 1) int32
        Start of each type's segment in the row, and the end of the last.
    inner : (n_owned, n_types) int32
        Slots at the start of each segment that can hold a neighbour within the inner cutoff.
    """

    indices: Any
    segments: Any
    inner: Any

    @property
    def stride(self) -> int:
        """Slots per row."""
        return int(self.indices.shape[1])


def build_neighbor_list(
    system: System,
    backend: Backend,
    cutoffs: np.ndarray,
    inner_cutoff: float = 0.0,
    different_layers: bool = False,
) -> NeighborList:
    """List all pairs closer than their cutoff.

    Parameters
    ----------
    cutoffs : (n_types, n_types) float64
        List cutoff (skin included) by type pair, A; 0 leaves the pair out.
    inner_cutoff : float
        Neighbours within it (skin included) come first in each segment, A.
    different_layers : bool
        Leave out pairs within one layer.
    """
    xp = backend.xp
    n, n_types = system.n_total, len(system.species)
    reach = float(cutoffs.max())
    if n == 0 or system.n_owned == 0 or reach <= 0.0:
        return NeighborList(
            xp.full((system.n_owned, backend.lanes), n, dtype=np.int32),
            xp.zeros((system.n_owned, n_types + 1), dtype=np.int32),
            xp.zeros((system.n_owned, n_types), dtype=np.int32),
        )
    grid = _cell_grid(system, backend, reach)
    # REAL coordinates of the sweep are off by up to half a unit in the last place of the extent
    margin = 8.0 * float(np.finfo(backend.real).eps) * float(grid.extent.max())
    cutoff_squared = xp.asarray(np.where(cutoffs > 0.0, cutoffs + margin, 0.0).astype(np.float64) ** 2)
    inner_squared = (inner_cutoff + margin) ** 2 if inner_cutoff > 0.0 else 0.0
    segments = xp.empty((system.n_owned, n_types + 1), dtype=np.int32)
    inner = xp.empty((system.n_owned, n_types), dtype=np.int32)
    stride = _estimated_stride(system, reach, grid.extent, backend.lanes)
    slices = backend.scratch_slices
    while True:
        indices = backend.empty_aligned((system.n_owned, stride), np.dtype(np.int32))
        needed = xp.zeros(1, dtype=np.int32)
        backend.launch(
            "neighbors", "build_neighbors", 0, system.n_owned, n_types, cutoff_squared, reach + margin, inner_squared,
            int(different_layers), grid.box, grid.count, grid.cell_start, grid.cell_atoms, grid.slot_of_atom,
            *grid.sweep, n, stride, xp.empty(slices * 2 * stride, dtype=backend.real),
            xp.empty(slices * stride, dtype=np.int32), indices, segments, inner, needed, per="scratch",
        )
        most = int(backend.to_host(needed)[0])
        if most <= stride:
            return NeighborList(indices, segments, inner)
        stride = math.ceil(most * 1.1 / backend.lanes) * backend.lanes


@dataclass(frozen=True)
class _CellGrid:
    """Atoms sorted into cells; ``extent`` (3,) is on the host, the rest are arguments of neighbors.h."""

    extent: np.ndarray
    box: Any
    count: Any
    cell_start: Any
    cell_atoms: Any
    slot_of_atom: Any
    sweep: tuple[Any, ...]


def _cell_grid(system: System, backend: Backend, reach: float) -> _CellGrid:
    xp, n = backend.xp, system.n_total
    positions = system.positions[:n]
    low = backend.to_host(positions.min(axis=0))
    extent = np.maximum(backend.to_host(positions.max(axis=0)) - low, 1e-9)
    # columns half a cutoff wide, cut finely along z; but never many more cells than atoms
    size = reach / np.array([2.0, 2.0, 6.0])
    size *= max(1.0, float(np.prod(np.maximum(extent / size, 1.0))) / (4.0 * n + 64.0)) ** (1.0 / 3.0)
    count = np.maximum(1, np.minimum(np.ceil(extent / size), 4.0 * n + 64.0)).astype(np.int32)
    box, count_device = xp.asarray(np.concatenate([low, count / extent])), xp.asarray(count)
    cell = xp.empty(n, dtype=np.int32)
    backend.launch("neighbors", "assign_cells", 0, n, positions, box, count_device, cell, per="thread")
    cell_atoms = xp.empty(n + backend.lanes, dtype=np.int32)  # a vector of room for the last load
    cell_atoms[:n] = xp.argsort(cell, kind="stable")
    n_cells = int(np.prod(count, dtype=np.int64))
    cell_start = xp.zeros(n_cells + 1, dtype=np.int32)
    cell_start[1:] = xp.cumsum(xp.bincount(cell, minlength=n_cells))
    sweep = tuple(xp.empty(n + backend.lanes, dtype=backend.real) for _ in range(5))
    slot_of_atom = xp.empty(n, dtype=np.int32)
    backend.launch("neighbors", "arrange_sweep", 0, n, cell_atoms, positions, system.types, system.layers, box, *sweep,
                   slot_of_atom, per="thread")
    return _CellGrid(extent, box, count_device, cell_start, cell_atoms, slot_of_atom, sweep)


def _estimated_stride(system: System, reach: float, extent: np.ndarray, lanes: int) -> int:
    density = system.n_total / float(np.prod(np.maximum(extent, 3.0)))
    expected = min(1.2 * density * 4.0 / 3.0 * math.pi * reach**3, float(system.n_total))
    return math.ceil((expected + (len(system.species) + 1) * lanes) / lanes) * lanes
