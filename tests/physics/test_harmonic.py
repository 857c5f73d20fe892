"""Dynamical matrices with dipoles, group velocities."""

from itertools import product

import numpy as np
import pytest

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.harmonic import FREQUENCY_THZ, HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.nonanalytic import NonAnalytic, commensurate_points
from hpcthermo.phonons.velocities import group_velocities, little_group_average, velocity_matrices
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.units import COULOMB_EV_A, TIME_FS

CASES = [("Si", "none"), ("NaCl", "none"), ("NaCl", "gonze"), ("NaCl", "wang")]


def supercell_of(phonopy_oracle, name):
    cells = {cell: [phonopy_oracle[f"{name}.{cell}.{what}"] for what in ("cell", "positions", "symbols", "masses")]
             for cell in ("crystal", "supercell")}
    cell, positions, symbols, masses = cells["crystal"]
    crystal = Crystal(cell, positions, tuple(str(s) for s in symbols), masses)
    return Supercell.match(crystal, *cells["supercell"][:3], phonopy_oracle[f"{name}.origins"])


def harmonic_of(phonopy_oracle, name, method):
    supercell = supercell_of(phonopy_oracle, name)
    response = DielectricResponse(*(phonopy_oracle[f"NaCl.{key}"] for key in ("born", "dielectric", "factor")))
    nonanalytic = None if method == "none" else NonAnalytic(response, supercell, method)
    second = Interactions.second(supercell, phonopy_oracle[f"{name}.fc2"])
    return HarmonicCrystal(supercell.crystal, second, nonanalytic)


@pytest.mark.parametrize(("name", "method"), CASES)
def test_frequencies_and_velocities_are_phonopys(phonopy_oracle, name, method):
    harmonic = harmonic_of(phonopy_oracle, name, method)
    found = harmonic.phonons(phonopy_oracle["points"])
    scale = FREQUENCY_THZ / phonopy_oracle["to_thz"]
    assert abs(scale - 1) < 2e-7
    expected = scale * phonopy_oracle[f"{name}.{method}.frequencies"]
    moving = expected > 1e-3
    assert np.abs(found.frequencies - expected)[moving].max() < 1e-9
    mesh = Mesh.create(harmonic.crystal, (2, 2, 2))
    velocities = little_group_average(mesh.crystal, found.q, group_velocities(harmonic, found), mesh.rotations,
                                      mesh.cartesian_rotations)
    there = scale * phonopy_oracle[f"{name}.{method}.velocities"]
    assert np.abs(velocities - there)[moving].max() < 1e-6 * np.abs(there).max()
    if method != "none":
        limits = [harmonic.phonons(np.zeros((1, 3)), direction).frequencies[0]
                  for direction in phonopy_oracle["directions"]]
        assert np.abs(limits - scale * phonopy_oracle[f"{name}.{method}.limits"])[:, 3:].max() < 1e-9


def ionic(periodic=(True, True, True), screening=2.4, seed=1):
    """Two ions in a low-symmetry cell with springs and charge-neutral Born tensors."""
    rng = np.random.default_rng(seed)
    cell = np.array([[3.1, 0.2, 0.0], [-0.4, 3.4, 0.0], [0.3, 0.1, 3.7]])
    if not all(periodic):
        cell[2] = [0.0, 0.0, 18.0]
    positions = np.array([[0.0, 0.0, 0.0], [0.45, 0.52, 0.02]])
    crystal = Crystal(cell, positions, ("Na", "Cl"), np.array([23.0, 35.5]), periodic)
    repeats = np.array([2, 2, 2 if periodic[2] else 1])
    cells = np.array(list(product(*(range(r) for r in repeats))))
    positions = ((cells[:, None] + crystal.positions) / repeats).reshape(-1, 3)
    supercell = Supercell.match(crystal, crystal.cell * repeats[:, None], positions, crystal.symbols * len(cells))
    spring = np.eye(3) * 2.0 + np.diag([0.0, 0.4, 0.8])
    values = np.zeros((2, supercell.n_atoms, 3, 3))
    home = supercell.origin_of
    values[0, home[1]] = values[1, home[0]] = -spring
    values[0, home[0]] = values[1, home[1]] = spring
    asymmetric = rng.normal(size=(3, 3)) * 0.1 + np.eye(3)
    dielectric = np.diag([screening, screening * 1.2, screening])
    return (crystal, supercell, Interactions.second(supercell, values),
            NonAnalytic(DielectricResponse(np.array([asymmetric, -asymmetric]), dielectric), supercell))


