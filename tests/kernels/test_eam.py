"""Embedded-atom potentials against LAMMPS, their analytic form, and differences of their own energy."""

import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_numbers, reference_states
from ase.neighborlist import neighbor_list
from differences import largest_force_error, largest_virial_error
from lammps_oracle import lammps_responses
from one_rank import OneRank
from sample_structures import EMPIRICAL, metals
from sample_tables import finnis_sinclair_text, funcfl_text
from scipy.spatial import cKDTree

from hpcthermo import Calculator
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import CpuBackend
from hpcthermo.gpu.compile import instruction_sets
from hpcthermo.potentials.eam_zhou import COLUMNS, PARAMETERS, embedding
from hpcthermo.potentials.load import load_potential

needs_files = pytest.mark.skipif(not EMPIRICAL.exists(), reason="no parameter files in ../shared beside this checkout")

#: eV/atom, eV/A, eV/A^3: a thousandth of what two interpolations of a table may differ by
TOLERANCE = {"energy": 1e-8, "forces": 1e-7, "stress": 1e-5 / 160.2}


def reference(symbol):
    """Crystal structure of an element."""
    return reference_states[atomic_numbers[symbol]]["symmetry"]


def finnis_sinclair_file(path):
    path.write_text(finnis_sinclair_text())
    return path


def tabulated(name, folder):
    """File, LAMMPS style and species of a case."""
    if name == "Finnis-Sinclair":
        return finnis_sinclair_file(folder / "AlCu.eam.fs"), "eam/fs", ["Al", "Cu"]
    if name == "funcfl":
        (folder / "Al.eam").write_text(funcfl_text())
        return folder / "Al.eam", "eam", ["Al"]
    return EMPIRICAL / name, "eam/alloy", ["Al", "Cu"] if "Cu" in name else ["Al"]


@pytest.mark.oracle
@pytest.mark.parametrize("case", [pytest.param("Al_zhou.eam.alloy", marks=needs_files),
                                  pytest.param("AlCu.eam.alloy", marks=needs_files), "Finnis-Sinclair", "funcfl"])
def test_tables_equal_lammps(case, tmp_path):
    path, style, species = tabulated(case, tmp_path)
    structures = [metals(species, repeat=(2, 2, 3), a=a, amplitude=0.05 + 0.05 * k, seed=k)
                  for k, a in enumerate((4.05, 3.9, 3.7, 4.2, 4.4))]
    structures[1].set_cell(structures[1].cell.array @ np.array([[1, 0, 0], [0.1, 1, 0], [-0.05, 0.02, 1.1]]), True)
    coefficients = f"* * {path}" if style == "eam" else f"* * {path} {' '.join(species)}"
    answers = lammps_responses(structures, species, [f"pair_style {style}", f"pair_coeff {coefficients}"])
    for atoms, (energy, forces, stress) in zip(structures, answers, strict=True):
        atoms.calc = Calculator(path)
        # LAMMPS puts Z(r) of a funcfl file on points of its own
        more = 1000.0 if case == "funcfl" else 1.0
        assert abs(atoms.get_potential_energy() - energy) < more * TOLERANCE["energy"] * len(atoms)
        assert np.abs(atoms.get_forces() - forces).max() < more * TOLERANCE["forces"]
        assert np.abs(atoms.get_stress(voigt=False) - stress).max() < more * TOLERANCE["stress"]


# ---- the analytic form of Zhou et al., written out once more ------------------------------------------


def zhou_energy(atoms, cutoff):
    """Energy from the formulas, pair by pair."""
    cell, positions = atoms.cell.array, atoms.positions
    reach = np.ceil(cutoff / np.abs(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))).astype(int)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 3) @ cell
    images = (positions[None] + shifts[:, None]).reshape(-1, 3)
    symbols = atoms.get_chemical_symbols()

    def decaying(p, amplitude, rate, shift, r):
        x = r / p["r_e"]
        return p[amplitude] * np.exp(-p[rate] * (x - 1.0)) / (1.0 + (x - p[shift]) ** 20)

    def phi(p, r):
        return decaying(p, "A", "alpha", "kappa", r) - decaying(p, "B", "beta", "lambda", r)

    total = 0.0
    for i, near in enumerate(cKDTree(images).query_ball_point(positions, cutoff)):
        p, density = PARAMETERS[symbols[i]], 0.0
        for j in near:
            r = np.linalg.norm(images[j] - positions[i])
            if r < 1e-9:
                continue
            q = PARAMETERS[symbols[j % len(atoms)]]
            f_i, f_j = decaying(p, "f_e", "beta", "lambda", r), decaying(q, "f_e", "beta", "lambda", r)
            density += f_j
            total += 0.25 * (f_j / f_i * phi(p, r) + f_i / f_j * phi(q, r))
        low = (0.25 if symbols[i] == "Pt" else 0.85) * p["rho_e"]
        if density < low:
            total += sum(p[f"Fn{k}"] * (density / low - 1.0) ** k for k in range(4))
        elif density < 1.15 * p["rho_e"]:
            total += sum(p[f"F{k}"] * (density / p["rho_e"] - 1.0) ** k for k in range(4))
        else:
            ratio = (density / p["rho_s"]) ** p["eta"]
            total += p["Fe"] * (1.0 - np.log(ratio)) * ratio
    return total


