"""The atoms an integrator, thermostat or minimiser works on, and their sums, on any number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.engine import Engine
from hpcthermo.errors import InputError

#: atoms per partial sum, SUM_ROWS of the kernels
_SUM_ROWS = 128


class AtomSelection:
    """Mobile atoms of some groups, or all mobile atoms.

    Parameters
    ----------
    engine : Engine
    groups : iterable of int, optional
        None for all.
    what : str
        Whose atoms they are, for messages.

    Attributes
    ----------
    rows : (count,) int32, device, or None
        Owned rows; None means the rows [0, count).
    count : int
        Atoms on this rank.
    n_atoms : int
        Atoms on all ranks.
    mass : float
        Total mass, amu.
    conserves_momentum : bool
        True if these are all atoms of the system, so that forces do not change their total momentum.
    masses : (n_types,) float64, device
        amu, by type.

    Raises
    ------
    InputError
        On all ranks, if no mobile atom belongs to the groups.
    """

    def __init__(self, engine: Engine, groups: frozenset[int] | None = None, what: str = "selection") -> None:
        self.engine = engine
        self.groups = None if groups is None else frozenset(groups)
        self.masses = engine.backend.xp.asarray(engine.system.masses)
        self.rows: Any | None = None
        self.count = 0
        self._tags: Any = None
        self.refresh()
        local = np.array([float(self.count), self._local_momentum()[3]])
        atoms, self.mass = (float(v) for v in engine.comm.allreduce_sum(local))
        self.n_atoms = int(atoms)
        if self.n_atoms == 0:
            raise InputError(f"{what}: expected at least one atom that is not frozen, got none; correct the groups")
        self.conserves_momentum = self.n_atoms == engine.n_atoms

    @property
    def degrees_of_freedom(self) -> int:
        """3 N, less 3 if the total momentum of the atoms is conserved (and zero)."""
        lost = 3 if self.conserves_momentum and self.n_atoms > 1 else 0
        return 3 * self.n_atoms - lost

    def refresh(self) -> None:
        """Find the rows again if atoms have changed places since the last call."""
        system = self.engine.system
        if self._tags is system.tags:
            return
        # a rebuild gives the system new arrays
        self._tags = system.tags
        frozen = system.frozen_groups
        n = system.n_owned
        if self.groups is None and not frozen:
            self.rows, self.count = None, n
            self._make_partial()
            return
        xp = self.engine.backend.xp
        groups = system.groups[:n]
        if self.groups is None:
            inside = ~xp.isin(groups, xp.asarray(sorted(frozen)))
        else:
            inside = xp.isin(groups, xp.asarray(sorted(self.groups - frozen), dtype=np.int32))
        self.rows = xp.flatnonzero(inside).astype(np.int32)
        self.count = len(self.rows)
        self._make_partial()

    def _make_partial(self) -> None:
        self.n_chunks = -(-self.count // _SUM_ROWS)
        self._partial = self.engine.backend.xp.zeros((max(self.n_chunks, 1), 9))

    def partial(self, columns: int) -> Any:
        """Memory (chunks, columns) for partial sums, zero where a kernel does not write."""
        if self.n_chunks == 0:
            self._partial[...] = 0.0
        return self._partial.reshape(-1)[:max(self.n_chunks, 1) * columns].reshape(-1, columns)

    def launch_sums(self, module: str, kernel: str, columns: int, *arguments: Any) -> np.ndarray:
        """(columns,) sums over this rank's atoms by a kernel of chunks."""
        partial = self.partial(columns)
        self.engine.backend.launch(module, kernel, 0, self.n_chunks, self.count, self.rows, self.engine.system.types,
                                   self.masses, *arguments, partial, per="thread")
        return self.engine.backend.to_host(partial.sum(axis=0))

    def kinetic_energy(self) -> float:
        """Kinetic energy of the atoms on all ranks, eV (collective)."""
        self.refresh()
        local = self.launch_sums("integrate", "kinetic_rows", 1, self.engine.system.velocities)
        return self.engine.comm.allreduce_sum(float(local[0]))

    def momentum(self) -> np.ndarray:
        """(3,) total momentum of the atoms on all ranks, sqrt(amu eV) (collective)."""
        self.refresh()
        return self.engine.comm.allreduce_sum(self._local_momentum()[:3])

    def _local_momentum(self) -> np.ndarray:
        return self.launch_sums("integrate", "momentum_rows", 4, self.engine.system.velocities)

    def scale_velocities(self, factor: float) -> None:
        """Multiply all velocities by a factor."""
        self.engine.backend.launch("integrate", "scale_rows", 0, self.count, self.rows, factor,
                                   self.engine.system.velocities, per="thread")

    def shift_velocities(self, shift: np.ndarray) -> float:
        """Add a vector to all velocities; the change of kinetic energy on this rank, eV."""
        x, y, z = (float(v) for v in shift)
        return float(self.launch_sums("integrate", "shift_rows", 1, x, y, z, self.engine.system.velocities)[0])

    def remove_momentum(self) -> float:
        """Bring the centre of mass to rest; the change of kinetic energy on this rank, eV (collective)."""
        return self.shift_velocities(-self.momentum() / self.mass)
