"""What an engine says about a structure, and what every engine is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from hpcthermo.errors import InputError, PhysicsError

#: keys of engines that are no part of a label's name: on what it is computed, and for how long it is tried
PLACES = frozenset({"command", "cores", "time_limit_h", "scratch_folder", "scf_steps"})
#: digits of outputs, A
_PRINTED_A = 1e-3


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
        dispersion_energy (eV), scf_steps, magnetization (Bohr magnetons), as far as they apply, and
        processor_seconds of a program, as far as they are known.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    version: str
    facts: Mapping[str, float] = field(default_factory=dict)


def moments_of(moments: Mapping[str, float], symbols: Iterable[str]) -> list[float]:
    """Starting magnetic moment of each atom from those of elements, 0 where none is given."""
    return [moments.get(symbol, 0.0) for symbol in symbols]


def require_elements(engine: LabellingEngine, atoms: Atoms) -> None:
    """Refuse a structure that an engine has no files for.

    Raises
    ------
    InputError
        Saying which is missing.
    """
    for element in sorted(set(atoms.symbols)):
        reason = engine.lacking(element)
        if reason:
            raise InputError(reason)


def require_same_structure(found: Atoms, asked: Atoms, program: str) -> None:
    """Refuse an output whose labels belong to other atoms, as after a relaxation.

    Parameters
    ----------
    found, asked : ase.Atoms
        Of the output and of the input, in the same order; positions may differ by lattice vectors.
    program : str
        Named in the message.

    Raises
    ------
    PhysicsError
        If they are not the same.
    """
    if list(found.symbols) != list(asked.symbols):
        raise PhysicsError(f"output of {program} is of other atoms than the input")
    moved = (found.positions - asked.positions) @ np.linalg.inv(asked.cell.array)
    moved -= np.rint(moved)
    for what, difference in (("another cell", found.cell.array - asked.cell.array),
                             ("other positions", moved @ asked.cell.array)):
        largest = float(np.abs(difference).max())
        if not largest < _PRINTED_A:
            raise PhysicsError(f"output of {program} is of {what} than the input, by up to {largest:.2g} A; its input "
                               "has to be that of a single point")


def lacking(engine: LabellingEngine, species: Sequence[Collection[str]]) -> dict[str, int]:
    """Reasons why some structures will be rejected, known before hours are spent, and of how many.

    Parameters
    ----------
    species : sequence of collection of str
        Elements of each structure.
    """
    reasons = lacking_elements(engine, species)
    return {reason: sum(element in own for own in species) for element, reason in reasons.items()}


def lacking_elements(engine: LabellingEngine, species: Sequence[Collection[str]]) -> dict[str, str]:
    """Elements of structures that cannot be labelled, and why."""
    elements = sorted({element for own in species for element in own})
    return {element: reason for element in elements if (reason := engine.lacking(element))}


class LabellingEngine(Protocol):
    """A code with its settings; sent to workers."""

    @property
    def settings(self) -> dict[str, Any]:
        """What changes its labels beside the mesh of wave vectors, as values of JSON; no paths."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Those that it has files for, if it needs any."""

    def files(self, elements: Collection[str]) -> dict[str, str]:
        """SHA-256 of what is there of the files that it reads for these elements, by what they are for."""

    def lacking(self, element: str) -> str:
        """Why structures with an element cannot be labelled, as far as that is known beforehand; empty if they can."""

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