def isotropic_response(charge, screening):
    return DielectricResponse(np.array([np.eye(3), -np.eye(3)]) * charge, np.eye(3) * screening)


def smooth_gauge(harmonic, q):
    phase = np.exp(2j * np.pi * (q @ np.repeat(harmonic.crystal.positions, 3, axis=0).T))
    return phase[:, :, None].conj() * harmonic.dynamical_matrices(q) * phase[:, None, :], phase


@pytest.mark.parametrize("method", ["none", "gonze"])
def test_any_number_of_wave_vectors_at_a_time_gives_the_same(method, monkeypatch):
    crystal, _, second, nonanalytic = ionic()
    harmonic = HarmonicCrystal(crystal, second, None if method == "none" else nonanalytic)
    q = np.random.default_rng(2).random((7, 3))
    whole, slopes, together = harmonic.dynamical_matrices(q), harmonic.slopes(q), harmonic.phonons(q)
    monkeypatch.setattr("hpcthermo.phonons.harmonic._CHUNK_BYTES", 32 * (36 + len(harmonic._vectors)))
    assert len(harmonic._chunks(7)) == 4
    assert np.allclose(harmonic.dynamical_matrices(q), whole, rtol=0.0, atol=1e-13)
    assert np.allclose(harmonic.slopes(q), slopes, rtol=0.0, atol=1e-12)
    assert np.allclose(harmonic.phonons(q).frequencies, together.frequencies, rtol=0.0, atol=1e-10)
    assert harmonic.dynamical_matrices(q[:0]).shape == (0, 6, 6)


@pytest.mark.parametrize("method", ["none", "gonze", "wang", "sheet"])
def test_slopes_are_derivatives_of_the_dynamical_matrix(method):
    crystal, supercell, second, nonanalytic = ionic((True, True, method != "sheet"))
    if method == "wang":
        nonanalytic = NonAnalytic(nonanalytic.response, supercell, method="wang")
    harmonic = HarmonicCrystal(crystal, second, None if method == "none" else nonanalytic)
    q = np.array([[0.11, 0.07, 0.0], [0.31, -0.22, 0.0], [0.02, 0.01, 0.0]])
    slopes = harmonic.slopes(q)
    for axis in range(2):
        step = np.zeros(3)
        step[axis] = 1e-5
        # k = 2 pi q b, so a step of k along axis is one of q along the cell's columns
        shift = crystal.cell @ step / (2.0 * np.pi)
        above, below = smooth_gauge(harmonic, q + shift)[0], smooth_gauge(harmonic, q - shift)[0]
        phase = smooth_gauge(harmonic, q)[1]
        expected = phase[:, :, None] * (above - below) / 2e-5 * phase[:, None, :].conj()
        # the dynamical matrix is seen with eigenvectors of the lattice gauge
        assert np.abs(slopes[axis] - expected).max() < 1e-7 * np.abs(slopes).max()


