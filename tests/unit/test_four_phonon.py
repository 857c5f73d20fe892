"""Four-phonon linewidths against plain sums, their invariants, and samples against sums over all processes."""

import itertools
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import sample_points
from sample_interactions import bond_interactions, random_interactions
from spring_crystal import diamond
from test_strength import random_crystal, random_second

from hpcthermo.config.lattice_dynamics import BteSection
from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics
from hpcthermo.phonons.modes import occupations
from hpcthermo.transport.bte.four_phonon import FourPhononRates
from hpcthermo.transport.bte.four_phonon_cost import FourPhononCost
from hpcthermo.transport.bte.four_phonon_tasks import all_processes, by_sample
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.quartic_strength import MOST_BYTES, QuarticSize, QuarticStrength, Workspace
from hpcthermo.transport.bte.smearing import fixed_gaussian
from hpcthermo.transport.bte.solution import solve
from hpcthermo.units import PLANCK_EV_PER_THZ

TEMPERATURES = np.array([60.0, 400.0])


def random_case(n, divisions, seed, terms=8):
    rng = np.random.default_rng(seed)
    crystal = random_crystal(n, rng)
    mesh = Mesh.create(crystal, divisions, symmetric=False)
    phonons = HarmonicCrystal(crystal, random_second(n, rng)).phonons(mesh.q)
    return mesh, phonons, random_interactions(n, rng, 4, count=terms, reach=2)


@pytest.fixture(scope="module")
def two_atoms():
    return random_case(2, (2, 2, 2), 3)


def strengths(mesh, phonons, fourth, *points):
    """|V|^2 of one process, bands 0, 1, 2, 3."""
    found = QuarticStrength(mesh, phonons, fourth)
    n_bands = mesh.crystal.n_bands
    work = Workspace()
    leg1 = found.leg1(found.leg0(points[0], slice(0, n_bands)), np.array([points[1]]), work)
    columns = found.legs23(found.steps(leg1, n_bands**2, work), np.array([0]), np.array([points[2]]),
                           np.array([points[3]]), work)
    return columns.reshape((n_bands,) * 4).transpose(3, 2, 0, 1)


def plain_strengths(mesh, phonons, fourth, *points):
    n, u = mesh.crystal.n_atoms, QuarticStrength(mesh, phonons, fourth).amplitudes
    phase = np.exp(2j * np.pi * sum(fourth.vectors[:, leg] @ mesh.q[points[leg + 1]] for leg in range(3)))
    sums = np.zeros((n,) * 4 + (3,) * 4, dtype=complex)
    np.add.at(sums, tuple(fourth.atoms.T), fourth.values * phase[:, None, None, None, None])
    sums = sums.transpose(0, 4, 1, 5, 2, 6, 3, 7).reshape((3 * n,) * 4)
    return np.abs(np.einsum("wxyz,wa,xb,yc,zd->abcd", sums, *(u[point] for point in points), optimize=True)) ** 2


def processes(mesh, point0):
    for one, two in itertools.product(range(mesh.n_points), repeat=2):
        yield point0, one, two, int(mesh.index(-mesh.addresses[[point0, one, two]].sum(axis=0)))


def test_strengths_are_plain_sums_in_any_order_of_the_legs(two_atoms):
    mesh, phonons, fourth = two_atoms
    for points in list(processes(mesh, 5))[3::13]:
        found = strengths(mesh, phonons, fourth, *points)
        assert np.abs(found - plain_strengths(mesh, phonons, fourth, *points)).max() < 1e-12 * found.max()
        for legs in ((1, 0, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)):
            other = strengths(mesh, phonons, fourth, *(points[leg] for leg in legs))
            assert np.abs(other - found.transpose(legs)).max() < 1e-12 * found.max()


