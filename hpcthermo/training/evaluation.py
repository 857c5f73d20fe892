"""Energies, forces and virials of the structures of a training set for any theta, with the gradient of a loss in them.

    loss = sum_s a_s (dE_s/N_s)^2 + b_s sum_i tau_i |dF_i|^2 + c_s sum_ab (dW_s,ab/N_s)^2

A set is dealt out in parts (partition.py), which the threads and ranks of a crew share.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.errors import InputError
from hpcthermo.training.crew import Crew
from hpcthermo.training.labels import Labels, labels_of, types_of
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.partition import Partition

#: relative differences of equal descriptors in float32, and descriptors that are 0 beside the largest (squares of sums)
_SAME, _NONE = 1e-6, 1e-12


@dataclass(frozen=True)
class LossTerms:
    """Weights of a loss, by structure and atom.

    Attributes
    ----------
    structures : (S, 3) float64
        a, b and c; below 0 where there is no label.
    atoms : (N,) float64
        tau.
    """

    structures: np.ndarray
    atoms: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What a model gives for the structures of a training set.

    Attributes
    ----------
    errors : (S, 4) float64
        dE/N (eV), sum tau |dF|^2 and sum |dF|^2 ((eV/A)^2), sum over the six components of (dW/N)^2 (eV^2); 0 where
        there is no label.
    gradient : (n_parameters,) float64 or None
        Of the loss.
    """

    errors: np.ndarray
    gradient: np.ndarray | None


@dataclass(frozen=True)
class Predictions:
    """What a model gives, without the short-range repulsion.

    Attributes
    ----------
    errors : (S, 4) float64
        See `Evaluation`.
    energies : (S,) float64
        eV.
    forces : (N, 3) float64
        eV/A.
    virials : (S, 6) float64 or None
        eV; xx, yy, zz, xy, yz, zx; None if no virial is labelled.
    """

    errors: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray | None


class Structures:
    """What is known of the structures of a set before they are on any device.

    Parameters
    ----------
    frames : sequence of LabelledFrame
    form : NepForm

    Attributes
    ----------
    sizes : (S,) int
        Atoms of each structure.
    first_atoms : (S + 1,) int
    types : (N,) int
        Of the atoms.
    structure_of_atom : (N,) int
    labels : Labels

    Raises
    ------
    InputError
        For frames with elements that the form does not have, or none at all.
    """

    def __init__(self, frames: Sequence[LabelledFrame], form: NepForm) -> None:
        self.frames = list(frames)
        self.types = types_of(self.frames, form)
        self.labels: Labels = labels_of(self.frames, form)
        self.sizes = np.array([frame.n_atoms for frame in self.frames])
        self.first_atoms = np.concatenate([[0], np.cumsum(self.sizes)])
        self.structure_of_atom = np.repeat(np.arange(len(self.sizes)), self.sizes)


class TrainingSet:
    """Structures on the devices of a crew.

    Parameters
    ----------
    structures : Structures
    form : NepForm
    terms : LossTerms
    precision : {"mixed", "double"}
        Of pair arithmetic; sums over a structure are float64.
    crew : Crew, optional
        One thread of this process without it.

    Attributes
    ----------
    partition : Partition
    most_neighbors : (radial, angular) int
        Of any atom.
    kept : float
        Share of the parts whose geometry is kept in memory.
    """

    def __init__(self, structures: Structures, form: NepForm, terms: LossTerms, precision: str = "mixed",
                 crew: Crew | None = None) -> None:
        self.form, self.terms, self.crew = form, terms, crew or Crew()
        self.partition = Partition.of(structures.sizes, self.crew.device)
        self._number = self.crew.make_share(structures.frames, self.partition, form, terms.structures, terms.atoms,
                                            precision)
        weakref.finalize(self, self.crew.drop_share, self._number)
        most, kept = self.crew.call(self._number, "facts")
        self.most_neighbors = (int(most[:, 0].max()), int(most[:, 1].max()))
        self.kept = float(kept.mean())

    def evaluate(self, theta: np.ndarray, scaler: np.ndarray, gradient: bool = True,
                 parts: Sequence[int] | None = None) -> Evaluation:
        """Errors for a theta, and the gradient of the loss.

        Parameters
        ----------
        theta : (n_parameters,) float64
        scaler : (D,) float64
        gradient : bool
        parts : sequence of int, optional
            Only these of the parts of the set; errors of the others are 0.
        """
        errors, *sums = self.crew.call(self._number, "evaluate", theta, scaler, self._with_virial(gradient), gradient,
                                       False, parts)
        if not gradient:
            return Evaluation(errors, None)
        result = np.zeros(self.form.n_parameters)
        result[self.form.kernel_places()[0]] = self.form.kernel_factors(scaler) * sums[0].sum(axis=0)
        a = np.maximum(self.terms.structures[:, 0], 0.0)
        result[self.form.bias_place] = -2.0 * float(np.sum(a * errors[:, 0]))
        return Evaluation(errors, result)

    def predict(self, theta: np.ndarray, scaler: np.ndarray) -> Predictions:
        """Energies, forces and virials for a theta, with their errors."""
        with_virial = self._with_virial(False)
        errors, energies, forces, virials = self.crew.call(self._number, "evaluate", theta, scaler, with_virial, False,
                                                           True, None)
        bias = float(theta[self.form.bias_place])
        return Predictions(errors, energies[:, 0] - self.partition.sizes * bias, forces,
                           virials if with_virial else None)

    def _with_virial(self, gradient: bool) -> bool:
        """Whether virials are needed: for the loss, or because they are labelled."""
        c = self.terms.structures[:, 2]
        return bool(np.any(c > 0.0) or (not gradient and np.any(c >= 0.0)))

    def gram(self, theta: np.ndarray, scaler: np.ndarray,
             groups: Sequence[dict[int, tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
        """J^T J in the order of the kernels with b1 last, (n, n) float32; see `share.Share.gram`."""
        upper = np.triu(self.crew.call(self._number, "gram", theta, scaler, groups)[0])
        return upper + np.triu(upper, 1).T

    def descriptor_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest values over all atoms, (D,) float64 each, of descriptors whose coefficients are 1."""
        (ranges,) = self.crew.call(self._number, "descriptor_range", np.ones(self.form.n_parameters))
        return ranges[:, 0].min(axis=0), ranges[:, 1].max(axis=0)


def scaler_of(sets: Sequence[TrainingSet]) -> np.ndarray:
    """Factors 1/(max - min) of the descriptors when all coefficients are 1, as SNES trainers do, (D,) float64.

    They are 1/max where all atoms have the same value, and 1 where that is 0.
    """
    ranges = [single.descriptor_range() for single in sets]
    low, high = np.min([low for low, _ in ranges], axis=0), np.max([high for _, high in ranges], axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    # where atoms are equivalent a descriptor is the same for all, or 0 by symmetry; what differs is rounding
    spread = np.where(high - low > _SAME * size, high - low, size)
    return 1.0 / np.where(spread > _NONE * size.max(), spread, 1.0)


def type_weights(weights: Mapping[str, float], form: NepForm) -> np.ndarray:
    """Weights by element as an array over the types, 1 if not given, (T,) float64.

    Raises
    ------
    InputError
        For elements that the form does not have.
    """
    unknown = sorted(set(weights) - set(form.elements))
    if unknown:
        raise InputError(f"type weights: expected elements of the model, got {', '.join(unknown)}; remove them")
    return np.array([weights.get(element, 1.0) for element in form.elements])
