"""Label jobs by Quantum ESPRESSO and other engines: faults, and campaigns that are resumed."""

import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import Bohr, Rydberg
from sample_engines import carbon, espresso, labels_of
from typer.testing import CliRunner

from hpcthermo.campaign.task import task_keys
from hpcthermo.cli import app
from hpcthermo.config import load_job
from hpcthermo.datasets.extended_xyz import read_extended_xyz
from hpcthermo.errors import PhysicsError
from hpcthermo.labelling import task
from hpcthermo.labelling.candidates import recipes_hash
from hpcthermo.labelling.espresso import Espresso
from hpcthermo.labelling.labels import lacking
from hpcthermo.labelling.programs import run_program
from hpcthermo.labelling.task import LabelStructures
from hpcthermo.results import read_results

# ---- Quantum ESPRESSO ----------------------------------------------------------------------------


def test_espresso_labels_have_the_units_and_signs_of_the_program(tmp_path):
    record = labels_of(espresso(tmp_path), carbon())[0]
    assert not record.failure
    # ASE reads energies as sigma -> 0; forces and stress are derivatives of the free energy
    assert record.arrays["energy"] == pytest.approx(-10.0 * Rydberg, rel=1e-7)
    np.testing.assert_allclose(record.arrays["forces"][:, 0], np.array([-1e-3, 1e-3]) * Rydberg / Bohr, rtol=1e-6)
    # QE prints a positive "stress" (pressure) where the cell pushes outwards, as the virial does
    expected = np.array([[1e-5, 2e-6, 0], [2e-6, 2e-5, 0], [0, 0, 3e-5]]) * Rydberg / Bohr**3 * 3.0 * 3.0 * 12.0
    np.testing.assert_allclose(record.arrays["virial"], expected, rtol=1e-4, atol=1e-12)
    assert record.arrays["dispersion_energy"] == pytest.approx(-0.01 * Rydberg)
    assert (record.arrays["scf_steps"], record.arrays["k_points"]) == (11, 4)
    assert record.arrays["program"].item() == b"pw.x 6.7MaX"


@pytest.mark.parametrize(("kind", "reason"), [
    ("unconverged", "SCF did not converge in 100 steps, estimated error 0.014 eV"),
    ("crash", "ended with code 1: Error in routine cdiaghg (1): eigenvectors failed to converge"),
    ("cut", "output of pw.x"), ("garbled", "output of pw.x"), ("no_dispersion", "d3bj was not applied"),
    ("net_force", "forces: their mean is"), ("relaxed", "is of other positions than the input, by up to 0.01 A"),
    ("strained", "is of another cell than the input, by up to 0.1 A"),
])
def test_a_calculation_that_is_not_sound_is_rejected_with_the_reason(tmp_path, kind, reason):
    record = labels_of(espresso(tmp_path, kind), carbon())[0]
    assert reason in record.failure
    assert not list(tmp_path.glob("label_*"))  # nothing is left in the scratch folder


def test_an_element_without_a_pseudopotential_rejects_its_structures_only(tmp_path):
    boron = carbon()
    boron.symbols[0] = "B"
    records = labels_of(espresso(tmp_path), boron, carbon())
    assert "no pseudopotential for B" in records.failures[0]
    assert 1 not in records.failures
    gone = espresso(tmp_path, pseudopotentials={"C": "other.UPF"})
    assert "other.UPF is not in" in labels_of(gone, carbon())[0].failure
    assert lacking(Espresso(gone), [{"C"}, {"B", "C"}, {"N"}]) == {
        "no pseudopotential for B: add it to engine.pseudopotentials": 1,
        "no pseudopotential for N: add it to engine.pseudopotentials": 1,
        "pseudopotential for C is missing: other.UPF is not in engine.pseudopotential_folder": 2}


