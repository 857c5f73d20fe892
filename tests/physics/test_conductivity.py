"""Conductivity from linewidths: heat capacities, isotopes, boundaries, spectra, coherences, checks."""

from types import SimpleNamespace

import numpy as np
import pytest
from phono3py_oracle import lattice, phono3py_answers

from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.modes import degenerate_mean, heat_capacities
from hpcthermo.phonons.velocities import group_velocities, little_group_average, velocity_matrices
from hpcthermo.transport.bte.boundary import boundary_linewidths
from hpcthermo.transport.bte.conductivity import Conductivity, Thickness, require_sound, small_grain_limit
from hpcthermo.transport.bte.isotopes import isotope_linewidths, natural_mass_variances
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.surfaces import surface_integrals, tetrahedron_sums
from hpcthermo.transport.bte.wigner import coherences
from hpcthermo.units import BOLTZMANN_EV_PER_K

TEMPERATURES = [200.0, 300.0, 400.0]
#: phono3py's constants differ by less than 5e-7
CONSTANTS = 3e-6


@pytest.fixture(scope="module")
def silicon():
    common = {"mesh": [4, 4, 4], "temperatures": TEMPERATURES}
    answers = phono3py_answers(
        "si", plain=common, isotopes={**common, "is_isotope": True},
        gaussian={**common, "is_isotope": True, "sigma": 0.1}, walls={**common, "boundary_mfp": 1.0},
        smm19={**common, "transport_type": "SMM19"}, njc23={**common, "transport_type": "NJC23"})
    found = lattice(answers.inputs)
    mesh = Mesh.create(found.crystal, (4, 4, 4))
    phonons = found.harmonic.phonons(mesh.q)
    points = mesh.irreducible[0]
    there = phonons.at(points)
    velocities = little_group_average(mesh.crystal, there.q, group_velocities(found.harmonic, there), mesh.rotations,
                                      mesh.cartesian_rotations)
    np.testing.assert_allclose(there.q, answers.plain.q % 1.0, atol=1e-12)
    return SimpleNamespace(answers=answers, mesh=mesh, phonons=phonons, frequencies=there.frequencies,
                           velocities=velocities,
                           matrices=velocity_matrices(found.harmonic, there), crystal=found.crystal,
                           gamma=answers.plain.gamma[0].transpose(1, 0, 2))


def conductivity(silicon, gamma):
    return Conductivity.relaxation_time(silicon.mesh, silicon.frequencies, silicon.velocities, gamma, TEMPERATURES)


def test_heat_capacities_tend_to_k_and_to_zero():
    capacities = heat_capacities(np.array([0.0, 1.0, 15.0]), np.array([1e-2, 300.0, 1e6])) / BOLTZMANN_EV_PER_K
    assert (capacities[:, 0] == 0).all()
    assert (capacities[0] == 0).all()
    np.testing.assert_allclose(capacities[2, 1:], 1.0, atol=1e-6)
    # x = h f / k T = 1.6 at 300 K and 10 THz: Einstein's function
    x = 4.135667696e-15 * 10e12 / (8.617333262e-5 * 300.0)
    assert heat_capacities(np.array([10.0]), np.array([300.0]))[0, 0] / BOLTZMANN_EV_PER_K == pytest.approx(
        x**2 * np.exp(x) / (np.exp(x) - 1.0) ** 2, rel=1e-12)


