"""Everything that may go wrong in one campaign of the real Quantum ESPRESSO; all else is labelled all the same.

Hydrogen in small cells, a second of processor time each. A script between the campaign and pw.x does the harm that
comes from outside, by the number of atoms: it damages an output, and kills workers in the middle of a calculation. The
scratch folder is a file system of 3 MiB.
"""

import csv
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner

from hpcthermo.cli import app
from hpcthermo.config.labelling import EspressoEngine
from hpcthermo.datasets.extended_xyz import read_extended_xyz
from hpcthermo.labelling.espresso import Espresso

PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
HYDROGEN, CARBON = "H.pbe-kjpaw.UPF", "C.pbe-n-kjpaw_psl.0.1.UPF"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    shutil.which("pw.x") is None or not all((PSEUDOPOTENTIALS / name).is_file() for name in (HYDROGEN, CARBON)),
    reason="pw.x or its pseudopotentials are absent: apt-get install quantum-espresso quantum-espresso-data")]

DAMAGED, KILLED_ONCE, HARD, KILLED_ALWAYS = 3, 4, 5, 7
HARM = f"""#!/bin/sh
# called by the guardian, whose parent is the worker
worker=$(cut -d' ' -f4 /proc/$PPID/stat)
atoms=$(sed -n 's/.*nat *= *//p' pw.in)
echo $atoms >> HERE/calls
if [ $atoms = {KILLED_ALWAYS} ] || {{ [ $atoms = {KILLED_ONCE} ] && mkdir HERE/once 2>/dev/null; }}; then
    pw.x "$@" &
    echo $! >> HERE/processes
    sleep 600 &
    echo $! >> HERE/processes
    sleep 0.2
    kill -9 $worker
    wait
fi
pw.x "$@"
code=$?
if [ $atoms = {DAMAGED} ]; then truncate -s 9000 pw.out; fi
exit $code
"""
JOB = """
kind = "label"
[engine]
name = "espresso"
command = "HERE/harm.sh"
pseudopotential_folder = "HERE/pseudopotentials"
pseudopotentials = { H = "HYDROGEN", C = "CARBON" }
cutoff_Ry = 15.0
density_cutoff_Ry = 60.0
k_points = { k_spacing_per_A = 3.0 }
smearing_width_eV = 0.1
dispersion = "d3bj"
scf_tolerance_eV = 1e-4
scf_steps = 8
scratch_folder = "HERE/scratch"
keywords = { control = { disk_io = "low" } }
[campaign]
where = "processes"
workers = 2
"""
RECIPE = """
[[recipe]]
group = "NAME"
structure = { file = "HERE/NAME.xyz" }
"""


def hydrogen(*positions) -> Atoms:
    return Atoms(f"H{len(positions)}", positions=positions, cell=[3.4, 3.6, 3.5 + 0.1 * len(positions)], pbc=True)


