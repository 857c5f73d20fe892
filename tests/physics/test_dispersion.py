"""Paths, dispersion, sound and flexural waves."""

import numpy as np
import pytest
from test_harmonic import harmonic_of, supercell_of

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.dispersion import dispersion, flexural_exponent, sound_velocities, standard_path
from hpcthermo.phonons.harmonic import FREQUENCY_THZ, HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions

SIDE = 2.5
HEXAGONAL = np.array([[SIDE, 0, 0], [-SIDE / 2, SIDE * np.sqrt(0.75), 0], [0, 0, 15.0]])


def sheet(cell):
    return Crystal(np.array(cell, dtype=float), np.zeros((1, 3)), ("C",), np.array([12.0]), (True, True, False))


@pytest.mark.parametrize("skew", [np.eye(3), [[1, 0, 0], [1, 1, 0], [0, 0, 1]], [[2, 1, 0], [1, 1, 0], [0, 0, 1]]])
def test_hexagonal_path_does_not_depend_on_the_choice_of_cell(skew):
    crystal = sheet(np.array(skew) @ HEXAGONAL)
    path = standard_path(crystal)
    assert path.names == (("GAMMA", "M"), ("M", "K"), ("K", "GAMMA"))
    lengths = np.linalg.norm((path.ends[:, 1] - path.ends[:, 0]) @ crystal.reciprocal, axis=1)
    assert lengths == pytest.approx(np.array([1 / np.sqrt(3), 1 / 3, 2 / 3]) / SIDE, rel=1e-9)


@pytest.mark.parametrize(("plane", "corners"), [([[2, 0], [0, 2]], ["X", "M"]), ([[3, 0], [0, 2]], ["X", "S", "Y"]),
                                                ([[2, 0], [0.3, 2.2]], ["X", "C", "Y"])])
def test_corners_of_other_plane_lattices(plane, corners):
    cell = np.diag([0.0, 0.0, 9.0])
    cell[:2, :2] = plane
    assert [name for _, name in standard_path(sheet(cell)).names] == [*corners, "GAMMA"]


def springs(out_of_plane):
    """A square sheet: longitudinal and transverse springs to neighbours, and a bending energy (Laplacian squared)."""
    crystal = sheet(np.diag([2.0, 2.0, 12.0]))
    neighbours = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    laplacian = {(0, 0, 0): -4.0} | {tuple(int(x) for x in v): 1.0 for v in neighbours}
    bending: dict = {}
    for a, one in laplacian.items():
        for b, two in laplacian.items():
            step = tuple(x + y for x, y in zip(a, b, strict=True))
            bending[step] = bending.get(step, 0.0) + one * two
    vectors = np.array(list(bending))
    values = np.zeros((len(vectors), 3, 3))
    for value, step in zip(values, vectors, strict=True):
        plane = -laplacian.get(tuple(int(x) for x in step), 0.0)
        value[:] = np.diag([plane, 1.5 * plane, out_of_plane * bending[tuple(int(x) for x in step)]])
    return HarmonicCrystal(crystal, Interactions(np.zeros((len(vectors), 2), dtype=int), vectors[:, None], values))


def test_bending_is_quadratic_and_stretching_linear():
    harmonic = springs(0.7)
    assert flexural_exponent(harmonic, span=(0.005, 0.02)) == pytest.approx(2.0, abs=0.002)
    # f / |q| = a sqrt(k / m) in the units of frequency, along x: polarization x and y
    expected = 2.0 * np.sqrt(np.array([1.0, 1.5]) / 12.0) * 2.0 * np.pi * FREQUENCY_THZ
    assert sound_velocities(harmonic, np.array([[1.0, 0.0, 0.0]]))[0, 1:] == pytest.approx(expected, rel=1e-6)
    assert flexural_exponent(harmonic, span=(1e-7, 3e-7)) == pytest.approx(2.0, abs=0.05)  # from where f is a number
    with pytest.raises(InputError, match="stable branch"):
        flexural_exponent(springs(-0.7))
    bulk = Crystal(*(getattr(harmonic.crystal, name) for name in ("cell", "positions", "symbols", "masses")))
    with pytest.raises(InputError, match="expected a sheet"):
        flexural_exponent(HarmonicCrystal(bulk, harmonic.second))


def test_path_of_rock_salt_and_its_dispersion(phonopy_oracle):
    harmonic = harmonic_of(phonopy_oracle, "NaCl", "gonze")
    path = standard_path(supercell_of(phonopy_oracle, "NaCl").crystal)
    found = dispersion(harmonic, path, 11)
    assert [name for _, name in found.ticks] == ["GAMMA", "X", "U|K", "GAMMA", "L", "W", "X"]
    assert [x for x, _ in found.ticks] == sorted(x for x, _ in found.ticks)
    # LO and TO split where the path leaves q = 0
    assert np.ptp(found.frequencies[0, 3:]) > 1.0
    limit = harmonic.phonons(found.q[:1], path.ends[0, 1]).frequencies[0]
    assert found.frequencies[0] == pytest.approx(limit, abs=1e-5)
    # velocities are slopes of connected branches
    line = np.flatnonzero(found.lines == 0)
    branch = np.take_along_axis(found.frequencies, found.branches, axis=1)[line]
    along = (path.ends[0, 1] - path.ends[0, 0]) @ harmonic.crystal.reciprocal
    along /= np.linalg.norm(along)
    slope = np.gradient(branch, found.distances[line], axis=0)[2:-2]
    velocity = np.take_along_axis(found.velocities @ along, found.branches, axis=1)[line][2:-2]
    assert np.sort(slope, axis=1) == pytest.approx(np.sort(velocity, axis=1), abs=0.03 * np.abs(velocity).max())
