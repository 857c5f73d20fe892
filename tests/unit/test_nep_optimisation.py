"""Gauss-Newton matrix, L-BFGS, early stopping, and training as a whole on small sets."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.errors import InputError
from hpcthermo.training.crew import Crew
from hpcthermo.training.early_stopping import EarlyStopping, Verdict
from hpcthermo.training.gauss_newton import GaussNewton, GaussNewtonSettings, gram_matrix
from hpcthermo.training.lbfgs import Pairs, line_search
from hpcthermo.training.loss import Loss, LossWeights
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.settings import TrainingSettings
from hpcthermo.training.train import refit, start_refit, start_training, train

FORM = NepForm(("Ar", "Kr"), (4.5, 5.0), (3.6, 4.0), (2, 1), (4, 3), 2, ("222",), 4)
ALL_ROWS = GaussNewtonSettings(rows_per_parameter=1e9)


def pair_frames(n_frames, seed=0):
    """Atoms with a smooth pair energy, labelled exactly."""
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        cell = 6.0 * np.eye(3)
        grid = np.array([[x, y, z] for x in (0, 3) for y in (0, 3) for z in (0, 3)], dtype=float)
        positions = grid + 0.25 * random.normal(size=grid.shape)
        near = (-1, 0, 1)
        images = np.array([[x, y, z] for x in near for y in near for z in near]) @ cell
        vectors = (positions[None, :, None] + images) - positions[:, None, None]
        r = np.linalg.norm(vectors, axis=-1)
        # e = (1 - (r/4)^2)^3, by directed pairs
        inside = (r > 0) & (r < 4.0)
        x = np.where(inside, 1.0 - (r / 4.0) ** 2, 0.0)
        slope = np.where(inside, -6.0 * r / 16.0 * x**2, 0.0)
        pull = (slope / np.where(inside, r, 1.0))[..., None] * vectors
        virial = -0.5 * np.einsum("ijka,ijkb->ab", vectors, pull)
        frames.append(LabelledFrame(cell, np.ones(3), ("Ar", "Kr") * 4, positions, 0.5 * float((x**3).sum()),
                                    pull.sum(axis=(1, 2)), virial))
    return frames


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_of_the_jacobian_give_gradient_and_matrix(threads):
    weights = LossWeights(energy=3.0, force=1.0, virial=2.0, types={"Kr": 0.3})
    loss = Loss(pair_frames(40), FORM, weights, precision="double", crew=Crew(threads=threads))
    assert loss.set.partition.n_parts > 1
    theta = loss.form.start(1)
    # d^T J^T J d is the weighted square of how fast energies, forces and virials change along d
    gram = gram_matrix(loss, theta, ALL_ROWS, 0)
    order = np.append(loss.form.kernel_places()[0], loss.form.bias_place)
    direction = np.random.default_rng(3).normal(size=len(theta))
    direction /= np.linalg.norm(direction)
    h = 1e-4
    up, down = (loss.predict(theta + s * h * direction) for s in (1, -1))
    labels, sizes = loss.structures.labels, loss.structures.sizes
    a, b, c = loss.terms.structures.T
    tau = loss.terms.atoms
    rate = {name: (getattr(up, name) - getattr(down, name)) / (2 * h) for name in ("energies", "forces", "virials")}
    of_atom = np.repeat(b, sizes) * tau
    expected = (a * (rate["energies"] / sizes) ** 2).sum() + (of_atom[:, None] * rate["forces"] ** 2).sum()
    expected += (c[:, None] * (rate["virials"] / sizes[:, None]) ** 2).sum()
    assert labels.known.all()
    assert direction[order] @ gram.astype(float) @ direction[order] == pytest.approx(expected, rel=1e-4)


def test_a_sample_of_rows_is_right_on_average():
    loss = Loss(pair_frames(6), FORM, LossWeights(), precision="double")
    theta = loss.form.start(1)
    whole = gram_matrix(loss, theta, ALL_ROWS, 0)
    some = GaussNewtonSettings(rows_per_parameter=30.0 / loss.form.n_parameters)
    mean = np.mean([gram_matrix(loss, theta, some, seed) for seed in range(60)], axis=0)
    assert np.trace(mean) == pytest.approx(np.trace(whole), rel=0.1)
    assert np.array_equal(gram_matrix(loss, theta, some, 5), gram_matrix(loss, theta, some, 5))


def test_the_inverse_is_that_of_the_matrix():
    loss = Loss(pair_frames(6), FORM, LossWeights(l2=1e-4))
    theta = loss.form.start(1)
    settings = GaussNewtonSettings(damping=0.1, rows_per_parameter=1e9)
    inverse = GaussNewton(loss, theta, settings, 0)
    order = np.append(loss.form.kernel_places()[0], loss.form.bias_place)
    gram = gram_matrix(loss, theta, settings, 0).astype(float)
    diagonal = gram.diagonal()
    matrix = 2.0 * (gram + np.diag(1e-4 + 0.1 * (diagonal + 1e-4 * diagonal.mean())))
    vector = np.random.default_rng(2).normal(size=len(theta))
    assert np.allclose(matrix @ inverse(vector)[order], vector[order], atol=1e-3 * np.abs(vector).max())


def test_lbfgs_minimises_a_quadratic_function():
    random = np.random.default_rng(0)
    root = random.normal(size=(30, 30))
    hessian = root @ root.T + np.diag(np.logspace(0, 4, 30))

    def function(x):
        return 0.5 * x @ hessian @ x, hessian @ x

    x = random.normal(size=30)
    value, gradient = function(x)
    pairs = Pairs.none(20, 30)
    diagonal = hessian.diagonal()
    for _ in range(60):
        direction = -pairs.apply(gradient, lambda v: v / diagonal, 1.0)
        found = line_search(function, x, value, gradient, direction, 1e-12)
        if not found.accepted:
            break
        pairs.add(found.theta - x, found.gradient - gradient)
        x, value, gradient = found.theta, found.value, found.gradient
    assert value < 1e-18
    steps, changes = pairs.arrays()
    assert np.allclose(changes, steps @ hessian)


def test_a_line_search_goes_on_below_the_noise_of_the_function_and_says_when_it_fails():
    def noisy(x):
        return 1.0 + 1e-9 * (x @ x) + 3e-8 * np.sin(1e9 * x[0]), 2e-9 * x

    start = np.array([1.0, 1.0])
    value, gradient = noisy(start)
    assert line_search(noisy, start, value, gradient, -start, 1e-7).accepted
    wrong = line_search(lambda x: (float(x @ x), -2.0 * x), start, 2.0, -2.0 * start, start, 0.0)
    assert not wrong.accepted
    assert np.array_equal(wrong.theta, start)


def test_regularisation_falls_while_that_helps_and_the_best_is_kept():
    stopping = EarlyStopping(patience=2)
    losses = [5.0, 4.0, 4.0, 4.1, 3.0, 3.1, 3.2, 3.3, 3.4, 9.0]
    verdicts = []
    for k, value in enumerate(losses):
        verdicts.append(stopping.look(value, np.array([float(k)]), k))
        if verdicts[-1] is Verdict.STOP:
            break
    assert [v.name for v in verdicts] == [*["GO_ON"] * 3, "LOWER", "GO_ON", "GO_ON", "LOWER", "GO_ON", "STOP"]
    assert (stopping.best, stopping.theta[0], stopping.epoch) == (3.0, 4.0, 4)


SETTINGS = TrainingSettings(adam_epochs=20, adam_steps=0, rebuild_epochs=30, most_epochs=120, validation_epochs=5,
                            patience=5)


def test_training_fits_a_set_and_stops_by_the_validation_set():
    frames = pair_frames(36)
    loss = Loss(frames[:30], FORM, LossWeights())
    validation = Loss(frames[30:], FORM, LossWeights(), loss.scaler)
    before = loss.errors(start_training(loss, SETTINGS).theta)
    *_, last = train(loss, SETTINGS, validation)
    state = last.state
    assert state.done
    after, unseen = loss.errors(state.chosen), validation.errors(state.chosen)
    assert after.force < 0.2 * before.force
    assert unseen.force < 1.5 * after.force
    assert validation.value(state.chosen) == state.stopping.best
    # a model to begin from counts as a look, and Adam leaves it alone
    again = start_training(loss, SETTINGS, state.chosen)
    first = next(train(loss, SETTINGS, validation, again))
    assert first.phase == "lbfgs"
    assert again.stopping.best <= validation.value(loss.with_mean_energy(state.chosen))
    whole = Loss(frames, FORM, LossWeights(), loss.scaler)
    fitted = loss.data_value(state.chosen)
    begin = start_refit(whole, fitted, SETTINGS, state)
    assert begin.target <= 0.5 * (fitted + whole.data_value(state.chosen))
    *_, last = refit(whole, replace(SETTINGS, refit_epochs=60), begin)
    assert last.l2 == state.stopping.l2
    assert last.epoch < 75
    assert (last.epoch >= 60) != (whole.data_value(last.state.theta) <= begin.target)
    assert whole.value(last.state.theta) < whole.value(state.chosen)


def test_the_model_at_the_end_is_not_overfitted():
    """Labels with noise, ten frames: going on to fit them doubles the error of frames held out."""
    seed = 1
    random = np.random.default_rng(seed)
    clean = pair_frames(30, seed)
    noisy = [replace(frame, energy=frame.energy + 0.016 * random.normal(), virial=None,
                     forces=frame.forces + 0.05 * random.normal(size=(8, 3))) for frame in clean[:10]]
    form = NepForm(("Ar", "Kr"), (4.5, 5.0), (3.6, 4.0), (4, 4), (6, 5), 3, ("222",), 12)
    weights, settings = LossWeights(virial=0.0), TrainingSettings(seed=seed, adam_steps=0, most_epochs=400)
    loss = Loss(noisy[:8], form, weights)
    validation, unseen = (Loss(frames, form, weights, loss.scaler) for frames in (noisy[8:], clean[10:]))
    *_, last = train(loss, settings, validation)
    state = last.state
    chosen = unseen.errors(state.chosen).force
    assert unseen.errors(state.theta).force > 1.5 * chosen
    whole = Loss(noisy, form, weights, loss.scaler)
    *_, last = refit(whole, settings, start_refit(whole, loss.data_value(state.chosen), settings, state))
    assert unseen.errors(last.state.chosen).force < chosen


def test_training_goes_on_from_its_state_with_the_same_bits():
    frames, settings = pair_frames(12), replace(SETTINGS, most_epochs=70)

    def losses():
        loss = Loss(frames[:9], FORM, LossWeights())
        return loss, Loss(frames[9:], FORM, LossWeights(), loss.scaler)

    whole = [p.value for p in train(losses()[0], settings, losses()[1])]
    loss, validation = losses()
    values, kept = [], None
    for count, progress in enumerate(train(loss, settings, validation), start=1):
        values.append(progress.value)
        state = progress.state
        if state.of_adam.theta is not None and progress.phase == "adam":
            assert validation.value(state.chosen) == state.of_adam.best
        elif progress.phase == "lbfgs":
            assert state.stopping.best <= state.of_adam.best
        if count == 40:
            kept = copy.deepcopy(progress.state)
            break
    loss, validation = losses()
    values += [p.value for p in train(loss, settings, validation, kept)]
    assert np.array_equal(whole, values, equal_nan=True)


class Misleading(Loss):
    """A loss whose gradient has the wrong sign, but not in double."""

    def value_and_gradient(self, theta):
        value, gradient = super().value_and_gradient(theta)
        return value, -gradient


def test_a_search_that_fails_goes_on_in_double():
    loss = Misleading(pair_frames(8), FORM, LossWeights(l2=1e-6))
    steps = [(p.state.in_double, p.value) for p in train(loss, replace(SETTINGS, most_epochs=60))]
    searches = [step for step in steps if not np.isnan(step[1])]
    assert [step[0] for step in searches[:2]] == [False, True]
    assert searches[0][1] == pytest.approx(searches[1][1], rel=1e-5)
    assert min(value for in_double, value in searches if in_double) < 0.9 * searches[0][1]


class Stuck(Loss):
    """A loss whose gradient has the wrong sign, in double too, until its regularisation falls."""

    first = np.nan

    def value_and_gradient(self, theta):
        self.first = self.l2 if np.isnan(self.first) else self.first
        value, gradient = super().value_and_gradient(theta)
        return value, gradient if self.l2 < self.first else -gradient

    def double(self):
        return self


def test_where_there_is_no_step_left_regularisation_falls():
    frames = pair_frames(8)
    loss = Stuck(frames[:6], FORM, LossWeights())
    validation = Loss(frames[6:], FORM, LossWeights(), loss.scaler)
    weights, new_matrices, before = [], 0, np.nan
    for progress in train(loss, replace(SETTINGS, most_epochs=150, patience=30), validation):
        if progress.phase == "lbfgs":
            weights.append(progress.l2)
            # whoever goes on from here makes a new matrix, too
            new_matrices += progress.state.matrix_at is None
            before = progress.value if len(weights) == 1 else before
    assert new_matrices == 1
    assert weights[-1] == pytest.approx(0.3 * weights[0])
    assert progress.state.done == "the number of epochs is reached"
    assert progress.value < 0.9 * before


def test_a_loss_that_is_not_finite_is_refused():
    frames = pair_frames(2)
    frames[0] = replace(frames[0], energy=1e200)
    with np.errstate(all="ignore"), pytest.raises(InputError, match="expected a finite loss"):
        list(train(Loss(frames, FORM, LossWeights()), replace(SETTINGS, adam_epochs=1)))


def test_nothing_to_fit_is_no_trouble_for_the_matrix():
    """Forces on atoms alone are 0 whatever the model."""
    alone = LabelledFrame(np.zeros((3, 3)), np.zeros(3), ("Ar",), np.zeros((1, 3)), forces=np.zeros((1, 3)))
    loss = Loss([alone], FORM, LossWeights())
    inverse = GaussNewton(loss, loss.form.start(0), ALL_ROWS, 0)
    assert np.isfinite(inverse(np.zeros(loss.form.n_parameters))).all()
