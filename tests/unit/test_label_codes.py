"""CP2K and VASP as label jobs use them: input, output, settings and their faults."""

import gc
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa
from pydantic import TypeAdapter
from sample_engines import carbon, labels_of

from hpcthermo.config.labelling import Cp2kEngine, Engine, VaspEngine
from hpcthermo.errors import InputError
from hpcthermo.labelling.calculators import Cp2k, cp2k_input, unpaired_electrons
from hpcthermo.labelling.guardian import children
from hpcthermo.labelling.vasp import Vasp

FAKE_VASP = f"{sys.executable} {Path(__file__).parent / 'fake_vasp.py'}"


# ---- CP2K ----------------------------------------------------------------------------------------


def cp2k(kind: str = "converged", **keys) -> Cp2kEngine:
    program = Path(__file__).parent / "fake_cp2k.py"
    return Cp2kEngine(**{"name": "cp2k", "command": f"{sys.executable} {program} {kind}", "cutoff_Ry": 100.0,
                         "k_points": {"k_spacing_per_A": 1.0}, **keys})


@pytest.mark.filterwarnings("ignore:CP2K-shell not ready")
@pytest.mark.parametrize(("kind", "reason"), [
    ("converged", ""), ("warning", "SCF did not converge in 7 steps"), ("ends", "SCF did not converge in 7 steps"),
    ("silent", "does not say that the SCF converged"),
])
def test_labels_of_cp2k_are_those_of_a_converged_scf(kind, reason):
    record = labels_of(cp2k(kind, scf_steps=7), carbon())[0]
    assert reason in record.failure
    assert bool(record.failure) == bool(reason)


def test_folders_that_cp2k_has_no_room_for_are_told_of(tmp_path):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    with pytest.raises(InputError, match=r"at most 80 characters, got \d+ .* shorter engine\.scratch_folder"):
        Cp2k(cp2k()).label(carbon(), (1, 1, 1), folder)


def test_no_shell_of_cp2k_outlives_its_label():
    gc.disable()
    try:
        assert not labels_of(cp2k(), carbon(2), carbon(3)).failures
        files = [Path(f"/proc/{child}/cmdline") for child in children()]
        commands = [file.read_text() for file in files if file.exists()]
        assert not [command for command in commands if "fake_cp2k" in command]
    finally:
        gc.enable()


def test_cp2k_has_the_cores_that_it_was_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in worker processes
    assert labels_of(cp2k(cores=4), carbon())[0].arrays["program"].item() == b"CP2K 2023.4"


