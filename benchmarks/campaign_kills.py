"""Random kills of a campaign: does a resumed one repeat finished work, and does it end in the same bits?

A campaign of displaced 64-atom silicon cells runs on a TLS scheduler and two workers, all processes of their own. At
random moments one of them, or the campaign itself, gets SIGKILL; what is missing is started again. Workers write the
key of each task that they evaluate into a ledger. Checked are

- that no task whose record was in the store when the campaign was started again is evaluated afterwards;
- that the forces are those of one loop without any kill, bit by bit.

    python benchmarks/campaign_kills.py --kills 50 --tasks 1200 --record
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from ase.build import bulk
from record import write_record

from hpcthermo.campaign.certificates import write_certificates
from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.store import Store
from hpcthermo.campaign.task import task_keys
from hpcthermo.campaign.workers import start_workers
from hpcthermo.config.campaign import CampaignSection
from hpcthermo.errors import HpcthermoError
from hpcthermo.phonons.forces import SupercellForces, displacement_task

WAIT_S = 120.0


@dataclass(frozen=True)
class LedgerForces(SupercellForces):
    """Forces that take their time and leave a line per task."""

    ledger: str = ""
    pause_s: float = 0.0

    def evaluate(self, state, tasks):
        """Forces of each task."""
        records = []
        for task in tasks:
            with Path(self.ledger).open("a") as stream:
                stream.write(f"{task.digest()}\n")
            time.sleep(self.pause_s)
            records += super().evaluate(state, [task])
        return records


def campaign_of(folder: Path, n_tasks: int, pause_s: float) -> tuple[LedgerForces, list]:
    """The function and its tasks."""
    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(2)
    generator = np.random.default_rng(1)
    function = LedgerForces(atoms.cell.array, atoms.positions, tuple(atoms.get_chemical_symbols()), "tersoff_si",
                            ledger=str(folder / "ledger"), pause_s=pause_s)
    return function, [displacement_task(generator.choice(64, 2, replace=False), 0.03 * generator.normal(size=(2, 3)))
                      for _ in range(n_tasks)]


def client(folder: Path, n_tasks: int, pause_s: float) -> None:
    """The campaign itself, a process of its own."""
    function, tasks = campaign_of(folder, n_tasks, pause_s)
    section = CampaignSection(where="scheduler", scheduler_file=str(folder / "scheduler.json"),
                              tls_folder=str(folder / "tls"), wait_s=WAIT_S)
    try:
        workers = start_workers(section, function, folder / "store")
        run_campaign(function, tasks, folder / "store", workers)
    except HpcthermoError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(error.exit_code)  # no good-byes to a scheduler that is gone
    workers.close()


class Cluster:
    """The processes of a campaign; starts what is missing and kills what it is told."""

    def __init__(self, folder: Path, n_tasks: int, pause_s: float) -> None:
        self.folder = folder
        tls = folder / "tls"
        write_certificates(tls)
        secured = ["--tls-ca-file", str(tls / "ca.pem"), "--tls-cert", str(tls / "certificate.pem"), "--tls-key",
                   str(tls / "key.pem"), "--protocol", "tls", "--scheduler-file", str(folder / "scheduler.json")]
        dask = [sys.executable, "-m", "dask"]
        worker = [*dask, "worker", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder / "spill"),
                  "--death-timeout", "60", *secured]
        self._commands = {
            "scheduler": [*dask, "scheduler", "--no-dashboard", "--host", "127.0.0.1", *secured],
            "worker-0": worker, "worker-1": worker,
            "client": [sys.executable, __file__, "--client", str(folder), "--tasks", str(n_tasks), "--pause",
                       str(pause_s)],
        }
        self.running: dict[str, subprocess.Popen] = {}

    def start_missing(self) -> None:
        """Scheduler first; its file is new when it listens."""
        for name, command in self._commands.items():
            if name in self.running and self.running[name].poll() is None:
                continue
            if name == "scheduler":
                (self.folder / "scheduler.json").unlink(missing_ok=True)
            with (self.folder / f"{name}.log").open("a") as log:
                self.running[name] = subprocess.Popen(
                    command, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "100", "OMP_NUM_THREADS": "1"})
            if name == "scheduler":
                wait_until((self.folder / "scheduler.json").exists, "a scheduler")

    def kill(self, name: str) -> None:
        """SIGKILL to a process; for a worker to its nanny or to the process that computes, by chance."""
        process = self.running[name]
        if name.startswith("worker"):
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            victim = random.choice(family).pid
        else:
            victim = process.pid
        os.kill(victim, signal.SIGKILL)
        if victim == process.pid:
            process.wait()

    def stop(self, *names: str) -> None:
        """End processes with all they have started."""
        for name in names or list(self.running):
            process = self.running.pop(name, None)
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def ended(cluster: Cluster) -> bool:
    """Whether the campaign has ended."""
    return cluster.running["client"].poll() is not None


def wait_until(condition, what: str) -> None:
    """Look until it is so."""
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {WAIT_S} s for {what}")
        time.sleep(0.02)


def ledger_lines(folder: Path) -> list[str]:
    """Keys of the tasks evaluated so far."""
    path = folder / "ledger"
    return path.read_text().split() if path.exists() else []


def stored(folder: Path, function: LedgerForces, tasks: list) -> set[str]:
    """Tasks that have a record, by their own digest; the campaign is not running."""
    store = Store(folder / "store", {})
    found = {task.digest() for task, key in zip(tasks, task_keys(function, tasks), strict=True) if key in store}
    store._journal.close()
    return found


def torture(folder: Path, kills: int, n_tasks: int, pause_s: float, seed: int) -> dict:
    """Kill, start again, and check; returns the record."""
    random.seed(seed)
    function, tasks = campaign_of(folder, n_tasks, pause_s)
    cluster = Cluster(folder, n_tasks, pause_s)
    done: Counter[str] = Counter()
    repeated = starts = 0
    finished: set[str] = set()
    mark = 0
    begin = time.monotonic()
    try:
        while True:
            if "client" not in cluster.running:
                repeated += len(finished & set(ledger_lines(folder)[mark:]))
                finished = stored(folder, function, tasks) if (folder / "store").exists() else set()
                mark = len(ledger_lines(folder))
                starts += 1
            cluster.start_missing()
            if sum(done.values()) < kills:
                before = len(ledger_lines(folder))
                wait_until(lambda n=before: len(ledger_lines(folder)) > n or ended(cluster), "a task")
                time.sleep(random.uniform(0.0, 0.6))
                if cluster.running["client"].poll() is None:
                    victim = random.choice(["worker-0", "worker-1", "scheduler", "client"])
                    cluster.kill(victim)
                    done[victim.partition("-")[0]] += 1
                    if victim == "scheduler":
                        wait_until(lambda: ended(cluster), "the campaign to give up")
                        if cluster.running["client"].returncode != 4:
                            raise RuntimeError(f"expected exit code 4, got {cluster.running['client'].returncode}")
                        cluster.stop("worker-0", "worker-1")
                    if victim in ("scheduler", "client"):
                        cluster.stop(victim, "client")
                    continue
            else:
                wait_until(lambda: ended(cluster), "the end")
            if cluster.running["client"].poll() == 0:
                break
            cluster.stop("client")
    finally:
        cluster.stop()
    repeated += len(finished & set(ledger_lines(folder)[mark:]))
    wall = time.monotonic() - begin
    records = run_campaign(function, tasks, folder / "store")
    plain = SupercellForces(function.cell, function.positions, function.symbols, function.potential)
    expected = run_campaign(plain, tasks)
    same = all(np.array_equal(a.arrays[name], b.arrays[name]) for a, b in zip(records, expected, strict=True)
               for name in ("forces", "energy"))
    evaluated = len(ledger_lines(folder))
    return {"tasks": len(set(records.keys)), "kills": dict(done), "campaign_starts": starts,
            "finished_tasks_computed_again_after_a_start": repeated, "tasks_missing_at_the_end": records.computed,
            "failed": len(records.failures), "evaluations": evaluated,
            "evaluations_lost_under_way": evaluated - len(set(records.keys)), "bitwise_the_same": same,
            "files_in_store": sorted(path.name for path in (folder / "store").iterdir()), "wall_s": round(wall, 1)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=1200)
    parser.add_argument("--pause", type=float, default=0.04, help="seconds that each task waits")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--client", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true", help="append to results/campaign_kills.txt")
    options = parser.parse_args()
    if options.client is not None:
        client(options.client, options.tasks, options.pause)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = torture(Path(folder), options.kills, options.tasks, options.pause, options.seed)
    write_record("campaign_kills" if options.record else None,
                 f"campaign_kills.py: {options.kills} kills, {options.tasks} supercells, seed {options.seed}",
                 [f"{name:<50}{value}" for name, value in result.items()])
    if not result["bitwise_the_same"] or result["finished_tasks_computed_again_after_a_start"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
