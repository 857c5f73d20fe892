"""The boundary to MPI: one face, with mpi4py behind it or nothing at all.

This is the only module that imports mpi4py. `SingleProcess` needs no MPI library; `world_communicator`
returns the ranks a launcher has started.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np

from hpcthermo.errors import HpcthermoError, InputError, ResourceError
from hpcthermo.gpu.backend import Backend

T = TypeVar("T", float, np.ndarray)
Message = tuple[int, Any]

#: sums up to this many bytes over all ranks are gathered and added in rank order
_ORDERED_SUM_BYTES = 65536
_EXCHANGE_TAG = 17


@dataclass
class Counters:
    """What this rank has communicated since its communicator was made.

    Attributes
    ----------
    messages_sent : int
        Messages to other ranks; empty ones are not sent.
    bytes_sent : int
        Bytes in them.
    collectives : int
        Reductions, gathers, broadcasts and barriers of all ranks together.
    waiting_seconds : float
        Time of this rank in the exchange of messages, in reductions and at barriers.
    """

    messages_sent: int = 0
    bytes_sent: int = 0
    collectives: int = 0
    waiting_seconds: float = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.waiting_seconds += time.perf_counter() - start


class Exchange:
    """The same messages again and again, out of and into the same memory (none, without MPI)."""

    def start(self) -> None:
        """Begin to send and receive; the memory belongs to the messages until `wait` has returned."""

    def progress(self) -> None:
        """Let the MPI library move data; call now and then between pieces of work."""

    def wait(self) -> None:
        """Return when all messages have been sent and received."""


class Maximum:
    """A maximum over all ranks that is being found (known at once, without MPI)."""

    def __init__(self, largest: np.ndarray) -> None:
        self._largest = largest

    def value(self) -> np.ndarray:
        """The elementwise maximum; waits for the other ranks."""
        return self._largest


class Communicator:
    """The ranks that share one system.

    Attributes
    ----------
    rank, size : int
        This process and the number of processes.
    counters : Counters
        Messages and collectives of this rank.
    """

    rank: int = 0
    size: int = 1

    def __init__(self) -> None:
        self.counters = Counters()

    def allreduce_sum(self, value: T) -> T:
        """Sum over all ranks of a number or a float64/int64 array, the same bits on every rank."""
        raise NotImplementedError

    def allreduce_max(self, value: T) -> T:
        """Maximum over all ranks of a number or a float64/int64 array."""
        raise NotImplementedError

    def allgather(self, value: Any) -> list[Any]:
        """Values of all ranks in rank order (any picklable object; not for the time loop)."""
        raise NotImplementedError

    def bcast(self, value: Any, root: int = 0) -> Any:
        """The value of the root rank (any picklable object; not for the time loop)."""
        raise NotImplementedError

    def gather(self, value: Any, root: int = 0) -> list[Any] | None:
        """Values of all ranks on the root, None elsewhere (not for the time loop)."""
        raise NotImplementedError

    def barrier(self) -> None:
        """Wait for all ranks."""
        raise NotImplementedError

    def split(self, color: int, key: int = 0) -> Communicator:
        """Ranks of the same color, ordered by key, then by present rank."""
        raise NotImplementedError

    def abort(self, code: int) -> NoReturn:
        """End all ranks at once with this exit code."""
        raise NotImplementedError

    def begin_max(self, values: np.ndarray) -> Maximum:
        """Begin to find the elementwise maximum over all ranks of a float64 array."""
        raise NotImplementedError

    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> Exchange:
        """Prepare messages (peer, contiguous array), each time from and into these arrays.

        At most one message goes from one rank to another; several exchanges may be in flight and match
        in the order in which they were started.
        """
        raise NotImplementedError

    def alltoallv(self, rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Send ``counts[r]`` consecutive rows to each rank r.

        Parameters
        ----------
        rows : (sum(counts), ...) float64 or int64
        counts : (size,) int64

        Returns
        -------
        received : (sum(received_counts), ...) ndarray
            In order of the sending rank.
        received_counts : (size,) int64
        """
        raise NotImplementedError

    def gatherv(self, rows: np.ndarray, root: int = 0) -> np.ndarray | None:
        """Rows of all ranks, concatenated in rank order on the root; None elsewhere."""
        raise NotImplementedError

    def all_arrived(self, timeout: float) -> bool:
        """Whether every rank has made this call before `timeout` seconds are over."""
        raise NotImplementedError


