"""Timed steps, and seconds per step by stage, means over ranks, which add up to the wall time.

    neighbours   rebuilds with all that belongs to them: migration, order, ghosts, lists
    descriptor   force kernels up to dU/dq: compaction, descriptors, network (potentials without stages: nothing)
    forces       the rest of the force kernels
    halo         packing positions (with the displacement check), gathering and adding rows, waiting for messages
    integrate    kick and drift
    observers    energies and virial sums on sampling steps (per-atom virials are made by the force kernels)
    host         what is left of the wall time: Python between kernels

A clock waits for every kernel. On a CPU that changes nothing, and one stretch of steps gives all figures. On a GPU the
host then no longer works while kernels run, so two stretches are timed: the first as in a run, with its wall time,
rebuilds and observers; the second with the clock, for the seconds of kernels and messages. The host's share is the wall
time of the first less all of these: time in which the GPU had nothing to do. Short kernels take longer when waited for;
if that leaves less than nothing, the stages are scaled down to the wall time and the host's share is 0.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.bench.case import BenchCase
from hpcthermo.bench.measured_engine import MeasuredEngine
from hpcthermo.domain.comm import Communicator
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.engine import Engine
from hpcthermo.gpu.clock import LaunchClock

STAGES = ("neighbours", "descriptor", "forces", "halo", "integrate", "observers", "host")
#: what a report says of the way in which its stages were found, by device
STAGES_FROM = {
    "cpu": "kernels timed in the steps of the wall time; host is the rest of it",
    "cuda": "kernels and messages timed in a second stretch that waits for each launch; host is the wall time of the "
            "first stretch less theirs, not below 0",
}
#: stages of potentials that end with dU/dq
_DESCRIPTOR_STAGES = ("compaction", "descriptor", "radial_descriptor", "angular_sums", "angular_descriptor", "network")
#: modules whose kernels are no potential
_OTHER_MODULES = ("neighbors", "rebuild", "halo", "integrate", "langevin", "minimize", "peak")
_SPLIT_CALLS = 3


@dataclass(frozen=True)
class Timing:
    """One stretch of steps, on this rank.

    Attributes
    ----------
    wall, processor : float
        Seconds.
    apart : dict of str to float
        Seconds in rebuilds (neighbours) and observers.
    kernels : dict of str to float
        Seconds in forces (with descriptors), halo (with waiting for messages) and integrate; empty without a clock.
    rebuilds : int
    messages, bytes_sent : int
        Sent by this rank.
    """

    wall: float
    processor: float
    apart: dict[str, float]
    kernels: dict[str, float]
    rebuilds: int
    messages: int
    bytes_sent: int


@dataclass(frozen=True)
class StageSeconds:
    """Where the wall time went, mean over ranks.

    Attributes
    ----------
    seconds : dict of str to float
        By stage of `STAGES`.
    scale : float
        Factor that brought the measured stages down to the wall time; 1 unless waiting for kernels took longer.
    """

    seconds: dict[str, float]
    scale: float


def timed_steps(engine: MeasuredEngine, mover: Integrator, case: BenchCase, first: int, with_clock: bool) -> Timing:
    """Take the steps of a case, beginning with number `first` (collective)."""
    backend, comm = engine.backend, engine.comm
    apart, counters, rebuilds = dict(engine.apart), comm.counters, engine.rebuilds
    backend.clock = clock = LaunchClock() if with_clock else None
    comm.barrier()
    backend.synchronize()
    messages, sent, waited = counters.messages_sent, counters.bytes_sent, counters.waiting_seconds
    wall, processor = time.perf_counter(), time.process_time()
    for step in range(first, first + case.steps):
        sampling = case.samples(step)
        mover.step(engine, step, virials=sampling)
        if sampling:
            with engine.set_apart("observers"):
                engine.kinetic_energy()
                engine.potential_energy()
                engine.virial_total()
    backend.synchronize()
    comm.barrier()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    backend.clock = None
    return Timing(
        wall, processor, {stage: engine.apart[stage] - apart[stage] for stage in apart},
        {} if clock is None else _kernel_stages(clock, counters.waiting_seconds - waited), engine.rebuilds - rebuilds,
        counters.messages_sent - messages, counters.bytes_sent - sent)


def _kernel_stages(clock: LaunchClock, waited: float) -> dict[str, float]:
    """Seconds of the kernels outside rebuilds and observers, and of waiting for messages."""
    return {
        "forces": _potential_seconds(clock),
        "halo": clock.of_module("halo") + clock.of_module("neighbors") + waited,
        "integrate": clock.of_module("integrate"),
    }


def _potential_seconds(clock: LaunchClock) -> float:
    return sum(seconds for (module, _), seconds in clock.seconds.items() if module not in _OTHER_MODULES)


def descriptor_share(engine: Engine) -> float:
    """Share of the force kernels that ends with dU/dq, from a few calls that count cycles by stage (collective)."""
    members: list[Any] = list(getattr(engine.bound, "parts", (engine.bound,)))
    parts = [part for part in members if hasattr(part, "STAGES")]
    if not parts:
        return 0.0
    backend = engine.backend
    backend.forget()  # launches that were recorded count no cycles
    for part in parts:
        part.stage_cycles = backend.xp.zeros(len(part.STAGES))
    engine.compute()  # kernels that count may have to be compiled first
    for part in parts:
        part.stage_cycles.fill(0.0)
    backend.clock = clock = LaunchClock()
    for _ in range(_SPLIT_CALLS):
        engine.compute()
    backend.clock = None
    backend.forget()  # and those recorded now would count into memory that is given back
    total = _potential_seconds(clock)
    staged = sum(seconds for (module, _), seconds in clock.seconds.items() if module.startswith("nep"))
    descriptor = everything = 0.0
    for part in parts:
        cycles = dict(zip(part.STAGES, backend.to_host(part.stage_cycles).tolist(), strict=True))
        part.stage_cycles = None
        everything += sum(cycles.values())
        descriptor += sum(cycles.get(name, 0.0) for name in _DESCRIPTOR_STAGES)
    return descriptor / everything * staged / total if everything > 0.0 and total > 0.0 else 0.0


def stage_seconds(timing: Timing, clocked: Timing, share: float, comm: Communicator) -> StageSeconds:
    """Stages of the steps of `timing`, with the kernels of `clocked`, which may be the same stretch (collective).

    Parameters
    ----------
    share : float
        Of the descriptor in the force kernels.
    """
    own = {**timing.apart, **clocked.kernels}
    own["descriptor"] = share * own["forces"]
    own["forces"] -= own["descriptor"]
    busy = sum(own.values())
    scale = min(1.0, timing.wall / busy) if busy > 0.0 else 1.0
    own = {stage: scale * seconds for stage, seconds in own.items()}
    own["host"] = max(0.0, timing.wall - sum(own.values()))
    means = comm.allreduce_sum(np.array([*(own[stage] for stage in STAGES), scale])) / comm.size
    *seconds, mean_scale = means.tolist()
    return StageSeconds(dict(zip(STAGES, seconds, strict=True)), mean_scale)
