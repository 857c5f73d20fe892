"""The whole way: structures are labelled by another code, a NEP is trained on the labels, and moves the atoms."""

import json

import numpy as np
import pytest
from ase import Atoms
from typer.testing import CliRunner

from hpcthermo.calculator import Calculator
from hpcthermo.cli import app
from hpcthermo.datasets.files import read_dataset

SHEET = """builder = "layered_stack"
cell = "hexagonal"
layers = [{ material = "h-BN", count = 1, repeat = [2, 2] }]
vacuum_A = 10.0
"""
LABEL = f"""
kind = "label"
[[recipe]]
group = "sheet"
[recipe.structure]
{SHEET}
[[recipe.structure.perturbation]]
kind = "strain"
maximum_percent = 2.0
frames = 8
[[recipe.structure.perturbation]]
kind = "rattle"
deviation_A = 0.05
frames = 2
[engine]
name = "tblite"
[campaign]
where = "threads"
workers = 1
"""
TRAIN = """
kind = "train"
seed = 2
[dataset]
train_files = ["labels/dataset.xyz"]
validation_share = 0.2
[model]
elements = ["B", "N"]
radial_cutoff_A = 5.0
angular_cutoff_A = 4.0
n_max = [4, 3]
basis_size = [6, 6]
l_max = 4
neurons = 10
[optimiser]
name = "gradient"
epochs = 160
finish_with_all_frames = false
[execution]
threads = 1
"""
MOVE = f"""
kind = "md"
potential = "model/nep.txt"
output = {{ figures = false }}
[structure]
{SHEET}
[[stage]]
ensemble = "nve"
temperature_K = 300.0
timestep_fs = 0.5
duration_ps = 0.05
"""


def command(folder, kind, text, out):
    (folder / f"{out}.toml").write_text(text)
    done = CliRunner().invoke(app, [kind, str(folder / f"{out}.toml"), "--out", str(folder / out)])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads((folder / out / "summary.json").read_text())


def test_labels_become_a_potential_that_moves_atoms(tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])  # most of the time, and shown by other tests
    pytest.importorskip("tblite.ase", reason="tblite is not installed")
    labelled = command(tmp_path, "label", LABEL, "labels")
    assert labelled["results"]["labelled_frames"]["value"] == 16
    frames = read_dataset(tmp_path / "labels" / "dataset.xyz")
    command(tmp_path, "train", TRAIN, "model")
    forces, wanted = [], []
    for frame in frames:
        atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True,
                      calculator=Calculator(tmp_path / "model" / "nep.txt"))
        forces.append(atoms.get_forces())
        wanted.append(frame.forces)
    error = np.sqrt(np.mean((np.array(forces) - np.array(wanted)) ** 2))
    assert error < 0.1 * np.std(np.array(wanted))
    moved = command(tmp_path, "run", MOVE, "moved")
    assert moved["results"]["temperature"]["value"] > 50.0