class SingleProcess(Communicator):
    """One rank without an MPI library."""

    def allreduce_sum(self, value: T) -> T:
        return value

    def allreduce_max(self, value: T) -> T:
        return value

    def allgather(self, value: Any) -> list[Any]:
        return [value]

    def bcast(self, value: Any, root: int = 0) -> Any:
        return value

    def gather(self, value: Any, root: int = 0) -> list[Any] | None:
        return [value]

    def barrier(self) -> None:
        return None

    def split(self, color: int, key: int = 0) -> Communicator:
        return self

    def abort(self, code: int) -> NoReturn:
        sys.exit(code)

    def begin_max(self, values: np.ndarray) -> Maximum:
        return Maximum(values)

    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> Exchange:
        if sends or receives:
            raise ValueError("a single process has no peers")
        return Exchange()

    def alltoallv(self, rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return rows, counts

    def gatherv(self, rows: np.ndarray, root: int = 0) -> np.ndarray | None:
        return rows

    def all_arrived(self, timeout: float) -> bool:
        return True


class _MpiExchange(Exchange):
    """Persistent requests: the MPI library sets addresses and sizes up once, here, and not in every step."""

    def __init__(self, mpi: Any, handle: Any, counters: Counters, sends: Sequence[Message],
                 receives: Sequence[Message]) -> None:
        self._request = mpi.Request
        self._start_all = mpi.Prequest.Startall
        self._counters = counters
        self._messages, self._bytes = len(sends), sum(array.nbytes for _, array in sends)
        # receives first: a message that finds its receive waiting is not buffered
        self._requests = [handle.Recv_init(array, peer, _EXCHANGE_TAG) for peer, array in receives]
        self._requests += [handle.Send_init(array, peer, _EXCHANGE_TAG) for peer, array in sends]
        # given back when nobody uses the exchange any more
        weakref.finalize(self, _free_requests, self._requests)

    def start(self) -> None:
        self._counters.messages_sent += self._messages
        self._counters.bytes_sent += self._bytes
        with self._counters.waiting():
            self._start_all(self._requests)

    def progress(self) -> None:
        with self._counters.waiting():
            self._request.Testall(self._requests)

    def wait(self) -> None:
        with self._counters.waiting():
            self._request.Waitall(self._requests)


def _free_requests(requests: list[Any]) -> None:
    for request in requests:
        request.Free()


class _MpiMaximum(Maximum):
    def __init__(self, request: Any, counters: Counters, values: np.ndarray, largest: np.ndarray) -> None:
        super().__init__(largest)
        self._request = request
        self._counters = counters
        self._values = values  # until the reduction has read them

    def value(self) -> np.ndarray:
        with self._counters.waiting():
            self._request.Wait()
        return self._largest


class MpiCommunicator(Communicator):
    """Ranks of an MPI communicator; only buffer (upper-case) calls in the time loop."""

    def __init__(self, mpi: Any, handle: Any) -> None:
        super().__init__()
        self._mpi = mpi
        self._handle = handle
        # a communicator of its own for all_arrived: it must not match collectives of the main one
        self._arrivals = handle.Dup()
        self.rank = handle.Get_rank()
        self.size = handle.Get_size()

    def allreduce_sum(self, value: T) -> T:
        self.counters.collectives += 1
        local: np.ndarray = np.ascontiguousarray(value)
        if local.nbytes * self.size <= _ORDERED_SUM_BYTES:
            gathered = np.empty((self.size, *local.shape), local.dtype)
            with self.counters.waiting():
                self._handle.Allgather(local, gathered)
            total = gathered[0]
            for part in gathered[1:]:
                total = total + part
        else:
            self.counters.collectives += 1
            total = np.empty_like(local)
            with self.counters.waiting():
                self._handle.Reduce(local, total, self._mpi.SUM, 0)
                self._handle.Bcast(total, 0)
        return total if isinstance(value, np.ndarray) else total.item()

    def allreduce_max(self, value: T) -> T:
        self.counters.collectives += 1
        local: np.ndarray = np.ascontiguousarray(value)
        largest = np.empty_like(local)
        with self.counters.waiting():
            self._handle.Allreduce(local, largest, self._mpi.MAX)
        return largest if isinstance(value, np.ndarray) else largest.item()

    def allgather(self, value: Any) -> list[Any]:
        self.counters.collectives += 1
        return list(self._handle.allgather(value))

    def bcast(self, value: Any, root: int = 0) -> Any:
        self.counters.collectives += 1
        return self._handle.bcast(value, root)

    def gather(self, value: Any, root: int = 0) -> list[Any] | None:
        self.counters.collectives += 1
        gathered = self._handle.gather(value, root)
        return None if gathered is None else list(gathered)

    def barrier(self) -> None:
        self.counters.collectives += 1
        with self.counters.waiting():
            self._handle.Barrier()

    def split(self, color: int, key: int = 0) -> Communicator:
        return MpiCommunicator(self._mpi, self._handle.Split(color, key))

    def abort(self, code: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        # the launcher needs a moment to pass the last lines on before it ends everything
        time.sleep(0.2)
        self._mpi.COMM_WORLD.Abort(code)
        os._exit(code)

    def begin_max(self, values: np.ndarray) -> Maximum:
        self.counters.collectives += 1
        largest = np.empty_like(values)
        return _MpiMaximum(self._handle.Iallreduce(values, largest, self._mpi.MAX), self.counters, values, largest)

    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> Exchange:
        return _MpiExchange(self._mpi, self._handle, self.counters, sends, receives)

    def alltoallv(self, rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.ascontiguousarray(rows)
        counts = np.ascontiguousarray(counts, dtype=np.int64)
        self.counters.collectives += 2
        received_counts = np.empty(self.size, np.int64)
        self._handle.Alltoall(counts, received_counts)
        width = int(np.prod(rows.shape[1:], dtype=np.int64))
        received = np.empty((int(received_counts.sum()), *rows.shape[1:]), rows.dtype)
        self._handle.Alltoallv([rows, width * counts], [received, width * received_counts])
        return received, received_counts

    def gatherv(self, rows: np.ndarray, root: int = 0) -> np.ndarray | None:
        rows = np.ascontiguousarray(rows)
        counts = np.empty(self.size, np.int64)
        self.counters.collectives += 2
        self._handle.Allgather(np.array([rows.size], np.int64), counts)
        if self.rank != root:
            self._handle.Gatherv(rows, None, root)
            return None
        width = int(np.prod(rows.shape[1:], dtype=np.int64))
        gathered = np.empty((int(counts.sum()) // max(width, 1), *rows.shape[1:]), rows.dtype)
        self._handle.Gatherv(rows, [gathered, counts], root)
        return gathered

    def all_arrived(self, timeout: float) -> bool:
        request = self._arrivals.Ibarrier()
        deadline = time.monotonic() + timeout
        while not request.Test():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def launcher_ranks() -> int | None:
    """Ranks that the launcher of this process says it has started; None without a launcher."""
    if "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS", "").isdigit():
        slurm = int(os.environ["SLURM_STEP_NUM_TASKS"])
    else:
        slurm = 0
    named = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
    counts = [int(os.environ[name]) for name in named if os.environ.get(name, "").isdigit()]
    found = max([slurm, *counts])
    return found or None


def launcher_rank() -> int:
    """Rank of this process by the launcher's environment (0 without a launcher)."""
    for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def world_communicator() -> Communicator:
    """All ranks of this run; a single process if there is neither launcher nor MPI library.

    Raises
    ------
    InputError
        On the launcher's rank 0 if mpi4py does not see the launcher's ranks (N worlds of size 1);
        the other ranks leave silently with the same exit code.
    ResourceError
        If a launcher has started several ranks and no MPI library can be loaded.
    """
    expected = launcher_ranks()
    try:
        with warnings.catch_warnings():
            # mpi4py's own remark on a foreign launcher; the error below says more
            warnings.simplefilter("ignore", RuntimeWarning)
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if expected is None or expected == 1:
            return SingleProcess()
        raise ResourceError(
            f"mpi4py finds no MPI library under a launcher with {expected} ranks ({str(error).splitlines()[0]}); "
            "install the launcher's MPI or: pip install 'hpcthermo[mpi]'"
        ) from error
    size = MPI.COMM_WORLD.Get_size()
    if expected is not None and expected > 1 and size == 1:
        if launcher_rank() != 0:
            sys.exit(InputError.exit_code)
        library = MPI.Get_library_version().split("\n", maxsplit=1)[0].strip(" \0")
        raise InputError(
            f"MPI: the launcher started {expected} ranks, but mpi4py ({library}) sees {expected} worlds of size 1; "
            "use the launcher of that MPI (`hpcthermo run -n N` does), or rebuild mpi4py for yours: "
            "pip install --no-binary mpi4py --force-reinstall mpi4py"
        )
    return MpiCommunicator(MPI, MPI.COMM_WORLD)


@contextmanager
def abort_on_error(comm: Communicator, patience: float = 2.0) -> Iterator[None]:
    """Turn an exception on any rank into the end of the whole job.

    If all ranks fail within `patience` seconds (bad input, PhysicsError), rank 0 prints the one line
    and all leave with its exit code; if some do not arrive, they may be waiting for this rank in a
    collective call, so the job is aborted.
    """
    try:
        yield
    except Exception as error:
        code = error.exit_code if isinstance(error, HpcthermoError) else 1
        text = f"hpcthermo: {error}" if isinstance(error, HpcthermoError) else traceback.format_exc().rstrip()
        if comm.all_arrived(patience):
            if comm.rank == 0:
                print(text, file=sys.stderr, flush=True)
            sys.exit(code)
        print(f"[rank {comm.rank}] {text}", file=sys.stderr, flush=True)
        comm.abort(code)


class Transport:
    """Exchange of device arrays between ranks: directly, or staged through host memory.

    Parameters
    ----------
    comm : Communicator
    backend : Backend
    cuda_aware : bool, optional
        Whether the MPI library takes device pointers; ``HPCTHERMO_CUDA_AWARE_MPI=1`` says so.
    """

    def __init__(self, comm: Communicator, backend: Backend, cuda_aware: bool | None = None) -> None:
        if cuda_aware is None:
            cuda_aware = os.environ.get("HPCTHERMO_CUDA_AWARE_MPI") == "1"
        self._comm = comm
        self._backend = backend
        self._staged = backend.device == "cuda" and not cuda_aware
        self._host: dict[str, np.ndarray] = {}

    def exchange(self, sends: Sequence[Message], receives: Sequence[Message]) -> Exchange:
        """Prepare messages (peer, contiguous device array); one exchange may be in flight at a time."""
        if not self._staged or not (sends or receives):
            inner = self._comm.exchange(sends, receives)
            return inner if self._backend.device == "cpu" else _DeviceExchange(self._backend, inner, [], [])
        outgoing, incoming = self._carve("send", sends), self._carve("receive", receives)
        return _DeviceExchange(
            self._backend, self._comm.exchange(outgoing, incoming),
            [(array, host) for (_, array), (_, host) in zip(sends, outgoing, strict=True)],
            [(array, host) for (_, array), (_, host) in zip(receives, incoming, strict=True)])

    def _carve(self, direction: str, messages: Sequence[Message]) -> list[Message]:
        """Pieces of one page-locked buffer in the shapes of the messages."""
        needed = sum(array.size for _, array in messages)
        if direction not in self._host or self._host[direction].size < needed:
            # exchanges that exist keep the buffer they have
            self._host[direction] = self._backend.host_buffer(int(1.2 * needed) + 64)
        pieces, start = [], 0
        for peer, array in messages:
            piece = self._host[direction][start:start + array.size]
            pieces.append((peer, piece.reshape(array.shape)))
            start += array.size
        return pieces


class _DeviceExchange(Exchange):
    """Messages of a GPU; `departures` and `arrivals` pair device arrays with host copies that travel for them.

    `start` only gives the device its copies to do. The messages leave at the first `progress`, when the device has
    been given other work to go on with.
    """

    def __init__(self, backend: Backend, inner: Exchange, departures: list[tuple[Any, np.ndarray]],
                 arrivals: list[tuple[Any, np.ndarray]]) -> None:
        self._backend = backend
        self._inner = inner
        self._departures = departures
        self._arrivals = arrivals
        self._waits_for_copies = False

    def start(self) -> None:
        self._backend.begin_copies()
        for array, host in self._departures:
            self._backend.copy_to_host(array, host)
        self._waits_for_copies = True

    def progress(self) -> None:
        self._depart()
        self._inner.progress()

    def wait(self) -> None:
        self._depart()
        self._inner.wait()
        for array, host in self._arrivals:
            self._backend.copy_to_device(host, array)
        self._backend.join_copies()

    def _depart(self) -> None:
        if self._waits_for_copies:
            self._backend.finish_copies()
            self._inner.start()
            self._waits_for_copies = False
