"""Everything to be measured on the day a GPU is at hand, in one command of less than 8 minutes.

    python benchmarks/gpu.py --potential NEP.TXT                          on the first GPU; appends to results/gpu.txt
    python benchmarks/gpu.py --potential NEP.TXT --device cpu --tiny      a rehearsal in seconds, without a record

NEP.TXT is the NEP model of graphene and h-BN for which speeds are predicted.

For each standard system: speed of an NVE run at 300 K, rebuilds included; seconds by kernel (each launch waited for);
registers, local memory and occupancy of its kernels; launches, copies and readings per step. For NEP also the ways to
add pair forces, with the cycles of each stage; for small systems recorded against plain launches. Measured speeds stand
beside those of results/gpu_prediction.txt.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, write_record
from systems import standard_system

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import Engine, make_engine
from hpcthermo.errors import HpcthermoError
from hpcthermo.gpu.backend import Backend, make_backend
from hpcthermo.gpu.clock import LaunchClock
from hpcthermo.potentials.base import require_species
from hpcthermo.potentials.load import load_potential
from hpcthermo.structure.build import make_snapshot

PREDICTION = RESULTS / "gpu_prediction.txt"
TEMPERATURE_K, TIMESTEP_FS, SKIN_A = 300.0, 0.5, 1.0
WARM_UP_STEPS, LEAST_STEPS = 12, 20
#: atoms up to which launches cost enough to try recordings
SMALL_SYSTEM = 30_000
#: seconds for the timed steps of one case, and after how many no further case begins
CASE_SECONDS, ALL_SECONDS = 6.0, 420.0
#: ways to add the pair forces of NEP on a GPU: arguments of BoundNepOnGpu
NEP_VARIANTS = {"gather, fixed point": {"gather": True, "fixed_point": True},
                "gather": {"gather": True, "fixed_point": False},
                "atomic, fixed point": {"gather": False, "fixed_point": True},
                "atomic": {"gather": False, "fixed_point": False}}


@dataclass(frozen=True)
class Case:
    """One system to be measured; `potential` is "nep" or what `load_potential` takes."""

    system: str
    atoms: int
    tiny_atoms: int
    potential: Any
    precisions: tuple[str, ...]


EMPIRICAL = ["tersoff_bnc", "lj_gr_hbn"]
CASES = (
    Case("gr_hbn_bilayer", 24_644, 200, "nep", ("mixed", "double")),
    Case("gr_hbn_stack", 307_828, 0, "nep", ("mixed", "double")),
    Case("gr_hbn_multilayer", 2_000_000, 64, "nep", ("mixed",)),
    Case("bnc_layers", 24_576, 64, EMPIRICAL, ("mixed", "double")),
    Case("bnc_layers", 2_000_000, 0, EMPIRICAL, ("mixed",)),
    Case("silicon", 64_000, 64, "tersoff_si", ("mixed",)),
)


class Rehearsal:
    """A few atoms, and no time to spare for more steps."""

    seconds, steps = 0.0, 3


class FullMeasurement:
    """As many steps as fit into the time of a case."""

    seconds, steps = CASE_SECONDS, LEAST_STEPS


def small_cell(wanted: int) -> Any:
    """For a rehearsal: the moire cell of the bilayer is too large, two layers in one lattice will do."""
    from systems import NEP_LATTICE_A, NEP_SPACING_A, alternating_stack

    return alternating_stack(wanted, 2, NEP_LATTICE_A, NEP_SPACING_A)


def engine_of(case: Case, atoms: Any, backend: Backend, model: Path, bind: Callable[..., Any] | None = None) -> Engine:
    """Engine at 300 K; `bind` replaces the potential's own."""
    layers = atoms.arrays.get("layer")
    snapshot = make_snapshot(atoms.cell.array, atoms.pbc, atoms.get_chemical_symbols(), atoms.positions, layers=layers)
    potential = load_potential(str(model) if case.potential == "nep" else case.potential)
    if bind is not None:
        potential.bind = lambda species, device: bind(potential, species, device)
    engine = make_engine(snapshot, potential, SingleProcess(), backend, SKIN_A)
    engine.compute()
    draw_velocities(engine, TEMPERATURE_K, 1)
    return engine


@dataclass(frozen=True)
class Speed:
    """Of an NVE run."""

    atoms: int
    steps: int
    seconds: float
    rebuilds: int

    @property
    def atom_steps(self) -> float:
        """Atom-step/s."""
        return self.atoms * self.steps / self.seconds


def run_steps(engine: Engine, mover: Integrator, first: int, steps: int) -> float:
    """Seconds of some steps, the device being done before and after."""
    engine.backend.synchronize()
    start = time.perf_counter()
    for step in range(first, first + steps):
        mover.step(engine, step)
    engine.backend.synchronize()
    return time.perf_counter() - start