@pytest.mark.parametrize(("symbols", "a"), [(("Cu",), 3.3), (("Al", "Cu", "Zr", "W"), 4.1), (("Mg", "Pb", "Fe"), 4.4)])
def test_zhou_equals_its_analytic_form(symbols, a):
    atoms = metals(symbols, 2, a, 0.1)
    atoms.calc = Calculator("eam_zhou")
    assert abs(atoms.get_potential_energy() - zhou_energy(atoms, 8.0)) < 1e-8 * len(atoms)
    step, forces = 1e-4, atoms.get_forces()
    energies = []
    for shift in (step, -step):
        moved = atoms.copy()
        moved.positions[3, 1] += shift
        energies.append(zhou_energy(moved, 8.0))
    assert abs(forces[3, 1] + (energies[0] - energies[1]) / (2.0 * step)) < 2e-6
    assert np.abs(forces).max() > 0.5


@pytest.mark.parametrize("symbol", PARAMETERS)
def test_zhou_equals_its_analytic_form_for_every_element(symbol):
    # densities from thin to dense: all pieces of F
    for scale in (0.9, 1.0, 1.2):
        atoms = metals((symbol,), 1, scale * np.sqrt(2.0) * PARAMETERS[symbol]["r_e"], 0.05)
        atoms.calc = Calculator("eam_zhou")
        assert abs(atoms.get_potential_energy() - zhou_energy(atoms, 8.0)) < 1e-8 * len(atoms)


@pytest.mark.parametrize("symbol", PARAMETERS)
def test_the_pieces_of_an_embedding_function_join(symbol):
    """A wrong digit of F shows as a step. The slope of V is the one that jumps, as its author has it."""
    p = PARAMETERS[symbol]
    for node in (p["inner"] * p["rho_e"], 1.15 * p["rho_e"]):
        below, above = (embedding(p, np.array([node]), np.array([side * node])) for side in (0.999, 1.001))
        assert abs(below[0] - above[0]) < 1e-6
        assert abs(below[1] - above[1]) * p["rho_e"] < (0.21 if symbol == "V" else 2e-4)


@pytest.mark.parametrize("symbol", [s for s in PARAMETERS if reference(s) in ("fcc", "bcc") and s != "V"])
def test_cubic_metals_are_in_equilibrium_at_r_e(symbol):
    """At the distance r_e of neighbours the density is rho_e and the pressure zero: any wrong digit shows."""
    p, structure = PARAMETERS[symbol], reference(symbol)
    a = p["r_e"] * {"fcc": np.sqrt(2.0), "bcc": 2.0 / np.sqrt(3.0)}[structure]
    crystal = bulk(symbol, structure, a=a)
    distances = neighbor_list("d", crystal, 8.0)
    density = (p["f_e"] * np.exp(-p["beta"] * (distances / p["r_e"] - 1.0))
               / (1.0 + (distances / p["r_e"] - p["lambda"]) ** 20)).sum()
    assert density == pytest.approx(p["rho_e"], rel=2e-5)
    crystal.calc = Calculator("eam_zhou")
    assert np.abs(crystal.get_stress()).max() * 160.2 < 0.05


@pytest.mark.parametrize(("symbol", "a", "energy"), [("Cr", 2.880, -4.10), ("V", 3.028, -5.31)])
def test_chromium_and_vanadium(symbol, a, energy):
    """Measured lattice constants and cohesive energies, to which these sets were fitted."""
    crystal = bulk(symbol, "bcc", a=a)
    crystal.calc = Calculator("eam_zhou")
    assert crystal.get_potential_energy() == pytest.approx(energy, abs=2e-4)
    assert np.abs(crystal.get_stress()).max() * 160.2 < 0.2


def test_all_zhou_functions_are_small_at_the_default_cutoff():
    model = load_potential("eam_zhou").model
    for a in range(len(model.elements)):
        for b in range(len(model.elements)):
            assert abs(model.pair(a, b)(np.array([model.cutoff]))[0][0]) < 1e-6


# ---- derivatives, precisions, sums --------------------------------------------------------------------


