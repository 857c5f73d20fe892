"""What the trained part of a potential has to give: the labels of frames, less the short-range repulsion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.errors import InputError
from hpcthermo.training.neighbours import pairs_of
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.repulsion import repulsion

#: (row, column) of the components of a virial: xx, yy, zz, xy, yz, zx
VIRIAL_COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))


@dataclass(frozen=True)
class Labels:
    """Labels of structures; 0 where there is none.

    Attributes
    ----------
    energies : (S,) float64
        eV.
    forces : (N, 3) float64
        eV/A.
    virials : (S, 6) float64
        eV; xx, yy, zz, xy, yz, zx.
    known : (S, 3) bool
        Whether energy, forces and virial of a structure are known.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    known: np.ndarray


def types_of(frames: Sequence[LabelledFrame], form: NepForm) -> np.ndarray:
    """Types of all atoms, (N,) int.

    Raises
    ------
    InputError
        For a frame with an element that the model does not have, or none at all.
    """
    if not frames:
        raise InputError("training: expected at least one structure, got none")
    number = {element: k for k, element in enumerate(form.elements)}
    for k, frame in enumerate(frames):
        unknown = sorted(set(frame.symbols) - set(number))
        if unknown:
            raise InputError(f"structure {k}: expected the elements {' '.join(form.elements)}, "
                             f"got {' '.join(unknown)}; add them to the model or remove the structure")
    return np.array([number[symbol] for frame in frames for symbol in frame.symbols])


def labels_of(frames: Sequence[LabelledFrame], form: NepForm) -> Labels:
    """Labels without the repulsion of `form`."""
    energies, virials = np.zeros(len(frames)), np.zeros((len(frames), 6))
    forces = []
    for s, frame in enumerate(frames):
        energy, force, virial = repulsion_of(frame, form)
        energies[s] = 0.0 if frame.energy is None else frame.energy - energy
        forces.append(np.zeros_like(force) if frame.forces is None else frame.forces - force)
        if frame.virial is not None:
            mean = 0.5 * (frame.virial + frame.virial.T) - virial
            virials[s] = [mean[a, b] for a, b in VIRIAL_COMPONENTS]
    known = np.array([[label is not None for label in (f.energy, f.forces, f.virial)] for f in frames])
    return Labels(energies, np.concatenate(forces), virials, known)


def repulsion_of(frame: LabelledFrame, form: NepForm) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (N, 3) (eV/A) and virial (3, 3) (eV) of the short-range repulsion."""
    if form.screening is None:
        return 0.0, np.zeros((frame.n_atoms, 3)), np.zeros((3, 3))
    return repulsion(pairs_of(frame, float(form.screening[..., 3].max())), types_of([frame], form), form.screening)
