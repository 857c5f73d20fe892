"""The whole system on the host, sorted by tag: what builders make and what outlives a number of ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpcthermo.domain.grid import frame_cell
from hpcthermo.errors import InputError
from hpcthermo.system import ATOM_FIELDS

#: value of a per-atom field that is not given
FIELD_DEFAULTS = {"layers": -1, "groups": -1}


@dataclass
class Snapshot:
    """All atoms of a system; row i is the atom with tag i.

    Attributes
    ----------
    cell : (3, 3) float64
        Rows are the cell vectors, A; zero vectors are allowed along axes that are not periodic.
    periodic : (3,) bool
    species : tuple of str
    masses : (len(species),) float64
        amu.
    fields : dict of str to ndarray
        The per-atom arrays named in `hpcthermo.system.ATOM_FIELDS`, with their dtypes and shapes.
    frozen_groups : frozenset of int
        Groups whose atoms do not move.
    """

    cell: np.ndarray
    periodic: np.ndarray
    species: tuple[str, ...]
    masses: np.ndarray
    fields: dict[str, np.ndarray]
    frozen_groups: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def create(cls, cell: Any, periodic: Any, species: tuple[str, ...], masses: Any, positions: Any, types: Any,
               frozen_groups: frozenset[int] = frozenset(), **others: Any) -> Snapshot:
        """A checked snapshot; per-atom fields that are not given are zero (layers and groups -1).

        Raises
        ------
        InputError
            For wrong shapes, numbers that are not finite, types out of range or a flat cell.
        """
        positions = np.array(positions, dtype=np.float64)
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise InputError(f"positions: expected shape (atoms, 3), got {positions.shape}")
        n = len(positions)
        given = {"positions": positions, "types": types, "tags": np.arange(n), **others}
        unknown = set(given) - set(ATOM_FIELDS)
        if unknown:
            raise InputError(f"atoms: unknown per-atom field {sorted(unknown)[0]!r}; "
                             f"known are {', '.join(ATOM_FIELDS)}")
        fields: dict[str, np.ndarray] = {}
        for name, (dtype, components) in ATOM_FIELDS.items():
            shape = (n,) if components == 1 else (n, components)
            value = given.get(name)
            if value is None:
                fields[name] = np.full(shape, FIELD_DEFAULTS.get(name, 0), dtype=dtype)
                continue
            fields[name] = np.array(value, dtype=dtype)
            if fields[name].shape != shape:
                raise InputError(f"{name}: expected shape {shape}, got {fields[name].shape}")
        snapshot = cls(np.array(cell, dtype=np.float64), np.array(periodic, dtype=bool), tuple(species),
                       np.array(masses, dtype=np.float64), fields, frozen_groups)
        snapshot._check()
        return snapshot

    @property
    def n_atoms(self) -> int:
        """Atoms of the whole system."""
        return len(self.fields["positions"])

    def __getattr__(self, name: str) -> np.ndarray:
        """Per-atom fields as attributes: ``snapshot.positions``."""
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"Snapshot has no field {name!r}")

    def _check(self) -> None:
        if self.cell.shape != (3, 3) or self.periodic.shape != (3,):
            raise InputError(f"cell: expected shape (3, 3) and three periodic flags, got {self.cell.shape} "
                             f"and {self.periodic.shape}")
        frame_cell(self.cell)
        flat = self.periodic & (np.linalg.norm(self.cell, axis=1) == 0.0)
        if flat.any():
            raise InputError(f"cell: vector {'abc'[int(np.argmax(flat))]} is zero but its axis is periodic; "
                             "give the vector or make the axis non-periodic")
        if self.masses.shape != (len(self.species),) or not (self.masses > 0.0).all():
            raise InputError(f"masses: expected {len(self.species)} positive numbers, got {self.masses.tolist()}")
        for name in ("positions", "velocities"):
            bad = np.flatnonzero(~np.isfinite(self.fields[name]).all(axis=1))
            if len(bad):
                raise InputError(f"{name}: expected finite numbers, got {self.fields[name][bad[0]].tolist()} "
                                 f"for atom {bad[0]}")
        types = self.fields["types"]
        if self.n_atoms and not 0 <= types.min() <= types.max() < len(self.species):
            raise InputError(f"types: expected indices below {len(self.species)} (the number of species), "
                             f"got {types.min()} to {types.max()}")
