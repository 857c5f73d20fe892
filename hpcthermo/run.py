"""``hpcthermo run``, and the kinds of jobs that need no experiment of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcthermo.config import Job, TaskJob, load_job
from hpcthermo.domain.comm import Communicator, SingleProcess, abort_on_error, world_communicator
from hpcthermo.dynamics.stages import stage_integrator, start_velocities
from hpcthermo.dynamics.stop import LauncherWatch, StopFlag
from hpcthermo.errors import HpcthermoError
from hpcthermo.kinds import KINDS
from hpcthermo.preparation import check_ranks
from hpcthermo.results import RESULTS_FILE, Quantity, Results, write_results
from hpcthermo.simulation import Phase, Simulation, on_first_rank
from hpcthermo.trajectory import TrajectoryObserver
from hpcthermo.transport.observers import Column, SeriesObserver, thermodynamic_columns

if TYPE_CHECKING:
    from hpcthermo.config.stage import Stage

#: how long a rank that fails waits for the others before it ends them all, s; more than a checkpoint takes
_PATIENCE = 20.0

Stop = Callable[[], int]


def run_job(path: Path, folder: Path, resume: bool, load: Callable[[Path], Job | TaskJob] = load_job) -> int:
    """Run a job file on all ranks of this world (collective).

    Parameters
    ----------
    load : callable
        What reads the file.

    Returns
    -------
    int
        0; errors leave through `abort_on_error` with their exit code.
    """
    comm = SingleProcess() if _shares_slurm_tasks(path, load) else world_communicator()
    LauncherWatch().start()
    # from here to the report: a signal that comes outside the time loop is heard at its next step
    with StopFlag() as stop, abort_on_error(comm, _PATIENCE):
        job = comm.bcast(on_first_rank(comm, lambda: load(path)))
        if not isinstance(job, TaskJob):
            check_ranks(job, comm.size)
        KINDS[job.kind].run(job, comm, folder, resume, stop)
    return 0


def _shares_slurm_tasks(path: Path, load: Callable[[Path], Job | TaskJob]) -> bool:
    """Whether the tasks of this Slurm job are scheduler, workers and one that runs the job, and no ranks."""
    if "SLURM_PROCID" not in os.environ:
        return False
    try:
        job = load(path)
    except HpcthermoError:  # refused where all ranks hear of it
        return False
    return isinstance(job, TaskJob) and job.campaign.where == "slurm_runner"


def run_md(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Stages of equilibrium molecular dynamics, to a report (collective)."""
    simulation = Simulation(job, comm, folder, resume, job.seed, stop=stop)
    series = series_observer(simulation)
    simulation.run([stage_phase(stage, job.seed) for stage in job.stage], always_observers(simulation, series))
    finish_run(simulation, series_quantities(series))


def run_minimize(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Relaxation, to a report and the relaxed structure (collective)."""
    simulation = Simulation(job, comm, folder, resume, job.seed, stop=stop)
    finish_run(simulation, relax_structure(simulation))


def relax_structure(simulation: Simulation) -> dict[str, Quantity]:
    """Do the relaxation of a static job, write relaxed.xyz; outcome and series for results.h5 (collective)."""
    from hpcthermo.statics.relaxation import Outcome, convergence_series, write_relaxed

    job: Any = simulation.job
    series = convergence_series(simulation)
    phase = stage_phase(job.stage[0], job.seed)
    outcome = Outcome(phase)
    simulation.run([phase], [series])
    quantities = outcome.quantities(simulation.engine, job.relaxation, simulation.step)
    write_relaxed(simulation, simulation.folder)
    return quantities | series_quantities(series)


def stage_phase(stage: Stage, seed: int) -> Phase:
    """A [[stage]] as a phase of a simulation."""
    return Phase(
        name=stage.name or stage.ensemble,
        n_steps=stage.n_steps,
        timestep_fs=float(getattr(stage, "timestep_fs", 0.0)),
        make_mover=lambda engine, first: stage_integrator(stage, engine, seed, first),
        prepare=lambda engine, first: start_velocities(stage, engine, seed, first),
        # a minimiser's velocities are no thermal motion: the next stage draws its own
        finish=(lambda engine, mover: mover.finish(engine)) if stage.ensemble == "minimize" else None,
    )


def series_observer(simulation: Simulation) -> SeriesObserver:
    """Temperature, energies, pressure and cell of the whole system over all phases of a run."""
    columns = [
        Column("time", "ps", 1, lambda sample: simulation.time_ps(sample.step), averaged=False, replicated=True),
        Column("stage", "1", 1, lambda _: float(simulation.phase), averaged=False, replicated=True),
        *thermodynamic_columns(),
    ]
    return SeriesObserver("series", simulation.job.output.series_interval_steps, 1, columns)


def always_observers(simulation: Simulation, series: SeriesObserver) -> list[Any]:
    """What is sampled in all phases: the series, and the trajectory if the job asks for one."""
    trajectory = simulation.job.output.trajectory
    if trajectory is None:
        return [series]
    observer = TrajectoryObserver(simulation.folder, simulation.lock, trajectory.interval_ps, trajectory.velocities)
    return [series, observer]


def series_quantities(series: SeriesObserver) -> dict[str, Quantity]:
    """Rows of the series observer for results.h5."""
    quantities = {f"series/{name}": Quantity(values, unit) for name, (values, unit) in series.series().items()}
    quantities["series/step"] = Quantity(series.steps, "1", "steps of the whole run done")
    return quantities


def finish_run(simulation: Simulation, quantities: dict[str, Quantity]) -> None:
    """Write results.h5, summary, figures and report, and give the folder back (collective)."""
    from hpcthermo.log import get_logger
    from hpcthermo.report import finish_results

    job, facts = simulation.job, simulation.facts()

    def write() -> None:
        simulation.lock.require()
        results = Results(job.kind, job.model_dump(mode="json"), facts, quantities)
        write_results(simulation.folder / RESULTS_FILE, results)
        print(finish_results(simulation.folder))
        get_logger().info("report: %s", simulation.folder / "report.html")

    on_first_rank(simulation.comm, write)
    simulation.close()
