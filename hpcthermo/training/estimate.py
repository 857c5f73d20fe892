"""``hpcthermo check`` of a train job: its data set, its model, and the memory of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.model_checks.estimate import check_lines
from hpcthermo.model_checks.run import prepare_checks
from hpcthermo.task_estimate import TaskEstimate
from hpcthermo.training.beginning import beginning_of
from hpcthermo.training.geometry import degree_of
from hpcthermo.training.neighbours import pairs_of
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.parts import read_parts

if TYPE_CHECKING:
    from hpcthermo.config import TrainJob

#: structures whose neighbours are counted; the others are alike
_MOST_COUNTED = 20


def estimate_train_job(job: TrainJob) -> TaskEstimate:
    """Read and check the data set of a job, and count.

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
              ("optimiser", job.optimiser.name),
              ("memory", f"{_cached_bytes(parts.training, form, job.execution.precision) / 2**20:,.0f} MiB for "
                         "neighbours and functions of distance"),
              *check_lines(job.check)]
    return TaskEstimate(lines)


def _cached_bytes(frames: Sequence[LabelledFrame], form: NepForm, precision: str) -> float:
    """Bytes of what is kept of all pairs and atoms (geometry.py), by some of the structures."""
    some = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, _MOST_COUNTED).astype(int))]
    share = sum(frame.n_atoms for frame in frames) / sum(frame.n_atoms for frame in some)
    size = 4.0 if precision == "mixed" else 8.0
    total = 0.0
    for cutoff, basis, functions in ((max(form.radial_cutoffs), form.basis_size[0] + 1, 1),
                                     (max(form.angular_cutoffs), form.basis_size[1] + 1, 2)):
        total += share * sum(len(pairs_of(frame, cutoff).centre) for frame in some) * (4 + functions * basis) * size
    harmonics = (degree_of(form) + 1) ** 2 - 1
    return total + share * sum(frame.n_atoms for frame in some) * form.n_types * (form.basis_size[1] + 1) \
        * harmonics * size
