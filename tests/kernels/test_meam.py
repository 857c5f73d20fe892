"""Modified embedded-atom potentials against LAMMPS, reference energies, and differences of their own energy."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from differences import largest_force_error, largest_virial_error
from lammps_oracle import lammps_responses
from one_rank import OneRank
from sample_structures import metals, perturbed

from hpcthermo import Calculator
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import CpuBackend
from hpcthermo.gpu.compile import instruction_sets
from hpcthermo.potentials.load import load_potential
from hpcthermo.potentials.meam import MeamPotential
from hpcthermo.potentials.meam_file import parse_meam

#: label, lattice, Z, number, mass, alpha, b0-b3, lattice constant, E_c, A, t0-t3, rho0, form of G
ENTRIES = {
    "Al": "fcc 12 13 26.98 4.64 2.04 3.0 6.0 1.5 4.05 3.353 1.07 1.0 4.5 -2.3 8.01 1.0 -5",
    "Al0": "fcc 12 13 26.98 4.61 2.21 2.2 6.0 2.2 4.05 3.58 1.07 1.0 -1.78 -2.21 8.01 0.6 0",
    "Si": "dia 4 14 28.086 4.87 4.4 5.5 5.5 5.5 5.431 4.63 1.0 1.0 2.05 4.47 -1.8 2.2 -5",
    "Si1": "dia 4 14 28.086 4.87 4.8 4.8 4.8 4.8 5.431 4.63 1.0 1.0 3.3 5.105 -0.8 1.0 1",
    "Mg": "hcp 12 12 24.305 5.52 4.0 3.0 0.2 1.2 3.194 1.51 0.8 1.0 10.04 9.49 -4.3 0.63 3",
    "Fe": "bcc 8 26 55.847 5.027 3.5 2.0 1.0 1.0 2.851 4.28 0.555 1.0 -1.6 12.5 -1.4 1.0 0",
}
LIBRARY = "\n".join(f"'{label}' {entry}" for label, entry in ENTRIES.items())
ALUMINIUM = "rc = 5.0\ndelr = 0.5\naugt1 = 0\n"
AL_SI = """rc = 5.0
delr = 0.25
bkgd_dyn = 1
emb_lin_neg = 1
nn2(1,1) = 1
nn2(1,2) = 1
nn2(2,2) = 1
repuls(1,1) = 0.1
lattce(1,2) = 'b1'
delta(1,2) = 0.28
alpha(1,2) = 4.56
re(1,2) = 2.62
Cmin(1,1,1) = 0.8
Cmin(1,1,2) = 0.5
Cmax(1,1,2) = 1.6
"""
#: chosen labels -> symbols, parameter file
CASES = {
    "aluminium, first neighbours": ({"Al0": "Al"}, ALUMINIUM),
    "aluminium, second neighbours": ({"Al": "Al"}, ALUMINIUM + "nn2(1,1) = 1\nCmin(1,1,1) = 0.8\nerose_form = 2\n"
                                     "attrac(1,1) = 0.05\nrepuls(1,1) = 0.1\n"),
    "silicon": ({"Si": "Si"}, "rc = 4.5\ndelr = 0.3\n"),
    "silicon, second neighbours": ({"Si1": "Si"}, "rc = 5.0\nnn2(1,1) = 1\nCmin(1,1,1) = 0.2\nCmax(1,1,1) = 1.4\n"),
    "magnesium": ({"Mg": "Mg"}, ALUMINIUM + "nn2(1,1) = 1\nCmin(1,1,1) = 0.8\nerose_form = 1\nrepuls(1,1) = 0.1\n"),
    "iron": ({"Fe": "Fe"}, ALUMINIUM + "nn2(1,1) = 1\nCmin(1,1,1) = 0.68\nCmax(1,1,1) = 1.9\n"),
    "rock salt, mean by squares": ({"Al": "Al", "Si": "Si"}, AL_SI + "ialloy = 1\n"),
    "rock salt, mean by density": ({"Al": "Al", "Si": "Si"}, AL_SI + "ialloy = 0\n"),
    "caesium chloride, own t": ({"Al": "Al", "Si": "Si"}, AL_SI.replace("b1", "b2") + "ialloy = 2\nzbl(1,2) = 0\n"),
    "zincblende": ({"Al": "Al", "Si": "Si"}, AL_SI.replace("b1", "dia")),
}


def model(case):
    labels, text = CASES[case]
    return MeamPotential(parse_meam(LIBRARY, text, labels, case))


def structures(case):
    """Five perturbed crystals."""
    symbols = list(CASES[case][0].values())
    if symbols == ["Si"]:
        crystals = [bulk("Si", "diamond", a=a, cubic=True) for a in (5.43, 5.2, 5.7, 4.9, 5.43)]
    elif symbols == ["Mg"]:
        crystals = [bulk("Mg", "hcp", a=3.2 * s, c=5.2 * s).repeat((2, 2, 1)) for s in (1.0, 0.95, 1.05, 1.0, 1.1)]
    elif symbols == ["Fe"]:
        crystals = [bulk("Fe", "bcc", a=a, cubic=True).repeat((2, 2, 1)) for a in (2.85, 2.8, 2.95, 2.85, 2.85)]
    else:
        crystals = [metals(symbols, (1, 2, 2), a, 0.0, k) for k, a in enumerate((4.05, 4.2, 3.9, 4.4, 4.05))]
    crystals[4].set_cell(crystals[4].cell.array @ np.array([[1, 0, 0], [0.1, 1, 0], [-0.05, 0.02, 1.05]]), True)
    return [perturbed(atoms, 0.03 + 0.03 * k, k) for k, atoms in enumerate(crystals)]


#: left to the slow tests
SLOW = ("caesium chloride, own t", "rock salt, mean by density", "magnesium")


@pytest.mark.oracle
@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] if c in SLOW else []) for c in CASES])
def test_meam_equals_lammps(case, tmp_path):
    labels, text = CASES[case]
    library, parameters, names = tmp_path / "library", tmp_path / "parameters", " ".join(labels)
    library.write_text(LIBRARY + "\n")
    parameters.write_text(text)
    crystals = structures(case)
    if case == "zincblende":
        # pairs so close that the repulsion of the nuclei counts
        crystals += [Atoms("AlSi", positions=[[0, 0, 0], [r, 0, 0]], cell=[15, 15, 15], pbc=True) for r in (1.6, 1.9)]
    answers = lammps_responses(crystals, list(labels.values()), [
        "pair_style meam", f"pair_coeff * * {library} {names} {parameters} {names}"])
    calculator = Calculator({"path": parameters, "library": "library", "elements": labels})
    for atoms, (energy, forces, stress) in zip(crystals, answers, strict=True):
        atoms.calc = calculator
        assert abs(atoms.get_potential_energy() - energy) < 1e-5 * len(atoms)
        assert np.abs(atoms.get_forces() - forces).max() < 1e-4
        assert np.abs(atoms.get_stress(voigt=False) - stress).max() < 0.01 / 160.2


@pytest.mark.parametrize(("case", "crystal", "energy"), [
    ("aluminium, first neighbours", bulk("Al", "fcc", a=4.05), 3.58),
    ("aluminium, second neighbours", bulk("Al", "fcc", a=4.05), 3.353),
    ("silicon", bulk("Si", "diamond", a=5.431), 4.63),
    ("iron", bulk("Fe", "bcc", a=2.851), 4.28),
    ("rock salt, mean by squares", bulk("AlSi", "rocksalt", a=5.24), 0.5 * (3.353 + 4.63) - 0.28),
    ("zincblende", bulk("AlSi", "zincblende", a=2.62 * 4.0 / np.sqrt(3.0)), 0.5 * (3.353 + 4.63) - 0.28)])
def test_reference_structures_have_their_energy_and_no_pressure(case, crystal, energy):
    crystal.calc = Calculator(model(case))
    assert crystal.get_potential_energy() / len(crystal) == pytest.approx(-energy, abs=1e-6)
    assert np.abs(crystal.get_stress()).max() < 1e-6
    assert np.abs(crystal.get_forces()).max() < 1e-9


@pytest.mark.parametrize("case", ["aluminium, second neighbours", "silicon, second neighbours", "magnesium",
                                  "rock salt, mean by squares", "rock salt, mean by density"])
def test_forces_and_virials_are_derivatives(case):
    atoms = structures(case)[1]
    atoms.calc = Calculator(model(case))
    assert largest_force_error(atoms, [0, 5], 3e-4) < 2e-6
    assert largest_virial_error(atoms, 3e-5) < 2e-5
    assert np.abs(atoms.get_forces().sum(axis=0)).max() < 1e-9
    assert np.abs(atoms.get_forces()).max() > 0.1


def test_virials_of_a_cluster_turn_with_it():
    """A torque would show that r_ij (x) f_ij is not symmetric in the sum."""
    atoms = structures("silicon")[0]
    atoms.pbc, atoms.cell = False, None
    atoms.calc = Calculator(model("silicon"))
    atoms.get_forces()
    total = atoms.calc.results["virials"].sum(axis=0)
    assert np.abs(total - total.T).max() < 1e-9


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_instruction_sets_and_precisions_agree(instruction_set):
    available = list(instruction_sets())
    if available.index(instruction_set) < available.index(CpuBackend("double").instruction_set):
        pytest.skip(f"this processor has no {instruction_set}")
    atoms = metals(("Al", "Si"), 2, 4.2)
    results = {
        (precision, used): OneRank(load_potential("meam_al_si"), atoms.get_chemical_symbols(), atoms.positions,
                                   atoms.cell.array, precision=precision, instruction_set=used).run()
        for precision, used in (("double", None), ("double", instruction_set), ("mixed", instruction_set))}
    for value, same, mixed in zip(results["double", None], results["double", instruction_set],
                                  results["mixed", instruction_set], strict=True):
        assert np.abs(same - value).max() < 1e-9
        assert np.abs(mixed - value).max() < 5e-5 + 5e-6 * np.abs(value).max()


@pytest.mark.parametrize(("change", "message"), [
    (("rc = 5.0", "rc = -1"), "expected rc from"),
    (("rc =", "rcut ="), "unknown keyword 'rcut'"),
    (("re(1,2)", "re(1,3)"), "expected 2 indices from 1 to 2"),
    (("re(1,2) = 2.62\n", ""), "expected re, alpha and lattce"),
    (("'b1'", "'zig'"), "expected re, alpha and lattce"),
    (("Cmin(1,1,1) = 0.8", "Cmin(1,1,1) = 3.0"), "Cmax above Cmin"),
    (("delr = 0.25", "delr = x"), "expected a finite number"),
    (("bkgd_dyn = 1", "bkgd_dyn = 2"), "expected one of 0, 1"),
])
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        parse_meam(LIBRARY, AL_SI.replace(*change), {"Al": "Al", "Si": "Si"}, "file")


def test_elements_and_library_are_asked_for(tmp_path):
    (tmp_path / "x.meam").write_text(AL_SI)
    with pytest.raises(InputError, match="give library"):
        load_potential("x.meam", tmp_path)
    (tmp_path / "library").write_text(LIBRARY)
    with pytest.raises(InputError, match="no element 'Xx' in the library"):
        load_potential({"path": "x.meam", "library": "library", "elements": {"Xx": "Al"}}, tmp_path)
