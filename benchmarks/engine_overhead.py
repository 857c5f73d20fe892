"""Time of one engine step outside the potential: checks, halo, packing and Python.

    python benchmarks/engine_overhead.py [atoms ...]
    mpiexec -n 2 python benchmarks/engine_overhead.py [atoms ...]

A potential that computes nothing stands in for the force kernels. Two halo depths: 3.1 A (Tersoff with
skin) and 9 A (NEP with skin), 0.114 atoms/A^3, mixed precision.
"""

import cProfile
import os
import pstats
import sys
import time

import numpy as np

from hpcthermo.domain.comm import world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend

DENSITY = 0.114  # atoms per A^3, graphite
STEPS = 200


class NoForces:
    """Bound potential without pairs."""

    exchanges_fields = False

    def __init__(self, cutoff):
        self.cutoff = self.ghost_depth = cutoff

    def bind(self, species, backend):
        return self

    def build_lists(self, system, skin):
        return None

    def compute(self, system, packed, begin, end, output, exchange=None):
        return None


def crystal(n_atoms):
    count = round(n_atoms ** (1.0 / 3.0))
    edge = (count**3 / DENSITY) ** (1.0 / 3.0)
    grid = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), -1).reshape(-1, 3) * (edge / count)
    positions = grid + np.random.default_rng(1).uniform(0.0, 0.1, grid.shape)
    return Snapshot.create(np.eye(3) * edge, [True] * 3, ("C",), [12.0], positions, np.zeros(len(grid), int))


def main():
    comm = world_communicator()
    backend = make_backend("cpu", "mixed")
    for n_atoms in [int(a) for a in sys.argv[1:]] or [2000, 50_000]:
        for depth in (2.1, 8.0):
            engine = make_engine(crystal(n_atoms) if comm.rank == 0 else None, NoForces(depth), comm, backend, 1.0)
            engine.compute()
            start = time.perf_counter()
            engine.rebuild()
            rebuild = time.perf_counter() - start
            engine.timings.update(dict.fromkeys(engine.timings, 0.0))
            profile = cProfile.Profile() if os.environ.get("PROFILE") else None
            if profile:
                profile.enable()
            comm.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(STEPS):
                engine.compute()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if profile and comm.rank == 0:
                profile.disable()
                pstats.Stats(profile).sort_stats("tottime").print_stats(14)
            if comm.rank == 0:
                stages = ", ".join(f"{k} {v / STEPS * 1e6:.0f}" for k, v in engine.timings.items())
                print(f"{comm.size} ranks, {engine.n_atoms} atoms, halo {depth + 1.0} A, "
                      f"{engine.system.n_ghost} ghosts: "
                      f"{wall / STEPS * 1e6:.0f} us/step wall, {cpu / STEPS * 1e6:.0f} us cpu ({stages}); "
                      f"rebuild without lists {rebuild * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