@pytest.mark.oracle
def test_relaxation_time_conductivity_is_phono3pys(silicon):
    plain = silicon.answers.plain
    found = conductivity(silicon, silicon.gamma)
    expected = plain.kappa[0][:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    np.testing.assert_allclose(found.kappa, expected, atol=CONSTANTS * expected.max())
    stars = found.modes[..., 0, 0] * silicon.mesh.irreducible[1][:, None]
    np.testing.assert_allclose(stars, plain.mode_kappa[0, ..., 0], rtol=1e-5, atol=1e-9)
    checks = require_sound(silicon.mesh, found.kappa, np.array(TEMPERATURES))
    assert checks["asymmetry"] < 1e-12
    assert checks["lowest_eigenvalue_by_highest"] == pytest.approx(1.0)


@pytest.mark.oracle
def test_cumulative_conductivity_ends_at_kappa_and_limits_are_met(silicon):
    found = conductivity(silicon, silicon.gamma)
    paths = found.mean_free_paths
    cumulative = found.cumulative_by_path(np.array([0.0, np.median(paths), paths.max()]))
    assert (cumulative[:, 0] == 0).all()
    assert (np.diff(cumulative[:, :, 0, 0], axis=1) > 0).all()
    np.testing.assert_allclose(cumulative[:, -1], found.kappa, rtol=1e-12, atol=1e-12)
    by_frequency = found.cumulative_by_frequency(np.array([8.0, 100.0]))
    share = np.where(silicon.frequencies <= 8.0, 1.0, 0.0)[:, :, None, None] * found.modes[1]
    low = np.einsum("i,isab->ab", silicon.mesh.irreducible[1], share) / silicon.mesh.n_points
    np.testing.assert_allclose(by_frequency[1, 0], low, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_frequency[:, 1], found.kappa, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.by_branch.sum(axis=1), found.kappa, rtol=1e-12, atol=1e-12)
    middles, spectrum = found.spectral(silicon.mesh, 100)
    np.testing.assert_allclose(spectrum.sum(axis=1) * (middles[1] - middles[0]), found.kappa, rtol=1e-9, atol=1e-9)
    assert (spectrum[:, :, 0, 0] >= 0).all()
    # walls so close that they alone scatter
    length = 1e-5
    walls = conductivity(silicon, boundary_linewidths(silicon.velocities, length)[:, None] * (silicon.gamma > 0))
    limit = small_grain_limit(silicon.mesh, silicon.frequencies, silicon.velocities, TEMPERATURES)
    np.testing.assert_allclose(walls.kappa / length, limit, rtol=1e-12, atol=1e-12)


@pytest.mark.oracle
def test_boundaries_and_isotopes_are_phono3pys(silicon):
    answers, mesh = silicon.answers, silicon.mesh
    walls = conductivity(silicon, silicon.gamma + boundary_linewidths(silicon.velocities, 1e4)[:, None])
    np.testing.assert_allclose(walls.kappa[:, 0, 0], answers.walls.kappa[0, :, 0], rtol=CONSTANTS)
    variances = natural_mass_variances(silicon.crystal.symbols)
    smeared = isotope_linewidths(mesh, silicon.phonons, variances, 0.1)
    expected = answers.gaussian.gamma_isotope[0]
    np.testing.assert_allclose(smeared, expected, rtol=1e-4, atol=1e-9)
    sharp = isotope_linewidths(mesh, silicon.phonons, variances)
    expected = degenerate_mean(silicon.frequencies, answers.isotopes.gamma_isotope[0][..., None])[..., 0]
    # phono3py's weights follow rounding where corners of a tetrahedron are equivalent points at the very frequency
    apart = np.abs(sharp - expected) > 1e-5 * expected + 1e-9
    assert np.mean(apart) < 0.6
    total = conductivity(silicon, silicon.gamma + sharp[:, None])
    np.testing.assert_allclose(total.kappa[:, 0, 0], answers.isotopes.kappa[0, :, 0], rtol=0.05)


@pytest.mark.oracle
@pytest.mark.parametrize("formula", ["smm19", "njc23"])
def test_coherences_are_phono3pys(silicon, formula):
    found = coherences(silicon.mesh, silicon.frequencies, silicon.velocities, silicon.matrices, silicon.gamma,
                       TEMPERATURES, formula)
    np.testing.assert_allclose(found.kappa[:, 0, 0], getattr(silicon.answers, formula).kappa_inter[0, :, 0], rtol=1e-5)


@pytest.mark.oracle
def test_degenerate_bands_carry_the_same_whatever_tells_them_apart(silicon, monkeypatch):
    def whole(velocities):
        rta = Conductivity.relaxation_time(silicon.mesh, silicon.frequencies, velocities, silicon.gamma, TEMPERATURES)
        found = coherences(silicon.mesh, silicon.frequencies, velocities, silicon.matrices, silicon.gamma, TEMPERATURES)
        return found, rta.kappa + found.within + found.left_out

    found, first = whole(silicon.velocities)
    monkeypatch.setattr("hpcthermo.transport.bte.wigner.DIRECTION", (0.3, -2.0, 1.0))
    other, second = whole(np.zeros_like(silicon.velocities))
    np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.between, other.between, rtol=1e-6, atol=1e-9)
    with pytest.raises(InputError, match="smm19"):
        coherences(silicon.mesh, silicon.frequencies, silicon.velocities, silicon.matrices, silicon.gamma,
        TEMPERATURES, "smm")


