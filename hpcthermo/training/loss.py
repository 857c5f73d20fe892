"""The loss that training makes small, and the errors that are reported.

    loss = w_E MSE(E/N) + w_F MSE(F) + w_V MSE(W/N) + l2 |theta|^2

MSE(E/N) is the mean over structures of (omega_s dE_s/N_s)^2, MSE(F) that over all components of forces of
omega_s^2 tau_i dF^2, MSE(W/N) that over the six components of the virials of all structures of (omega_s dW/N_s)^2; each
over what is labelled. Default weights: 1000, 1 and 5 (eV/atom and eV/A).

| symbol  | field         |                                           |
|---------|---------------|-------------------------------------------|
| w       | energy, ...   | of the three parts                        |
| omega_s | frame.weight  | of a structure; omega_s^2 of the energy is multiplied by frame.energy_weight |
| tau_i   | types         | by the element of the atom                |
| l2      | l2            | of regularisation                         |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.training.crew import Crew
from hpcthermo.training.evaluation import (
    Evaluation,
    LossTerms,
    Predictions,
    Structures,
    TrainingSet,
    scaler_of,
    type_weights,
)
from hpcthermo.training.parameters import NepForm


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the loss.

    Attributes
    ----------
    energy, force, virial : float
        w_E, w_F, w_V.
    l2 : float
        Of |theta|^2; b1 is left out.
    types : mapping of str to float
        tau by element, 1 if not given.
    """

    energy: float = 1000.0
    force: float = 1.0
    virial: float = 5.0
    l2: float = 0.0
    types: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Errors:
    """Root mean square errors over a set; NaN where nothing is labelled.

    Attributes
    ----------
    energy, virial : float
        eV/atom.
    force : float
        eV/A, over components.
    mean_energy : float
        Mean of dE/N, eV/atom.
    """

    energy: float
    force: float
    virial: float
    mean_energy: float

    def centred_energy(self, shift: float | None = None) -> float:
        """RMSE of the energy per atom (eV) after a shift; None: by the mean of the set itself."""
        shift = self.mean_energy if shift is None else shift
        return float(np.sqrt(max(0.0, self.energy**2 - 2.0 * shift * self.mean_energy + shift**2)))


class Loss:
    """The loss of a set of frames, its gradient, and errors.

    Parameters
    ----------
    frames : sequence of LabelledFrame
    form : NepForm
    weights : LossWeights
    scaler : (D,) float64, optional
        Factors of the descriptors; found from these frames if not given.
    precision : {"mixed", "double"}
    crew : Crew, optional
        See `evaluation.TrainingSet`.

    Attributes
    ----------
    scaler : (D,) float64
    l2 : float
        May be changed at any time.
    """

    def __init__(self, frames: Sequence[LabelledFrame], form: NepForm, weights: LossWeights | None = None,
                 scaler: np.ndarray | None = None, *, precision: str = "mixed", crew: Crew | None = None) -> None:
        self.form, self.weights, self.precision = form, weights or LossWeights(), precision
        self.structures = Structures(frames, form)
        self.terms = self._terms()
        self.set = TrainingSet(self.structures, form, self.terms, precision, crew)
        self.scaler = scaler_of([self.set]) if scaler is None else np.asarray(scaler, dtype=np.float64)
        self.l2 = self.weights.l2
        self._double: Loss | None = None

    def _terms(self) -> LossTerms:
        structures, w = self.structures, self.weights
        known, sizes = structures.labels.known, structures.sizes
        omega = np.array([[f.weight**2 * f.energy_weight, f.weight**2, f.weight**2] for f in structures.frames])
        counts = np.array([known[:, 0].sum(), 3 * (known[:, 1] * sizes).sum(), 6 * known[:, 2].sum()])
        parts = np.array([w.energy, w.force, w.virial]) / np.maximum(counts, 1)
        tau = type_weights(w.types, self.form)
        return LossTerms(np.where(known, omega * parts, -1.0), tau[structures.types])

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient by theta, (n_parameters,) float64."""
        found = self.set.evaluate(theta, self.scaler)
        assert found.gradient is not None
        return (self._value(found) + self.regularisation(theta),
                found.gradient + 2.0 * self.l2 * self._without_bias(theta))

    def gradient_of_part(self, theta: np.ndarray, part: int) -> np.ndarray:
        """Gradient by one part of the set (`TrainingSet.partition`), as large as if it were the whole."""
        found = self.set.evaluate(theta, self.scaler, parts=[part])
        assert found.gradient is not None
        share = float(np.mean(self.set.partition.part_of_structure == part))
        return found.gradient / share + 2.0 * self.l2 * self._without_bias(theta)

    def value(self, theta: np.ndarray) -> float:
        """The loss alone."""
        return self.data_value(theta) + self.regularisation(theta)

    def data_value(self, theta: np.ndarray) -> float:
        """The loss without regularisation."""
        return self._value(self.set.evaluate(theta, self.scaler, gradient=False))

    def regularisation(self, theta: np.ndarray) -> float:
        """l2 |theta|^2."""
        free = self._without_bias(theta)
        return self.l2 * float(free @ free)

    def predict(self, theta: np.ndarray) -> Predictions:
        """Energies, forces and virials of all frames, without the short-range repulsion, and their errors."""
        return self.set.predict(theta, self.scaler)

    def errors(self, theta: np.ndarray) -> Errors:
        """Root mean square errors."""
        found = self.set.evaluate(theta, self.scaler, gradient=False)
        known, sizes = self.structures.labels.known, self.structures.sizes

        def root_mean(total: float, count: int) -> float:
            return float(np.sqrt(total / count)) if count else float("nan")

        e = found.errors[known[:, 0], 0]
        force, virial = (float(found.errors[:, k].sum()) for k in (2, 3))
        return Errors(root_mean(float(e @ e), len(e)), root_mean(force, 3 * int(known[:, 1] @ sizes)),
                      root_mean(virial, 6 * int(known[:, 2].sum())), float(e.mean()) if len(e) else float("nan"))

    def with_mean_energy(self, theta: np.ndarray) -> np.ndarray:
        """Theta with the b1 at which errors of energies make the loss smallest: their weighted mean is 0."""
        found = self.set.evaluate(theta, self.scaler, gradient=False)
        weights = np.maximum(self.terms.structures[:, 0], 0.0)
        shifted = theta.copy()
        if weights.any():
            shifted[self.form.bias_place] += float(weights @ found.errors[:, 0]) / float(weights.sum())
        return shifted

    def double(self) -> Loss:
        """The same loss in double precision throughout; made when first asked for."""
        if self.precision == "double":
            return self
        if self._double is None:
            self._double = Loss(self.structures.frames, self.form, self.weights, self.scaler, precision="double",
                                crew=self.set.crew)
        self._double.l2 = self.l2
        return self._double

    def _value(self, found: Evaluation) -> float:
        a, b, c = np.maximum(self.terms.structures, 0.0).T
        e = found.errors
        return float(np.sum(a * e[:, 0] ** 2) + np.sum(b * e[:, 1]) + np.sum(c * e[:, 3]))

    def _without_bias(self, theta: np.ndarray) -> np.ndarray:
        free = theta.copy()
        free[self.form.bias_place] = 0.0
        return free
