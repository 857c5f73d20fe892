"""Argon as a test bench for dynamics: fcc crystals, a smooth bath of pairs, and engines on them."""

from __future__ import annotations

import numpy as np

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.lennard_jones import LennardJonesModel, LennardJonesPotential

EPSILON_EV, SIGMA_A, MASS_AMU = 0.010324, 3.405, 39.948
#: zero-temperature lattice constant with nearest neighbours only, 2^(1/6) sigma sqrt(2)
NEAREST_LATTICE_A = 2.0 ** (1.0 / 6.0) * SIGMA_A * np.sqrt(2.0)


def argon_potential(cutoff: float = 8.0) -> LennardJonesPotential:
    values = [np.full((1, 1), v) for v in (EPSILON_EV, SIGMA_A, cutoff)]
    return LennardJonesPotential(LennardJonesModel("test", ("Ar",), *values))


def fcc(repeat=(4, 4, 4), lattice=5.4, periodic=(True, True, True), frozen_groups=frozenset(), groups=None) -> Snapshot:
    base = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.stack(np.meshgrid(*(np.arange(n) for n in repeat), indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (cells[:, None, :] + base[None] + 0.25).reshape(-1, 3) * lattice
    if groups is not None:
        groups = groups(positions)
    return Snapshot.create(np.diag(repeat) * lattice, periodic, ("Ar",), [MASS_AMU], positions,
                           np.zeros(len(positions)), frozen_groups, groups=groups)


def argon_engine(snapshot: Snapshot, temperature_K: float = 0.0, seed: int = 1, cutoff: float = 8.0, skin: float = 1.0,
                 comm=None, precision: str = "double", layout="auto"):
    comm = comm or SingleProcess()
    engine = make_engine(snapshot if comm.rank == 0 else None, argon_potential(cutoff), comm,
                         make_backend("cpu", precision), skin, layout)
    if temperature_K > 0.0:
        draw_velocities(engine, temperature_K, seed)
    return engine


def thirds(positions: np.ndarray) -> np.ndarray:
    """Groups 0, 1, 2 by height, for baths at the ends."""
    z = positions[:, 2]
    return np.minimum((3.0 * (z - z.min()) / np.ptp(z)).astype(int), 2)
