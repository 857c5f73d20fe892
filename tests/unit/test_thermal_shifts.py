"""Loop and tadpole shifts against sums over modes, a changed crystal and an oscillator solved exactly."""

import numpy as np
import pytest
from sample_interactions import random_interactions
from test_strength import random_crystal, random_second

from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import FREQUENCY_THZ, HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import occupations
from hpcthermo.phonons.thermal_shifts import (
    frequency_changes,
    loop_springs,
    mean_displacements,
    tadpole_springs,
    thermal_covariance,
)
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.strength import amplitudes
from hpcthermo.units import BOLTZMANN_EV_PER_K, PLANCK_EV_PER_THZ, REDUCED_PLANCK

TEMPERATURE = 250.0


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(11)
    crystal = random_crystal(2, rng)
    mesh = Mesh.create(crystal, (2, 3, 2), symmetric=False)
    harmonic = HarmonicCrystal(crystal, random_second(2, rng))
    return crystal, mesh, harmonic, harmonic.phonons(mesh.q), rng


def in_modes(interactions, q):
    """sum Phi exp(2 pi i q . R) with all legs in (atom, axis), for wave vectors of the second and further legs."""
    phase = np.exp(2j * np.pi * sum(interactions.vectors[:, leg] @ q[leg] for leg in range(len(q))))
    order = interactions.order
    sums = np.zeros((2,) * order + (3,) * order, dtype=complex)
    np.add.at(sums, tuple(interactions.atoms.T), interactions.values * phase.reshape((-1,) + (1,) * order))
    return sums.transpose([x for leg in range(order) for x in (leg, order + leg)]).reshape((6,) * order)


def test_loop_is_the_sum_over_pairs_of_modes(case):
    crystal, mesh, _, phonons, rng = case
    fourth = random_interactions(2, rng, 4, count=15, reach=2)
    shifts = frequency_changes(crystal, phonons, loop_springs(crystal, phonons, fourth, TEMPERATURE))
    u = amplitudes(mesh, phonons)
    n = occupations(phonons.frequencies, np.array([TEMPERATURE]))[0]
    for one in (0, 4, 11):
        total = 0.0
        for two in range(mesh.n_points):
            v = in_modes(fourth, (-mesh.q[one], mesh.q[two], -mesh.q[two]))
            pairs = np.einsum("abcd,as,bs,ct,dt->st", v, u[one], u[one].conj(), u[two], u[two].conj(), optimize=True)
            total = total + pairs.real @ (2.0 * n[two] + 1.0)
        expected = total / (2.0 * PLANCK_EV_PER_THZ * mesh.n_points)
        assert np.abs(shifts[one] - expected).max() < 1e-11 * np.abs(expected).max()


def test_loop_is_the_slope_of_frequencies(case):
    crystal, mesh, harmonic, phonons, rng = case
    springs = loop_springs(crystal, phonons, random_interactions(2, rng, 4, count=15, reach=2), TEMPERATURE)
    shifts = frequency_changes(crystal, phonons, springs)
    step = 1e-4 / np.abs(shifts).max()

    def changed(factor):
        more = Interactions.merged(*(np.concatenate([getattr(harmonic.second, name), values]) for name, values in (
            ("atoms", springs.atoms), ("vectors", springs.vectors), ("values", factor * springs.values))))
        return HarmonicCrystal(crystal, more).phonons(mesh.q).frequencies

    slope = (8.0 * (changed(step) - changed(-step)) - (changed(2 * step) - changed(-2 * step))) / (12.0 * step)
    assert np.abs(slope - shifts).max() < 1e-9 * np.abs(shifts).max()


def test_tadpole_is_the_sum_over_optical_modes_at_gamma(case):
    crystal, mesh, harmonic, phonons, rng = case
    harmonic = _with_translations_at_rest(harmonic)
    at_gamma = harmonic.phonons(np.zeros((1, 3)))
    optical = np.argsort(np.abs(at_gamma.frequencies[0]))[3:]
    assert np.abs(np.delete(at_gamma.frequencies[0], optical)).max() < 1e-4
    third = random_interactions(2, rng, 3, count=15, reach=2)
    shifts = frequency_changes(crystal, phonons, tadpole_springs(harmonic, phonons, third, TEMPERATURE))
    u = amplitudes(mesh, phonons)
    n = occupations(phonons.frequencies, np.array([TEMPERATURE]))[0]
    e, f = at_gamma.eigenvectors[0].real, at_gamma.frequencies[0]
    assert np.abs(at_gamma.eigenvectors.imag).max() < 1e-12
    root = np.sqrt(np.repeat(crystal.masses, 3))
    means = np.zeros(6)
    for two in range(mesh.n_points):
        v = in_modes(third, (mesh.q[two], -mesh.q[two]))
        means += np.einsum("sbc,bt,ct,t->s", v, u[two], u[two].conj(), 2.0 * n[two] + 1.0, optimize=True).real
    means /= mesh.n_points
    for one in (0, 7):
        v = in_modes(third, (-mesh.q[one], np.zeros(3)))
        # - sum_s Phi3(l,-l,s) Phi3(s,l',-l') (2 n' + 1) / hbar w_s with the amplitudes of s written out
        couplings = np.einsum("abc,al,bl->lc", v, u[one], u[one].conj()).real
        stiffness = np.sign(f) * (f / FREQUENCY_THZ) ** 2
        along = e[:, optical] / root[:, None]
        expected = -0.5 * couplings @ along @ ((along.T @ means) / stiffness[optical]) / PLANCK_EV_PER_THZ
        assert np.abs(shifts[one] - expected).max() < 1e-9 * np.abs(expected).max()


