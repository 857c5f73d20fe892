"""Labelling as a campaign: a task is a structure, its record what the engine says about it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from hpcthermo.campaign.task import Inputs
from hpcthermo.errors import PhysicsError
from hpcthermo.labelling.engines import make_engine
from hpcthermo.labelling.labels import LabellingEngine, Labels
from hpcthermo.labelling.programs import require_space

#: net force of a converged calculation, per atom, eV/A: beyond, forces are not of these atoms
_NET_FORCE = 0.02
_VERSION_BYTES = 64
#: facts of a calculation and their units
FACTS = {"dispersion_energy": "eV", "scf_steps": "1", "k_points": "1", "magnetization": "mu_B"}


def label_task(cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray, mesh: tuple[int, int, int]) -> Inputs:
    """A task that labels a periodic structure.

    Parameters
    ----------
    cell : (3, 3)
        A.
    positions : (N, 3)
        A.
    numbers : (N,) int
        Atomic numbers.
    mesh : (3,) tuple of int
        Divisions of the mesh of wave vectors.
    """
    return Inputs({"cell": np.asarray(cell, dtype=np.float64), "positions": np.asarray(positions, dtype=np.float64),
                   "numbers": np.asarray(numbers, dtype=np.int64), "mesh": np.array(mesh, dtype=np.int64)})


@dataclass(frozen=True)
class LabelStructures:
    """Energies, forces and virials by an electronic-structure code: a function for `hpcthermo.campaign.run`.

    Attributes
    ----------
    engine : section of `hpcthermo.config.labelling`
        With absolute paths.

    Notes
    -----
    Records hold ``energy`` (eV), ``forces`` (N, 3) (eV/A), ``virial`` (3, 3) (eV), the facts of `FACTS`, ``seconds`` of
    the calculation and the ``program`` with its version.
    """

    engine: Any

    name: str = field(default="labels", init=False)
    version: int = field(default=1, init=False)
    thread_safe: bool = field(default=False, init=False)

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the arrays of a record."""
        return {"energy": "eV", "forces": "eV/A", "virial": "eV", "seconds": "s", "program": "1", **FACTS}

    @property
    def shared(self) -> Inputs:
        """Settings of the engine, and the content of its files."""
        engine = make_engine(self.engine)
        return Inputs({}, {"settings": engine.settings}, engine.files)

    def prepare(self) -> LabellingEngine:
        """The engine.

        Raises
        ------
        ResourceError
            If its code is not there.
        """
        engine = make_engine(self.engine)
        engine.require()
        return engine

    def evaluate(self, state: LabellingEngine, tasks: Sequence[Inputs]) -> list[dict[str, np.ndarray]]:
        """Labels of each task, each in a folder of its own that is removed afterwards.

        Raises
        ------
        InputError, PhysicsError, ResourceError
            See `LabellingEngine.label`; also if labels are not finite or a net force is left.
        """
        return [self._label(state, task) for task in tasks]

    def _label(self, engine: LabellingEngine, task: Inputs) -> dict[str, np.ndarray]:
        atoms = Atoms(task.arrays["numbers"], positions=task.arrays["positions"], cell=task.arrays["cell"], pbc=True)
        start = time.perf_counter()
        scratch = self.engine.scratch_folder
        with tempfile.TemporaryDirectory(prefix="label_", dir=scratch, ignore_cleanup_errors=True) as folder:
            require_space(Path(folder))
            first, second, third = task.arrays["mesh"].tolist()
            labels = engine.label(atoms, (first, second, third), Path(folder))
        _require_sound(labels, len(atoms))
        facts = {name: np.array(float(labels.facts.get(name, 0.0))) for name in FACTS}
        return {"energy": np.array(labels.energy), "forces": labels.forces,
                "virial": -atoms.get_volume() * 0.5 * (labels.stress + labels.stress.T),
                "seconds": np.array(time.perf_counter() - start),
                "program": np.array(labels.version.encode()[:_VERSION_BYTES], dtype=f"S{_VERSION_BYTES}"), **facts}


def _require_sound(labels: Labels, n_atoms: int) -> None:
    """Refuse labels that cannot be right.

    Raises
    ------
    PhysicsError
        Saying why.
    """
    for name, value in (("energy", labels.energy), ("forces", labels.forces), ("stress", labels.stress)):
        if not np.isfinite(value).all():
            raise PhysicsError(f"{name}: expected finite numbers, got NaN or infinity")
    if labels.forces.shape != (n_atoms, 3):
        raise PhysicsError(f"forces: expected shape ({n_atoms}, 3), got {labels.forces.shape}")
    net = float(np.abs(labels.forces.mean(axis=0)).max())
    if net > _NET_FORCE:
        raise PhysicsError(f"forces: their mean is {net:.3g} eV/A per atom, expected less than {_NET_FORCE}; tighten "
                           "the convergence of the engine")
