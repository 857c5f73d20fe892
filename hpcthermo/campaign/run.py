"""A campaign from its tasks to its records: what is in the store is not computed again.

The records are delivered in the order of the tasks, whoever computed them and whenever, so a sum over them has the same
bits on any number of workers and after any number of interruptions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from hpcthermo.campaign.store import Memory, Store
from hpcthermo.campaign.task import Inputs, Record, TaskFunction, task_keys
from hpcthermo.campaign.workers import Outcome, ThisThread, Workers
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.dynamics.stop import Requeue
from hpcthermo.errors import PhysicsError
from hpcthermo.log import get_logger
from hpcthermo.progress import Progress

#: a batch lasts about so long, s: long against handing it out, short against what a kill may cost
_BATCH_S = 0.3
_LARGEST_BATCH = 4096
_SYNC_INTERVAL_S = 5.0
_SHOWN_FAILURES = 3


@dataclass(frozen=True)
class Records:
    """The records of a campaign, in the order of its tasks.

    Attributes
    ----------
    name : str
        Of the function.
    keys : list of str
        Content hash of each task; equal tasks have equal keys.
    store : Store or Memory
    computed : int
        Tasks that were computed now; the others were in the store.
    """

    name: str
    keys: Sequence[str]
    store: Store | Memory
    computed: int

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Record]:
        return (self.store.read(key) for key in self.keys)

    def __getitem__(self, index: int) -> Record:
        return self.store.read(self.keys[index])

    @property
    def failures(self) -> dict[int, str]:
        """Number of each task that failed, and why."""
        reasons: Mapping[str, str] = self.store.failures
        return {index: reasons[key] for index, key in enumerate(self.keys) if key in reasons}

    def require_all(self) -> None:
        """Refuse to go on with tasks that failed.

        Raises
        ------
        PhysicsError
            If there are any; with the first reasons.
        """
        failed = self.failures
        if failed:
            shown = "; ".join(f"task {index}: {reason}" for index, reason in list(failed.items())[:_SHOWN_FAILURES])
            raise PhysicsError(f"{self.name}: {len(failed)} of {len(self)} tasks failed ({shown}); correct the cause "
                               "and run again with campaign.retry_failed = true")

    def stack(self, array: str) -> np.ndarray:
        """One array of all records, (n_tasks, ...).

        Raises
        ------
        PhysicsError
            If a task failed.
        """
        self.require_all()
        return self.store.stack(self.keys, array)


def run_campaign(function: TaskFunction, tasks: Sequence[Inputs], folder: Path | None = None,
                 workers: Workers | None = None, *, retry_failed: bool = False, attempts: int = 3,
                 progress: Progress | None = None, stop: Callable[[], int] | None = None
                 ) -> Records:
    """Compute all tasks that have no record yet.

    Parameters
    ----------
    function : TaskFunction
    tasks : sequence of Inputs
    folder : Path, optional
        Where records are kept, each as soon as it is there; without it they stay in memory.
    workers : Workers, optional
        Closed by the caller; without them, tasks are computed here one after the other.
    retry_failed : bool
        Try tasks again whose record says that they failed.
    attempts : int
        How often a task may take its worker with it before it counts as failed.
    progress : Progress, optional
        Of the job that this campaign belongs to, told of finished tasks; without it and with a folder, `status.json` of
        the folder shows them.
    stop : callable, optional
        Asked between batches; anything but 0 ends the campaign, which can be resumed.

    Raises
    ------
    InputError
        If another process writes into the folder, or what it holds is damaged.
    ResourceError
        If the disk or the scheduler is gone.
    Requeue
        If it was stopped.
    """
    with ExitStack() as held:
        store: Store | Memory = Memory()
        if folder is not None:
            lock = FolderLock(folder, SingleProcess())
            held.callback(lock.release)
            store = Store(folder, function.units)
        held.callback(store.close)
        workers = workers or ThisThread()
        begun = len(store) < len(tasks)
        if begun:  # processes start while tasks are hashed
            workers.begin(function)
        keys = task_keys(function, tasks)
        waiting = {key: task for key, task in zip(keys, tasks, strict=True)
                   if key not in store or (retry_failed and key in store.failures)}
        computed = len(waiting)
        different = len(set(keys))
        if computed < different:
            get_logger().info("%s: %d of %d tasks are kept, %d to compute", function.name, different - computed,
                              different, computed)
        if waiting:
            if not begun:
                workers.begin(function)
            own = Progress(0, folder, 0, different, counts="tasks") if progress is None and folder is not None else None
            loop = _Loop(function, waiting, store, workers, attempts, progress or own, stop)
            state = "failed"
            try:
                loop.run(different)
                state = "finished"
            except Requeue:
                state = "checkpointed"
                raise
            finally:
                if own is not None:
                    own.finish(state)
    return Records(function.name, keys, store, computed)


class _Loop:
    """Hands out batches, keeps records."""

    def __init__(self, function: TaskFunction, waiting: dict[str, Inputs], store: Store | Memory, workers: Workers,
                 attempts: int, progress: Progress | None, stop: Callable[[], int] | None) -> None:
        self._function, self._tasks, self._store, self._workers = function, waiting, store, workers
        self._progress, self._stop, self._attempts = progress, stop, attempts
        self._waiting = deque(waiting)
        self._alone: deque[str] = deque()  # of batches that were lost: each is tried by itself, to find the guilty
        # lost by themselves, perhaps to another batch at the same worker: tried when nothing else is under way
        self._suspects: deque[str] = deque()
        self._deaths: dict[str, int] = {}  # by task that was lost by itself: workers that it is known to have killed
        self._under_way: dict[int, list[str]] = {}
        self._batch = 0
        self._size = 1

    def run(self, total: int) -> None:
        """Until every task has a record."""
        begun = synced = time.monotonic()
        done, name = total - len(self._tasks), self._function.name
        if self._progress is not None:
            self._progress.begin_stage(name, done, 0.0)
        while self._waiting or self._alone or self._suspects or self._under_way:
            if self._stop is not None and self._stop():
                raise Requeue(f"{name}: stopped with {done} of {total} tasks done; run again to go on")
            self._hand_out()
            outcome = self._workers.next(1.0)
            if outcome is not None:
                keys = self._under_way.pop(outcome.batch)
                if not outcome.lost:
                    self._adapt(len(keys), outcome.seconds)
                    self._hand_out()  # a worker that has nothing to do does not wait for the disk
                done += self._keep(keys, outcome)
            if self._progress is not None:
                self._progress.update(done)
            if time.monotonic() - synced > _SYNC_INTERVAL_S:
                self._store.sync()
                synced = time.monotonic()
        get_logger().info("%s: %d tasks in %.2f s", name, len(self._tasks), time.monotonic() - begun)

    def _hand_out(self) -> None:
        while len(self._under_way) < self._workers.capacity and (self._alone or self._waiting):
            if self._alone:
                keys = [self._alone.popleft()]
            else:
                # towards the end batches get short, so that all workers end together
                fair = ceil(len(self._waiting) / (2 * self._workers.parallel))
                keys = [self._waiting.popleft() for _ in range(max(1, min(self._size, fair)))]
            self._submit(keys)
        if self._suspects and not self._under_way:
            self._submit([self._suspects.popleft()])

    def _submit(self, keys: list[str]) -> None:
        self._batch += 1
        self._under_way[self._batch] = keys
        self._workers.submit(self._batch, keys, [self._tasks[key] for key in keys])

    def _adapt(self, count: int, seconds: float) -> None:
        """Size of the next batches, by the time that one took."""
        fitting = int(_BATCH_S * count / max(seconds, 1e-6))
        self._size = max(1, min(fitting, 4 * self._size, _LARGEST_BATCH))

    def _keep(self, keys: list[str], outcome: Outcome) -> int:
        """Store what came; returns how many tasks are done by it."""
        if outcome.lost:
            return self._lose(keys, outcome)
        self._store.add(outcome.blocks, outcome.failures)
        return len(keys)

    def _lose(self, keys: list[str], outcome: Outcome) -> int:
        if len(keys) > 1:
            self._alone.extend(keys)
            return 0
        key = keys[0]
        guilty = outcome.certain or key in self._deaths
        deaths = self._deaths[key] = self._deaths.get(key, 0) + (outcome.deaths if guilty else 0)
        if deaths < self._attempts:
            (self._alone if outcome.certain else self._suspects).append(key)
            return 0
        self._store.add([], {key: f"its worker died {deaths} times ({outcome.lost})"})
        return 1
