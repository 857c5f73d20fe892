"""The Boltzmann equation on coarse meshes, sheets and centred lattices, and of force constants without symmetry."""

import numpy as np
import pytest
from test_linewidths import WURTZITE

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics
from hpcthermo.transport.bte.direct import pseudo_inverse
from hpcthermo.transport.bte.lbte import conjugate_gradients
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.rates import PhaseSpace, three_phonon_linewidths
from hpcthermo.transport.bte.settings import BteSettings
from hpcthermo.transport.bte.smearing import adaptive_gaussian
from hpcthermo.transport.bte.solution import adaptive_widths, mesh_of, solve
from hpcthermo.transport.bte.tasks import ThreePhononProblem, linewidths_of
from hpcthermo.transport.bte.tetrahedron import mesh_tetrahedra
from hpcthermo.transport.bte.wigner import coherences

CUBIC = Crystal(2.5 * np.eye(3), np.zeros((1, 3)), ("Si",), np.array([28.0855]))


def springs(stiffness):
    """Springs between neighbours along the axes, (3,) eV/A^2, as stiff across as along, with cubic terms along."""
    cells, second, legs, third = [], [], [], []
    for axis in range(3):
        for end in (1, -1):
            neighbour = end * np.eye(3, dtype=int)[axis]
            cells += [np.zeros(3, dtype=int), neighbour]
            second += [stiffness[axis] * np.eye(3), -stiffness[axis] * np.eye(3)]
            cubic = np.zeros((3, 3, 3))
            cubic[axis, axis, axis] = 10.0 * end
            for first in (0, 1):
                for other in (0, 1):
                    legs.append([first * neighbour, other * neighbour])
                    third.append((-1.0) ** (1 + first + other) * -cubic)
    count = len(third)
    return LatticeDynamics(CUBIC, {
        2: Interactions.merged(np.zeros((12, 2), dtype=int), np.array(cells)[:, None], np.array(second)),
        3: Interactions.merged(np.zeros((count, 3), dtype=int), np.array(legs), np.array(third))})


def settings(divisions, temperature=300.0):
    return BteSettings(mesh=divisions, temperatures_K=(temperature,), delta="gaussian", sigma_THz=0.5)


@pytest.mark.parametrize("divisions", [(1, 1, 1), (2, 2, 2)])
def test_a_mesh_of_standing_waves_is_refused(divisions):
    with pytest.raises(InputError, match="standing waves"):
        solve(springs((3.0, 3.0, 3.0)), settings(divisions))


def test_force_constants_without_the_symmetry_of_the_crystal_are_noticed():
    symmetric = solve(springs((3.0, 3.0, 3.0)), settings((3, 3, 3)))
    assert symmetric.relaxation_time.kappa[0, 0, 0] > 0.0
    assert symmetric.soundness["frequency_asymmetry"] < 1e-9
    other = solve(springs((3.0, 3.0, 3.1)), settings((3, 3, 3)))
    # stars give the tensor its symmetry all the same
    assert other.soundness["asymmetry"] < 1e-9
    # f^2 is the sum over axes of stiffness and 1 - cos(2 pi q), which is 0 or 3/2 here
    expected = symmetric.phonons.frequencies.max() * (np.sqrt(3.1) - np.sqrt(3.0)) / np.sqrt(9.0)
    assert other.soundness["frequency_asymmetry"] == pytest.approx(expected, rel=1e-6)


def test_jobs_take_the_mean_over_all_cuts_of_the_mesh_into_tetrahedra():
    mesh = Mesh.create(WURTZITE, (4, 4, 3))
    random = np.random.default_rng(5).uniform(3.0, 12.0, (mesh.n_points, WURTZITE.n_bands))
    f = np.sort(random[mesh.permutations].mean(axis=0) * 3 - 15, axis=1)
    phonons = Phonons(mesh.q, f, np.zeros((*f.shape, f.shape[1]), dtype=complex))

    def widths(**choice):
        return linewidths_of(ThreePhononProblem(mesh, phonons, None, np.array([300.0]), **choice))

    mean = three_phonon_linewidths(mesh, phonons, PhaseSpace(phonons), [300.0], symmetrised=True)
    np.testing.assert_array_equal(widths(), mean)
    assert np.abs(widths(symmetrised=False) - mean).max() > 1e-3 * mean.max()
    assert BteSettings(mesh=(4, 4, 3)).symmetrised_tetrahedra
    assert len(mesh_tetrahedra(mesh)) > 6 * mesh.n_points


