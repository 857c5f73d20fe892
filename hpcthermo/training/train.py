"""Training: Adam, then L-BFGS with a Gauss-Newton matrix for its first Hessian, until a validation set says to stop.

    for progress in train(loss, settings, validation):
        print(progress.epoch, progress.value)
    theta = progress.state.chosen

The state is made of plain arrays and numbers; `train(..., state=state)` goes on from it with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.training.adam import Adam
from hpcthermo.training.early_stopping import EarlyStopping, Verdict
from hpcthermo.training.gauss_newton import GaussNewton, cost_in_epochs, rows_per_parameter
from hpcthermo.training.lbfgs import Pairs, line_search
from hpcthermo.training.loss import Loss
from hpcthermo.training.settings import TrainingSettings

#: iterations between new scales of the Gauss-Newton matrix
_SCALE_EVERY = 10
#: line searches in a row that may fail before a new matrix is made, and new matrices in a row without a step
_MOST_FAILURES, _MOST_MATRICES = 3, 2
_NOISE_IN_DOUBLE = 1e-12
#: epochs between matrices, in units of what one costs, and their range
_EPOCHS_PER_COST, _REBUILD_EPOCHS = 3.2, (100, 400)
#: training on all frames may make their loss this much smaller in any case
_LEAST_GAIN = 0.9
#: of a step that goes further
_HALVINGS = 4
#: why training ended
_NO_STEP = "no step makes the loss smaller"


@dataclass
class TrainingState:
    """All that training needs to go on.

    Attributes
    ----------
    theta : (n,) float64
    epoch : float
        Gradients of the whole set computed so far.
    with_adam : bool
        Whether Adam comes first.
    adam : Adam
    pairs : Pairs
    matrix_at : (n,) float64 or None
        Theta of the present Gauss-Newton matrix; None: a new one is due.
    matrices : int
        Made so far.
    matrix_epoch : float
    scale : float
        Of the inverse matrix.
    length : float
        First trial of the next line search.
    iterations : int
        Of L-BFGS.
    l2 : float
    in_double : bool
        Whether this stretch, up to the next matrix, is evaluated in double precision.
    failures, fruitless : int
        Line searches, and matrices, in a row that brought nothing.
    stopping : EarlyStopping
    looked_at : float
        Epoch of the last look at the validation set.
    of_adam : EarlyStopping
        Looks during Adam: what follows begins from the best theta of them.
    target : float
        Loss without regularisation at which training ends.
    done : str
        Why training ended, or "".
    """

    theta: np.ndarray
    epoch: float
    with_adam: bool
    adam: Adam
    pairs: Pairs
    stopping: EarlyStopping
    l2: float
    matrix_at: np.ndarray | None = None
    matrices: int = 0
    matrix_epoch: float = 0.0
    scale: float = 1.0
    length: float = 1.0
    iterations: int = 0
    in_double: bool = False
    failures: int = 0
    fruitless: int = 0
    looked_at: float = 0.0
    target: float = -np.inf
    of_adam: EarlyStopping = field(default_factory=lambda: EarlyStopping(0))
    done: str = ""

    @property
    def chosen(self) -> np.ndarray:
        """The best theta on the validation set; the last one if there is none, or was no look yet."""
        looks = (self.stopping.theta, self.of_adam.theta)
        return next((theta for theta in looks if theta is not None), self.theta)


@dataclass(frozen=True)
class Progress:
    """After an iteration.

    Attributes
    ----------
    epoch : float
    phase : str
        "adam" or "lbfgs".
    value : float
        The loss, with regularisation; NaN during Adam.
    l2 : float
    validation : float or None
        Validation loss, if it was looked at just now.
    state : TrainingState
        The present one, which goes on changing.
    """

    epoch: float
    phase: str
    value: float
    l2: float
    validation: float | None
    state: TrainingState


def start_training(loss: Loss, settings: TrainingSettings, theta: np.ndarray | None = None) -> TrainingState:
    """State before the first step: from a random theta, or from a given one, which Adam does not touch."""
    n = loss.form.n_parameters
    begin = loss.with_mean_energy(loss.form.start(settings.seed) if theta is None else theta)
    return TrainingState(begin, 0.0, theta is None, Adam.start(n), Pairs.none(settings.pairs, n),
                         EarlyStopping(settings.patience), np.nan)


def train(loss: Loss, settings: TrainingSettings, validation: Loss | None = None,
          state: TrainingState | None = None) -> Iterator[Progress]:
    """Make the loss small; what comes from the iterator after each iteration ends training when it is dropped.

    Parameters
    ----------
    loss : Loss
        Without a validation set it keeps its l2, which is otherwise chosen on the way.
    settings : TrainingSettings
    validation : Loss, optional
        Of frames that are not trained on, with the scaler of `loss`.
    state : TrainingState, optional
        To go on from; it is changed.

    Raises
    ------
    InputError
        If the loss is no finite number where L-BFGS begins.
    """
    state = start_training(loss, settings) if state is None else state
    if validation is not None:
        validation.l2 = 0.0
    yield from _adam(loss, settings, validation, state)
    if np.isnan(state.l2):
        if validation is None:
            state.l2 = loss.l2
        else:
            _begin_stages(loss, settings, validation, state)
    loss.l2 = state.l2
    if not state.done:
        yield from _lbfgs(loss, settings, validation, state)


def start_refit(loss: Loss, fitted: float, settings: TrainingSettings, chosen: TrainingState) -> TrainingState:
    """State before the first step of `refit`: the theta that a validation set has chosen, and its regularisation.

    Where p numbers fit noise sigma, the mean square error of the N frames trained on is T = sigma^2 (1 - p/N), that of
    M others V = sigma^2 (1 + p/N), and that of all W = (N T + M V)/(N + M). As many numbers fit all N + M frames to
    sigma^2 (1 - p/(N + M)) = (T + W)/2: a smaller loss is one of more numbers than the validation set has chosen.

    Parameters
    ----------
    loss : Loss
        Of all frames, with the scaler of those that were trained on.
    fitted : float
        Loss of those, at what was chosen and without regularisation.
    settings : TrainingSettings
    chosen : TrainingState
        Of training with a validation set.
    """
    state = start_training(loss, settings, chosen.chosen)
    state.l2 = chosen.stopping.l2
    whole = loss.data_value(chosen.chosen)
    # by chance the frames held out may be the easier ones
    state.target = min(0.5 * (fitted + whole), _LEAST_GAIN * whole)
    return state


def refit(loss: Loss, settings: TrainingSettings, state: TrainingState) -> Iterator[Progress]:
    """Train on all frames, the validation set's too, from the state of `start_refit` or a later one.

    It ends at the loss that `start_refit` states, or after `settings.refit_epochs`; the regularisation stays.
    """
    loss.l2 = state.l2
    if not state.done:
        yield from _lbfgs(loss, replace(settings, most_epochs=settings.refit_epochs), None, state)


def _begin_stages(loss: Loss, settings: TrainingSettings, validation: Loss, state: TrainingState) -> None:
    """The best theta of Adam, or the one given: what follows is chosen only if it is better."""
    if state.of_adam.theta is None:
        state.of_adam.look(validation.value(state.theta), state.theta, state.epoch)
    best, stopping = state.of_adam, state.stopping
    if best.theta is not None:
        state.theta = best.theta
    state.l2 = settings.l2_start * loss.data_value(state.theta) / loss.form.n_parameters
    stopping.best, stopping.theta, stopping.epoch, stopping.l2 = best.best, best.theta, best.epoch, state.l2


def _adam(loss: Loss, settings: TrainingSettings, validation: Loss | None,
          state: TrainingState) -> Iterator[Progress]:
    n, epochs = loss.set.partition.n_parts, _adam_epochs(loss, settings)
    while state.with_adam and state.epoch < epochs:
        order = np.random.default_rng([settings.seed, int(state.epoch)]).permutation(n)
        for k, part in enumerate(order):
            done = (state.epoch + k / n) / epochs
            rate = settings.adam_rate * 0.5 * (1.0 + np.cos(np.pi * done)) * min(1.0, (state.adam.steps + 1) / 50)
            step = state.adam.step(loss.gradient_of_part(state.theta, int(part)), rate)
            step[loss.form.bias_place] *= 0.1
            state.theta = state.theta + step
        state.epoch += 1.0
        looked = None
        if validation is not None and (state.epoch % settings.validation_epochs == 0 or state.epoch >= epochs):
            looked = validation.value(state.theta)
            state.of_adam.look(looked, state.theta, state.epoch)
        yield Progress(state.epoch, "adam", np.nan, loss.l2, looked, state)


def _adam_epochs(loss: Loss, settings: TrainingSettings) -> int:
    """Small sets have few parts; half of all epochs at most."""
    wanted = max(settings.adam_epochs, -(-settings.adam_steps // loss.set.partition.n_parts))
    return min(wanted, -(-settings.most_epochs // 2))


def _lbfgs(loss: Loss, settings: TrainingSettings, validation: Loss | None,
           state: TrainingState) -> Iterator[Progress]:
    matrix: GaussNewton | None = None
    rebuild_epochs = settings.rebuild_epochs or _rebuild_epochs(loss, settings)
    if state.matrix_at is not None:
        matrix = GaussNewton(loss, state.matrix_at, settings.gauss_newton, settings.seed + state.matrices)
    value, gradient = _first_value(loss, state)
    while not state.done:
        if matrix is None or state.epoch - state.matrix_epoch >= rebuild_epochs:
            state.matrices += 1
            state.matrix_at, state.matrix_epoch = state.theta.copy(), state.epoch
            matrix = GaussNewton(loss, state.theta, settings.gauss_newton, settings.seed + state.matrices)
            state.scale = state.pairs.scale(matrix)
            if state.in_double:
                state.in_double = False
                value, gradient = _evaluated(loss, state)
        evaluate = loss.double().value_and_gradient if state.in_double else loss.value_and_gradient
        direction = _direction(state, gradient, matrix)
        noise = _NOISE_IN_DOUBLE if state.in_double else settings.noise
        found = line_search(evaluate, state.theta, value, gradient, direction, noise, state.length)
        state.epoch += found.evaluations
        state.iterations += 1
        if found.accepted:
            state.pairs.add(found.theta - state.theta, found.gradient - gradient)
            state.failures = state.fruitless = 0
            # far from the minimum whole steps are too long, one after the other
            state.length = min(1.0, 2.0 * found.length)
            if state.iterations % _SCALE_EVERY == 0:
                state.scale = state.pairs.scale(matrix)
        else:
            matrix = _after_failure(state, matrix)
        before = state.theta
        state.theta, value, gradient = found.theta, found.value, found.gradient
        if state.in_double and not found.accepted:
            value, gradient = _evaluated(loss, state)
        looked, stuck = None, state.done == _NO_STEP
        if validation is not None and (stuck or state.epoch - state.looked_at >= settings.validation_epochs):
            looked, lower = _look(validation, state, stuck)
            if lower:
                _set_l2(loss, state, state.l2 * settings.l2_factor)
                if matrix is not None:
                    matrix.regularise(state.l2)
                value, gradient = _evaluated(loss, state)
        if not state.done:
            value = _ended(loss, settings, before, state, value)
        yield Progress(state.epoch, "lbfgs", value, state.l2, looked, state)


def _first_value(loss: Loss, state: TrainingState) -> tuple[float, np.ndarray]:
    value, gradient = (loss.double() if state.in_double else loss).value_and_gradient(state.theta)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise InputError("training: expected a finite loss and gradient to begin from, got others; look for labels or "
                         "weights that are far too large, and atoms that are much too close")
    return value, gradient


def _rebuild_epochs(loss: Loss, settings: TrainingSettings) -> int:
    cost = cost_in_epochs(loss, rows_per_parameter(loss, settings.gauss_newton))
    return int(np.clip(_EPOCHS_PER_COST * cost, *_REBUILD_EPOCHS))


def _ended(loss: Loss, settings: TrainingSettings, before: np.ndarray, state: TrainingState, value: float) -> float:
    """See whether the end has come; the loss there."""
    if value - loss.regularisation(state.theta) <= state.target:
        state.theta = _at_target(loss, before, state)
        state.done = "the loss is as small as more frames allow"
        return loss.value(state.theta)
    if state.epoch >= settings.most_epochs:
        state.done = "the number of epochs is reached"
    return value


def _at_target(loss: Loss, before: np.ndarray, state: TrainingState) -> np.ndarray:
    """Theta between that of before and the present one whose loss without regularisation is the target; by halving."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        state.epoch += 0.5
        if loss.data_value(before + middle * (state.theta - before)) <= state.target:
            high = middle
        else:
            low = middle
    return np.asarray(before + high * (state.theta - before))


