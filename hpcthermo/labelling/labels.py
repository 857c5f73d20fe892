"""What an engine says about a structure, and what every engine is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms


@dataclass(frozen=True)
class Labels:
    """A converged calculation.

    Attributes
    ----------
    energy : float
        eV; with smeared electrons the free energy, of which forces and stress are derivatives.
    forces : (N, 3) float64
        eV/A.
    stress : (3, 3) float64
        eV/A^3, positive under tension.
    version : str
        Of the program.
    facts : dict of str to float
        dispersion_energy (eV), scf_steps, k_points, magnetization (Bohr magnetons), as far as they apply.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    version: str
    facts: Mapping[str, float] = field(default_factory=dict)


class LabellingEngine(Protocol):
    """A code with its settings; sent to workers."""

    @property
    def settings(self) -> dict[str, Any]:
        """What changes its labels beside the mesh of wave vectors, as values of JSON; no paths."""

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the files it reads (pseudopotentials), by what they are for."""

    def require(self) -> None:
        """Refuse to begin if the code is not there.

        Raises
        ------
        ResourceError
            Saying what to install.
        """

    def label(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Labels:
        """Compute labels in an empty folder.

        Parameters
        ----------
        mesh : (3,) tuple of int
            Divisions of the mesh of wave vectors, for engines that have one.

        Raises
        ------
        InputError
            If the engine has no parameters for an element.
        PhysicsError
            If it does not converge, fails, or does not do what its settings ask for.
        ResourceError
            If the disk is full.
        """