@pytest.mark.parametrize("periodic", [(True, True, True), (True, True, False)])
def test_dipoles_leave_commensurate_points_and_the_sum_rule(periodic):
    crystal, supercell, second, nonanalytic = ionic(periodic)
    q = commensurate_points(supercell)
    assert len(q) == supercell.n_atoms // crystal.n_atoms
    bare, corrected = HarmonicCrystal(crystal, second), HarmonicCrystal(crystal, second, nonanalytic)
    # at the zone boundary the sum over reciprocal lattice vectors is cut off unevenly
    assert np.abs(bare.dynamical_matrices(q) - corrected.dynamical_matrices(q)).max() < 1e-7
    near = np.array([[0.1, 0.13, 0.0]])
    assert np.abs(bare.dynamical_matrices(near) - corrected.dynamical_matrices(near)).max() > 1e-3
    moved = near + np.array([1, -2, 0])
    assert np.abs(corrected.dynamical_matrices(moved) - corrected.dynamical_matrices(near)).max() < 1e-9
    along = np.array([1.0, 2.0, 0.0])
    acoustic = np.sort(np.abs(corrected.phonons(np.zeros((1, 3)), along).frequencies[0]))[:3]
    assert acoustic.max() < 1e-5


def test_longitudinal_splitting_of_a_crystal_in_the_limit():
    """Isotropic ions: w_LO^2 - w_TO^2 = 4 pi k_e Z^2 / (V eps mu)."""
    crystal, supercell, second, _ = ionic()
    charge, screening = 1.3, 2.5
    nonanalytic = NonAnalytic(isotropic_response(charge, screening), supercell)
    harmonic = HarmonicCrystal(crystal, second, nonanalytic)
    reduced = 1.0 / np.sum(1.0 / crystal.masses)
    expected = 4.0 * np.pi * COULOMB_EV_A * charge**2 / (crystal.volume * screening * reduced)
    bare = np.trace(harmonic.dynamical_matrices(np.zeros((1, 3)))[0]).real
    split = np.trace(harmonic.dynamical_matrices(np.zeros((1, 3)), np.array([1.0, 0.5, 0.2]))[0]).real - bare
    assert split == pytest.approx(expected, rel=1e-12)


def test_longitudinal_splitting_of_a_sheet_is_linear_and_screened():
    """The trace of D - D(0) -> 2 pi k_e Z^2 |k| / (S mu (1 + r |k|)) with r = (eps - 1) c / 2 where K is small."""
    charge = 1.3
    traces = {}
    for screening in (1.0, 9.0):
        crystal, supercell, _, _ = ionic((True, True, False))
        nonanalytic = NonAnalytic(isotropic_response(charge, screening), supercell)
        dipoles = nonanalytic.dipoles()
        q = np.array([[0.0, 0.0, 0.0], [5e-5, 0.0, 0.0], [5e-4, 0.0, 0.0], [5e-3, 0.0, 0.0]])
        traces[screening] = np.trace(dipoles.dynamical_matrices(q), axis1=1, axis2=2).real
        k = 2.0 * np.pi * np.linalg.norm(q @ crystal.reciprocal, axis=1)
        area = np.linalg.norm(np.cross(crystal.cell[0], crystal.cell[1]))
        length = (screening - 1.0) * crystal.cell[2, 2] / 2.0
        strength = 2.0 * np.pi * COULOMB_EV_A * charge**2 * np.sum(1.0 / crystal.masses) / area
        expected = strength * k / (1.0 + length * k)
        grown = traces[screening] - traces[screening][0]
        assert grown[1] == pytest.approx(expected[1], rel=1e-3)
        assert grown[2] == pytest.approx(expected[2], rel=1e-2)
        along = np.array([1.0, 0.0, 0.0])
        assert np.array_equal(dipoles.dynamical_matrices(q[:1]), dipoles.dynamical_matrices(q[:1], along))
    with pytest.raises(InputError, match="gonze"):
        NonAnalytic(nonanalytic.response, supercell, method="wang").dipoles()


