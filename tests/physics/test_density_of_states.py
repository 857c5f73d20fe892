"""Density of states and thermal properties."""

import numpy as np
import pytest
from test_harmonic import harmonic_of

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.density_of_states import density_of_states, shares_of_atoms
from hpcthermo.phonons.thermal import thermal_properties
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.tetrahedron import mesh_tetrahedra
from hpcthermo.units import BOLTZMANN_EV_PER_K, PLANCK_EV_PER_THZ


@pytest.mark.parametrize("corners", [[1.0, 2.5, 3.0, 5.0], [1.0, 1.0, 3.0, 5.0], [1.0, 2.0, 2.0, 2.0],
                                     [4.0, 1.0, 4.0, 1.0]])
def test_one_tetrahedron_against_points_thrown_into_it(corners):
    """The barycentric coordinates of a point are what its corners share."""
    corners = np.array(corners)
    points = np.random.default_rng(1).dirichlet(np.ones(4), 200_000)
    values = points @ corners
    found = density_of_states(corners[:, None], np.array([[0, 1, 2, 3]]), 9, np.eye(4)[:, None, :])
    width = np.ptp(corners) / 9
    place = np.minimum(((values - corners.min()) / width).astype(int), 8)
    for corner in range(4):
        expected = np.bincount(place, points[:, corner], 9) / len(points) / width
        assert found.projected[corner] == pytest.approx(expected, abs=3e-3 / width)
    assert found.total == pytest.approx(found.projected.sum(axis=0))
    assert found.total.sum() * width == pytest.approx(1.0, rel=1e-12)


def test_every_mode_is_counted_once_and_flat_bands_too():
    """f = 5 - sum cos(2 pi q) has the mean 5, the variance 3/2 and a symmetric density; beside it a flat band."""
    mesh = Mesh.create(Crystal(np.eye(3), np.zeros((1, 3)), ("X",), np.ones(1)), (20, 20, 20))
    band = 5.0 - np.cos(2.0 * np.pi * mesh.q).sum(axis=1)
    found = density_of_states(np.stack([band, np.full(len(band), 5.0)], axis=1), mesh_tetrahedra(mesh), 60)
    width = 6.0 / 60
    assert found.total.sum() * width == pytest.approx(2.0, rel=1e-12)
    alone = density_of_states(band[:, None], mesh_tetrahedra(mesh), 60)
    assert (found.total - alone.total).sum() * width == pytest.approx(1.0)
    assert np.count_nonzero(found.total - alone.total > 1e-9) == 1
    assert alone.total == pytest.approx(alone.total[::-1], abs=1e-9)
    variance = (alone.total * (alone.frequencies - 5.0)**2).sum() * width
    # linear interpolation lowers it by the order of the square of the spacing
    assert variance == pytest.approx(1.5, rel=0.02)
    with pytest.raises(InputError, match="at least one bin"):
        density_of_states(band[:, None], mesh_tetrahedra(mesh), 0)


def test_silicons_atoms_share_the_density_alike(phonopy_oracle):
    harmonic = harmonic_of(phonopy_oracle, "Si", "none")
    mesh = Mesh.create(harmonic.crystal, (8, 8, 8))
    found = mesh_phonons(harmonic, mesh)
    density = density_of_states(found.frequencies, mesh_tetrahedra(mesh), 50, shares_of_atoms(found))
    assert density.projected.sum(axis=0) == pytest.approx(density.total, rel=1e-12)
    assert density.projected[:3].sum(axis=0) == pytest.approx(density.projected[3:].sum(axis=0), rel=1e-9, abs=1e-12)
    integral = density.total.sum() * (density.frequencies[1] - density.frequencies[0])
    assert integral == pytest.approx(6.0, rel=1e-12)


def test_thermal_properties_of_an_oscillator():
    """E = h f (n + 1/2), F = E - TS, S = - dF/dT, C = T dS/dT; Dulong and Petit when hot; modes at rest left out."""
    frequencies = np.array([[0.0, 3.0], [-1.0, 8.0]])
    t = np.array([0.0, 40.0, 40.001, 300.0, 1e5])
    found = thermal_properties(frequencies, t, np.array([1.0, 3.0]))
    quantum = PLANCK_EV_PER_THZ * np.array([3.0, 8.0])
    share = np.array([0.25, 0.75])
    assert found.zero_point_energy == pytest.approx(0.5 * share @ quantum)
    assert found.skipped == pytest.approx(0.5)
    assert found.free_energy[0] == found.zero_point_energy
    assert found.entropy[0] == found.heat_capacity[0] == 0.0
    energy = found.free_energy + t * found.entropy
    n = 1.0 / np.expm1(quantum / (BOLTZMANN_EV_PER_K * 300.0))
    assert energy[3] == pytest.approx(share @ (quantum * (n + 0.5)), rel=1e-12)
    step = 0.001
    assert -(found.free_energy[2] - found.free_energy[1]) / step == pytest.approx(found.entropy[1], rel=1e-4)
    assert 40.0 * (found.entropy[2] - found.entropy[1]) / step == pytest.approx(found.heat_capacity[1], rel=1e-4)
    assert found.heat_capacity[4] == pytest.approx(BOLTZMANN_EV_PER_K, rel=1e-4)
