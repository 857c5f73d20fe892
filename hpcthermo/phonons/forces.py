"""Forces of displaced supercells, as a campaign.

    F_i(u) = -dE/dr_i  at  r = r_0 + u

A task is one set of displacements u of the same supercell r_0. A worker keeps one engine and moves its atoms from task
to task: neighbour lists that were built at r_0 with a skin hold for all displacements below half the skin, so nothing
but the forces is computed (docs/campaigns.md has the gain). The lists do not depend on what was computed before, so
forces are the same bits in any order of the tasks; larger displacements get an engine of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from hpcthermo.calculator import snapshot_of
from hpcthermo.campaign.task import Inputs
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.engine import Engine, make_engine
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.file_hash import file_sha256
from hpcthermo.gpu.backend import Backend, make_backend
from hpcthermo.potentials.load import load_potential

#: lists hold for displacements up to half of it; a thicker one costs more than it saves
_SKIN_A = 0.5
#: of half the skin, so that rounding never rebuilds a list
_SAFE = 0.98

#: a worker process with its libraries, and its engine per atom of the supercell with ghosts and lists (measured, NEP)
_PROCESS_BYTES = 95e6
_ENGINE_BYTES = 8e3


def campaign_bytes(n_atoms: int, n_cells: int, processes: int) -> float:
    """Estimate of the memory a campaign takes on this machine, with its forces in memory at the end.

    Parameters
    ----------
    n_atoms : int
        Of a supercell.
    n_cells : int
    processes : int
        Workers here, besides this process.

    Notes
    -----
    Potentials of other codes (MACE and the like) take their own memory in each worker, which is not counted.
    """
    forces = 24.0 * n_atoms * n_cells
    read_at_once = min(forces, 2.56e8)  # a group of a shard while records are read
    return (1 + processes) * (_PROCESS_BYTES + _ENGINE_BYTES * n_atoms) + forces + read_at_once


def displacement_task(atoms: Sequence[int] | np.ndarray, vectors: np.ndarray) -> Inputs:
    """A task that displaces some atoms of the supercell.

    Parameters
    ----------
    atoms : (k,) int
        Rows of the supercell; each at most once.
    vectors : (k, 3)
        Their displacements, A.
    """
    order = np.argsort(np.asarray(atoms, dtype=np.int64), kind="stable")
    return Inputs({"atoms": np.asarray(atoms, dtype=np.int64)[order],
                   "vectors": np.asarray(vectors, dtype=np.float64).reshape(-1, 3)[order]})


@dataclass(frozen=True)
class SupercellForces:
    """Forces on all atoms of a supercell whose atoms are displaced: a function for `hpcthermo.campaign.run`.

    Attributes
    ----------
    cell : (3, 3) ndarray
        Rows, A.
    positions : (N, 3) ndarray
        r_0, Cartesian, A.
    symbols : tuple of str
    potential : str, dict or list of these
        As in a job file, with absolute paths. Any ASE calculator is a table of style "ase" (docs/ase_bridge.md).
    periodic : (3,) tuple of bool
    layers : (N,) ndarray of int or None
        For potentials that act between layers only.
    device : {"cpu", "cuda"}
        On a GPU sums of forces have no fixed order, so the last bits vary.

    Notes
    -----
    Records hold ``forces`` (N, 3), eV/A, and ``energy``, eV.
    """

    cell: np.ndarray
    positions: np.ndarray
    symbols: tuple[str, ...]
    potential: Any
    periodic: tuple[bool, bool, bool] = (True, True, True)
    layers: np.ndarray | None = None
    device: str = "cpu"

    name: str = field(default="supercell_forces", init=False)
    version: int = field(default=1, init=False)
    thread_safe: bool = field(default=False, init=False)

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the arrays of a record."""
        return {"forces": "eV/A", "energy": "eV"}

    @property
    def shared(self) -> Inputs:
        """The supercell and the potential; files by their content."""
        arrays = {"cell": self.cell, "positions": self.positions}
        if self.layers is not None:
            arrays["layers"] = self.layers
        files: dict[str, str] = {}
        potential = _without_paths(self.potential, files)
        return Inputs(arrays, {"symbols": list(self.symbols), "periodic": [bool(p) for p in self.periodic],
                               "potential": potential, "device": self.device}, files)

    def prepare(self) -> _MovedEngine:
        """An engine at r_0.

        Raises
        ------
        InputError
            If the potential is unusable or does not know the elements.
        """
        layers = np.full(len(self.symbols), -1, np.int32) if self.layers is None else self.layers.astype(np.int32)
        atoms = Atoms(list(self.symbols), positions=self.positions, cell=self.cell, pbc=self.periodic)
        return _MovedEngine(atoms, layers, load_potential(self.potential), make_backend(self.device, "double"))

    def evaluate(self, state: _MovedEngine, tasks: Sequence[Inputs]) -> list[dict[str, np.ndarray]]:
        """Forces and energy of each task, with one engine for all.

        Raises
        ------
        InputError
            For atoms that the supercell has not.
        PhysicsError
            If a force is not finite.
        """
        return [state.compute(self._displacements(task)) for task in tasks]

    def _displacements(self, task: Inputs) -> np.ndarray:
        atoms, vectors = task.arrays["atoms"], task.arrays["vectors"]
        n = len(self.symbols)
        rows = set(atoms.tolist())
        if not len(vectors) == len(atoms) == len(rows) or min(rows, default=0) < 0 or max(rows, default=0) >= n:
            raise InputError(f"displacements: expected different atoms from 0 to {n - 1} with one vector each, got "
                             f"{len(atoms)} atoms and {len(vectors)} vectors")
        moved = np.zeros((n, 3))
        moved[atoms] = vectors
        return moved


