r"""``hpcthermo check``: everything that can be known about a job without running it.

Seconds per step of the rank with the most work, from a probe of the potential on pieces of the structure (probe.py):

    t = n_owned (t_force + t_list / K + t_atom) + n_ghost t_ghost + t_step

and before and after the steps: the structure, the search for a skin (skin.py), analysis, figures and report.

    K        steps between rebuilds of the lists, (skin / 1 A)^2 * 150 fs / timestep: the fastest of many atoms leaves
             half a skin of 1 A about every 150 fs in a solid at room temperature (a guess: stiff solids need fewer)
    t_atom   integration, baths, sampling; t_ghost: packing and exchange; t_step: Python and messages (measured)

Memory of a rank at its peak: the process itself, arrays per owned and per ghost atom, old and new lists at a rebuild
(probe), and on the first rank the whole structure while it is handed out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.config import (
    ActiveLearningJob,
    Job,
    LabelJob,
    LatticeDynamicsJob,
    ModelChecksJob,
    NemdJob,
    StaticJob,
    TaskJob,
    TrainJob,
    load_job,
)
from hpcthermo.domain.grid import choose_layout, frame_cell, heights, images_in_brick, make_grid, wrap
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.gpu.backend import make_backend
from hpcthermo.preparation import build_structure, check_ranks, load_job_potential, skin_of
from hpcthermo.probe import Cost, measure_cost
from hpcthermo.progress import duration_text
from hpcthermo.skin import CANDIDATES, TRIAL_SECONDS, TRIAL_STEPS

if TYPE_CHECKING:
    from hpcthermo.lattice_jobs.estimate import LatticeEstimate
    from hpcthermo.task_estimate import TaskEstimate

_REBUILD_PERIOD_FS = 150.0
_ATOM_SECONDS = 6e-8
_GHOST_SECONDS = 6e-8
_STEP_SECONDS = 4e-4
_START_SECONDS = 3.0
_FINISH_SECONDS = 6.0
_STRUCTURE_SECONDS = 6e-6  # per atom
_PROCESS_BYTES = 95e6
_OWNED_BYTES = 250.0
_GHOST_BYTES = 150.0
_SNAPSHOT_BYTES = 370.0
#: what the figures mean for a job that asks for a GPU, which is not probed
_ON_HOST = " if it ran on the CPU; GPU memory is not estimated"
_BY_CPU = " if it ran on the CPU, from a CPU probe; GPU time is not estimated"
#: bricks whose ghosts are counted; the others are alike
_MOST_BRICKS = 8


@dataclass(frozen=True)
class JobEstimate:
    """What `check` found.

    Attributes
    ----------
    groups : list of str
        Lines about the groups of an experiment.
    parts : (3,) tuple of int
        Ranks along a, b, c.
    owned : (ranks,) int
        Atoms of each rank.
    ghosts : int
        Most ghost atoms of a rank.
    memory : float
        Most bytes of a rank.
    seconds : float or None
        Estimate of the run time, None without a probe.
    """

    job: Job
    snapshot: Snapshot
    groups: list[str]
    ranks: int
    parts: tuple[int, int, int]
    owned: np.ndarray
    ghosts: int
    memory: float
    seconds: float | None

    def text(self) -> str:
        """The estimate for people."""
        job, n = self.job, self.snapshot.n_atoms
        counts = np.bincount(self.snapshot.types, minlength=len(self.snapshot.species))
        species = ", ".join(f"{count:,} {name}" for name, count in zip(self.snapshot.species, counts, strict=True))
        edges = np.linalg.norm(self.snapshot.cell, axis=1)
        on_gpu = job.execution.device == "cuda"
        lines = [
            f"job             {job.kind}{': ' + job.title if job.title else ''} (valid)",
            f"atoms           {n:,} ({species})",
            f"cell            {edges[0]:.2f} x {edges[1]:.2f} x {edges[2]:.2f} A, periodic "
            + (", ".join(np.array(list("abc"))[self.snapshot.periodic]) or "nowhere"),
            f"layers          {max(0, int(self.snapshot.layers.max()) + 1)}",
            *self.groups,
            f"decomposition   {' x '.join(str(p) for p in self.parts)} ({self.ranks} "
            f"rank{'s' if self.ranks > 1 else ''} per replica, {job.execution.replicas} replica"
            f"{'s' if job.execution.replicas > 1 else ''})",
            f"atoms per rank  {int(self.owned.min()):,} ... {int(self.owned.max()):,}",
            f"ghost fraction  {self.ghosts / max(1, int(self.owned.max())):.2f} (ghosts to owned atoms, fullest rank)",
            f"memory          {self.memory / 2**20:,.0f} MiB per rank{_ON_HOST if on_gpu else ''}",
            f"steps           {'at most ' * isinstance(job, StaticJob)}{job.total_steps:,}",
        ]
        if self.seconds is not None:
            rate = n * job.total_steps * job.execution.replicas / max(self.seconds, 1e-9)
            lines.append(f"time            {duration_text(self.seconds)} ({rate:.3g} atom-step/s)"
                         f"{_BY_CPU if on_gpu else ''}")
        if job.output.trajectory is not None:
            lines.append(f"trajectory      {self._trajectory_bytes() / 2**20:,.0f} MiB")
        return "\n".join(lines)

    def _trajectory_bytes(self) -> float:
        trajectory = self.job.output.trajectory
        assert trajectory is not None
        simulated_fs = sum(steps * step_fs for steps, step_fs in stage_steps(self.job))
        per_atom = 85.0 if trajectory.velocities else 45.0
        return simulated_fs * 1e-3 / trajectory.interval_ps * per_atom * self.snapshot.n_atoms


def stage_steps(job: Job) -> list[tuple[int, float]]:
    """(steps, timestep in fs) of the stages and the experiment; a minimisation step counts as 1 fs."""
    stages = [(stage.n_steps, float(getattr(stage, "timestep_fs", 1.0))) for stage in job.stage]
    if isinstance(job, NemdJob):
        stages.append((job.nemd.total_steps, job.nemd.timestep_fs))
    return stages


def check_job(path: Path, ranks: int, probe: bool) -> JobEstimate | LatticeEstimate | TaskEstimate:
    """Validate a job file with everything it names, and estimate its cost.

    Raises
    ------
    InputError
        If the job cannot be run.
    """
    from hpcthermo.training.load import load_train_job

    job: Any = load_train_job(path) if path.name == "nep.in" else load_job(path)
    if isinstance(job, TaskJob):
        return _estimate_tasks(job, ranks, probe)
    check_ranks(job, ranks)
    snapshot = build_structure(job.structure, job.seed)
    potential = load_job_potential(job, snapshot)
    # a login node has no GPU: memory and decomposition do not need one
    backend = make_backend("cpu", job.execution.precision)
    bound = potential.bind(snapshot.species, backend)
    groups = describe_groups(job, snapshot)
    skin = skin_of(job.execution)
    ranks_per_replica = max(1, ranks // job.execution.replicas)
    depth = bound.ghost_depth + skin
    parts, owned, ghosts = decomposition(snapshot, ranks_per_replica, job.execution.decomposition, depth)
    widest = max(CANDIDATES) if job.execution.tunes_skin else skin
    cost = measure_cost(snapshot, potential, backend, skin, widest)
    seconds = estimate_seconds(job, cost, snapshot.n_atoms, int(owned.max()), ghosts, ranks) if probe else None
    memory = estimate_memory(cost, int(owned.max()), ghosts, snapshot.n_atoms)
    return JobEstimate(job, snapshot, groups, ranks_per_replica, parts, owned, ghosts, memory, seconds)


def _estimate_tasks(job: TaskJob, ranks: int, probe: bool) -> LatticeEstimate | TaskEstimate:
    """Of a job in one process; only training shares work out over ranks."""
    if isinstance(job, LabelJob):
        from hpcthermo.labelling.estimate import estimate_label_job

        return estimate_label_job(job)
    if isinstance(job, TrainJob):
        from hpcthermo.training.estimate import estimate_train_job

        return estimate_train_job(job, ranks, probe)
    if isinstance(job, ActiveLearningJob):
        from hpcthermo.active_learning.estimate import estimate_active_learning

        return estimate_active_learning(job)
    if isinstance(job, ModelChecksJob):
        from hpcthermo.model_checks.estimate import estimate_model_checks

        return estimate_model_checks(job)
    from hpcthermo.lattice_jobs.estimate import estimate_lattice_job

    assert isinstance(job, LatticeDynamicsJob)
    return estimate_lattice_job(job, probe)


def describe_groups(job: Job, snapshot: Snapshot) -> list[str]:
    """One line per role of a NEMD experiment, and its interface; refuses a layout that cannot work."""
    if not isinstance(job, NemdJob):
        return []
    from hpcthermo.transport.groups import ROLES
    from hpcthermo.transport.layout import AXES, nemd_grouping
    from hpcthermo.transport.nemd import describe_structure

    interface = describe_structure(job.nemd, snapshot).interface  # refuses what a run refuses
    grouping = nemd_grouping(job.nemd, snapshot)
    axis = AXES[job.nemd.axis]
    roles = grouping.roles[grouping.labels]
    lines = []
    for role, name in enumerate(ROLES):
        height = snapshot.positions[roles == role, axis]
        if len(height):
            lines.append(f"{name:<16}{len(height):,} atoms, {job.nemd.axis} from {height.min():.1f} to "
                         f"{height.max():.1f} A")
    where = "none" if interface is None else f"between blocks {interface[0]} and {interface[1]}"
    return [*lines, f"interface       {where}"]


def decomposition(snapshot: Snapshot, ranks: int, layout: str | tuple[int, int, int],
                  depth: float) -> tuple[tuple[int, int, int], np.ndarray, int]:
    """Parts along the axes, owned atoms by rank, and most ghosts of a rank."""
    cell = frame_cell(snapshot.cell)
    _, fractional, _ = wrap(snapshot.positions, cell, snapshot.periodic)
    lengths = heights(cell) * np.where(snapshot.periodic, 1.0, np.ptp(fractional, axis=0))
    parts = choose_layout(ranks, layout, lengths, snapshot.periodic, depth)
    grid = make_grid(fractional, parts, snapshot.periodic)
    owners, (lower, upper) = grid.owners(fractional), grid.bounds()
    owned = np.bincount(owners, minlength=ranks)
    ghosts = 0
    for brick in np.unique(np.linspace(0, ranks - 1, min(ranks, _MOST_BRICKS)).astype(int)):
        index, _ = images_in_brick(fractional, lower[brick], upper[brick], depth / heights(cell), snapshot.periodic)
        ghosts = max(ghosts, len(index) - int(owned[brick]))
    return parts, owned, ghosts


def estimate_seconds(job: Job, cost: Cost, n_atoms: int, owned: int, ghosts: int, ranks: int) -> float:
    """Run time in s from start to report; replicas beyond the ranks run one after another."""
    skin = skin_of(job.execution)
    total = _START_SECONDS + _FINISH_SECONDS + n_atoms * _STRUCTURE_SECONDS
    if job.execution.tunes_skin:
        total += _tuning_seconds(cost, owned)
    for steps, timestep_fs in stage_steps(job):
        interval = max(1.0, _REBUILD_PERIOD_FS * max(skin, 0.1) ** 2 / timestep_fs)
        step = owned * (cost.force_seconds + cost.list_seconds / interval + _ATOM_SECONDS)
        step += ghosts * (cost.pack_seconds + _GHOST_SECONDS) + _STEP_SECONDS
        total += steps * step
    return total * -(-job.execution.replicas // max(1, min(ranks, job.execution.replicas)))


def _tuning_seconds(cost: Cost, owned: int) -> float:
    """A trial, then lists and forces for each candidate, and the return to the start (skin.py)."""
    force, rebuild = owned * cost.force_seconds, owned * cost.list_seconds
    candidates = len(CANDIDATES)
    return min(TRIAL_STEPS * force, TRIAL_SECONDS) + (2 * candidates + 4) * rebuild + (3 * candidates + 3) * force


def estimate_memory(cost: Cost, owned: int, ghosts: int, n_atoms: int) -> float:
    """Bytes of the first rank at its peak."""
    arrays = owned * (cost.list_bytes + _OWNED_BYTES) + ghosts * _GHOST_BYTES
    return _PROCESS_BYTES + arrays + n_atoms * _SNAPSHOT_BYTES
