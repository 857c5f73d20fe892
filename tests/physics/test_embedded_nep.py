"""The embedded NEP of graphene and h-BN against labels that it was not trained on, and against itself."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import graphene, stack

from hpcthermo import Calculator
from hpcthermo.datasets.ase_atoms import atoms_of_frame
from hpcthermo.datasets.files import read_dataset

REFERENCE = Path(__file__).parents[2] / "jobs" / "gr_hbn_nep" / "reference" / "dataset.xyz"


@pytest.fixture(scope="module")
def calculator():
    return Calculator("nep_gr_hbn_d3", precision="double")


def test_it_has_energies_forces_and_virials_of_its_dft(calculator):
    """Equations of state and bilayers of reference.toml; the README of the job has these errors."""
    energies, forces, virials = [], [], []
    for frame in read_dataset(REFERENCE):
        atoms = atoms_of_frame(frame)
        atoms.calc = calculator
        energies.append((atoms.get_potential_energy() - frame.energy) / len(atoms))
        forces.append((atoms.get_forces() - frame.forces).ravel())
        virials.append((-atoms.get_stress(voigt=False) * atoms.get_volume() - frame.virial) / len(atoms))
    assert len(energies) == 61
    assert np.sqrt(np.mean(np.square(energies))) < 0.6e-3
    assert np.sqrt(np.mean(np.square(np.concatenate(forces)))) < 8e-3
    assert np.sqrt(np.mean(np.square(virials))) < 9e-3


def test_forces_are_derivatives_of_the_energy(calculator):
    sheets = [graphene(formula="C2", a=2.49, vacuum=8.0), graphene(formula="BN", a=2.49, vacuum=8.0)]
    atoms = stack(*sheets, axis=2, distance=3.2).repeat((3, 3, 1))
    atoms.pbc = True
    atoms.rattle(0.05, seed=1)
    atoms.calc = calculator
    direction = np.random.default_rng(2).normal(size=(len(atoms), 3))
    place, step, forces = atoms.positions.copy(), 1e-4, atoms.get_forces()
    ends = []
    for sign in (1.0, -1.0):
        atoms.positions = place + sign * step * direction
        ends.append(atoms.get_potential_energy())
    assert (forces * direction).sum() == pytest.approx(-(ends[0] - ends[1]) / (2.0 * step), rel=1e-6)
