"""``hpcthermo check`` of a train job: its data set, its model, and the memory and time of a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.model_checks.estimate import check_lines
from hpcthermo.model_checks.run import prepare_checks
from hpcthermo.progress import duration_text
from hpcthermo.task_estimate import TaskEstimate
from hpcthermo.training.beginning import beginning_of
from hpcthermo.training.crew import Crew
from hpcthermo.training.loss import Loss
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.parts import read_parts

if TYPE_CHECKING:
    from hpcthermo.config import TrainJob

#: structures that are tried; the others are alike
_MOST_TRIED = 20
_GIB = 2.0**30


def estimate_train_job(job: TrainJob, ranks: int = 1, probe: bool = True) -> TaskEstimate:
    """Read and check the data set of a job, and try some structures on one core.

    Parameters
    ----------
    ranks : int
        That the job will run on.
    probe : bool
        Whether to time gradients.

    Raises
    ------
    InputError
        If the job cannot be run.
    """
    parts = read_parts(job)
    form, _ = beginning_of(job)
    prepare_checks(job.check, job.seed, form.elements)
    lines = [("job", f"train{': ' + job.title if job.title else ''} (valid)")]
    for name, frames in parts.named().items():
        lines.append((name, f"{len(frames):,} frames, {sum(frame.n_atoms for frame in frames):,} atoms"))
    lines += [("elements", " ".join(form.elements)),
              ("model", f"{form.n_descriptors} descriptors, {form.neurons} neurons, {form.n_parameters:,} numbers"),
              ("optimiser", job.optimiser.name)]
    trial = _Trial.of(parts.training, form, job.execution.precision)
    n_atoms = sum(frame.n_atoms for frame in (*parts.training, *parts.validation))
    crew = Crew(threads=job.execution.threads, memory_GiB=job.execution.memory_GiB)
    limit, needed = crew.memory_limit(job.execution.precision), n_atoms * trial.bytes_of_atom / ranks
    kept = min(1.0, limit / needed)
    lines.append(("memory", f"{needed / 2**20:,.0f} MiB for neighbours and functions of distance"
                            f"{' of each rank' if ranks > 1 else ''}, limit {limit / _GIB:.3g} GiB: " +
                  ("all is kept" if kept == 1.0 else f"{100 * (1 - kept):.0f} % is computed anew for every gradient")))
    if probe and job.execution.device == "cpu":
        lines.append(("time", _time_text(job, trial, sum(frame.n_atoms for frame in parts.training),
                                         1.0 - kept, crew.threads * ranks)))
    return TaskEstimate([*lines, *check_lines(job.check)])


def _time_text(job: TrainJob, trial: _Trial, n_atoms: int, anew: float, cores: int) -> str:
    table: Any = job.optimiser
    evaluation, counts = trial.gradient_of_atom, "epochs"
    if table.name == "snes":
        evaluation, counts = table.population * trial.value_of_atom, "generations"
    step = n_atoms * (evaluation + anew * trial.making_of_atom) / cores
    steps = min(1000, table.epochs) if table.name == "gradient" else table.generations
    limit = job.execution.max_minutes
    at_most = "" if limit is None else f", at most {limit:g} min"
    return (f"{1e3 * step:.3g} ms for each of the {counts} on {cores} core{'s' if cores > 1 else ''}, "
            f"{duration_text(step * steps)} for {steps:,}{at_most}")


@dataclass(frozen=True)
class _Trial:
    """What some structures take.

    Attributes
    ----------
    bytes_of_atom : float
        Of cached geometry.
    making_of_atom, gradient_of_atom, value_of_atom : float
        Seconds of one core.
    """

    bytes_of_atom: float
    making_of_atom: float
    gradient_of_atom: float
    value_of_atom: float

    @classmethod
    def of(cls, frames: Sequence[LabelledFrame], form: NepForm, precision: str) -> _Trial:
        some = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, _MOST_TRIED).astype(int))]
        crew, n = Crew(), sum(frame.n_atoms for frame in some)
        free = crew.memory_limit(precision)
        start = time.perf_counter()
        loss = Loss(some, form, None, np.ones(form.n_descriptors), precision=precision, crew=crew)
        making = time.perf_counter() - start
        theta = form.start(0)

        def best(work: Callable[[np.ndarray], Any]) -> float:
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                work(theta)
                seconds.append(time.perf_counter() - start)
            return min(seconds) / n

        return cls((free - crew.memory_limit(precision)) / n, making / n, best(loss.value_and_gradient),
                   best(loss.value))
