"""Finite displacements and Grueneisen parameters: phono3py driving the same models, phonopy, and volumes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import test_gruneisen
from ase.build import bulk, graphene
from phono3py_differences import phono3py_responses
from phono3py_oracle import lattice_data
from record import ROOT
from test_harmonic import harmonic_of as harmonic_there
from test_harmonic import supercell_of

from acceptance.sides import MODELS, verdict
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.displacements import third_order_displacements
from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
from hpcthermo.phonons.forces import SupercellForces, displacement_task
from hpcthermo.phonons.gruneisen import gruneisen_from_volumes, gruneisen_tensors
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.projection import largest_sum, projected
from hpcthermo.phonons.sum_rules import with_sum_rules
from hpcthermo.phonons.supercells import SpaceGroup
from hpcthermo.phonons.velocities import degenerate_groups
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons


def differences() -> list[str]:
    """Displacements, forces and force constants of our own against phono3py driving the same models."""

    def sheet(formula: str, a: float) -> Any:
        atoms = graphene(formula, a=a, size=(1, 1, 1), vacuum=10.0)
        atoms.cell[2] = [0.0, 0.0, 20.0]
        atoms.center(axis=2)
        atoms.wrap()
        return atoms

    primitive = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    flat, gr_hbn = (True, True, False), "gr_hbn_liang2025.nep.txt"
    cases = {"Si NEP4, 64 atoms": (bulk("Si", "diamond", a=5.434, cubic=True), [2, 2, 2], primitive,
                                   "Si_2022_NEP4_4body.txt", (True, True, True)),
             "h-BN, Gr/h-BN NEP4, 32 atoms": (sheet("BN", 2.5066104275163403), [4, 4, 1], np.eye(3), gr_hbn, flat),
             "graphene, Gr/h-BN NEP4, 32 atoms": (sheet("C2", 2.4642), [4, 4, 1], np.eye(3), gr_hbn, flat)}
    requests = [{"cell": atoms.cell.array, "positions": atoms.get_scaled_positions(),
                 "symbols": atoms.get_chemical_symbols(), "matrix": np.diag(matrix), "primitive": cell,
                 "potential": str(MODELS / model), "periodic": periodic}
                for atoms, matrix, cell, model, periodic in cases.values()]
    lines = []
    for (name, case), peer in zip(cases.items(), phono3py_responses(requests), strict=True):
        crystal = Crystal(peer["primitive_cell"], peer["primitive_positions"], tuple(peer["primitive_symbols"]),
                          peer["masses"], case[4])
        supercell = Supercell.match(crystal, peer["cell"], peer["positions"], peer["symbols"], peer["origin_of"])
        group = SpaceGroup.of(supercell)
        dataset = third_order_displacements(supercell, group)
        same = dataset.n_cells == len(peer["displacements"]) and bool(
            np.abs(dataset.dense(supercell.n_atoms) - peer["displacements"]).max() < 1e-12)
        forces = SupercellForces(supercell.cell, supercell.positions @ supercell.cell, tuple(peer["symbols"]),
                                 str(MODELS / case[3]), case[4])
        tasks = [displacement_task([], np.zeros((0, 3)))]
        for moved, steps in zip(dataset.atoms, dataset.vectors, strict=True):
            there = moved >= 0
            rows = np.unique(moved[there])
            tasks.append(displacement_task(rows, np.array([steps[there & (moved == row)].sum(axis=0) for row in rows])))
        residual, *found = [record["forces"] for record in forces.evaluate(forces.prepare(), tasks)]
        own = dataset.with_forces(np.array(found) - residual)
        apart = np.abs(own.forces - peer["forces"]).max()
        lines.append(verdict(same and apart < 1e-9, f"{name}: {dataset.n_cells} displaced cells, the same as "
                             f"phono3py's; forces apart {apart:.1e} eV/A"))
        solved = {2: second_force_constants(supercell, group, own), 3: third_force_constants(supercell, group, own)}
        for order, values in solved.items():
            theirs = peer[f"fc{order}"]
            relative = np.abs(values - theirs).max() / np.abs(theirs).max()
            even = projected(supercell, group, values)
            from_list = with_sum_rules(crystal, Interactions.second(supercell, even) if order == 2
                                       else Interactions.third(supercell, even))
            lines.append(verdict(relative < 1e-6 and max(largest_sum(even), from_list.after) < 1e-10,
                                 f"{name}: fc{order} apart {relative:.1e} of its largest element "
                                 f"({np.abs(theirs).max():.3f} eV/A^{order}); sums over a leg "
                                 f"{largest_sum(values):.1e} before, {largest_sum(even):.1e} after projection, "
                                 f"{from_list.after:.1e} on the lattice eV/A^{order}"))
    return lines


def gruneisen() -> list[str]:
    """Mode tensors against phono3py, and against volumes."""

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "oracle.npz"
        subprocess.run([sys.executable, str(ROOT / "tests" / "physics" / "phonopy_oracle.py"), str(lattice_data()),
                        str(output)], check=True, capture_output=True)
        peer = dict(np.load(output))
    harmonic, supercell = harmonic_there(peer, "Si", "none"), supercell_of(peer, "Si")
    third = Interactions.third(supercell, peer["Si.fc3"], average_origins=False)
    points = np.linalg.norm(peer["points"], axis=1) > 0.01
    found = harmonic.phonons(peer["points"][points])
    groups = degenerate_groups(found.frequencies)
    same = groups[:, :, None] == groups[:, None, :]
    for clamped in (False, True):
        theirs = np.einsum("nst,ntab->nsab", same / same.sum(axis=2, keepdims=True),
                           peer[f"Si.gruneisen.{clamped}"][points])
        own = gruneisen_tensors(harmonic, third, found, clamped)
        apart = np.abs(own - theirs).max()
        lines.append(verdict(apart < 1e-4, f"Si (PBEsol) mode tensors at {points.sum()} wave vectors, "
                             f"{'clamped' if clamped else 'relaxed'} ions: apart {apart:.1e}, largest "
                             f"{np.abs(own).max():.3f}"))
    crystal, cell, group, evaluated = test_gruneisen.silicon(1.0)
    dataset = evaluated(third_order_displacements(cell, group, 5e-3, cutoff=4.0))
    third = Interactions.third(cell, third_force_constants(cell, group, dataset, cutoff=4.0))
    mesh = mesh_phonons(crystal, Mesh.create(crystal.crystal, (5, 5, 5)))
    scalar = np.trace(gruneisen_tensors(crystal, third, mesh), axis1=2, axis2=3) / 3.0
    by_volume = gruneisen_from_volumes(mesh, test_gruneisen.silicon(0.998)[0], test_gruneisen.silicon(1.002)[0])
    apart = np.abs(scalar - by_volume)[mesh.frequencies > 0.1].max() / np.abs(scalar).max()
    lines.append(verdict(apart < 1e-2, f"Si (Tersoff) 5^3: from third order and from volumes apart {apart:.1e} of the "
                         f"largest, {np.abs(scalar).max():.3f}"))
    return lines