@pytest.fixture
def short_folder():
    """CP2K has room for 80 characters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_moments_of_cp2k_are_of_each_structure(short_folder):
    engine = cp2k(starting_moments={"C": -1.4, "B": 0.5})
    boron = carbon(3)
    boron.symbols[0] = "B"
    for atoms, multiplicity in ((carbon(3), 5), (carbon(2), 3), (carbon(1), 3), (boron, 4)):
        assert unpaired_electrons(engine.starting_moments, list(atoms.symbols)) == multiplicity - 1
        folder = short_folder / str(atoms.symbols)
        folder.mkdir()
        labels = Cp2k(engine).label(atoms, (1, 1, 1), folder)
        assert labels.facts["magnetization"] == multiplicity - 1
        lines = [line.strip() for line in (folder / "cp2k.inp").read_text().splitlines()]
        assert {"UNRESTRICTED_KOHN_SHAM ON", f"MULTIPLICITY {multiplicity}", "MAGNETIZATION 1.4"} <= set(lines)
        assert ("&KIND B" in lines) == ("MAGNETIZATION -0.5" in lines) == ("B" in atoms.symbols)
    without = cp2k()
    assert "UNRESTRICTED" not in cp2k_input(without, (1, 1, 1), ["C"])
    assert Cp2k(without).settings != Cp2k(engine).settings


@pytest.mark.parametrize("engine", [{"name": "tblite"}, {"name": "gpaw", "cutoff_eV": 300.0, "smearing_width_eV": 0.1,
                                                         "k_points": {"k_spacing_per_A": 0.3}}])
def test_codes_within_a_worker_have_one_core(engine):
    adapter = TypeAdapter(Engine)
    adapter.validate_python(engine)
    with pytest.raises(ValueError, match=r"cores\n.*expected 1, for this code computes within its worker"):
        adapter.validate_python({**engine, "cores": 2})


# ---- VASP ----------------------------------------------------------------------------------------


def test_input_of_vasp_is_written_as_given(tmp_path):
    """INCAR of Supplemental Note S2 in the text of the graphene/h-BN interface paper (PBE+MBD, 850 eV)."""
    for name in ("B", "N_h"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "POTCAR").write_text(f"POTCAR of {name}\n")
    incar = {"GGA": "PE", "ENCUT": 850, "IVDW": 202, "EDIFF": "1E-08", "ISMEAR": -5, "LREAL": "Auto",
             "PREC": "Accurate"}
    engine = Vasp(VaspEngine(name="vasp", potcar_folder=str(tmp_path), potcars={"B": "B", "N": "N_h"}, incar=incar,
                             k_points={"k_spacing_per_A": 0.15}))
    atoms = Atoms("NB", positions=[[0, 0, 0], [0, 0, 1.4]], cell=[3, 3, 10], pbc=True)
    folder = tmp_path / "run"
    folder.mkdir()
    order = np.argsort(atoms.numbers, kind="stable")
    engine.write_input(atoms[order], (14, 14, 1), folder)
    lines = (folder / "INCAR").read_text().splitlines()
    assert [line for line in lines if line.split(" = ")[0] in incar] == [f"{tag} = {v}" for tag, v in incar.items()]
    assert {"NSW = 0", "IBRION = -1", "LWAVE = .FALSE."} <= set(lines)
    assert (folder / "KPOINTS").read_text().splitlines()[2:4] == ["Gamma", "14 14 1"]
    assert (folder / "POTCAR").read_text() == "POTCAR of B\nPOTCAR of N_h\n"
    assert (folder / "POSCAR").read_text().splitlines()[5].split() == ["B", "N"]
    with pytest.raises(InputError, match="no POTCAR for C"):
        engine.write_input(carbon(), (1, 1, 1), folder)


def vasp(folder: Path, incar: dict, **keys) -> VaspEngine:
    for name in ("B", "N_h"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "POTCAR").write_text(f"POTCAR of {name}\n")
    return VaspEngine(**{"name": "vasp", "potcar_folder": str(folder), "potcars": {"B": "B", "N": "N_h"},
                         "incar": incar, "k_points": {"k_spacing_per_A": 0.15}, "scratch_folder": str(folder), **keys})


def boron_nitride() -> Atoms:
    """Not in the order of POSCAR, and outside the cell."""
    return Atoms("NBN", positions=[[0, 0, -0.3], [0, 0, 1.4], [0.2, 0, 2.8]], cell=[3, 3, 10], pbc=True)


@pytest.mark.parametrize("kind", ["sound", "wrapped"])
def test_vasp_labels_have_the_order_units_and_signs_of_the_structure(tmp_path, kind):
    engine = vasp(tmp_path, {"ENCUT": 400, "IVDW": 12}, command=f"{FAKE_VASP} {kind}", starting_moments={"N": 0.5})
    record = labels_of(engine, boron_nitride())[0]
    assert not record.failure
    assert record.arrays["energy"] == -9.75  # the free energy
    np.testing.assert_allclose(record.arrays["forces"][:, 0], [0.0, -1.0, 1.0])  # POSCAR: B N N
    # VASP prints a positive "in kB" where the cell pushes outwards, vasprun.xml the opposite of ASE's stress
    expected = np.array([[-10.0, 2.0, 0], [2.0, -20.0, 0], [0, 0, -30.0]]) * 0.1 * GPa * 90.0
    np.testing.assert_allclose(record.arrays["virial"], expected, rtol=1e-6, atol=1e-12)
    assert (record.arrays["scf_steps"], record.arrays["magnetization"]) == (2, -1.25)
    assert record.arrays["program"].item() == b"VASP 6.4.2"


@pytest.mark.parametrize(("kind", "reason"), [
    ("unconverged", "SCF did not converge (NELM, EDIFF)"), ("cut", "output of VASP cannot be read"),
    ("crash", "ended with code 1: Error EDDDAV"), ("no_dispersion", "INCAR asks for IVDW = 12, but OUTCAR shows no"),
    ("relaxed", "is of other positions than the input, by up to 0.03 A"), ("strained", "is of another cell"),
])
def test_a_calculation_of_vasp_that_is_not_sound_is_rejected(tmp_path, kind, reason):
    engine = vasp(tmp_path, {"ENCUT": 400, "ivdw": 12}, command=f"{FAKE_VASP} {kind}")
    assert reason in labels_of(engine, boron_nitride())[0].failure
    assert not list(tmp_path.glob("label_*"))


def test_tags_of_vasp_are_the_same_in_any_case(tmp_path):
    engine = vasp(tmp_path, {"ivdw": 12, "Encut": 500})
    assert engine.incar == {"IVDW": 12, "ENCUT": 500}
    for incar, told in (({"ivdw": "12"}, "incar.IVDW: expected a whole number"), ({"IVDW": True}, "whole number"),
                        ({"ENCUT": 500, "encut": 600}, "tag ENCUT is given twice"),
                        ({"PREC": "Accurate; NSW = 5"}, "expected the value of one tag"),
                        ({"nsw": 5}, "NSW: expected 0, for a label is a single point, got 5"),
                        ({"IBRION": 2}, "IBRION: expected -1"), ({"ISIF": "1"}, "ISIF: expected 2 or 3"),
                        ({"PSTRESS": 10.0}, "PSTRESS: cannot be given"), ({"ML_LMLFF": True}, "ML_LMLFF: cannot")):
        with pytest.raises(ValueError, match=told):
            vasp(tmp_path, incar)


def test_moments_of_vasp_are_of_each_structure(tmp_path):
    engine = Vasp(vasp(tmp_path, {"ENCUT": 400}, starting_moments={"N": -0.5, "C": 3.0}))
    atoms = Atoms("NBN", positions=[[0, 0, 0], [0, 0, 1.4], [0, 0, 2.8]], cell=[3, 3, 10], pbc=True)
    engine.write_input(atoms[np.argsort(atoms.numbers, kind="stable")], (1, 1, 1), tmp_path)
    assert {"ISPIN = 2", "MAGMOM = 0 -0.5 -0.5"} <= set((tmp_path / "INCAR").read_text().splitlines())
    without = Vasp(vasp(tmp_path, {"ENCUT": 400}))
    without.write_input(atoms[[1]], (1, 1, 1), tmp_path)
    assert "ISPIN" not in (tmp_path / "INCAR").read_text()
    assert set(without.settings) == {"name", "incar"}  # as before there were moments
    assert without.settings != engine.settings
    for incar, told in (({"MAGMOM": "2*1.0"}, "MAGMOM: cannot be given here, starting_moments"),
                        ({"ispin": 2}, "ISPIN: cannot be given beside starting_moments")):
        with pytest.raises(ValueError, match=told):
            vasp(tmp_path, incar, starting_moments={"N": 1.0})
