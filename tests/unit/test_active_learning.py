"""Active learning: grades against their definition, a loop that learns, and one that is killed between its stages."""

import csv
import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from test_cli import leave

from hpcthermo.active_learning.committee import disagreement
from hpcthermo.active_learning.extrapolation import ActiveSet, maxvol
from hpcthermo.active_learning.run import run_active_learning
from hpcthermo.config import JobFileError, parse_job
from hpcthermo.datasets.ase_atoms import frame_of_atoms
from hpcthermo.datasets.files import read_dataset, write_dataset
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.stop import STOP, Requeue
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.labelling.task import LabelStructures

#: copper by EMT: small displacements to begin with, heat to explore
LOOP = """
kind = "active_learning"
seed = 5
[dataset]
train_files = ["FOLDER/copper.xyz"]
validation_share = 0.2
[model]
elements = ["Cu"]
radial_cutoff_A = 4.5
angular_cutoff_A = 3.5
n_max = [3, 2]
basis_size = [5, 4]
l_max = 2
extra_invariants = []
neurons = 5
[optimiser]
name = "gradient"
epochs = 250
[execution]
threads = 1
[engine]
name = "ase"
calculator = "ase.calculators.emt:EMT"
[campaign]
workers = 1
[active_learning]
iterations = 2
frames_per_iteration = 8
held_out_share = 0.25
[[exploration]]
group = "hot copper"
structure.file = "FOLDER/start.xyz"
dynamics = { temperature_K = [300.0, 1500.0], duration_ps = 0.3, snapshots = 30, timestep_fs = 2.0 }
"""


