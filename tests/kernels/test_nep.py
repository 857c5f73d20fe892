"""The NEP kernel: derivatives, independent formulas, published reference outputs, precisions, instruction sets."""

import os
import platform
import subprocess
from pathlib import Path

import nep_reference
import numpy as np
import pytest
from ase.build import bulk
from one_rank import OneRank

from hpcthermo.gpu.backend import CpuBackend, supported_instruction_set
from hpcthermo.gpu.compile import instruction_sets
from hpcthermo.potentials.base import ForceArrays
from hpcthermo.potentials.nep import read_nep

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SHARED_MODELS = {
    "Gr/h-BN": ("gr_hbn_liang2025.nep.txt", ("C", "B", "N")),
    "C 2022": ("C_2022_NEP4.txt", ("C",)),
    "C 2024": ("C_2024_NEP4.txt", ("C",)),
    "Si 4-body": ("Si_2022_NEP4_4body.txt", ("Si",)),
    "Si 5-body": ("Si_2022_NEP4_5body.txt", ("Si",)),
    "UNEP": ("UNEP_v1_16metals.txt", ("Cu", "Zr", "Ag", "W", "Al", "Ti", "Mg", "Pb",
                                         "Ta", "V", "Mo", "Ni", "Pd", "Pt", "Au", "Cr")),
    "PbTe": ("pbte_reference/nep.txt", ("Te", "Pb")),
}
MANY_ELEMENTS = ("B", "C", "N", "O", "Al", "Si", "P", "Ti", "V", "Cr", "Fe", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Mo")
SYNTHETIC = {
    "nep3": {"kind": "nep3", "flags": (4, 2, 0)},
    "nep4 two numbers on the cutoff line": {"counts": ""},
    "nep5": {"kind": "nep5"},
    "all invariants": {"flags": (4, 1, 1, 1, 1, 1, 1)},
    "134 without 222": {"flags": (4, 0, 0, 0, 0, 0, 1)},
    "123 and 233 of low degree": {"flags": (3, 0, 1, 0, 1, 1)},
    "degree 8, largest sizes": {"flags": (8, 2, 1, 1, 1, 1, 1), "n_max": (12, 8), "basis": (16, 16), "neurons": 17},
    "degree 1": {"flags": (1,), "n_max": (0, 0), "basis": (0, 0)},
    "cutoffs by type": {"cutoff": "5 3.5 4.6 4.2 5.5 4", "flags": (4, 1)},
    "zbl": {"kind": "nep4_zbl", "zbl": "zbl 0.9 1.8"},
    "zbl typewise": {"kind": "nep4_zbl", "zbl": "zbl 0.9 2 0.9"},
    "zbl flexible": {"kind": "nep5_zbl", "zbl": "zbl 0 0", "flags": (4, 1, 1, 1)},
    "seven elements, zbl, cutoffs by type": {
        "elements": MANY_ELEMENTS[:7], "kind": "nep4_zbl", "zbl": "zbl 0.9 2 0.9", "flags": (4, 2, 1),
        "cutoff": "5 3.5 4.6 4.2 5.5 4 4.8 3.9 5.2 4.4 5.1 3.7 4.9 4.1"},
    "zbl beyond the angular cutoff": {"kind": "nep4_zbl", "zbl": "zbl 1 3", "cutoff": "5 2.2"},
}


def cluster(elements, n=12, seed=3, spacing=1.45):
    """Symbols, positions and a triclinic cell thinner than most cutoffs, atoms apart by about `spacing`."""
    random = np.random.default_rng(seed)
    cell = spacing * np.array([[3.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.4, 0.3, 2.0]])
    grid = np.array([(i / 3, j / 2, k / 2) for i in range(3) for j in range(2) for k in range(2)])[:n]
    positions = grid @ cell + random.normal(0, 0.06 * spacing, (n, 3))
    return [elements[i % len(elements)] for i in range(n)], positions, cell


def crystal(elements):
    """Symbols, positions and cell of a rattled crystal of the kind the model was trained on."""
    if elements[0] == "C" and len(elements) == 3:  # AB stack of graphene on h-BN
        a, b = 2.483, 2.483 * np.sqrt(3.0)
        layer = np.array([(0, 0, 0), (a / 2, b / 6, 0), (a / 2, b / 2, 0), (0, 2 * b / 3, 0)])
        positions = np.concatenate([layer, layer + np.array([0, b / 3, 3.35])])
        symbols, cell = ["C"] * 4 + ["B", "N"] * 2, np.diag([a, b, 6.7])
    else:
        structure, constant = {"C": ("diamond", 3.57), "Si": ("diamond", 5.43), "Cu": ("fcc", 4.0),
                               "Te": ("rocksalt", 6.46)}[elements[0]]
        basis = bulk("PbTe" if structure == "rocksalt" else "C", structure, a=constant, cubic=True)
        crystal = basis.repeat((2, 2, 1)) if len(elements) == 16 else basis
        positions, cell = crystal.positions, crystal.cell.array
        symbols = [elements[(i if len(elements) == 16 else i % 2) % len(elements)] for i in range(len(crystal))]
    return symbols, positions + np.random.default_rng(3).normal(0, 0.05, positions.shape), cell


@pytest.fixture(params=[*SHARED_MODELS, *SYNTHETIC])
def case(request, tmp_path):
    if request.param in SHARED_MODELS:
        name, elements = SHARED_MODELS[request.param]
        path = SHARED / "nep" / name
        if not path.exists():
            pytest.skip(f"{path} is absent")
        return read_nep(path), *crystal(elements)
    path = nep_reference.write_model(tmp_path / "nep.txt", **SYNTHETIC[request.param])
    potential = read_nep(path)
    return potential, *cluster(potential.elements)


def four_point(function, step):
    """Derivative at 0 of a scalar function, error of order step^4."""
    return (8 * (function(step) - function(-step)) - (function(2 * step) - function(-2 * step))) / (12 * step)


def test_forces_are_derivatives_of_the_energy(case):
    potential, symbols, positions, cell = case
    rank = OneRank(potential, symbols, positions, cell)
    _, forces, _ = rank.run()
    start = rank.system.positions.copy()
    for atom, axis in ((0, 0), (1, 1), (5, 2), (len(symbols) - 1, 0)):

        def energy(step, atom=atom, axis=axis):
            rank.system.positions = start.copy()
            rank.system.positions[rank.owners == atom, axis] += step
            return rank.run(virials=False)[0].sum()

        assert forces[atom, axis] == pytest.approx(-four_point(energy, 1e-4), abs=1e-6, rel=1e-8)


def test_virials_are_strain_derivatives(case):
    potential, symbols, positions, cell = case
    rank = OneRank(potential, symbols, positions, cell)
    _, forces, virials = rank.run()
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-10 * max(1.0, np.abs(forces).max()))
    start = rank.system.positions.copy()
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (2, 0)):

        def energy(step, a=a, b=b):
            strain = np.eye(3)
            strain[a, b] += step
            rank.system.positions = start @ strain
            return rank.run(virials=False)[0].sum()

        assert virials[:, a, b].sum() == pytest.approx(-four_point(energy, 3e-6), abs=1e-6, rel=1e-8)


