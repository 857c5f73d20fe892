"""Tables that are made when asked for, instead of kept: eigenvectors of a mesh, force constants on the lattice."""

import pickle
import platform
import resource
from pathlib import Path

import numpy as np
import pytest
from spring_crystal import diamond, rocksalt, springs, supercell_of

from hpcthermo.gpu.backend import make_backend
from hpcthermo.heap import return_freed_memory
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions, SupercellInteractions
from hpcthermo.phonons.lattice_reduction import is_reduced, shortest_basis
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import MeshPhonons, mesh_phonons
from hpcthermo.transport.bte.strength import CubicStrength


def harmonic_of(crystal):
    supercell = supercell_of(crystal, (2, 2, 2))
    return HarmonicCrystal(crystal, Interactions.second(supercell, springs(supercell, 2)))


@pytest.mark.parametrize("symmetric", [True, False])
def test_eigenvectors_without_inversion_are_those_of_dynamical_matrices(symmetric):
    """Zinc blende: half of the points are turned to by time reversal only."""
    harmonic = harmonic_of(diamond(symbols=("Ga", "As"), masses=(69.7, 74.9)))
    mesh = Mesh.create(harmonic.crystal, (4, 4, 4), symmetric)
    phonons = mesh_phonons(harmonic, mesh)
    assert isinstance(phonons, MeshPhonons)
    assert any(operation.reversed_time for operation in phonons._operations.values())
    matrices, e = harmonic.dynamical_matrices(mesh.q), phonons.eigenvectors
    squares = np.linalg.eigvalsh(matrices)
    assert np.abs(matrices @ e - e * squares[:, None, :]).max() < 1e-12 * np.abs(matrices).max()


@pytest.mark.parametrize("symmetric", [True, False])
def test_parts_of_a_mesh_have_its_eigenvectors_each_point_once(symmetric):
    mesh = Mesh.create(diamond(), (4, 4, 4), symmetric)
    phonons = mesh_phonons(harmonic_of(mesh.crystal), mesh)
    assert isinstance(phonons, MeshPhonons)
    whole, seen = phonons.eigenvectors, np.zeros(mesh.n_points, dtype=int)
    for points, some in phonons.parts(7):
        assert len(points) <= 7
        assert some.eigenvectors == pytest.approx(whole[points], abs=1e-15)
        assert np.array_equal(some.frequencies, phonons.frequencies[points])
        assert np.array_equal(some.q, mesh.q[points])
        seen[points] += 1
    assert (seen == 1).all()
    again = pickle.loads(pickle.dumps(phonons))
    assert np.array_equal(again.at(np.array([9, 3])).eigenvectors, phonons.at(np.array([9, 3])).eigenvectors)
    irreducible = mesh.irreducible[0]
    assert phonons.at(irreducible).eigenvectors == pytest.approx(phonons.solved.eigenvectors, abs=1e-15)


def brute_force(supercell, values, average_origins):
    """Every term of the supercell, image by image and origin by origin, added up in a table."""
    counts, images = supercell.images
    total = {}
    for i, second, third in np.ndindex(values.shape[:3]):
        legs = [supercell.origin_of[i], second, third]
        pairs = [(a, b) for a in range(counts[i, second]) for b in range(counts[i, third])]
        for a, b in pairs:
            places = np.array([np.zeros(3, dtype=int), images[i, second, a], images[i, third, b]])
            for origin in range(3 if average_origins else 1):
                swap = [0, 1, 2]
                swap[0], swap[origin] = swap[origin], swap[0]
                here = places[swap] - places[origin]
                key = (*supercell.atom_of[legs][swap], *here[1], *here[2])
                share = np.transpose(values[i, second, third], swap) / (len(pairs) * (3 if average_origins else 1))
                total[key] = total.get(key, 0.0) + share
    return {key: value for key, value in total.items() if np.abs(value).max() > 1e-13}


@pytest.mark.parametrize("average_origins", [True, False])
def test_values_on_demand_are_those_of_the_list_and_of_every_term_alone(average_origins):
    supercell = supercell_of(rocksalt(), (2, 1, 1))
    values = springs(supercell, 3)
    values[0, 1] = 0.0
    kept = Interactions.third(supercell, values, average_origins)
    lazy = SupercellInteractions.third(supercell, values, average_origins)
    expected = brute_force(supercell, values, average_origins)
    found = {(*atoms, *vectors.ravel()): value
             for atoms, vectors, value in zip(kept.atoms, kept.vectors, kept.values, strict=True)}
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(expected[key], abs=1e-15) for key in expected)
    order = np.random.default_rng(3).permutation(len(lazy.atoms))
    assert np.array_equal(lazy.elements_of(order), lazy.values.reshape(-1, 27)[order])
    assert np.array_equal(lazy.summed().values, kept.values)


def test_strengths_are_the_same_to_the_last_bit_from_a_list_and_on_demand():
    mesh = Mesh.create(rocksalt(), (3, 3, 3))
    supercell = supercell_of(mesh.crystal, (2, 2, 2))
    phonons, values = mesh_phonons(harmonic_of(mesh.crystal), mesh), springs(supercell, 3)
    made = [CubicStrength(mesh, phonons, third, make_backend("cpu", "mixed")).of(1, np.array([1, 4]), np.array([7, 22]))
            for third in (Interactions.third(supercell, values, dtype=np.float32),
                          SupercellInteractions.third(supercell, values, dtype=np.float32))]
    assert np.abs(made[0]).max() > 0.0
    assert np.array_equal(*made)


@pytest.mark.parametrize(("cell", "reduced"), [
    (np.diag([3.0, 1.0, 2.0]), True),
    (np.ones((3, 3)) - np.eye(3), True),
    (np.ones((3, 3)) - 2.0 * np.eye(3), True),
    (np.array([[1.0, 0, 0], [0.6, 1.0, 0], [0, 0, 1.0]]), False),
    (np.array([[1.0, 0, 0], [-0.45, 0.95, 0], [-0.45, -0.49, 0.6]]), False),
])
def test_bases_that_are_reduced_stay_as_they_are(cell, reduced):
    assert is_reduced(cell) == reduced
    found, operation = shortest_basis(cell)
    assert np.array_equal(found, cell) == reduced
    assert found == pytest.approx(operation @ cell, abs=1e-12)
    assert is_reduced(found)
    # no lattice vector beyond the multiples of shorter ones is shorter
    steps = np.array([step for step in np.ndindex(7, 7, 7)]) - 3
    lengths = np.linalg.norm(steps @ cell, axis=1)
    ascending = found[np.argsort(np.linalg.norm(found, axis=1))]
    for k in range(3):
        shorter = steps[(lengths < np.linalg.norm(ascending[k]) - 1e-9)] @ cell
        assert np.linalg.matrix_rank(np.concatenate([shorter, ascending[:k], np.zeros((1, 3))]), tol=1e-6) == k


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_freed_memory_between_memory_in_use_goes_back():
    if platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists():
        pytest.skip("glibc gives memory back, and /proc tells of it: not here")
    return_freed_memory()
    before = resident_bytes()
    blocks = [np.ones(8000) for _ in range(1000)]
    kept = blocks[::100]
    grown = resident_bytes() - before
    del blocks
    return_freed_memory()
    assert len(kept) == 10
    assert grown > 50e6
    assert resident_bytes() - before < 0.5 * grown
