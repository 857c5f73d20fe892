"""The full Boltzmann equation: phono3py, conjugate gradients against the direct solution, energy, symmetry."""

from types import SimpleNamespace

import numpy as np
import pytest
from phono3py_oracle import lattice, phono3py_answers
from phonon_cases import made_up

from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.modes import degenerate_mean, occupations
from hpcthermo.phonons.nonanalytic import NonAnalytic
from hpcthermo.phonons.velocities import group_velocities, little_group_average
from hpcthermo.transport.bte import direct
from hpcthermo.transport.bte.collisions import CollisionMatrix, Stars, collect_collisions, energy_imbalance
from hpcthermo.transport.bte.conductivity import Conductivity, require_sound
from hpcthermo.transport.bte.cost import _PROCESS_BYTES
from hpcthermo.transport.bte.lbte import conjugate_gradients, solve
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import PhaseSpace, ThreePhononRates, sum_in_order
from hpcthermo.transport.bte.self_energy import at_bands, lines_and_bands, self_energy
from hpcthermo.transport.bte.smearing import fixed_gaussian
from hpcthermo.transport.bte.strength import CubicStrength
from hpcthermo.units import BOLTZMANN_EV_PER_K, PLANCK_EV_PER_THZ

TEMPERATURES = [200.0, 400.0]


def problem(found, divisions, harmonic=None, temperatures=TEMPERATURES, sigma=None, threads=1):
    harmonic = harmonic or found.harmonic
    mesh = Mesh.create(found.crystal, divisions)
    phonons = harmonic.phonons(mesh.q)
    points = mesh.irreducible[0]
    there = phonons.at(points)
    velocities = little_group_average(mesh.crystal, there.q, group_velocities(harmonic, there), mesh.rotations,
                                      mesh.cartesian_rotations)
    backend = make_backend("cpu", "mixed")
    gaussian = None if sigma is None else fixed_gaussian(phonons.frequencies.shape, sigma)
    rates = ThreePhononRates(mesh, phonons, CubicStrength(mesh, phonons, found.third, backend), temperatures,
                             gaussian=gaussian, backend=backend)
    gamma, collisions = collect_collisions(rates, threads)
    return SimpleNamespace(mesh=mesh, frequencies=phonons.frequencies, velocities=velocities, rates=rates, gamma=gamma,
                           collisions=collisions, temperatures=temperatures,
                           approximate=Conductivity.relaxation_time(mesh, there.frequencies, velocities, gamma,
                                                                    temperatures))


def solved(problem, **options):
    return solve(problem.mesh, problem.frequencies, problem.velocities, problem.gamma, problem.temperatures,
                 problem.collisions, problem.rates.prefactor, **options)


@pytest.fixture(scope="module")
def answers():
    return phono3py_answers("si", self_energy={"mesh": [5, 5, 5], "points": [1, 7], "temperatures": TEMPERATURES},
                            **{f"mesh{n}": {"mesh": [n, n, n], "temperatures": TEMPERATURES, "is_LBTE": True}
                               for n in (3, 4)})


@pytest.fixture(scope="module")
def silicon(answers):
    return problem(lattice(answers.inputs), (3, 3, 3))


@pytest.mark.oracle
def test_full_equation_is_phono3pys(answers, silicon):
    full = solved(silicon)
    np.testing.assert_allclose(silicon.approximate.kappa[:, 0, 0], answers.mesh3.kappa_RTA[0, :, 0], rtol=5e-6)
    np.testing.assert_allclose(full.conductivity.kappa[:, 0, 0], answers.mesh3.kappa[0, :, 0], rtol=5e-6)
    assert require_sound(silicon.mesh, full.conductivity.kappa, np.array(TEMPERATURES))["asymmetry"] < 1e-12
    # even divisions: phono3py leaves out what flows in bands that cross at the zone boundary
    even = problem(lattice(answers.inputs), (4, 4, 4))
    found = solved(even, keep_crossing=False).conductivity.kappa[:, 0, 0]
    np.testing.assert_allclose(found, answers.mesh4.kappa[0, :, 0], rtol=5e-6)