def chain(n: int) -> Atoms:
    return hydrogen(*([1.7 * (k % 2), 1.8 * (k // 2 % 2), 0.75 * (k % 2) + 1.9 * (k // 4)] for k in range(n)))


STRUCTURES = {
    "molecules": hydrogen([0, 0, 0], [0, 0, 0.75]),
    "damaged": chain(DAMAGED),
    "killed_once": chain(KILLED_ONCE),
    "killed_always": chain(KILLED_ALWAYS),
    "with_carbon": Atoms("CH", positions=[[0, 0, 0], [0, 0, 1.1]], cell=[3.4, 3.6, 3.7], pbc=True),
    "hard": chain(HARD),  # 11 SCF steps
    "large": hydrogen([0, 0, 0], [0, 0, 0.8]),
}
MORE = 5 * ["more molecules"]


def label(folder: Path, *changes: tuple[str, str]) -> dict:
    """Run the job with --resume; its summary."""
    text = JOB + "".join(RECIPE.replace("NAME", name) for name in STRUCTURES)
    text += """k_spacing_per_A = 0.2
[[recipe]]
group = "more molecules"
structure = { file = "HERE/molecules.xyz", perturbation = [{ kind = "rattle", deviation_A = 0.05, frames = 5 }] }
"""
    for old, new in (*changes, ("HERE", str(folder)), ("HYDROGEN", HYDROGEN), ("CARBON", CARBON)):
        assert old in text
        text = text.replace(old, new)
    (folder / "job.toml").write_text(text)
    done = CliRunner().invoke(app, ["label", str(folder / "job.toml"), "--out", str(folder / "out"), "--resume"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads((folder / "out" / "summary.json").read_text())


def rejected(folder: Path) -> dict[str, str]:
    """Group -> reason."""
    return {row["group"]: row["reason"] for row in csv.DictReader((folder / "out" / "rejected.csv").open())}


def labelled(folder: Path) -> list[str]:
    return [frame.group for frame in read_extended_xyz(folder / "out" / "dataset.xyz")]


def calls(folder: Path) -> list[int]:
    """Numbers of atoms of the calculations since the last call of this function."""
    found = [int(line) for line in (folder / "calls").read_text().split()]
    (folder / "calls").write_text("")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    (folder / "scratch").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder / "scratch"], check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder / "scratch"], check=False)


@pytest.fixture(scope="module")
def first(folder):
    """The campaign with all faults."""
    (folder / "harm.sh").write_text(HARM.replace("HERE", str(folder)))
    (folder / "harm.sh").chmod(0o755)
    (folder / "pseudopotentials").mkdir()
    shutil.copy(PSEUDOPOTENTIALS / HYDROGEN, folder / "pseudopotentials")
    for name, atoms in STRUCTURES.items():
        write(folder / f"{name}.xyz", atoms, format="extxyz")
    return label(folder)


def test_all_faults_are_reported_and_all_else_is_labelled(folder, first):
    reasons = rejected(folder)
    assert set(reasons) == {"damaged", "killed_always", "with_carbon", "hard", "large"}
    assert "output of pw.x is not complete" in reasons["damaged"]
    assert "its worker died 3 times" in reasons["killed_always"]
    assert f"pseudopotential for C is missing: {CARBON} is not in" in reasons["with_carbon"]
    assert "SCF did not converge in 8 steps" in reasons["hard"]
    assert "No space left on device" in reasons["large"]
    assert all(len(reason) < 400 and "\n" not in reason for reason in reasons.values())
    assert labelled(folder) == ["molecules", "killed_once", *MORE]


def test_check_tells_of_a_missing_pseudopotential_before_hours_are_spent(folder, first):
    done = CliRunner().invoke(app, ["check", str(folder / "job.toml")])
    assert done.exit_code == 0
    assert f"1 of 12 structures: pseudopotential for C is missing: {CARBON}" in " ".join(done.output.split())


def test_labels_are_those_of_undisturbed_calculations(folder, first, tmp_path):
    engine = Espresso(EspressoEngine(
        name="espresso", pseudopotential_folder=str(PSEUDOPOTENTIALS), pseudopotentials={"H": HYDROGEN},
        cutoff_Ry=15.0, density_cutoff_Ry=60.0, k_points={"k_spacing_per_A": 3.0}, smearing_width_eV=0.1,
        dispersion="d3bj", scf_tolerance_eV=1e-4))
    frame = list(read_extended_xyz(folder / "out" / "dataset.xyz"))[1]
    alone = engine.label(STRUCTURES["killed_once"], (1, 1, 1), tmp_path)
    assert frame.energy == pytest.approx(alone.energy, abs=1e-6)
    np.testing.assert_allclose(frame.forces, alone.forces, atol=1e-6)
    np.testing.assert_allclose(frame.stress, alone.stress, atol=1e-6)


def test_nothing_of_killed_workers_goes_on_and_no_files_stay(folder, first):
    started = [int(line) for line in (folder / "processes").read_text().split()]
    assert len(started) == 8  # one worker of the one structure, three of the other: pw.x and sleep
    time.sleep(0.5)
    for process in started:
        stat = Path(f"/proc/{process}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert os.listdir(folder / "scratch") == []
    assert calls(folder).count(KILLED_ONCE) == 2


def test_causes_are_mended_one_by_one_and_nothing_else_is_computed(folder, first):
    calls(folder)
    assert label(folder)["run"]["computed_now"] == 0
    shutil.copy(PSEUDOPOTENTIALS / CARBON, folder / "pseudopotentials")
    assert label(folder)["run"]["computed_now"] == 1
    assert calls(folder) == [2]
    assert labelled(folder) == ["molecules", "killed_once", "with_carbon", *MORE]
    retry = ('where = "processes"', 'where = "processes"\nretry_failed = true')
    subprocess.run(["mount", "-o", "remount,size=30m", folder / "scratch"], check=True)
    mended = label(folder, retry, ("scf_steps = 8", "scf_steps = 50"), ("HERE/harm.sh", "pw.x"))
    assert mended["run"]["computed_now"] == 4
    assert rejected(folder) == {}
    assert labelled(folder) == [*STRUCTURES, *MORE]
    assert mended["checks"]["rejected"]["passed"]