def test_all_processes_are_the_plain_sum(two_atoms):
    mesh, phonons, fourth = two_atoms
    sigma = 8.0
    rates = FourPhononRates(mesh, phonons, fourth, TEMPERATURES,
                            fixed_gaussian(phonons.frequencies.shape, sigma, 3.0, modes=4))
    f = phonons.frequencies
    x = PLANCK_EV_PER_THZ * f / (8.617333262e-5 * TEMPERATURES[:, None, None])
    z = 0.5 / np.sinh(0.5 * x)
    index = 2
    point0 = int(rates.points[index])
    expected = np.zeros((3, 2, 6))
    for points in processes(mesh, point0):
        strength = plain_strengths(mesh, phonons, fourth, *points)
        grids = [f[p].reshape([-1 if leg == k else 1 for k in range(4)]) for leg, p in enumerate(points)]
        for signs in itertools.product((-1, 1), repeat=3):
            if sum(signs) < 3:
                off = grids[0] + sum(s * grid for s, grid in zip(signs, grids[1:], strict=True))
                height = 1.0 / (sigma * math.sqrt(2 * math.pi) * math.erf(3 / math.sqrt(2)))
                delta = height * np.exp(-0.5 * (off / sigma) ** 2)
                delta[np.abs(off) > 3.0 * sigma] = 0.0
                expected[(3 + sum(signs)) // 2] += np.einsum(
                    "abcd,tb,tc,td->ta", strength * delta, *(z[:, p] for p in points[1:]), optimize=True)
    expected *= np.pi / (6.0 * PLANCK_EV_PER_THZ**2 * mesh.n_points**2) / z[:, point0]
    found = rates.exact(index)
    assert (expected > 0.0).all()
    assert np.abs(found / expected - 1.0).max() < 1e-10


def test_prefactor_in_another_form_and_other_units(two_atoms):
    """1/tau = (hbar^2 pi / 48 N^2) |V|^2 / (w w1 w2 w3) z1 z2 z3 / z d(w) for f -> f1 + f2 + f3, in SI."""
    mesh, phonons, fourth = two_atoms
    rates = FourPhononRates(mesh, phonons, fourth, [300.0], fixed_gaussian(phonons.frequencies.shape, 1.0, modes=4))
    hbar, charge, mass = 1.054571817e-34, 1.602176634e-19, 1.66053906660e-27
    omega, sharp = 2.0 * np.pi * np.array([9.0, 2.0, 3.0, 4.0]), 0.1
    couplings = (charge / 1e-40 / mass**2) ** 2  # (1 eV A^-4 amu^-2)^2
    rate = (hbar**2 * np.pi / 48.0 / mesh.n_points**2 * couplings / np.prod(omega * 1e12)
            * sharp / (2.0 * np.pi * 1e12))  # a delta of 0.1 / THz
    # amplitudes as of `amplitudes`, in A amu^(1/2)
    strength = np.prod(hbar / (2.0 * omega * 1e12) / mass / 1e-20)
    assert 4.0 * np.pi * 1e12 * rates.prefactor * strength * sharp == pytest.approx(rate, rel=1e-8)


def test_occupations_where_energy_is_conserved():
    """The three brackets of the sunset diagram are z1 z2 z3 / z."""
    rng = np.random.default_rng(1)
    for signs in ((-1, -1, -1), (1, -1, -1), (1, 1, -1)):
        f = rng.uniform(1.0, 5.0, 3) + np.array([0.0, 0.0, 9.0])
        *n, n0 = occupations(np.append(f, -np.dot(signs, f)), np.array([250.0]))[0]
        assert n0 > 0.0
        n = np.array(n)
        there = np.prod([n[k] if s > 0 else n[k] + 1.0 for k, s in enumerate(signs)])
        back = np.prod([n[k] + 1.0 if s > 0 else n[k] for k, s in enumerate(signs)])
        z, z0 = np.sqrt(n * (n + 1.0)).prod(), np.sqrt(n0 * (n0 + 1.0))
        assert there - back == pytest.approx(z / z0, rel=1e-9)


@pytest.fixture(scope="module")
def diamond_case():
    problem = sample_points.four_phonons(diamond(), 5.43 * math.sqrt(3) / 4)
    assert np.sort(problem.phonons.frequencies.ravel())[3] > 0.1
    return problem.mesh, problem.phonons, problem.fourth, problem.gaussian