@pytest.mark.oracle
def test_conjugate_gradients_are_the_direct_solution_from_below(silicon):
    full, whole = solved(silicon), solved(silicon, solver=direct.pseudo_inverse)
    np.testing.assert_allclose(full.conductivity.kappa, whole.conductivity.kappa, rtol=1e-9, atol=1e-9)
    for by_steps, at_once in zip(full.solved, whole.solved, strict=True):
        assert by_steps.residual < 1e-8
        assert (np.diff(by_steps.variational) > -1e-13).all()
        assert by_steps.variational[-1] == pytest.approx(at_once.variational[-1], rel=1e-12)
    # without collisions of the others the approximation is left
    nothing = conjugate_gradients(lambda field: 0.0 * field, np.ones((2, 3)), np.ones((2, 3, 3)), np.array([1, 4]))
    assert nothing.steps == 0
    assert (nothing.field == 1).all()


@pytest.mark.oracle
def test_matrix_is_symmetric_and_does_not_depend_on_threads(answers, silicon):
    stars = Stars.of(silicon.mesh)
    matrix = CollisionMatrix(silicon.collisions, stars, silicon.frequencies, silicon.rates.prefactor, 300.0)
    points, n_bands = len(stars.sizes), silicon.frequencies.shape[1]
    one, other = np.random.default_rng(0).standard_normal((2, points, n_bands, 3))
    weights = stars.sizes[:, None, None]
    assert (weights * one * matrix(other)).sum() == pytest.approx((weights * matrix(one) * other).sum(), rel=1e-12)
    # processes one by one or added up
    both = [CollisionMatrix(silicon.collisions, stars, silicon.frequencies, silicon.rates.prefactor, 300.0,
                            merged=merged) for merged in (False, True)]
    np.testing.assert_allclose(both[0](one), both[1](one), rtol=0, atol=1e-12 * np.abs(both[0](one)).max())
    # what a gained field is does not depend on the eigenvectors of degenerate bands, nor break the little groups
    mixed = degenerate_mean(silicon.frequencies[silicon.mesh.irreducible[0]], one)
    np.testing.assert_allclose(matrix(mixed), matrix(one), atol=1e-12)
    again = problem(lattice(answers.inputs), (3, 3, 3), threads=2)
    assert (again.gamma == silicon.gamma).all()
    assert (solved(again, threads=2).conductivity.kappa == solved(silicon).conductivity.kappa).all()
    np.testing.assert_array_equal(silicon.rates.linewidths(sum_in_order(silicon.rates)), silicon.gamma)


@pytest.mark.parametrize(("n_atoms", "divisions"), [(1, (4, 4, 3)), (2, (3, 3, 2))])
def test_matrix_is_positive_with_shared_weights(n_atoms, divisions):
    # made-up frequencies conserve energy nowhere on so coarse a mesh
    mesh, phonons, _ = made_up(n_atoms, divisions)
    rates = ThreePhononRates(mesh, phonons, PhaseSpace(phonons), [3.0], backend=make_backend("cpu", "double"))
    gamma, collisions = collect_collisions(rates)
    stars = Stars.of(mesh)
    lowest = []
    for shared in (False, True):
        matrix = CollisionMatrix(collisions, stars, phonons.frequencies, rates.prefactor, 3.0, shared=shared)
        diagonal = matrix.linewidths if shared else gamma[:, 0]
        root = np.repeat(np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)), 3)
        lowest.append(np.linalg.eigvalsh(direct.dense_matrix(matrix, diagonal, stars.sizes) / np.outer(root, root))[0])
    assert lowest[0] < -0.01
    assert lowest[1] > -1e-13
    # so cold that no mode is excited
    frozen = CollisionMatrix(collisions, stars, phonons.frequencies, rates.prefactor, 1e-3, shared=True)
    assert not frozen.linewidths.any()


@pytest.mark.oracle
def test_processes_take_the_memory_that_check_tells(silicon):
    columns = silicon.collisions.whole
    assert sum(column.nbytes for column in columns) == _PROCESS_BYTES * len(silicon.collisions)