@pytest.mark.parametrize("case", ["alloy", "Finnis-Sinclair", "surface"])
def test_forces_and_virials_are_derivatives(case, tmp_path):
    symbols = ("Al", "Cu")
    atoms = metals(symbols, 2)
    if case == "surface":
        atoms.center(vacuum=6.0, axis=2)
        atoms.pbc = (True, True, False)
    atoms.calc = Calculator(finnis_sinclair_file(tmp_path / "fs") if case == "Finnis-Sinclair" else
                            {"name": "eam_zhou", "cutoff_A": 8.0})
    assert largest_force_error(atoms, [0, 7]) < 1e-6
    if case != "surface":
        # the difference must not span pairs that cross the cutoff
        assert largest_virial_error(atoms, 1e-5) < 1e-5
    assert np.abs(atoms.get_forces().sum(axis=0)).max() < 1e-9


def test_neighbour_centred_virials_by_hand(tmp_path):
    """W_j = -sum_i r_ij (x) dU_i/dr_ij, with dU_i/dr_ij from differences of the site energy of i alone."""
    spec = {"path": finnis_sinclair_file(tmp_path / "fs")}
    atoms = metals(("Al", "Cu"), 1)
    atoms.pbc, atoms.cell = False, None
    calculator = Calculator(spec)

    def sites(moved):
        moved.calc = calculator
        moved.get_potential_energy()
        return calculator.results["energies"].copy()

    sites(atoms)
    found = calculator.results["virials"].copy()
    expected = np.zeros_like(found)
    for j in range(len(atoms)):
        for axis in range(3):
            values = []
            for shift in (1e-4, -1e-4):
                moved = atoms.copy()
                moved.positions[j, axis] += shift
                values.append(sites(moved))
            slopes = (values[0] - values[1]) / 2e-4
            for i in range(len(atoms)):
                if i != j:
                    expected[j, :, axis] -= (atoms.positions[j] - atoms.positions[i]) * slopes[i]
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_instruction_sets_and_precisions_agree(instruction_set):
    available = list(instruction_sets())
    if available.index(instruction_set) < available.index(CpuBackend("double").instruction_set):
        pytest.skip(f"this processor has no {instruction_set}")
    atoms = metals(("Al", "Cu", "Ni"), 2)
    results = {
        (precision, used): OneRank(load_potential("eam_zhou"), atoms.get_chemical_symbols(), atoms.positions,
                                   atoms.cell.array, precision=precision, instruction_set=used).run()
        for precision, used in (("double", None), ("double", instruction_set), ("mixed", instruction_set))}
    for value, same, mixed in zip(results["double", None], results["double", instruction_set],
                                  results["mixed", instruction_set], strict=True):
        assert np.abs(same - value).max() < 1e-10
        assert np.abs(mixed - value).max() < 2e-5 + 3e-6 * np.abs(value).max()


def test_far_and_isolated_atoms_have_the_energy_of_no_density():
    atoms = metals(("Al",), 1)[:2]
    atoms.positions = [[0, 0, 0], [0, 0, 20.0]]
    atoms.pbc, atoms.cell = False, None
    atoms.calc = Calculator("eam_zhou")
    p = PARAMETERS["Al"]
    assert abs(atoms.get_potential_energy() - 2.0 * (p["Fn0"] - p["Fn1"] + p["Fn2"] - p["Fn3"])) < 1e-12
    assert not atoms.get_forces().any()


# ---- bad input ----------------------------------------------------------------------------------------


def _cut(text):
    return text[:len(text) // 2]


@pytest.mark.parametrize(("change", "message"), [
    (_cut, "the file is damaged"), (lambda t: t.replace("2 Al Cu", "2 Al Xx", 1), "no chemical symbol"),
    (lambda t: t.replace(" 5.2", " 50.2", 1), "cutoff from 0.5 to 30"),
    (lambda t: t.replace(" 5.2", " 9.2", 1), "the tables end at"),
    (lambda t: t.replace("e+00", "e+0x", 1), "expected a finite number"),
])
def test_damaged_files_are_refused_with_one_line(change, message, tmp_path):
    path = finnis_sinclair_file(tmp_path / "fs")
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        load_potential({"path": path, "style": "eam"})
    assert "\n" not in str(caught.value)


def test_elements_without_parameters_are_refused():
    with pytest.raises(InputError, match="no parameters for Si"):
        load_potential("eam_zhou").bind(("Al", "Si"), CpuBackend("double"))


@needs_files
def test_zhou_parameters_equal_the_published_file():
    """All but three numbers of Cr, which this file has from elsewhere."""
    rows = [line.split() for line in (EMPIRICAL / "EAM_Zhou2004_18elements.gpumd.txt").read_text().splitlines()]
    theirs = {row[0]: dict(zip(COLUMNS, map(float, row[1:21]), strict=True)) for row in rows}
    differ = {(symbol, name) for symbol, p in PARAMETERS.items() for name in COLUMNS if p[name] != theirs[symbol][name]}
    assert theirs.keys() == PARAMETERS.keys()
    assert differ == {("Cr", "beta"), ("Cr", "A"), ("Cr", "B")}