@pytest.fixture(autouse=True)
def _no_figures(without_figures, monkeypatch):
    monkeypatch.setattr("hpcthermo.labelling.run.draw_dataset", lambda statistics, path: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labelled copper near its lattice sites, and a structure to begin from."""
    folder = tmp_path_factory.mktemp("learning")
    random, frames = np.random.default_rng(1), []
    cell = bulk("Cu", cubic=True)
    for _ in range(16):
        atoms = cell.copy()
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.01 * random.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.03 * random.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        atoms.get_stress()
        frames.append(replace(frame_of_atoms(atoms), group="cool"))
    write_dataset(frames, folder / "copper.xyz")
    cell.write(folder / "start.xyz")
    return folder


def loop(folder, **changes):
    table = tomllib.loads(LOOP.replace("FOLDER", str(folder)))
    for name, value in changes.items():
        table[name] = {**table.get(name, {}), **value}
    return parse_job(table)


def test_maxvol_bounds_all_coefficients():
    rows = np.random.default_rng(0).normal(size=(200, 7))
    chosen = maxvol(rows)
    coefficients = np.linalg.solve(rows[chosen].T, rows.T).T
    assert np.abs(coefficients).max() <= 1.01
    np.testing.assert_allclose(coefficients @ rows[chosen], rows, atol=1e-12)
    # no other choice that differs by one row has a volume larger by more than that
    volume = abs(np.linalg.det(rows[chosen]))
    for j in range(7):
        for i in range(0, 200, 7):
            other = chosen.copy()
            other[j] = i
            assert abs(np.linalg.det(rows[other])) <= 1.01 * volume * (1 + 1e-9)


def test_grades_of_one_descriptor_are_barycentric_coordinates():
    """Between a and b, q = (1 - t) a + t b: the grade is max(|t|, |1 - t|)."""
    known = np.array([[1.0], [1.5], [2.2], [3.0]])
    points = np.array([[1.0], [2.0], [3.0], [4.0], [0.0]])
    np.testing.assert_allclose(ActiveSet(known).grades(points), [1.0, 0.5, 1.0, 1.5, 1.5], rtol=1e-12)
    # a shift and a factor of the descriptor change nothing
    np.testing.assert_allclose(ActiveSet(50.0 + 3.0 * known).grades(50.0 + 3.0 * points), [1.0, 0.5, 1.0, 1.5, 1.5])


def test_a_direction_that_the_training_set_does_not_have_is_far():
    random = np.random.default_rng(2)
    plane = np.hstack([random.normal(size=(30, 2)), np.full((30, 1), 4.0)])
    known = ActiveSet(plane)
    assert known.grades(plane).max() <= 1.01
    assert known.grades(plane + np.array([0.0, 0.0, 0.5])).min() > 4.0
    # fewer atoms than descriptors
    assert ActiveSet(plane[:2]).grades(plane[:2]).max() <= 1.01


def test_disagreement_is_the_deviation_of_the_worst_atom():
    forces = np.zeros((2, 3, 3))
    forces[0, 1] = [0.6, 0.0, 0.8]
    forces[1, 1] = [-0.6, 0.0, -0.8]
    forces[:, 2] = 7.0
    assert disagreement(forces) == pytest.approx(1.0)


def test_a_loop_learns_what_it_meets(folder, tmp_path):
    job = loop(folder)
    run_active_learning(job, SingleProcess(), tmp_path, False, None)
    summary = json.loads((tmp_path / "summary.json").read_text())
    found = {name: value["value"] for name, value in summary["results"].items()}
    assert found["force_rmse_held_out_last"] < 0.6 * found["force_rmse_held_out_first"]
    assert found["frames_labelled"] >= 8
    with (tmp_path / "iterations.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["taken"] for row in rows] == [row["labelled"] for row in rows]
    # nothing that is held out or stops a training is trained on
    parts = {name: [frame for path in (tmp_path / "iterations").glob(f"*/{name}.xyz") if path.stat().st_size
                    for frame in read_dataset(path)] for name in ("train", "validation", "held_out")}
    assert len(parts["held_out"]) == found["frames_held_out"] > 0
    positions = {name: {frame.positions.tobytes() for frame in frames} for name, frames in parts.items()}
    assert not positions["train"] & (positions["held_out"] | positions["validation"])
    with np.load(tmp_path / "iterations" / "02" / "model_0" / "training" / "state.npz") as _:
        pass
    last = json.loads((tmp_path / "iterations" / "02" / "model_0" / "summary.json").read_text())
    assert last["run"]["frames_training"] == len(parts["train"])
    assert (tmp_path / "nep.txt").read_bytes() == (tmp_path / "iterations" / "02" / "model_0" / "nep.txt").read_bytes()
    # a loop that is there is not thrown away, and more iterations go on from it
    with pytest.raises(Exception, match="continue it with --resume"):
        run_active_learning(job, SingleProcess(), tmp_path, False, None)
    with pytest.raises(Exception, match="the job has changed"):
        run_active_learning(loop(folder, optimiser={"epochs": 260}), SingleProcess(), tmp_path, True, None)


def test_a_loop_goes_on_after_an_iteration_without_labels(folder, tmp_path, monkeypatch):
    label_once, failing = LabelStructures._label_once, [True]

    def fails(self, engine, task):
        if failing[0]:
            raise PhysicsError("SCF did not converge in 5 steps")
        return label_once(self, engine, task)

    monkeypatch.setattr(LabelStructures, "_label_once", fails)
    small = {"active_learning": {"iterations": 1, "frames_per_iteration": 4}, "optimiser": {"epochs": 60}}
    run_active_learning(loop(folder, **small), SingleProcess(), tmp_path, False, None)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert not summary["checks"]["labels_of_each_iteration"]["passed"]
    assert (tmp_path / "nep.txt").read_bytes() == (tmp_path / "iterations" / "00" / "model_0" / "nep.txt").read_bytes()
    # more iterations, on other cores: what failed stays without labels, and the loop goes on
    failing[0] = False
    small["active_learning"]["iterations"] = 2
    other = loop(folder, **small, engine={"arguments": {"asap_cutoff": True}})
    with pytest.raises(InputError, match=r"the job has changed since this loop began: engine\.arguments"):
        run_active_learning(other, SingleProcess(), tmp_path, True, None)
    elsewhere = loop(folder, **small, engine={"cores": 2, "time_limit_h": 1.0})
    run_active_learning(elsewhere, SingleProcess(), tmp_path, True, None)
    with (tmp_path / "iterations.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["labelled"]) for row in rows] == [0, int(rows[1]["taken"])]
    assert min(int(row["taken"]) for row in rows) > 0
    assert rows[1]["training_frames"] == rows[0]["training_frames"]


@pytest.mark.slow
def test_a_loop_that_is_killed_goes_on_to_the_same_model(folder, tmp_path):
    """Stopped at every third question whether to stop, in trainings, dynamics and labels alike."""
    job = loop(folder, active_learning={"iterations": 1, "criterion": "committee", "committee": 2,
                                        "force_disagreement_eV_per_A": [0.02, 5.0]}, optimiser={"epochs": 60})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for out in (whole, parts):
        out.mkdir()
    run_active_learning(job, SingleProcess(), whole, False, None)
    stops = 0
    while not (parts / "results.h5").exists():
        left = [23]

        def asked(left=left):
            left[0] -= 1
            return STOP if left[0] == 0 else 0

        try:
            run_active_learning(job, SingleProcess(), parts, stops > 0, asked)
        except Requeue:
            stops += 1
        assert stops < 60
    assert stops > 3
    for name in ("nep.txt", "iterations.csv", "iterations/00/explored.csv", "iterations/00/held_out.xyz"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_loop_that_knows_everything_ends(folder, tmp_path):
    job = loop(folder, active_learning={"extrapolation_grade": [1e3, 1e6], "iterations": 3}, optimiser={"epochs": 100})
    asked = iter([0] * 40)
    with pytest.raises(Requeue):
        run_active_learning(job, SingleProcess(), tmp_path, False, lambda: next(asked, STOP))
    assert not (tmp_path / "nep.txt").exists()
    run_active_learning(job, SingleProcess(), tmp_path, True, None)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["run"]["ended"] == "nothing new was found"
    assert summary["results"]["frames_labelled"]["value"] == 0
    assert summary["results"]["stable_time_last"]["value"] == pytest.approx(0.3)
    assert not (tmp_path / "iterations" / "01").exists()


@pytest.mark.parametrize(("changes", "told"), [
    ({"active_learning": {"extrapolation_grade": [3.0, 2.0]}}, "low < high"),
    ({"active_learning": {"force_disagreement_eV_per_A": [0.1, 0.2]}}, "expected no force_disagreement_eV_per_A"),
    ({"dataset": {"block_frames": 2, "test_blocks": [0]}}, "without blocks"),
    ({"dataset": {"test_share": 0.2}}, "held_out_share"),
])
def test_settings_that_mean_nothing_are_refused(changes, told, folder):
    with pytest.raises(JobFileError, match=told):
        loop(folder, **changes)


def test_elements_that_the_model_does_not_have_are_refused(folder, tmp_path, capsys):
    text = LOOP.replace("FOLDER", str(folder)).replace(str(folder / "start.xyz"), str(folder / "gold.xyz"))
    bulk("Au", cubic=True).write(folder / "gold.xyz")
    (tmp_path / "job.toml").write_text(text)
    for command in (["run", "--out", str(tmp_path / "out")], ["check"]):
        code, _, err = leave([command[0], str(tmp_path / "job.toml"), *command[1:]], capsys)
        assert code == 2
        assert "exploration 'hot copper': expected elements of the model (Cu), got Au" in err