def test_shared_weights_are_a_sum_of_squares(answers, silicon):
    stars, n_bands = Stars.of(silicon.mesh), silicon.frequencies.shape[1]
    one, other = np.random.default_rng(1).standard_normal((2, len(stars.sizes), n_bands, 3))
    weights = stars.sizes[:, None, None]
    for temperature in TEMPERATURES:
        both = [CollisionMatrix(silicon.collisions, stars, silicon.frequencies, silicon.rates.prefactor, temperature,
                                merged=merged, shared=True) for merged in (False, True)]
        matrix, diagonal = both[0], both[0].linewidths
        np.testing.assert_allclose(both[1](one), matrix(one), rtol=0, atol=1e-12 * np.abs(matrix(one)).max())
        assert (weights * one * matrix(other)).sum() == pytest.approx((weights * matrix(one) * other).sum(), rel=1e-12)
        # the form of the list on a field with the symmetry of the crystal
        irreducible = silicon.frequencies[silicon.mesh.irreducible[0]]
        field = degenerate_mean(irreducible, one @ stars.projections.transpose(0, 2, 1))
        a, b, c, _, amounts = silicon.collisions.whole
        x = PLANCK_EV_PER_THZ * silicon.frequencies / (2.0 * BOLTZMANN_EV_PER_K * temperature)
        everywhere, sinh = stars.spread(field[..., None]).reshape(-1, 3), np.sinh(x).ravel()
        mode = silicon.mesh.irreducible[0][a // n_bands] * n_bands + a % n_bands
        total = sum(sinh[k][:, None] * everywhere[k] for k in (mode, b, c))
        form = silicon.rates.prefactor * (stars.sizes[a // n_bands] * amounts / 6.0 * (total**2).sum(axis=1)
                                          / (sinh[mode] * sinh[b] * sinh[c])).sum()
        assert (weights * field * (matrix(field) + diagonal[..., None] * field)).sum() == pytest.approx(form, rel=1e-10)
    whole, threads = (solved(silicon, replaced=silicon.gamma, **options)
                      for options in ({"solver": direct.pseudo_inverse}, {"threads": 2}))
    np.testing.assert_allclose(threads.conductivity.kappa, whole.conductivity.kappa, rtol=1e-9, atol=1e-9)
    assert (solved(silicon, replaced=silicon.gamma).conductivity.kappa == threads.conductivity.kappa).all()
    # linewidths of both are the same where each process conserves energy: narrower deltas leave less between them
    differences = []
    for sigma in (0.4, 0.1):
        case = problem(lattice(answers.inputs), (3, 3, 3), sigma=sigma)
        shared = CollisionMatrix(case.collisions, stars, case.frequencies, case.rates.prefactor, TEMPERATURES[1],
                                 shared=True)
        differences.append(np.linalg.norm(shared.linewidths - case.gamma[:, 1]) / np.linalg.norm(case.gamma[:, 1]))
    assert differences[1] < 0.6 * differences[0] < 0.02


@pytest.mark.oracle
def test_processes_hold_the_linewidths_and_conserve_energy(answers, silicon):
    n = occupations(silicon.frequencies, np.array(TEMPERATURES)).reshape(2, -1)
    a, b, c, kind, amounts = silicon.collisions.whole
    for t in range(2):
        factor = np.choose(kind, [n[t, b] + n[t, c] + 1.0, n[t, b] - n[t, c], n[t, c] - n[t, b]])
        points = silicon.mesh.irreducible[0]
        sums = silicon.rates.prefactor * np.bincount(a, weights=amounts * factor,
                                                     minlength=len(points) * silicon.frequencies.shape[1])
        mean = degenerate_mean(silicon.frequencies[points], sums.reshape(len(points), -1, 1))[..., 0]
        np.testing.assert_allclose(mean, silicon.gamma[:, t], rtol=1e-9, atol=1e-12)
    imbalances = []
    for case in (silicon, problem(lattice(answers.inputs), (3, 3, 3), sigma=0.4),
                 problem(lattice(answers.inputs), (3, 3, 3), sigma=0.1)):
        imbalances.append([energy_imbalance(case.mesh, case.collisions, case.frequencies, case.gamma[:, t],
                                            case.rates.prefactor, temperature)
                           for t, temperature in enumerate(TEMPERATURES)])
    assert np.max(imbalances) < 0.05
    # narrower deltas leave less
    assert (np.array(imbalances[1]) > 1.5 * np.array(imbalances[2])).all()
    # a wrong sign or factor would leave all
    wrong = energy_imbalance(silicon.mesh, silicon.collisions, silicon.frequencies, 2.0 * silicon.gamma[:, 0],
                             silicon.rates.prefactor, TEMPERATURES[0])
    assert wrong > 0.4


@pytest.mark.oracle
def test_self_energy_is_phono3pys_and_analytic(answers):
    found = lattice(answers.inputs)
    mesh = Mesh.create(found.crystal, (5, 5, 5))
    phonons = found.harmonic.phonons(mesh.q)
    strength = CubicStrength(mesh, phonons, found.third, make_backend("cpu", "double"))
    for q, shifts in zip(answers.self_energy.q, answers.self_energy.shifts[0].swapaxes(0, 1), strict=True):
        point = int(mesh.index(np.rint(5 * q).astype(int)))
        ours, _ = at_bands(mesh, phonons, strength, point, TEMPERATURES, 0.05)
        np.testing.assert_allclose(ours, shifts, rtol=2e-5, atol=1e-8)
    # Kramers and Kronig: the shift is the transform of the linewidth, which is odd in the frequency
    grid = np.arange(0.25, 400.0, 0.5)
    whole = self_energy(mesh, phonons, strength, point, [300.0], grid, 1.0)
    at = 20
    between = whole.frequencies[at] + 0.25
    transform = 2.0 / np.pi * 0.5 * (whole.gamma[0] * grid / (between**2 - grid**2)).sum(axis=1)
    there = self_energy(mesh, phonons, strength, point, [300.0], np.array([between]), 1.0)
    np.testing.assert_allclose(transform, there.shifts[0, :, 0], rtol=2e-2)
    with pytest.raises(InputError, match="width_THz"):
        self_energy(mesh, phonons, strength, point, [300.0], grid, 0.0)


@pytest.mark.oracle
def test_lines_are_lorentzians_of_the_linewidth(answers, monkeypatch):
    found = lattice(answers.inputs)
    mesh = Mesh.create(found.crystal, (5, 5, 5))
    phonons = found.harmonic.phonons(mesh.q)
    strength = CubicStrength(mesh, phonons, found.third, make_backend("cpu", "double"))
    grid = np.linspace(0.005, 60.0, 12_000)
    spectrum = self_energy(mesh, phonons, strength, 7, [300.0], grid, 0.3)
    optical = spectrum.bands > 10.0
    area = np.trapezoid(spectrum.spectral_functions, grid, axis=2)[0, optical]
    np.testing.assert_allclose(area, 1.0, atol=0.03)
    shifts, gamma = at_bands(mesh, phonons, strength, 7, [300.0], 0.3)
    peaks = grid[spectrum.spectral_functions[0].argmax(axis=1)]
    np.testing.assert_allclose(peaks[optical], (spectrum.bands + shifts[0])[optical], atol=0.03)
    height = spectrum.spectral_functions[0].max(axis=1)[optical]
    np.testing.assert_allclose(height, 1.0 / (np.pi * gamma[0, optical]), rtol=0.2)
    # many frequencies are taken some at a time
    monkeypatch.setattr("hpcthermo.transport.bte.self_energy._ELEMENTS", 10_000)
    parts, *own = lines_and_bands(mesh, phonons, strength, 7, [300.0], grid[:1000], 0.3)
    np.testing.assert_allclose(parts.gamma, spectrum.gamma[..., :1000], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(own, (shifts, gamma), rtol=1e-9, atol=1e-12)


def test_indefinite_and_huge_matrices_are_refused():
    with pytest.raises(PhysicsError, match="positive eigenvalues"):
        conjugate_gradients(lambda field: -2.0 * field, np.ones((1, 3)), np.ones((1, 3, 3)), np.array([1]))
    with pytest.raises(InputError, match="conjugate gradients"):
        direct.dense_matrix(lambda field: field, np.ones((4000, 6)), np.ones(4000))


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(("material", "divisions"), [("si", 11), ("nacl", 9)])
def test_acceptance_meshes(material, divisions):
    mesh = [divisions] * 3
    answers = phono3py_answers(material, full={"mesh": mesh, "temperatures": [300.0], "is_LBTE": True, "nac": True})
    found = lattice(answers.inputs)
    harmonic = None
    if material == "nacl":
        inputs = answers.inputs
        response = DielectricResponse(inputs.born, inputs.dielectric, float(inputs.factor))
        harmonic = HarmonicCrystal(found.crystal, found.second, NonAnalytic(response, found.supercell, "gonze"))
    case = problem(found, mesh, harmonic, [300.0])
    full = solved(case)
    assert case.approximate.kappa[0, 0, 0] == pytest.approx(answers.full.kappa_RTA[0, 0, 0], rel=1e-4)
    assert full.conductivity.kappa[0, 0, 0] == pytest.approx(answers.full.kappa[0, 0, 0], rel=1e-4)
