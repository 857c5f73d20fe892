r"""Separable natural evolution strategy (Wierstra et al., JMLR 15, 949 (2014); Fan et al., PRB 104, 104309 (2021)).

    z_p = mu + sigma s_p,  s_p ~ N(0, 1)
    mu <- mu + sigma sum_k u_k s_(k)          sigma <- min(sigma exp(eta sum_k u_k (s_(k)^2 - 1)), 1)
    u_k ~ max(0, ln(P/2 + 1) - ln k) / sum - 1/P         eta = (3 + ln n) / (10 sqrt n),  n = N/T

    loss_t = le RMSE_E + lf RMSE_F + lv RMSE_V + l1 sum |z| / n + l2 sqrt(sum z^2 / n)

| symbol       | field                  |                                                                        |
|--------------|------------------------|------------------------------------------------------------------------|
| mu, sigma    | mean, deviation        | of the N trained numbers                                               |
| P            | population             | individuals of a generation; (k): the one of rank k                     |
| T            | n_types                | numbers of type t are ranked by loss_t, of structures with that type    |
| le, lf, lv   | energy, force, virial  | RMSE_E is taken after the mean error of the batch is subtracted         |
| l1, l2       | l1, l2                 | of regularisation; over the numbers of a type                           |

The first generation is ranked by regularisation alone. What a generation gives is its best individual, with the mean
error of the energies in b1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.errors import InputError
from hpcthermo.results import write_text
from hpcthermo.training.crew import Crew
from hpcthermo.training.evaluation import LossTerms, Structures, TrainingSet, scaler_of, type_weights
from hpcthermo.training.parameters import NepForm

#: first deviation, and the largest
FIRST_DEVIATION = 0.1
_LARGEST_DEVIATION = 1.0


@dataclass(frozen=True)
class SnesSettings:
    """What GPUMD's nep.in says of the search, with its defaults.

    Attributes
    ----------
    population : int
        P.
    energy, force, virial : float
        le, lf, lv.
    shear : float
        Factor of the errors of xy, yz and zx.
    l1, l2 : float or None
        None: sqrt(1e-6 N/T).
    force_delta : float
        delta, eV/A: squares of force errors count delta / (delta + |F|); 0: all the same.
    types : mapping of str to float
        Factor of the force errors by element, 1 if not given.
    batch : int
        Structures of a generation; batches follow each other.
    seed : int
    """

    population: int = 50
    energy: float = 1.0
    force: float = 1.0
    virial: float = 0.1
    shear: float = 1.0
    l1: float | None = None
    l2: float | None = None
    force_delta: float = 0.0
    types: Mapping[str, float] = field(default_factory=dict)
    batch: int = 1000
    seed: int = 0


@dataclass
class SnesState:
    """All that the search needs to go on.

    Attributes
    ----------
    mean, deviation : (n,) float64
    generation : int
        Done so far.
    """

    mean: np.ndarray
    deviation: np.ndarray
    generation: int = 0

    @classmethod
    def start(cls, n: int, seed: int) -> SnesState:
        """Means between -1 and 1."""
        return cls(np.random.default_rng(seed).uniform(-1.0, 1.0, n), np.full(n, FIRST_DEVIATION))


@dataclass(frozen=True)
class Generation:
    """The best individual of a generation.

    Attributes
    ----------
    number : int
        From 1.
    theta : (n,) float64
    total, l1, l2, energy, force, virial : float
        Loss and its parts: without the factors of errors, which are eV/atom, eV/A, eV/atom; NaN where nothing is
        labelled and in the first generation.
    """

    number: int
    theta: np.ndarray
    total: float
    l1: float
    l2: float
    energy: float
    force: float
    virial: float


class _Batch:
    """Structures of a generation, and sums over those with each type."""

    def __init__(self, frames: Sequence[LabelledFrame], form: NepForm, settings: SnesSettings, precision: str,
                 crew: Crew | None) -> None:
        self.structures = structures = Structures(frames, form)
        known, sizes, types = structures.labels.known, structures.sizes, structures.types
        self._shear = settings.shear
        self._weights = np.array([frame.weight for frame in frames]) ** 2
        self._energy_weights = self._weights * np.array([frame.energy_weight for frame in frames])
        factor = type_weights(settings.types, form)[types] ** 2
        if settings.force_delta > 0.0:
            # of the frames, repulsion and all
            size = np.concatenate([np.zeros(frame.n_atoms) if frame.forces is None else
                                   np.linalg.norm(frame.forces, axis=1) for frame in frames])
            factor = factor * settings.force_delta / (settings.force_delta + size)
        self.set = TrainingSet(structures, form, LossTerms(np.where(known, 1.0, -1.0), factor), precision, crew)
        # the last row: all structures
        present = np.zeros((form.n_types + 1, len(frames)))
        present[types, structures.structure_of_atom] = 1.0
        present[-1] = 1.0
        self._members = [present * known[:, k] for k in range(3)]
        self._counts = np.stack([self._members[0].sum(axis=1), 3.0 * self._members[1] @ sizes,
                                 6.0 * self._members[2].sum(axis=1)], axis=1)

    def errors(self, theta: np.ndarray, scaler: np.ndarray) -> tuple[np.ndarray, float]:
        """Root mean square errors (T + 1, 3) of energies, forces and virials, and the mean error of the energies."""
        if self._shear == 1.0:
            errors, virials = self.set.evaluate(theta, scaler, gradient=False).errors, None
        else:
            predicted = self.set.predict(theta, scaler)
            errors, virials = predicted.errors, predicted.virials
        energy, force, virial = errors[:, 0], errors[:, 1], errors[:, 3]
        if virials is not None:
            difference = (virials - self.structures.labels.virials) / self.structures.sizes[:, None]
            virial = (difference**2) @ np.array([1.0, 1.0, 1.0, *[self._shear**2] * 3])
        weights = self._weights * self._members[0][-1]
        shift = float(weights @ energy / weights.sum()) if weights.any() else 0.0
        squares = (self._energy_weights * (energy - shift) ** 2, self._weights * force, self._weights * virial)
        sums = np.stack([members @ square for members, square in zip(self._members, squares, strict=True)], axis=1)
        return np.sqrt(sums / np.maximum(self._counts, 1.0)), shift

    @property
    def known(self) -> np.ndarray:
        """Whether any energy, force and virial is known, (3,) bool."""
        return self._counts[-1] > 0


class Snes:
    """The search on a set of frames.

    Parameters
    ----------
    frames : sequence of LabelledFrame
    form : NepForm
    settings : SnesSettings
    scaler : (D,) float64, optional
        Factors of the descriptors; found from these frames if not given.
    precision : {"mixed", "double"}
    crew : Crew, optional
        See `evaluation.TrainingSet`.

    Attributes
    ----------
    scaler : (D,) float64

    Raises
    ------
    InputError
        For frames or weights with elements that the form does not have.
    """

    def __init__(self, frames: Sequence[LabelledFrame], form: NepForm, settings: SnesSettings,
                 scaler: np.ndarray | None = None, *, precision: str = "mixed", crew: Crew | None = None) -> None:
        self.form, self.settings = form, settings
        # as many batches as needed, of about the same size
        n = max(1, -(-len(frames) // settings.batch))
        bounds = np.linspace(0, len(frames), n + 1).astype(int)
        self._batches = [_Batch(frames[a:b], form, settings, precision, crew) for a, b in pairwise(bounds)]
        self.scaler = (scaler_of([batch.set for batch in self._batches]) if scaler is None
                       else np.asarray(scaler, dtype=np.float64))
        per_type = form.n_parameters / form.n_types
        default = float(np.sqrt(1e-6 * per_type))
        self._l1 = default if settings.l1 is None else settings.l1
        self._l2 = default if settings.l2 is None else settings.l2
        self._rate = (3.0 + np.log(per_type)) / (10.0 * np.sqrt(per_type))
        self._places = form.kernel_places()[0].reshape(form.n_types, -1)
        self._utilities = utilities(settings.population)

    @property
    def most_neighbors(self) -> tuple[int, int]:
        """Largest numbers of neighbours of an atom, radial and angular."""
        counts = [batch.set.most_neighbors for batch in self._batches]
        return max(radial for radial, _ in counts), max(angular for _, angular in counts)

    def step(self, state: SnesState) -> Generation:
        """One generation; `state` is changed."""
        settings, form = self.settings, self.form
        random = np.random.default_rng([settings.seed, state.generation])
        samples = random.standard_normal((settings.population, form.n_parameters))
        individuals = state.mean + state.deviation * samples
        l1, l2 = self._regularisation(individuals)
        total = l1 + l2
        errors = np.full((settings.population, form.n_types + 1, 3), np.nan)
        shifts = np.zeros(settings.population)
        batch = self._batches[(state.generation - 1) % len(self._batches)]
        if state.generation > 0:
            for p, theta in enumerate(individuals):
                errors[p], shifts[p] = batch.errors(theta, self.scaler)
            total = total + errors @ np.array([settings.energy, settings.force, settings.virial])
        # an individual without finite errors comes last
        order = np.argsort(np.where(np.isfinite(total), total, np.inf), axis=0, kind="stable")
        for t, places in enumerate([*self._places, np.array([form.bias_place])]):
            self._move(state, places, samples[order[:, t]][:, places])
        state.generation += 1
        best = int(order[0, -1])
        theta = individuals[best].copy()
        theta[form.bias_place] += shifts[best]
        parts = np.where(batch.known, errors[best, -1], np.nan)
        return Generation(state.generation, theta, float(total[best, -1]), float(l1[best, -1]), float(l2[best, -1]),
                          *(float(part) for part in parts))

    def _move(self, state: SnesState, places: np.ndarray, ranked: np.ndarray) -> None:
        """Mean and deviation of some numbers, by their samples (P, n) in the order of rank."""
        u, deviation = self._utilities, state.deviation[places]
        state.mean[places] += deviation * (u @ ranked)
        state.deviation[places] = np.minimum(deviation * np.exp(self._rate * (u @ (ranked**2 - 1.0))),
                                             _LARGEST_DEVIATION)

    def _regularisation(self, individuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both terms for each type and, last, all numbers: (P, T + 1) each."""
        per_type = self.form.n_parameters / self.form.n_types
        groups = [(individuals[:, places], per_type) for places in self._places]
        groups.append((individuals, float(self.form.n_parameters)))
        l1 = [self._l1 * np.abs(z).sum(axis=1) / n for z, n in groups]
        l2 = [self._l2 * np.sqrt((z**2).sum(axis=1) / n) for z, n in groups]
        return np.stack(l1, axis=1), np.stack(l2, axis=1)


