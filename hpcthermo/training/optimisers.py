"""How a train job makes the loss small: the optimisers, behind one interface.

A search is stepped until it says that it is done; now and then a step brings a look: the errors of a model, and what
the validation set says. Its state is plain arrays, from which another search goes on with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.training.beginning import Beginning
from hpcthermo.training.loss import Errors, Loss, LossWeights
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.parts import Parts
from hpcthermo.training.snes import FIRST_DEVIATION, Snes, SnesSettings, SnesState

if TYPE_CHECKING:
    from hpcthermo.config import TrainJob

#: state of a search
Arrays = dict[str, np.ndarray]


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
    """

    step: float
    total: float
    l1: float
    l2: float
    training: Errors
    validation: float
    theta: np.ndarray


class GradientSearch:
    """L-BFGS with a Gauss-Newton matrix (`train.train`).

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

    def __init__(self, job: TrainJob, form: NepForm, parts: Parts, beginning: Beginning, threads: int) -> None:
        from hpcthermo.training.settings import TrainingSettings
        from hpcthermo.training.train import start_training

        table: Any = job.optimiser
        self._interval = job.execution.look_interval or self.interval
        self.length = table.epochs
        self._settings = TrainingSettings(seed=job.seed, most_epochs=table.epochs,
                                          patience=table.patience or TrainingSettings.patience,
                                          adam_epochs=min(TrainingSettings.adam_epochs, table.epochs),
                                          validation_epochs=self._interval)
        weights = LossWeights(table.energy_weight, table.force_weight, table.virial_weight, table.l2,
                              {name: factor**2 for name, factor in table.element_weights.items()})
        options: Any = {"precision": job.execution.precision, "threads": threads, "device": job.execution.device}
        self._loss = Loss(parts.training, form, weights, beginning.scaler, **options)
        self.scaler, self.most_neighbors = self._loss.scaler, self._loss.set.geometry.most_neighbors
        self._validation = Loss(parts.validation, form, weights, self.scaler, **options) if parts.validation else None
        self._state = start_training(self._loss, self._settings, beginning.theta)
        self._looked = 0.0

    @property
    def chosen(self) -> np.ndarray:
        """The best model so far, (n,) float64."""
        return self._state.chosen

    @property
    def done(self) -> str:
        """Why the search has ended, or ""."""
        return self._state.done

    def steps(self) -> Iterator[tuple[float, Look | None]]:
        """Epochs done, and a look where there was one."""
        from hpcthermo.training.train import train

        for progress in train(self._loss, self._settings, self._validation, self._state):
            due = progress.validation is not None or (
                (self._validation is None or progress.phase == "adam")
                and progress.epoch - self._looked >= self._interval)
            look = None
            if due or self._state.done:
                self._looked = progress.epoch
                theta = self._state.theta.copy()
                found = self._loss.predict(theta)
                free = theta.copy()
                free[self._loss.form.bias_place] = 0.0
                l2 = self._loss.l2 * float(free @ free)
                value = progress.value if math.isfinite(progress.value) else self._loss.value(theta)
                look = Look(progress.epoch, value, 0.0, l2, self._loss.errors_of(found),
                            math.nan if progress.validation is None else progress.validation, theta)
            yield progress.epoch, look

    def arrays(self) -> Arrays:
        """The state."""
        from hpcthermo.training.checkpoint import state_arrays

        return {**state_arrays(self._state), "looked": np.array(self._looked)}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a state."""
        from hpcthermo.training.checkpoint import restored_state

        self._state = restored_state(self._state, arrays)
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

    def __init__(self, job: TrainJob, form: NepForm, parts: Parts, beginning: Beginning, threads: int) -> None:
        table: Any = job.optimiser
        self._interval = job.execution.look_interval or self.interval
        self.length = table.generations
        settings = SnesSettings(table.population, table.energy_weight, table.force_weight, table.virial_weight,
                                table.shear_weight, table.l1, table.l2, table.force_delta_eV_per_A,
                                table.element_weights, table.batch, job.seed)
        options: Any = {"precision": job.execution.precision, "threads": threads, "device": job.execution.device}
        self._snes = Snes(parts.training, form, settings, beginning.scaler, **options)
        self.scaler, self.most_neighbors = self._snes.scaler, self._snes.most_neighbors
        self._validation = Loss(parts.validation, form, None, self.scaler, **options) if parts.validation else None
        self._weights = np.array([table.energy_weight, table.force_weight, table.virial_weight])
        self.state = beginning.state or _snes_state(form, beginning.theta, job.seed)
        # the means are the model until a generation was looked at
        self._best, self._best_value, self._first = self.state.mean.copy(), math.inf, self.state.generation
        self.done = ""

    @property
    def chosen(self) -> np.ndarray:
        """The best model on the validation set so far; without one the last that was looked at."""
        return self._best

    def steps(self) -> Iterator[tuple[float, Look | None]]:
        """Generations done, and a look where there was one."""
        while self.state.generation < self.length:
            found = self._snes.step(self.state)
            if self.state.generation >= self.length:
                self.done = "the number of generations is reached"
            look = None
            if found.number % self._interval == 0 or self.done:
                value = self._validated(found.theta)
                if not value >= self._best_value:
                    self._best = found.theta
                    self._best_value = value if math.isfinite(value) else math.inf
                look = Look(found.number, found.total, found.l1, found.l2,
                            Errors(found.energy, found.force, found.virial, 0.0), value, found.theta)
            yield found.number, look

    def _validated(self, theta: np.ndarray) -> float:
        """Errors of the validation set with the weights of the loss; NaN without one."""
        if self._validation is None:
            return math.nan
        errors = self._validation.errors(theta)
        return float(np.nansum(self._weights * [errors.energy, errors.force, errors.virial]))

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
OPTIMISERS: dict[str, Callable[[TrainJob, NepForm, Parts, Beginning, int], Search]] = {
    "gradient": GradientSearch, "snes": SnesSearch,
}
