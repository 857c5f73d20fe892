"""The job that `hpcthermo train` runs: a job file of kind train, or GPUMD's nep.in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcthermo.config import TrainJob, load_job, parse_job
from hpcthermo.errors import InputError
from hpcthermo.training.nep_in import job_of_nep_in

_NAMES = ("gradient", "snes")


def load_train_job(path: Path, max_minutes: float | None = None, optimiser: str | None = None) -> TrainJob:
    """Job of a file.

    Parameters
    ----------
    path : Path
        Ends in .toml, or else is a nep.in.
    max_minutes : float, optional
        Instead of what the file says.
    optimiser : {"gradient", "snes"}, optional
        Likewise; one that a job file does not name has its default settings.

    Raises
    ------
    InputError
        If the file is no such job.
    """
    if optimiser is not None and optimiser not in _NAMES:
        raise InputError(f"--optimiser: expected {' or '.join(_NAMES)}, got {optimiser[:40]!r}; correct it")
    if max_minutes is not None and not 0.0 < max_minutes <= 1e6:
        raise InputError(f"--max-minutes: expected a time above 0 and at most 1e6, got {max_minutes:g}; correct it")
    job: Any
    if path.suffix == ".toml":
        job = load_job(path)
        if job.kind != "train":
            raise InputError(f"{path}: expected kind train, got {job.kind}; use `hpcthermo run`")
    else:
        job = parse_job(job_of_nep_in(path, optimiser or "gradient"), str(path))
    table = job.model_dump(mode="json", exclude_unset=True)
    if optimiser is not None and job.optimiser.name != optimiser:
        table["optimiser"] = {"name": optimiser}
    if max_minutes is not None:
        table["execution"] = {**table.get("execution", {}), "max_minutes": max_minutes}
    parsed: Any = parse_job(table, str(path))
    return parsed
