"""Where the force constants of a job come from: files at hand, or a structure and a potential.

From a structure: relaxed primitive cell -> supercells -> displacements that symmetry leaves -> forces (a campaign, each
kept as it comes) -> force constants -> projection on symmetry, permutations and sum rules.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.log import get_logger
from hpcthermo.phonons.displacements import (
    DisplacementDataset,
    second_order_displacements,
    third_order_displacements,
)
from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants
from hpcthermo.phonons.projection import largest_sum, projected
from hpcthermo.phonons.relaxed_crystal import RelaxedCrystal, relaxed_crystal
from hpcthermo.phonons.supercells import SpaceGroup, build_supercell

if TYPE_CHECKING:
    from hpcthermo.config import LatticeDynamicsJob
    from hpcthermo.config.lattice_dynamics import ForceConstantsSection
    from hpcthermo.lattice_jobs.run import LatticeRun
    from hpcthermo.phonons.crystal import Supercell
    from hpcthermo.phonons.forces import SupercellForces

#: a campaign that this process does in less has no others started for it, s
_SHORT_CAMPAIGN_S = 5.0
#: acoustic sum rules count as fulfilled below, relative to the largest force constant
SUM_RULE = 1e-6


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
    """

    dynamics: LatticeDynamics
    relaxed: RelaxedCrystal | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    found_sums: Mapping[int, float] = field(default_factory=dict)
    sums: Mapping[int, float] = field(default_factory=dict)


def force_constants_of(run: LatticeRun, order: int) -> ForceConstants:
    """Force constants of a job, up to an order (more where they are at hand).

    Raises
    ------
    InputError
        If files, structure or settings are not usable.
    """
    if run.job.crystal is not None:
        return force_constants_at_hand(run, order)
    relaxed = relaxed_structure(run)
    section = run.job.force_constants
    return computed_force_constants(run, relaxed, section, min(order, section.order))


# ---- from files ----------------------------------------------------------------------------------


def force_constants_at_hand(run: LatticeRun, order: int) -> ForceConstants:
    """Force constants of the files of [crystal]; those of the third order are asked for with order 3."""
    from hpcthermo.phonons.files.load import load_lattice_dynamics

    crystal = run.job.crystal
    assert crystal is not None
    run.stage("read force constants")
    dynamics = load_lattice_dynamics(**crystal.files, periodic=crystal.periodic)
    constants = dict(dynamics.force_constants)
    for wanted in (2, 3):
        if wanted <= order and wanted not in constants:
            constants[wanted] = _from_forces(dynamics, wanted)
    dynamics = LatticeDynamics(dynamics.crystal, constants, dynamics.dielectric, dynamics.datasets, dynamics.sources)
    sums = {n: _relative_sum(found) for n, found in constants.items() if isinstance(found, SupercellForceConstants)}
    facts = {"sources": dict(dynamics.sources)}
    return ForceConstants(dynamics, None, facts, sums, sums)


def _from_forces(dynamics: LatticeDynamics, order: int) -> SupercellForceConstants:
    """Force constants from the forces that came with a crystal."""
    dataset = dynamics.datasets.get(order, dynamics.datasets.get(3))
    if dataset is None or dataset.forces is None:
        raise InputError(f"crystal: expected force constants of order {order} or forces from which to find them, got "
                         f"none; give fc{order}")
    raise InputError(f"crystal: expected force constants of order {order}, got forces only; make fc{order}.hdf5 first")


