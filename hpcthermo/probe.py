"""A timed look at one piece of a structure, in its true surroundings, without running the job.

The structure is cut into bricks of a few thousand atoms. For some of them a System with ghosts is made, exactly as a
rank of a large run would have it, and the potential computes it. Cost and memory per atom follow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.domain.grid import choose_layout, frame_cell, heights, images_in_brick, make_grid, wrap
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import pack_positions
from hpcthermo.potentials.base import BoundPotential, ForceArrays, Potential
from hpcthermo.system import System

#: atoms of a piece: enough to fill caches as a real rank does, few enough to take a second
_PIECE_ATOMS = 6000
_PIECES = 2
_REPEATS = 3


@dataclass(frozen=True)
class Cost:
    """Measured per owned atom.

    Attributes
    ----------
    force_seconds : float
        One force call.
    pack_seconds : float
        Packing the positions, per owned or ghost atom.
    list_seconds : float
        One build of the neighbour lists.
    list_bytes : float
        Memory of the widest lists of the run.
    """

    force_seconds: float
    pack_seconds: float
    list_seconds: float
    list_bytes: float


def measure_cost(snapshot: Snapshot, potential: Potential, backend: Backend, skin: float,
                 widest: float | None = None) -> Cost:
    """Cost per atom of a potential on a structure, by processor time on a CPU and by wall time on a GPU.

    Parameters
    ----------
    skin : float
        Of the run, A.
    widest : float, optional
        Widest skin that the run tries, A; the skin of the run if not given.
    """
    bound = potential.bind(snapshot.species, backend)
    n_pieces = max(1, snapshot.n_atoms // _PIECE_ATOMS)
    bricks = [n_pieces // 2, n_pieces // 5][:min(_PIECES, n_pieces)]
    widest = widest or skin
    pieces = brick_systems(snapshot, backend, n_pieces, bricks, bound.ghost_depth + max(skin, widest))
    measured = [_measure_piece(piece, bound, backend, skin, widest) for piece in pieces if piece.n_owned]
    weights = [piece.n_owned for piece in pieces if piece.n_owned]
    means = np.average(np.array(measured), axis=0, weights=weights)
    return Cost(*(float(value) for value in means))


def brick_systems(snapshot: Snapshot, backend: Backend, n_bricks: int, chosen: list[int], depth: float) -> list[System]:
    """Systems of some bricks of a decomposition, with their ghosts, made without communication."""
    cell = frame_cell(snapshot.cell)
    wrapped, fractional, _ = wrap(snapshot.positions, cell, snapshot.periodic)
    lengths = heights(cell) * np.where(snapshot.periodic, 1.0, np.ptp(fractional, axis=0))
    grid = make_grid(fractional, choose_layout(n_bricks, "auto", lengths, snapshot.periodic, depth), snapshot.periodic)
    owners, (lower, upper) = grid.owners(fractional), grid.bounds()
    systems = []
    for brick in chosen:
        owned = np.flatnonzero(owners == brick)
        index, images = images_in_brick(fractional, lower[brick], upper[brick], depth / heights(cell),
                                        snapshot.periodic)
        ghost = (owners[index] != brick) | images.any(axis=1)
        systems.append(_brick_system(snapshot, backend, wrapped, cell, owned, index[ghost], images[ghost]))
    return systems


def _brick_system(snapshot: Snapshot, backend: Backend, wrapped: np.ndarray, cell: np.ndarray, owned: np.ndarray,
                  ghosts: np.ndarray, images: np.ndarray) -> System:
    fractional = wrapped[owned] @ np.linalg.inv(cell)
    cells = np.floor(fractional * np.maximum(1.0, np.floor(heights(cell) / 6.0)))
    owned = owned[np.lexsort((owned, cells[:, 2], cells[:, 1], cells[:, 0]))]  # the order of a real rank
    rows = np.concatenate([owned, ghosts])
    positions = np.concatenate([wrapped[owned], wrapped[ghosts] + images @ cell])
    n = len(owned)

    def device(values: np.ndarray) -> Any:
        return backend.from_host(np.ascontiguousarray(values))

    return System(
        snapshot.cell.copy(), snapshot.periodic.copy(), snapshot.species, snapshot.masses.copy(), n, len(ghosts),
        positions=device(positions), velocities=device(snapshot.velocities[owned]),
        forces=device(np.zeros((len(rows) + 1, 4))), types=device(snapshot.types[rows]),
        tags=device(snapshot.tags[rows]), layers=device(snapshot.layers[rows]),
        images=device(snapshot.images[owned]), groups=device(snapshot.groups[owned]),
    )


def _measure_piece(system: System, bound: BoundPotential, backend: Backend, skin: float,
                   widest: float) -> tuple[float, ...]:
    clock = time.process_time if backend.device == "cpu" else time.perf_counter
    bound.build_lists(system, widest)
    list_bytes = array_bytes(bound)
    list_seconds = _best(lambda: bound.build_lists(system, skin), backend, clock, 2)
    pack_seconds = _best(lambda: pack_positions(system, backend, bound.cutoff + skin), backend, clock, _REPEATS)
    packed = pack_positions(system, backend, bound.cutoff + skin)
    output = ForceArrays(backend.xp.zeros(system.n_owned), system.forces, None)
    exchange = NoExchange() if bound.exchanges_fields else None
    force_seconds = _best(lambda: bound.compute(system, packed, 0, system.n_owned, output, exchange), backend, clock,
                          _REPEATS)
    n = system.n_owned
    return force_seconds / n, pack_seconds / system.n_total, list_seconds / n, list_bytes / n


class NoExchange:
    """Leaves ghost rows as they are: values do not matter to the time."""

    def forward(self, field: Any) -> None:
        """Do nothing."""

    def reverse(self, field: Any) -> None:
        """Do nothing."""


def _best(work: Any, backend: Backend, clock: Any, repeats: int) -> float:
    best = np.inf
    for _ in range(repeats):
        start = clock()
        work()
        backend.synchronize()
        best = min(best, clock() - start)
    return float(best)


def array_bytes(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of all arrays of an object of this package and of what it holds."""
    seen = set() if seen is None else seen
    while hasattr(value, "dtype") and hasattr(getattr(value, "base", None), "dtype"):
        value = value.base  # of several views of one memory, the memory counts, once
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if hasattr(value, "nbytes") and hasattr(value, "dtype"):
        return int(value.nbytes)
    if isinstance(value, list | tuple):
        return sum(array_bytes(item, seen) for item in value)
    if isinstance(value, dict):
        return sum(array_bytes(item, seen) for item in value.values())
    if type(value).__module__.startswith("hpcthermo") and hasattr(value, "__dict__") and not isinstance(value, Backend):
        return array_bytes(vars(value), seen)
    return 0