class _MovedEngine:
    """An engine whose atoms are moved without new lists."""

    def __init__(self, atoms: Atoms, layers: np.ndarray, potential: Any, backend: Backend) -> None:
        self._atoms, self._layers, self._potential, self._backend = atoms, layers, potential, backend
        self._engine = self._new_engine(atoms.positions)
        self._engine.compute()
        system, host = self._engine.system, backend.to_host
        self._tags = host(system.tags[:system.n_owned])
        self._order = np.argsort(self._tags)
        self._reference = host(system.positions[:system.n_owned]).copy()
        self._rebuilds = self._engine.rebuilds

    def _new_engine(self, positions: np.ndarray) -> Engine:
        atoms = self._atoms.copy()
        atoms.positions = positions
        return make_engine(snapshot_of(atoms, self._layers), self._potential, SingleProcess(), self._backend, _SKIN_A)

    def compute(self, displacements: np.ndarray) -> dict[str, np.ndarray]:
        """Forces (N, 3), eV/A, and energy, eV, of all atoms displaced by (N, 3), A."""
        farthest = float(np.sqrt((displacements**2).sum(axis=1).max(initial=0.0)))
        if farthest < _SAFE * 0.5 * _SKIN_A:
            engine, order = self._engine, self._order
            engine.system.positions[:len(order)] = self._backend.xp.asarray(self._reference + displacements[self._tags])
            engine.compute()
            if engine.rebuilds != self._rebuilds:
                raise RuntimeError("neighbour lists ended within half the skin")
        else:
            engine = self._new_engine(self._atoms.positions + displacements)
            engine.compute()
            order = np.argsort(self._backend.to_host(engine.system.tags[:engine.system.n_owned]))
        forces = self._backend.to_host(engine.system.forces)[:len(order), :3][order]
        energy = float(self._backend.to_host(engine.energies)[order].sum())
        if not (np.isfinite(forces).all() and np.isfinite(energy)):
            raise PhysicsError("forces: expected finite numbers, got NaN or infinity; are atoms too close?")
        return {"forces": forces, "energy": np.array(energy)}


def _without_paths(potential: Any, files: dict[str, str]) -> Any:
    """A potential as in a job file, with the files it names replaced by the hashes of what they hold."""
    if isinstance(potential, Mapping):
        found = {key: _without_paths(value, files) for key, value in potential.items()}
        if potential.get("library") is not None:  # which is relative to the parameter file
            found["library"] = files["library"] = file_sha256(Path(potential["path"]).parent / potential["library"])
        return found
    if isinstance(potential, list | tuple):
        return [_without_paths(part, files) for part in potential]
    if isinstance(potential, str | Path) and _is_file(potential):
        content = file_sha256(Path(potential))
        files[content] = content
        return content
    return potential


def _is_file(name: str | Path) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