def test_divisions_by_length_are_equal_where_symmetry_mixes_the_vectors():
    a, b, c = 5.0, 7.0, 9.0
    face_centred = Crystal(0.5 * np.array([[0, b, c], [a, 0, c], [a, b, 0]]), np.zeros((1, 3)), ("Si",), np.ones(1))
    assert mesh_of(face_centred, None, 80.0).divisions.tolist() == [19, 19, 19]
    plain = Crystal(np.diag([a, b, c]), np.zeros((1, 3)), ("Si",), np.ones(1))
    assert mesh_of(plain, None, 63.0).divisions.tolist() == [13, 9, 7]


def test_vacuum_about_a_sheet_does_not_matter_to_adaptive_widths():
    def widths(height):
        crystal = Crystal(np.diag([3.0, 4.0, height]), np.zeros((1, 3)), ("Si",), np.ones(1), (True, True, False))
        mesh = Mesh.create(crystal, (6, 5, 1))
        return adaptive_gaussian(mesh, np.full((mesh.n_points, 3, 3), 7.0)).widths

    edge = (1.0 / (12.0 * 30)) ** 0.5
    assert widths(10.0) == pytest.approx(7.0 * np.sqrt(3.0) * edge / np.sqrt(12.0))
    assert widths(40.0) == pytest.approx(widths(10.0))


def test_degenerate_and_equivalent_modes_have_one_adaptive_width(monkeypatch):
    """Whatever the velocities of degenerate bands are."""
    monkeypatch.setattr("hpcthermo.transport.bte.solution.group_velocities",
                        lambda _, phonons: 9.0 * np.random.default_rng(3).random((*phonons.frequencies.shape, 3)))
    mesh, harmonic = Mesh.create(CUBIC, (3, 3, 3)), HarmonicCrystal(CUBIC, springs((3.0, 3.0, 3.0)).second)
    found = adaptive_widths(mesh, harmonic, mesh_phonons(harmonic, mesh)).widths
    assert len(np.unique(found.round(9))) == len(mesh.irreducible[0])
    np.testing.assert_allclose(found, found[mesh.representative][:, [0, 0, 0]], rtol=1e-12)


def test_modes_that_take_no_part_do_not_touch_coherences_of_soft_ones():
    mesh = Mesh.create(CUBIC, (1, 1, 1), symmetric=False)
    random = np.random.default_rng(2)
    operator = random.normal(size=(3, 3, 3)) + 1j * random.normal(size=(3, 3, 3))
    operator += operator.conj().transpose(0, 2, 1)
    operator[:, 0] = operator[:, :, 0] = 0.0
    frequencies, gamma = np.array([[0.0, 0.3, 0.7]]), np.array([[[0.0, 0.02, 0.05]]])
    found, plain = (coherences(mesh, frequencies[:, k:], np.zeros((1, 3 - k, 3)), operator[None, :, k:, k:],
                               gamma[..., k:], np.array([300.0])) for k in (0, 1))
    assert abs(plain.between).max() > 0.0
    np.testing.assert_allclose(found.between, plain.between, rtol=1e-12)
    assert abs(found.within).max() == 0.0


@pytest.mark.parametrize("solver", [conjugate_gradients, pseudo_inverse])
def test_where_nothing_is_excited_nothing_flows(solver):
    diagonal, nothing = np.ones((2, 3)), np.zeros((2, 3, 3))
    found = solver(lambda field: 0.1 * field, diagonal, nothing, np.array([1, 2]))
    assert (found.field == 0.0).all()
    assert found.residual == 0.0
