"""The run of a job about lattice vibrations: forces of displaced cells are tasks, and q-points may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hpcthermo.task_run import TaskRun

if TYPE_CHECKING:
    from hpcthermo.campaign.run import Records
    from hpcthermo.campaign.task import Inputs, TaskFunction
    from hpcthermo.config import LatticeDynamicsJob

#: what q-points gave, within the folder of the campaign
POINTS_FOLDER = "points"


class LatticeRun(TaskRun):
    """See `TaskRun`."""

    job: LatticeDynamicsJob

    @property
    def point_records(self) -> Callable[[TaskFunction, Sequence[Inputs]], Records] | None:
        """What computes tasks of q-points: workers if [campaign] names any, else None for threads of this process."""
        section = self.job.campaign
        if section.where == "local" and section.workers == "auto":
            return None
        return lambda function, tasks: self.records(function, tasks, POINTS_FOLDER)