@pytest.mark.parametrize("header", ['<PP_HEADER\nelement=" N"\n', "  0    Version Number\n  N    Element\n"])
def test_a_pseudopotential_of_another_element_is_told_of(tmp_path, header):
    table = espresso(tmp_path)
    (tmp_path / "C.UPF").write_text(header)
    assert "expected a file of C, got C.UPF, which is of N" in Espresso(table).lacking("C")
    (tmp_path / "C.UPF").write_text(header.replace("N\"", "C\"").replace("N    E", "C    E"))
    assert Espresso(table).lacking("C") == ""


def test_a_calculation_that_takes_too_long_is_ended(tmp_path):
    record = labels_of(espresso(tmp_path, "slow", time_limit_h=1.0 / 3600.0), carbon())[0]
    assert "engine.time_limit_h" in record.failure


def test_nothing_outlives_a_worker_that_is_killed(tmp_path):
    """A script that starts a program: the kernel tells only the script of the death of its parent."""
    (tmp_path / "start.sh").write_text("sleep 300 & echo $! > pid; wait")
    worker = multiprocessing.get_context("fork").Process(
        target=run_program, args=("sh start.sh", tmp_path, "out", 600.0))
    worker.start()
    waiting_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    started = Path("/proc") / (tmp_path / "pid").read_text().strip() / "stat"
    assert started.exists()
    os.kill(worker.pid, signal.SIGKILL)
    waiting_for(lambda: not started.exists() or started.read_text().rpartition(")")[2].split()[0] == "Z")
    worker.join()


def waiting_for(condition):
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_processor_time_is_that_of_all_processes(tmp_path):
    work = "t=0; while [ $t -lt 60000 ]; do t=$((t+1)); done"
    (tmp_path / "start.sh").write_text(f"sleep 0.2; ({work}) & {work}; wait")
    alone = run_program("sh start.sh", tmp_path, "out", 60.0)
    (tmp_path / "start.sh").write_text("sleep 0.2")
    assert alone > 2.0 * run_program("sh start.sh", tmp_path, "out", 60.0)


def test_a_full_scratch_folder_is_told_of(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(task, "_PAUSES_S", (0.0, 0.0))
    assert "No space left on device" in labels_of(espresso(tmp_path), carbon())[0].failure


def test_a_scratch_folder_that_others_filled_is_tried_again(tmp_path, monkeypatch):
    free = iter([1000, 1000, 1 << 30])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free, 1 << 30)))
    monkeypatch.setattr(task, "_PAUSES_S", (0.0, 0.0))
    assert not labels_of(espresso(tmp_path), carbon())[0].failure


def test_input_of_espresso_says_all_settings(tmp_path):
    engine = Espresso(espresso(tmp_path, starting_magnetization={"C": 0.5},
                               keywords={"electrons": {"mixing_beta": 0.3}}))
    with pytest.raises(PhysicsError):  # the fake program states no magnetisation
        engine.label(carbon(), (2, 3, 1), tmp_path)
    text = (tmp_path / "pw.in").read_text().lower().replace(" ", "")
    for wanted in ("vdw_corr='dft-d3'", "dftd3_version=4", "dftd3_threebody=.false.", "nspin=2", "mixing_beta=0.3",
                   "ecutwfc=30.0", "ecutrho=240.0", "smearing='mv'", "tprnfor=.true.", "tstress=.true.", "231000",
                   "starting_magnetization"):
        assert wanted in text, wanted


@pytest.mark.parametrize(("namelist", "keyword", "value", "told"), [
    ("control", "calculation", "vc-relax", "a label is a single point"),
    ("control", "Calculation", "md", "a label is a single point"),
    ("control", "tstress", False, "a label is a single point"),
    ("system", "dftd3_threebody", True, "dispersion says it"),
    ("system", "starting_magnetization(1)", 0.5, "starting_magnetization says it"),
    ("electrons", "electron_maxstep", 5, "scf_steps says it"),
])
def test_keywords_that_the_program_sets_are_refused(tmp_path, namelist, keyword, value, told):
    with pytest.raises(ValueError, match=told):
        espresso(tmp_path, keywords={namelist: {keyword: value}})
    assert espresso(tmp_path, keywords={namelist: {"Nosym": True}}).keywords == {namelist: {"nosym": True}}