def test_mass_variances():
    # S. Tamura, Phys. Rev. B 27, 858 (1983) for germanium, and the usual value of silicon
    np.testing.assert_allclose(natural_mass_variances(("Si", "Ge", "F")), [2.01e-4, 5.87e-4, 0.0], atol=2e-6)
    with pytest.raises(InputError, match="Tc"):
        natural_mass_variances(("Tc",))


@pytest.fixture(scope="module")
def springs():
    """A mesh of a simple cubic crystal with bands that need no force constants."""
    crystal = Crystal(3.0 * np.eye(3), np.zeros((1, 3)), ("Ar",), np.array([40.0]))
    mesh = Mesh.create(crystal, (6, 6, 6))
    cosines = np.cos(2.0 * np.pi * mesh.q)
    bands = np.stack([8.0 - 2.0 * cosines.sum(axis=1), 14.0 - cosines @ [1.0, 2.0, 3.0]], axis=1)
    return mesh, bands


def test_surfaces_hold_all_modes_once(springs):
    mesh, bands = springs
    targets = np.linspace(0.0, 25.0, 1001)
    values = np.stack([np.ones_like(bands), bands, np.cos(bands)], axis=2)
    spectrum = surface_integrals(mesh, bands, values, targets)
    integrals = np.trapezoid(spectrum, targets, axis=0)
    means = values.sum(axis=(0, 1)) / mesh.n_points
    np.testing.assert_allclose(integrals, means, rtol=5e-3)
    # a property that is linear between points and equal to the frequency is the frequency, on the surface
    np.testing.assert_allclose(spectrum[:, 1], targets * spectrum[:, 0], atol=1e-4)
    smooth = surface_integrals(mesh, bands, values, targets, sigma=0.3)
    np.testing.assert_allclose(np.trapezoid(smooth, targets, axis=0), means, rtol=1e-8)


def test_surfaces_do_not_follow_rounding(springs):
    mesh, bands = springs
    values = np.ones((*bands.shape, 1))
    targets = np.unique(bands)
    first = surface_integrals(mesh, bands, values, targets)
    noise = 1e-12 * np.random.default_rng(0).standard_normal(bands.shape)
    np.testing.assert_allclose(surface_integrals(mesh, bands + noise, values, targets), first, rtol=1e-5)


def test_weights_of_corners_against_sampling():
    corners = np.sort(np.random.default_rng(1).random(4))
    # uniform points of a tetrahedron by barycentric coordinates
    shares = np.random.default_rng(2).dirichlet(np.ones(4), 500_000)
    frequency, half = shares @ corners, 0.01
    for target in (corners[:-1] + corners[1:]) / 2.0:
        near = np.abs(frequency - target) < half
        sampled = shares[near].sum(axis=0) / len(shares) / (2.0 * half)
        weights = tetrahedron_sums(np.arange(4)[None], corners[:, None], np.eye(4)[:, None], np.array([target]))[0]
        np.testing.assert_allclose(weights, sampled, rtol=0.05, atol=0.02)


def test_thickness_of_sheets():
    cell = np.array([[2.0, 0.0, 0.0], [-1.0, np.sqrt(3.0), 0.0], [0.5, 0.0, 20.0]])
    sheet = Crystal(cell, np.zeros((1, 3)), ("C",), np.array([12.0]), (True, True, False))
    given = Thickness.of(sheet, 3.35)
    assert given is not None
    assert given.height_A == pytest.approx(20.0)
    assert given.scale == pytest.approx(20.0 / 3.35)
    assert "3.3500 A" in str(given)
    whole = Thickness.of(sheet, None)
    assert whole is not None
    assert whole.scale == pytest.approx(1.0)
    bulk = Crystal(cell, np.zeros((1, 3)), ("C",), np.array([12.0]))
    assert Thickness.of(bulk, None) is None
    for crystal, thickness in ((bulk, 3.35), (sheet, -1.0), (sheet, float("nan"))):
        with pytest.raises(InputError, match="thickness_A"):
            Thickness.of(crystal, thickness)


def test_unsound_tensors_are_refused(springs):
    mesh, _ = springs
    temperatures = np.array([300.0])
    for kappa, words in ((np.diag([1.0, 1.0, 2.0]), "symmetry of the crystal"), (-np.eye(3), "positive"),
                         (np.full((3, 3), np.nan), "finite")):
        with pytest.raises(PhysicsError, match=words):
            require_sound(mesh, kappa[None], temperatures)
