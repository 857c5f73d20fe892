"""Conductivities of NEP models beside what is known of the materials."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from acceptance.sides import MODELS, verdict
from hpcthermo.phonons.files.load import load_lattice_dynamics
from hpcthermo.transport.bte.settings import BteSettings
from hpcthermo.transport.bte.solution import solve


@dataclass(frozen=True)
class Material:
    """A model, and what is known of the material, W/(m K) at 300 K."""

    potential: str
    structure: str
    supercell: tuple[int, int, int]
    cutoff3_A: float
    meshes: tuple[tuple[int, int, int], ...]
    known: str
    thickness_A: float | None = None


MATERIALS = {
    "diamond": Material("C_2024_NEP4.txt", 'builder = "crystal"\ncrystal = "diamond"', (3, 3, 3), 4.0,
                        ((11, 11, 11), (15, 15, 15), (19, 19, 19)), "experiment 12C about 3300, natural 2200"),
    "silicon": Material("Si_2022_NEP4_4body.txt", 'builder = "crystal"\ncrystal = "Si"', (3, 3, 3), 5.0,
                        ((11, 11, 11), (15, 15, 15), (19, 19, 19)), "experiment natural 142-148, 28Si about 160"),
    "graphene": Material("gr_hbn_liang2025.nep.txt", 'builder = "layered_stack"\ncell = "hexagonal"\nvacuum_A = 20.0\n'
                         'layers = [{ material = "graphene", count = 1, repeat = [1, 1] }]', (7, 7, 1), 5.0,
                         ((24, 24, 1), (36, 36, 1), (48, 48, 1)),
                         "three-phonon theory 3000-4000 and growing with size; thickness 3.35 A", 3.35),
}


def literature(name: str) -> list[str]:
    """Conductivities of a NEP model by relaxation times and by the full equation, with and without isotopes."""

    material = MATERIALS[name]
    lines = [f"{name}: {material.potential}, relaxed; supercell {material.supercell} of the cell of the structure, "
             f"triplets within {material.cutoff3_A:g} A; 300 K; {material.known}"]
    with tempfile.TemporaryDirectory() as folder:
        job, results = Path(folder) / "job.toml", Path(folder) / "results"
        job.write_text(f'kind = "fc"\npotential = "{MODELS / material.potential}"\n\n[structure]\n'
                       f"{material.structure}\n\n[force_constants]\nsupercell = {list(material.supercell)}\n"
                       f"cutoff3_A = {material.cutoff3_A}\n")
        done = subprocess.run([sys.executable, "-m", "hpcthermo", "fc", str(job), "--out", str(results)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return [*lines, verdict(False, f"{done.stderr.strip().splitlines()[-1:]}")]
        flat = material.thickness_A is not None
        fc2, fc3 = (next(results.glob(f"fc{order}*.hdf5")) for order in (2, 3))
        dynamics = load_lattice_dynamics(results / "phono3py.yaml", fc2=fc2, fc3=fc3,
                                         periodic=(True, True, not flat))
    for mesh in material.meshes:
        for isotopes in (False, True):
            settings = BteSettings(mesh=mesh, temperatures_K=(300.0,), method="lbte", isotopes=isotopes,
                                  thickness_A=material.thickness_A, coherence=False)
            solution = solve(dynamics, settings, threads=2)
            assert solution.full is not None
            rta, full = solution.relaxation_time.kappa[0, 0, 0], solution.full.kappa[0, 0, 0]
            lines.append(verdict(rta < full, f"{mesh}, {'natural' if isotopes else 'pure'}: kappa_xx RTA {rta:.1f}, "
                                 f"LBTE {full:.1f} W/(m K), LBTE / RTA {full / rta:.3f}, lowest frequency "
                                 f"{solution.phonons.frequencies.min():.4f} THz"))
    return lines
