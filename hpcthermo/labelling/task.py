"""Labelling as a campaign: a task is a structure, its record what the engine says about it."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from hpcthermo.campaign.task import Inputs
from hpcthermo.errors import PhysicsError
from hpcthermo.labelling.engines import make_engine
from hpcthermo.labelling.labels import LabellingEngine, Labels
from hpcthermo.labelling.programs import ScratchFullError, require_space

#: net force of a converged calculation, per atom, eV/A: beyond, forces are not of these atoms
_NET_FORCE = 0.02
_VERSION_BYTES = 64
#: when the scratch folder is full it is tried again after these, s
_PAUSES_S = (2.0, 10.0)
#: a program that used less of the time worked elsewhere (ranks that srun started)
_LEAST_SHARE = 0.01
#: facts of a calculation and their units
FACTS = {"dispersion_energy": "eV", "scf_steps": "1", "k_points": "1", "magnetization": "mu_B"}


@dataclass(frozen=True)
class LabelStructures:
    """Energies, forces and virials by an electronic-structure code: a function for `hpcthermo.campaign.run`.

    Attributes
    ----------
    engine : section of `hpcthermo.config.labelling`
        With absolute paths.

    Notes
    -----
    A label is named by its structure, mesh and settings, and the content of the files (pseudopotentials) of its own
    elements. So a pseudopotential that is put there later, or more SCF steps, leave all other labels as they are.

    Records hold ``energy`` (eV), ``forces`` (N, 3) (eV/A), ``virial`` (3, 3) (eV), the facts of `FACTS`, ``seconds`` of
    the calculation, its ``processor_seconds`` (NaN where they are not known; older records have none) and the
    ``program`` with its version.
    """

    engine: Any

    name: str = field(default="labels", init=False)
    version: int = field(default=1, init=False)
    thread_safe: bool = field(default=False, init=False)

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the arrays of a record."""
        return {"energy": "eV", "forces": "eV/A", "virial": "eV", "seconds": "s", "processor_seconds": "s",
                "program": "1", **FACTS}

    @property
    def shared(self) -> Inputs:
        """Settings of the engine."""
        return Inputs({}, {"settings": self._engine.settings})

    @cached_property
    def _engine(self) -> LabellingEngine:
        return make_engine(self.engine)

    def task(self, atoms: Atoms, mesh: tuple[int, int, int]) -> Inputs:
        """A task that labels a periodic structure.

        Parameters
        ----------
        mesh : (3,) tuple of int
            Divisions of the mesh of wave vectors.
        """
        return Inputs({"cell": np.array(atoms.cell.array, dtype=np.float64),
                       "positions": np.array(atoms.positions, dtype=np.float64),
                       "numbers": np.array(atoms.numbers, dtype=np.int64), "mesh": np.array(mesh, dtype=np.int64)},
                      files=self._engine.files(set(atoms.symbols)))

    @property
    def settings_and_files(self) -> Inputs:
        """Settings of the engine with the content of all its files, by which a data set says where it comes from."""
        return Inputs({}, self.shared.parameters, self._engine.files(self._engine.elements))

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
        for pause in _PAUSES_S:
            try:
                return self._label_once(engine, task)
            except ScratchFullError:  # perhaps filled by others, who end
                time.sleep(pause)
        return self._label_once(engine, task)

    def _label_once(self, engine: LabellingEngine, task: Inputs) -> dict[str, np.ndarray]:
        atoms = Atoms(task.arrays["numbers"], positions=task.arrays["positions"], cell=task.arrays["cell"], pbc=True)
        start, own = time.perf_counter(), time.thread_time()
        try:
            if self.engine.scratch_folder is not None:
                Path(self.engine.scratch_folder).mkdir(parents=True, exist_ok=True)  # perhaps of another machine
            with tempfile.TemporaryDirectory(prefix="label_", dir=self.engine.scratch_folder,
                                             ignore_cleanup_errors=True) as folder:
                require_space(Path(folder))
                first, second, third = task.arrays["mesh"].tolist()
                labels = engine.label(atoms, (first, second, third), Path(folder))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise ScratchFullError(f"scratch folder: {error.strerror}; make room, or give engine.scratch_folder"
                                   ) from error
        _require_sound(labels, len(atoms))
        seconds = time.perf_counter() - start
        used = labels.facts.get("processor_seconds", time.thread_time() - own if self.engine.cores == 1 else np.nan)
        if used < _LEAST_SHARE * seconds:
            used = np.nan
        known = {"k_points": float(first * second * third), **labels.facts}
        facts = {name: np.array(float(known.get(name, 0.0))) for name in FACTS}
        return {"energy": np.array(labels.energy), "forces": labels.forces,
                "virial": -atoms.get_volume() * 0.5 * (labels.stress + labels.stress.T),
                "seconds": np.array(seconds), "processor_seconds": np.array(used),
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