def test_no_choice_of_eigenvectors_matters(diamond_case):
    mesh, phonons, fourth, gaussian = diamond_case
    rng = np.random.default_rng(8)
    turned = phonons.eigenvectors.copy()
    for point, f in enumerate(phonons.frequencies):
        groups = np.split(np.arange(6), np.flatnonzero(np.diff(f) > 1e-4) + 1)
        for group in groups:
            mixing = np.linalg.qr(rng.normal(size=(len(group),) * 2) + 1j * rng.normal(size=(len(group),) * 2))[0]
            turned[point][:, group] = turned[point][:, group] @ mixing
    other = Phonons(phonons.q, phonons.frequencies, turned)
    one, two = (FourPhononRates(mesh, p, fourth, TEMPERATURES, gaussian) for p in (phonons, other))
    for index in range(len(one.points)):
        first, second = one.exact(index), two.exact(index)
        assert np.abs(first - second).max() < 1e-9 * first.max()
        assert np.abs(one.batches(index, 4, 5) - two.batches(index, 4, 5)).max() < 1e-9 * first.max()


def test_equivalent_points_have_equal_linewidths(diamond_case):
    mesh, phonons, fourth, gaussian = diamond_case
    low = Mesh.create(mesh.crystal, (3, 3, 3), symmetric=False)
    assert np.array_equal(low.q, mesh.q)
    rates = FourPhononRates(low, phonons, fourth, TEMPERATURES, gaussian)
    few = FourPhononRates(mesh, phonons, fourth, TEMPERATURES, gaussian)
    for place in (3, 9):
        index = int(np.searchsorted(few.points, mesh.representative[rates.points[place]]))
        expected = few.exact(index)
        assert np.abs(rates.exact(place) - expected).max() < 1e-9 * expected.max()


def test_anharmonic_atoms_without_neighbours_have_the_known_linewidth():
    """Energy k u^2 / 2 + g u^4 / 24 along each axis: gamma = (pi / 2 h^2) z^2 g^2 (hbar / 2 m w)^4 delta(0)."""
    crystal = Crystal(np.diag([3.0, 4.0, 5.0]), np.zeros((1, 3)), ("Ar",), np.array([40.0]))
    mesh = Mesh.create(crystal, (2, 3, 1))
    k, g, sigma, atom = 2.0, 5.0, 0.3, np.zeros((1, 4), dtype=int)
    second = Interactions(atom[:, :2], np.zeros((1, 1, 3), dtype=int), k * np.eye(3)[None])
    quartic = np.zeros((1, 3, 3, 3, 3))
    for axis in range(3):
        quartic[0, axis, axis, axis, axis] = g
    phonons = HarmonicCrystal(crystal, second).phonons(mesh.q)
    rates = FourPhononRates(mesh, phonons, Interactions(atom, np.zeros((1, 3, 3), dtype=int), quartic), TEMPERATURES,
                            fixed_gaussian(phonons.frequencies.shape, sigma, modes=4))
    charge, mass, planck, boltzmann = 1.602176634e-19, 40.0 * 1.66053906660e-27, 6.62607015e-34, 1.380649e-23
    omega = math.sqrt(k * charge * 1e20 / mass)
    energy = planck / (2.0 * math.pi) * omega
    square = energy / (2.0 * mass * omega**2) * 1e20  # A^2
    z = 0.5 / np.sinh(energy / (2.0 * boltzmann * TEMPERATURES))
    h = planck * 1e12 / charge
    expected = math.pi / (2.0 * h**2) * z**2 * g**2 * square**4 / (sigma * math.sqrt(2.0 * math.pi))
    for index in range(len(rates.points)):
        split, redistribute, combine = rates.exact(index)
        assert np.abs(redistribute / expected[:, None] - 1.0).max() < 1e-8
        assert not split.any()
        assert not combine.any()


def test_all_legs_play_the_same_part(diamond_case):
    """A decay into three, seen from its products, is what absorbs two; their energies are that of the one."""
    mesh, phonons, fourth, gaussian = diamond_case
    points, weights = mesh.irreducible
    rates = FourPhononRates(mesh, phonons, fourth, TEMPERATURES, gaussian)
    split, _, combine = np.array([rates.exact(i) for i in range(len(points))]).transpose(1, 0, 2, 3)
    f = rates.frequencies[points]
    n = occupations(f, TEMPERATURES).transpose(1, 0, 2)
    rate = weights[:, None, None] * n * (n + 1.0)
    assert np.allclose((rate * combine).sum(axis=(0, 2)), 3.0 * (rate * split).sum(axis=(0, 2)), rtol=1e-10)
    energy = rate * f[:, None]
    # 0.2 THz wide, of some 20 THz
    assert np.allclose((energy * combine).sum(axis=(0, 2)), (energy * split).sum(axis=(0, 2)), rtol=5e-3)


