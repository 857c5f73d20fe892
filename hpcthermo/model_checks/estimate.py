"""``hpcthermo check`` of checks: that all can be begun, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcthermo.model_checks.run import prepare_checks
from hpcthermo.potentials.load import load_potential
from hpcthermo.task_estimate import TaskEstimate

if TYPE_CHECKING:
    from hpcthermo.config import ModelChecksJob
    from hpcthermo.config.model_checks import Check


def check_lines(checks: Sequence[Check]) -> list[tuple[str, str]]:
    """A line for each check."""
    return [("check", f"{check.name}: {check.kind.replace('_', ' ')}") for check in checks]


def estimate_model_checks(job: ModelChecksJob) -> TaskEstimate:
    """Build the structures of a job and read its references.

    Raises
    ------
    InputError
        If the job cannot be run.
    """
    potential = load_potential(job.potential_spec, Path.cwd())
    prepare_checks(job.check, job.seed, potential.elements)
    return TaskEstimate([("job", f"model_checks{': ' + job.title if job.title else ''} (valid)"),
                         ("potential", f"{potential.style} ({' '.join(potential.elements)})"), *check_lines(job.check)])
