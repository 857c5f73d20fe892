"""Train jobs: nep.in and job files to nep.txt, resume, held-out frames, bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_nep_optimisation import FORM, pair_frames
from typer.testing import CliRunner

from hpcthermo.calculator import Calculator
from hpcthermo.cli import app
from hpcthermo.config import parse_job
from hpcthermo.datasets.ase_atoms import atoms_of_frame
from hpcthermo.datasets.files import write_dataset
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.stop import STOP, Requeue
from hpcthermo.errors import InputError
from hpcthermo.log import get_logger
from hpcthermo.plots.training import training_drawings
from hpcthermo.potentials.nep_file import read_nep_file
from hpcthermo.results import read_results
from hpcthermo.training.beginning import beginning_of, model_of_elements, state_of_elements
from hpcthermo.training.crew import Crew
from hpcthermo.training.load import load_train_job
from hpcthermo.training.loss import Loss, LossWeights
from hpcthermo.training.nep_in import read_nep_in
from hpcthermo.training.optimisers import OPTIMISERS, TIME_IS_OVER
from hpcthermo.training.parameters import form_of
from hpcthermo.training.parts import element_energies, read_parts
from hpcthermo.training.run import run_train
from hpcthermo.training.snes import SnesState, read_restart

NEP_IN = """# a model of two elements
type       2 Ar Kr
version    4
cutoff     4.5 4      # A
n_max      2 1
basis_size 4 3
l_max      2 1
neuron     4
generation 30
population 20
output_interval 10
"""


@pytest.fixture(scope="module", autouse=True)
def without_figures():
    """Files of figures take most of a small training's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A nep.in with train.xyz and test.xyz beside it."""
    folder = tmp_path_factory.mktemp("train")
    frames = [replace(frame, group="even" if k % 2 == 0 else "odd") for k, frame in enumerate(pair_frames(24))]
    write_dataset(frames[:20], folder / "train.xyz")
    write_dataset(frames[20:], folder / "test.xyz")
    (folder / "nep.in").write_text(NEP_IN)
    return folder


def run(folder, out, *options, job="nep.in"):
    return CliRunner().invoke(app, ["train", str(folder / job), "--out", str(out), *options])


@pytest.fixture(scope="module")
def by_snes(folder):
    out = folder / "snes"
    assert run(folder, out, "--optimiser", "snes").exit_code == 0
    return out


@pytest.fixture(scope="module")
def by_gradient(folder):
    out = folder / "gradient"
    (folder / "job.toml").write_text(f"""
kind = "train"
seed = 3
[dataset]
train_files = ["train.xyz"]
test_files = ["{folder / 'test.xyz'}"]
validation_share = 0.2
[model]
elements = ["Ar", "Kr"]
radial_cutoff_A = 4.5
angular_cutoff_A = [4.0, 4.0]
n_max = [2, 1]
basis_size = [4, 3]
l_max = 2
neurons = 4
[optimiser]
name = "gradient"
epochs = 600
[execution]
threads = 1
""")
    assert run(folder, out, job="job.toml").exit_code == 0
    return out


def test_a_nep_in_is_a_whole_job(by_snes):
    rows = np.loadtxt(by_snes / "loss.out")
    assert rows.shape == (3, 10)
    assert rows[:, 0].tolist() == [10, 20, 30]
    # total = regularisation and errors with GPUMD's default weights
    assert rows[:, 1] == pytest.approx(rows[:, 2:6].sum(axis=1) + 0.1 * rows[:, 6], rel=1e-5)
    assert rows[-1, 5] < 0.5 * np.abs(np.loadtxt(by_snes / "force_train.out")[:, 3:]).max()
    summary = json.loads((by_snes / "summary.json").read_text())
    assert summary["run"]["frames_validation"] == 0
    assert summary["results"]["force_rmse_training"]["value"] == pytest.approx(1e3 * rows[-1, 5], rel=1e-4)
    assert summary["results"]["energy_rmse_test"]["value"] == pytest.approx(1e3 * rows[-1, 7], rel=1e-3)
    assert {"force_rmse_test: even", "force_rmse_test: odd"} <= set(summary["results"])
    model = read_nep_file(by_snes / "nep.txt")
    assert form_of(model) == replace(FORM, radial_cutoffs=(4.5, 4.5), angular_cutoffs=(4.0, 4.0))
    state = read_restart(by_snes / "nep.restart", form_of(model).n_parameters)
    assert np.all(state.deviation < 1.0)


