"""Speed of the NEP kernel on one core, beside calorine's NEP_CPU in the same run.

    python benchmarks/nep_cpu.py MODEL [--peer PYTHON] [--record benchmarks/results/nep_cpu.txt]

MODEL is the Gr/h-BN model of Liang et al. (2025); the system an 8-layer stack of 7,680 atoms, 4 graphene and 4 h-BN
layers (245 radial and 28 angular neighbours). Measured is NVE dynamics at 300 K with 0.5 fs: energy and forces each
step, neighbour lists rebuilt as the engine decides (skin 1 A), integrator and halo included. PYTHON is an
interpreter with calorine installed (GPL: kept in its own environment and process); its time is that of energy,
forces and virials of the same stack with a new list in every call, which is how it works.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np

LATTICE_A, SPACING_A, LAYERS = 2.4829, 3.4, 8
TIMESTEP_FS, TEMPERATURE_K, SKIN_A = 0.5, 300.0, 1.0

PEER = """
import json, sys, time
import numpy as np
from ase import Atoms
from calorine.calculators import CPUNEP
data = np.load(sys.argv[2])
atoms = Atoms(list(data["symbols"]), positions=data["positions"], cell=data["cell"], pbc=True)
atoms.calc = CPUNEP(sys.argv[1])
times = []
for repeat in range(int(sys.argv[3])):
    atoms.positions[0, 0] += 1e-6
    start = time.process_time()
    atoms.get_forces()
    times.append(time.process_time() - start)
print(json.dumps({"times": times}))
"""


def stack(cells=(20, 12), layers=LAYERS):
    """Symbols, positions and cell: half the layers graphene, half h-BN, each shifted by a bond to the next (AB)."""
    a, b = LATTICE_A, LATTICE_A * np.sqrt(3.0)
    layer = np.array([d + np.array([i * a, j * b, 0.0]) for i in range(cells[0]) for j in range(cells[1])
                      for d in ((0, 0, 0), (a / 2, b / 6, 0), (a / 2, b / 2, 0), (0, 2 * b / 3, 0))])
    positions = np.concatenate([layer + np.array([0.0, k % 2 * b / 3, k * SPACING_A]) for k in range(layers)])
    symbols = np.concatenate([["C", "C"] * (len(layer) // 2) if k < layers // 2 else ["B", "N"] * (len(layer) // 2)
                              for k in range(layers)])
    positions += np.random.default_rng(0).normal(0.0, 0.03, positions.shape)
    return symbols, positions, np.diag([cells[0] * a, cells[1] * b, layers * SPACING_A])


def make_stack_engine(model, precision, cells=(20, 12)):
    """Engine over the stack on one rank."""
    from ase.data import atomic_masses, atomic_numbers

    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.domain.snapshot import Snapshot
    from hpcthermo.engine import make_engine
    from hpcthermo.gpu.backend import make_backend
    from hpcthermo.potentials.nep import read_nep

    symbols, positions, cell = stack(cells)
    species = ("B", "C", "N")
    masses = [float(atomic_masses[atomic_numbers[s]]) for s in species]
    types = np.array([species.index(s) for s in symbols])
    snapshot = Snapshot.create(cell, [True] * 3, species, masses, positions, types)
    backend = make_backend("cpu", precision)
    return make_engine(snapshot, read_nep(model), SingleProcess(), backend, SKIN_A)


def run_dynamics(engine, backend, steps, virials):
    """Velocity Verlet; returns seconds of processor time, the number of list rebuilds and seconds of one."""
    from hpcthermo.units import BOLTZMANN_EV_PER_K, TIME_FS

    dt = TIMESTEP_FS / TIME_FS
    s = engine.system
    random = np.random.default_rng(1)
    masses = s.masses[s.types[: s.n_owned]]
    thermal = np.sqrt(2 * BOLTZMANN_EV_PER_K * TEMPERATURE_K / masses)  # half goes into the lattice
    s.velocities[...] = random.normal(size=(s.n_owned, 3)) * thermal[:, None]
    engine.compute(virials)
    before = engine.rebuilds
    start = time.process_time()
    for _ in range(steps):
        for half in (0, 1):
            s = engine.system
            inverse = 1.0 / s.masses[s.types[: s.n_owned]]
            backend.launch("integrate", "kick", 0, s.n_owned, 0.5 * dt, s.forces, inverse, s.velocities, per="thread")
            if half == 0:
                backend.launch("integrate", "drift", 0, s.n_owned, dt, s.velocities, s.positions, per="thread")
                engine.compute(virials)
    seconds, rebuilds = time.process_time() - start, engine.rebuilds - before
    start = time.process_time()
    engine.rebuild()
    return seconds, rebuilds, time.process_time() - start


def measure(model, precision, virials, steps, repeats):
    """Atom-steps per second of each repeat; rebuilds and microseconds per atom of one, in the last repeat."""
    from hpcthermo.gpu.backend import make_backend

    rates = []
    for _ in range(repeats):
        engine = make_stack_engine(model, precision)
        seconds, rebuilds, rebuild = run_dynamics(engine, make_backend("cpu", precision), steps, virials)
        rates.append(engine.n_atoms * steps / seconds)
    return rates, rebuilds, rebuild / engine.n_atoms * 1e6


def measure_peer(python, model, repeats, folder):
    """Atom-steps per second of calorine in each repeat."""
    symbols, positions, cell = stack()
    data = folder / "stack.npz"
    np.savez(data, symbols=symbols, positions=positions, cell=cell)
    command = [python, "-c", PEER, model, str(data), str(repeats)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(result.stdout.strip().split("\n")[-1])
    return [len(symbols) / t for t in answer["times"]]


def processor():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--peer", help="interpreter with calorine installed")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", type=Path, help="text file to append the figures to")
    arguments = parser.parse_args()
    from hpcthermo.gpu.backend import supported_instruction_set

    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = [f"# {date.today()}, commit {git.stdout.strip()}, {processor()}, {supported_instruction_set()}, one core, "
             f"{arguments.repeats} x {arguments.steps} steps, 7680 atoms; k atom-steps/s: median (lowest to highest)"]
    peer = None
    if arguments.peer:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            rates = measure_peer(arguments.peer, arguments.model, 3, Path(folder))
        peer = statistics.median(rates)
        lines.append(f"calorine (energy, forces, virials, new list): {peer / 1e3:.2f} "
                     f"({min(rates) / 1e3:.2f} to {max(rates) / 1e3:.2f})")
    for precision in ("mixed", "double"):
        for virials in (False, True):
            rates, rebuilds, rebuild = measure(arguments.model, precision, virials, arguments.steps, arguments.repeats)
            median = statistics.median(rates)
            what = "forces and virials" if virials else "forces"
            ratio = f", {median / peer:.1f} x calorine" if peer else ""
            lines.append(f"{precision}, {what}: {median / 1e3:.1f} ({min(rates) / 1e3:.1f} to {max(rates) / 1e3:.1f}), "
                         f"{rebuilds} rebuilds of {rebuild:.1f} us/atom (ghosts and lists){ratio}")
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if arguments.record:
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        with open(arguments.record, "a") as file:
            file.write(text)


if __name__ == "__main__":
    main()