def test_velocities_of_a_chain_are_the_derivative_of_the_sine():
    """One atom in a cubic cell with springs f to its neighbours: w^2 = sum_a 4 f/m sin^2(pi q_a)."""
    crystal = Crystal(np.eye(3) * 2.0, np.zeros((1, 3)), ("X",), np.array([7.0]))
    vectors = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    values = np.array([6.0, -1, -1, -1, -1, -1, -1])[:, None, None] * np.diag([1.0, 2.0, 3.0])
    harmonic = HarmonicCrystal(crystal, Interactions(np.zeros((7, 2), dtype=int), vectors[:, None], values))
    q = np.array([[0.1, 0.23, 0.4], [0.02, 0.0, 0.0]])
    found = harmonic.phonons(q)
    square = 4.0 / 7.0 * (np.sin(np.pi * q)**2).sum(axis=1)[:, None] * np.array([1.0, 2.0, 3.0])
    assert found.frequencies == pytest.approx(np.sqrt(square) * FREQUENCY_THZ, rel=1e-12)
    slope = 4.0 / 7.0 * np.sin(2 * np.pi * q)[:, None, :] * np.array([1.0, 2.0, 3.0])[:, None]
    expected = slope * 2.0 / (4.0 * np.sqrt(square))[:, :, None] * 1e3 / TIME_FS
    assert group_velocities(harmonic, found) == pytest.approx(expected, rel=1e-11, abs=1e-9)


def test_velocity_matrices_are_hermitian_and_hold_the_velocities():
    crystal, _, second, nonanalytic = ionic()
    harmonic = HarmonicCrystal(crystal, second, nonanalytic)
    found = harmonic.phonons(np.random.default_rng(3).uniform(-0.5, 0.5, (5, 3)))
    matrices = velocity_matrices(harmonic, found)
    assert np.abs(matrices - matrices.conj().transpose(0, 1, 3, 2)).max() < 1e-12 * np.abs(matrices).max()
    diagonal = np.diagonal(matrices, axis1=2, axis2=3).real.transpose(0, 2, 1)
    assert diagonal == pytest.approx(group_velocities(harmonic, found), abs=1e-10)


def test_born_charges_of_another_crystal_are_refused():
    _, supercell, _, nonanalytic = ionic()
    with pytest.raises(InputError, match="one tensor for each atom"):
        NonAnalytic(DielectricResponse(nonanalytic.response.born[:1], nonanalytic.response.dielectric), supercell)


@pytest.mark.parametrize("divisions", [(5, 5, 5), [[-3, 3, 3], [3, -3, 3], [3, 3, -3]]])
def test_phonons_of_a_mesh_are_rotated_from_irreducible_points(phonopy_oracle, divisions):
    """Diamond has rotations with translations; the generalised mesh has points at the zone boundary."""
    harmonic = harmonic_of(phonopy_oracle, "Si", "none")
    mesh = Mesh.create(harmonic.crystal, np.array(divisions))
    found = mesh_phonons(harmonic, mesh)
    matrices = harmonic.dynamical_matrices(mesh.q)
    squares = np.linalg.eigvalsh(matrices)
    assert np.abs(matrices @ found.eigenvectors - found.eigenvectors * squares[:, None, :]).max() < 1e-12
    assert np.abs(found.frequencies[mesh.representative] - found.frequencies).max() == 0.0
    overlap = found.eigenvectors.conj().transpose(0, 2, 1) @ found.eigenvectors
    assert np.abs(overlap - np.eye(6)).max() < 1e-12


def test_force_constants_without_the_crystals_symmetry_are_solved_at_all_points():
    crystal = Crystal(np.eye(3) * 2.0, np.zeros((1, 3)), ("X",), np.array([7.0]))
    vectors = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0]])
    values = np.array([2.5, -1.0, -1.0])[:, None, None] * np.diag([1.0, 2.0, 3.0])
    harmonic = HarmonicCrystal(crystal, Interactions(np.zeros((3, 2), dtype=int), vectors[:, None], values))
    mesh = Mesh.create(crystal, (3, 3, 3))
    assert np.array_equal(mesh_phonons(harmonic, mesh).frequencies, harmonic.phonons(mesh.q).frequencies)
    calm = Mesh.create(crystal, (3, 3, 3), symmetric=False)
    assert mesh_phonons(harmonic, calm).frequencies == pytest.approx(harmonic.phonons(mesh.q).frequencies, abs=1e-6)