def test_figures_show_the_loss_and_predictions_of_all_parts(by_snes):
    drawings = training_drawings(read_results(by_snes / "results.h5"))
    assert set(drawings) == {"training_loss", "parity_energy", "parity_force", "parity_virial"}
    errors = json.loads((by_snes / "summary.json").read_text())["results"]
    for name, draw in drawings.items():
        axes = Figure().subplots()
        draw(axes)
        words = [text.get_text() for text in axes.get_legend().get_texts()]
        expected = ["loss", "energy (eV/atom)", "force, test"]
        if name != "training_loss":
            found = {part: errors[f"{name.removeprefix('parity_')}_rmse_{part}"] for part in ("training", "test")}
            expected = [f"{part}, error {error['value']:.3g} m" for part, error in found.items()]
        assert all(any(word.startswith(start) for word in words) for start in expected)


def test_gradients_do_better_and_stop_by_the_frames_held_out(by_snes, by_gradient):
    errors = [json.loads((out / "summary.json").read_text())["results"]["force_rmse_test"]["value"]
              for out in (by_snes, by_gradient)]
    assert errors[1] < 0.5 * errors[0]
    summary = json.loads((by_gradient / "summary.json").read_text())
    assert summary["run"]["frames_validation"] == 4
    assert summary["results"]["epochs"]["value"] <= 920
    assert summary["checks"]["forces_test"]["passed"]


