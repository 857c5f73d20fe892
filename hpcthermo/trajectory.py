"""Frames of a run in an extended-XYZ file, appended; a resumed run first cuts off what came after its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import Engine
from hpcthermo.units import TIME_FS

TRAJECTORY_FILE = "trajectory.xyz"


class TrajectoryObserver:
    """Writes a frame every so many ps; see `hpcthermo.dynamics.loop.Observer`.

    Parameters
    ----------
    folder : Path
        Results folder.
    interval_ps : float
    velocities : bool
        Also velocities, in A/fs.
    file_name : str
    """

    name = "trajectory"
    needs_virials = False

    def __init__(self, folder: Path, interval_ps: float, velocities: bool, file_name: str = TRAJECTORY_FILE) -> None:
        self.every = 1
        self._path = folder / file_name
        self._interval_ps = interval_ps
        self._velocities = velocities
        self._bytes = 0

    def begin_phase(self, _index: int, timestep_fs: float) -> None:
        """Steps between frames of a phase; a minimisation gets none."""
        self.every = max(1, round(1e3 * self._interval_ps / timestep_fs)) if timestep_fs > 0.0 else 2**62

    def sample(self, step: int, engine: Engine, integrator: Any) -> None:
        """Append a frame (collective)."""
        fields = ("positions", "images", "types", "layers") + (("velocities",) if self._velocities else ())
        snapshot = engine.domain.gather(engine.system, fields)
        size = 0
        if snapshot is not None:
            content = frame_text(snapshot, step).encode()
            # what a run that was killed after its last checkpoint has appended is written anew
            with self._path.open("rb+" if self._path.exists() else "wb") as stream:
                stream.truncate(self._bytes)
                stream.seek(self._bytes)
                stream.write(content)
            size = len(content)
        self._bytes += int(engine.comm.bcast(size))

    def state(self) -> dict[str, np.ndarray]:
        """Length of the file."""
        return {"bytes": np.array(self._bytes)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue after the frames that the checkpoint knows."""
        self._bytes = int(state["bytes"])


def frame_text(snapshot: Snapshot, step: int) -> str:
    """One frame in extended XYZ; positions are unwrapped, in A, velocities in A/fs."""
    cell = " ".join(f"{value:.10g}" for value in snapshot.cell.ravel())
    periodic = " ".join("T" if p else "F" for p in snapshot.periodic)
    positions = snapshot.positions + snapshot.images @ snapshot.cell
    columns, properties = [positions], "species:S:1:pos:R:3"
    if "velocities" in snapshot.fields:
        columns.append(snapshot.velocities / TIME_FS)
        properties += ":vel:R:3"
    layered = snapshot.layers.min() >= 0
    header = f'Lattice="{cell}" Properties={properties}{":layer:I:1" if layered else ""} pbc="{periodic}" step={step}'
    names = np.array(snapshot.species)[snapshot.types]
    rows = np.concatenate(columns, axis=1)
    pattern = " ".join(["%.8f"] * 3 + ["%.9g"] * (rows.shape[1] - 3))
    lines = [f"{name} {pattern % tuple(row)}" for name, row in zip(names, rows.tolist(), strict=True)]
    if layered:
        lines = [f"{line} {layer}" for line, layer in zip(lines, snapshot.layers.tolist(), strict=True)]
    return "\n".join([str(snapshot.n_atoms), header, *lines]) + "\n"
