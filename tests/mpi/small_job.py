"""A small 2-rank NEMD-like job over the loop, for tests that kill and resume it.

    python -m mpi4py small_job.py FOLDER STEPS INTERVAL [--pause SECONDS]

Starts or resumes in FOLDER; at the end writes final.npz (whole system by tag, ledgers, averages).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "physics"))
from argon import argon_engine, argon_potential, fcc, thirds

from hpcthermo.domain.comm import abort_on_error, world_communicator
from hpcthermo.dynamics.barostats import CellRescaling
from hpcthermo.dynamics.checkpoint import CheckpointStore
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.dynamics.loop import Checkpointer, run_stage
from hpcthermo.dynamics.nose_hoover import NoseHooverChain
from hpcthermo.dynamics.resume import Resumption
from hpcthermo.dynamics.stop import LauncherWatch, StopFlag
from hpcthermo.dynamics.thermostats import Langevin, VelocityRescaling
from hpcthermo.gpu.backend import make_backend

BATHS = [("source", 0, 90.0), ("sink", 2, 50.0)]


class MeanEnergies:
    """Observer with an average in progress: rows of ten samples of potential energy and ledgers."""

    name, every, needs_virials = "energies", 3, True

    def __init__(self) -> None:
        self.sum, self.count, self.rows = np.zeros(4), 0, np.zeros((0, 4))

    def sample(self, step, engine, integrator) -> None:
        virials = engine.comm.allreduce_sum(float(engine.virials[:, 0, 0].sum()))
        ledgers = [thermostat.ledger for thermostat in integrator.thermostats] or [0.0]
        self.sum = self.sum + np.array([engine.potential_energy(), virials, ledgers[0], ledgers[-1]])
        self.count += 1
        if self.count == 10:
            self.rows = np.concatenate([self.rows, self.sum[None] / 10])
            self.sum, self.count = np.zeros(4), 0

    def state(self):
        return {"sum": self.sum, "count": np.array(self.count), "rows": self.rows}

    def restore(self, state) -> None:
        self.sum, self.count, self.rows = np.array(state["sum"]), int(state["count"]), np.array(state["rows"])


def baths(engine):
    return [Langevin(engine, t, 100.0, seed=1, groups=frozenset({g}), conserve_momentum=name == "sink", index=g,
                     name=name) for name, g, t in BATHS]


INTEGRATORS = {
    "nve": lambda e: Integrator(e, 4.0),
    "baths": lambda e: Integrator(e, 4.0, baths(e), remove_momentum_interval=7),
    "nose_hoover": lambda e: Integrator(e, 4.0, [NoseHooverChain(e, 70.0, 100.0)]),
    "velocity_rescaling": lambda e: Integrator(e, 4.0, [VelocityRescaling(e, 70.0, 100.0, seed=2)]),
    "npt": lambda e: Integrator(e, 4.0, [VelocityRescaling(e, 70.0, 100.0, seed=2)],
                                CellRescaling(e, 70.0, 0.02, 500.0, 6, 2.0, ("xx", "yy", "xy"), interval=3)),
}


def fresh_engine(comm, repeat=(6, 3, 3)):
    return argon_engine(fcc(repeat, 5.4, groups=thirds), 70.0, skin=0.5, comm=comm, precision="mixed")


def resumed(store, comm, kind):
    """Engine, integrator, observers and step from the newest whole checkpoint, or from the start."""
    generation, complaints = store.newest()
    for line in complaints if comm.rank == 0 else ():
        print(line, file=sys.stderr, flush=True)
    if generation is None:
        engine = fresh_engine(comm)
        return engine, INTEGRATORS[kind](engine), [MeanEnergies()], 0
    resumption = Resumption(generation, argon_potential(), comm, make_backend("cpu", "mixed"))
    integrator, observers = INTEGRATORS[kind](resumption.engine), [MeanEnergies()]
    resumption.restore(integrator, observers)
    return resumption.engine, integrator, observers, resumption.step


def final_state(engine, integrator, observers):
    """Everything that must not differ, on rank 0."""
    snapshot = engine.domain.gather(engine.system)
    ledgers = np.array([thermostat.ledger for thermostat in integrator.thermostats])
    conserved = integrator.conserved(engine)
    if snapshot is None:
        return {}
    return {**snapshot.fields, "cell": snapshot.cell, "ledgers": ledgers, "conserved": np.array(conserved),
            **{f"observer_{k}": v for k, v in observers[0].state().items()}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("interval", type=int)
    parser.add_argument("--kind", default="baths")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds per step, to make kills hit")
    options = parser.parse_args()
    comm = world_communicator()
    LauncherWatch().start()
    with abort_on_error(comm), StopFlag() as stop:
        lock = FolderLock(options.folder, comm)
        (options.folder / f"pid-{os.getpid()}").touch()
        store = CheckpointStore(options.folder, comm, lock)
        engine, integrator, observers, step = resumed(store, comm, options.kind)

        def progress(done: int) -> None:
            if comm.rank == 0:
                (options.folder / "step").write_text(str(done))
            time.sleep(options.pause)

        checkpointer = Checkpointer(store, options.interval)
        run_stage(engine, integrator, observers, step, options.steps, checkpointer, progress, stop)
        final = final_state(engine, integrator, observers)
        if comm.rank == 0:
            np.savez(options.folder / "final.npz", **final)
        lock.release()


if __name__ == "__main__":
    main()
