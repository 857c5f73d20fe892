"""The measured peak of a device: multiply-adds per second in registers, bytes per second through memory and messages.

Kernels are compiled from the same lanes as the potentials (gpu/kernels/peak.h), so the peak is that of the instruction
set in use. With several ranks all measure at the same time, and the peak is the sum: cores share clocks and memory.

    FLOP/s = groups x lanes x CHAINS x rounds x 2 / seconds        bytes/s = 3 x 8 x length / seconds
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.gpu.backend import Backend

#: CHAINS of peak.h
CHAINS = 12
#: many short calls, so that the fastest falls between the time slices of other programs
_REPEATS = {"multiply_add": 60, "triad": 12}
#: multiply-adds of one chain: about half a millisecond
_ROUNDS = {"cpu": 200_000, "cuda": 20_000}
_GROUPS_PER_SLICE = 4
#: float64 numbers of a short and of a long message, and how often they are sent
_SHORT, _LONG, _ROUND_TRIPS = 8, 500_000, 30
#: float64 numbers per array of the triad on all ranks together, beyond any cache
_TRIAD_LENGTH = {"cpu": 4_000_000, "cuda": 64_000_000}
_SHORTEST_TRIAD = 500_000


@dataclass(frozen=True)
class Peak:
    """Of all ranks together.

    Attributes
    ----------
    flops : float
        Operations per second in the pair arithmetic of the backend (a multiply-add counts two).
    bandwidth : float
        Bytes per second of the triad, reads and writes as the program states them.
    """

    flops: float
    bandwidth: float


def measure_peak(backend: Backend, comm: Communicator) -> Peak:
    """Peak of all ranks at the same time (collective)."""
    comm.barrier()
    flops = _peak_flops(backend)
    comm.barrier()
    bandwidth = _triad_bandwidth(backend, comm.size)
    return Peak(comm.allreduce_sum(flops), comm.allreduce_sum(bandwidth))


def measure_messages(comm: Communicator) -> tuple[float, float] | None:
    """Seconds of a short message there and back, and bytes per second of a long one; None on one rank (collective).

    Ranks 0 and 1, 2 and 3, ... exchange at the same time, as they do in a step; the slowest pair counts.
    """
    if comm.size == 1:
        return None
    peer = comm.rank ^ 1
    peers = [peer] if peer < comm.size else []
    seconds = []
    for length in (_SHORT, _LONG):
        sent, received = np.ones(length), np.empty(length)
        exchange = comm.exchange([(rank, sent) for rank in peers], [(rank, received) for rank in peers])
        comm.barrier()
        times = []
        for _ in range(_ROUND_TRIPS):
            start = time.perf_counter()
            exchange.start()
            exchange.wait()
            times.append(time.perf_counter() - start)
        seconds.append(comm.allreduce_max(float(np.median(times))))
    short, long = seconds
    return 2.0 * short, 8.0 * (_LONG - _SHORT) / max(long - short, 1e-9)


def _peak_flops(backend: Backend) -> float:
    groups = 1 if backend.device == "cpu" else _GROUPS_PER_SLICE * backend.scratch_slices
    rounds = _ROUNDS[backend.device]
    result = backend.xp.empty(groups)
    seconds = _fastest(backend, "multiply_add", lambda: backend.launch(
        "peak", "multiply_add", 0, groups, rounds, 0.999, 1e-3, result))
    return 2.0 * groups * backend.lanes * CHAINS * rounds / seconds


def _triad_bandwidth(backend: Backend, n_ranks: int) -> float:
    n = max(_SHORTEST_TRIAD, _TRIAD_LENGTH[backend.device] // (n_ranks if backend.device == "cpu" else 1))
    first, second, target = (backend.xp.full(n, value) for value in (1.0, 2.0, 0.0))
    seconds = _fastest(backend, "triad", lambda: backend.launch(
        "peak", "triad", 0, n, 0.5, first, second, target, per="thread"))
    return 3.0 * 8.0 * n / seconds


def _fastest(backend: Backend, kernel: str, work: Callable[[], None]) -> float:
    """Seconds of the fastest of some calls after a first one: the peak is what an undisturbed core reaches."""
    seconds = []
    for _ in range(1 + _REPEATS[kernel]):
        backend.synchronize()
        start = time.perf_counter()
        work()
        backend.synchronize()
        seconds.append(time.perf_counter() - start)
    return float(np.min(seconds[1:]))