def test_files_of_predictions_are_what_the_engine_gives_for_the_model(by_gradient, folder):
    from hpcthermo.datasets.files import read_dataset

    frames = read_dataset(folder / "test.xyz")
    energies, forces, virials = (np.loadtxt(by_gradient / f"{name}_test.out") for name in ("energy", "force", "virial"))
    atoms = atoms_of_frame(frames[1])
    atoms.calc = Calculator(str(by_gradient / "nep.txt"), precision="double")
    n = len(atoms)
    assert energies[1] == pytest.approx([atoms.get_potential_energy() / n, frames[1].energy / n], abs=1e-5)
    assert forces[n : 2 * n, :3] == pytest.approx(atoms.get_forces(), abs=1e-4)
    assert forces[n : 2 * n, 3:] == pytest.approx(frames[1].forces, abs=1e-6)
    stress = atoms.get_stress(voigt=False)
    assert virials[1, :6] == pytest.approx([-stress[a, b] * atoms.get_volume() / n for a, b in
                                            ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))], abs=1e-4)


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(folder, tmp_path):
    """By SNES; for the gradient see the end with all frames."""
    job = load_train_job(folder / "nep.in", optimiser="snes")
    table = job.model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"validation_share": 0.1, "check": False}
    table["optimiser"] |= {"population": 10, "generations": 12}
    table["execution"] = {"threads": 1, "look_interval": 5}
    job = parse_job(table)
    calls = []

    def stop():
        calls.append(1)
        return STOP if len(calls) == 8 else 0

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for out in (whole, parts):
        out.mkdir()
    run_train(job, SingleProcess(), whole, False, None)
    with pytest.raises(Requeue):
        run_train(job, SingleProcess(), parts, False, stop)
    assert (parts / "nep.txt").exists()
    with pytest.raises(InputError, match="--resume"):
        run_train(job, SingleProcess(), parts, False, None)
    for other, told in (({"seed": 9}, "seed 9"),
                        ({"execution": {**table["execution"], "precision": "double"}}, "double")):
        with pytest.raises(InputError, match=told):
            run_train(parse_job({**table, **other}), SingleProcess(), parts, True, None)
    run_train(job, SingleProcess(), parts, True, None)
    for name in ("nep.txt", "loss.out"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_frames_of_a_group_count_more(folder):
    table = load_train_job(folder / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"group_energy_weights": {"odd": 9.0}, "validation_share": 0.2, "check": False}
    parts = read_parts(parse_job(table))
    for frames in (parts.training, parts.validation):
        assert {(frame.group, frame.energy_weight) for frame in frames} == {("odd", 9.0), ("even", 1.0)}
    assert {frame.energy_weight for frame in parts.test} == {1.0}
    table["dataset"]["group_weights"] = {"even": 2.0}
    assert {(frame.group, frame.weight, frame.energy_weight) for frame in read_parts(parse_job(table)).training} == {
        ("odd", 1.0, 9.0), ("even", 2.0, 1.0)}
    for key in ("group_weights", "group_energy_weights"):
        wrong = {**table, "dataset": {**table["dataset"], key: {"strange": 2.0}}}
        with pytest.raises(InputError, match=f"{key}: expected groups of the frames, got 'strange'"):
            read_parts(parse_job(wrong))


def test_a_share_of_each_group_is_held_out_for_testing(folder):
    table = load_train_job(folder / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"test_files": [], "check": False}
    whole = read_parts(parse_job({**table, "dataset": {**table["dataset"], "validation_share": 0.0}}))
    for share in (0.0, 0.2):
        table["dataset"] |= {"validation_share": share, "test_share": 0.3}
        parts = read_parts(parse_job(table))
        energies = [frame.energy for part in (parts.training, parts.validation, parts.test) for frame in part]
        assert sorted(energies) == sorted(frame.energy for frame in whole.training)
        assert len(parts.test) == round(0.3 * len(energies))
        assert len(parts.validation) == round(share * len(energies))
        assert {frame.group for frame in parts.test} == {"odd", "even"}
    table["dataset"] |= {"test_share": 0.01}
    with pytest.raises(InputError, match="test_share: expected at least one frame"):
        read_parts(parse_job(table))
    for wrong, message in (({"test_share": 0.8}, "sum below 1"),
                           ({"block_frames": 2, "test_blocks": [0]}, "test_blocks")):
        with pytest.raises(InputError, match=message):
            parse_job({**table, "dataset": {**table["dataset"], "validation_share": 0.2, **wrong}})


def test_training_on_all_frames_is_told_of_and_goes_on_with_the_same_bits(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.training.train._LEAST_GAIN", 0.3)  # far from converged, one step would do
    table = load_train_job(folder / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"validation_share": 0.3, "check": False}
    table["optimiser"] |= {"epochs": 40}
    table["execution"] = {"threads": 1, "look_interval": 4}
    job, calls, outs = parse_job(table), [], [tmp_path / name for name in ("whole", "parts", "without")]
    for out in outs:
        out.mkdir()
    run_train(job, SingleProcess(), outs[0], False, lambda: calls.append(1) or 0)
    history = read_results(outs[0] / "results.h5").group("loss")
    all_frames = history["all_frames"].values.astype(bool)
    assert not all_frames[0]
    assert all_frames.sum() > 1
    assert np.isnan(history["validation"].values[all_frames]).all()
    assert np.all(np.diff(history["step"].values) > 0)
    text = (outs[0] / "loss.out").read_text().split("\n")
    assert text[np.argmax(all_frames)].startswith("#")
    assert len(np.loadtxt(outs[0] / "loss.out")) == len(all_frames)
    # one interruption before, one within
    left = [len(calls) // 2]

    def early():
        left[0] -= 1
        return STOP if left[0] == 0 else 0

    for stop in (early, lambda: STOP if "#" in (outs[1] / "loss.out").read_text() else 0):
        with pytest.raises(Requeue):
            run_train(job, SingleProcess(), outs[1], stop is not early, stop)
    with np.load(outs[1] / "training" / "state.npz") as stored:
        assert any("all frames/" in name for name in stored.files)
    run_train(job, SingleProcess(), outs[1], True, None)
    for name in ("nep.txt", "loss.out"):
        assert (outs[1] / name).read_bytes() == (outs[0] / name).read_bytes()
    table["optimiser"]["finish_with_all_frames"] = False
    run_train(parse_job(table), SingleProcess(), outs[2], False, None)
    assert not read_results(outs[2] / "results.h5").group("loss")["all_frames"].values.any()
    assert (outs[2] / "nep.txt").read_bytes() != (outs[0] / "nep.txt").read_bytes()
    # what is said of the validation set is of the model that has not seen it
    assert np.array_equal(*(read_results(out / "results.h5").group("parity_validation")["force"].values
                            for out in (outs[0], outs[2])))


def test_what_snes_has_is_its_model_before_the_first_look(folder):
    job = load_train_job(folder / "nep.in", optimiser="snes")
    parts, (form, beginning) = read_parts(job), beginning_of(job)
    few = replace(parts, training=parts.training[:2])
    search = OPTIMISERS["snes"](job, form, few, beginning, Crew())
    steps = search.steps()
    next(steps), next(steps)
    loss = Loss(few.training, form, None, search.scaler)
    # the second generation is ranked by errors, and has the mean error of the energies in its bias
    assert loss.errors(search.chosen).mean_energy == pytest.approx(0.0, abs=1e-6)
    assert np.abs(search.chosen - SnesState.start(form.n_parameters, job.seed).mean).max() > 0.1


@pytest.mark.parametrize(("groups", "held_out"), [(["a", "b", "c"], 1), (["", ""], 1), ([""], 0)])
def test_frames_are_held_out_of_small_groups_too(tmp_path, groups, held_out):
    write_dataset([replace(frame, group=group) for frame, group in zip(pair_frames(len(groups)), groups, strict=True)],
                  tmp_path / "train.xyz")
    parts = read_parts(parse_job({"kind": "train", "model": {"elements": ["Ar", "Kr"]}, "dataset": {
        "train_files": [str(tmp_path / "train.xyz")], "check": False}}))
    assert (len(parts.training), len(parts.validation)) == (len(groups) - held_out, held_out)


def test_without_blocks_for_validation_a_share_of_the_others_is_held_out(folder):
    table = load_train_job(folder / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"block_frames": 3, "test_blocks": [1], "test_files": [], "check": False}
    parts, whole = read_parts(parse_job(table)), pair_frames(20)
    assert [frame.energy for frame in parts.test] == pytest.approx([frame.energy for frame in whole[3:6]])
    held_out = [k for k, frame in enumerate(whole) for other in parts.validation
                if np.allclose(frame.positions, other.positions)]
    assert len({k // 3 for k in held_out}) == 1
    assert len(held_out) in (2, 3)
    assert len(parts.training) == 17 - len(held_out)


def test_one_block_alone_cannot_say_when_to_stop(folder):
    table = load_train_job(folder / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"block_frames": 10, "test_blocks": [1], "test_files": [], "check": False}
    with pytest.raises(InputError, match=r"expected at least two blocks besides test_blocks.*got 1"):
        read_parts(parse_job(table))
    table["dataset"]["validation_share"] = 0.0
    assert not read_parts(parse_job(table)).validation


def test_elements_that_nothing_is_trained_on_are_refused(folder):
    table = load_train_job(folder / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["model"]["elements"] = ["Ar", "Kr", "Xe"]
    table["dataset"] |= {"check": False}
    with pytest.raises(InputError, match=r"model\.elements.*got Xe"):
        read_parts(parse_job(table))


def test_frames_without_weight_do_not_decide_energies_of_elements():
    frames = pair_frames(10)
    without = [replace(frame, energy_weight=0.0, energy=frame.energy + 1000.0 * frame.n_atoms) for frame in frames[:3]]
    assert element_energies([*without, *frames[3:]]) == pytest.approx(element_energies(frames[3:]), abs=1e-9)
    light = [replace(frame, weight=1e-4, energy=frame.energy + 1000.0 * frame.n_atoms) for frame in frames[:3]]
    assert element_energies([*light, *frames[3:]]) == pytest.approx(element_energies(frames[3:]), abs=0.01)


def test_there_may_be_more_time_when_training_goes_on(folder):
    job = load_train_job(folder / "nep.in")
    parts, (form, beginning) = read_parts(job), beginning_of(job)
    search, again = (OPTIMISERS["gradient"](job, form, parts, beginning, Crew()) for _ in range(2))
    steps = search.steps()
    while search._state.stopping.theta is None:
        next(steps)
    search.hasten()
    assert search.done == TIME_IS_OVER
    again.restore(search.arrays())
    assert again.done == ""


@pytest.mark.parametrize(("krypton", "words"), [(-60.0, "differ by 60 eV an atom"), (0.0, "")])
def test_elements_far_apart_in_energy_are_told_of(folder, caplog, monkeypatch, krypton, words):
    frames = [replace(frame, symbols=("Ar",) * k + ("Kr",) * (8 - k), energy=krypton * (8 - k))
              for k, frame in enumerate(pair_frames(4), start=3)]
    monkeypatch.setattr("hpcthermo.training.parts.read_dataset", lambda path: frames)
    table = load_train_job(folder / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"check": False}
    monkeypatch.setattr(get_logger(), "propagate", True)
    read_parts(parse_job(table))
    assert words in caplog.text
    assert bool(words) == ("element_energies" in caplog.text)


def test_time_that_is_over_ends_with_a_report(folder, tmp_path):
    done = run(folder, tmp_path / "out", "--max-minutes", "1e-4")
    model = (tmp_path / "out" / "nep.txt").read_bytes()
    assert run(folder, tmp_path / "out", "--max-minutes", "1e-4", "--resume").exit_code == 0
    assert (tmp_path / "out" / "nep.txt").read_bytes() == model
    assert done.exit_code == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["run"]["ended"] == "the time is over"
    assert read_nep_file(tmp_path / "out" / "nep.txt").elements == ("Ar", "Kr")


def test_fine_tuning_begins_from_the_model(by_gradient, folder, tmp_path):
    (tmp_path / "job.toml").write_text(f"""
kind = "train"
fine_tune = "{by_gradient / 'nep.txt'}"
[dataset]
train_files = ["{folder / 'train.xyz'}"]
[optimiser]
name = "gradient"
epochs = 2
[execution]
threads = 1
look_interval = 1
""")
    assert run(tmp_path, tmp_path / "out", job="job.toml").exit_code == 0
    before, after = (read_nep_file(out / "nep.txt") for out in (by_gradient, tmp_path / "out"))
    assert np.array_equal(before.scaler, after.scaler)
    assert np.loadtxt(tmp_path / "out" / "loss.out", ndmin=2)[0, 5] < 1.6 * np.loadtxt(by_gradient / "loss.out")[-1, 5]


def test_energies_of_elements_are_fitted_and_written_as_biases(folder, tmp_path):
    """Argon at -1000 eV, krypton at -3000 eV: without them the set is what it was."""
    frames = pair_frames(8)
    frames[0] = replace(frames[0], symbols=("Ar",) * 8)
    away = {"Ar": -1000.0, "Kr": -3000.0}
    shifted = [replace(frame, energy=frame.energy + sum(away[s] for s in frame.symbols)) for frame in frames]
    write_dataset(shifted, tmp_path / "train.xyz")
    (tmp_path / "nep.in").write_text(NEP_IN)
    table = load_train_job(tmp_path / "nep.in").model_dump(mode="json", exclude_unset=True)
    table["dataset"] |= {"element_energies": "own", "check": False}
    table["optimiser"] |= {"epochs": 60}
    run_train(parse_job(table), SingleProcess(), tmp_path, False, None)
    summary = json.loads((tmp_path / "summary.json").read_text())
    found = summary["run"]["element_energies_eV"]
    assert found["Kr"] - found["Ar"] == pytest.approx(-2000.0, abs=1.0)
    assert summary["results"]["energy_rmse_training"]["value"] < 100.0
    atoms = atoms_of_frame(shifted[1])
    atoms.calc = Calculator(str(tmp_path / "nep.txt"), precision="double")
    assert atoms.get_potential_energy() == pytest.approx(shifted[1].energy, abs=2.0)
    # training goes on from this nep5, whose energies of the elements are found anew
    table["fine_tune"] = str(tmp_path / "nep.txt")
    del table["model"]
    form, beginning = beginning_of(parse_job(table))
    model = form.model(beginning.theta, beginning.scaler)
    np.testing.assert_array_equal(model.input_weights, read_nep_file(tmp_path / "nep.txt").input_weights)
    assert not model.output_biases.any()
    table["dataset"]["element_energies"] = "common"
    with pytest.raises(InputError, match='got a nep5 model; set element_energies = "own"'):
        beginning_of(parse_job(table))


def test_the_bias_is_best_for_the_loss():
    frames = [replace(frame, energy=frame.energy + 100.0 * k, energy_weight=float(k % 3))
              for k, frame in enumerate(pair_frames(6))]
    loss = Loss(frames, FORM, LossWeights(1.0, 0.0, 0.0), precision="double")
    theta = loss.with_mean_energy(FORM.start(0))
    best = loss.data_value(theta)
    for step in (-1e-2, 1e-2):
        moved = theta.copy()
        moved[FORM.bias_place] += step
        assert loss.data_value(moved) > best


def test_weights_of_energies_count_in_the_loss():
    frames = pair_frames(3)
    theta = FORM.start(0)
    plain = Loss(frames, FORM, LossWeights(1.0, 0.0, 0.0), precision="double")
    errors = plain.predict(theta).errors[:, 0]
    weighted = [replace(frames[0], energy_weight=4.0, weight=0.5), *frames[1:]]
    found = Loss(weighted, FORM, LossWeights(1.0, 0.0, 0.0), plain.scaler, precision="double").value(theta)
    assert found == pytest.approx((errors**2).mean())
    assert found != Loss([replace(frames[0], weight=0.5), *frames[1:]], FORM, LossWeights(1.0, 0.0, 0.0), plain.scaler,
                         precision="double").value(theta)


def test_a_model_of_some_elements_gives_them_the_same_energies(by_gradient):
    model = read_nep_file(by_gradient / "nep.txt")
    part = model_of_elements(model, ("Kr",))
    frame = pair_frames(1, 5)[0]
    frame = replace(frame, symbols=("Kr",) * 8)
    energies = [Loss([frame], form_of(m), None, m.scaler, precision="double").predict(form_of(m).parameters(m)).energies
                for m in (model, part)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-12)
    theta = form_of(model).parameters(model)
    state = state_of_elements(SnesState(theta, np.abs(theta) + 0.1, 1), model, ("Kr", "Ar"))
    turned = model_of_elements(model, ("Kr", "Ar"))
    assert np.array_equal(state.mean, form_of(turned).parameters(turned))
    assert np.array_equal(state.deviation, np.abs(state.mean) + 0.1)
    with pytest.raises(InputError, match="Xe"):
        model_of_elements(model, ("Xe",))


# ---- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "said"), [
    ("model_type 1", "line 12: model_type: expected 0"), ("charge_mode 2", "charge_mode"), ("cutof 5 4", "cutoff?"),
    ("zbl 9", "zbl: expected"), ("lambda_e -1", "lambda_e"), ("lambda_e x", "lambda_e"), ("population 3", "population"),
    ("neuron 5", "twice"), ("type_weight 1", "type_weight: expected 2"), ("fine_tune a b c", "fine_tune"),
    ("force_delta 1", "--optimiser snes"), ("import_q_scaler a", "import_q_scaler"), ("batch 1e99", "batch"),
])
def test_lines_without_an_equivalent_are_refused(folder, tmp_path, line, said):
    (tmp_path / "train.xyz").write_bytes((folder / "train.xyz").read_bytes())
    (tmp_path / "nep.in").write_text(NEP_IN + line + "\n")
    with pytest.raises(InputError) as caught:
        load_train_job(tmp_path / "nep.in")
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_bad_input_is_one_line_and_leaves_no_folder(tmp_path, folder):
    (tmp_path / "nep.in").write_text("type 1 Ar\n")
    (tmp_path / "train.xyz").write_bytes((folder / "train.xyz").read_bytes())
    done = run(tmp_path, tmp_path / "out", "--optimiser", "adam")
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    done = run(tmp_path, tmp_path / "out")
    assert done.exit_code == 2
    assert "species Kr not declared" in done.stderr
    assert not list((tmp_path / "out").glob("nep*"))


def test_defaults_of_nep_in_are_those_of_gpumd(tmp_path, folder):
    (tmp_path / "nep.in").write_text("type 1 Si\n")
    found = read_nep_in(tmp_path / "nep.in")
    assert (found.cutoffs, found.n_max, found.basis_size, found.l_max, found.neurons) == (
        [8.0, 4.0], [6, 6], [6, 6], [4, 1], 30)
    with pytest.raises(InputError, match=r"train\.xyz"):
        load_train_job(tmp_path / "nep.in")
    (tmp_path / "nep.in").write_text(NEP_IN + "zbl 2\nlambda_f 3\nlambda_v 0.2\ntype_weight 1 2\nlambda_1 0\n"
                                     "use_typewise_cutoff_zbl\nseed 7\nlambda_q 2\nimport_q_scaler 0\n")
    (tmp_path / "train.xyz").write_bytes((folder / "train.xyz").read_bytes())
    gradient, snes = (load_train_job(tmp_path / "nep.in", 5.0, name) for name in ("gradient", "snes"))
    assert (gradient.optimiser.force_weight, gradient.optimiser.virial_weight) == (3.0, 10.0)
    assert (snes.optimiser.generations, snes.optimiser.l1, snes.optimiser.l2) == (30, 0.0, None)
    assert snes.optimiser.element_weights == {"Ar": 1.0, "Kr": 2.0}
    assert (snes.model.repulsion_cutoff_A, snes.model.repulsion_radius_factor, snes.seed) == (2.0, 0.65, 7)
    assert (snes.execution.max_minutes, snes.execution.look_interval) == (5.0, 10)


@pytest.mark.parametrize(("change", "said"), [
    ({"dataset": {"train_files": ["absent.xyz"]}}, "absent"),
    ({"dataset": {"train_files": ["train.xyz"], "block_frames": 5}}, "block_frames"),
    ({"model": {"elements": ["Ar"]}}, "Kr"),
    ({"model": {"elements": ["Ar", "Ar"]}}, "each once"),
    ({"model": {"elements": ["Ar", "Nn"]}}, "expected chemical symbols, got Nn"),
    ({"model": {"elements": ["Ar", "Kr"], "angular_cutoff_A": 9.0}}, "angular_cutoff_A"),
    ({"model": None}, "fine_tune"),
    ({"model": {"elements": ["Ar", "Kr"], "repulsion_cutoff_A": 4.5}}, "repulsion_cutoff_A: expected at most"),
    ({"optimiser": {"name": "gradient", "element_weights": {"Xe": 2.0}}}, "element_weights: expected elements"),
    ({"optimiser": {"name": "gradient", "energy_weight": 0.0, "force_weight": 0.0, "virial_weight": 0.0}},
     "training: expected labels that count"),
    ({"optimiser": {"name": "snes", "energy_weight": 0.0, "force_weight": 0.0, "virial_weight": 0.0}},
     "validation: expected labels that count"),
    ({"optimiser": {"name": "snes", "restart_file": "train.xyz"}}, "restart_file"),
    ({"model": {"elements": ["Ar", "Kr"], "n_max": (6, 9)}}, "n_max: expected at most 8 for the angular"),
    ({"model": {"elements": ["Ar", "Kr"], "n_max": (6, 8), "l_max": 8, "extra_invariants": ("222", "1111", "112")}},
     "90 angular descriptors.*got 8 and 99"),
])
def test_jobs_that_cannot_be_run_are_refused(folder, tmp_path, change, said):
    table = {"kind": "train", "dataset": {"train_files": ["train.xyz"]}, "model": {"elements": ["Ar", "Kr"]}} | change
    table = {name: value for name, value in table.items() if value is not None}
    table["dataset"]["train_files"] = [str(folder / name) for name in table["dataset"]["train_files"]]
    with pytest.raises((InputError, FileNotFoundError), match=said):
        run_train(parse_job(table), SingleProcess(), tmp_path, False, None)


def test_check_counts_frames_and_numbers(folder, by_gradient):
    done = CliRunner().invoke(app, ["check", str(folder / "nep.in")])
    assert (done.exit_code, "18 frames" in done.stdout) == (0, True), done.stdout
    done = CliRunner().invoke(app, ["check", str(folder / "job.toml")])
    assert done.exit_code == 0
    assert "16 frames, 128 atoms" in done.stdout
    assert "all is kept" in done.stdout
    assert "for each of the epochs on 1 core" in done.stdout
    assert f"{form_of(read_nep_file(by_gradient / 'nep.txt')).n_parameters:,} numbers" in done.stdout
