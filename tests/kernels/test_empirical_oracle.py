"""Tersoff and Lennard-Jones against LAMMPS: energy to 1e-9 eV/atom, forces to 1e-8 eV/A."""

import numpy as np
import pytest
from lammps_oracle import lammps_results
from sample_structures import EMPIRICAL, bilayer, mixed_sheet, sheet, silicon

from hpcthermo import Calculator

needs_files = pytest.mark.skipif(not EMPIRICAL.exists(), reason="no parameter files in ../shared beside this checkout")

TERSOFF = {
    "silicon with lambda3": ("Si.tersoff", silicon, ["Si"]),
    "dense silicon": ("Si.tersoff", lambda: silicon(a=4.6), ["Si"]),
    "graphene": ("C_Lindsay_2010.tersoff", sheet, ["C"]),
    "boron nitride": ("BNC.tersoff", lambda: sheet("BN", 2.5), ["B", "N"]),
    "mixed": ("BNC.tersoff", mixed_sheet, ["B", "N", "C"]),
}


def assert_same(atoms, potential, species, commands):
    atoms.calc = Calculator(potential)
    energy, forces = lammps_results(atoms, species, commands)
    assert abs(atoms.get_potential_energy() - energy) < 1e-9 * len(atoms)
    assert np.abs(atoms.get_forces() - forces).max() < 1e-8


@needs_files
@pytest.mark.oracle
@pytest.mark.parametrize("case", TERSOFF)
def test_tersoff_equals_lammps(case):
    file, build, species = TERSOFF[case]
    path = EMPIRICAL / file
    assert_same(build(), path, species, ["pair_style tersoff", f"pair_coeff * * {path} {' '.join(species)}"])


@pytest.mark.oracle
@pytest.mark.parametrize("shifted", [True, False])
def test_lennard_jones_equals_lammps(tmp_path, shifted):
    (tmp_path / "pairs.txt").write_text("lj 2 Si C\n0.02 3.3 8.0\n0.01 3.0 7.5\n0.01 3.0 7.5\n0.015 2.8 6.0\n")
    atoms = silicon(amplitude=0.3)
    atoms.symbols[::3] = "C"
    commands = ["pair_style lj/cut 8.0", "pair_coeff 1 1 0.02 3.3 8.0", "pair_coeff 1 2 0.01 3.0 7.5",
                "pair_coeff 2 2 0.015 2.8 6.0", f"pair_modify shift {'yes' if shifted else 'no'}"]
    assert_same(atoms, {"path": tmp_path / "pairs.txt", "shifted": shifted}, ["Si", "C"], commands)


@needs_files
@pytest.mark.oracle
def test_overlay_of_tersoff_and_interlayer_pairs_equals_lammps():
    """Layers of one species each, so that pair coefficients by type tell them apart."""
    from hpcthermo.potentials.embedded import embedded_potential

    atoms = bilayer()
    model = embedded_potential("lj_gr_hbn").model
    c = model.elements.index("C")
    pairs = [f"pair_coeff {t} 3 lj/cut {float(model.epsilon[i, c])!r} {float(model.sigma[i, c])!r} 10.0"
             for t, i in ((1, model.elements.index("B")), (2, model.elements.index("N")))]
    tersoff = EMPIRICAL / "BNC.tersoff"
    commands = ["pair_style hybrid/overlay tersoff lj/cut 10.0", f"pair_coeff * * tersoff {tersoff} B N C",
                *(f"pair_coeff {i} {j} lj/cut 0.0 1.0" for i, j in ((1, 1), (1, 2), (2, 2), (3, 3))), *pairs,
                "pair_modify shift yes"]
    assert_same(atoms, ["tersoff_bnc", "lj_gr_hbn"], ["B", "N", "C"], commands)
