"""Non-equilibrium molecular dynamics: heat flows from a source through the structure into a sink.

Phases after the stages of the job:

    profile    a Langevin bath in every block at a guess of its steady temperature (only if the job gives one)
    warm-up and production, one phase: Langevin source at T + dT/2 and sink at T - dT/2, nothing on the other atoms,
               fixed atoms at rest; rows of the warm-up are stored and left out of the analysis

Baths act on velocities only, so energy of the atoms - ledger of the source - ledger of the sink is conserved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.dynamics.stop import CONTINUE, STOP, Requeue
from hpcthermo.dynamics.thermostats import Langevin
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import Engine
from hpcthermo.preparation import build_structure, local_rank
from hpcthermo.results import Quantity
from hpcthermo.simulation import Phase, Simulation, on_first_rank
from hpcthermo.transport.groups import FIXED, SINK, SOURCE, Grouping
from hpcthermo.transport.layout import AXES, cross_section, find_interface, initial_profile, nemd_grouping
from hpcthermo.transport.observers import (
    Column,
    Sample,
    SeriesObserver,
    bin_columns,
    group_columns,
    momentum_column,
)
from hpcthermo.transport.record import NemdRecord, record_quantities
from hpcthermo.transport.replicas import finish_replicas, open_replicas, replica_folder, replica_seed, share_out

if TYPE_CHECKING:
    from pathlib import Path

    from hpcthermo.config import NemdJob
    from hpcthermo.config.nemd import NemdSection
    from hpcthermo.domain.comm import Communicator

#: room beyond the outermost atoms for bins by present coordinate, A
_BIN_MARGIN = 5.0
#: how long a replica that was asked to stop waits for the checkpoints of the others, s
_REQUEUE_PATIENCE = 300.0


def run_nemd(job: NemdJob, comm: Communicator, folder: Path, resume: bool = False,
             stop: Callable[[], int] | None = None) -> None:
    """Run a NEMD job, all its replicas, to a report (collective).

    Parameters
    ----------
    folder : Path
        Results folder; with several replicas each has a folder of its own in it.
    resume : bool
        Continue from the last checkpoints, where there are some.
    stop : callable, optional
        `STOP` of `dynamics.stop` once this rank was asked to stop.
    """
    if job.execution.replicas == 1:
        run_replica(job, comm, folder, resume, job.seed, stop=stop)
        return
    lock = FolderLock(folder, comm)
    try:
        done = comm.bcast(on_first_rank(comm, lambda: open_replicas(job, folder, resume, lock)))
        _run_replicas(job, comm, folder, resume, stop, done)
        on_first_rank(comm, lambda: finish_replicas(job, folder))
    finally:
        lock.release()


def _run_replicas(job: NemdJob, comm: Communicator, folder: Path, resume: bool, stop: Callable[[], int] | None,
                  done: list[int]) -> None:
    """All replicas but those that are done; returns when all ranks have finished theirs (collective).

    Raises
    ------
    Requeue
        On all ranks, if one replica was asked to stop; the others first get the time to end or write a checkpoint.
    """
    device_index = local_rank(comm)  # among all ranks of the node, not those of one replica
    meeting = comm.split(0, comm.rank)
    team, replicas = share_out(comm, job.execution.replicas)
    stopped: Requeue | None = None
    try:
        for replica in replicas:
            if replica in done:
                continue
            if team.allreduce_max(STOP if stop is not None and stop() else CONTINUE) == STOP:
                raise Requeue(f"asked to stop before replica {replica}; continue with --resume")
            target = replica_folder(folder, replica)
            run_replica(job, team, target, resume, replica_seed(job.seed, replica), device_index, stop)
    except Requeue as reason:
        stopped = reason
    # not a barrier: that would keep the core busy, and a replica that fails would be waited for without end
    if not meeting.all_arrived(math.inf if stopped is None else _REQUEUE_PATIENCE) and stopped is not None:
        raise stopped
    reasons = [reason for reason in comm.allgather(stopped) if reason is not None]
    if reasons:
        raise reasons[0]


def run_replica(job: NemdJob, comm: Communicator, folder: Path, resume: bool, seed: int,
                device_index: int | None = None, stop: Callable[[], int] | None = None) -> None:
    """One run from structure to report (collective)."""
    from hpcthermo import run

    layout: NemdLayout = comm.bcast(
        on_first_rank(comm, lambda: describe_structure(job.nemd, build_structure(job.structure, job.seed))))

    def mark(snapshot: Snapshot) -> Snapshot:
        snapshot.fields["groups"] = nemd_grouping(job.nemd, snapshot).labels
        return snapshot

    simulation = Simulation(job, comm, folder, resume, seed, mark, device_index, stop)
    experiment = NemdExperiment(job, layout, seed)
    series = run.series_observer(simulation)
    phases = [run.stage_phase(stage, seed) for stage in job.stage] + experiment.phases()
    simulation.run(phases, run.always_observers(simulation, series))
    quantities = run.series_quantities(series) | experiment.quantities(simulation.engine)
    run.finish_run(simulation, quantities)


@dataclass(frozen=True)
class NemdLayout:
    """What the experiment needs to know about the structure, alike on all ranks.

    Attributes
    ----------
    grouping : Grouping
        Its labels are empty: they are the `groups` of the atoms.
    interface : (int, int) or None
    profile : (groups,) float64 or None
        Guess of the steady temperatures, K.
    bins : (low, width, count) or None
        Bins by present coordinate, A.
    """

    grouping: Grouping
    interface: tuple[int, int] | None
    profile: np.ndarray | None
    bins: tuple[float, float, int] | None


def describe_structure(section: NemdSection, snapshot: Snapshot) -> NemdLayout:
    """Groups, interface and bins of a structure.

    Raises
    ------
    InputError
        If the [nemd] table does not fit the structure.
    """
    grouping = nemd_grouping(section, snapshot)
    cross_section(snapshot.cell, AXES[section.axis])
    bins = None
    if section.bin_width_A is not None:
        coordinate = snapshot.positions[:, AXES[section.axis]]
        low = float(coordinate.min()) - _BIN_MARGIN
        count = int(np.ceil((float(coordinate.max()) + _BIN_MARGIN - low) / section.bin_width_A))
        bins = (low, float(section.bin_width_A), count)
    described = Grouping(np.zeros(0, np.int32), grouping.blocks, grouping.roles, grouping.atoms, grouping.composition)
    return NemdLayout(described, find_interface(section, grouping), initial_profile(section, grouping), bins)


class NemdExperiment:
    """Phases and record of the experiment on a marked structure.

    Parameters
    ----------
    job : NemdJob
    layout : NemdLayout
        From `describe_structure`, on all ranks.
    seed : int

    Attributes
    ----------
    observer : SeriesObserver
        Rows of the experiment.
    """

    def __init__(self, job: NemdJob, layout: NemdLayout, seed: int) -> None:
        self.section = job.nemd
        self.layout = layout
        self._seed = seed
        self._axis = AXES[job.nemd.axis]
        self._first_step = 0
        self.observer = NemdObserver(self.section, layout)

    def phases(self) -> list[Phase]:
        """What follows the stages."""
        section = self.section
        phases = []
        if self.layout.profile is not None:
            phases.append(Phase("profile", section.profile_steps, section.timestep_fs, self._profile_baths,
                                prepare=self._begin_profile))
        steps = section.warmup_steps + section.n_steps
        phases.append(Phase("nemd", steps, section.timestep_fs, self._source_and_sink, [self.observer],
                            prepare=self._begin))
        return phases

    def _freeze(self, engine: Engine) -> None:
        engine.system.frozen_groups = self.layout.grouping.with_role(FIXED)

    def _begin_profile(self, engine: Engine, first_step: int) -> None:
        """Velocities of the guessed profile: kinetic energy is there at once, potential energy follows."""
        self._freeze(engine)
        profile = self.layout.profile
        assert profile is not None
        targets = {group: float(profile[group]) for group in self._mobile_groups()}
        draw_velocities(engine, targets, self._seed, step=first_step, remove_momentum=False)

    def _mobile_groups(self) -> list[int]:
        return [int(g) for g in np.flatnonzero(self.layout.grouping.roles != FIXED)]

    def _profile_baths(self, engine: Engine, first_step: int) -> Integrator:
        profile, section = self.layout.profile, self.section
        assert profile is not None
        baths = [
            Langevin(engine, float(profile[g]), section.coupling_fs, self._seed, frozenset({g}), name=f"group_{g}")
            for g in self._mobile_groups()
        ]
        return Integrator(engine, section.timestep_fs, baths)

    def _begin(self, engine: Engine, first_step: int) -> None:
        self._freeze(engine)
        if engine.kinetic_energy() == 0.0:
            draw_velocities(engine, self.section.temperature_K, self._seed, step=first_step)
        self.observer.begin(engine, first_step)

    def _source_and_sink(self, engine: Engine, first_step: int) -> Integrator:
        section, grouping = self.section, self.layout.grouping
        source = Langevin(engine, section.source_temperature, section.coupling_fs, self._seed,
                          grouping.with_role(SOURCE), index=0, name="source")
        sink = Langevin(engine, section.sink_temperature, section.coupling_fs, self._seed,
                        grouping.with_role(SINK), index=1, name="sink")
        return Integrator(engine, section.timestep_fs, (source, sink))

    def quantities(self, engine: Engine) -> dict[str, Quantity]:
        """What results.h5 keeps of the experiment, by path."""
        record = self.record(engine)
        quantities = record_quantities(record)
        for name in ("momentum", "bin_kinetic_energy", "bin_atoms"):
            if name in self.observer.series():
                quantities[f"nemd/{name}"] = Quantity(*self.observer.series()[name], "(r, ...) by row")
        if self.layout.bins is not None:
            low, width, count = self.layout.bins
            quantities["nemd/bin_edges"] = Quantity(low + width * np.arange(count + 1), "A", "(bins + 1)")
        return quantities

    def record(self, engine: Engine) -> NemdRecord:
        """The rows with the layout."""
        section, grouping = self.section, self.layout.grouping
        series = {name: values for name, (values, _) in self.observer.series().items()}
        kept = ("source_energy", "sink_energy", "group_kinetic_energy", "group_coordinate_sum", "group_energy")
        return NemdRecord(
            time=(self.observer.steps - self.observer.first_step) * section.timestep_fs * 1e-3,
            warmup=section.warmup_steps * section.timestep_fs * 1e-3,
            area=cross_section(engine.system.cell, self._axis),
            source_temperature=section.source_temperature, sink_temperature=section.sink_temperature,
            interface=self.layout.interface, group_heat_current=series.get("group_heat_current"),
            group_block=grouping.blocks, group_role=grouping.roles, group_atoms=grouping.atoms,
            group_composition=grouping.composition, **{name: series[name] for name in kept},
        )


class NemdObserver(SeriesObserver):
    """Rows of the experiment; remembers when it began and the zero of the site energies.

    Attributes
    ----------
    first_step : int
        Steps of the whole run before the experiment.
    reference_energies : (n_types,) float64
        Mean site energy of each species at the beginning, eV.
    """

    def __init__(self, section: NemdSection, layout: NemdLayout) -> None:
        n_groups, axis = layout.grouping.n_groups, AXES[section.axis]
        self.first_step = 0
        self.reference_energies = np.zeros(0)

        def make_sample(engine: Engine, integrator: Any, step: int) -> Sample:
            return Sample(engine, integrator, step, axis, n_groups, self.reference_energies)

        columns = [*group_columns(n_groups, section.heat_current), momentum_column()]
        columns += [_ledger("source"), _ledger("sink")]
        if layout.bins is not None:
            columns += bin_columns(*layout.bins)
        super().__init__("nemd", section.sample_interval_steps, section.samples_per_average, columns, make_sample,
                         section.heat_current)

    def begin(self, engine: Engine, first_step: int) -> None:
        """Note the first step and the mean site energies (collective)."""
        self.first_step = first_step
        system, n_types = engine.system, len(engine.system.species)
        sample, types = Sample(engine, None, first_step), system.types[: system.n_owned]
        energies, atoms = sample.sum_by(types, n_types, engine.energies), sample.sum_by(types, n_types)
        energy, atoms = engine.comm.allreduce_sum(np.stack([energies, atoms]))
        self.reference_energies = energy / np.maximum(atoms, 1.0)

    def state(self) -> dict[str, np.ndarray]:
        """Rows, sums, and what `begin` noted."""
        return {**super().state(), "first_step": np.array(self.first_step),
                "reference_energies": self.reference_energies}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from `state`."""
        super().restore(state)
        self.first_step = int(state["first_step"])
        self.reference_energies = np.array(state["reference_energies"])


def _ledger(bath: str) -> Column:
    """Energy that a bath has given to the atoms, eV."""
    measure: Callable[[Sample], float] = lambda s: s.integrator.thermostat(bath).ledger  # noqa: E731
    return Column(f"{bath}_energy", "eV", 1, measure, averaged=False, replicated=True)
