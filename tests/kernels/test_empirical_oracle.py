"""Empirical potentials against LAMMPS: energy to 1e-9 eV/atom, forces to 1e-8 eV/A, stress to 1e-5 GPa."""

import numpy as np
import pytest
from ase.units import GPa
from lammps_oracle import lammps_responses
from sample_structures import EMPIRICAL, bilayer, mixed_sheet, sheet, silicon
from sample_triplets import stillinger_weber_text, tersoff_mod_text

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
    energy, forces, stress = lammps_responses([atoms], species, commands)[0]
    assert abs(atoms.get_potential_energy() - energy) < 1e-9 * len(atoms)
    assert np.abs(atoms.get_forces() - forces).max() < 1e-8
    assert np.abs(atoms.get_stress(voigt=False) - stress).max() < 1e-5 * GPa


@needs_files
@pytest.mark.oracle
@pytest.mark.parametrize("case", TERSOFF)
def test_tersoff_equals_lammps(case):
    file, build, species = TERSOFF[case]
    path = EMPIRICAL / file
    assert_same(build(), path, species, ["pair_style tersoff", f"pair_coeff * * {path} {' '.join(species)}"])


def five_structures(symbols):
    """From compressed to torn apart, in skewed cells; bonds on both sides of every cutoff."""
    structures = []
    for seed, (a, amplitude) in enumerate(((5.43, 0.05), (5.43, 0.2), (4.6, 0.1), (5.1, 0.3), (6.1, 0.15))):
        atoms = silicon(a=a, amplitude=amplitude)
        rng = np.random.default_rng(seed)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0.0, 0.03, (3, 3))), scale_atoms=True)
        atoms.symbols = rng.choice(symbols, len(atoms))
        structures.append(atoms)
    return structures


TRIPLETS = {
    "sw": ("sw", lambda _: EMPIRICAL / "Si.sw", ["Si"]),
    "mixed sw": ("sw", lambda folder: written(folder, stillinger_weber_text()), ["C", "Si"]),
    "mixed tersoff/mod": ("tersoff/mod", lambda folder: written(folder, tersoff_mod_text()), ["C", "Si"]),
}


def written(folder, text):
    (folder / "triplets.txt").write_text(text)
    return folder / "triplets.txt"


@pytest.mark.oracle
@pytest.mark.parametrize("case", TRIPLETS)
def test_potentials_by_triplet_equal_lammps(case, tmp_path):
    style, file, species = TRIPLETS[case]
    path = file(tmp_path)
    if not path.exists():
        pytest.skip("no parameter files in ../shared beside this checkout")
    structures = five_structures(species)
    commands = [f"pair_style {style}", f"pair_coeff * * {path} {' '.join(species)}"]
    responses = lammps_responses(structures, species, commands)
    for atoms, (energy, forces, stress) in zip(structures, responses, strict=True):
        atoms.calc = Calculator(path)
        assert abs(atoms.get_potential_energy() - energy) < 1e-9 * len(atoms)
        assert np.abs(atoms.get_forces() - forces).max() < 1e-8
        assert np.abs(atoms.get_stress(voigt=False) - stress).max() < 1e-5 * GPa
        assert np.abs(stress).max() > 1.0 * GPa


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
