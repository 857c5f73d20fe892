"""What potentials with one neighbour list have in common: its building, and no work without it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, NeighborListBuilder, PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays
from hpcthermo.system import System


class ListedPotential(ABC):
    """A bound potential over one neighbour list.

    Parameters
    ----------
    reach : (T, T) float64
        How far an atom of the first type asks for neighbours of the second, A; 0 for never.
    different_layers : bool
        Leave pairs within one layer out of the list.
    inner_reach : float
        Neighbours within it come first in each segment of the list, A; 0 for no such order.

    Attributes
    ----------
    cutoff, ghost_depth : float
        A.
    exchanges_fields : bool
        False: site energies need no ghost exchange, unless a subclass says otherwise.
    """

    exchanges_fields = False

    def __init__(self, backend: Backend, reach: np.ndarray, different_layers: bool = False,
                 inner_reach: float = 0.0) -> None:
        self._backend = backend
        self._reach = reach
        self._inner_reach = inner_reach
        self.cutoff = self.ghost_depth = float(reach.max())
        self._lists = NeighborListBuilder(backend, different_layers)
        self._list: NeighborList | None = None

    def build_lists(self, system: System, skin: float) -> None:
        """Build the neighbour list for the present owned and ghost rows."""
        self._list = None  # its memory is used again
        members = self._arrange(system)
        inner = self._inner_reach + skin if self._inner_reach > 0.0 else 0.0
        self._list = self._lists.build(system, np.where(self._reach > 0.0, self._reach + skin, 0.0), inner, members)
        self._prepare(system, self._list)

    def compute(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays,
                exchange: FieldExchange | None = None) -> None:
        """Add energies, forces and, if asked for, virials of the owned atoms [begin, end)."""
        if self._list is None:
            raise RuntimeError("build_lists comes before compute")
        # a rank without atoms has ghosts that other ranks send fields to
        if end > begin or self.exchanges_fields:
            self._add_forces(self._list, system, packed, begin, end, output, exchange)

    def _arrange(self, system: System) -> Any | None:
        """What a subclass does before the list: check the system; tiles whose atoms share a row of the list."""
        return None

    @abstractmethod
    def _prepare(self, system: System, neighbors: NeighborList) -> None:
        """What a subclass makes from a new list: the order of its atoms, scratch memory."""

    @abstractmethod
    def _add_forces(self, neighbors: NeighborList, system: System, packed: PackedPositions, begin: int, end: int,
                    output: ForceArrays, exchange: FieldExchange | None) -> None:
        """`compute` with a list; with no atoms only if fields are exchanged."""
