"""The ASE calculator: any cell, invariances, reuse of its engine, ASE conventions."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, make_supercell
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_stress
from ase.optimize import BFGS

from hpcthermo import Calculator
from hpcthermo.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
from differences import rotation
from sample_structures import mixed_sheet, perturbed, silicon_cluster


@pytest.mark.parametrize("potential", ["tersoff_si", "tersoff_si_1988", {"path": "lj.txt"}])
def test_primitive_cell_equals_supercell(potential, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lj.txt").write_text("lj 1 Si\n0.05 2.2 9.0\n")
    primitive = bulk("Si")
    primitive.positions[1] += [0.05, 0.03, -0.1]
    supercell = make_supercell(primitive, [[3, 1, 0], [0, 3, 1], [1, 0, 3]])
    small, large = Calculator(potential), Calculator(potential)
    n = len(supercell) / 2
    assert large.get_potential_energy(supercell) == pytest.approx(n * small.get_potential_energy(primitive), rel=1e-12)
    assert np.abs(large.get_stress(supercell) - small.get_stress(primitive)).max() < 1e-11
    assert np.abs(large.results["virials"][::2] - large.results["virials"][0]).max() < 1e-10
    assert np.abs(large.results["virials"][0] - small.results["virials"][0]).max() < 1e-10


def test_vacuum_open_boundaries_and_no_cell_are_the_same_cluster():
    cluster = silicon_cluster()
    in_vacuum, in_open_cell = cluster.copy(), cluster.copy()
    in_vacuum.set_cell(np.eye(3) * 30.0)
    in_vacuum.pbc = True
    in_open_cell.set_cell([[5, 0, 0], [2, 5, 0], [1, 1, 5]])
    forces = [Calculator("tersoff_si").get_forces(a) for a in (cluster, in_vacuum, in_open_cell)]
    assert np.abs(forces[1] - forces[0]).max() < 1e-12
    assert np.abs(forces[2] - forces[0]).max() < 1e-12
    with pytest.raises(PropertyNotImplementedError):
        Calculator("tersoff_si").get_stress(cluster)


@pytest.mark.parametrize("positions", [[[0, 0, 0]], [[0, 0, 0], [9, 0, 0]], np.zeros((0, 3))])
def test_atoms_without_neighbours_have_no_energy(positions):
    atoms = Atoms(["Si"] * len(positions), positions=positions)
    calculator = Calculator("tersoff_si")
    assert calculator.get_potential_energy(atoms) == 0.0
    assert not calculator.get_forces(atoms).any()


def test_translation_rotation_and_permutation():
    atoms = mixed_sheet()
    calculator = Calculator("tersoff_bnc")
    energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms).copy()
    virials, energies = calculator.results["virials"].copy(), calculator.results["energies"].copy()
    moved = atoms.copy()
    moved.positions += [12.3, -4.5, 0.7]
    assert np.abs(calculator.get_forces(moved) - forces).max() < 1e-10
    turn = rotation()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn)
    turned.positions = atoms.positions @ turn
    assert calculator.get_potential_energy(turned) == pytest.approx(energy, abs=1e-9)
    assert np.abs(calculator.get_forces(turned) - forces @ turn).max() < 1e-10
    assert np.abs(calculator.results["virials"] - turn.T @ virials @ turn).max() < 1e-10
    order = np.random.default_rng(4).permutation(len(atoms))
    shuffled = atoms[order]
    assert np.abs(calculator.get_forces(shuffled) - forces[order]).max() < 1e-10
    assert np.abs(calculator.results["energies"] - energies[order]).max() < 1e-10
    assert np.abs(calculator.results["virials"] - virials[order]).max() < 1e-10


def test_a_calculator_that_follows_a_path_equals_fresh_ones():
    """Small moves, jumps across the boundary, new cells and another system, all in one calculator."""
    atoms = perturbed(bulk("Si").repeat((3, 3, 3)), 0.1)
    used = Calculator("tersoff_si")
    random = np.random.default_rng(5)
    for step in range(8):
        atoms.positions += random.normal(0.0, (0.02, 0.3)[step % 2], atoms.positions.shape)
        if step == 3:
            atoms.positions[::5] += atoms.cell[0] * 2 - atoms.cell[1]
        if step == 5:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + random.normal(0.0, 0.03, (3, 3))), scale_atoms=True)
        if step == 6:
            atoms.wrap()
        fresh = Calculator("tersoff_si").get_forces(atoms)
        assert np.abs(used.get_forces(atoms) - fresh).max() < 1e-9
    atoms = atoms[:20]
    assert np.abs(used.get_forces(atoms) - Calculator("tersoff_si").get_forces(atoms)).max() < 1e-9


def test_stress_has_the_sign_and_order_of_ase():
    atoms = perturbed(bulk("Si").repeat((2, 2, 2)), 0.1)
    atoms.calc = Calculator("tersoff_si")
    assert np.abs(atoms.get_stress() - calculate_numerical_stress(atoms, eps=1e-4)).max() < 1e-7


def test_lattices_of_silicon():
    """Silicon: LAMMPS has 5.43201, 5.43123, 5.42900 A and -4.62960, -4.63041, -4.63000 eV with the published sets.

    Stillinger-Weber: the minimum of the pair, -epsilon at 2^(1/6) sigma, at the ideal angle; two bonds per atom.
    """
    for name, lattice, energy in (("tersoff_si", 5.43201, -4.62960), ("tersoff_si_1988", 5.43123, -4.63041),
                                  ("tersoff_mod_si", 5.42900, -4.63000),
                                  ("sw_si", 2.0951 * 2 ** (1 / 6) * 4 / 3**0.5, -2 * 2.1683)):
        shifts = np.linspace(-0.01, 0.01, 9)
        energies = [Calculator(name).get_potential_energy(bulk("Si", a=lattice + shift)) / 2 for shift in shifts]
        parabola = np.polyfit(shifts, energies, 2)
        assert -parabola[1] / (2 * parabola[0]) == pytest.approx(0.0, abs=1e-4)
        assert min(energies) == pytest.approx(energy, abs=1e-5)


def test_lindsay_broido_graphene_bond():
    """Lattice constant 2.492 A of the optimised parameters (PRB 81, 205441)."""
    sheet = graphene(vacuum=5.0)
    sheet.pbc = True
    lengths = np.linspace(2.47, 2.52, 21)
    energies = []
    for a in lengths:
        sheet.set_cell([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, 10]], scale_atoms=True)
        energies.append(Calculator("tersoff_graphene").get_potential_energy(sheet))
    parabola = np.polyfit(lengths, energies, 2)
    assert -parabola[1] / (2 * parabola[0]) == pytest.approx(2.492, abs=0.002)


def test_ase_optimiser_runs():
    atoms = perturbed(bulk("Si").repeat((2, 2, 2)), 0.05)
    atoms.calc = Calculator("tersoff_si")
    assert BFGS(atoms, logfile=None).run(fmax=1e-3, steps=60)
    assert atoms.get_potential_energy() / len(atoms) == pytest.approx(-4.63, abs=0.005)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"precision": "single"}, "precision"), ({"device": "tpu"}, "device"),
    ({"potential": "no_such"}, "neither a file")])
def test_bad_options_are_input_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        Calculator(**{"potential": "tersoff_si", **arguments})


def test_unknown_species_and_broken_positions_are_input_errors():
    with pytest.raises(InputError, match="no parameters for Ge"):
        Calculator("tersoff_si").get_potential_energy(bulk("Ge"))
    atoms = bulk("Si")
    atoms.positions[0, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        Calculator("tersoff_si").get_potential_energy(atoms)
