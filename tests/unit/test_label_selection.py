"""Which structures a label job computes, and on which wave vectors."""


import numpy as np
from ase.build import graphene

from hpcthermo.calculator import snapshot_of
from hpcthermo.labelling.descriptors import site_descriptors, untrained_model
from hpcthermo.labelling.k_points import k_mesh
from hpcthermo.labelling.selection import FarthestFrames
from hpcthermo.potentials.nep import NepPotential

# ---- meshes --------------------------------------------------------------------------------------


def test_meshes_have_the_spacing_and_one_point_across_a_vacuum():
    cell = np.diag([2.0, 4.0, 20.0])
    atoms = np.array([[0.0, 0.0, 9.0], [1.0, 2.0, 10.0]])
    # |b| = 2 pi / a
    assert k_mesh(cell, atoms, 2.0 * np.pi / 20.0, 30.0) == (10, 5, 1)
    assert k_mesh(cell, atoms, 2.0 * np.pi / 20.0 * 0.999, 30.0) == (11, 6, 2)
    assert k_mesh(cell, atoms, 0.1, 18.0) == (32, 16, 1)
    hexagonal = graphene(a=2.46, vacuum=5.0)
    divisions = k_mesh(hexagonal.cell.array, hexagonal.positions, 0.25, 8.0)
    assert divisions == (12, 12, 1)  # |b| = 4 pi / (sqrt(3) a) = 2.949
    # atoms on both faces of the cell: the gap is inside
    assert k_mesh(np.diag([2.0, 2.0, 20.0]), np.array([[0, 0, 0.5], [0, 0, 19.5]]), 0.1, 18.0)[2] == 1


# ---- selection -----------------------------------------------------------------------------------


def _on_a_line(values, numbers=None):
    descriptors = [np.atleast_2d(np.asarray(v, float)).T for v in values]
    numbers = [np.full(len(d), 6) for d in descriptors] if numbers is None else numbers
    return FarthestFrames(descriptors, numbers)


def test_the_frame_that_is_farthest_from_all_taken_comes_next():
    sampler = _on_a_line([[0.0], [10.0], [1.0], [5.5], [0.0]])
    assert list(sampler.take_farthest([0], 1, 0.0)) == [0]
    assert list(sampler.take_farthest(range(5), 5, 0.0)) == [1, 3, 2]  # the last equals the first and is left out


def test_one_unusual_atom_is_enough_and_elements_are_not_compared():
    sampler = _on_a_line([[0.0, 0.0, 0.0], [0.1, 0.1, 0.2], [0.0, 0.0, 4.0]])
    sampler.take(0)
    assert next(sampler.take_farthest(range(3), 1, 0.0)) == 2
    of_two_elements = _on_a_line([[0.0], [0.0], [0.5]], [np.array([6]), np.array([7]), np.array([6])])
    of_two_elements.take(0)
    assert of_two_elements.novelty()[1] == np.inf


def test_a_least_distance_ends_the_selection():
    sampler = _on_a_line([[0.0], [1.0], [2.0], [2.1]])
    deviation = np.std([0.0, 1.0, 2.0, 2.1])
    sampler.take(0)
    assert list(sampler.take_farthest(range(4), 4, 0.2 / deviation)) == [3, 1]


def test_untrained_descriptors_see_moves_but_no_turns():
    potential = NepPotential(untrained_model(["B", "C", "N"]))
    atoms = graphene(formula="BN", a=2.5, vacuum=4.0) * (2, 2, 1)
    atoms.pbc = True
    turned = atoms.copy()
    turned.rotate(40.0, "z", rotate_cell=True)
    moved = atoms.copy()
    moved.positions[0] += 0.1
    found = [site_descriptors(snapshot_of(a, np.full(len(a), -1, np.int32)), potential)
             for a in (atoms, turned, moved)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-9)
    assert np.abs(found[2] - found[0]).max() > 0.1
    np.testing.assert_allclose(found[0][0], found[0][2], rtol=1e-9, atol=1e-9)  # equal sites