def speed_of(engine: Engine, plan: Any) -> Speed:
    """Speed after a warm-up, over as many steps as the plan has time for."""
    mover = Integrator(engine, TIMESTEP_FS)
    warm_up = run_steps(engine, mover, 0, WARM_UP_STEPS)
    one_step = run_steps(engine, mover, WARM_UP_STEPS, 3) / 3 if warm_up < plan.seconds else warm_up / WARM_UP_STEPS
    steps = max(plan.steps, int(plan.seconds / one_step))
    rebuilds = engine.rebuilds
    seconds = run_steps(engine, mover, WARM_UP_STEPS + 3, steps)
    return Speed(engine.n_atoms, steps, seconds, engine.rebuilds - rebuilds)


@contextmanager
def counted(backend: Backend) -> Iterator[Counter[str]]:
    """Calls of the backend by what they do."""
    counts: Counter[str] = Counter()
    names = ("launch", "repeat", "to_host", "from_host", "begin_read", "copy_to_host", "copy_to_device", "synchronize")
    present = [name for name in names if hasattr(backend, name)]
    for name in present:
        setattr(backend, name, counting(counts, name, getattr(backend, name)))
    try:
        yield counts
    finally:
        for name in present:
            delattr(backend, name)


def counting(counts: Counter[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, counted."""
    def call(*arguments: Any, **named: Any) -> Any:
        counts[name] += 1
        return method(*arguments, **named)

    return call


def calls_by_step(engine: Engine, steps: int = 5) -> list[str]:
    """Launches, copies and readings per step, as the backend is asked for them (what a recording plays is one call)."""
    mover = Integrator(engine, TIMESTEP_FS)
    engine.rebuild()
    run_steps(engine, mover, 0, 3)
    rebuilds = engine.rebuilds
    with counted(engine.backend) as counts:
        for step in range(3, 3 + steps):
            mover.step(engine, step)
    among = f" ({engine.rebuilds - rebuilds} rebuilds among {steps} steps)" if engine.rebuilds > rebuilds else ""
    return ["  per step: " + ", ".join(f"{name} {n / steps:.3g}" for name, n in sorted(counts.items())) + among]


def kernels_of_step(engine: Engine, steps: int = 10) -> tuple[list[str], float]:
    """Seconds by kernel, with registers, local memory and occupancy on a GPU; seconds of NEP's kernels per step."""
    mover, backend = Integrator(engine, TIMESTEP_FS), engine.backend
    backend.clock = clock = LaunchClock()
    run_steps(engine, mover, 0, steps)
    backend.clock = None
    lines = [f"  {'kernel':28s} {'calls/step':>10s} {'us/step':>10s} {'share':>6s}   registers local shared occupancy"]
    for (module, kernel), seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])[:10]:
        calls = clock.calls[module, kernel]
        lines.append(f"  {kernel:28s} {calls / steps:10.2f} {1e6 * seconds / steps:10.1f} "
                     f"{100 * seconds / clock.total():5.1f}%   {facts_of(backend, module, kernel)}")
    nep = sum(seconds for (module, _), seconds in clock.seconds.items() if module.startswith("nep"))
    return lines, nep / steps


def facts_of(backend: Backend, module: str, kernel: str) -> str:
    """Registers, bytes of local and shared memory, and occupancy; nothing on a CPU."""
    if backend.device != "cuda":
        return ""
    from hpcthermo.gpu import cuda

    groups = backend.groups_per_block
    facts = cuda.kernel_facts(module, kernel, backend.precision, groups, 32 * groups)
    return f"{facts.registers:9d} {facts.local_bytes:5d} {facts.shared_bytes:6d} {100 * facts.occupancy:8.0f}%"


def stages_of(engine: Engine) -> list[str]:
    """Share of the cycles of NEP's kernels by stage, if the potential counts them."""
    stages = getattr(engine.bound, "STAGES", ())
    if not stages:
        return []
    # recordings hold the arguments of their launches
    engine.backend.forget()
    engine.bound.stage_cycles = engine.backend.xp.zeros(len(stages))
    engine.compute()
    cycles = engine.backend.to_host(engine.bound.stage_cycles)
    engine.bound.stage_cycles = None
    engine.backend.forget()
    total = max(float(cycles.sum()), 1.0)
    return ["  cycles: " + ", ".join(f"{s} {100 * c / total:.1f} %" for s, c in zip(stages, cycles, strict=True))]


def variants_of(case: Case, atoms: Any, backend: Backend, model: Path, plan: Any) -> list[str]:
    """Speed of each way to add the pair forces, with its stages."""
    try:
        from hpcthermo.potentials.nep_gpu import BoundNepOnGpu
    except ImportError:
        return ["  this version has one form of NEP on a GPU"]

    lines = []
    for name, options in NEP_VARIANTS.items():

        def bind(potential: Any, species: Any, device: Backend, options: dict[str, bool] = options) -> Any:
            types = require_species(potential.style, potential.elements, species)
            return BoundNepOnGpu(potential.model, types, device, **options)

        engine = engine_of(case, atoms, backend, model, bind)
        lines += [f"  {name:22s} {speed_of(engine, plan).atom_steps:.4g} atom-step/s", *stages_of(engine)]
    return lines


