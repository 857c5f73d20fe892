"""Workers of a Dask cluster; the only module that knows Dask.

Nothing here listens beyond this machine unless the job file names a cluster of several, and then only with TLS: a Dask
scheduler runs whatever code it is sent. Dashboards are off, and scheduler files have mode 0600.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
import distributed
from distributed import Client, Future, KilledWorker, LocalCluster, Security
from distributed.protocol import pickle

from hpcthermo.campaign.block import Block
from hpcthermo.campaign.certificates import AUTHORITY, CERTIFICATE, KEY, write_certificates
from hpcthermo.campaign.task import Inputs, Parcel, TaskFunction, pack, timed_batch
from hpcthermo.campaign.workers import Outcome
from hpcthermo.config.campaign import CampaignSection
from hpcthermo.errors import InputError, ResourceError

_LOOPBACK = "127.0.0.1"
#: Dask starts a web server in each process even without dashboards; it gets no pages, here and with no other address
_NO_PAGES = f"{_LOOPBACK}:0"
#: a function goes to a cluster in pieces of so many bytes; Dask warns of tasks above 10 MB
_PIECE_BYTES = 2**22
#: threads of a cluster are counted again after so long, s
_COUNT_INTERVAL_S = 5.0
#: how long the result of a finished batch may be on its way before it is looked whether there are workers, s
_FETCH_S = 60.0


class DaskWorkers:
    """The workers of a Dask client.

    Parameters
    ----------
    client : distributed.Client
    owned : sequence of objects with ``close``
        Closed after the client (a cluster that was started for it).
    wait_s : float
        How long to wait for the first worker, and for another one when none is left.

    Raises
    ------
    ResourceError
        If no worker comes.
    """

    def __init__(self, client: Client, owned: Sequence[Any] = (), wait_s: float = 600.0) -> None:
        self._client, self._owned = client, owned
        self._outcomes: queue.SimpleQueue[tuple[int, Future]] = queue.SimpleQueue()
        self._futures: dict[int, Future] = {}
        self._function: Future | None = None
        self._threads, self._counted = 1, -_COUNT_INTERVAL_S
        self._wait_s, self._manned = wait_s, time.monotonic()
        try:
            client.wait_for_workers(1, timeout=wait_s)
        except (TimeoutError, OSError) as error:
            self.close()
            raise ResourceError(f"campaign: no worker came within {wait_s:g} s ({error}); is the cluster up?") from None

    @property
    def parallel(self) -> int:
        """Threads of all workers.

        Raises
        ------
        ResourceError
            If the scheduler is gone, or there have been no workers for long.
        """
        if time.monotonic() - self._counted > _COUNT_INTERVAL_S:
            try:
                threads = sum(self._client.nthreads().values())
            except (OSError, TimeoutError):
                raise self._gone() from None
            self._counted = time.monotonic()
            if threads:
                self._manned = self._counted
            elif self._counted - self._manned > self._wait_s:
                raise ResourceError(f"campaign: no worker is left, and none came within {self._wait_s:g} s; what was "
                                    "finished is kept, run again to go on")
            self._threads = max(1, threads)
        return self._threads

    @property
    def capacity(self) -> int:
        """Batches that may be handed out before one comes back."""
        return 2 * self.parallel

    def begin(self, function: TaskFunction) -> None:
        """Send the function to the cluster, which sends it to each worker once."""
        self._futures.clear()
        self._outcomes = queue.SimpleQueue()  # nothing of an earlier function that was broken off
        self._token = secrets.token_hex(8)
        # as tasks, not as scattered data: the cluster can make it again when the worker that has it dies; in pieces of
        # bytes, for a scheduler unpacks each task that it is sent as a whole, and holds up all others meanwhile
        packed = pickle.dumps(function)
        pieces: list[Any] = [packed[first:first + _PIECE_BYTES] for first in range(0, len(packed), _PIECE_BYTES)]
        if len(pieces) > 1:
            pieces = [self._client.submit(_same, piece, key=f"piece-{self._token}-{number}", pure=False)
                      for number, piece in enumerate(pieces)]
        self._function = self._client.submit(_joined, pieces, key=f"function-{self._token}", pure=False)

    def submit(self, batch: int, keys: Sequence[str], tasks: Sequence[Inputs]) -> None:
        """Hand out tasks, whose keys are given, as a batch."""
        future = self._client.submit(_evaluate_on_worker, self._function, self._token, list(keys), pack(tasks),
                                     key=f"batch-{self._token}-{batch}", pure=False)
        self._futures[batch] = future
        outcomes = self._outcomes
        future.add_done_callback(lambda done: outcomes.put((batch, done)))

    def next(self, timeout_s: float) -> Outcome | None:
        """An outcome, or None if there is none within the time.

        Raises
        ------
        ResourceError
            If the scheduler is gone.
        """
        try:
            batch, future = self._outcomes.get(timeout=timeout_s)
        except queue.Empty:
            if self._client.status != "running":
                raise self._gone() from None
            return None
        try:
            outcome = Outcome(batch, *future.result(_FETCH_S))
        except KilledWorker as error:
            # Dask suspects every batch of a worker that dies, also those that waited there
            deaths = error.allowed_failures + 1
            outcome = Outcome(batch, lost=f"{deaths} in a row", certain=False, deaths=deaths)
        except TimeoutError:  # its worker died after it was done: it is computed again, if there is another
            self._outcomes.put((batch, future))
            return None
        except (distributed.client.FutureCancelledError, OSError):
            raise self._gone() from None
        del self._futures[batch]
        return outcome

    def _gone(self) -> ResourceError:
        return ResourceError("campaign: the scheduler is gone; what was finished is kept, run again to go on")

    def close(self) -> None:
        """Stop; batches under way are dropped."""
        self._futures.clear()
        self._function = None
        for thing in (self._client, *self._owned):
            try:
                thing.close()
            except (OSError, TimeoutError):  # of a scheduler that is gone
                continue
            except KeyError:  # a cluster that has closed looks, at the end, for a worker that was killed before
                continue


def _same(piece: bytes) -> bytes:
    return piece


def _joined(pieces: Sequence[bytes]) -> TaskFunction:
    function: TaskFunction = pickle.loads(b"".join(pieces))
    return function


#: what this worker has prepared, for the newest function: (token, thread or 0) -> state
_prepared: dict[tuple[str, int], Any] = {}
_preparing = threading.Lock()


def _evaluate_on_worker(function: TaskFunction, token: str, keys: Sequence[str],
                        parcel: Parcel) -> tuple[list[Block], dict[str, str], float]:
    place = (token, 0 if function.thread_safe else threading.get_ident())
    with _preparing:
        if place not in _prepared:
            for old in [key for key in _prepared if key[0] != token]:
                del _prepared[old]
            _prepared[place] = function.prepare()
    return timed_batch(function, _prepared[place], keys, parcel)


# ---- clusters --------------------------------------------------------------------------------------


def connect(section: CampaignSection, folder: Path) -> DaskWorkers:
    """Start or join the cluster that the job file names.

    Parameters
    ----------
    section : CampaignSection
        Its `where` is one of those with Dask.
    folder : Path
        Of the campaign; certificates and the scheduler file of a Slurm job go there.

    Raises
    ------
    InputError
        If certificates are missing or the cluster cannot be described to Slurm.
    ResourceError
        If there is no scheduler or no worker.
    """
    # of a task that takes its workers with it, Dask itself tries no more
    dask.config.set({"distributed.scheduler.allowed-failures": section.attempts - 1,
                     "distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []})
    start = {"local_cluster": _local_cluster, "scheduler": _scheduler, "slurm": _slurm_jobs,
             "slurm_runner": _slurm_runner}[section.where]
    try:
        return start(section, folder)
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        raise ResourceError(f"campaign: no cluster ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
                            ) from None


def _local_cluster(section: CampaignSection, folder: Path) -> DaskWorkers:
    security = Security.temporary() if section.tls else None
    workers = len(os.sched_getaffinity(0)) if section.workers == "auto" else section.workers
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, host=_LOOPBACK,
                           dashboard_address=None, scheduler_kwargs={"dashboard_address": _NO_PAGES},
                           security=security, protocol="tls://" if section.tls else "tcp://",
                           silence_logs=logging.CRITICAL)
    return DaskWorkers(Client(cluster, set_as_default=False), [cluster], section.wait_s)


def _scheduler(section: CampaignSection, folder: Path) -> DaskWorkers:
    security = security_of(Path(section.tls_folder)) if section.tls and section.tls_folder else None
    client = Client(section.scheduler_address, scheduler_file=section.scheduler_file, security=security,
                    set_as_default=False, timeout=30)
    return DaskWorkers(client, wait_s=section.wait_s)


def _slurm_jobs(section: CampaignSection, folder: Path) -> DaskWorkers:
    jobqueue = require_jobqueue()
    from hpcthermo.config.campaign import SlurmJobs

    asked = section.slurm or SlurmJobs()
    hours, minutes = divmod(round(60 * asked.walltime_h), 60)
    tls_folder = _own_certificates(section, folder) if section.tls else None
    security = security_of(tls_folder) if tls_folder else None
    lifetime = max(1, round(60 * asked.walltime_h) - 3)
    cluster = jobqueue.SLURMCluster(
        n_workers=0, cores=asked.cores, processes=asked.processes, memory=f"{asked.memory_GiB}GiB",
        walltime=f"{hours:02d}:{minutes:02d}:00", queue=asked.partition, account=asked.account,
        interface=asked.interface, job_extra_directives=list(asked.directives), security=security,
        protocol="tls://" if section.tls else "tcp://",
        scheduler_options={"dashboard": False, "dashboard_address": _NO_PAGES},
        job_script_prologue=["export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES='[]'"],
        # each worker ends by itself before Slurm ends it, and its tasks go to others
        worker_extra_args=["--no-dashboard", "--dashboard-address", _NO_PAGES, "--lifetime", f"{lifetime}m"],
        log_directory=str(folder / "slurm"))
    cluster.scale(jobs=asked.jobs)
    return DaskWorkers(Client(cluster, set_as_default=False), [cluster], section.wait_s)


def _slurm_runner(section: CampaignSection, folder: Path) -> DaskWorkers:
    """One Slurm task becomes the scheduler, one goes on from here, the others become workers and never return."""
    jobqueue = require_jobqueue()
    folder.mkdir(parents=True, exist_ok=True)
    # a job that Slurm has started again keeps its number
    number = "-".join(os.environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT"))
    security = None
    if section.tls:
        tls_folder = Path(section.tls_folder) if section.tls_folder else folder / f"tls-{number}"
        if section.tls_folder is None and os.environ.get("SLURM_PROCID") == "0":
            write_certificates(tls_folder)
        _wait_for(tls_folder / AUTHORITY, section.wait_s)
        security = security_of(tls_folder)
    secured = {"security": security, "protocol": "tls://" if section.tls else "tcp://"}
    mask = os.umask(0o077)  # of the scheduler file
    runner = jobqueue.slurm.SLURMRunner(
        worker_class="distributed.Nanny",  # which replaces a worker that a task has killed
        scheduler_file=str(folder / f"scheduler-{number}.json"),
        scheduler_options={**secured, "dashboard": False, "dashboard_address": _NO_PAGES},
        worker_options={**secured, "nthreads": 1, "dashboard": False, "dashboard_address": _NO_PAGES})
    os.umask(mask)  # only the task that runs the job comes here
    runner.scheduler_comm = None  # it would say good-bye without TLS
    client = Client(scheduler_file=str(runner.scheduler_file), security=security, set_as_default=False)
    return DaskWorkers(client, [_Shutdown(client)], section.wait_s)


class _Shutdown:
    """Ends the scheduler and the workers of a Slurm job, so that the job ends."""

    def __init__(self, client: Client) -> None:
        self._address, self._security = client.scheduler.address, client.security

    def close(self) -> None:
        """End them."""
        Client(self._address, security=self._security, set_as_default=False, timeout=10).shutdown()


def require_jobqueue() -> Any:
    """The package that speaks with Slurm.

    Raises
    ------
    InputError
        If it is absent.
    """
    try:
        import dask_jobqueue
        import dask_jobqueue.slurm
    except ImportError:
        raise InputError("campaign.where: Slurm needs dask-jobqueue; pip install 'hpcthermo[jobqueue]'") from None
    return dask_jobqueue


def security_of(folder: Path) -> Security:
    """TLS with the certificates of a folder (`hpcthermo.campaign.certificates`).

    Raises
    ------
    InputError
        If one is absent.
    """
    for name in (AUTHORITY, CERTIFICATE, KEY):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: absent; make certificates with `python -m "
                             "hpcthermo.campaign.certificates FOLDER`")
    authority, certificate, key = (str(folder / name) for name in (AUTHORITY, CERTIFICATE, KEY))
    roles = {f"tls_{role}_{part}": path for role in ("client", "scheduler", "worker")
             for part, path in (("cert", certificate), ("key", key))}
    return Security(tls_ca_file=authority, require_encryption=True, **roles)


def _own_certificates(section: CampaignSection, folder: Path) -> Path:
    if section.tls_folder is not None:
        return Path(section.tls_folder)
    for number in itertools.count():
        own = folder / f"tls-{os.getpid()}-{number}"
        if not own.exists():
            write_certificates(own)
            return own
    raise AssertionError


def _wait_for(path: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise ResourceError(f"campaign: {path} did not appear within {seconds:g} s; did Slurm task 0 start?")
        time.sleep(0.2)
