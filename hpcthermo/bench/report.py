"""The report of a case: measured and counted figures as one JSON object.

What is timed is velocity Verlet at constant energy with rebuilds of the lists, after warm-up steps; set-up and the
search for a skin are not. Atoms at rest get velocities of twice the temperature, half of which goes into vibrations.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.bench.case import BenchCase
from hpcthermo.bench.measured_engine import MeasuredEngine, prepare
from hpcthermo.bench.prediction import predict
from hpcthermo.bench.provenance import machine_name, peak_memory_bytes, source_commit
from hpcthermo.bench.stages import STAGES_FROM, StageSeconds, Timing, descriptor_share, stage_seconds, timed_steps
from hpcthermo.bench.text import report_text
from hpcthermo.domain.comm import Communicator, abort_on_error, world_communicator
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.performance_model import Network
from hpcthermo.potentials.operation_counts import NeighborCount, count_neighbors, mean_counts, operations_per_atom
from hpcthermo.probe import array_bytes
from hpcthermo.results import versions
from hpcthermo.roofline import Peak, measure_messages, measure_peak
from hpcthermo.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    from hpcthermo.potentials.base import Potential


def run_bench(case: BenchCase, as_json: bool, network: Network | None = None, measure_network: bool = False) -> None:
    """Measure and print on rank 0 (collective).

    Parameters
    ----------
    network : Network, optional
        Also predict larger numbers of ranks, with messages of this cost.
    measure_network : bool
        Take the cost of messages between these ranks instead.

    Raises
    ------
    InputError
        If there is no network to measure.
    """
    comm = world_communicator()
    with abort_on_error(comm):
        if network is not None and measure_network:
            found = measure_messages(comm)
            if found is None:
                raise InputError("--measure-network: expected messages between at least 2 ranks, got 1 rank; add -n 2 "
                                 "or give --latency and --bandwidth")
            network = Network(*found)
        report = measure(case, comm, network)
        if comm.rank == 0:
            print(json.dumps(report) if as_json else report_text(report), flush=True)


def measure(case: BenchCase, comm: Communicator, network: Network | None = None) -> dict[str, Any]:
    """The report of a case, alike on all ranks (collective)."""
    engine, potential, mover = prepare(case, comm)
    for step in range(case.warm_up):
        mover.step(engine, step, virials=case.samples(step))
    on_cpu = engine.backend.device == "cpu"
    timing = timed_steps(engine, mover, case, case.warm_up, with_clock=on_cpu)
    clocked = timing if on_cpu else timed_steps(engine, mover, case, case.warm_up + case.steps, with_clock=True)
    stages = stage_seconds(timing, clocked, descriptor_share(engine), comm)
    peak = measure_peak(engine.backend, comm)
    report = _report(case, engine, potential, mover, timing, stages, peak)
    if network is not None:
        report["model"] = predict(engine, potential, report["stages"], network, case.virials_every)
    return report


def _report(case: BenchCase, engine: MeasuredEngine, potential: Potential, mover: Integrator, timing: Timing,
            stages: StageSeconds, peak: Peak) -> dict[str, Any]:
    comm, backend, system, steps, n = engine.comm, engine.backend, engine.system, case.steps, engine.n_atoms
    temperature = 2.0 * engine.kinetic_energy() / (3.0 * n * BOLTZMANN_EV_PER_K)
    host = backend.to_host
    local = count_neighbors(potential, system.species, host(system.positions), host(system.types), host(system.layers),
                            system.n_owned)
    counts = mean_counts({kind: comm.allreduce_sum(sums) for kind, sums in local.items()})
    operations = operations_per_atom(potential, counts, len(system.species), backend.precision)
    sums = comm.allreduce_sum(np.array([
        timing.wall, timing.processor, array_bytes([engine, mover]), peak_memory_bytes(), timing.messages,
        timing.bytes_sent, system.n_ghost], dtype=np.float64))
    wall, processor, held, memory, messages, sent, ghosts = (float(value) for value in sums)
    wall /= comm.size
    speed = n * steps / wall
    flops = speed * sum(operations.values())
    return {
        "version": versions()["hpcthermo"], "commit": comm.bcast(source_commit() if comm.rank == 0 else None),
        "machine": machine_name(backend),
        "device": backend.device, "precision": backend.precision, "instruction_set": backend.instruction_set,
        "ranks": comm.size, "decomposition": _parts(engine), "potential": case.potential_text(),
        "structure": case.structure_text(), "n_atoms": n, "steps": steps, "timestep_fs": case.timestep_fs,
        "temperature_K": case.temperature_K, "mean_temperature_K": temperature, "virials_every": case.virials_every,
        "skin_A": engine.skin, "rebuilds": timing.rebuilds, "atom_steps_per_second": speed,
        "atom_steps_per_processor_second": n * steps / processor, "seconds_per_step": wall / steps,
        "processor_seconds_per_step": processor / steps,
        "stages": {stage: seconds / steps for stage, seconds in stages.seconds.items()},
        "stages_from": STAGES_FROM[backend.device], "stages_scale": stages.scale,
        "bytes_per_atom": held / n, "peak_memory_bytes": int(memory),
        "neighbors": _summed(counts), "operations_per_atom_step": operations, "gflops": flops * 1e-9,
        "peak_gflops": peak.flops * 1e-9, "fraction_of_peak": flops / peak.flops,
        "bandwidth_gb_per_second": peak.bandwidth * 1e-9, "ghosts": int(ghosts),
        "messages_per_step": messages / steps / comm.size, "bytes_per_step": sent / steps / comm.size,
    }


def _parts(engine: Engine) -> list[int]:
    """Bricks along a, b, c."""
    grid = engine.domain.grid
    return [grid.shape[grid.order.index(axis)] for axis in range(3)]


def _summed(counts: dict[str, NeighborCount]) -> dict[str, float]:
    """Neighbours by kind, parts of an overlay added."""
    return {kind: sum(count.mean for name, count in counts.items() if name.endswith(kind))
            for kind in ("radial", "angular")}
