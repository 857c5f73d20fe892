"""Interaction strengths against plain Fourier sums in NumPy, and their invariants."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sample_interactions import random_interactions
from spring_crystal import diamond, springs, supercell_of

from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte import strength
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.strength import CubicStrength, amplitudes, group_sizes

#: rows of a mesh that no cell of this form has the symmetry of, but time reversal has
SKEW = np.array([[2, 1, 0], [-1, 3, 1], [0, 1, 2]])


def random_crystal(n, rng):
    cell = 3.0 * np.eye(3) + rng.uniform(-0.6, 0.6, (3, 3))
    return Crystal(cell, rng.uniform(0.0, 1.0, (n, 3)), tuple("X" for _ in range(n)), rng.uniform(10.0, 60.0, n))


def random_second(n, rng):
    """Positive definite, of reach one, with Phi(0i, Rj) = Phi(0j, -Ri)^T."""
    vectors = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    values = {}
    for r, i, j in itertools.product(map(tuple, vectors), range(n), range(n)):
        back = (tuple(-x for x in r), j, i)
        values[r, i, j] = values[back].T if back in values else rng.normal(size=(3, 3)) * 0.1
    for i in range(n):
        own = values[(0, 0, 0), i, i]
        values[(0, 0, 0), i, i] = own + own.T + 12.0 * np.sqrt(n) * np.eye(3)
    keys = list(values)
    return Interactions(np.array([[i, j] for _, i, j in keys]), np.array([[r] for r, _, _ in keys]),
                        np.array([values[key] for key in keys]))


def random_third(n, rng, count=60, reach=3):
    return random_interactions(n, rng, 3, count, reach)


def plain_strength(mesh, phonons, third, point0, point1, point2):
    """The first equation of the module, term by term."""
    scaled, n, n_bands = amplitudes(mesh, phonons), mesh.crystal.n_atoms, mesh.crystal.n_bands
    result = []
    for one, two in zip(point1, point2, strict=True):
        phase = np.exp(2j * np.pi * (third.vectors[:, 0] @ mesh.q[one] + third.vectors[:, 1] @ mesh.q[two]))
        sums = np.zeros((n, n, n, 3, 3, 3), dtype=complex)
        np.add.at(sums, tuple(third.atoms.T), third.values * phase[:, None, None, None])
        sums = sums.transpose(0, 3, 1, 4, 2, 5).reshape(n_bands, n_bands, n_bands)
        legs = (scaled[point] for point in (point0, one, two))
        square = np.abs(np.einsum("xyz,xa,yb,zc->abc", sums, *legs, optimize=True))**2
        for leg, point in enumerate((point0, one, two)):
            along = np.moveaxis(square, leg, 0)
            for band, size in enumerate(group_sizes(phonons.frequencies[point][None])[0]):
                along[band:band + size] = along[band:band + size].mean(axis=0)
        result.append(square)
    return np.array(result)


def third_points(mesh, point0, point1):
    return mesh.index(-mesh.addresses[point0] - mesh.addresses[point1])


@pytest.fixture(scope="module", params=[1, 3, 8], ids=lambda n: f"{n} atoms")
def random_case(request):
    rng = np.random.default_rng(request.param)
    crystal = random_crystal(request.param, rng)
    mesh = Mesh.create(crystal, SKEW if request.param == 3 else (3, 4, 5), symmetric=False)
    phonons = HarmonicCrystal(crystal, random_second(request.param, rng)).phonons(mesh.q)
    assert phonons.frequencies.min() > 0.1
    return mesh, phonons, random_third(request.param, rng), rng


def assert_close(got, expected, tolerance=1e-11):
    assert np.abs(got - expected).max() < tolerance * expected.max()


def test_equals_the_plain_sum(random_case):
    mesh, phonons, third, rng = random_case
    device = make_backend("cpu", "double")
    cubic = CubicStrength(mesh, phonons, third, device)
    for point0 in (0, 5, mesh.n_points - 1):
        point1 = rng.permutation(mesh.n_points)[:9]
        point2 = third_points(mesh, point0, point1)
        expected = plain_strength(mesh, phonons, third, point0, point1, point2)
        assert_close(cubic.of(point0, point1, point2), expected)


def test_matrix_products_equal_the_kernel(random_case, monkeypatch):
    mesh, phonons, third, rng = random_case
    cubic = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    point1 = rng.permutation(mesh.n_points)[:9]
    legs = (3, point1, third_points(mesh, 3, point1))
    results = []
    for first in (1000, 3):
        monkeypatch.setattr(strength, "PRODUCTS_FROM", first)
        results.append(cubic.of(*legs))
    assert not np.array_equal(*results)  # another order of sums
    assert_close(results[1], results[0], 1e-13)
    # little memory: few leading bands, lines and points at once
    monkeypatch.setattr(strength, "_STAGE_BYTES", {"cpu": 3000})
    monkeypatch.setattr(strength, "_PRODUCT_BYTES", {"cpu": 3000})
    assert_close(cubic.of(*legs), results[0], 1e-13)


def test_any_leg_may_come_first(random_case):
    mesh, phonons, third, _ = random_case
    cubic = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    points = np.array([4, 11, 0])
    points[2] = third_points(mesh, points[0], points[1])
    first = cubic.of(points[0], points[[1]], points[[2]])[0]
    for legs in itertools.permutations(range(3)):
        zero, one, two = points[list(legs)]
        assert_close(cubic.of(zero, np.array([one]), np.array([two]))[0], first.transpose(legs))


def test_time_reversal(random_case):
    mesh, phonons, third, rng = random_case
    cubic = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    point1 = rng.permutation(mesh.n_points)[:7]
    opposite = mesh.index(-mesh.addresses)
    there = cubic.of(2, point1, third_points(mesh, 2, point1))
    back = cubic.of(int(opposite[2]), opposite[point1], opposite[third_points(mesh, 2, point1)])
    assert_close(back, there)


@pytest.fixture(scope="module")
def diamond_case():
    supercell = supercell_of(diamond(), (2, 2, 2))
    second = Interactions.second(supercell, springs(supercell, 2))
    third = Interactions.third(supercell, springs(supercell, 3))
    mesh = Mesh.create(supercell.crystal, (4, 4, 4))
    return mesh, HarmonicCrystal(supercell.crystal, second).phonons(mesh.q), third


def test_rotations_of_the_crystal(diamond_case):
    mesh, phonons, third = diamond_case
    cubic = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    point1 = np.array([9, 22, 40])
    point2 = third_points(mesh, 5, point1)
    first = cubic.of(5, point1, point2)
    assert first.max() > 0
    for turned in mesh.permutations[::5]:
        assert_close(cubic.of(int(turned[5]), turned[point1], turned[point2]), first, 1e-8)


def test_eigenvectors_within_group_sizes_do_not_matter(diamond_case):
    mesh, phonons, third = diamond_case
    rng = np.random.default_rng(3)
    groups = group_sizes(phonons.frequencies)
    assert {2, 3} <= set(groups.ravel())
    mixed = phonons.eigenvectors.copy()
    for point, band in zip(*np.nonzero(groups), strict=True):
        size = groups[point, band]
        unitary = np.linalg.qr(rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size)))[0]
        mixed[point, :, band:band + size] = mixed[point, :, band:band + size] @ unitary
    point1 = np.arange(mesh.n_points)
    device = make_backend("cpu", "double")
    for point0 in (0, 1, 2, 21):
        legs = (point0, point1, third_points(mesh, point0, point1))
        expected = CubicStrength(mesh, phonons, third, device).of(*legs)
        got = CubicStrength(mesh, Phonons(phonons.q, phonons.frequencies, mixed), third, device).of(*legs)
        assert_close(got, expected, 1e-10)


def test_modes_below_the_cutoff_take_no_part(diamond_case):
    mesh, phonons, third = diamond_case
    cubic = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    strengths = cubic.of(0, np.array([5]), third_points(mesh, 0, np.array([5])))
    acoustic = phonons.frequencies[0] <= strength.CUTOFF_FREQUENCY_THZ
    assert acoustic.sum() == 3
    assert not strengths[0, acoustic].any()
    assert strengths[0, ~acoustic].any()


def test_threads_do_not_disturb_each_other(random_case):
    mesh, phonons, third, _ = random_case
    cubic = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    point1 = np.arange(mesh.n_points)
    alone = [cubic.of(p, point1, third_points(mesh, p, point1)) for p in range(8)]

    def work(points):
        cubic.prepare(points)
        return [cubic.of(p, point1, third_points(mesh, p, point1)) for p in points]

    with ThreadPoolExecutor(4) as pool:
        together = [x for part in pool.map(work, [range(k, k + 2) for k in range(0, 8, 2)]) for x in part]
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_out_is_written_to_and_points_may_repeat(random_case):
    mesh, phonons, third, _ = random_case
    cubic = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    point1 = np.array([6, 2, 6])
    out = np.full((3, *3 * (mesh.crystal.n_bands,)), np.nan)
    assert cubic.of(1, point1, third_points(mesh, 1, point1), out) is out
    assert np.array_equal(out[0], out[2])
    assert np.array_equal(out[1], cubic.of(1, point1[[1]], third_points(mesh, 1, point1[[1]]))[0])
