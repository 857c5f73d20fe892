"""How a train job makes the loss small: the optimisers, behind one interface.

A search is stepped until it says that it is done; now and then a step brings a look: the errors of a model, and what
the validation set says. Its state is plain arrays, from which another search goes on with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.training.beginning import Beginning
from hpcthermo.training.crew import Crew
from hpcthermo.training.loss import Errors, Loss, LossWeights
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.parts import Parts
from hpcthermo.training.snes import FIRST_DEVIATION, Snes, SnesSettings, SnesState

if TYPE_CHECKING:
    from hpcthermo.config import TrainJob
    from hpcthermo.training.train import Progress, TrainingState

#: state of a search
Arrays = dict[str, np.ndarray]
#: why a search ended that had no more time
TIME_IS_OVER = "the time is over"
#: before the names of the state of training on all frames
_LAST = "all frames/"


@dataclass(frozen=True)
class Look:
    """Errors on the way.

    Attributes
    ----------
    step : float
        Epochs or generations done.
    total, l1, l2 : float
        Loss, and its regularisation.
    training : Errors
    validation : float
        What the best model is chosen by; NaN without validation set.
    theta : (n,) float64
        The model looked at.
    all_frames : bool
        Whether the frames of the validation set are trained on, too.
    """

    step: float
    total: float
    l1: float
    l2: float
    training: Errors
    validation: float
    theta: np.ndarray
    all_frames: bool = False


class GradientSearch:
    """L-BFGS with a Gauss-Newton matrix (`train.train`), at the end on all frames (`train.refit`).

    Attributes
    ----------
    counts : str
        What a step of `Look.step` is.
    length : int
        Steps at most.
    scaler : (D,) float64
    """

    counts = "epochs"
    interval = 20

    def __init__(self, job: TrainJob, form: NepForm, parts: Parts, beginning: Beginning, crew: Crew) -> None:
        from hpcthermo.training.settings import TrainingSettings
        from hpcthermo.training.train import start_training

        table: Any = job.optimiser
        self._interval = job.execution.look_interval or self.interval
        self._settings = TrainingSettings(seed=job.seed, most_epochs=table.epochs,
                                          patience=table.patience or TrainingSettings.patience,
                                          refit_epochs=min(TrainingSettings.refit_epochs, table.epochs),
                                          validation_epochs=self._interval)
        weights = LossWeights(table.energy_weight, table.force_weight, table.virial_weight, table.l2,
                              {name: factor**2 for name, factor in table.element_weights.items()})
        options: Any = {"precision": job.execution.precision, "crew": crew}
        self._loss: Loss = Loss(parts.training, form, weights, beginning.scaler, **options)
        self.scaler, self.most_neighbors = self._loss.scaler, self._loss.set.most_neighbors
        self._validation = Loss(parts.validation, form, weights, self.scaler, **options) if parts.validation else None
        for name, single in (("training", self._loss), ("validation", self._validation)):
            if single is not None and not np.any(single.terms.structures > 0.0):
                raise InputError(f"{name}: expected labels that count in the loss, got none; check the weights of "
                                 "[optimiser] and of the frames, and what the frames are labelled with")
        self._make_whole = partial(Loss, [*parts.training, *parts.validation], form, weights, self.scaler, **options)
        self._state = start_training(self._loss, self._settings, beginning.theta)
        self._with_all = bool(parts.validation) and table.finish_with_all_frames
        self.length = table.epochs + self._with_all * self._settings.refit_epochs
        self._last: TrainingState | None = None
        self._looked = 0.0

    @property
    def chosen(self) -> np.ndarray:
        """The best model so far, (n,) float64."""
        return self.validated if self._last is None else self._last.chosen

    @property
    def validated(self) -> np.ndarray:
        """The best model that has not seen the validation set, (n,) float64."""
        return self._state.chosen

    @property
    def done(self) -> str:
        """Why the search has ended, or ""."""
        if self._last is None:
            return self._state.done
        return f"{self._state.done}; with all frames: {self._last.done}"

    def hasten(self) -> None:
        """Most of the time is over: end what the validation set decides."""
        if self._with_all and self._last is None and self._state.stopping.theta is not None:
            self._state.done = self._state.done or TIME_IS_OVER

    def steps(self) -> Iterator[tuple[float, Look | None]]:
        """Epochs done, and a look where there was one."""
        from hpcthermo.training.train import refit, start_refit, train

        if self._last is None:
            yield from self._looks(train(self._loss, self._settings, self._validation, self._state), 0.0)
        if not self._with_all or self._state.stopping.theta is None:
            return
        fitted = self._loss.data_value(self.validated) if self._last is None else math.nan
        # the sets need not be in memory at the same time
        del self._loss
        self._validation = None
        self._loss = self._make_whole()
        self.most_neighbors = self._loss.set.most_neighbors
        if self._last is None:
            self._last = start_refit(self._loss, fitted, self._settings, self._state)
            self._looked = self._state.epoch
        yield from self._looks(refit(self._loss, self._settings, self._last), self._state.epoch)

    def _looks(self, training: Iterator[Progress], before: float) -> Iterator[tuple[float, Look | None]]:
        """Epochs with those done before, and looks."""
        for progress in training:
            state, epoch = progress.state, before + progress.epoch
            due = progress.validation is not None or (
                self._validation is None and epoch - self._looked >= self._interval)
            look = None
            if due or state.done:
                self._looked = epoch
                theta = state.theta.copy()
                l2 = self._loss.regularisation(theta)
                value = progress.value if math.isfinite(progress.value) else self._loss.value(theta)
                look = Look(epoch, value, 0.0, l2, self._loss.errors(theta),
                            math.nan if progress.validation is None else progress.validation, theta,
                            self._last is not None)
            yield epoch, look

    def arrays(self) -> Arrays:
        """The state."""
        from hpcthermo.training.checkpoint import state_arrays

        last = {} if self._last is None else state_arrays(self._last)
        return {**state_arrays(self._state), **{f"{_LAST}{name}": value for name, value in last.items()},
                "looked": np.array(self._looked)}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a state."""
        from hpcthermo.training.checkpoint import restored_state

        template = self._state
        self._state = restored_state(template, arrays)
        last = {name.removeprefix(_LAST): value for name, value in arrays.items() if name.startswith(_LAST)}
        self._last = restored_state(template, last) if last else None
        if self._last is None and self._state.done == TIME_IS_OVER:  # there may be more now
            self._state.done = ""
        self._looked = float(arrays["looked"])


