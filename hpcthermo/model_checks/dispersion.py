"""Phonon dispersion of a relaxed crystal: a job of kind phonon (`lattice_jobs`) within another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpcthermo.lattice_jobs.phonon import (
    crystal_quantities,
    harmonic_checks,
    phonon_quantities,
    require_phonons,
    sum_rule_quantities,
)
from hpcthermo.lattice_jobs.source import computed_force_constants, structure_and_potential
from hpcthermo.model_checks.measured import Measured
from hpcthermo.phonons.relaxed_crystal import primitive_crystal, relaxed_crystal
from hpcthermo.preparation import build_structure
from hpcthermo.results import Results, Table, entry

if TYPE_CHECKING:
    from hpcthermo.campaign.run import Records
    from hpcthermo.campaign.task import Inputs, TaskFunction
    from hpcthermo.campaign.workers import Workers
    from hpcthermo.config.job import PhononJob
    from hpcthermo.config.model_checks import DispersionCheck
    from hpcthermo.task_run import Note, TaskRun

#: records of forces, within those of the run
FORCES_FOLDER = "checks"


class _PhononsWithin:
    """The face of a `LatticeRun` for one check within another run."""

    def __init__(self, run: TaskRun, name: str, job: PhononJob) -> None:
        self._run, self._name, self.job = run, name, job

    def stage(self, name: str, tasks: int = 1) -> Note:
        """Begin a stretch of work of the check."""
        return self._run.stage(f"{self._name}: {name}", tasks)

    def records(self, function: TaskFunction, tasks: Sequence[Inputs], workers: Workers | None = None) -> Records:
        """Records of tasks."""
        return self._run.records(function, tasks, FORCES_FOLDER, workers)


class DispersionMeasurement:
    """Of one [[check]] of kind dispersion; made before a model is there, to refuse what cannot be done.

    Raises
    ------
    InputError
        If the structure or the path are not usable.
    """

    def __init__(self, section: DispersionCheck, seed: int) -> None:
        self._section, self._seed = section, seed
        snapshot = build_structure(section.structure, seed)
        self.species = frozenset(snapshot.species)
        require_phonons(primitive_crystal(snapshot, True).crystal, section.phonon)

    def measure(self, potential: Any, run: TaskRun) -> Measured:
        """Relax, displace, and follow the path.

        Raises
        ------
        InputError
            If the crystal cannot be relaxed.
        """
        from hpcthermo.config.job import PhononJob
        from hpcthermo.config.lattice_dynamics import SingleProcessExecution

        section = self._section
        job = PhononJob.model_construct(
            kind="phonon", seed=self._seed, structure=section.structure, potential=potential,
            relaxation=section.relaxation, force_constants=section.force_constants, phonon=section.phonon,
            campaign=run.job.campaign,
            execution=SingleProcessExecution(device=run.job.device))  # type: ignore[arg-type]
        within = _PhononsWithin(run, section.name, job)
        within.stage("relax")
        snapshot, loaded = structure_and_potential(job)
        relaxed = relaxed_crystal(snapshot, loaded, section.relaxation, True, run.job.device)
        constants = computed_force_constants(within, relaxed, section.force_constants, 2)
        quantities, attributes = phonon_quantities(within, constants, section.phonon)
        return Measured(quantities | crystal_quantities(relaxed.crystal) | sum_rule_quantities(constants), attributes)


def judge_dispersion(results: Results, settings: Mapping[str, Any]) -> tuple[Table, Table]:
    """Extreme frequencies, and the checks of a job of kind phonon.

    That of the exponent of the flexural branch is left out: it asks how a crystal was relaxed to rounding.
    """
    frequencies = results.quantities["dispersion/frequency"].values
    table: Table = {"lowest_frequency": entry(float(frequencies.min()), "THz"),
                    "highest_frequency": entry(float(frequencies.max()), "THz")}
    job = {"phonon": {"imaginary_limit_THz": settings["imaginary_limit_THz"]}}
    checks = harmonic_checks(Results(results.kind, job, results.run, results.quantities, results.attributes))
    return table, {name: verdict for name, verdict in checks.items() if name != "flexural_branch"}