def test_settings_count_and_places_do_not(tmp_path):
    def key(**keys):
        function = LabelStructures(espresso(tmp_path, **keys))
        return task_keys(function, [function.task(carbon(), (1, 1, 1))])[0]

    first = key()
    assert key(command="mpirun -n 2 pw.x", cores=2, time_limit_h=1.0) == first
    assert key(scf_steps=300) == first  # it is the tolerance that says what a label is
    assert key(pseudopotentials={"C": "C.UPF", "B": "B.UPF"}) == first  # no boron in the structure
    others = [key(cutoff_Ry=31.0), key(dispersion="none"), key(smearing_width_eV=0.1), key(scf_tolerance_eV=1e-5)]
    (tmp_path / "C2.UPF").write_text("another one")
    others.append(key(pseudopotentials={"C": "C2.UPF"}))
    assert len({first, *others}) == 6


def test_a_program_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(Exception, match=r"'no_such_pw' is not on the PATH"):
        labels_of(espresso(tmp_path, command="no_such_pw"), carbon())
    with pytest.raises(PhysicsError, match="ended with code 3"):
        run_program(f"{sys.executable} -c 'raise SystemExit(3)'", tmp_path, "out", 60.0)


# ---- whole jobs ----------------------------------------------------------------------------------

JOB = """
kind = "label"
seed = 3
[[recipe]]
group = "copper"
keep = 3
[recipe.structure]
builder = "crystal"
crystal = "Cu"
cell = "primitive"
[[recipe.structure.perturbation]]
kind = "strain"
maximum_percent = 3.0
frames = 4
[[recipe.structure.perturbation]]
kind = "rattle"
deviation_A = 0.1
[[recipe]]
group = "copper, hot"
[recipe.structure]
builder = "crystal"
crystal = "Cu"
[recipe.dynamics]
potential = "eam_zhou"
temperature_K = [100.0, 900.0]
duration_ps = 0.05
snapshots = 2
timestep_fs = 2.0
[[recipe]]
group = "tungsten"
structure = { builder = "crystal", crystal = "W" }
[engine]
name = "ase"
calculator = "ase.calculators.emt:EMT"
[campaign]
where = "threads"
workers = 2
"""


def run(folder: Path, text: str = JOB, *options: str):
    folder.mkdir(exist_ok=True)
    (folder / "job.toml").write_text(text)
    return CliRunner().invoke(app, ["label", str(folder / "job.toml"), "--out", str(folder / "out"), *options])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label")
    assert run(folder).exit_code == 0
    return folder


def test_a_job_gives_a_data_set_with_what_the_engine_says(labelled):
    frames = list(read_extended_xyz(labelled / "out" / "dataset.xyz"))
    assert [frame.group for frame in frames].count("copper") == 3
    assert len(frames) == 5  # EMT has no tungsten
    for frame in frames:
        atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True, calculator=EMT())
        assert frame.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-9)
        np.testing.assert_allclose(frame.virial, -atoms.get_stress(voigt=False) * atoms.get_volume(), atol=1e-9)
        assert frame.provenance["engine"] == "ase"
    hot = [frame for frame in frames if frame.group == "copper, hot"]
    assert np.abs(hot[0].positions - bulk("Cu", cubic=True).positions).max() > 0.01
    rejected = list(csv.DictReader((labelled / "out" / "rejected.csv").open()))
    assert [(row["group"], row["formula"]) for row in rejected] == [("tungsten", "W2")]
    assert "W" in rejected[0]["reason"]
    summary = json.loads((labelled / "out" / "summary.json").read_text())
    assert summary["results"]["labelled_frames"]["value"] == 5
    assert not summary["checks"]["rejected"]["passed"]  # 1 of 6 is more than 5 %
    cost = {row["group"]: row for row in csv.DictReader((labelled / "out" / "cost.csv").open())}
    assert cost["copper"]["frames"] == "3"
    assert cost["tungsten"]["core_seconds_per_frame"] == ""


