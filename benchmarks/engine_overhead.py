"""Time of one engine step outside the potential: checks, halo, packing and Python.

    python benchmarks/engine_overhead.py [ATOMS ...]
    mpiexec -n 2 python benchmarks/engine_overhead.py [ATOMS ...] [--profile]

A potential that computes nothing stands in for the force kernels. Two halo depths: 3.1 A (Tersoff with
skin) and 9 A (NEP with skin), 0.114 atoms/A^3, mixed precision.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator, abort_on_error, world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend

DENSITY = 0.114  # atoms per A^3, graphite
ATOMS, CUTOFFS_A, SKIN_A, STEPS = (2000, 50_000), (2.1, 8.0), 1.0, 200
PROFILE_LINES = 14


class NoForces:
    """A potential, and bound potential, without pairs."""

    exchanges_fields = False

    def __init__(self, cutoff: float) -> None:
        self.cutoff = self.ghost_depth = cutoff

    def bind(self, _species: Any, _backend: Any) -> NoForces:
        return self

    def build_lists(self, _system: Any, _skin: float) -> None:
        """No lists."""

    def compute(self, *_arguments: Any) -> None:
        """No forces."""


def crystal(n_atoms: int) -> Snapshot:
    """A simple cubic crystal of about `n_atoms`, a little displaced."""
    count = round(n_atoms ** (1.0 / 3.0))
    edge = (count**3 / DENSITY) ** (1.0 / 3.0)
    grid = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), -1).reshape(-1, 3) * (edge / count)
    positions = grid + np.random.default_rng(1).uniform(0.0, 0.1, grid.shape)
    return Snapshot.create(np.eye(3) * edge, [True] * 3, ("C",), [12.0], positions, np.zeros(len(grid), int))


def measure(n_atoms: int, cutoff: float, comm: Communicator, with_profile: bool) -> None:
    """Time force calls of one size and print a line on rank 0 (collective)."""
    engine = make_engine(crystal(n_atoms) if comm.rank == 0 else None, NoForces(cutoff), comm,
                         make_backend("cpu", "mixed"), SKIN_A)
    engine.compute()
    start = time.perf_counter()
    engine.rebuild()
    rebuild = time.perf_counter() - start
    engine.timings.update(dict.fromkeys(engine.timings, 0.0))
    profile = cProfile.Profile() if with_profile and comm.rank == 0 else None
    comm.barrier()
    if profile:
        profile.enable()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        engine.compute()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(PROFILE_LINES)
    if comm.rank == 0:
        stages = ", ".join(f"{name} {1e6 * seconds / STEPS:.0f}" for name, seconds in engine.timings.items())
        print(f"{comm.size} ranks, {engine.n_atoms} atoms, halo {cutoff + SKIN_A} A, {engine.system.n_ghost} ghosts: "
              f"{1e6 * wall / STEPS:.0f} us/step wall, {1e6 * processor / STEPS:.0f} us cpu ({stages}); "
              f"rebuild without lists {1e3 * rebuild:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atoms", nargs="*", type=int, metavar="ATOMS", help=f"default: {ATOMS}")
    parser.add_argument("--profile", action="store_true", help="where Python spends its time on rank 0")
    options = parser.parse_args()
    sizes = options.atoms or ATOMS
    if min(sizes) < 1:
        parser.error(f"ATOMS: expected at least 1, got {min(sizes)}")
    comm = world_communicator()
    with abort_on_error(comm):
        for n_atoms in sizes:
            for cutoff in CUTOFFS_A:
                measure(n_atoms, cutoff, comm, options.profile)


if __name__ == "__main__":
    main()