def utilities(population: int) -> np.ndarray:
    """Weights u by rank, (P,) float64; their sum is 0."""
    u = np.maximum(0.0, np.log(0.5 * population + 1.0) - np.log(np.arange(1, population + 1)))
    return u / u.sum() - 1.0 / population


def write_restart(path: Path, state: SnesState) -> None:
    """Write nep.restart: a row "mean deviation" for each number."""
    rows = [f"{mean!r} {deviation!r}" for mean, deviation in zip(state.mean.tolist(), state.deviation.tolist(),
                                                                 strict=True)]
    write_text("\n".join(rows) + "\n", path)


def read_restart(path: Path, n: int) -> SnesState:
    """Means and deviations of nep.restart; generations are counted anew, the first is not done again.

    Parameters
    ----------
    n : int
        Numbers of the model.

    Raises
    ------
    InputError
        If the file cannot be read, or belongs to a model of another size.
    """
    try:
        numbers = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: cannot be read as nep.restart ({reason}); correct the path") from None
    if numbers.shape != (n, 2) or not np.isfinite(numbers).all() or not (numbers[:, 1] > 0.0).all():
        raise InputError(f"{path}: expected {n} rows of a mean and a deviation above 0, got {numbers.shape[0]} rows of "
                         f"{numbers.shape[1]} numbers; use the file of a model of the same size")
    return SnesState(numbers[:, 0].copy(), numbers[:, 1].copy(), 1)