def test_labels_say_of_which_settings_files_and_meshes_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.labelling.run.draw_dataset", lambda *_: None)
    table = espresso(tmp_path)
    carbon().write(tmp_path / "carbon.xyz")
    text = f"""
kind = "label"
[[recipe]]
group = "carbon"
structure.file = "carbon.xyz"
[engine]
name = "espresso"
command = {json.dumps(table.command)}
pseudopotential_folder = "."
pseudopotentials = {{ C = "C.UPF" }}
cutoff_Ry = 30.0
density_cutoff_Ry = 240.0
k_points = {{ k_spacing_per_A = 0.7 }}
smearing_width_eV = 0.2
dispersion = "d3bj"
[campaign]
workers = 1
"""
    assert run(tmp_path, text).exit_code == 0
    said = json.loads((tmp_path / "out" / "summary.json").read_text())["run"]
    frame, = read_extended_xyz(tmp_path / "out" / "dataset.xyz")
    assert said["settings"] == Espresso(table).settings
    assert said["settings_files_sha256"] == {"C": hashlib.sha256((tmp_path / "C.UPF").read_bytes()).hexdigest()}
    named = json.dumps([{"settings": said["settings"]}, said["settings_files_sha256"]], sort_keys=True)
    assert hashlib.sha256(named.encode()).hexdigest() == said["settings_sha256"] == frame.provenance["settings_sha256"]
    assert frame.provenance["k_points"] == "3x3x1"
    results = read_results(tmp_path / "out" / "results.h5")
    assert results.run["settings"]["cutoff_Ry"] == 30.0
    # nothing is begun that can only be rejected
    (tmp_path / "C.UPF").unlink()
    done = run(tmp_path, text, "--resume")
    assert done.exit_code == 2
    assert "no structure can be labelled: pseudopotential for C is missing" in " ".join(done.output.split())


NAMES = ("1.10", "T", "it's C:\\new {a}")


