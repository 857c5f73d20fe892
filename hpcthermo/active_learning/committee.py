"""Disagreement of models that were trained alike from other random numbers.

    d = max_i sqrt( mean_k |F_i^k - mean_k F_i^k|^2 )        i: atoms, k: models

L. Zhang et al., Phys. Rev. Materials 3, 023804 (2019), eq. 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcthermo.calculator import Calculator
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.structure.write import snapshot_atoms


class Committee:
    """Force disagreement of structures.

    Parameters
    ----------
    models : sequence of Path
    frames : sequence of LabelledFrame
        Training set; the models know it.
    """

    unit = "eV/A"

    def __init__(self, models: Sequence[Path], frames: Sequence[LabelledFrame]) -> None:
        self._calculators = [Calculator(str(model)) for model in models]

    def measure(self, snapshot: Snapshot) -> float:
        """Largest disagreement about an atom's force, eV/A."""
        atoms = snapshot_atoms(snapshot)
        return disagreement(np.array([calculator.get_forces(atoms) for calculator in self._calculators]))


def disagreement(forces: np.ndarray) -> float:
    """Of (K, N, 3) forces by K models, eV/A."""
    return float(np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0).max()))
