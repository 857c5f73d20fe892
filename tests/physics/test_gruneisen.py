"""Grueneisen parameters from third-order force constants and from volumes."""

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from test_harmonic import harmonic_of, supercell_of

from hpcthermo.calculator import Calculator
from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.displacements import second_order_displacements, third_order_displacements
from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
from hpcthermo.phonons.gruneisen import (
    gruneisen_from_volumes,
    gruneisen_tensors,
    internal_strain,
    thermal_expansion,
    total_gruneisen,
)
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import degenerate_groups
from hpcthermo.phonons.supercells import SpaceGroup, build_supercell
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons


@pytest.mark.parametrize("clamped", [False, True])
def test_mode_tensors_are_phono3pys(phonopy_oracle, clamped):
    """Its force constants are not averaged over origins; degenerate bands are compared by their mean."""
    harmonic, supercell = harmonic_of(phonopy_oracle, "Si", "none"), supercell_of(phonopy_oracle, "Si")
    third = Interactions.third(supercell, phonopy_oracle["Si.fc3"], average_origins=False)
    # at 0 and beside it the rest of its sum rule over small frequencies is all that it gives
    points = np.linalg.norm(phonopy_oracle["points"], axis=1) > 0.01
    found = harmonic.phonons(phonopy_oracle["points"][points])
    groups = degenerate_groups(found.frequencies)
    same = groups[:, :, None] == groups[:, None, :]
    there = phonopy_oracle[f"Si.gruneisen.{clamped}"][points]
    there = np.einsum("nst,ntab->nsab", same / same.sum(axis=2, keepdims=True), there)
    assert np.abs(gruneisen_tensors(harmonic, third, found, clamped) - there).max() < 1e-4


def test_acoustic_parameters_have_a_limit(phonopy_oracle):
    harmonic, supercell = harmonic_of(phonopy_oracle, "Si", "none"), supercell_of(phonopy_oracle, "Si")
    third = Interactions.third(supercell, phonopy_oracle["Si.fc3"])
    tensors = gruneisen_tensors(harmonic, third, harmonic.phonons(np.array([[1e-4, 0, 0], [1e-3, 0, 0]])))
    assert np.abs(tensors[0] - tensors[1]).max() < 1e-3
    assert np.abs(tensors[0, :3]).max() > 0.1


@cache
def silicon(stretch):
    """Tersoff silicon: the harmonic crystal at a lattice constant, and its supercell's dataset maker."""
    primitive = bulk("Si", "diamond", 5.432 * stretch)
    crystal = Crystal(primitive.cell.array, primitive.get_scaled_positions(), ("Si", "Si"), np.full(2, 28.085))
    supercell = build_supercell(crystal, 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]))
    group = SpaceGroup.of(supercell)
    calculator = Calculator("tersoff_si")

    def evaluated(dataset):
        atoms = Atoms("Si64", scaled_positions=supercell.positions, cell=supercell.cell, pbc=True)
        home = atoms.positions.copy()
        forces = []
        for displacement in dataset.dense(64):
            atoms.positions = home + displacement
            forces.append(calculator.get_forces(atoms))
        return dataset.with_forces(np.array(forces))

    dataset = evaluated(second_order_displacements(supercell, group, 1e-3))
    second = Interactions.second(supercell, second_force_constants(supercell, group, dataset))
    return HarmonicCrystal(crystal, second), supercell, group, evaluated


def test_volume_differences_agree_with_third_order_and_with_thermal_expansion():
    """Tersoff's forces end before half the supercell, so that both ways hold all of them."""
    harmonic, supercell, group, evaluated = silicon(1.0)
    dataset = evaluated(third_order_displacements(supercell, group, 5e-3, cutoff=4.0))
    third = Interactions.third(supercell, third_force_constants(supercell, group, dataset, cutoff=4.0))
    mesh = Mesh.create(harmonic.crystal, (5, 5, 5))
    found = mesh_phonons(harmonic, mesh)
    tensors = gruneisen_tensors(harmonic, third, found)
    scalar = np.trace(tensors, axis1=2, axis2=3) / 3.0
    by_volume = gruneisen_from_volumes(found, silicon(0.998)[0], silicon(1.002)[0])
    moving = found.frequencies > 0.1
    assert np.abs(scalar - by_volume)[moving].max() < 1e-3 * np.abs(scalar).max()
    assert np.abs(scalar).max() > 0.5
    # classical heat capacities: every mode counts alike
    capacity = np.where(moving, 8.617e-5 / mesh.n_points, 0.0)[None]
    total = total_gruneisen(tensors, capacity)[0]
    assert np.abs(total - np.eye(3) * np.trace(total) / 3.0).max() < 1e-6 * np.abs(total).max()
    bulk_modulus = 0.61
    isotropic = np.zeros((6, 6))
    isotropic[:3, :3] = bulk_modulus
    isotropic += np.diag([0.2] * 3 + [0.1] * 3) - 0.2 / 3 * np.pad(np.ones((3, 3)), (0, 3))
    expansion = thermal_expansion(tensors, capacity, harmonic.crystal.volume, isotropic)[0]
    expected = np.trace(total) / 3.0 * capacity.sum() / (3.0 * bulk_modulus * harmonic.crystal.volume)
    assert expansion == pytest.approx(np.eye(3) * expected, abs=1e-3 * abs(expected))


def test_internal_strain_takes_the_forces_away():
    """The relaxed displacements and the strain together push no atom; sheared silicon moves along the third axis."""
    harmonic = silicon(1.0)[0]
    crystal, second = harmonic.crystal, harmonic.second
    response = internal_strain(crystal, second)
    i, j = second.atoms.T
    place = (crystal.positions[j] - crystal.positions[i] + second.vectors[:, 0]) @ crystal.cell
    moved = response[j] + np.eye(3)[None, :, :, None] * place[:, None, None, :]
    force = np.zeros((2, 3, 3, 3))
    np.add.at(force, i, np.einsum("pxc,pcab->pxab", second.values, moved))
    assert np.abs(force).max() < 1e-3 * np.abs(second.values).max() * 1e-3
    shift = response[1] - response[0]
    assert abs(shift[2, 0, 1]) > 0.1
    assert np.abs(shift[2, 0, 0]) < 1e-6
    with pytest.raises(InputError, match="three soft directions"):
        internal_strain(crystal, Interactions(second.atoms, second.vectors, second.values * 0.0))


def test_a_rest_of_the_sum_rule_is_no_spring(phonopy_oracle):
    """Force constants of a file as finite differences left them: parameters all the same, not refused."""
    harmonic = harmonic_of(phonopy_oracle, "Si", "none")
    second = harmonic.second
    home = (second.vectors[:, 0] == 0).all(axis=1) & (second.atoms[:, 0] == second.atoms[:, 1])
    values = second.values + 1e-3 * np.abs(second.values).max() * home[:, None, None] * np.eye(3)
    crystal = harmonic.crystal
    left = internal_strain(crystal, Interactions(second.atoms, second.vectors, values))
    assert left - left.mean(axis=0) == pytest.approx(internal_strain(crystal, second), abs=2e-3)