def _relative_sum(found: SupercellForceConstants) -> float:
    return largest_sum(found.values) / max(float(np.abs(found.values).max()), 1e-300)


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
    """

    supercell: Supercell
    group: SpaceGroup
    dataset: DisplacementDataset


def displaced_cells(relaxed: RelaxedCrystal, section: ForceConstantsSection, order: int) -> Displaced:
    """Displaced supercells for the force constants of an order.

    Raises
    ------
    InputError
        If the supercell is none, or the cutoff reaches beyond half of it.
    """
    matrix: Any = section.supercell2 if order == 2 and section.supercell2 is not None else section.supercell
    matrix = np.array(matrix, dtype=int)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    supercell = build_supercell(relaxed.crystal, matrix @ relaxed.given_cell)
    require_cutoff(supercell, section.cutoff3_A, "cutoff3_A")
    group = SpaceGroup.of(supercell)
    if order == 2:
        dataset = second_order_displacements(supercell, group, section.displacement2_A)
    else:
        dataset = third_order_displacements(supercell, group, section.displacement_A, section.cutoff3_A)
    return Displaced(supercell, group, dataset)


def require_cutoff(supercell: Supercell, cutoff: float | None, key: str) -> None:
    """Refuse a cutoff beyond half of the supercell, where an atom meets images of its neighbours.

    Raises
    ------
    InputError
        Naming the largest cutoff.
    """
    if cutoff is None:
        return
    along = np.array(supercell.crystal.periodic)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(supercell.cell), axis=0)
    half = 0.5 * float(heights[along].min())
    if cutoff > half:
        raise InputError(f"force_constants.{key}: expected at most half the height of the supercell, {half:.3f} A, got "
                         f"{cutoff:g}; use a larger supercell or a smaller cutoff")


def computed_force_constants(run: LatticeRun, relaxed: RelaxedCrystal, section: ForceConstantsSection,
                             order: int) -> ForceConstants:
    """Force constants of a relaxed crystal, by a campaign of displaced supercells."""
    constants: dict[int, SupercellForceConstants] = {}
    found_sums: dict[int, float] = {}
    facts: dict[str, Any] = {}
    for n in range(2, min(order, 3) + 1):
        run.stage(f"displacements of order {n}")
        displaced = displaced_cells(relaxed, section, n)
        dataset, computed = forces_of(run, relaxed, displaced, f"forces of order {n}")
        run.stage(f"force constants of order {n}")
        if n == 2:
            values = second_force_constants(displaced.supercell, displaced.group, dataset)
        else:
            values = third_force_constants(displaced.supercell, displaced.group, dataset, section.cutoff3_A)
        found = SupercellForceConstants(displaced.supercell, values)
        found_sums[n] = _relative_sum(found)
        if n == 2 or section.cutoff3_A is None:
            values = projected(displaced.supercell, displaced.group, values)
            found = SupercellForceConstants(displaced.supercell, values)
        constants[n] = found
        facts[f"supercell_atoms_{n}"] = displaced.supercell.n_atoms
        facts[f"displaced_cells_{n}"] = dataset.n_cells
        facts[f"displaced_cells_computed_{n}"] = computed
    sums = {n: _relative_sum(found) for n, found in constants.items()}
    return ForceConstants(LatticeDynamics(relaxed.crystal, constants), relaxed, facts, found_sums, sums)


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


def forces_of(run: LatticeRun, relaxed: RelaxedCrystal, displaced: Displaced,
              stage: str) -> tuple[DisplacementDataset, int]:
    """The dataset with forces, and how many of them were computed now.

    Raises
    ------
    InputError
        If the potential gives no finite forces.
    """
    from hpcthermo.campaign.run import run_campaign
    from hpcthermo.campaign.workers import ThisThread, start_workers
    from hpcthermo.phonons.forces import displacement_task

    supercell, dataset = displaced.supercell, displaced.dataset
    tasks = [displacement_task(np.zeros(0, dtype=int), np.zeros((0, 3)))]  # at rest
    for displacements in dataset.dense(supercell.n_atoms):
        atoms = np.flatnonzero(displacements.any(axis=1))
        tasks.append(displacement_task(atoms, displacements[atoms]))
    function, section = force_function(run.job, displaced, relaxed.layers), run.job.campaign
    run.stage(stage, len(tasks))
    short = section.where == "local" and section.workers == "auto" and (
        len(tasks) * seconds_per_call(function) < _SHORT_CAMPAIGN_S)
    workers = ThisThread() if short else start_workers(section, function, run.campaign_folder)
    try:
        records = run_campaign(function, tasks, run.campaign_folder, workers, retry_failed=section.retry_failed,
                               attempts=section.attempts, progress=run.progress, stop=run.stop)
        forces = records.stack("forces")
    except PhysicsError as error:
        raise InputError(f"forces: {error}") from None
    finally:
        workers.close()
    return dataset.with_forces(forces[1:], forces[0]), records.computed
