"""Fits to random displacements, cost figures and refusals of campaigns."""

import numpy as np
import pytest
from ase import Atoms
from spring_crystal import diamond, rocksalt

from hpcthermo.calculator import Calculator
from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.displacements import second_order_displacements, third_order_displacements
from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
from hpcthermo.phonons.fits import fitted, predicted_forces, random_displacements
from hpcthermo.phonons.fourth_order import FourthOrder
from hpcthermo.phonons.from_forces import force_constants_of
from hpcthermo.phonons.projection import Translations, largest_sum, projected
from hpcthermo.phonons.requirements import (
    Cost,
    largest_cutoff,
    require_cutoff,
    require_relaxed,
    require_symmetry,
)
from hpcthermo.phonons.supercells import SpaceGroup, build_supercell

CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])


def forces_of(supercell, dataset):
    places = supercell.positions @ supercell.cell
    atoms = Atoms("Si8", places, cell=supercell.cell, pbc=True, calculator=Calculator("tersoff_si"))
    forces = []
    for displacement in dataset.dense(8):
        atoms.positions = places + displacement
        forces.append(atoms.get_forces())
    return dataset.with_forces(np.array(forces))


@pytest.fixture(scope="module")
def silicon():
    supercell = build_supercell(diamond(a=5.432), CUBIC)
    return supercell, SpaceGroup.of(supercell)


def test_fit_agrees_with_finite_differences_and_predicts_forces(silicon):
    supercell, group = silicon
    fit = fitted(supercell, group, forces_of(supercell, random_displacements(supercell, 40, 0.02, seed=1)))
    dataset = forces_of(supercell, third_order_displacements(supercell, group, step=0.01))
    second = projected(supercell, group, second_force_constants(supercell, group, dataset))
    third = projected(supercell, group, third_force_constants(supercell, group, dataset))
    assert fit.force_constants[2] == pytest.approx(second, abs=2e-3 * np.abs(second).max())
    assert fit.force_constants[3] == pytest.approx(third, abs=2e-2 * np.abs(third).max())
    assert max(largest_sum(values) for values in fit.force_constants.values()) < 1e-10
    assert fit.held_out_error < 1e-2 * fit.held_out_force
    # without third order forces are predicted worse
    test = forces_of(supercell, random_displacements(supercell, 5, 0.02, seed=2))
    translations = Translations(supercell, group)
    displacements = test.dense(8)
    errors = [np.sqrt(np.mean((predicted_forces(supercell, translations, {order: fit.force_constants[order]
                               for order in orders}, displacements) - test.forces)**2)) for orders in ((2,), (2, 3))]
    assert errors[1] < 0.2 * errors[0]
    assert errors[1] == pytest.approx(fit.held_out_error, rel=0.5)


def test_forces_at_hand_of_random_displacements_are_fitted_with_all_cells(silicon):
    supercell, group = silicon
    dataset = forces_of(supercell, random_displacements(supercell, 8, 0.005, seed=3))
    found = force_constants_of(dataset, supercell, (2,))[2].values
    exact = forces_of(supercell, second_order_displacements(supercell, group, 0.005))
    second = projected(supercell, group, second_force_constants(supercell, group, exact))
    assert found == pytest.approx(second, abs=2e-3 * np.abs(second).max())
    assert np.isnan(fitted(supercell, group, dataset, 2, held_out=0.0).held_out_error)


def test_too_few_cells_are_refused(silicon):
    supercell, group = silicon
    with pytest.raises(InputError, match="with forces"):
        fitted(supercell, group, random_displacements(supercell, 3, 0.02, seed=1))


def test_cost_is_that_of_the_displacements(silicon):
    supercell, group = silicon
    cells = {2: second_order_displacements(supercell, group).n_cells,
             3: third_order_displacements(supercell, group).n_cells,
             4: FourthOrder.plan(supercell, group, None).dataset.n_cells}
    cost = Cost.of_cells(supercell, cells)
    assert cells == {2: 1, 3: cells[3], 4: 121}
    assert cost.force_bytes == np.zeros((122 + cells[3], 8, 3)).nbytes
    assert cost.compact_third_bytes == np.zeros((2, 8, 8, 3, 3, 3)).nbytes
    assert cost.third_share == 1.0
    assert Cost.of_cells(supercell, cells, third_cutoff=2.5).third_share < 0.5
    assert Cost.of_cells(supercell, {2: 1}).compact_third_bytes == 0


def test_unusable_input_is_refused(silicon):
    supercell, _ = silicon
    assert largest_cutoff(supercell) == pytest.approx(5.432 / 2)
    require_cutoff(supercell, 2.7, "fc3")
    with pytest.raises(InputError, match="half the shortest width"):
        require_cutoff(supercell, 2.8, "fc3")
    with pytest.raises(InputError, match=r"nearest neighbour of every atom, 2\.352 A, got 2\.3 A"):
        require_cutoff(supercell, 2.3, "fc3")
    small = build_supercell(supercell.crystal, [1, 1, 1])  # 1.57 A from its middle to its faces
    for cutoff in (1.0, 2.0, 3.0):
        with pytest.raises(InputError, match=r"2\.352 A, got half a width of .*; give a larger supercell"):
            require_cutoff(small, cutoff, "fc3")
    require_relaxed(supercell, np.zeros((8, 3)), np.zeros(6))
    with pytest.raises(InputError, match="relax it first"):
        require_relaxed(supercell, np.full((8, 3), 0.01))
    with pytest.raises(InputError, match="relax its cell"):
        require_relaxed(supercell, np.zeros((8, 3)), np.full(6, 0.01))
    with pytest.raises(InputError, match="numbers"):
        require_relaxed(supercell, np.full((8, 3), np.nan))
    # a sheet whose normal is the Cartesian x axis, along the third lattice vector
    upright = Crystal(np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [9.0, 0.0, 0.0]]), np.zeros((1, 3)), ("Cu",),
                      np.array([63.5]), (True, True, False))
    sheet = build_supercell(upright, np.array([1, 1, 1]))
    require_relaxed(sheet, np.zeros((1, 3)), np.array([0.01, 0.0, 0.0, 0.0, 0.01, 0.01]))
    for component in (1, 2, 3):
        with pytest.raises(InputError, match="relax its cell"):
            require_relaxed(sheet, np.zeros((1, 3)), 0.01 * np.eye(6)[component])
    require_symmetry(supercell)
    with pytest.raises(InputError, match="48 rotations"):
        require_symmetry(build_supercell(rocksalt(), np.array([2, 2, 1])))
    # a rectangular cell of a square lattice: no multiples of it, but of the primitive cell
    copper = Crystal(np.diag([2.0, 2.0, 9.0]), np.zeros((1, 3)), ("Cu",), np.array([63.5]), (True, True, False))
    unit = np.diag([2, 1, 1])
    with pytest.raises(InputError, match=r"16 rotations .* got one with 8; for example \[2, 4, 1\]"):
        require_symmetry(build_supercell(copper, np.diag([2, 2, 1]) @ unit), unit)
