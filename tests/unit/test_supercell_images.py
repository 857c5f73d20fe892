"""Shortest images in a supercell, however its cell and the places of its atoms are written."""

from dataclasses import replace

import numpy as np
import pytest
from spring_crystal import diamond, rocksalt, springs, supercell_of

from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions, row_codes
from hpcthermo.phonons.nonanalytic import NonAnalytic
from hpcthermo.phonons.supercells import build_supercell


def image_sets(supercell):
    counts, vectors = supercell.images
    return [[{tuple(v) for v in vectors[i, j, :counts[i, j]]} for j in range(supercell.n_atoms)]
            for i in range(supercell.crystal.n_atoms)]


@pytest.mark.parametrize(("change", "jumps"), [
    (np.eye(3, dtype=int), {3: (3, 0, -2), 9: (-4, 1, 0)}),
    (np.array([[1, 0, 0], [6, 1, 0], [3, -5, 1]]), {}),
    (np.array([[1, 0, 0], [6, 1, 0], [3, -5, 1]]), {0: (0, 7, 0), 5: (1, 0, -9)}),
    (np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]), {}),
], ids=["atoms outside", "skew cell", "both", "left-handed"])
def test_images_depend_on_the_lattice_alone(change, jumps):
    given = supercell_of(diamond(), [2, 2, 2])
    cell = change @ given.cell
    positions = given.positions @ np.linalg.inv(change)
    positions -= np.floor(positions + 1e-9)
    for atom, jump in jumps.items():
        positions[atom] += jump
    symbols = ["Si"] * given.n_atoms
    written = Supercell.match(given.crystal, cell, positions, symbols, given.origin_of)
    assert image_sets(written) == image_sets(given)


def test_images_are_the_shortest_vectors():
    supercell = supercell_of(diamond(), [2, 3, 1])
    crystal = supercell.crystal
    counts, vectors = supercell.images
    steps = np.array(list(np.ndindex(9, 9, 9))) - 4
    for i, j in np.ndindex(counts.shape):
        offset = crystal.positions[supercell.atom_of[j]] - crystal.positions[i]
        lengths = np.linalg.norm((vectors[i, j, 0] + steps * (2, 3, 1) + offset) @ crystal.cell, axis=1)
        ours = np.linalg.norm((vectors[i, j, :counts[i, j]] + offset) @ crystal.cell, axis=1)
        assert ours == pytest.approx(lengths.min(), abs=1e-9)
        assert (lengths < lengths.min() + 1e-6).sum() == counts[i, j]


def test_a_left_handed_matrix_spans_the_same_supercell():
    crystal = diamond()
    left, right = (build_supercell(crystal, np.diag([2, sign * 2, 2])) for sign in (-1, 1))
    assert left.n_atoms == right.n_atoms == 16
    assert abs(np.linalg.det(left.cell)) == pytest.approx(8 * crystal.volume)
    assert image_sets(left)[0][left.origin_of[1]] == image_sets(right)[0][right.origin_of[1]]


def test_codes_of_rows_beyond_64_bits():
    rows = np.random.default_rng(0).integers(-2**20, 2**20, (50, 5))
    rows = np.concatenate([rows, rows[:10]])
    codes = row_codes(rows)
    assert (codes[:10] == codes[50:]).all()
    assert len(np.unique(codes)) == 50
    assert (np.argsort(codes[:50]) == np.lexsort(rows[:50].T[::-1])).all()


def test_dipoles_do_not_depend_on_the_choice_of_lattice_vectors():
    """The sum over reciprocal lattice vectors is cut off about the first Brillouin zone, in skew cells too."""
    given, skew = rocksalt(), np.array([[1, 0, 0], [3, 1, 0], [-2, 4, 1]])
    cube = 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    response = DielectricResponse(np.array([1.0, -1.0])[:, None, None] * np.eye(3), 2.4 * np.eye(3))
    q = np.random.default_rng(0).random((10, 3)) - 0.5
    found = []
    for change in (np.eye(3, dtype=int), skew):
        crystal = replace(given, cell=change @ given.cell, positions=given.positions @ np.linalg.inv(change))
        supercell = build_supercell(crystal, np.rint(cube @ np.linalg.inv(change)).astype(int))
        second = Interactions.second(supercell, 3.0 * springs(supercell, 2))
        harmonic = HarmonicCrystal(crystal, second, NonAnalytic(response, supercell))
        found.append(harmonic.phonons(q @ change.T).frequencies)
    assert found[1] == pytest.approx(found[0], abs=1e-5)
