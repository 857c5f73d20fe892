"""A labelled frame: atoms with the energy, forces and virial that a reference method gives them.

    F_i = -dE/dr_i        W_ab = -dE/d(strain_ab) = -V sigma_ab

| symbol | field    | unit |                                                             |
|--------|----------|------|-------------------------------------------------------------|
| E      | energy   | eV   | of all atoms                                                |
| F      | forces   | eV/A |                                                             |
| W      | virial   | eV   | positive under compression; sigma (ASE) is positive under tension |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hpcthermo.errors import InputError

#: cells below have no stress, A^3
_LEAST_VOLUME = 1e-6


@dataclass(frozen=True)
class LabelledFrame:
    """Atoms and their labels; labels that are not known are None.

    Attributes
    ----------
    cell : (3, 3) float64
        Rows are the cell vectors, A.
    periodic : (3,) bool
    symbols : tuple of str
        Chemical symbol of each of the N atoms.
    positions : (N, 3) float64
        A.
    energy : float or None
        eV.
    forces : (N, 3) float64 or None
        eV/A.
    virial : (3, 3) float64 or None
        eV; symmetric.
    weight : float
        Of the frame in a loss, 0 or more.
    group : str
        Class of structures it belongs to, by which errors are reported ("bilayer, twisted").
    provenance : dict of str to str
        Where structure and labels come from: engine, version, settings hash, recipe.
    energy_weight : float
        Of the energy of the frame in a loss, beside `weight`.

    Raises
    ------
    InputError
        For no atoms, unknown symbols, wrong shapes, numbers that are not finite, and weights below 0.
    """

    cell: np.ndarray
    periodic: np.ndarray
    symbols: tuple[str, ...]
    positions: np.ndarray
    energy: float | None = None
    forces: np.ndarray | None = None
    virial: np.ndarray | None = None
    weight: float = 1.0
    group: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    energy_weight: float = 1.0

    def __post_init__(self) -> None:
        self._require_elements()
        shapes = {"cell": (3, 3), "positions": (len(self.symbols), 3), "forces": (len(self.symbols), 3),
                  "virial": (3, 3)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(value, dtype=np.float64)
            if array.shape != shape:
                raise InputError(f"{name}: expected shape {shape}, got {array.shape}; correct the frame")
            if not np.isfinite(array).all():
                raise InputError(f"{name}: expected finite numbers, got NaN or infinity; correct or remove the frame")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "periodic", np.array(self.periodic, dtype=bool))
        if self.energy is not None and not np.isfinite(self.energy):
            raise InputError("energy: expected a finite number, got NaN or infinity; correct or remove the frame")
        for name in ("weight", "energy_weight"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise InputError(f"{name}: expected a finite number of 0 or more, got {getattr(self, name):g}; correct "
                                 "the frame")

    def _require_elements(self) -> None:
        from ase.data import atomic_numbers

        if not self.symbols:
            raise InputError("species: expected at least one atom, got none; correct or remove the frame")
        unknown = sorted(symbol for symbol in set(self.symbols) if not atomic_numbers.get(symbol))
        if unknown:
            raise InputError(f"species: expected chemical symbols, got {', '.join(unknown)[:60]}; correct the frame")

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.symbols)

    @property
    def volume(self) -> float:
        """Of the cell, A^3."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def stress(self) -> np.ndarray | None:
        """(3, 3), eV/A^3, positive under tension; None without a virial or without a cell."""
        return None if self.virial is None or self.volume < _LEAST_VOLUME else -self.virial / self.volume


@dataclass(frozen=True)
class BadFrame:
    """A frame of a file that cannot be used, and why; it keeps its place in the count of frames."""

    reason: str
