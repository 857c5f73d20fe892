"""Independent runs of one job: who computes which, with which seed, and what they say together.

R replicas on N ranks: N a multiple of R gives every replica N/R ranks; with fewer ranks than replicas each rank takes
every N-th replica, one after another.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.domain.comm import Communicator, SingleProcess
from hpcthermo.dynamics.checkpoint import CheckpointStore
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.errors import InputError
from hpcthermo.identity import file_hashes, identity
from hpcthermo.results import RESULTS_FILE, SUMMARY_FILE, Quantity, Results, Table, read_results, write_results
from hpcthermo.simulation import forget_finished_run, refuse_unfinished_run
from hpcthermo.transport.analysis import analyze_record
from hpcthermo.transport.record import GROUP, REPLICA, records_of
from hpcthermo.transport.statistics import pool

if TYPE_CHECKING:
    from hpcthermo.config import NemdJob

HEADLINE = "interfacial_thermal_conductance"


def replica_folder(folder: Path, replica: int) -> Path:
    """Results folder of a replica."""
    return folder / f"{REPLICA}{replica:03d}"


def replica_seed(seed: int, replica: int) -> int:
    """Seed of a replica; replica 0 of a job has a seed of its own too, so adding replicas changes none."""
    words = np.random.SeedSequence([seed, replica]).generate_state(2, np.uint64)
    return int(words[0] >> np.uint64(1))


def share_out(comm: Communicator, replicas: int) -> tuple[Communicator, list[int]]:
    """The ranks that compute together with this one, and their replicas in order (collective)."""
    if comm.size >= replicas:
        color = comm.rank * replicas // comm.size
        return comm.split(color, comm.rank), [color]
    return comm.split(comm.rank), list(range(comm.rank, replicas, comm.size))


def finished(folder: Path) -> bool:
    """Whether a replica has been run and analysed to its end."""
    return (folder / SUMMARY_FILE).exists()


def open_replicas(job: NemdJob, folder: Path, resume: bool, lock: FolderLock) -> list[int]:
    """Replicas that need not be run again; all folders are looked at before any is touched (rank 0 only).

    Raises
    ------
    InputError
        If a new run would throw an unfinished one away, or a finished replica belongs to another job.
    """
    folders = [replica_folder(folder, k) for k in range(job.execution.replicas)]
    done = [k for k, target in enumerate(folders) if finished(target)]
    if resume:
        own = identity(job.model_dump(mode="json"), file_hashes(job))
        for k in done:
            results = read_results(folders[k] / RESULTS_FILE)
            if identity(results.job, results.run.get("input_sha256", {})) != own:
                raise InputError(f"{folders[k]}: holds the results of another job; resume with the job that wrote "
                                 "them, or give another --out")
        return done
    if done and not finished(folder):
        raise InputError(f"{folder}: holds an unfinished run ({len(done)} of {len(folders)} replicas are finished); "
                         "continue it with --resume, give another --out, or remove the folder")
    stores = [CheckpointStore(target, SingleProcess(), lock) for target in folders]
    for target, store in zip(folders, stores, strict=True):
        refuse_unfinished_run(target, store)
    for target, store in zip([folder, *folders], [CheckpointStore(folder, SingleProcess(), lock), *stores],
                             strict=True):
        forget_finished_run(target, store)
    return []


def finish_replicas(job: NemdJob, folder: Path) -> None:
    """Write results.h5, summary and report of all replicas together (rank 0 only)."""
    from hpcthermo.report import finish_results

    parts = [read_results(replica_folder(folder, k) / RESULTS_FILE) for k in range(job.execution.replicas)]
    alike = ("atoms", "ranks", "device", "precision", "versions", "finished")
    run: dict[str, Any] = {name: parts[0].run[name] for name in alike}
    run |= {name: sum(part.run[name] for part in parts) for name in ("steps", "wall_seconds")}
    run |= {"replicas": len(parts),
            "atom_steps_per_second": float(np.mean([part.run["atom_steps_per_second"] for part in parts]))}
    quantities = {
        f"{REPLICA}{k:03d}/{path}": quantity
        for k, part in enumerate(parts) for path, quantity in part.quantities.items() if path.startswith(f"{GROUP}/")
    }
    seeds = np.array([part.run["seed"] for part in parts])
    quantities["replicas/seed"] = Quantity(seeds, "1", "seed of each replica")
    write_results(folder / RESULTS_FILE, Results(job.kind, job.model_dump(mode="json"), run, quantities))
    print(finish_results(folder))


def analyze_nemd(results: Results) -> tuple[Table, Table]:
    """Tables of results and checks of a NEMD results file, pooled over replicas if there are several."""
    analyses = [analyze_record(record) for record in records_of(results)]
    tables = [(analysis.results, analysis.checks) for analysis in analyses]
    return tables[0] if len(tables) == 1 else pool_tables(tables)


def pool_tables(tables: list[tuple[Table, Table]]) -> tuple[Table, Table]:
    """Results and checks of all replicas as one table each.

    Parameters
    ----------
    tables : list of (results, checks)
        Of each replica.

    Returns
    -------
    results : dict
        Mean over replicas with the standard error of the mean; for conductances also ``NAME_standard_deviation``.
    checks : dict
        A check passes if nearly all replicas pass (one in twenty may fail by chance), and ``replica_scatter`` if the
        conductances scatter as their own errors say.
    """
    from scipy.stats import chi2

    results: Table = {}
    names = [name for name in tables[0][0] if all(name in table for table, _ in tables)]
    for name in names:
        values = np.array([table[name]["value"] for table, _ in tables], dtype=np.float64)
        unit = tables[0][0][name]["unit"]
        mean, error, deviation = pool(values)
        results[name] = {"value": mean, "error": error, "unit": unit}
        if name.startswith(HEADLINE):
            results[f"{name}_standard_deviation"] = {
                "value": deviation, "error": deviation / np.sqrt(2.0 * max(len(values) - 1, 1)), "unit": unit}
    checks: Table = {}
    for name in tables[0][1]:
        passed = [table[name]["passed"] for _, table in tables if name in table]
        allowed = max(1, round(0.05 * len(passed))) if len(passed) > 2 else 0
        checks[name] = {"passed": len(passed) - sum(passed) <= allowed,
                        "detail": f"passed in {sum(passed)} of {len(passed)} replicas"}
    if HEADLINE in names and len(tables) > 1:
        values = np.array([table[HEADLINE]["value"] for table, _ in tables])
        errors = np.array([table[HEADLINE]["error"] for table, _ in tables])
        weights = 1.0 / errors**2
        chi_squared = float(np.sum(weights * (values - np.average(values, weights=weights)) ** 2))
        p_value = float(chi2.sf(chi_squared, len(values) - 1))
        checks["replica_scatter"] = {
            "passed": p_value > 0.01,
            "detail": f"chi^2 {chi_squared:.1f} for {len(values) - 1} degrees of freedom, p = {p_value:.2g}",
        }
    return results, checks