def test_names_of_groups_are_kept_whatever_they_look_like(tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.labelling.run.draw_dataset", lambda *_: None)
    start = JOB.index("[[recipe]]")
    recipes = "".join(f'[[recipe]]\ngroup = {json.dumps(name)}\n'
                      f'structure = {{ builder = "crystal", crystal = "{crystal}" }}\n'
                      for name, crystal in zip(NAMES, ("Cu", "Al", "Ni"), strict=True))
    result = run(tmp_path, JOB[:start] + recipes + JOB[JOB.index("[engine]"):])
    assert result.exit_code == 0, result.output
    assert [frame.group for frame in read_extended_xyz(tmp_path / "out" / "dataset.xyz")] == list(NAMES)


def test_a_job_without_any_label_says_why(tmp_path):
    start, end = JOB.index("[[recipe]]"), JOB.index('[[recipe]]\ngroup = "tungsten"')
    assert run(tmp_path, JOB[:start] + JOB[end:]).exit_code != 0
    rejected = list(csv.DictReader((tmp_path / "out" / "rejected.csv").open()))
    assert [row["formula"] for row in rejected] == ["W2"]
    assert not (tmp_path / "out" / "dataset.xyz").exists()


def test_nothing_is_labelled_twice_and_nothing_is_removed(labelled, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("hpcthermo.labelling.run.draw_dataset", lambda *_: None)
    folder = tmp_path / "again"
    shutil.copytree(labelled, folder)
    before = (folder / "out" / "dataset.xyz").read_bytes()
    for options, computed in (((), 0), (("--resume",), 0), (("--resume", "--retry-failed"), 1)):  # tungsten
        assert run(folder, JOB, *options).exit_code == 0
        summary = json.loads((folder / "out" / "summary.json").read_text())
        assert summary["run"]["computed_now"] == computed
        assert (folder / "out" / "dataset.xyz").read_bytes() == before
    result = run(folder, JOB.replace("seed = 3", "seed = 4"))
    assert result.exit_code == 2
    assert "was made of other recipes" in result.output + capfd.readouterr().err
    assert (folder / "out" / "dataset.xyz").read_bytes() == before


def test_structures_belong_to_the_content_of_files_and_not_to_places(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("hpcthermo.labelling.run.draw_dataset", lambda *_: None)
    text = """
kind = "label"
[[recipe]]
group = "copper"
structure.file = "cu.xyz"
[engine]
name = "ase"
calculator = "ase.calculators.emt:EMT"
[campaign]
workers = 1
"""
    first, moved = tmp_path / "first", tmp_path / "moved"
    first.mkdir()
    bulk("Cu", cubic=True).write(first / "cu.xyz")
    assert run(first, text).exit_code == 0
    shutil.copytree(first, moved)
    shutil.rmtree(first)
    with_defaults = text.replace('group = "copper"', 'group = "copper"\nalways = false')
    for same in (text, with_defaults):
        assert run(moved, same, "--resume").exit_code == 0
        assert json.loads((moved / "out" / "summary.json").read_text())["run"]["computed_now"] == 0
    bulk("Cu", a=3.7, cubic=True).write(moved / "cu.xyz")
    result = run(moved, text, "--resume")
    assert result.exit_code == 2
    assert "was made of other recipes, selection, seed or files" in result.output + capfd.readouterr().err


def test_potentials_and_descriptors_count_by_their_content(tmp_path):
    text = JOB.replace('"eam_zhou"', '"moves.txt"') + '[selection]\ndescriptor = "tells.txt"\n'
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        (folder / "job.toml").write_text(text)
        for name in ("moves.txt", "tells.txt"):
            (folder / name).write_text(name)
    found = [recipes_hash(load_job(tmp_path / "first" / "job.toml"))]
    assert recipes_hash(load_job(tmp_path / "second" / "job.toml")) == found[0]
    for name in ("moves.txt", "tells.txt"):
        (tmp_path / "second" / name).write_text("another one")
        found.append(recipes_hash(load_job(tmp_path / "second" / "job.toml")))
    assert len(set(found)) == 3


@pytest.mark.parametrize(("old", "new", "message"), [
    ('group = "tungsten"', 'group = "copper"', "given twice"),
    ('group = "tungsten"', 'group = "two  spaces"', "recipe[2].group: expected words with single spaces"),
    ('calculator = "ase.calculators.emt:EMT"', 'calculator = "ase.calculators.emt:Nothing"', "expected module:Class"),
    ('crystal = "W"', 'file = "absent.xyz"', "recipe[2].structure.file"),
    ('keep = 3', 'keep = 0', "recipe[0].keep"),
    ('name = "ase"\ncalculator = "ase.calculators.emt:EMT"',
     'name = "cp2k"\ncommand = "cp2k_shell \'"\ncutoff_Ry = 300.0\nk_points = { k_spacing_per_A = 0.3 }',
     "engine.command: expected a command"),
    ('calculator = "ase.calculators.emt:EMT"', 'calculator = "os.path:sep"', "expected module:Class"),
])
def test_bad_jobs_are_refused(tmp_path, old, new, message, capfd):
    result = run(tmp_path, JOB.replace(old, new).replace('builder = "crystal", file', "file"))
    assert result.exit_code in (1, 2, 4)  # 1: raised through the runner of commands
    assert message in f"{result.exception} {result.output} {capfd.readouterr().err}"
    assert not (tmp_path / "out" / "dataset.xyz").exists()
