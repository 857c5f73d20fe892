"""What a trained model gives beside what was labelled, structure by structure, and GPUMD's files of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.results import write_text
from hpcthermo.training.crew import Crew
from hpcthermo.training.labels import VIRIAL_COMPONENTS, repulsion_of
from hpcthermo.training.loss import Loss
from hpcthermo.training.parameters import NepForm
from hpcthermo.units import PRESSURE_GPA

#: what GPUMD writes where there is no label
_NO_LABEL = -1e6


@dataclass(frozen=True)
class Parity:
    """Predictions (last axis 0) and labels (1), NaN where there is none.

    Attributes
    ----------
    energies : (S, 2) float64
        eV/atom.
    forces : (N, 3, 2) float64
        eV/A.
    virials : (S, 6, 2) float64
        eV/atom; xx, yy, zz, xy, yz, zx.
    atoms : (S,) int
    volumes : (S,) float64
        A^3.
    groups : list of str
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    atoms: np.ndarray
    volumes: np.ndarray
    groups: list[str]


def parity_of(frames: Sequence[LabelledFrame], form: NepForm, theta: np.ndarray, scaler: np.ndarray, *,
              precision: str, crew: Crew) -> Parity:
    """Predict all labels of frames, short-range repulsion and all."""
    loss = Loss(frames, form, None, scaler, precision=precision, crew=crew)
    found, first, n = loss.predict(theta), loss.structures.first_atoms, loss.structures.sizes
    energies, forces = found.energies.copy(), found.forces.copy()
    virials = np.full((len(frames), 6), np.nan) if found.virials is None else found.virials.copy()
    for s, frame in enumerate(frames):
        energy, force, virial = repulsion_of(frame, form)
        energies[s] += energy
        forces[first[s] : first[s + 1]] += force
        virials[s] += [virial[a, b] for a, b in VIRIAL_COMPONENTS]
    unknown = np.full((3, 3), np.nan)
    labels = (
        np.array([np.nan if frame.energy is None else frame.energy for frame in frames]),
        np.concatenate([np.full((frame.n_atoms, 3), np.nan) if frame.forces is None else frame.forces
                        for frame in frames]),
        np.array([[virial[a, b] for a, b in VIRIAL_COMPONENTS] for virial in
                  [unknown if frame.virial is None else 0.5 * (frame.virial + frame.virial.T) for frame in frames]]),
    )
    return Parity(np.stack([energies, labels[0]], axis=-1) / n[:, None], np.stack([forces, labels[1]], axis=-1),
                  np.stack([virials, labels[2]], axis=-1) / n[:, None, None], n,
                  np.array([frame.volume for frame in frames]), [frame.group for frame in frames])


def write_parity_files(parity: Parity, folder: Path, suffix: str) -> None:
    """Write energy, force, virial and stress of all structures: columns of the prediction, then of the labels.

    Parameters
    ----------
    suffix : str
        "train" or "test", as GPUMD names the files.
    """
    stresses = parity.virials * (parity.atoms / np.where(parity.volumes > 0.0, parity.volumes, np.nan))[:, None, None]
    tables = {"energy": parity.energies[:, None], "force": parity.forces, "virial": parity.virials,
              "stress": stresses * PRESSURE_GPA}
    for name, values in tables.items():
        columns = np.concatenate([values[..., 0], np.where(np.isnan(values[..., 1]), _NO_LABEL, values[..., 1])],
                                 axis=1)
        text = io.StringIO()
        np.savetxt(text, np.where(np.isnan(columns), _NO_LABEL, columns), fmt="%.8g")
        write_text(text.getvalue(), folder / f"{name}_{suffix}.out")
