"""The strategy of GPUMD's nep: ranks, losses of elements, noise, regularisation, its curve."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_nep_optimisation import FORM, pair_frames

from hpcthermo.errors import InputError
from hpcthermo.potentials.nep_file import read_nep_file
from hpcthermo.potentials.zbl import UNIVERSAL_PHI, universal_screening
from hpcthermo.training.beginning import beginning_of
from hpcthermo.training.crew import Crew
from hpcthermo.training.load import load_train_job
from hpcthermo.training.loss import Loss
from hpcthermo.training.parts import read_parts
from hpcthermo.training.snes import Snes, SnesSettings, SnesState, read_restart, utilities, write_restart


def test_weights_of_ranks_add_up_to_none():
    u = utilities(50)
    assert u.sum() == pytest.approx(0.0, abs=1e-14)
    assert np.all(np.diff(u) <= 0.0)
    assert u[-1] == pytest.approx(-1.0 / 50)
    assert u[0] + 1.0 / 50 == pytest.approx(np.log(26.0) / np.log(26.0 / np.arange(1, 26)).sum())


def test_losses_of_types_are_those_of_their_structures():
    """Errors by hand: weights, the mean error of energies, force_delta, shear."""
    frames = pair_frames(3)
    frames[1] = replace(frames[1], symbols=("Ar",) * 8, weight=1.5)
    frames[2] = replace(frames[2], energy=None, virial=None, energy_weight=7.0)
    settings = SnesSettings(shear=0.5, force_delta=0.3, types={"Kr": 2.0})
    snes = Snes(frames, FORM, settings, precision="double")
    theta = FORM.start(2)
    found, shift = snes._batches[0].errors(theta, snes.scaler)
    predicted = Loss(frames, FORM, None, snes.scaler, precision="double").predict(theta)
    forces = predicted.forces.reshape(3, 8, 3)
    labels = np.array([frame.forces for frame in frames])
    factor = 0.3 / (0.3 + np.linalg.norm(labels, axis=2)) * np.array([[1.0, 4.0] * 4, [1.0] * 8, [1.0, 4.0] * 4])
    squares = (factor[..., None] * (forces - labels) ** 2).sum(axis=(1, 2)) * np.array([1.0, 1.5**2, 1.0])
    energy = np.array([predicted.energies[k] - frames[k].energy for k in (0, 1)]) / 8.0
    mean = (energy[0] + 2.25 * energy[1]) / 3.25
    assert shift == pytest.approx(mean)
    virial = (predicted.virials[0] - [frames[0].virial[a, b] for a, b in
                                      ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))]) / 8.0
    kr = [abs(energy[0] - mean), np.sqrt(squares[[0, 2]].sum() / 48.0),
          np.sqrt((virial**2 @ [1.0, 1.0, 1.0, 0.25, 0.25, 0.25]) / 6.0)]
    assert found[1] == pytest.approx(kr)
    everything = np.sqrt(((energy - mean) ** 2 @ [1.0, 2.25]) / 2.0)
    assert found[2, :2] == pytest.approx([everything, np.sqrt(squares.sum() / 72.0)])
    assert found[0] == pytest.approx(found[2])  # all have argon


def test_small_forces_count_more_by_what_is_labelled():
    """Also where short-range repulsion is a part of it."""
    form = replace(FORM, screening=universal_screening(FORM.elements, 1.75, 3.5, None, UNIVERSAL_PHI))
    frames = pair_frames(2)
    snes = Snes(frames, form, SnesSettings(force_delta=0.3))
    sizes = np.linalg.norm(np.concatenate([frame.forces for frame in frames]), axis=1)
    assert np.abs(snes._batches[0].structures.labels.forces).max() > 2.0 * sizes.max()
    assert snes._batches[0].set.terms.atoms == pytest.approx(0.3 / (0.3 + sizes))


def test_the_search_does_not_depend_on_interruption_and_threads(tmp_path):
    frames, settings = pair_frames(6), SnesSettings(population=10, batch=4, seed=5)
    one, two = (Snes(frames, FORM, settings, crew=Crew(threads=threads)) for threads in (1, 2))
    state, other = (SnesState.start(FORM.n_parameters, 5) for _ in range(2))
    for _ in range(6):
        last = one.step(state)
    for _ in range(3):
        two.step(other)
    write_restart(tmp_path / "nep.restart", other)
    stored = read_restart(tmp_path / "nep.restart", FORM.n_parameters)
    assert np.array_equal(stored.mean, other.mean)
    assert np.array_equal(stored.deviation, other.deviation)
    stored.generation = 3
    for _ in range(3):
        final = two.step(stored)
    assert np.array_equal(final.theta, last.theta)
    assert final.total == last.total
    with pytest.raises(InputError, match="rows"):
        read_restart(tmp_path / "nep.restart", 7)


def test_it_finds_the_minimum_of_regularisation():
    """Without errors the loss is known: z goes to 0."""
    snes = Snes(pair_frames(1), FORM, SnesSettings(energy=0.0, force=0.0, virial=0.0))
    state = SnesState.start(FORM.n_parameters, 0)
    losses = [snes.step(state).total for _ in range(40)]
    assert losses[-1] < 0.85 * losses[0]
    assert np.abs(state.mean).mean() < 0.85 * np.abs(SnesState.start(FORM.n_parameters, 0).mean).mean()


@pytest.mark.slow
def test_snes_follows_the_curve_of_gpumd(tmp_path):
    """PbTe, 100 generations: total loss and force error of GPUMD's own run, whose noise is another."""
    source = Path(__file__).parents[3] / "shared" / "data" / "training" / "pbte"
    if not source.is_dir():
        pytest.skip("no training set in ../shared beside this checkout")
    peer = np.loadtxt(source / "loss.out")[0]
    job = load_train_job(source / "nep.in", optimiser="snes")
    frames, form = read_parts(job).training, beginning_of(job)[0]
    snes, state = Snes(frames, form, SnesSettings(seed=1)), SnesState.start(form.n_parameters, 1)
    model = read_nep_file(source / "nep.txt")
    assert snes.scaler == pytest.approx(model.scaler, rel=1e-5)
    assert snes.most_neighbors == (73, 8)
    for _ in range(int(peer[0])):
        last = snes.step(state)
    assert [last.total, last.l1, last.l2, last.force] == pytest.approx(peer[[1, 2, 3, 5]], rel=0.12)


def test_an_individual_without_finite_errors_comes_last(monkeypatch):
    snes = Snes(pair_frames(2), FORM, SnesSettings(population=10))
    state = SnesState.start(FORM.n_parameters, 0)
    snes.step(state)
    calls = []

    def errors(_theta, _scaler):
        calls.append(1)
        return np.full((3, 3), np.nan if len(calls) % 2 else 1.0), 0.0

    monkeypatch.setattr(snes, "_batches", [SimpleNamespace(errors=errors, known=np.ones(3, dtype=bool))])
    assert np.isfinite(snes.step(state).total)
    assert np.isfinite(state.mean).all()
