"""Copies of the atoms around a brick: a plan of who sends which rows where, and its three uses.

Every rank knows all bricks, so it sends each of its atoms straight to every (rank, lattice vector n)
whose brick, expanded by the halo depth, contains it: one message per peer, whatever the depth, also
between bricks thinner than the halo and images of cells thinner than it. Copies for the rank itself
never touch MPI.

    forward   r_ghost = r_owner + n C           sent with the present cell C
    forward   q_ghost = q_owner                 any per-atom field
    reverse   q_owner += sum over copies q_ghost
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator, Transport
from hpcthermo.domain.grid import RankGrid, heights, images_in_brick
from hpcthermo.gpu.backend import Backend


@dataclass(frozen=True)
class GhostAtoms:
    """What does not change between rebuilds, by ghost row (host).

    Attributes
    ----------
    types, layers : (n_ghost,) int32
    tags : (n_ghost,) int64
    images : (n_ghost, 3) float64
        Lattice vectors from the owner to the copy.
    """

    types: np.ndarray
    layers: np.ndarray
    tags: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class SendPlan:
    """Rows this rank sends, by receiving rank.

    Attributes
    ----------
    index : (n_send,) int32
        Owned rows, ordered by receiving rank, lattice vector, row.
    images : (n_send, 3) int32
    counts : (n_ranks,) int64
        Rows for each rank; an atom is never sent to its own rank with the zero lattice vector.
    """

    index: np.ndarray
    images: np.ndarray
    counts: np.ndarray


def plan_sends(fractional: np.ndarray, grid: RankGrid, rank: int, cell: np.ndarray, periodic: np.ndarray,
               depth: float) -> SendPlan:
    """Which owned atoms have copies on which ranks.

    Parameters
    ----------
    fractional : (n_owned, 3) float64
        Coordinates of the owned atoms.
    cell : (3, 3) float64
        Frame cell (no zero vectors), A.
    depth : float
        Halo depth, A.
    """
    lower, upper = grid.bounds()
    # positions may stand outside the brick by a rounding error
    fractional_depth = (depth + 1e-9) / heights(cell)
    indices, images, counts = [], [], np.zeros(len(lower), np.int64)
    for receiver in range(len(lower)):
        index, image = images_in_brick(fractional, lower[receiver], upper[receiver], fractional_depth, periodic)
        if receiver == rank:
            copies = image.any(axis=1)
            index, image = index[copies], image[copies]
        counts[receiver] = len(index)
        indices.append(index)
        images.append(image)
    return SendPlan(np.concatenate(indices), np.concatenate(images), counts)


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
        self._images = plan.images.astype(np.float64)
        self._send_bounds = np.concatenate([[0], np.cumsum(plan.counts)])
        self.n_owned = n_owned
        self.n_send = len(plan.index)
        self._index = backend.from_host(plan.index)
        self._scatter = _rows_by_owner(plan.index, backend)
        self._cell: np.ndarray | None = None
        self._shifts: Any = None
        self._buffers: dict[int, Any] = {}
        self._pending: tuple[Any, Any] | None = None

    def exchange_ghosts(self, plan: SendPlan, types: np.ndarray, layers: np.ndarray, tags: np.ndarray) -> GhostAtoms:
        """Tell the receivers what they get (collective); sets the number of ghosts."""
        rows = np.empty((self.n_send, 6), np.int64)
        rows[:, 0], rows[:, 1], rows[:, 2] = types[plan.index], layers[plan.index], tags[plan.index]
        rows[:, 3:] = plan.images
        received, counts = self._comm.alltoallv(rows, plan.counts)
        self._receive_bounds = np.concatenate([[0], np.cumsum(counts)])
        self.n_ghost = len(received)
        ranks = [r for r in range(self._comm.size) if r != self._comm.rank]
        self._to = [(r, *self._send_span(r)) for r in ranks if plan.counts[r]]
        self._from = [(r, *self._receive_span(r)) for r in ranks if counts[r]]
        self._own_send, self._own_receive = self._send_span(self._comm.rank), self._receive_span(self._comm.rank)
        self.own_copies = self._own_send[1] - self._own_send[0]
        return GhostAtoms(received[:, 0].astype(np.int32), received[:, 1].astype(np.int32), received[:, 2].copy(),
                          received[:, 3:].astype(np.float64))

    def forward_positions_begin(self, positions: Any, cell: np.ndarray) -> None:
        """Start to fill ghost rows of positions (n_total, 3) with the owners' rows + n C."""
        if self._cell is None or not np.array_equal(cell, self._cell):
            self._cell = cell.copy()
            self._shifts = self._backend.from_host(self._images @ cell)
        shifts = self._shifts
        self._forward_begin(positions, lambda begin, end, target: self._backend.launch(
            "halo", "gather_positions", 0, end - begin, positions, self._index[begin:end], shifts[begin:end], target,
            per="thread"))

    def forward_begin(self, field: Any) -> None:
        """Start to fill the ghost rows of a contiguous float64 field (n_total, k)."""
        self._forward_begin(field, lambda begin, end, target: self._backend.launch(
            "halo", "gather_rows", 0, end - begin, field, self._index[begin:end], field.shape[1], target,
            per="thread"))

    def progress(self) -> None:
        """Let messages in flight move on; call between pieces of work."""
        self._transport.progress()

    def forward_finish(self) -> None:
        """Wait for the ghost rows."""
        self._transport.finish()

    def reverse_begin(self, field: Any) -> None:
        """Start to send the ghost rows of a contiguous float64 field (n_total or more, k) back.

        Until `reverse_finish` only owned rows may be written.
        """
        n = self.n_owned
        if not self._to and not self._from:
            # all copies are this rank's own: their rows are already in the order of sending
            self._pending = (field, field[n:n + self.n_ghost])
            return
        buffer = self._buffer(field.shape[1])
        sends = [(r, field[n + begin:n + end]) for r, begin, end in self._from]
        self._transport.start(sends, [(r, buffer[begin:end]) for r, begin, end in self._to])
        (sent_begin, sent_end), (begin, end) = self._own_send, self._own_receive
        if sent_end > sent_begin:
            buffer[sent_begin:sent_end] = field[n + begin:n + end]
        self._pending = (field, buffer)

    def reverse_finish(self) -> None:
        """Add the rows of all copies to their owners."""
        self._transport.finish()
        if self._pending is None:
            return
        field, source = self._pending
        self._pending = None
        owners, starts, rows = self._scatter
        self._backend.launch("halo", "add_rows", 0, len(owners), owners, starts, rows, field.shape[1], source, field,
                             per="thread")

    def _forward_begin(self, field: Any, gather: Any) -> None:
        n = self.n_owned
        if self._to or self._from:
            buffer = self._buffer(field.shape[1])
            for _, begin, end in self._to:
                gather(begin, end, buffer[begin:end])
            self._transport.start([(r, buffer[begin:end]) for r, begin, end in self._to],
                                  [(r, field[n + begin:n + end]) for r, begin, end in self._from])
        (begin, end), (own_begin, own_end) = self._own_send, self._own_receive
        if end > begin:
            gather(begin, end, field[n + own_begin:n + own_end])

    def _buffer(self, columns: int) -> Any:
        if columns not in self._buffers:
            self._buffers[columns] = self._backend.xp.empty((self.n_send, columns), dtype=np.float64)
        return self._buffers[columns]

    def _send_span(self, rank: int) -> tuple[int, int]:
        return int(self._send_bounds[rank]), int(self._send_bounds[rank + 1])

    def _receive_span(self, rank: int) -> tuple[int, int]:
        return int(self._receive_bounds[rank]), int(self._receive_bounds[rank + 1])


def _rows_by_owner(index: np.ndarray, backend: Backend) -> tuple[Any, Any, Any]:
    """Owned rows that have copies, where each one's copies start, and the copies in order of sending."""
    order = np.argsort(index, kind="stable").astype(np.int32)
    owners, first = np.unique(index[order], return_index=True)
    starts = np.append(first, len(index)).astype(np.int32)
    return backend.from_host(owners.astype(np.int32)), backend.from_host(starts), backend.from_host(order)
