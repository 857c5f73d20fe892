"""Force calls and time of a relaxation by L-BFGS and by FIRE, on several ranks.

    python benchmarks/relaxation.py gr_hbn.nep.txt bilayer.xyz --record

The structure is relaxed in double precision in its fixed cell to 1e-3 eV/A, from where the file has it (stored), from
there with every coordinate moved at random by 0.05 A (shaken), and with --flat from flat layers (flat: every atom at
the mean height of its layer). Force calls do not depend on the load of the machine, hardly on the ranks; seconds do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from options import count, positive
from record import write_record

from hpcthermo.domain.comm import world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.relax import MINIMIZERS, make_minimizer
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.load import load_potential
from hpcthermo.structure.build import structure_from_file

SHAKE_A, SKIN_A, SEED = 0.05, 0.6, 1


def start_structure(path: Path, start: str) -> Snapshot:
    """The structure as stored, shaken or flat."""
    snapshot = structure_from_file(path)
    positions = snapshot.positions
    if start == "shaken":
        positions += np.random.default_rng(SEED).normal(0.0, SHAKE_A, positions.shape)
    if start == "flat":
        for layer in np.unique(snapshot.layers):
            chosen = snapshot.layers == layer
            positions[chosen, 2] = positions[chosen, 2].mean()
    return snapshot


def measure(options: argparse.Namespace) -> None:
    """One relaxation on the ranks of this world; rank 0 prints a line."""
    comm = world_communicator()
    snapshot = start_structure(options.structure, options.start) if comm.rank == 0 else None
    engine = make_engine(snapshot, load_potential(str(options.potential)), comm, make_backend("cpu", "double"), SKIN_A)
    engine.compute()
    energy, begin = engine.potential_energy(), time.perf_counter()
    used = time.process_time()
    minimizer = make_minimizer(engine, options.algorithm, options.tolerance)
    calls = 0
    while calls < options.most and not minimizer.finished:
        minimizer.step(engine, calls)
        calls += 1
    wall, used = time.perf_counter() - begin, comm.allreduce_sum(time.process_time() - used) / comm.size
    final = engine.potential_energy()
    if comm.rank == 0:
        state = "yes" if minimizer.converged else "NO"
        print(f"{options.start:8s} {options.algorithm:6s} {calls:6d} {state:>4s} {minimizer.largest_force:9.1e} "
              f"{1e3 * (energy - final) / engine.n_atoms:12.6f} {final:18.5f} {wall:8.1f} {used:8.1f} "
              f"{1e3 * used / calls:8.1f} {engine.rebuilds:4d}")


def main() -> None:
    """Each algorithm from each start, in a world of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potential", type=Path)
    parser.add_argument("structure", type=Path)
    parser.add_argument("--ranks", type=count, default=2)
    parser.add_argument("--tolerance", type=positive, default=1e-3, help="eV/A")
    parser.add_argument("--most", type=count, default=2000, help="force calls")
    parser.add_argument("--flat", action="store_true", help="also from flat layers (minutes)")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--start", help=argparse.SUPPRESS)
    parser.add_argument("--algorithm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        measure(options)
        return
    rows = []
    starts = ["stored", "shaken", *(["flat"] if options.flat else [])]
    for start in starts:
        for algorithm in MINIMIZERS:
            launcher = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(options.ranks)]
            command = [*launcher, sys.executable, __file__, str(options.potential), str(options.structure),
                       "--tolerance", str(options.tolerance), "--most", str(options.most), "--start", start,
                       "--algorithm", algorithm]
            rows.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip())
            print(rows[-1], flush=True)
    columns = ("start    method  calls conv  max force  fall meV/atom          energy eV   wall s   cpu s  "
               "cpu ms/call lists")
    title = (f"relaxation.py: {options.structure.name}, {options.potential.name}, double, {options.ranks} ranks, to "
             f"{options.tolerance:g} eV/A")
    write_record("relaxation" if options.record else None, title, [columns, *rows])


if __name__ == "__main__":
    main()
