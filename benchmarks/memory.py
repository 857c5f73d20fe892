"""Memory per atom of the graphene/h-BN model, and two million atoms in this machine.

    python benchmarks/memory.py gr_hbn.nep.txt --record
    python benchmarks/memory.py gr_hbn.nep.txt --atoms 2154796 --steps 3 --precision mixed --record

A process of its own builds the system and takes steps at constant energy; what counts is its largest resident memory
less that of a process that does the same with a few atoms. Building the structure and one rebuild of the lists are part
of it, so the figure is what a run of that size needs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from options import count
from record import write_record

SYSTEM, ATOMS, STEPS, LIMIT_BYTES_PER_ATOM = "gr_hbn_stack", 307_828, 4, 2500
TEMPERATURE_K, TIMESTEP_FS, SKIN_A = 300.0, 0.5, 1.0


def snapshot(atoms: int) -> Any:
    """The stack of the paper, repeated for more atoms; a multilayer for fewer."""
    from systems import SYSTEMS, standard_system

    from hpcthermo.structure.build import make_snapshot

    built = standard_system(SYSTEM if atoms >= SYSTEMS[SYSTEM].atoms else "gr_hbn_multilayer", atoms)
    return make_snapshot(built.cell.array, built.pbc, built.get_chemical_symbols(), built.positions,
                         layers=built.arrays["layer"])


def run(potential: str, precision: str, atoms: int, steps: int) -> None:
    """Take steps, make the lists again, and print what this process has needed."""
    from hpcthermo.bench.provenance import peak_memory_bytes
    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.dynamics.integrate import Integrator
    from hpcthermo.dynamics.velocities import draw_velocities
    from hpcthermo.engine import make_engine
    from hpcthermo.gpu.backend import make_backend
    from hpcthermo.potentials.load import load_potential

    engine = make_engine(snapshot(atoms), load_potential(potential), SingleProcess(),
                         make_backend("cpu", precision), SKIN_A)
    engine.compute()
    draw_velocities(engine, TEMPERATURE_K, seed=1)
    mover = Integrator(engine, TIMESTEP_FS)
    began = time.perf_counter()
    for step in range(steps):
        mover.step(engine, step, virials=step == steps - 1)
    seconds = (time.perf_counter() - began) / steps
    before_rebuild = peak_memory_bytes()
    engine.rebuild()
    engine.compute()
    print(json.dumps({"atoms": engine.n_atoms, "ghosts": engine.system.n_ghost, "seconds_per_step": seconds,
                      "before_rebuild_bytes": before_rebuild, "peak_bytes": peak_memory_bytes()}))


def in_own_process(potential: Path, precision: str, atoms: int, steps: int) -> dict[str, float]:
    """What `run` prints for this number of atoms."""
    done = subprocess.run([sys.executable, __file__, str(potential), "--run", precision, "--atoms", str(atoms),
                           "--steps", str(steps)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("hpcthermo.errors.InputError: ")
        print(f"memory: {last}", file=sys.stderr)
        sys.exit(2)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potential", type=Path)
    parser.add_argument("--atoms", type=count, default=ATOMS)
    parser.add_argument("--steps", type=count, default=STEPS)
    parser.add_argument("--precision", choices=("mixed", "double"), help="default: both")
    parser.add_argument("--record", action="store_true", help="append to results/memory.txt")
    parser.add_argument("--run", choices=("mixed", "double"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(str(options.potential), options.run, options.atoms, options.steps)
        return
    lines = []
    for precision in [options.precision] if options.precision else ("mixed", "double"):
        base = in_own_process(options.potential, precision, 1, 1)
        full = in_own_process(options.potential, precision, options.atoms, options.steps)
        more = full["atoms"] - base["atoms"]
        per_atom, before_rebuild = ((full[name] - base[name]) / more for name in ("peak_bytes", "before_rebuild_bytes"))
        state = "below" if per_atom < LIMIT_BYTES_PER_ATOM else "ABOVE"
        lines.append(f"{precision:7s}{full['atoms']:,.0f} atoms, {full['ghosts']:,.0f} ghosts: {per_atom:.0f} B/atom, "
                     f"{state} the {LIMIT_BYTES_PER_ATOM} asked for ({before_rebuild:.0f} before the lists were made "
                     f"again); largest {full['peak_bytes'] / 2**30:.2f} GiB, {base['peak_bytes'] / 2**30:.2f} GiB with "
                     f"{base['atoms']:,.0f} atoms; {full['seconds_per_step']:.2f} s a step")
        print(lines[-1], file=sys.stderr, flush=True)
    write_record("memory" if options.record else None,
                 f"memory.py: {SYSTEM}, {options.potential.name}, {options.steps} steps, the last with virials, 1 rank",
                 lines)


if __name__ == "__main__":
    main()
