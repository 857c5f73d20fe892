"""Workers on this machine without a network: this thread, several threads, or several processes.

A campaign hands out batches of tasks and takes outcomes as they come. A worker that dies loses its batch, and the
outcome says so; whether it is tried again is the campaign's business.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpcthermo.campaign.block import Block
from hpcthermo.campaign.task import Inputs, Parcel, TaskFunction, pack, timed_batch

if TYPE_CHECKING:
    from hpcthermo.config.campaign import CampaignSection


#: values of campaign.where without a cluster
ON_THIS_MACHINE = ("local", "processes", "threads")


@dataclass(frozen=True)
class Outcome:
    """What a worker says about a batch.

    Attributes
    ----------
    batch : int
        Number of the batch.
    blocks : list of Block
        Its records.
    failures : dict of str to str
        Key -> reason of its tasks that failed.
    seconds : float
        Time that the worker took.
    lost : str
        Why there are no results, if the worker died.
    certain : bool
        Whether it can have died of nothing but this batch; if not, of another one that it had too.
    deaths : int
        Workers that died one after the other, if any.
    """

    batch: int
    blocks: Sequence[Block] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    lost: str = ""
    certain: bool = True
    deaths: int = 1


class Workers(Protocol):
    """Who evaluates batches of one function."""

    @property
    def capacity(self) -> int:
        """Batches that may be handed out before one comes back."""

    @property
    def parallel(self) -> int:
        """Batches that are evaluated at the same time."""

    def begin(self, function: TaskFunction) -> None:
        """Evaluate this function from now on."""

    def submit(self, batch: int, keys: Sequence[str], tasks: Sequence[Inputs]) -> None:
        """Hand out tasks, whose keys are given, as a batch."""

    def next(self, timeout_s: float) -> Outcome | None:
        """An outcome, or None if there is none within the time."""

    def close(self) -> None:
        """Stop; batches under way are dropped."""


class ThisThread:
    """Tasks one after the other, here."""

    capacity = parallel = 1

    def begin(self, function: TaskFunction) -> None:
        """Evaluate this function from now on."""
        self._function, self._state = function, function.prepare()
        self._waiting: list[tuple[int, Sequence[str], Sequence[Inputs]]] = []

    def submit(self, batch: int, keys: Sequence[str], tasks: Sequence[Inputs]) -> None:
        """Hand out tasks, whose keys are given, as a batch."""
        self._waiting.append((batch, keys, tasks))

    def next(self, timeout_s: float) -> Outcome | None:
        """Evaluate the batch that waits."""
        if not self._waiting:
            return None
        batch, keys, tasks = self._waiting.pop(0)
        return Outcome(batch, *timed_batch(self._function, self._state, keys, tasks))

    def close(self) -> None:
        """Nothing to stop."""


class Threads:
    """Tasks on threads of this process, for kernels that let go of the interpreter.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        self.parallel, self.capacity = threads, 2 * threads
        self._pool: ThreadPoolExecutor | None = None

    def begin(self, function: TaskFunction) -> None:
        """Evaluate this function from now on."""
        self.close()
        self._pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="campaign")
        self._outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._function, self._own = function, threading.local()
        self._state = function.prepare() if function.thread_safe else None

    def submit(self, batch: int, keys: Sequence[str], tasks: Sequence[Inputs]) -> None:
        """Hand out tasks, whose keys are given, as a batch."""
        assert self._pool is not None
        self._pool.submit(self._evaluate, batch, keys, tasks)

    def _evaluate(self, batch: int, keys: Sequence[str], tasks: Sequence[Inputs]) -> None:
        try:
            state = self._state
            if not self._function.thread_safe:
                if not hasattr(self._own, "state"):
                    self._own.state = self._function.prepare()
                state = self._own.state
            self._outcomes.put(Outcome(batch, *timed_batch(self._function, state, keys, tasks)))
        except BaseException as error:
            self._outcomes.put(error)

    def next(self, timeout_s: float) -> Outcome | None:
        """An outcome, or None if there is none within the time."""
        return _taken(self._outcomes, timeout_s)

    def close(self) -> None:
        """Stop; batches under way are finished and dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


class Processes:
    """Tasks in processes of their own on this machine; nothing listens on a network.

    Each process is a pool of one, so that a process which dies is known to have died of its own batch.

    Parameters
    ----------
    processes : int
    """

    def __init__(self, processes: int) -> None:
        self.parallel = self.capacity = processes
        self._pools: list[ProcessPoolExecutor] = []

    def begin(self, function: TaskFunction) -> None:
        """Evaluate this function from now on."""
        self.close()
        self._blob = pickle.dumps(function)
        self._outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._idle = list(range(self.parallel))
        self._pools = [self._new_pool() for _ in self._idle]  # which start side by side

    def _new_pool(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, get_context("spawn"), _begin_process, (self._blob,))
        with _one_thread_each():
            pool.submit(os.getpid)  # starts the process
        return pool

    def submit(self, batch: int, keys: Sequence[str], tasks: Sequence[Inputs]) -> None:
        """Hand out tasks, whose keys are given, as a batch."""
        number, parcel = self._idle.pop(), pack(tasks)
        pool = self._pools[number]
        try:
            future = pool.submit(_evaluate_in_process, keys, parcel)
        except BrokenProcessPool:  # died while it was idle: no batch's fault
            pool.shutdown(wait=False)
            pool = self._pools[number] = self._new_pool()
            future = pool.submit(_evaluate_in_process, keys, parcel)
        future.add_done_callback(lambda done: self._note(number, batch, done))

    def _note(self, number: int, batch: int, done: Future[Any]) -> None:
        if done.cancelled():
            return
        self._idle.append(number)
        error = done.exception()
        if isinstance(error, BrokenProcessPool):
            self._outcomes.put(Outcome(batch, lost=f"worker {number} died"))
        elif error is not None:
            self._outcomes.put(error)
        else:
            self._outcomes.put(Outcome(batch, *done.result()))

    def next(self, timeout_s: float) -> Outcome | None:
        """An outcome, or None if there is none within the time."""
        return _taken(self._outcomes, timeout_s)

    def close(self) -> None:
        """Stop; batches under way are dropped."""
        for pool in self._pools:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
        self._pools = []


def _taken(outcomes: queue.SimpleQueue[Outcome | BaseException], timeout_s: float) -> Outcome | None:
    try:
        outcome = outcomes.get(timeout=timeout_s)
    except queue.Empty:
        return None
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start now get one thread for linear algebra each, unless the user says otherwise."""
    absent = "OMP_NUM_THREADS" not in os.environ
    if absent:
        os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if absent:
            del os.environ["OMP_NUM_THREADS"]