def recordings_of(engine: Engine, plan: Any) -> list[str]:
    """Speed with plain launches in place of recorded ones."""
    backend = engine.backend
    backend.forget()
    backend.repeat = lambda key, work: work()
    plain = speed_of(engine, plan)
    del backend.repeat
    recorded = speed_of(engine, plan)
    return [f"  plain launches {plain.atom_steps:.4g}, recorded {recorded.atom_steps:.4g} atom-step/s"]


def predictions() -> dict[int, list[float]]:
    """Atoms -> atom-step/s of the NEP kernels in mixed precision, from lines ``ATOMS atoms VALUE VALUE ...``."""
    if not PREDICTION.exists():
        return {}
    lines = re.findall(r"^\s+([\d,]+) atoms((?:\s+[\d.]+e[+-]?\d+)+)\s*$", PREDICTION.read_text(), re.MULTILINE)
    return {int(atoms.replace(",", "")): [float(value) for value in values.split()] for atoms, values in lines}


def against_prediction(case: Case, precision: str, n_atoms: int, nep_seconds: float) -> list[str]:
    """NEP's kernels alone beside what was predicted for this system."""
    predicted = predictions().get(case.atoms) if case.potential == "nep" and precision == "mixed" else None
    if predicted is None:
        return []
    return [f"  NEP kernels alone {n_atoms / nep_seconds:.4g} atom-step/s; predicted "
            + ", ".join(f"{value:.4g}" for value in predicted)]


def measure(case: Case, precision: str, backend: Backend, model: Path, tiny: bool) -> list[str]:
    """All lines of one case."""
    plan = Rehearsal if tiny else FullMeasurement
    if tiny and case.system == "gr_hbn_bilayer":
        atoms = small_cell(case.tiny_atoms)
    else:
        atoms = standard_system(case.system, case.tiny_atoms if tiny else case.atoms)
    engine = engine_of(case, atoms, backend, model)
    speed = speed_of(engine, plan)
    name = "NEP" if case.potential == "nep" else " + ".join(np.atleast_1d(case.potential))
    lines = [f"{case.system} {speed.atoms:,} atoms, {name}, {precision}: {speed.atom_steps:.4g} atom-step/s, "
             f"{1e3 * speed.seconds / speed.steps:.4g} ms a step ({speed.steps} steps, {speed.rebuilds} rebuilds)"]
    kernel_lines, nep_seconds = kernels_of_step(engine)
    lines += [*calls_by_step(engine), *kernel_lines, *against_prediction(case, precision, speed.atoms, nep_seconds),
              *stages_of(engine)]
    if speed.atoms <= SMALL_SYSTEM and hasattr(backend, "repeat"):
        lines += recordings_of(engine, plan)
    del engine
    if case.potential == "nep" and backend.device == "cuda":
        lines += variants_of(case, atoms, backend, model, plan)
    return lines


def device_lines(backend: Backend) -> list[str]:
    """Which device this is."""
    if backend.device != "cuda":
        return [f"device    {backend.device}, {backend.instruction_set}"]
    runtime = backend.xp.cuda.runtime
    facts = runtime.getDeviceProperties(runtime.getDevice())
    return [f"device    {facts['name'].decode()}, {facts['multiProcessorCount']} multiprocessors, "
            f"{facts['totalGlobalMem'] / 2**30:.0f} GiB, CuPy {backend.xp.__version__}, "
            f"driver {runtime.driverGetVersion()}, runtime {runtime.runtimeGetVersion()}"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a few atoms; no record")
    parser.add_argument("--potential", type=Path, required=True, metavar="NEP.TXT", help="Gr/h-BN NEP model")
    parser.add_argument("--record", default="gpu", metavar="NAME", help="appended to results/NAME.txt")
    options = parser.parse_args(arguments)
    if not options.potential.is_file():
        parser.error(f"--potential: no file {options.potential}")
    start = time.perf_counter()
    try:
        backends = {precision: make_backend(options.device, precision) for precision in ("mixed", "double")}
        lines = [*device_lines(backends["mixed"]),
                 f"run       NVE at {TEMPERATURE_K:g} K, {TIMESTEP_FS:g} fs, skin {SKIN_A:g} A; one process", ""]
        for case in CASES:
            if options.tiny and not case.tiny_atoms:
                continue
            for precision in case.precisions:
                if time.perf_counter() - start > ALL_SECONDS:
                    lines.append(f"{case.system} {case.atoms:,} {precision}: no time left, not measured")
                    continue
                lines += [*measure(case, precision, backends[precision], options.potential, options.tiny), ""]
    except HpcthermoError as error:
        parser.error(str(error))
    lines.append(f"all of it took {time.perf_counter() - start:.0f} s")
    write_record(None if options.tiny else options.record, "hpcthermo on a GPU", lines)


if __name__ == "__main__":
    main()
