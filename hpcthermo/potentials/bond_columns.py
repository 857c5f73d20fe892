"""A bound potential whose kernel works on columns of bonds (gpu/kernels/bond_columns.h): lanes are atoms."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays
from hpcthermo.potentials.listed import ListedPotential
from hpcthermo.system import System

#: atoms of one tile, sorted by type so that lanes share parameters; on a GPU a tile is one warp's batch
_TILE_SIZE = {"cpu": 512, "cuda": 32}


class BondColumnPotential(ListedPotential):
    """Parameters by triplet on a device, and the kernel that takes them.

    Parameters
    ----------
    module, kernel : str
        Kernel module and the name of the kernel in it.
    reach : (T, T) float64
        How far an atom of the first type looks for bonds to the second, A.
    rows : (T, T, T, P) float64
        Parameters by types of i, j and k in the form of the kernel.
    option : int
        What the kernel needs to know of all its parameters.
    """

    def __init__(self, backend: Backend, module: str, kernel: str, reach: np.ndarray, rows: np.ndarray,
                 option: int) -> None:
        super().__init__(backend, reach)
        self._module, self._kernel, self._option = module, kernel, option
        self._rows = backend.xp.asarray(rows.astype(backend.real))
        self._reach_squared = backend.xp.asarray((reach**2).astype(backend.real))
        self._tile_size = _TILE_SIZE[backend.device]
        self._order: Any = None
        self._scratch: tuple[Any, ...] = ()

    def _prepare(self, system: System, neighbors: NeighborList) -> None:
        backend, xp, n = self._backend, self._backend.xp, system.n_owned
        tiles = xp.arange(n) // self._tile_size
        key = tiles * len(system.species) + system.types[:n]
        self._order = xp.argsort(key, kind="stable").astype(np.int32)
        longest = int(backend.to_host(neighbors.segments[:, -1].max())) if n else 0
        self._scratch = self._scratch_arguments(longest)

    def _add_forces(self, neighbors: NeighborList, system: System, packed: PackedPositions, begin: int, end: int,
                    output: ForceArrays, exchange: FieldExchange | None) -> None:
        tile = self._tile_size
        self._backend.launch(
            self._module, self._kernel, begin // tile, (end + tile - 1) // tile, begin, end, tile, system.n_owned,
            self._order, packed.rows, packed.scale, system.n_total,
            neighbors.indices, neighbors.stride, neighbors.segments,
            len(system.species), self._option, 2.0 * self.cutoff, self._rows, self._reach_squared, *self._scratch,
            output.energies, output.forces, output.virials, per="scratch",
        )

    def _scratch_arguments(self, longest: int) -> tuple[Any, ...]:
        """Scratch arrays and their capacity in bonds (sizes as bond_reals and bond_integers of the kernel)."""
        backend = self._backend
        lanes, slices = backend.lanes, backend.scratch_slices
        capacity = longest + lanes
        reals = 10 * capacity * lanes + 3 * (capacity + lanes) + lanes
        integers = 2 * capacity * lanes + (capacity + lanes) + capacity + 5 * lanes
        return (
            backend.empty_aligned((slices * reals,), backend.real),
            backend.empty_aligned((slices * integers,), np.dtype(np.int32)), capacity,
        )