def test_energies_agree_with_the_formulas(case):
    potential, symbols, positions, cell = case
    rank = OneRank(potential, symbols, positions, cell)
    types = np.array([potential.elements.index(rank.system.species[t]) for t in rank.system.types])
    expected = nep_reference.energies(potential.model, types, rank.system.positions, 3)
    np.testing.assert_allclose(rank.run()[0][:3], expected, rtol=1e-10, atol=1e-10)


def test_mixed_precision_stays_near_double(case):
    potential, symbols, positions, cell = case
    double = OneRank(potential, symbols, positions, cell).run()
    mixed = OneRank(potential, symbols, positions, cell, precision="mixed").run()
    largest = np.abs(double[1]).max()
    error = np.abs(mixed[1] - double[1])
    assert error.max() < 1e-4 + 3e-6 * largest
    assert np.median(np.linalg.norm(mixed[1] - double[1], axis=1) / np.linalg.norm(double[1], axis=1)) < 5e-6


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_instruction_sets_agree(case, precision):
    potential, symbols, positions, cell = case
    supported = list(instruction_sets())
    supported = supported[supported.index(supported_instruction_set()):]
    results = [OneRank(potential, symbols, positions, cell, precision=precision, instruction_set=i).run()
               for i in supported]
    scale = np.abs(results[0][1]).max()
    tolerance = (1e-11 if precision == "double" else 1e-5) * max(1.0, scale)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)


def test_ranges_add_up(tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt"))
    rank = OneRank(potential, *cluster(("B", "C", "N")), precision="double")
    whole = rank.run()
    s = rank.system
    out = ForceArrays(np.zeros(s.n_owned), np.zeros((s.n_total + 1, 4)), np.zeros((s.n_total + 1, 12)))
    for begin, end in ((0, 5), (5, 5), (5, 6), (6, s.n_owned)):
        rank.bound.compute(s, rank.packed(), begin, end, out)
    np.testing.assert_allclose(out.energies, whole[0], rtol=1e-13)
    for part, value in zip(rank.settled(out)[1:], whole[1:], strict=True):
        np.testing.assert_allclose(part, value, atol=1e-11)


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_species_without_atoms_change_nothing(tmp_path, precision):
    """Lists sorted by type (few species) and not (many), rows over types shorter and longer than registers."""
    path = nep_reference.write_model(tmp_path / "nep.txt", elements=MANY_ELEMENTS, flags=(4, 2, 1))
    structure = cluster(("B", "Si", "Mo"))
    results = [OneRank(read_nep(path), *structure, precision=precision, species=species).run()
               for species in (("B", "Si", "Mo"), ("B", "O", "Si", "Mo", "Al"), (*MANY_ELEMENTS[2:], "B"),
                               MANY_ELEMENTS)]
    tolerance = (1e-12 if precision == "double" else 3e-6) * max(1.0, np.abs(results[0][1]).max())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)


