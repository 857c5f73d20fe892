"""``hpcthermo bench``: atom-step/s of a potential on a structure, where the time goes, and how far from the peak.

What is timed is velocity Verlet at constant energy with rebuilds of the lists, after warm-up steps; set-up and the
search for a skin are not. Atoms at rest get velocities of twice the temperature, half of which goes into vibrations.

Seconds per step by stage, means over ranks, which add up to the wall time:

    neighbours   rebuilds with all that belongs to them: migration, order, ghosts, lists
    descriptor   force kernels up to dU/dq: compaction, descriptors, network (potentials without stages: nothing)
    forces       the rest of the force kernels
    halo         packing positions (with the displacement check), gathering and adding rows, waiting for messages
    integrate    kick and drift
    observers    energies and virial sums on sampling steps (per-atom virials are made by the force kernels)
    host         the rest: Python between kernels
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.config.execution import Execution
from hpcthermo.domain.comm import Communicator, abort_on_error, world_communicator
from hpcthermo.domain.decomposition import Domain
from hpcthermo.domain.grid import frame_cell, heights
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.gpu.clock import LaunchClock
from hpcthermo.neighbors import pack_positions
from hpcthermo.performance_model import Box, Network, Rank, fit_rank, strong_scaling, weak_scaling
from hpcthermo.potentials.base import ForceArrays
from hpcthermo.potentials.operation_counts import NeighborCount, count_neighbors, mean_counts, operations_per_atom
from hpcthermo.preparation import make_job_backend, skin_of
from hpcthermo.probe import NoExchange, array_bytes, brick_systems
from hpcthermo.results import versions
from hpcthermo.roofline import Peak, measure_messages, measure_peak
from hpcthermo.skin import tune_skin
from hpcthermo.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    from hpcthermo.domain.snapshot import Snapshot
    from hpcthermo.potentials.base import Potential

STAGES = ("neighbours", "descriptor", "forces", "halo", "integrate", "observers", "host")
#: stages of potentials that end with dU/dq
_DESCRIPTOR_STAGES = ("compaction", "descriptor", "radial_descriptor", "angular_sums", "angular_descriptor", "network")
#: modules whose kernels are no potential
_OTHER_MODULES = ("neighbors", "halo", "integrate", "langevin", "minimize", "peak")
_SPLIT_CALLS = 3
#: force calls on bricks of the structure, for the part of their time that does not depend on the number of atoms
_FORCE_SIZES, _FORCE_REPEATS, _SMALLEST_BRICK = 6, 5, 20
_SEED = 1
DEFAULT_POTENTIAL, DEFAULT_STRUCTURE = ("tersoff_graphene", "lj_gr_hbn"), "graphite"


@dataclass(frozen=True)
class BenchCase:
    """What is measured.

    Attributes
    ----------
    potential : str, dict or list of these
        As `load_potential` takes it.
    structure : str or a [structure] table
        File, or name of `structure.samples`.
    execution : Execution
        Device, precision, skin, decomposition.
    """

    potential: Any
    structure: Any
    execution: Execution
    steps: int = 50
    warm_up: int = 10
    temperature_K: float = 300.0
    timestep_fs: float = 0.5
    virials_every: int = 0

    def potential_text(self) -> str:
        """The potential for people."""
        parts = self.potential if isinstance(self.potential, list | tuple) else [self.potential]
        return ",".join(part if isinstance(part, str) else str(part.get("path") or part.get("name")) for part in parts)

    def structure_text(self) -> str:
        """The structure for people."""
        if isinstance(self.structure, str):
            return self.structure
        return str(getattr(self.structure, "file", None) or getattr(self.structure, "builder", ""))


def make_case(job: Path | None, potential: str | None, structure: str | None, device: str | None,
              precision: str | None, skin: str, **options: Any) -> BenchCase:
    """The case that the options of the command line ask for.

    Raises
    ------
    InputError
        If they do not fit together.
    """
    skin_A = _skin(skin)
    for name, value, known in (("device", device, ("cpu", "cuda")), ("precision", precision, ("mixed", "double"))):
        if value is not None and value not in known:
            raise InputError(f"--{name}: expected {' or '.join(known)}, got {value!r}")
    if job is not None:
        if potential or structure:
            raise InputError("bench: a job file names potential and structure; give it or the two options, not both")
        from hpcthermo.config import load_job

        loaded = load_job(job)
        given = {name: value for name, value in (("device", device), ("precision", precision)) if value is not None}
        if skin_A != "auto":
            given["skin_A"] = skin_A
        execution = loaded.execution.model_copy(update=given)
        return BenchCase(loaded.potential_spec, loaded.structure, execution, **options)
    if bool(potential) != bool(structure):
        raise InputError("bench: expected both --potential and --structure (or neither, for graphite with embedded "
                         "potentials)")
    parts = potential.split(",") if potential else list(DEFAULT_POTENTIAL)
    execution = Execution(device=device or "cpu", precision=precision or "mixed", skin_A=skin_A)  # type: ignore[arg-type]
    return BenchCase(parts[0] if len(parts) == 1 else parts, structure or DEFAULT_STRUCTURE, execution, **options)


def _skin(text: str) -> Any:
    if text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 20.0:
        raise InputError(f"--skin: expected 'auto' or 0 to 20 A, got {text!r}")
    return value


def run_bench(case: BenchCase, as_json: bool, network: Network | None = None, measure_network: bool = False) -> None:
    """Measure and print on rank 0 (collective).

    Parameters
    ----------
    network : Network, optional
        Also predict larger numbers of ranks, with messages of this cost.
    measure_network : bool
        Take the cost of messages between these ranks instead, if there are several.
    """
    comm = world_communicator()
    with abort_on_error(comm):
        if network is not None and measure_network and (found := measure_messages(comm)) is not None:
            network = Network(*found)
        report = measure(case, comm, network)
        if comm.rank == 0:
            print(json.dumps(report) if as_json else _text(report), flush=True)


# ---- set-up --------------------------------------------------------------------------------------


class MeasuredEngine(Engine):
    """An engine that knows how long its rebuilds take, apart from the kernels of ordinary steps.

    Attributes
    ----------
    apart : dict of str to float
        Seconds in rebuilds and in what else ran under `set_apart`.
    """

    def __init__(self, *arguments: Any) -> None:
        self.apart: dict[str, float] = {"neighbours": 0.0, "observers": 0.0}
        super().__init__(*arguments)

    @contextmanager
    def set_apart(self, stage: str) -> Iterator[None]:
        """Count the seconds inside for this stage, and neither for kernels nor for waiting."""
        backend, counters = self.backend, self.comm.counters
        clock, waiting = backend.clock, counters.waiting_seconds
        backend.synchronize()
        backend.clock = None
        start = time.perf_counter()
        try:
            yield
            backend.synchronize()
        finally:
            self.apart[stage] += time.perf_counter() - start
            backend.clock, counters.waiting_seconds = clock, waiting

    def rebuild(self) -> None:
        """Rebuild as always, and count the time."""
        with self.set_apart("neighbours"):
            super().rebuild()


def _prepare(case: BenchCase, comm: Communicator) -> tuple[MeasuredEngine, Potential, Integrator]:
    from hpcthermo.potentials.load import load_potential
    from hpcthermo.simulation import on_first_rank

    def build() -> Snapshot:
        from hpcthermo.potentials.base import require_species

        snapshot = _structure(case)
        if comm.size > snapshot.n_atoms:
            raise InputError(f"bench: {comm.size} ranks for {snapshot.n_atoms} atoms; use fewer ranks or repeat the "
                             "structure")
        potential = load_potential(case.potential)
        require_species(potential.style, potential.elements, snapshot.species)
        return snapshot

    snapshot = on_first_rank(comm, build)
    potential = load_potential(case.potential)
    backend = make_job_backend(case.execution, comm)
    domain = Domain(comm, backend, halo_depth=10.0, layout=case.execution.decomposition)
    system = domain.distribute(snapshot)
    engine = MeasuredEngine(system, potential, domain, backend, skin_of(case.execution))
    if engine.kinetic_energy() == 0.0:
        draw_velocities(engine, 2.0 * case.temperature_K, _SEED)
    mover = Integrator(engine, case.timestep_fs)
    engine.compute()
    if case.execution.skin_A == "auto":
        tune_skin(engine, mover.timestep)
    return engine, potential, mover


def _structure(case: BenchCase) -> Snapshot:
    from hpcthermo.config.structure import FileStructure
    from hpcthermo.preparation import build_structure
    from hpcthermo.structure.samples import sample_names, sample_structure

    wanted = case.structure
    if not isinstance(wanted, str):
        return build_structure(wanted)
    exists = Path(wanted).exists()
    if wanted in sample_names() and not exists:
        return sample_structure(wanted)
    if not exists:
        raise InputError(f"structure: {wanted!r} is neither a file nor a built-in crystal "
                         f"({', '.join(sample_names())})")
    return build_structure(FileStructure(file=wanted))


# ---- measurement ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """One stretch of steps, on this rank.

    Attributes
    ----------
    wall, processor : float
        Seconds.
    stages : dict of str to float
        Seconds by stage of `STAGES`; descriptor and forces not yet apart; empty without a clock.
    rebuilds : int
    messages, bytes_sent : int
        Sent by this rank.
    """

    wall: float
    processor: float
    stages: dict[str, float]
    rebuilds: int
    messages: int
    bytes_sent: int


def measure(case: BenchCase, comm: Communicator, network: Network | None = None) -> dict[str, Any]:
    """The report of a case, alike on all ranks (collective)."""
    engine, potential, mover = _prepare(case, comm)
    for step in range(case.warm_up):
        mover.step(engine, step, virials=_samples(case, step))
    # on a CPU the clock costs nothing to speak of; on a GPU each launch would be waited for
    on_cpu = engine.backend.device == "cpu"
    timing = _timed_steps(engine, mover, case, case.warm_up, with_clock=on_cpu)
    clocked = timing if on_cpu else _timed_steps(engine, mover, case, case.warm_up + case.steps, with_clock=True)
    stages = _stage_seconds(clocked, timing, _descriptor_share(engine), comm)
    peak = measure_peak(engine.backend, comm)
    report = _report(case, engine, potential, mover, timing, stages, peak)
    if network is not None:
        report["model"] = _model(engine, potential, stages, case.steps, network)
    return report


def _samples(case: BenchCase, step: int) -> bool:
    return case.virials_every > 0 and (step + 1) % case.virials_every == 0


def _timed_steps(engine: MeasuredEngine, mover: Integrator, case: BenchCase, first: int, with_clock: bool) -> Timing:
    backend, comm = engine.backend, engine.comm
    apart, counters, rebuilds = dict(engine.apart), comm.counters, engine.rebuilds
    backend.clock = clock = LaunchClock() if with_clock else None
    comm.barrier()
    backend.synchronize()
    messages, sent, waited = counters.messages_sent, counters.bytes_sent, counters.waiting_seconds
    wall, processor = time.perf_counter(), time.process_time()
    for step in range(first, first + case.steps):
        sampling = _samples(case, step)
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
    stages = {}
    if clock is not None:
        stages = {stage: engine.apart[stage] - apart[stage] for stage in apart}
        stages |= _kernel_stages(clock, engine, counters.waiting_seconds - waited)
        stages["host"] = wall - sum(stages.values())
    return Timing(wall, processor, stages, engine.rebuilds - rebuilds, counters.messages_sent - messages,
                  counters.bytes_sent - sent)


def _kernel_stages(clock: LaunchClock, engine: Engine, waited: float) -> dict[str, float]:
    """Seconds of the kernels outside rebuilds and observers, and of waiting for messages."""
    potential = sum(s for (module, _), s in clock.seconds.items() if module not in _OTHER_MODULES)
    return {
        "forces": potential,
        "halo": clock.of_module("halo") + clock.of_module("neighbors") + waited,
        "integrate": clock.of_module("integrate"),
    }


def _descriptor_share(engine: Engine) -> float:
    """Share of the force kernels that ends with dU/dq, from a few calls that count cycles by stage."""
    members: list[Any] = list(getattr(engine.bound, "parts", (engine.bound,)))
    parts = [part for part in members if hasattr(part, "STAGES")]
    if not parts:
        return 0.0
    backend = engine.backend
    for part in parts:
        part.stage_cycles = backend.xp.zeros(len(part.STAGES))
    engine.compute()  # kernels that count may have to be compiled first
    for part in parts:
        part.stage_cycles.fill(0.0)
    backend.clock = clock = LaunchClock()
    for _ in range(_SPLIT_CALLS):
        engine.compute()
    backend.clock = None
    total = sum(s for (module, _), s in clock.seconds.items() if module not in _OTHER_MODULES)
    staged = sum(s for (module, _), s in clock.seconds.items() if module.startswith("nep"))
    descriptor = everything = 0.0
    for part in parts:
        cycles = dict(zip(part.STAGES, backend.to_host(part.stage_cycles).tolist(), strict=True))
        part.stage_cycles = None
        everything += sum(cycles.values())
        descriptor += sum(cycles.get(name, 0.0) for name in _DESCRIPTOR_STAGES)
    return descriptor / everything * staged / total if everything > 0.0 and total > 0.0 else 0.0


def _stage_seconds(clocked: Timing, timing: Timing, share: float, comm: Communicator) -> dict[str, float]:
    """Seconds of the timed steps by stage, means over ranks; they add up to the mean wall time."""
    own = dict(clocked.stages)
    own["descriptor"] = share * own["forces"]
    own["forces"] -= own["descriptor"]
    scale = timing.wall / clocked.wall
    seconds = comm.allreduce_sum(scale * np.array([own[stage] for stage in STAGES])) / comm.size
    return dict(zip(STAGES, seconds.tolist(), strict=True))


# ---- report --------------------------------------------------------------------------------------


def _report(case: BenchCase, engine: MeasuredEngine, potential: Potential, mover: Integrator, timing: Timing,
            stages: dict[str, float], peak: Peak) -> dict[str, Any]:
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
        "version": versions().get("hpcthermo"), "commit": commit(), "machine": machine(backend),
        "device": backend.device, "precision": backend.precision, "instruction_set": backend.instruction_set,
        "ranks": comm.size, "decomposition": _parts(engine), "potential": case.potential_text(),
        "structure": case.structure_text(), "n_atoms": n, "steps": steps, "timestep_fs": case.timestep_fs,
        "temperature_K": case.temperature_K, "mean_temperature_K": temperature, "virials_every": case.virials_every,
        "skin_A": engine.skin, "rebuilds": timing.rebuilds, "atom_steps_per_second": speed,
        "atom_steps_per_processor_second": n * steps / processor, "seconds_per_step": wall / steps,
        "processor_seconds_per_step": processor / steps,
        "stages": {stage: seconds / steps for stage, seconds in stages.items()},
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


def peak_memory_bytes() -> int:
    """Most memory this process has had."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def commit() -> str | None:
    """Commit of a working copy of the source, with a mark if files differ from it; None for an installed package."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def machine(backend: Backend) -> str:
    """Model of the processor or GPU."""
    if backend.device == "cuda":
        runtime = backend.xp.cuda.runtime
        return str(runtime.getDeviceProperties(runtime.getDevice())["name"].decode())
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


# ---- larger numbers of ranks -----------------------------------------------------------------------


def _model(engine: MeasuredEngine, potential: Potential, stages: dict[str, float], steps: int,
           network: Network) -> dict[str, Any]:
    """Predictions from this measurement: the time per step of one rank, split into a fixed and a per-atom part.

    The fixed part is the host time, and what force calls on smaller and smaller bricks converge to.
    """
    comm, system = engine.comm, engine.system
    atoms = engine.n_atoms / comm.size
    line = _fixed_and_moving(engine, potential)
    offset = line.half_atoms / line.rate
    moving = (sum(stages.values()) - stages["host"] - (stages["halo"] if comm.size > 1 else 0.0)) / steps
    rate = atoms / max(moving - offset, 0.1 * moving)
    rank = Rank(rate, (offset + stages["host"] / steps) * rate)
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
        "halo_depth_A": box.depth,
        "strong": [line.as_dict() for line in strong_scaling(box, rank, network)],
        "weak": [line.as_dict() for line in weak_scaling(box, rank, network)],
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


# ---- for people ------------------------------------------------------------------------------------


def _text(report: dict[str, Any]) -> str:
    r, step = report, report["seconds_per_step"]
    lines = [
        f"case         {r['potential']} on {r['structure']}: {r['n_atoms']:,} atoms, {r['steps']} steps, "
        f"{r['ranks']} rank{'s' if r['ranks'] > 1 else ''}",
        f"machine      {r['machine']}, {r['device']}, {r['precision']}, {r['instruction_set']}",
        f"speed        {r['atom_steps_per_second']:.4g} atom-step/s ({1e3 * step:.3g} ms a step), "
        f"{r['atom_steps_per_processor_second']:.4g} per processor second",
    ]
    for name, seconds in r["stages"].items():
        lines.append(f"  {name:<11}{100 * seconds / step:5.1f} %  {1e3 * seconds:9.4f} ms a step")
    per_atom = sum(r["operations_per_atom_step"].values())
    lines += [
        f"rebuilds     {r['rebuilds']}, skin {r['skin_A']:g} A, {r['mean_temperature_K']:.0f} K at the end",
        f"neighbours   {r['neighbors']['radial']:.1f} radial, {r['neighbors']['angular']:.1f} angular",
        f"arithmetic   {per_atom:,.0f} operations per atom-step, {r['gflops']:.3g} GFLOP/s, "
        f"{100 * r['fraction_of_peak']:.1f} % of the measured {r['peak_gflops']:.3g}",
        f"memory       {r['bytes_per_atom']:,.0f} bytes per atom in arrays, {r['peak_memory_bytes'] / 2**20:,.0f} MiB "
        "at the peak of all processes",
        f"messages     {r['messages_per_step']:.1f} and {r['bytes_per_step']:,.0f} bytes per rank and step, "
        f"{r['ghosts']:,} ghosts in all",
    ]
    if "model" in r:
        lines += _model_text(r["model"])
    return "\n".join(lines)


def _model_text(model: dict[str, Any]) -> list[str]:
    lines = [f"model        R {model['rate_atom_steps_per_second']:.4g} atom-step/s per rank, n_half "
             f"{model['half_atoms']:,.0f} atoms, {1e6 * model['latency_seconds']:g} us per message pair, "
             f"{1e-9 * model['bandwidth_bytes_per_second']:g} GB/s"]
    for kind in ("strong", "weak"):
        lines.append(f"  {kind:<7} ranks  atoms/rank  ghosts/rank  pairs     steps/s  efficiency")
        lines += [f"          {row['ranks']:>5}  {row['atoms']:>10,.0f}  {row['ghosts']:>11,.0f}  "
                  f"{row['message_pairs']:>5}  {row['steps_per_second']:>10.4g}  {row['efficiency']:>10.2f}"
                  for row in model[kind]]
    return lines
