"""``hpcthermo check`` of a label job: its structures, and what their calculations take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from hpcthermo.campaign.workers import require_packages
from hpcthermo.labelling.candidates import build_candidates
from hpcthermo.labelling.engines import make_engine
from hpcthermo.labelling.k_points import mesh_of
from hpcthermo.labelling.labels import lacking
from hpcthermo.task_estimate import TaskEstimate

if TYPE_CHECKING:
    from hpcthermo.config.job import LabelJob


def estimate_label_job(job: LabelJob) -> TaskEstimate:
    """Build the structures of a job and count their wave vectors.

    Raises
    ------
    InputError
        If a recipe gives no usable structure.
    ResourceError
        If the engine or the workers are not there.
    """
    require_packages(job.campaign)
    engine = make_engine(job.engine)
    engine.require()
    candidates = build_candidates(job)
    lines = [("job", f"label{': ' + job.title if job.title else ''} (valid)"),
             ("engine", f"{job.engine.name}, {job.engine.cores} core{'s' if job.engine.cores > 1 else ''} for each "
                        f"calculation, {max(1, len(os.sched_getaffinity(0)) // job.engine.cores)} at a time here")]
    sizes = np.array([candidate.snapshot.n_atoms for candidate in candidates])
    lines.append(("structures", f"{len(candidates)} of {int(sizes.min())} to {int(sizes.max())} atoms, "
                                f"{int(sizes.sum())} atoms in all"))
    for recipe in job.recipe:
        own = [candidate for candidate in candidates if candidate.group == recipe.group]
        if not own:
            lines.append(("  no frame", recipe.group))
            continue
        meshes = {mesh_of(job.engine, recipe.k_spacing_per_A, c.snapshot.cell, c.snapshot.positions) for c in own}
        atoms = sorted({candidate.snapshot.n_atoms for candidate in own})
        mesh = ", ".join("x".join(map(str, mesh)) for mesh in sorted(meshes)[:3])
        lines.append((f"  {len(own)} frames", f"{recipe.group}: {', '.join(map(str, atoms))} atoms"
                                              f", wave vectors {mesh}"))
    for reason, count in lacking(engine, [candidate.snapshot.species for candidate in candidates]).items():
        lines.append(("rejected", f"{count} of {len(candidates)} structures: {reason}"))
    return TaskEstimate(lines)