def _with_translations_at_rest(harmonic):
    """The crystal with Phi2(q = 0) projected on motions of the atoms against each other."""
    crystal, second = harmonic.crystal, harmonic.second
    root = np.sqrt(np.repeat(crystal.masses, 3))
    matrix = harmonic.dynamical_matrices(np.zeros((1, 3)))[0].real
    translations = np.linalg.qr(np.tile(np.eye(3), (2, 1)) * root[:, None])[0]
    rest = np.eye(6) - translations @ translations.T
    change = (rest @ matrix @ rest - matrix) * np.outer(root, root)
    atoms = np.array([[i, j] for i in range(2) for j in range(2)])
    blocks = np.array([change[3 * i:3 * i + 3, 3 * j:3 * j + 3] for i, j in atoms])
    return HarmonicCrystal(crystal, Interactions.merged(
        np.concatenate([second.atoms, atoms]), np.concatenate([second.vectors, np.zeros((4, 1, 3), dtype=int)]),
        np.concatenate([second.values, blocks])))


def test_motion_is_classical_when_hot(case):
    """<u u> = k T times the inverse of Phi2, on the mesh."""
    crystal, mesh, harmonic, phonons, _ = case
    hot = 30_000.0
    atoms = np.array([[i, j] for i in range(2) for j in range(2)])
    found = thermal_covariance(crystal, phonons, hot, atoms, np.zeros((4, 3), dtype=int))
    root = np.sqrt(np.repeat(crystal.masses, 3))
    inverse = np.linalg.inv(harmonic.dynamical_matrices(mesh.q)).mean(axis=0).real / np.outer(root, root)
    classical = BOLTZMANN_EV_PER_K * hot * inverse.reshape(2, 3, 2, 3).transpose(0, 2, 1, 3).reshape(4, 3, 3)
    assert np.abs(found - classical).max() < 1e-3 * np.abs(classical).max()
    twice = thermal_covariance(crystal, phonons, 2 * hot, atoms, np.zeros((4, 3), dtype=int))
    assert np.abs(twice / found - 2.0).max() < 0.01


def oscillator(third, fourth):
    """Two atoms bound to each other: w^2/2 x^2 + third/6 x^3 + fourth/24 x^4 along x, stiffer along y and z."""
    crystal = Crystal(4.0 * np.eye(3), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), ("A", "B"), np.array([3.0, 6.0]))
    tensors = {2: np.diag([0.8, 3.0, 5.0]), 3: np.zeros((3, 3, 3)), 4: np.zeros((3, 3, 3, 3))}
    tensors[3][0, 0, 0], tensors[4][0, 0, 0, 0] = third, fourth
    made = []
    for order, tensor in tensors.items():
        atoms = np.array(np.meshgrid(*[[0, 1]] * order, indexing="ij")).reshape(order, -1).T
        values = (-1.0) ** atoms.sum(axis=1).reshape((-1,) + (1,) * order) * tensor
        made.append(Interactions(atoms, np.zeros((len(atoms), order - 1, 3), dtype=int), values))
    return HarmonicCrystal(crystal, made[0]), made[1], made[2]


def test_oscillator_in_second_order():
    """Bubble -1/12, tadpole -1/8 of g3^2 hbar/w^4, loop g4 hbar/8 w^2 (mass-weighted): together the exact levels."""
    cubic, quartic, mass = 0.05, 0.01, 2.0
    harmonic, third, fourth = oscillator(cubic, quartic)
    phonons = harmonic.phonons(np.zeros((1, 3)))
    band = 3
    omega = np.sqrt(0.8 / mass)
    assert phonons.frequencies[0, band] == pytest.approx(omega * FREQUENCY_THZ, rel=1e-12)
    loop = frequency_changes(harmonic.crystal, phonons, loop_springs(harmonic.crystal, phonons, fourth, 0.0))[0, band]
    tadpole = frequency_changes(harmonic.crystal, phonons, tadpole_springs(harmonic, phonons, third, 0.0))[0, band]
    g3, g4 = cubic / mass**1.5, quartic / mass**2
    unit = g3**2 * REDUCED_PLANCK / omega**4
    assert loop / FREQUENCY_THZ == pytest.approx(g4 * REDUCED_PLANCK / (8.0 * omega**2), rel=1e-9)
    assert tadpole / FREQUENCY_THZ == pytest.approx(-unit / 8.0, rel=1e-9)
    # x goes where the cubic term lets it
    apart = -np.diff(mean_displacements(harmonic, phonons, third, 0.0)[:, 0])[0]
    assert apart * np.sqrt(mass) == pytest.approx(-g3 * REDUCED_PLANCK / (4.0 * omega**3), rel=1e-9)
    # levels in a basis of 60 harmonic states, the anharmonic terms scaled to second order
    lower = np.diag(np.sqrt(np.arange(1.0, 60.0)), 1)
    x = np.sqrt(REDUCED_PLANCK / (2.0 * omega)) * (lower + lower.T)
    small = 1e-2
    anharmonic = small * g3 / 6.0 * x @ x @ x + small**2 * g4 / 24.0 * x @ x @ x @ x
    levels = np.linalg.eigvalsh(np.diag(REDUCED_PLANCK * omega * np.arange(60.0)) + anharmonic)
    exact = ((levels[1] - levels[0]) / REDUCED_PLANCK - omega) / small**2
    assert (loop + tadpole) / FREQUENCY_THZ - unit / 12.0 == pytest.approx(exact, rel=1e-4)
