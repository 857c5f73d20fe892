"""Where the force constants of a job come from: files at hand, or a structure and a potential.

From a structure: relaxed primitive cell -> supercells -> displacements that symmetry leaves -> forces (a campaign, each
kept as it comes) -> force constants -> projection on symmetry, permutations and sum rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.log import get_logger
from hpcthermo.phonons.displacements import (
    DisplacementDataset,
    second_order_displacements,
    third_order_displacements,
)
from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
from hpcthermo.phonons.fits import fitted, random_displacements
from hpcthermo.phonons.fourth_order import FourthOrder
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants
from hpcthermo.phonons.projection import largest_sum, projected
from hpcthermo.phonons.relaxed_crystal import RelaxedCrystal, at_volume, relaxed_crystal
from hpcthermo.phonons.requirements import FORCE_LIMIT, require_cutoff, require_relaxed, require_symmetry
from hpcthermo.phonons.sum_rules import largest_acoustic_sum, with_sum_rules
from hpcthermo.phonons.supercells import SpaceGroup, build_supercell

if TYPE_CHECKING:
    from hpcthermo.campaign.run import Records
    from hpcthermo.campaign.task import Inputs, TaskFunction
    from hpcthermo.campaign.workers import Workers
    from hpcthermo.config import LatticeDynamicsJob
    from hpcthermo.config.lattice_dynamics import ForceConstantsSection
    from hpcthermo.lattice_jobs.run import LatticeRun
    from hpcthermo.phonons.crystal import Crystal, Supercell
    from hpcthermo.phonons.forces import SupercellForces

#: a campaign that this process does in less has no others started for it, s
_SHORT_CAMPAIGN_S = 5.0
#: acoustic sum rules count as fulfilled below, relative to the largest force constant
SUM_RULE = 1e-6


class ForceRun(Protocol):
    """What forces are computed for: a `LatticeRun`, or a part of another run."""

    @property
    def job(self) -> LatticeDynamicsJob:
        """Structure, potential and how its force constants are found."""

    def stage(self, name: str, tasks: int = 1) -> Any:
        """See `TaskRun`."""

    def records(self, function: TaskFunction, tasks: Sequence[Inputs], *, workers: Workers | None = None) -> Records:
        """See `TaskRun`."""


@dataclass(frozen=True)
class ForceConstants:
    """The crystal of a job with its force constants, and how they were found.

    Attributes
    ----------
    dynamics : LatticeDynamics
    relaxed : RelaxedCrystal or None
        Of a job from a structure.
    facts : dict
        Numbers of cells and what else the results should say.
    found_sums : dict of int to float
        Largest violation of the acoustic sum rules before projection, by order, relative to the largest element.
    sums : dict of int to float
        The same of the force constants that are used.
    found_second : Interactions or None
        Of the second order before projection, where they were computed.
    """

    dynamics: LatticeDynamics
    relaxed: RelaxedCrystal | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    found_sums: Mapping[int, float] = field(default_factory=dict)
    sums: Mapping[int, float] = field(default_factory=dict)
    found_second: Interactions | None = None


def force_constants_of(run: LatticeRun, order: int,
                       check: Callable[[Crystal], object] | None = None) -> ForceConstants:
    """Force constants of a job, up to an order (more where they are at hand), and their files.

    Parameters
    ----------
    check : callable, optional
        Refuses a crystal before work is spent on it.

    Raises
    ------
    InputError
        If files, structure or settings are not usable.
    """
    if run.job.crystal is not None:
        found = force_constants_at_hand(run, order)
        if check is not None:
            check(found.dynamics.crystal)
        return found
    relaxed = relaxed_structure(run)
    if check is not None:
        check(relaxed.crystal)
    constants = computed_force_constants(run, relaxed, run.job.force_constants, order)
    write_force_constants(run, constants)
    return constants


def harmonic_at_volumes(run: ForceRun, relaxed: RelaxedCrystal,
                        change: float) -> tuple[HarmonicCrystal, HarmonicCrystal]:
    """Harmonic crystals of a smaller and a larger volume, by the same displacements as the relaxed one."""
    _, potential = structure_and_potential(run.job)
    found = []
    for sign in (-1.0, 1.0):
        run.stage(f"volume changed by {100.0 * sign * change:+g} %")
        there = at_volume(relaxed, sign * change, potential, run.job.relaxation, run.job.execution.device)
        constants = computed_force_constants(run, there, run.job.force_constants, 2)
        found.append(HarmonicCrystal(there.crystal, constants.dynamics.second))
    return found[0], found[1]


def write_force_constants(run: LatticeRun, constants: ForceConstants) -> None:
    """Write the files that the job asks for."""
    from hpcthermo.phonons.files.export import write_phonopy_files, write_shengbte_files, write_tdep_files

    writers = {"phonopy": write_phonopy_files, "shengbte": write_shengbte_files, "tdep": write_tdep_files}
    for name in run.job.force_constants.formats:
        run.lock.require()
        for path in writers[name](constants.dynamics, run.folder):
            get_logger().info("wrote %s", path)


# ---- from files ----------------------------------------------------------------------------------


def require_orders(dynamics: LatticeDynamics, order: int) -> None:
    """Refuse force constants that do not reach up to an order.

    Raises
    ------
    InputError
        With the order that is missing.
    """
    for wanted in range(2, order + 1):
        if wanted not in dynamics.force_constants:
            raise InputError(f"crystal: expected force constants of order {wanted}, got none; add fc{wanted}")


def force_constants_at_hand(run: LatticeRun, order: int) -> ForceConstants:
    """Force constants of the files of [crystal].

    Raises
    ------
    InputError
        If files cannot be used, belong to different crystals, or hold too low an order.
    """
    from hpcthermo.phonons.files.load import load_lattice_dynamics

    crystal = run.job.crystal
    assert crystal is not None
    run.stage("read force constants")
    dynamics = load_lattice_dynamics(**crystal.files, periodic=crystal.periodic)
    require_orders(dynamics, order)
    sums = {n: _relative_sum(found) for n, found in dynamics.force_constants.items()}
    return ForceConstants(dynamics, None, {"sources": dict(dynamics.sources)}, sums, sums)


def _relative_sum(found: SupercellForceConstants | Interactions) -> float:
    """Largest violation of the acoustic sum rules by the largest element."""
    largest = largest_acoustic_sum(found) if isinstance(found, Interactions) else largest_sum(found.values)
    return largest / max(float(np.abs(found.values).max()), 1e-300)


# ---- from a structure and a potential ------------------------------------------------------------


def relaxed_structure(run: LatticeRun) -> RelaxedCrystal:
    """The relaxed primitive cell of [structure]."""
    from hpcthermo.plots import STRUCTURE_FIGURE, draw_structure
    from hpcthermo.potentials.base import require_species

    job = run.job
    assert job.structure is not None
    run.stage("relax the structure")
    snapshot, potential = structure_and_potential(job)
    require_species(potential.style, potential.elements, snapshot.species)
    draw_structure(snapshot, run.folder / STRUCTURE_FIGURE)
    relaxed = relaxed_crystal(snapshot, potential, job.relaxation, job.force_constants.primitive, job.execution.device)
    get_logger().info("%d atoms per primitive cell, largest force %.3g eV/A", relaxed.crystal.n_atoms,
                      relaxed.largest_force)
    return relaxed


def structure_and_potential(job: LatticeDynamicsJob) -> tuple[Any, Any]:
    """Snapshot and potential of a job."""
    from pathlib import Path

    from hpcthermo.potentials.load import load_potential
    from hpcthermo.preparation import build_structure

    assert job.structure is not None
    return build_structure(job.structure, job.seed), load_potential(job.potential_spec, Path.cwd())


@dataclass(frozen=True)
class Displaced:
    """Displaced supercells of one size.

    Attributes
    ----------
    supercell : Supercell
    group : SpaceGroup
    dataset : DisplacementDataset
    fourth : FourthOrder or None
        How force constants of the fourth order follow from it.
    """

    supercell: Supercell
    group: SpaceGroup
    dataset: DisplacementDataset
    fourth: FourthOrder | None = None


def _supercell(relaxed: RelaxedCrystal, multiples: Any) -> tuple[Supercell, SpaceGroup]:
    """A supercell in units of the cell of [structure], and its space group.

    Raises
    ------
    InputError
        If it lacks rotations of the crystal.
    """
    matrix = np.array(multiples, dtype=int)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    supercell = build_supercell(relaxed.crystal, matrix @ relaxed.given_cell)
    require_symmetry(supercell, relaxed.given_cell)
    return supercell, SpaceGroup.of(supercell)


def displaced_cells(relaxed: RelaxedCrystal, section: ForceConstantsSection, order: int) -> Displaced:
    """Displaced supercells for the force constants of an order.

    Raises
    ------
    InputError
        If the supercell is none or lacks rotations of the crystal, or the cutoff reaches beyond half of it.
    """
    larger = order == 2 and section.supercell2 is not None
    supercell, group = _supercell(relaxed, section.supercell2 if larger else section.supercell)
    if order == 2:
        dataset = second_order_displacements(supercell, group, section.displacement2_A)
        return Displaced(supercell, group, dataset)
    if order == 3:
        require_cutoff(supercell, section.cutoff3_A, "force_constants.cutoff3_A")
        dataset = third_order_displacements(supercell, group, section.displacement_A, section.cutoff3_A)
        return Displaced(supercell, group, dataset)
    require_cutoff(supercell, section.cutoff4_A, "force_constants.cutoff4_A")
    plan = FourthOrder.plan(supercell, group, section.cutoff4_A, section.displacement_A)
    return Displaced(supercell, group, plan.dataset, plan)


def randomly_displaced_cells(relaxed: RelaxedCrystal, section: ForceConstantsSection, seed: int) -> Displaced:
    """Supercells with random displacements of all atoms, for a fit of all orders.

    Raises
    ------
    InputError
        As of `displaced_cells`.
    """
    assert section.random_cells is not None
    supercell, group = _supercell(relaxed, section.supercell)
    require_cutoff(supercell, section.cutoff3_A, "force_constants.cutoff3_A")
    dataset = random_displacements(supercell, section.random_cells, section.displacement_A, seed)
    return Displaced(supercell, group, dataset)


def computed_force_constants(run: ForceRun, relaxed: RelaxedCrystal, section: ForceConstantsSection,
                             order: int) -> ForceConstants:
    """Force constants of a relaxed crystal, by a campaign of displaced supercells."""
    if section.method == "random":
        return _fitted_force_constants(run, relaxed, section, order)
    constants: dict[int, SupercellForceConstants | Interactions] = {}
    supercells: dict[int, Supercell] = {}
    found_sums: dict[int, float] = {}
    facts: dict[str, Any] = {}
    # of all orders before the first force, so that what cannot be done is refused before work
    run.stage("displacements")
    for n, displaced in [(n, displaced_cells(relaxed, section, n)) for n in range(2, order + 1)]:
        dataset, computed = forces_of(run, relaxed, displaced, f"forces of order {n}")
        run.stage(f"force constants of order {n}")
        found = _found(displaced, dataset, section, n)
        found_sums[n] = _relative_sum(found)
        if n == 2:
            found_second = found if isinstance(found, Interactions) else found.interactions()
        constants[n] = _projected(relaxed, displaced, found, section.rotational_sum_rules, facts)
        supercells[n] = displaced.supercell
        facts[f"supercell_atoms_{n}"] = displaced.supercell.n_atoms
        facts[f"displaced_cells_{n}"] = dataset.n_cells
        facts[f"force_tasks_{n}"] = force_tasks(dataset)
        facts[f"force_tasks_computed_{n}"] = computed
    sums = {n: _relative_sum(found) for n, found in constants.items()}
    dynamics = LatticeDynamics(relaxed.crystal, constants, supercells=supercells)
    return ForceConstants(dynamics, relaxed, facts, found_sums, sums, found_second)


def _fitted_force_constants(run: ForceRun, relaxed: RelaxedCrystal, section: ForceConstantsSection,
                            order: int) -> ForceConstants:
    """Force constants fitted to random displacements of all atoms."""
    displaced = randomly_displaced_cells(relaxed, section, run.job.seed)
    supercell, group = displaced.supercell, displaced.group
    cutoffs = {} if section.cutoff3_A is None else {3: section.cutoff3_A}
    dataset, computed = forces_of(run, relaxed, displaced, "forces of random displacements")
    run.stage("fit")
    fit = fitted(supercell, group, dataset, order, cutoffs)
    constants: dict[int, SupercellForceConstants | Interactions] = {}
    sums: dict[int, float] = {}
    facts: dict[str, Any] = {
        "random_cells": dataset.n_cells, "force_tasks": force_tasks(dataset), "force_tasks_computed": computed,
        "fit_parameters": fit.n_parameters, "supercell_atoms_2": supercell.n_atoms, "fit_error_eV_per_A": fit.fit_error,
        "held_out_error_eV_per_A": fit.held_out_error, "held_out_force_eV_per_A": fit.held_out_force}
    for n, values in fit.force_constants.items():
        found = SupercellForceConstants(supercell, values)
        sums[n] = _relative_sum(found)
        constants[n] = _with_rotations(relaxed, found, section.rotational_sum_rules, facts)
    dynamics = LatticeDynamics(relaxed.crystal, constants, supercells=dict.fromkeys(constants, supercell))
    return ForceConstants(dynamics, relaxed, facts, sums, {n: _relative_sum(found) for n, found in constants.items()})


def _found(displaced: Displaced, dataset: DisplacementDataset, section: ForceConstantsSection,
           order: int) -> SupercellForceConstants | Interactions:
    """Force constants as finite differences give them."""
    supercell, group = displaced.supercell, displaced.group
    if displaced.fourth is not None:
        return displaced.fourth.interactions(dataset)
    if order == 2:
        return SupercellForceConstants(supercell, second_force_constants(supercell, group, dataset))
    values = third_force_constants(supercell, group, dataset, section.cutoff3_A)
    constants = SupercellForceConstants(supercell, values)
    return constants if section.cutoff3_A is None else constants.interactions()


def _projected(relaxed: RelaxedCrystal, displaced: Displaced, found: SupercellForceConstants | Interactions,
               rotational: bool | None, facts: dict[str, Any]) -> SupercellForceConstants | Interactions:
    """Force constants that obey symmetry, permutations and sum rules: without cutoff the nearest in closed form."""
    if isinstance(found, SupercellForceConstants):
        values = projected(displaced.supercell, displaced.group, found.values)
        found = SupercellForceConstants(displaced.supercell, values)
    return _with_rotations(relaxed, found, rotational, facts)


def _with_rotations(relaxed: RelaxedCrystal, found: SupercellForceConstants | Interactions, rotational: bool | None,
                    facts: dict[str, Any]) -> SupercellForceConstants | Interactions:
    """Lists with their sum rules by least change, and second-order ones of sheets with the rotational ones."""
    rotational = not all(relaxed.crystal.periodic) if rotational is None else rotational
    if isinstance(found, SupercellForceConstants):
        if found.order != 2 or not rotational:
            return found
        found = found.interactions()
    done = with_sum_rules(relaxed.crystal, found, rotational=rotational)
    order = done.interactions.order
    facts[f"sum_rules_relative_change_{order}"] = done.relative_change
    if order == 2:
        facts["rotational_sums_eV_per_A"] = {"before": done.rotational_before, "after": done.rotational_after}
    return done.interactions


def force_function(job: LatticeDynamicsJob, displaced: Displaced, layers: np.ndarray) -> SupercellForces:
    """Forces of the displaced supercells of a job; layers (n,) of the atoms of the primitive cell."""
    from hpcthermo.phonons.forces import SupercellForces

    supercell = displaced.supercell
    crystal = supercell.crystal
    return SupercellForces(supercell.cell, supercell.positions @ supercell.cell,
                           tuple(crystal.symbols[i] for i in supercell.atom_of), job.potential_spec, crystal.periodic,
                           layers[supercell.atom_of], job.execution.device)


def seconds_per_call(function: SupercellForces) -> float:
    """Time of the forces of one displaced supercell, s."""
    state = function.prepare()
    start = time.perf_counter()
    state.compute(np.zeros((len(function.symbols), 3)))
    return time.perf_counter() - start


def force_tasks(dataset: DisplacementDataset) -> int:
    """Tasks of the forces of a dataset: its cells and the undisplaced one."""
    return dataset.n_cells + 1


def forces_of(run: ForceRun, relaxed: RelaxedCrystal, displaced: Displaced,
              stage: str) -> tuple[DisplacementDataset, int]:
    """The dataset with forces, and how many tasks were computed now.

    Raises
    ------
    InputError
        If the potential gives no finite forces, or the undisplaced supercell is not at rest.
    """
    from hpcthermo.campaign.workers import ThisThread
    from hpcthermo.phonons.forces import displacement_task

    dataset = displaced.dataset
    tasks = [displacement_task(np.zeros(0, dtype=int), np.zeros((0, 3)))]  # at rest
    for moved, vectors in zip(dataset.atoms, dataset.vectors, strict=True):
        atoms, place = np.unique(moved[moved >= 0], return_inverse=True)
        total = np.zeros((len(atoms), 3))
        np.add.at(total, place, vectors[moved >= 0])  # an atom may stand twice
        tasks.append(displacement_task(atoms, total))
    function, section = force_function(run.job, displaced, relaxed.layers), run.job.campaign
    run.stage(stage, len(tasks))
    try:
        short = section.where == "local" and section.workers == "auto" and (
            len(tasks) * seconds_per_call(function) < _SHORT_CAMPAIGN_S)
        records = run.records(function, tasks, workers=ThisThread() if short else None)
        forces = records.stack("forces")
    except PhysicsError as error:
        raise InputError(f"forces: {error}") from None
    require_relaxed(displaced.supercell, forces[0],
                    force_limit=max(FORCE_LIMIT, 3.0**0.5 * run.job.relaxation.force_tolerance_eV_per_A))
    return dataset.with_forces(forces[1:], forces[0]), records.computed