def test_stage_cycles_are_counted_on_request_and_change_nothing(tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", **SYNTHETIC["zbl"]))
    rank = OneRank(potential, *cluster(("B", "C", "N")))
    plain = rank.run()
    rank.bound.stage_cycles = np.zeros(len(rank.bound.STAGES))
    counted = rank.run()
    if platform.machine().lower() in ("x86_64", "amd64"):
        assert np.all(rank.bound.stage_cycles > 0)
    for a, b in zip(plain, counted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_isolated_atoms_and_no_atoms(tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt"))
    rank = OneRank(potential, ["B", "C"], np.array([[0.0, 0, 0], [30.0, 0, 0]]), 60 * np.eye(3), (False,) * 3)
    energies, forces, _ = rank.run()
    types = np.array([potential.elements.index(s) for s in ("B", "C")])
    expected = nep_reference.energies(potential.model, types, rank.system.positions, 2)
    np.testing.assert_allclose(energies, expected, rtol=1e-12)
    assert np.all(forces == 0.0)


@pytest.mark.parametrize("instruction_set", list(instruction_sets()))
def test_pbte_reference_outputs(instruction_set):
    """Descriptors, forces and nine virial components published with NEP_CPU (see the data's README)."""
    folder = SHARED / "nep" / "pbte_reference"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    if instruction_set not in list(instruction_sets())[list(instruction_sets()).index(supported_instruction_set()):]:
        pytest.skip(f"this processor has no {instruction_set}")
    lines = (folder / "xyz.in").read_text().split("\n")
    cell = np.array(lines[1].split(), float).reshape(3, 3).T
    symbols = [line.split()[0] for line in lines[2:252]]
    positions = np.array([line.split()[1:4] for line in lines[2:252]], float)
    backend = CpuBackend("double", instruction_set)
    rank = OneRank(read_nep(folder / "nep.txt"), symbols, positions, cell, backend=backend)
    _, forces, virials = rank.run()
    descriptors = rank.bound.descriptors(rank.system, rank.packed())
    np.testing.assert_allclose(descriptors, np.loadtxt(folder / "descriptor_ref.out"), atol=1e-10)
    np.testing.assert_allclose(forces, np.loadtxt(folder / "force_analytical_ref.out"), atol=1e-10)
    np.testing.assert_allclose(virials, np.loadtxt(folder / "virial_ref.out").reshape(-1, 3, 3), atol=1e-10)


ORACLE = """
import sys
import numpy as np
from ase import Atoms
from calorine.calculators import CPUNEP
data = np.load(sys.argv[2])
atoms = Atoms(list(data["symbols"]), positions=data["positions"], cell=data["cell"], pbc=True)
atoms.calc = CPUNEP(sys.argv[1])
np.savez(sys.argv[3], energy=atoms.get_potential_energy(), forces=atoms.get_forces())
"""


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["all invariants", "134 without 222", "cutoffs by type", "zbl", "zbl typewise",
                                  "zbl flexible"])
def test_calorine_agrees(name, tmp_path):
    """The other implementation, in its own process: set HPCTHERMO_CALORINE_PYTHON to a Python that has it."""
    python = os.environ.get("HPCTHERMO_CALORINE_PYTHON")
    if not python:
        pytest.skip("HPCTHERMO_CALORINE_PYTHON is not set")
    options = {**SYNTHETIC[name]}
    options["kind"] = options.get("kind", "nep4").replace("nep5", "nep4")
    options["flags"] = (*options.get("flags", (4, 1, 1)), 0, 0)[:7]
    path = nep_reference.write_model(tmp_path / "nep.txt", **options)
    symbols, positions, cell = cluster(("B", "C", "N"))
    np.savez(tmp_path / "in.npz", symbols=symbols, positions=positions, cell=cell)
    arguments = [str(path), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    subprocess.run([python, "-c", ORACLE, *arguments], check=True, capture_output=True)
    expected = np.load(tmp_path / "out.npz")
    energies, forces, _ = OneRank(read_nep(path), symbols, positions, cell).run()
    assert energies.sum() == pytest.approx(float(expected["energy"]), abs=1e-10)
    np.testing.assert_allclose(forces, expected["forces"], atol=1e-10)


def test_exfoliation_curve_of_paper_001():
    """50 energies of an AB stack of graphene on h-BN by interlayer distance, NEP of paper 001, eV/atom."""
    folder = SHARED / "gr_hbn"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    lines = (folder / "exfoliation_AB.POSCAR").read_text().split("\n")
    cell = np.array([line.split() for line in lines[2:5]], float)
    positions = np.array([line.split()[:3] for line in lines[8:12]], float)
    potential = read_nep(SHARED / "nep" / "gr_hbn_liang2025.nep.txt")
    for distance, expected in np.loadtxt(folder / "exfoliation_AB.nep.dat"):
        positions[2:, 2] = distance + 24.2550311798
        energies, _, _ = OneRank(potential, ["C", "C", "B", "N"], positions, cell).run(virials=False)
        assert energies.mean() == pytest.approx(expected, abs=1e-9)
