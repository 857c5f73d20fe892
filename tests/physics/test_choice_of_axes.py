"""The same crystal in other lattice vectors and with its atoms in another order has the same conductivity."""

import numpy as np
import pytest
from test_harmonic import supercell_of

from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.velocities import group_velocities, little_group_average
from hpcthermo.transport.bte import lbte
from hpcthermo.transport.bte.collisions import collect_collisions
from hpcthermo.transport.bte.conductivity import Conductivity, tensor_asymmetry
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.rates import ThreePhononRates
from hpcthermo.transport.bte.strength import CubicStrength

AS_GIVEN = np.eye(3, dtype=int)
TEMPERATURES = np.array([300.0])


def turned(crystal, lists, rows, order):
    """New vectors are `rows` in units of the old ones, new atoms the old ones `order`."""
    back = np.rint(np.linalg.inv(rows)).astype(int)
    order, number = np.array(order), np.argsort(order)
    other = Crystal(rows @ crystal.cell, (crystal.positions @ back)[order], tuple(crystal.symbols[i] for i in order),
                    crystal.masses[order], crystal.periodic)
    return other, [Interactions(number[given.atoms], given.vectors @ back, given.values) for given in lists]


def conductivities(crystal, second, third, symmetric=True, group=None):
    """By relaxation times and by the full equation on 3 x 3 x 3, (3, 3) each; velocities see the rotations `group`."""
    mesh, harmonic = Mesh.create(crystal, (3, 3, 3), symmetric), HarmonicCrystal(crystal, second)
    phonons, points = mesh_phonons(harmonic, mesh), mesh.irreducible[0]
    there = phonons.at(points)
    group = group or mesh
    velocities = little_group_average(crystal, there.q, group_velocities(harmonic, there), group.rotations,
                                      group.cartesian_rotations)
    backend = make_backend("cpu", "double")
    rates = ThreePhononRates(mesh, phonons, CubicStrength(mesh, phonons, third, backend), TEMPERATURES, backend=backend)
    gamma, collisions = collect_collisions(rates)
    approximate = Conductivity.relaxation_time(mesh, there.frequencies, velocities, gamma, TEMPERATURES)
    full = lbte.solve(mesh, phonons.frequencies, velocities, gamma, TEMPERATURES, collisions, rates.prefactor)
    return approximate.kappa[0], full.conductivity.kappa[0]


@pytest.fixture(scope="module")
def silicon(phonopy_oracle):
    supercell = supercell_of(phonopy_oracle, "Si")
    lists = [Interactions.second(supercell, phonopy_oracle["Si.fc2"]),
             Interactions.third(supercell, phonopy_oracle["Si.fc3"])]
    return supercell.crystal, lists, conductivities(supercell.crystal, *lists)


@pytest.mark.parametrize(("rows", "order"), [
    ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], [0, 1]),
    (AS_GIVEN, [1, 0]),
    ([[1, 0, 0], [0, 1, 0], [1, 0, 1]], [0, 1]),
    ([[1, 0, 0], [-1, 1, 0], [0, 2, 1]], [1, 0])])
def test_conductivity_does_not_know_the_axes(silicon, rows, order):
    crystal, lists, expected = silicon
    other, changed = turned(crystal, lists, np.array(rows), order)
    for ours, before in zip(conductivities(other, *changed), expected, strict=True):
        assert np.abs(ours - before).max() < 1e-9 * before[0, 0]


def test_sums_over_all_points_have_the_symmetry_of_the_crystal(silicon):
    """Nothing is averaged over rotations but the velocities of degenerate bands."""
    crystal, lists, expected = silicon
    whole = Mesh.create(crystal, (3, 3, 3))
    for ours, before in zip(conductivities(crystal, *lists, symmetric=False, group=whole), expected, strict=True):
        assert tensor_asymmetry(whole, ours[None])[0] < 1e-8
        assert np.abs(ours - before).max() < 1e-8 * before[0, 0]