def _direction(state: TrainingState, gradient: np.ndarray, matrix: GaussNewton) -> np.ndarray:
    direction = -state.pairs.apply(gradient, matrix, state.scale)
    if gradient @ direction >= 0.0:
        state.pairs.drop()
        direction = -matrix(gradient)
    return direction


def _evaluated(loss: Loss, state: TrainingState) -> tuple[float, np.ndarray]:
    state.epoch += 1.0
    return (loss.double() if state.in_double else loss).value_and_gradient(state.theta)


def _look(validation: Loss, state: TrainingState, stuck: bool) -> tuple[float, bool]:
    """Validation loss, and whether to lower the regularisation: also where it leaves no step to take."""
    state.looked_at = state.epoch
    value = validation.value(state.theta)
    verdict = state.stopping.look(value, state.theta, state.epoch, state.l2)
    if stuck and verdict is Verdict.GO_ON:
        verdict = state.stopping.end_stage()
    if stuck and verdict is Verdict.LOWER:
        state.done, state.fruitless, state.in_double = "", 0, False
    if verdict is Verdict.STOP:
        state.done = state.done or "the validation loss does not improve"
    return value, verdict is Verdict.LOWER


def _set_l2(loss: Loss, state: TrainingState, l2: float) -> None:
    """Change the regularisation; the pairs' changes of the gradient follow exactly."""
    curvature = np.full(loss.form.n_parameters, 2.0 * (l2 - state.l2))
    curvature[loss.form.bias_place] = 0.0
    state.pairs.shift(curvature)
    loss.l2 = state.l2 = l2


def _after_failure(state: TrainingState, matrix: GaussNewton) -> GaussNewton | None:
    """A line search found nothing: drop the pairs, then evaluate in double, then make a new matrix, then stop."""
    state.pairs.drop()
    state.scale = state.length = 1.0
    state.failures += 1
    if state.failures == 1:
        return matrix
    if not state.in_double:
        state.in_double = True
        return matrix
    if state.failures < _MOST_FAILURES:
        return matrix
    state.failures = 0
    state.fruitless += 1
    if state.fruitless >= _MOST_MATRICES:
        state.done = _NO_STEP
        return matrix
    state.matrix_at = None
    return None
