"""Frames of a run in an extended-XYZ file, appended; a resumed run first cuts off what came after its checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.engine import Engine
from hpcthermo.errors import HpcthermoError, ResourceError
from hpcthermo.log import get_logger
from hpcthermo.structure.write import extended_xyz

TRAJECTORY_FILE = "trajectory.xyz"


class TrajectoryObserver:
    """Writes a frame every so many ps; see `hpcthermo.dynamics.loop.Observer`.

    Parameters
    ----------
    folder : Path
        Results folder.
    lock : FolderLock
        Of that folder; asked before every write.
    interval_ps : float
    velocities : bool
        Also velocities, in A/fs.
    file_name : str
    """

    name = "trajectory"
    needs_virials = False

    def __init__(self, folder: Path, lock: FolderLock, interval_ps: float, velocities: bool,
                 file_name: str = TRAJECTORY_FILE) -> None:
        self.every = 1
        self._lock = lock
        self._path = folder / file_name
        self._interval_ps = interval_ps
        self._velocities = velocities
        self._bytes = 0
        self._unsynced = False

    def begin_phase(self, _index: int, timestep_fs: float) -> None:
        """Steps between frames of a phase; a minimisation gets none."""
        self.every = max(1, round(1e3 * self._interval_ps / timestep_fs)) if timestep_fs > 0.0 else 2**62

    def sample(self, step: int, engine: Engine, integrator: Any) -> None:
        """Append a frame (collective).

        Raises
        ------
        ResourceError
            On all ranks, if the file cannot be written or the folder was taken over.
        """
        fields = ("positions", "images", "types", "layers") + (("velocities",) if self._velocities else ())
        snapshot = engine.domain.gather(engine.system, fields)
        problem: HpcthermoError | None = None
        if snapshot is not None:
            try:
                self._append(extended_xyz(snapshot, {"step": step}).encode())
            except HpcthermoError as error:
                problem = error
            except OSError as error:
                problem = self._unwritable(error)
        self._bytes, problem = engine.comm.bcast((self._bytes, problem))
        if problem is not None:
            raise problem

    def _append(self, content: bytes) -> None:
        self._lock.require()
        with self._path.open("rb+" if self._path.exists() else "wb") as stream:
            present = stream.seek(0, os.SEEK_END)
            if present < self._bytes:
                get_logger().warning("%s: expected at least %d bytes, got %d; frames before the checkpoint are lost, "
                                     "the file starts anew", self._path, self._bytes, present)
                self._bytes = 0
            # what a run that was killed after its last checkpoint has appended is written anew
            stream.truncate(self._bytes)
            stream.seek(self._bytes)
            stream.write(content)
        self._bytes += len(content)
        self._unsynced = True

    def _unwritable(self, error: OSError) -> ResourceError:
        return ResourceError(f"{self._path}: cannot be written ({error.strerror}); free space or quota and resume from "
                             "the last checkpoint")

    def state(self) -> dict[str, np.ndarray]:
        """Length of the file, which is on the disk by then.

        Raises
        ------
        ResourceError
            On the rank that writes.
        """
        if self._unsynced:
            try:
                with self._path.open("rb+") as stream:
                    os.fsync(stream.fileno())
            except OSError as error:
                raise self._unwritable(error) from None
            self._unsynced = False
        return {"bytes": np.array(self._bytes)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue after the frames that the checkpoint knows."""
        self._bytes = int(state["bytes"])
