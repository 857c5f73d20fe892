"""Two isotopes of an element in a pattern are two kinds of atoms for the symmetry of phonons."""

from dataclasses import replace

import numpy as np
from spring_crystal import diamond, springs, supercell_of

from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte.mesh import Mesh


def test_masses_break_symmetry():
    cubic = Crystal(5.43 * np.eye(3), np.array([[0.0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]), ("Si",) * 4,
                    np.full(4, 28.0))
    layered = replace(cubic, masses=np.array([28.0, 28.0, 30.0, 30.0]))
    assert len(Mesh.create(cubic, [4, 4, 4]).rotations) == 48
    assert len(Mesh.create(layered, [4, 4, 4]).rotations) == 16


def test_frequencies_have_the_symmetry_that_is_found():
    crystal = diamond(masses=(28.0, 30.0))
    supercell = supercell_of(crystal, [2, 2, 2])
    harmonic = HarmonicCrystal(crystal, Interactions.second(supercell, springs(supercell, 2)))
    mesh = Mesh.create(crystal, [4, 4, 4])
    frequencies = harmonic.phonons(mesh.q).frequencies
    assert np.abs(frequencies - frequencies[mesh.representative]).max() < 1e-6