class SnesSearch:
    """GPUMD's strategy (`snes.Snes`); the model is the best individual of a generation that was looked at.

    Attributes
    ----------
    counts, length, scaler
        See `GradientSearch`.
    """

    counts = "generations"
    interval = 100

    def __init__(self, job: TrainJob, form: NepForm, parts: Parts, beginning: Beginning, crew: Crew) -> None:
        table: Any = job.optimiser
        self._interval = job.execution.look_interval or self.interval
        self.length = table.generations
        settings = SnesSettings(table.population, table.energy_weight, table.force_weight, table.virial_weight,
                                table.shear_weight, table.l1, table.l2, table.force_delta_eV_per_A,
                                table.element_weights, table.batch, job.seed)
        options: Any = {"precision": job.execution.precision, "crew": crew}
        self._snes = Snes(parts.training, form, settings, beginning.scaler, **options)
        self.scaler, self.most_neighbors = self._snes.scaler, self._snes.most_neighbors
        self._validation = Loss(parts.validation, form, None, self.scaler, **options) if parts.validation else None
        self._weights = np.array([table.energy_weight, table.force_weight, table.virial_weight])
        if self._validation is not None and not self._weights[self._validated_labels()].any():
            raise InputError("validation: expected labels that count in the loss, got none; check the weights of "
                             "[optimiser] and what the frames are labelled with")
        self.state = beginning.state or _snes_state(form, beginning.theta, job.seed)
        self._best, self._best_value = self.state.mean.copy(), math.inf

    @property
    def done(self) -> str:
        """Why the search has ended, or ""."""
        return "the number of generations is reached" if self.state.generation >= self.length else ""

    @property
    def chosen(self) -> np.ndarray:
        """The best model on the validation set so far; without one the last that was looked at, or is there at all."""
        return self._best

    @property
    def validated(self) -> np.ndarray:
        """The same: it has not seen the validation set."""
        return self._best

    def hasten(self) -> None:
        """Nothing follows that would need time."""

    def steps(self) -> Iterator[tuple[float, Look | None]]:
        """Generations done, and a look where there was one."""
        while self.state.generation < self.length:
            found, look = self._snes.step(self.state), None
            if found.number < self._interval:
                self._best = found.theta
            if found.number % self._interval == 0 or self.done:
                value = self._validated(found.theta)
                if self._validation is None or value < self._best_value:
                    self._best, self._best_value = found.theta, value
                look = Look(found.number, found.total, found.l1, found.l2,
                            Errors(found.energy, found.force, found.virial, 0.0), value, found.theta)
            yield found.number, look

    def _validated_labels(self) -> np.ndarray:
        """Whether frames of the validation set have energies, forces and virials, (3,) bool."""
        assert self._validation is not None
        return np.asarray(self._validation.structures.labels.known.any(axis=0))

    def _validated(self, theta: np.ndarray) -> float:
        """Errors of the validation set with the weights of the loss; NaN without one."""
        if self._validation is None:
            return math.nan
        errors, known = self._validation.errors(theta), self._validated_labels()
        return float(self._weights[known] @ np.array([errors.energy, errors.force, errors.virial])[known])

    def arrays(self) -> Arrays:
        """The state."""
        return {"mean": self.state.mean, "deviation": self.state.deviation,
                "generation": np.array(self.state.generation), "best": self._best,
                "best_value": np.array(self._best_value)}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a state."""
        self.state = SnesState(arrays["mean"].copy(), arrays["deviation"].copy(), int(arrays["generation"]))
        self._best, self._best_value = arrays["best"], float(arrays["best_value"])


def _snes_state(form: NepForm, theta: np.ndarray | None, seed: int) -> SnesState:
    if theta is None:
        return SnesState.start(form.n_parameters, seed)
    # a model is no first generation, which is ranked by regularisation alone
    return SnesState(theta.copy(), np.full(len(theta), FIRST_DEVIATION), 1)


Search = GradientSearch | SnesSearch

#: name in the job file -> its search
OPTIMISERS: dict[str, Callable[[TrainJob, NepForm, Parts, Beginning, Crew], Search]] = {
    "gradient": GradientSearch, "snes": SnesSearch,
}
