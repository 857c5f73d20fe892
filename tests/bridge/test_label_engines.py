"""Labels by calculators of other codes: forces and stress are derivatives of the energy, and the version is known."""

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import Hartree

from hpcthermo.campaign.run import run_campaign
from hpcthermo.config.labelling import Cp2kEngine, GpawEngine, TbliteEngine
from hpcthermo.errors import PhysicsError
from hpcthermo.labelling.calculators import Cp2k, Gpaw, cp2k_input, free_energy
from hpcthermo.labelling.task import LabelStructures

STEP = 0.01


def boron_nitride(shift: float = 0.0, strain: float = 0.0) -> Atoms:
    """One layer, its nitrogen out of place."""
    a = 2.51
    atoms = Atoms("BN", positions=[[0.0, 0.0, 4.0], [0.1, a / np.sqrt(3.0), 4.0]],
                  cell=[[a, 0.0, 0.0], [-a / 2, a * np.sqrt(3.0) / 2, 0.0], [0.0, 0.0, 8.0]], pbc=True)
    stretch = np.diag([1.0 + strain, 1.0, 1.0])
    atoms.set_cell(atoms.cell.array @ stretch, scale_atoms=True)
    atoms.positions[1, 0] += shift
    return atoms


def check(engine, mesh, program, relative):
    structures = [boron_nitride(), boron_nitride(STEP), boron_nitride(-STEP), boron_nitride(0.0, STEP),
                  boron_nitride(0.0, -STEP)]
    function = LabelStructures(engine)
    records = run_campaign(function, [function.task(a, mesh) for a in structures])
    assert not records.failures, records.failures
    energies = [float(record.arrays["energy"]) for record in records]
    first = records[0].arrays
    assert abs(first["forces"][1, 0]) > 1.0
    assert first["forces"][1, 0] == pytest.approx(-(energies[1] - energies[2]) / (2 * STEP), rel=relative["force"])
    assert abs(first["virial"][0, 0]) > 1.0
    assert first["virial"][0, 0] == pytest.approx(-(energies[3] - energies[4]) / (2 * STEP), rel=relative["virial"])
    assert first["program"].item().decode().startswith(program)
    return first


def test_tblite():
    pytest.importorskip("tblite.ase", reason="tblite is not installed")
    check(TbliteEngine(name="tblite"), (1, 1, 1), "tblite ", {"force": 1e-3, "virial": 3e-3})


class SmearedCopper(EMT):
    """Its free energy is below its energy, as with smeared electrons."""

    implemented_properties = (*EMT.implemented_properties, "free_energy")

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["free_energy"] = self.results["energy"] - 0.25


def test_the_energy_with_a_dispersion_correction_is_the_free_energy():
    dftd3 = pytest.importorskip("dftd3.ase", reason="dftd3 is not installed")
    atoms = bulk("Cu")
    atoms.calc = dftd3.DFTD3(method="PBE", damping="d3bj")
    dispersion = atoms.get_potential_energy()
    atoms.calc = SmearedCopper()
    alone = atoms.get_potential_energy()
    atoms.calc = dftd3.DFTD3(method="PBE", damping="d3bj").add_calculator(SmearedCopper())
    assert free_energy(atoms) == pytest.approx(alone - 0.25 + dispersion, abs=1e-9)
    table = GpawEngine(name="gpaw", cutoff_eV=500.0, k_points={"k_spacing_per_A": 1.0}, smearing_width_eV=0.1)
    assert Gpaw(table).dispersion_energy(atoms, Path()) == pytest.approx(dispersion, abs=1e-9)


def test_input_of_cp2k_says_all_settings():
    table = Cp2kEngine(name="cp2k", cutoff_Ry=300.0, k_points={"k_spacing_per_A": 1.0}, dispersion="d3bj",
                       smearing_width_eV=0.1, scf_tolerance=3e-7)
    lines = [line.strip() for line in cp2k_input(table, (3, 2, 1), ["B", "N"]).splitlines()]
    for wanted in ("SCHEME GAMMA 3 2 1", "EPS_SCF 3e-07", "ADDED_MOS 8",
                   "TYPE DFTD3(BJ)", "REFERENCE_FUNCTIONAL PBE"):
        assert wanted in lines, wanted
    kelvin = next(float(line.split()[-1]) for line in lines if line.startswith("ELECTRONIC_TEMPERATURE [K]"))
    assert kelvin == pytest.approx(1160.45, abs=0.01)  # 0.1 eV


