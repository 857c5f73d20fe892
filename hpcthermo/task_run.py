"""The run of a job whose work is a list of tasks: one process in its folder, from the lock to the report.

Records of tasks are kept as they come (campaign/): a run that was stopped goes on with `--resume` and repeats none of
them. What follows them takes minutes at most and is done again.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hpcthermo.campaign.workers import ON_THIS_MACHINE, require_packages, start_workers
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.dynamics.stop import STOP, Requeue
from hpcthermo.errors import InputError
from hpcthermo.identity import changes, file_hashes, task_inputs
from hpcthermo.log import close_logging, get_logger, set_up_logging
from hpcthermo.progress import Progress
from hpcthermo.results import RESULTS_FILE, SUMMARY_FILE, Quantity, Results, versions, write_results, write_text

if TYPE_CHECKING:
    from hpcthermo.campaign.run import Records
    from hpcthermo.campaign.task import Inputs, TaskFunction
    from hpcthermo.campaign.workers import Workers
    from hpcthermo.config import TaskJob
    from hpcthermo.domain.comm import Communicator

#: records of tasks, in the results folder
CAMPAIGN_FOLDER = "campaign"
#: certificates and scheduler file of workers that are tasks of the same Slurm job
CLUSTER_FOLDER = "cluster"
#: of the job whose tasks are in the folder of the campaign, there
INPUTS_FILE = "job.json"
_SHOWN_CHANGES = 4

#: (tasks done of the present stage) -> None
Note = Callable[[int], None]


class TaskRun:
    """The run of one job in its folder; a context manager that gives the folder back.

    Parameters
    ----------
    job : TaskJob
    comm : Communicator
        Of one rank.
    folder : Path
        Results folder.
    resume : bool
        Keep the finished tasks of an earlier run.
    stop : callable, optional
        See `hpcthermo.dynamics.stop.StopFlag`.

    Raises
    ------
    InputError
        If there are several ranks, a package for the workers is missing, or the folder is in use or holds an unfinished
        run.
    """

    #: what is kept for --resume, in the results folder
    RECORDS_FOLDER = CAMPAIGN_FOLDER
    #: keys of the job, dotted, that may change between runs without a word
    FREE_KEYS: frozenset[str] = frozenset()

    def __init__(self, job: TaskJob, comm: Communicator, folder: Path, resume: bool,
                 stop: Callable[[], int] | None = None) -> None:
        if comm.size > 1:
            raise InputError(f"kind {job.kind} computes in one process with threads, got {comm.size} ranks; start it "
                             "without a launcher, and give workers in [campaign]")
        require_packages(job.campaign)
        self.job, self.folder = job, folder
        self.stop = stop
        self._cluster: Workers | None = None
        if job.campaign.where == "slurm_runner":
            from hpcthermo.campaign.cluster import connect

            # most of the Slurm tasks stay in here, as scheduler and workers, and end when the run closes them
            self._cluster = connect(job.campaign, folder / CLUSTER_FOLDER)
        self.progress = Progress(0, folder, 1, 1, "tasks")
        try:
            self.lock = FolderLock(folder, comm)
        except BaseException:
            self._close_cluster()
            raise
        self.seconds: dict[str, float] = {}
        self._start = self._stage_start = time.monotonic()
        self._stage, self._tasks = "", 0
        try:
            set_up_logging(0, folder)
            if not resume:
                self.forget_finished_run()
            self.hashes = file_hashes(job)
            self._inputs = task_inputs(job, self.hashes)
            if resume:
                self._look_for_changes()
        except BaseException:
            self._close_cluster()
            self.lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None,
                 _traceback: TracebackType | None) -> None:
        if kind is None:
            self.progress = Progress(0, self.folder, 1, self._tasks, "tasks", done=self._tasks)
        self.progress.finish("finished" if kind is None else "checkpointed" if issubclass(kind, Requeue) else "failed")
        self._close_cluster()
        self.lock.release()
        close_logging()

    def _close_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.close()

    @property
    def campaign_folder(self) -> Path:
        """Where records of tasks are kept."""
        return self.folder / self.RECORDS_FOLDER

    def records(self, function: TaskFunction, tasks: Sequence[Inputs], place: str = "",
                workers: Workers | None = None) -> Records:
        """Records of tasks, on the workers of [campaign].

        Parameters
        ----------
        place : str
            Folder within that of the campaign.
        workers : Workers, optional
            Instead of those of [campaign].

        Raises
        ------
        InputError, ResourceError
            If workers cannot be had.
        Requeue
            If a signal has asked to stop.
        """
        from hpcthermo.campaign.run import run_campaign

        section, folder = self.job.campaign, self.campaign_folder / place
        workers = workers or self._cluster
        started = None
        if workers is None:
            workers = started = start_workers(section, function, self.campaign_folder)
        if section.where not in ON_THIS_MACHINE and started is not None:
            self._cluster, started = started, None  # of all campaigns of this run
        folder.mkdir(parents=True, exist_ok=True)
        self.keep_inputs()
        try:
            return run_campaign(function, tasks, folder, workers, retry_failed=section.retry_failed,
                                attempts=section.attempts, progress=self.progress, stop=self.stop)
        finally:
            if started is not None:
                started.close()

    def keep_inputs(self) -> None:
        """Write what the job is, for a later run to compare."""
        self.campaign_folder.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps(self._inputs, indent=1), self.campaign_folder / INPUTS_FILE)

    def _look_for_changes(self) -> None:
        """Find how the job differs from the one whose tasks are here."""
        try:
            before = json.loads((self.campaign_folder / INPUTS_FILE).read_text())
            changed = [text for text in changes(before, self._inputs) if text.partition(" ")[0] not in self.FREE_KEYS]
        except (OSError, ValueError, AttributeError, TypeError):  # of a run that had no task
            return
        if changed:
            more = f" and {len(changed) - _SHOWN_CHANGES} more" if len(changed) > _SHOWN_CHANGES else ""
            self.tell_of_changes(", ".join(changed[:_SHOWN_CHANGES]) + more)

    def tell_of_changes(self, text: str) -> None:
        """Say how the job differs from the one whose tasks are here."""
        get_logger().warning("the job has changed since its last run: %s; tasks with the same inputs are kept, all "
                             "others are computed", text)

    @property
    def threads(self) -> int:
        """Threads that the job asks for, or all cores of this process."""
        return self.job.threads or len(os.sched_getaffinity(0))

    def forget_finished_run(self) -> None:
        """Remove the results of a run that has ended.

        Raises
        ------
        InputError
            If the folder holds an unfinished run.
        """
        if self.campaign_folder.exists() and not (self.folder / RESULTS_FILE).exists():
            raise InputError(f"{self.folder}: holds an unfinished run (in {self.RECORDS_FOLDER}); continue it with "
                             "--resume, give another --out, or remove the folder")
        shutil.rmtree(self.campaign_folder, ignore_errors=True)
        for name in (RESULTS_FILE, SUMMARY_FILE, "report.html"):
            (self.folder / name).unlink(missing_ok=True)

    def stage(self, name: str, tasks: int = 1, counts: str = "tasks") -> Note:
        """Begin a stretch of work.

        Parameters
        ----------
        tasks : int
            Of which it consists.
        counts : str
            What these are.

        Returns
        -------
        callable
            To be told how many of them are done; raises `Requeue` if a signal has asked to stop.
        """
        self._end_stage()
        self._stage, self._stage_start = name, time.monotonic()
        self._tasks += tasks
        self.progress.finish("running")
        self.progress = Progress(0, self.folder, 1, tasks, counts)
        self.progress.begin_stage(name, 0, 0.0)

        def note(done: int) -> None:
            self.progress.update(done)
            self.require_going_on()

        self.require_going_on()
        return note

    def require_going_on(self) -> None:
        """Raise `Requeue` if a signal has asked to stop."""
        if self.stop is not None and self.stop() == STOP:
            raise Requeue(f"{self.folder}: stopped on request; finished tasks are kept, continue with --resume")

    def finish(self, quantities: Mapping[str, Quantity], attributes: Mapping[str, Mapping[str, Any]],
               facts: Mapping[str, Any]) -> None:
        """Write results.h5, summary, figures and report."""
        from hpcthermo.report import finish_results

        self._end_stage()
        self.lock.require()
        used = resource.getrusage(resource.RUSAGE_SELF)
        run = {
            "ranks": 1, "threads": self.threads, "device": self.job.device, "precision": "double",
            "seed": self.job.seed, "input_sha256": self.hashes, "timings_s": self.seconds,
            "wall_seconds": time.monotonic() - self._start, "processor_seconds": used.ru_utime + used.ru_stime,
            "peak_memory_MiB": used.ru_maxrss / 1024.0, "versions": versions(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts,
        }
        results = Results(self.job.kind, self.job.model_dump(mode="json"), run, dict(quantities),
                          {name: dict(table) for name, table in attributes.items()})
        write_results(self.folder / RESULTS_FILE, results)
        print(finish_results(self.folder))
        get_logger().info("report: %s", self.folder / "report.html")

    def _end_stage(self) -> None:
        if self._stage:
            now = time.monotonic()
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._stage_start
            self._stage_start = now
