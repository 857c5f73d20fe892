"""Larger numbers of ranks, predicted from one measurement."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.domain.grid import frame_cell, heights
from hpcthermo.engine import Engine
from hpcthermo.neighbors import pack_positions
from hpcthermo.performance_model import Box, Network, Rank, fit_rank, strong_scaling, weak_scaling
from hpcthermo.potentials.base import ForceArrays
from hpcthermo.probe import NoExchange, brick_systems

if TYPE_CHECKING:
    from hpcthermo.domain.snapshot import Snapshot
    from hpcthermo.potentials.base import Potential

#: force calls on bricks of the structure, for the part of their time that does not depend on the number of atoms
_FORCE_SIZES, _FORCE_REPEATS, _SMALLEST_BRICK = 6, 5, 20


def predict(engine: Engine, potential: Potential, stages: dict[str, float], network: Network,
            virials_every: int) -> dict[str, Any]:
    """Predictions from this measurement: the time per step of one rank, split into a fixed and a per-atom part.

    The fixed part is the host time, and what force calls on smaller and smaller bricks converge to (collective).

    Parameters
    ----------
    stages : dict of str to float
        Measured seconds per step by stage.
    virials_every : int
        Steps from one sample to the next, as measured; 0 for none.
    """
    comm, system = engine.comm, engine.system
    atoms = engine.n_atoms / comm.size
    line = _fixed_and_moving(engine, potential)
    offset = line.half_atoms / line.rate
    moving = sum(stages.values()) - stages["host"] - (stages["halo"] if comm.size > 1 else 0.0)
    rate = atoms / max(moving - offset, 0.1 * moving)
    rank = Rank(rate, (offset + stages["host"]) * rate)
    cell = frame_cell(system.cell)
    positions = engine.backend.to_host(system.positions[:system.n_owned]) @ np.linalg.inv(cell)
    high = comm.allreduce_max(positions.max(axis=0, initial=-np.inf))
    low = -comm.allreduce_max((-positions).max(axis=0, initial=-np.inf))
    lengths = heights(cell) * np.where(system.periodic, 1.0, np.maximum(high - low, 1e-3))
    periodic = tuple(bool(value) for value in system.periodic)
    box = Box((float(lengths[0]), float(lengths[1]), float(lengths[2])), (periodic[0], periodic[1], periodic[2]),
              engine.n_atoms, engine.domain.halo_depth)
    return {
        "rate_atom_steps_per_second": rank.rate, "half_atoms": rank.half_atoms,
        "latency_seconds": network.latency, "bandwidth_bytes_per_second": network.bandwidth,
        "halo_depth_A": box.depth, "virials_every": virials_every,
        "strong": [line.as_dict() for line in strong_scaling(box, rank, network, virials_every)],
        "weak": [line.as_dict() for line in weak_scaling(box, rank, network, virials_every)],
    }


def _fixed_and_moving(engine: Engine, potential: Potential) -> Rank:
    """R and n_half of force calls alone, from bricks of a half, a quarter, ... of a rank's atoms (collective)."""
    snapshot = engine.domain.gather(engine.system)
    found = None
    if snapshot is not None:
        sizes = [engine.comm.size << k for k in range(1, 1 + _FORCE_SIZES)]
        measured = [_force_time(engine, potential, snapshot, n_bricks) for n_bricks in sizes
                    if snapshot.n_atoms >= _SMALLEST_BRICK * n_bricks]
        atoms, seconds = np.array(measured).reshape(-1, 2).T
        found = fit_rank(atoms, seconds) if len(atoms) else Rank(1.0, 0.0)
    result: Rank = engine.comm.bcast(found)
    return result


def _force_time(engine: Engine, potential: Potential, snapshot: Snapshot, n_bricks: int) -> tuple[float, float]:
    """Atoms of one brick in its true surroundings, and the seconds of a force call."""
    backend, skin = engine.backend, engine.skin
    bound = potential.bind(snapshot.species, backend)
    (system,) = brick_systems(snapshot, backend, n_bricks, [n_bricks // 2], bound.ghost_depth + skin)
    bound.build_lists(system, skin)
    packed = pack_positions(system, backend, bound.cutoff + skin)
    output = ForceArrays(backend.xp.zeros(system.n_owned), system.forces, None)
    exchange = NoExchange() if bound.exchanges_fields else None
    best = np.inf
    for _ in range(_FORCE_REPEATS):
        backend.synchronize()
        start = time.perf_counter()
        bound.compute(system, packed, 0, system.n_owned, output, exchange)
        backend.synchronize()
        best = min(best, time.perf_counter() - start)
    return float(system.n_owned), best
