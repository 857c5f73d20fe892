"""How far labels are from those of finer settings, on structures of a label job.

    python benchmarks/label_convergence.py jobs/gr_hbn_nep/label.toml jobs/gr_hbn_nep/labels --out runs/finer --record

One setting is made finer at a time: the cutoff by half (with the density's), the mesh of wave vectors by 1.4 (by 4/3 it
would have points on the Dirac point of sheets, which say something else), the smearing to half, the tolerance of the
density to a tenth. Energies have a constant per element that does not matter:
what changes differences between structures is what is left when it is fitted to all of them.

    dE_s = sum_e n_e(s) c_e + rest_s
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from record import write_record

from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import Processes
from hpcthermo.config import LabelJob, load_job
from hpcthermo.labelling.candidates import STRUCTURES_FILE, read_candidates
from hpcthermo.labelling.k_points import mesh_of
from hpcthermo.labelling.task import LabelStructures
from hpcthermo.units import PRESSURE_GPA

#: one structure of each of these classes, the second of its class
GROUPS = ("graphene, cell strained and rattled", "h-BN 2x2, strained and rattled",
          "lateral, zigzag seam, strained and rattled", "bulk, graphene/h-BN AB'", "sliding, graphene/h-BN")
#: meV/atom, meV/A, GPa
ASKED = (1.0, 10.0, 0.1)


def finer(engine: Any) -> dict[str, tuple[Any, float]]:
    """Settings by name, and how much finer the mesh is."""
    return {
        "as labelled": (engine, 1.0),
        "cutoff 1.5 times": (engine.model_copy(update={"cutoff_Ry": 1.5 * engine.cutoff_Ry,
                                                       "density_cutoff_Ry": 1.5 * engine.density_cutoff_Ry}), 1.0),
        "mesh 1.4 times": (engine, 1.4),
        "smearing half": (engine.model_copy(update={"smearing_width_eV": 0.5 * engine.smearing_width_eV}), 1.0),
        "tolerance a tenth": (engine.model_copy(update={"scf_tolerance_eV": 0.1 * engine.scf_tolerance_eV}), 1.0),
    }


def labels(job: LabelJob, engine: Any, scale: float, structures: list[tuple[str, Atoms]], folder: Path) -> list[Any]:
    """Records of the structures with an engine."""
    spacings = {recipe.group: recipe.k_spacing_per_A or engine.k_points.k_spacing_per_A for recipe in job.recipe}
    function = LabelStructures(engine)
    tasks = [function.task(atoms, mesh_of(engine, spacings[group] / scale, atoms.cell.array, atoms.positions))
             for group, atoms in structures]
    workers = Processes(len(os.sched_getaffinity(0)))
    try:
        records = run_campaign(function, tasks, folder, workers)
    finally:
        workers.close()
    records.require_all()
    return [record.arrays for record in records]


def rest(differences: np.ndarray, structures: list[tuple[str, Atoms]]) -> np.ndarray:
    """Differences of energies (eV) without constants of the elements, per atom."""
    elements = sorted({symbol for _, atoms in structures for symbol in atoms.symbols})
    counts = np.array([[list(atoms.symbols).count(element) for element in elements] for _, atoms in structures], float)
    size = counts.sum(axis=1)
    constants = np.linalg.lstsq(counts / size[:, None], differences / size, rcond=None)[0]
    return differences / size - counts / size[:, None] @ constants


def main() -> None:
    """Compute, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", type=Path)
    parser.add_argument("labels", type=Path, help="results folder of the job, with its structures")
    parser.add_argument("--out", type=Path, required=True, help="folder of calculations; those that are there count")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    job = load_job(options.job)
    assert isinstance(job, LabelJob)
    found, _ = read_candidates(options.labels / STRUCTURES_FILE)
    structures = [[item for item in found if item[0] == group][1] for group in GROUPS]
    settings = finer(job.engine)
    results = {name: labels(job, engine, scale, structures, options.out) for name, (engine, scale) in settings.items()}
    base = results.pop("as labelled")
    lines = [f"structures {', '.join(f'{group} ({len(atoms)} atoms)' for group, atoms in structures)}",
             f"asked      {ASKED[0]:g} meV/atom, {ASKED[1]:g} meV/A, {ASKED[2]:g} GPa"]
    for name, records in results.items():
        energies = np.array([float(new["energy"] - old["energy"]) for new, old in zip(records, base, strict=True)])
        left = 1e3 * rest(energies, structures)
        for (group, atoms), new, old, energy in zip(structures, records, base, left, strict=True):
            force = 1e3 * float(np.abs(new["forces"] - old["forces"]).max())
            stress = float(np.abs(new["virial"] - old["virial"]).max()) / atoms.get_volume() * PRESSURE_GPA
            good = abs(energy) <= ASKED[0] and force <= ASKED[1] and stress <= ASKED[2]
            verdict = "ok  " if good else "MISS"
            lines.append(f"{verdict} {name:<18} {group:<44} {energy:7.3f} meV/atom {force:6.1f} meV/A "
                         f"{stress:6.3f} GPa {float(new['seconds']):6.0f} s")
    write_record("label_convergence" if options.record else None, f"Convergence of labels: {options.job.name}", lines)


if __name__ == "__main__":
    main()
