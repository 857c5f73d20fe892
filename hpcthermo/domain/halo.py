"""Copies of the atoms around a brick: a plan of who sends which rows where, and its three uses.

Every rank knows all bricks, so it sends each of its atoms straight to every (rank, lattice vector n)
whose brick, expanded by the halo depth, contains it: one message per peer, whatever the depth, also
between bricks thinner than the halo and images of cells thinner than it. Copies for the rank itself
never touch MPI. Messages are prepared once for each array and started again in every step.

    forward   r_ghost = r_owner + n C           sent with the present cell C
    forward   q_ghost = q_owner                 any per-atom field
    reverse   q_owner += sum over copies q_ghost
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator, Exchange, Message, Transport
from hpcthermo.domain.grid import RankGrid, heights
from hpcthermo.domain.rebuild import boxes_of_copies, copies_in_boxes, lattice_shifts
from hpcthermo.gpu.backend import Backend

#: exchanges kept prepared: positions, forces, virial rows, and a few fields of a potential
_MOST_KEPT = 8


@dataclass(frozen=True)
class GhostAtoms:
    """What does not change between rebuilds, by ghost row.

    Attributes
    ----------
    types, layers : (n_ghost,) int32
    tags : (n_ghost,) int64
    images : (n_ghost, 3) int32
        Lattice vectors from the owner to the copy.
    """

    types: Any
    layers: Any
    tags: Any
    images: Any


@dataclass(frozen=True)
class SendPlan:
    """Rows this rank sends, by receiving rank.

    Attributes
    ----------
    index : (n_send,) int32
        Owned rows, ordered by receiving rank, lattice vector, row.
    images : (n_send, 3) int32
    counts : (n_ranks,) int64, host
        Rows for each rank; an atom is never sent to its own rank with the zero lattice vector.
    """

    index: Any
    images: Any
    counts: np.ndarray


def plan_sends(fractional: Any, grid: RankGrid, rank: int, cell: np.ndarray, periodic: np.ndarray, depth: float,
               backend: Backend) -> SendPlan:
    """Which owned atoms have copies on which ranks.

    Parameters
    ----------
    fractional : (3, n_owned) float64
        Coordinates of the owned atoms by axis.
    cell : (3, 3) float64
        Frame cell (no zero vectors), A.
    depth : float
        Halo depth, A.
    """
    lower, upper = grid.bounds()
    if fractional.shape[1] == 0:
        index, images, _ = copies_in_boxes(fractional, np.zeros((0, 9)), backend)
        return SendPlan(index, images, np.zeros(len(lower), np.int64))
    # positions may stand outside the brick by a rounding error
    fractional_depth = (depth + 1e-9) / heights(cell)
    smallest, largest = backend.to_host(backend.xp.stack([fractional.min(axis=1), fractional.max(axis=1)]))
    boxes, receivers = boxes_of_copies(smallest, largest, lower - fractional_depth, upper + fractional_depth, periodic,
                                       rank)
    index, images, counts = copies_in_boxes(fractional, boxes, backend)
    return SendPlan(index, images, np.bincount(receivers, counts, minlength=len(lower)).astype(np.int64))


@dataclass(frozen=True)
class _Kept:
    """Prepared messages, and the array they belong to (kept, so that no other takes its place in memory)."""

    field: Any
    exchange: Exchange


class Halo:
    """Ghost exchange of one rank from one rebuild to the next.

    Attributes
    ----------
    n_owned, n_ghost : int
        Rows of this rank and copies that it holds.
    n_send : int
        Copies of its atoms, on all ranks.
    own_copies : int
        Those among them that it holds itself.
    """

    def __init__(self, plan: SendPlan, n_owned: int, comm: Communicator, backend: Backend,
                 transport: Transport) -> None:
        self._comm = comm
        self._backend = backend
        self._transport = transport
        self._images = plan.images
        self._send_bounds = np.concatenate([[0], np.cumsum(plan.counts)])
        self.n_owned = n_owned
        self.n_send = len(plan.index)
        self._index = plan.index
        self._scatter = _rows_by_owner(plan.index, backend)
        self._cell: np.ndarray | None = None
        self._shifts = backend.xp.empty((self.n_send, 3))
        self._buffers: dict[int, Any] = {}
        self._kept: dict[tuple[str, int], _Kept] = {}
        self._flying: Exchange | None = None
        self._returning: Any = None

    def exchange_ghosts(self, plan: SendPlan, types: Any, layers: Any, tags: Any) -> GhostAtoms:
        """Tell the receivers what they get (collective); sets the number of ghosts."""
        sent, counts = (types[plan.index], layers[plan.index], tags[plan.index], plan.images), plan.counts
        received = GhostAtoms(*sent)
        if self._comm.size > 1:
            received, counts = self._exchange_with_ranks(sent, plan.counts)
        self._receive_bounds = np.concatenate([[0], np.cumsum(counts)])
        self.n_ghost = len(received.tags)
        ranks = [r for r in range(self._comm.size) if r != self._comm.rank]
        self._to = [(r, *self._send_span(r)) for r in ranks if plan.counts[r]]
        self._from = [(r, *self._receive_span(r)) for r in ranks if counts[r]]
        self._own_send, self._own_receive = self._send_span(self._comm.rank), self._receive_span(self._comm.rank)
        self._has_peers = bool(self._to or self._from)
        self.own_copies = self._own_send[1] - self._own_send[0]
        return received

    def _exchange_with_ranks(self, sent: tuple[Any, ...], counts: np.ndarray) -> tuple[GhostAtoms, np.ndarray]:
        """Types, layers, tags and lattice vectors of the ghosts, and how many come from each rank."""
        records = np.column_stack([self._backend.to_host(field) for field in sent]).astype(np.int64)
        rows, received_counts = self._comm.alltoallv(records, counts)
        types, layers, tags, images = (self._backend.from_host(np.ascontiguousarray(part)) for part in (
            rows[:, 0].astype(np.int32), rows[:, 1].astype(np.int32), rows[:, 2], rows[:, 3:].astype(np.int32)))
        return GhostAtoms(types, layers, tags, images), received_counts

    def follow(self, cell: np.ndarray) -> None:
        """Use the present cell, whose vectors lie between owners and copies."""
        if self._cell is None or not np.array_equal(cell, self._cell):
            self._cell = cell.copy()
            # in place: recorded work and prepared messages know the memory
            lattice_shifts(self._images, cell, self._shifts, self._backend)

    def forward_positions_begin(self, positions: Any, cell: np.ndarray) -> None:
        """Start to fill ghost rows of positions (n_total, 3) with the owners' rows + n C."""
        self.follow(cell)
        self._forward_begin("gather_positions", positions, self._shifts)

    def forward_begin(self, field: Any) -> None:
        """Start to fill the ghost rows of a contiguous float64 field (n_total, k)."""
        self._forward_begin("collect_rows", field, field.shape[1])

    def progress(self) -> None:
        """Let messages in flight move on; call between pieces of work."""
        if self._flying is not None:
            self._flying.progress()

    def forward_finish(self) -> None:
        """Wait for the ghost rows."""
        self._land()

    def reverse_begin(self, field: Any) -> None:
        """Start to send the ghost rows of a contiguous float64 field (n_total or more, k) back.

        Until `reverse_finish` only owned rows may be written.
        """
        self._returning = field
        if not self._has_peers:
            return
        leaving, arriving = field[self.n_owned:], self._buffer(field.shape[1])
        self._fly(("reverse", id(field)), field, lambda: (
            [(r, leaving[begin:end]) for r, begin, end in self._from],
            [(r, arriving[begin:end]) for r, begin, end in self._to]))

    def reverse_finish(self) -> None:
        """Add the rows of all copies to their owners."""
        self._land()
        field, self._returning = self._returning, None
        arrived = self._buffer(field.shape[1]) if self._has_peers else None
        owners, starts, rows = self._scatter
        self._backend.launch("halo", "add_rows", 0, len(owners), owners, starts, rows, *self._own_span(),
                             field.shape[1], arrived, self.n_owned, field, per="thread")

    def _forward_begin(self, kernel: str, field: Any, extra: Any) -> None:
        buffer: Any = self._buffer(field.shape[1]) if self._has_peers else None
        self._backend.launch("halo", kernel, 0, self.n_send, self._index, *self._own_span(), extra, buffer,
                             self.n_owned, field, per="thread")
        if self._has_peers:
            self._fly(("forward", id(field)), field, lambda: (
                [(r, buffer[begin:end]) for r, begin, end in self._to],
                [(r, field[self.n_owned + begin:self.n_owned + end]) for r, begin, end in self._from]))

    def _fly(self, key: tuple[str, int], field: Any,
             messages: Callable[[], tuple[list[Message], list[Message]]]) -> None:
        """Start the messages of this field, prepared when it is first seen."""
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            kept = self._kept[key] = _Kept(field, self._transport.exchange(*messages()))
        self._flying = kept.exchange
        self._flying.start()

    def _land(self) -> None:
        if self._flying is not None:
            self._flying.wait()
            self._flying = None

    def _own_span(self) -> tuple[int, int, int]:
        """Rows [begin, end) in order of sending that are this rank's own ghosts, and the first of these ghosts."""
        return *self._own_send, self._own_receive[0]

    def _buffer(self, columns: int) -> Any:
        """Memory for rows in order of sending."""
        if columns not in self._buffers:
            self._buffers[columns] = self._backend.xp.empty((self.n_send, columns), dtype=np.float64)
        return self._buffers[columns]

    def _send_span(self, rank: int) -> tuple[int, int]:
        return int(self._send_bounds[rank]), int(self._send_bounds[rank + 1])

    def _receive_span(self, rank: int) -> tuple[int, int]:
        return int(self._receive_bounds[rank]), int(self._receive_bounds[rank + 1])


def _rows_by_owner(index: Any, backend: Backend) -> tuple[Any, Any, Any]:
    """Owned rows that have copies, where each one's copies start, and the copies in order of sending."""
    xp, n = backend.xp, len(index)
    copies = xp.argsort(index.astype(np.int64) * n + xp.arange(n)).astype(np.int32)
    rows = index[copies]
    starts = xp.flatnonzero(xp.concatenate([xp.ones(min(n, 1), dtype=bool), rows[1:] != rows[:-1]]))
    return rows[starts], xp.concatenate([starts, xp.full(1, n)]).astype(np.int32), copies
