"""``kind = "lattice"``: lattice constants, interlayer spacings, cohesive energy and density of a relaxed crystal.

    a = |a_cell| / n_a          n_a unit cells along the first cell vector
    d_l = h_(l+1) - h_l         h_l mean height of layer l along a x b; across a periodic boundary h_1 + H - h_last
    E_coh = (sum_s N_s E_s - E) / N

The reference E_s of a species is 0, as for potentials of bonds (Tersoff, Lennard-Jones) and models of energies that are
counted from free atoms, or with `reference = "free_atoms"` the energy of one atom without neighbours in this potential.
That of a model that was not fitted to free atoms (most neuroevolution potentials) means nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.config.relaxation import LatticeSection
from hpcthermo.domain.comm import Communicator, SingleProcess
from hpcthermo.domain.grid import frame_cell
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.base import Potential
from hpcthermo.preparation import load_job_potential
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.run import Stop, finish_run, relax_structure
from hpcthermo.simulation import Simulation, on_first_rank
from hpcthermo.statics.relaxation import relaxation_tables
from hpcthermo.units import ATOMIC_MASS_KG


def run_lattice(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Relax, then measure (collective)."""
    simulation = Simulation(job, comm, folder, resume, job.seed, stop=stop)
    quantities = relax_structure(simulation)
    snapshot = simulation.engine.domain.gather(simulation.engine.system)
    measured = on_first_rank(comm, lambda: measure_lattice(snapshot, load_job_potential(job), job.lattice))
    finish_run(simulation, quantities | (measured or {}))


def measure_lattice(snapshot: Snapshot | None, potential: Potential,
                    section: LatticeSection) -> dict[str, Quantity]:
    """What the analysis needs of a relaxed structure, under ``lattice/``."""
    assert snapshot is not None
    heights, spacings = layer_spacings(snapshot)
    counts = np.bincount(snapshot.types, minlength=len(snapshot.species))
    free = np.zeros(len(snapshot.species))
    if section.reference == "free_atoms":
        free[:] = [free_atom_energy(potential, snapshot, k) for k in range(len(free))]
    return {
        "lattice/unit_cells": Quantity(np.array(section.unit_cells), "1", "unit cells along the cell vectors"),
        "lattice/layer_heights": Quantity(heights, "A", "mean height of each layer"),
        "lattice/layer_spacings": Quantity(spacings, "A", "from each layer to the next above"),
        "lattice/reference_energy": Quantity(np.array(float(counts @ free)), "eV", "of all atoms apart"),
        "lattice/mass": Quantity(np.array(float(counts @ snapshot.masses)), "amu"),
    }


def layer_spacings(snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
    """Mean heights of the layers of a structure, and the distances from each to the next above.

    Parameters
    ----------
    snapshot : Snapshot
        Layers in ``layers``.

    Returns
    -------
    heights : (layers,) float64
        A, ascending; empty for a crystal without layers.
    spacings : (layers,) or (layers - 1,) float64
        A; the last one across the periodic boundary, if there is one.
    """
    frame = frame_cell(snapshot.cell)
    normal = np.cross(frame[0], frame[1])
    normal /= np.linalg.norm(normal)
    height = (snapshot.positions + snapshot.images @ snapshot.cell) @ normal
    if snapshot.layers.min(initial=0) < 0:
        return np.zeros(0), np.zeros(0)
    index = np.unique(snapshot.layers, return_inverse=True)[1]
    means = np.sort(np.bincount(index, weights=height) / np.bincount(index))
    if not snapshot.periodic[2]:
        return means, np.diff(means)
    across = abs(float(frame[2] @ normal))
    return means, np.diff(means, append=means[0] + across)


def free_atom_energy(potential: Potential, snapshot: Snapshot, kind: int) -> float:
    """Energy of one atom of a species without neighbours, eV."""
    atom = Snapshot.create(np.zeros((3, 3)), (False,) * 3, (snapshot.species[kind],), [snapshot.masses[kind]],
                           np.zeros((1, 3)), [0])
    engine = make_engine(atom, potential, SingleProcess(), make_backend("cpu", "double"))
    engine.compute()
    return engine.potential_energy()


def analyze_lattice(results: Results) -> tuple[Table, Table]:
    """Lattice constants, spacings, cohesive energy and density, after the tables of the relaxation."""
    relaxed, checks = relaxation_tables(results)
    found = {name: quantity.values for name, quantity in results.group("lattice").items()}
    cell, periodic = results.quantities["minimize/cell"].values, results.quantities["minimize/periodic"].values
    atoms = int(results.run["atoms"])
    table: Table = {}

    def enter(name: str, value: float, unit: str) -> None:
        table[name] = entry(value, unit)

    for k, name in enumerate("abc"):
        if periodic[k]:
            enter(f"lattice_constant_{name}", float(np.linalg.norm(cell[k])) / int(found["unit_cells"][k]), "A")
    spacings = found["layer_spacings"]
    if len(spacings):
        for name in ("mean", "min", "max"):
            enter(f"interlayer_spacing_{name}", float(getattr(spacings, name)()), "A")
    energy = float(relaxed["potential_energy"]["value"])
    enter("cohesive_energy_per_atom", (float(found["reference_energy"]) - energy) / atoms, "eV")
    mass = float(found["mass"]) * ATOMIC_MASS_KG
    if periodic.all():
        enter("density", mass * 1e3 / (abs(float(np.linalg.det(cell))) * 1e-24), "g/cm^3")
    elif int(periodic.sum()) == 2:
        area = float(np.linalg.norm(np.cross(*cell[periodic.astype(bool)])))
        enter("density_per_area", mass * 1e6 / (area * 1e-20), "mg/m^2")
    return table | relaxed, checks