@pytest.mark.slow
def test_cp2k():
    if shutil.which("cp2k_shell") is None:
        pytest.skip("cp2k_shell is absent: apt-get install cp2k cp2k-data")
    engine = Cp2kEngine(name="cp2k", cutoff_Ry=500.0, k_points={"k_spacing_per_A": 1.0}, dispersion="d3bj")
    first = check(engine, (3, 3, 1), "CP2K ", {"force": 0.01, "virial": 0.01})
    assert re.fullmatch(r"CP2K \d+\.\d+\S*", first["program"].item().decode())
    dftd3 = pytest.importorskip("dftd3.ase", reason="dftd3 is not installed")
    atoms = boron_nitride()
    atoms.calc = dftd3.DFTD3(method="PBE", damping="d3bj")
    assert first["dispersion_energy"] == pytest.approx(atoms.get_potential_energy(), abs=0.01)


def test_a_dispersion_correction_that_cp2k_does_not_show_is_refused(tmp_path):
    table = Cp2kEngine(name="cp2k", cutoff_Ry=300.0, k_points={"k_spacing_per_A": 1.0}, dispersion="d3bj")
    (tmp_path / "cp2k.out").write_text(" CP2K| version string:   CP2K version 2023.1\n  Core Hamiltonian energy: 1.0\n")
    with pytest.raises(PhysicsError, match="d3bj was not applied"):
        Cp2k(table).dispersion_energy(boron_nitride(), tmp_path)
    with (tmp_path / "cp2k.out").open("a") as output:
        output.write("  Dispersion energy:        -0.01\n")
    assert Cp2k(table).dispersion_energy(boron_nitride(), tmp_path) == pytest.approx(-0.01 * Hartree)
    assert Cp2k(table).version(tmp_path) == "CP2K 2023.1"


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "reason"), [(1, "SCF did not converge in 1 steps"), (30, "")])
def test_cp2k_that_does_not_converge_is_rejected(steps, reason):
    """Forces of the symmetric molecule add up to nothing, converged or not."""
    if shutil.which("cp2k_shell") is None:
        pytest.skip("cp2k_shell is absent: apt-get install cp2k cp2k-data")
    engine = Cp2kEngine(name="cp2k", cutoff_Ry=100.0, k_points={"k_spacing_per_A": 3.0}, scf_steps=steps,
                        scf_tolerance=1e-5)
    hydrogen = Atoms("H2", positions=[[1.4, 1.75, 1.75], [2.1, 1.75, 1.75]], cell=[3.5, 3.5, 3.5], pbc=True)
    function = LabelStructures(engine)
    record = run_campaign(function, [function.task(hydrogen, (1, 1, 1))])[0]
    assert reason in record.failure
    assert bool(record.failure) == bool(reason), record.failure


@pytest.fixture
def short_folder():
    """CP2K has room for 80 characters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.slow
def test_oxygen_by_cp2k(short_folder):
    """A triplet."""
    if shutil.which("cp2k_shell") is None:
        pytest.skip("cp2k_shell is absent: apt-get install cp2k cp2k-data")
    oxygen = Atoms("O2", positions=[[1.0, 2.0, 2.0], [2.25, 2.0, 2.0]], cell=[4.0, 4.0, 4.0], pbc=True)
    energies = []
    for name, moments in (("without", None), ("with", {"O": 1.0})):
        (short_folder / name).mkdir()
        engine = Cp2kEngine(name="cp2k", cutoff_Ry=200.0, k_points={"k_spacing_per_A": 3.0}, smearing_width_eV=0.1,
                            scf_tolerance=1e-5, starting_moments=moments)
        labels = Cp2k(engine).label(oxygen, (1, 1, 1), short_folder / name)
        energies.append(labels.energy)
        output = (short_folder / name / "cp2k.out").read_text()
    assert labels.facts["magnetization"] == 2.0
    assert float(re.findall(r"Integrated absolute spin density\s*:\s*(\S+)", output)[-1]) == pytest.approx(2.0, abs=0.5)
    assert energies[1] < energies[0] - 0.7  # experiment: 0.98 eV


@pytest.mark.slow
def test_gpaw():
    pytest.importorskip("gpaw", reason="gpaw is not installed")
    # enough plane waves for a virial without those that come and go with the cell
    engine = GpawEngine(name="gpaw", cutoff_eV=700.0, k_points={"k_spacing_per_A": 1.0}, smearing_width_eV=0.1)
    check(engine, (3, 3, 1), "GPAW ", {"force": 0.01, "virial": 0.05})
