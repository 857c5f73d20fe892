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
#: atoms that share a row of a list of tiles, TILE_ATOMS of the kernels
TILE_ATOMS = 4
#: rows from which a tile takes its atoms, and edge of the cells of the curve along which they are taken, A
_TILE_BLOCK, _TILE_EDGE, _CURVE_BITS = 512, 2.5, 8
#: largest distance of a tile's atoms from its first, A: kernels add float32 vectors from the first
_TILE_REACH = 8.0
#: times that runs of atoms are cut where the curve leaps; atoms that are still far then have tiles of their own
_MOST_CUTS = 6
#: atoms whose bounding box one thread makes, CHUNK of neighbors.h
_CHUNK = 512


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


def bounding_box(system: System, backend: Backend) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest coordinates (3,) of all atoms, A, on the host; 0 without atoms."""
    xp, n = backend.xp, system.n_total
    chunks = -(-n // _CHUNK)
    boxes = xp.zeros((max(chunks, 1), 6))
    backend.launch("neighbors", "bounding_boxes", 0, chunks, n, system.positions, boxes, per="thread")
    low, high = backend.to_host(xp.stack([boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)]))
    return low, high


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
    low, high = bounding_box(system, backend)
    low, extent = low - margin, float((high - low).max()) + 2.0 * margin
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
    """Neighbours of the owned atoms (or of tiles of them) within per-type-pair cutoffs, which include the skin.

    A list of all types together has one segment and the shapes of ``n_types = 1``.

    Attributes
    ----------
    indices : (n_rows, stride) int32
        Rows of the neighbours; per type a segment padded with ``n_total`` to a multiple of the lanes.
    segments : (n_rows, n_types + 1) int32
        Start of each type's segment in the row, and the end of the last.
    inner : (n_rows, n_types) int32
        Slots at the start of each segment that can hold a neighbour within the inner cutoff.
    """

    indices: Any
    segments: Any
    inner: Any

    @property
    def stride(self) -> int:
        """Slots per row."""
        return int(self.indices.shape[1])


@dataclass(frozen=True)
class Tiles:
    """Owned atoms in groups that stand close together, for lists that several atoms share.

    Attributes
    ----------
    members : (n_tiles, TILE_ATOMS) int32
        Owned rows, none farther than `_TILE_REACH` from the first; a tile with fewer atoms repeats its first.
    first : (n_blocks + 1,) int64, host
        First tile of each block of `_TILE_BLOCK` rows; tiles do not reach across blocks.
    """

    members: Any
    first: np.ndarray

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Tiles that contain the rows [begin, end)."""
        return int(self.first[begin // _TILE_BLOCK]), int(self.first[-(-end // _TILE_BLOCK)])


def make_tiles(system: System, backend: Backend, by_layer: bool) -> Tiles:
    """Tiles of the owned atoms, cut from their order along a space-filling curve.

    Parameters
    ----------
    by_layer : bool
        Keep atoms of different layers apart.
    """
    n = system.n_owned
    if n == 0:
        return Tiles(backend.from_host(np.zeros((0, TILE_ATOMS), np.int32)), np.zeros(1, np.int64))
    positions = backend.to_host(system.positions[:n])
    group, edge = np.arange(n) // _TILE_BLOCK, np.full(3, _TILE_EDGE)
    if by_layer:
        layers = backend.to_host(system.layers[:n])
        group = group * (int(layers.max()) + 2) + layers + 1
        # an axis along which layers are thin says nothing
        edge[np.ptp(positions[layers == layers[0]], axis=0) < _TILE_EDGE] = np.inf
    cells = ((positions - positions.min(axis=0)) / edge).astype(np.int64)
    key = group
    for bit in reversed(range(_CURVE_BITS)):
        for axis in range(3):
            key = key << 1 | (cells[:, axis] >> bit & 1)
    order = np.argsort(key, kind="stable").astype(np.int32)
    place, group = np.arange(n), group[order]
    start = np.searchsorted(group, group)  # of the run that is cut into tiles
    for _ in range(_MOST_CUTS):
        slot = (place - start) % TILE_ATOMS
        leader = place - slot
        far = np.linalg.norm(positions[order] - positions[order[leader]], axis=1) > _TILE_REACH
        if not far.any():
            break
        # the first atom of a tile that is far from its leader begins a run of its own
        first = far & ~np.append(False, far[:-1])
        start = np.maximum(start, np.maximum.accumulate(np.where(first, place, 0)))
    slot[far] = 0
    first = order[slot == 0]
    number = np.cumsum(slot == 0) - 1
    members = np.repeat(first[:, None], TILE_ATOMS, axis=1)
    members[np.where(slot == 0, number, number[leader]), slot] = order
    n_blocks = -(-n // _TILE_BLOCK)
    return Tiles(backend.from_host(members), np.searchsorted(first // _TILE_BLOCK, np.arange(n_blocks + 1)))


class NeighborListBuilder:
    """Builds the lists of one potential, again and again in the same memory.

    The length of the rows is measured: the first build with new cutoffs counts before it writes, later ones keep
    that length and a vector of slots for growth, and repeat the build if a row does not fit. So the order of
    neighbours depends on positions only. Memory of the last list is used again: drop the list before the next build.

    Parameters
    ----------
    backend : Backend
    different_layers : bool
        Leave out pairs within one layer.
    """

    def __init__(self, backend: Backend, different_layers: bool = False) -> None:
        self._backend = backend
        self._different_layers = different_layers
        self._cutoffs: tuple[bytes, float] | None = None
        self._stride = 0
        self._capacity = 0
        self._memory = backend.empty_aligned((0,), np.dtype(np.int32))

    def build(self, system: System, cutoffs: np.ndarray, inner_cutoff: float = 0.0,
              members: Any | None = None) -> NeighborList:
        """List all pairs closer than their cutoff.

        Parameters
        ----------
        cutoffs : (n_types, n_types) or (1, 1) float64
            List cutoff (skin included) by type pair, A; 0 leaves the pair out. A single one: all types together
            in one segment.
        inner_cutoff : float
            Neighbours within it (skin included) come first in each segment, A.
        members : (n_tiles, TILE_ATOMS) int32, optional
            Owned rows by tile; each tile gets one row with the neighbours of any of them, the members themselves
            among them unless pairs within a layer are left out.
        """
        backend, xp = self._backend, self._backend.xp
        n, n_types, reach = system.n_total, len(cutoffs), float(cutoffs.max())
        n_rows = system.n_owned if members is None else len(members)
        segments = xp.zeros((n_rows, n_types + 1), dtype=np.int32)
        inner = xp.zeros((n_rows, n_types), dtype=np.int32)
        if n_rows == 0 or reach <= 0.0:
            return NeighborList(xp.full((n_rows, backend.lanes), n, dtype=np.int32), segments, inner)
        if self._cutoffs != (cutoffs.tobytes(), inner_cutoff):
            self._cutoffs, self._stride = (cutoffs.tobytes(), inner_cutoff), 0
        types = system.types if n_types == len(system.species) else xp.zeros_like(system.types)
        grid = _cell_grid(system, backend, types, reach, self._different_layers)
        # REAL coordinates of the sweep are off by up to half a unit in the last place of the extent
        margin = 8.0 * float(np.finfo(backend.real).eps) * float(grid.extent.max())
        squared = xp.asarray(np.where(cutoffs > 0.0, cutoffs + margin, 0.0).astype(np.float64) ** 2)
        inner_squared = (inner_cutoff + margin) ** 2 if inner_cutoff > 0.0 else 0.0
        slices, lanes = backend.scratch_slices, backend.lanes
        self._capacity = max(self._capacity, _likely_candidates(system, reach, grid.extent) + lanes)
        while True:
            indices = self._rows(n_rows)
            needed = xp.zeros(2, dtype=np.int32)
            backend.launch(
                "neighbors", "build_neighbors", 0, n_rows, members, n_types, squared, reach + margin, inner_squared,
                grid.box, grid.count, grid.cell_start, grid.cell_atoms, grid.slot_of_atom, *grid.sweep, n,
                self._capacity, xp.empty(slices * 2 * self._capacity, dtype=backend.real),
                xp.empty(slices * 3 * self._capacity, dtype=np.int32), self._stride, indices, segments, inner, needed,
                per="scratch",
            )
            longest, candidates = (int(v) for v in backend.to_host(needed))
            if candidates <= self._capacity and max(longest, lanes) <= self._stride:
                return NeighborList(indices, segments, inner)
            if candidates > self._capacity:
                self._capacity = math.ceil(1.1 * candidates)
            else:
                self._stride = longest + lanes
            indices = None  # its memory may have to go before more is taken

    def _rows(self, n_rows: int) -> Any:
        """Memory for the rows, that of the last list if it fits."""
        needed = n_rows * self._stride
        if not needed <= self._memory.size <= 1.25 * needed:
            self._memory = None
            self._memory = self._backend.empty_aligned((math.ceil(1.02 * needed),), np.dtype(np.int32))
        return self._memory[:needed].reshape(n_rows, self._stride)


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


def _cell_grid(system: System, backend: Backend, types: Any, reach: float, with_layers: bool) -> _CellGrid:
    xp, n = backend.xp, system.n_total
    low, high = bounding_box(system, backend)
    extent = np.maximum(high - low, 1e-9)
    # columns half a cutoff wide, cut finely along z; but never many more cells than atoms
    size = reach / np.array([2.0, 2.0, 6.0])
    size *= max(1.0, float(np.prod(np.maximum(extent / size, 1.0))) / (4.0 * n + 64.0)) ** (1.0 / 3.0)
    count = np.maximum(1, np.minimum(np.ceil(extent / size), 4.0 * n + 64.0)).astype(np.int32)
    n_cells = int(np.prod(count, dtype=np.int64))
    box, count_device = xp.asarray(np.concatenate([low, count / extent])), xp.asarray(count)
    cell, cell_start = xp.empty(n, dtype=np.int32), xp.zeros(n_cells + 1, dtype=np.int32)
    backend.launch("neighbors", "assign_cells", 0, n, system.positions, box, count_device, cell, cell_start,
                   per="thread")
    cell_start = xp.cumsum(cell_start, dtype=np.int32)
    cell_atoms = xp.empty(n + backend.lanes, dtype=np.int32)  # a vector of room for the last load
    backend.launch("neighbors", "place_atoms", 0, n, cell, cell_start.copy(), cell_atoms, per="thread")
    backend.launch("neighbors", "order_cells", 0, n_cells, cell_start, cell_atoms, per="thread")
    columns = [xp.empty(n + backend.lanes, dtype=backend.real) for _ in range(5 if with_layers else 4)]
    sweep = (*columns, *([] if with_layers else [None]))
    slot_of_atom = cell  # each cell number is read no more
    backend.launch("neighbors", "arrange_sweep", 0, n, cell_atoms, system.positions, types, system.layers, box,
                   *sweep, slot_of_atom, per="thread")
    return _CellGrid(extent, box, count_device, cell_start, cell_atoms, slot_of_atom, sweep)


def _likely_candidates(system: System, reach: float, extent: np.ndarray) -> int:
    density = system.n_total / float(np.prod(np.maximum(extent, 3.0)))
    return math.ceil(min(1.2 * density * 4.0 / 3.0 * math.pi * reach**3, float(system.n_total)))