class _Process:
    """What a worker process keeps between batches."""

    blob = b""
    prepared: tuple[TaskFunction, Any] | None = None


def _begin_process(blob: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the campaign, which stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Process.blob = blob


def _end_with_parent() -> None:
    """A killed parent says no good-bye; its pipe closes."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _evaluate_in_process(keys: Sequence[str], parcel: Parcel) -> tuple[list[Block], dict[str, str], float]:
    if _Process.prepared is None:
        function = pickle.loads(_Process.blob)
        _Process.prepared = function, function.prepare()
    return timed_batch(*_Process.prepared, keys, parcel)


def require_packages(section: CampaignSection) -> None:
    """Refuse a place of workers for which a package is missing, before work.

    Raises
    ------
    InputError
        With how to get it.
    """
    if section.where in ("slurm", "slurm_runner"):
        from hpcthermo.campaign.cluster import require_jobqueue

        require_jobqueue()


def start_workers(section: CampaignSection, function: TaskFunction, folder: Path) -> Workers:
    """The workers that a job file asks for; the caller closes them.

    Parameters
    ----------
    section : CampaignSection
    function : TaskFunction
        Decides between threads and processes where the job leaves it open.
    folder : Path
        Of the campaign.

    Raises
    ------
    InputError
        If certificates or packages are missing.
    ResourceError
        If there is no scheduler or no worker.
    """
    if section.where not in ON_THIS_MACHINE:
        from hpcthermo.campaign.cluster import connect

        return connect(section, folder)
    count = len(os.sched_getaffinity(0)) if section.workers == "auto" else section.workers
    if count == 1 and section.where == "local":
        return ThisThread()
    threads = section.where == "threads" or (section.where == "local" and function.thread_safe)
    return Threads(count) if threads else Processes(count)