def test_memory_of_a_thread_is_bounded():
    mesh, phonons, fourth = random_case(3, (3, 3, 1), 4, terms=20)
    rates = FourPhononRates(mesh, phonons, fourth, TEMPERATURES,
                            fixed_gaussian(phonons.frequencies.shape, 1.0, 4.0, modes=4))
    size = rates.strength.size
    assert QuarticSize.of_interactions(9, fourth) == size
    assert size.thread_bytes(8) < 13 * MOST_BYTES
    tracemalloc.start()
    rates.batches(1, 0, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.3 * size.thread_bytes(4) < peak < 1.2 * size.thread_bytes(8)


def test_four_phonons_cost_what_was_measured():
    """Silicon, 11 x 11 x 11: 0.1 ms of a core for each pair of wave vectors, 14 MiB in each thread."""
    crystal = diamond()
    mesh = Mesh.create(crystal, (11, 11, 11))
    sample = FourPhononCost(mesh, QuarticSize(6, 26, 10, 7), 2, False, 1_000_000)
    assert sample.pairs_of_point == (768.0, 1_000_000.0)
    assert 1.0 < sample.core_seconds < 5.0
    assert sample.thread_bytes < 13 * MOST_BYTES
    every = replace(sample, all_processes=True)
    assert every.core_seconds > 100.0 * sample.core_seconds
    # 28 atoms: a quadrillion operations
    large = replace(sample, size=QuarticSize(84, 4000, 400, 25))
    assert large.core_seconds > 1e5 * sample.core_seconds
    assert large.thread_bytes < 13 * 16.0 * 84**2 * 8 * 25


def test_linewidths_grow_with_the_square_of_temperature(diamond_case):
    mesh, phonons, fourth, gaussian = diamond_case
    rates = FourPhononRates(mesh, phonons, fourth, [2e4, 4e4], gaussian)
    gamma = rates.exact(len(rates.points) - 1).sum(axis=0)
    assert gamma.min() > 0.0
    assert np.abs(gamma[1] / gamma[0] - 4.0).max() < 0.01


def test_samples_scatter_about_the_sum_as_they_say():
    """Of a crystal whose points differ: a low temperature, at which few modes take part."""
    mesh, phonons, fourth = random_case(1, (4, 3, 5), 21, terms=3)
    gaussian = fixed_gaussian(phonons.frequencies.shape, 0.4, 4.0, modes=4)
    pulls, exact = [], {}
    for seed in range(9):
        rates = FourPhononRates(mesh, phonons, fourth, [5.0, 60.0], gaussian, seed=seed)
        assert np.ptp(rates._probability) > 0.4 / mesh.n_points
        index = 1 + seed % 3
        exact.setdefault(index, rates.exact(index).sum(axis=0))
        batches = rates.batches(index, 0, 32).sum(axis=1)
        error = batches.std(axis=0, ddof=1) / math.sqrt(32)
        assert (error < 0.4 * exact[index]).all()
        pulls.append((batches.mean(axis=0) - exact[index]) / error)
    chi2 = np.mean(np.square(pulls))
    # 54 pulls, those of one point correlated: 9 to 18 of them count
    assert 0.4 < chi2 < 2.0
    assert abs(np.mean(pulls)) < 0.9


def test_points_are_drawn_by_what_one_of_them_contributes():
    """However many are equivalent to it: a mesh that knows only time reversal draws the same."""
    length = 5.43 * math.sqrt(3) / 4
    problem = sample_points.four_phonons(diamond(), length, (7, 7, 7))
    mesh, p = problem.mesh, problem.rates._probability
    stars = mesh.irreducible[1]
    assert stars.min() == 1
    assert stars.max() == 48
    low = Mesh.create(mesh.crystal, (7, 7, 7), symmetric=False)
    other = FourPhononRates(low, problem.phonons, problem.fourth, TEMPERATURES, problem.gaussian)
    assert p == pytest.approx(other._probability, rel=1e-6)
    assert p.sum() == pytest.approx(1.0)
    assert (p * mesh.n_points).min() > 0.19  # a fifth is drawn without regard to weights


def test_samples_of_stars_of_all_sizes_scatter_about_the_sum():
    problem = sample_points.four_phonons()
    rates, exact = problem.rates, all_processes(problem).gamma
    assert np.ptp(problem.mesh.irreducible[1]) >= 7
    for index, expected in enumerate(exact):
        batches = rates.batches(index, 0, 100).sum(axis=1)
        error = batches.std(axis=0, ddof=1) / 10.0
        assert (np.abs(batches.mean(axis=0) - expected) <= 4.0 * error + 1e-12 * expected).all()
        assert (error <= 0.2 * expected).all()


def test_sampling_ends_at_the_target():
    problem = sample_points.four_phonons()
    found = sample_points.sampled(problem)
    assert found.reached
    assert found.relative_error <= sample_points.TARGET
    assert np.allclose(found.channels.sum(axis=0), found.gamma)
    exact = all_processes(problem)
    assert np.array_equal(exact.errors, np.zeros_like(exact.gamma))
    assert np.allclose(exact.channels.sum(axis=0), exact.gamma)
    conductivity = sample_points.conductivity_beside(problem)
    kappa, expected = (np.trace(conductivity(x.gamma)[0].kappa, axis1=1, axis2=2) for x in (found, exact))
    assert np.abs(kappa / expected - 1.0).max() < 4.0 * sample_points.TARGET
    few = by_sample(problem, conductivity, 1e-9, most_samples=1)
    assert not few.reached
    assert few.relative_error > 1e-9


def test_a_job_has_them_beside_the_others(diamond_case):
    """From force constants to conductivity, in both approximations."""
    mesh, _, fourth, _ = diamond_case
    crystal, length = mesh.crystal, 5.43 * math.sqrt(3) / 4
    second = bond_interactions(crystal, length, lambda e: 8.0 * np.outer(e, e) + 0.5 * np.eye(3))
    third = bond_interactions(crystal, length, lambda e: -30.0 * np.einsum("a,b,c->abc", e, e, e))
    dynamics = LatticeDynamics(crystal, {2: second, 3: third, 4: fourth})
    base = {"mesh": (3, 3, 3), "temperatures_K": (500.0, 1000.0), "method": "lbte", "delta": "gaussian",
            "sigma_THz": 0.3}
    table = {"target_error_percent": 0.3, "delta": "gaussian", "sigma_THz": 0.2}
    without = solve(dynamics, BteSection(**base))
    sample, every = (solve(dynamics, BteSection(**base, four_phonon=table | more), seed=3)
                     for more in ({}, {"all_processes": True}))
    three, few, most = (x.relaxation_time.kappa[0, 0, 0] for x in (without, sample, every))
    assert most < 0.95 * three
    ratio = every.relaxation_time.kappa[:, 0, 0] / without.relaxation_time.kappa[:, 0, 0]
    assert 1.0 / ratio[1] - 1.0 > 1.4 * (1.0 / ratio[0] - 1.0)  # of four phonons as T^2, of three as T, of isotopes not
    error = sample.four_phonon.kappa_error[0, 0, 0]
    assert 0.0 < error < 0.006 * few
    assert abs(few - most) < 4.0 * error
    assert sample.without_four_phonon[0, 0, 0] == pytest.approx(three, rel=1e-12)
    assert every.full.kappa[0, 0, 0] < 0.95 * without.full.kappa[0, 0, 0]
    assert np.allclose(every.total_linewidths, without.total_linewidths + every.linewidths["four_phonon"])


def test_third_order_in_their_place_is_refused(two_atoms):
    mesh, phonons, _ = two_atoms
    third = random_interactions(2, np.random.default_rng(1), 3, count=3)
    with pytest.raises(InputError, match="got 3"):
        QuarticStrength(mesh, phonons, third)
