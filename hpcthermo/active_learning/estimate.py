"""``hpcthermo check`` of active learning: that it can begin, and what an iteration is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcthermo.active_learning.exploration import starts_of
from hpcthermo.config.base import count_steps
from hpcthermo.config.job import TrainJob
from hpcthermo.labelling.engines import make_engine
from hpcthermo.model_checks.estimate import check_lines
from hpcthermo.model_checks.run import prepare_checks
from hpcthermo.task_estimate import TaskEstimate
from hpcthermo.training.parts import read_parts

if TYPE_CHECKING:
    from hpcthermo.config import ActiveLearningJob


def estimate_active_learning(job: ActiveLearningJob) -> TaskEstimate:
    """Read the data set, build the structures, and count.

    Raises
    ------
    InputError
        If the job cannot be run.
    ResourceError
        If the engine is not there.
    """
    make_engine(job.engine).require()
    prepare_checks(job.check, job.seed, job.model.elements)
    parts = read_parts(TrainJob.model_construct(kind="train", seed=job.seed, dataset=job.dataset, model=job.model))
    section, starts = job.active_learning, starts_of(job)
    steps = sum(count_steps(job.exploration[k].dynamics.duration_ps, job.exploration[k].dynamics.timestep_fs)
                for k, _ in starts)
    return TaskEstimate([
        ("job", f"active_learning{': ' + job.title if job.title else ''} (valid)"),
        *((name, f"{len(frames):,} frames to begin with") for name, frames in parts.named().items()),
        ("an iteration", f"{section.models} trainings, {len(starts)} runs of {steps:,} steps in all, at most "
                         f"{section.frames_per_iteration} labels by {job.engine.name}"),
        ("iterations", f"at most {section.iterations}"), *check_lines(job.check)])
