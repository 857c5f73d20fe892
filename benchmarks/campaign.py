"""Displaced supercells: time per cell by ways to compute them, and whole campaigns on one and two workers.

    python benchmarks/campaign.py si.nep.txt --record
    python benchmarks/campaign.py gr_hbn.nep.txt --structure bilayer.xyz --cells 500 --record

Cells are displaced as for third-order force constants: atom 0 and one other by 0.03 A. "moved" is what campaigns do:
one engine whose atoms are moved within the skin of its neighbour lists; "new engine" makes one for each cell, as a code
that takes cells one by one does. A campaign is measured whole: hashes, processes, store, and the forces read back. On a
machine that does other work too, look at the processor time of this process and of its workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from record import write_record

from hpcthermo.calculator import Calculator
from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import Processes, ThisThread
from hpcthermo.phonons.forces import SupercellForces, displacement_task


def function_of(atoms: Atoms, potential: str) -> SupercellForces:
    """The campaign's function."""
    layers = atoms.arrays.get("layer")
    return SupercellForces(atoms.cell.array, atoms.positions, tuple(atoms.get_chemical_symbols()), potential,
                           tuple(bool(p) for p in atoms.pbc), layers)


def displacements(n_atoms: int, count: int) -> list:
    """Different pairs of displacements of atom 0 and another."""
    generator = np.random.default_rng(1)
    return [displacement_task([0, int(other)], 0.03 * generator.normal(size=(2, 3)))
            for other in generator.integers(1, n_atoms, count)]


def per_cell(atoms: Atoms, potential: str, count: int) -> list[str]:
    """Processor milliseconds per cell."""
    function, tasks = function_of(atoms, potential), displacements(len(atoms), count)
    state = function.prepare()
    function.evaluate(state, tasks[:3])
    kept = atoms.copy()
    kept.calc = Calculator(potential)

    def moved():
        function.evaluate(state, tasks)

    def calculator():
        for task in tasks:
            kept.positions = atoms.positions
            kept.positions[task.arrays["atoms"]] += task.arrays["vectors"]
            kept.get_forces()

    def new_engine():
        for task in tasks:
            one = atoms.copy()
            one.positions[task.arrays["atoms"]] += task.arrays["vectors"]
            one.calc = Calculator(potential)
            one.get_forces()

    lines = []
    for name, way in (("moved", moved), ("kept calculator", calculator), ("new engine", new_engine)):
        times = []
        for _ in range(3):
            start = time.process_time()
            way()
            times.append(1e3 * (time.process_time() - start) / count)
        lines.append(f"{name:<20}{statistics.median(times):8.3f} ms a cell ({min(times):.3f} to {max(times):.3f})")
    return lines


def whole(atoms: Atoms, potential: str, count: int, rounds: int) -> list[str]:
    """Wall seconds of whole campaigns, interleaved; all with the same bits."""
    function, tasks = function_of(atoms, potential), displacements(len(atoms), count)
    makers = {"one loop": ThisThread, "1 process": lambda: Processes(1), "2 processes": lambda: Processes(2)}
    times: dict[str, list[float]] = {name: [] for name in makers}
    processor: dict[str, tuple[float, float]] = {}
    expected = None
    for turn in range(rounds):
        for name in list(makers)[::1 if turn % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                start, used = time.perf_counter(), os.times()
                workers = makers[name]()
                forces = run_campaign(function, tasks, Path(folder), workers).stack("forces")
                workers.close()
                times[name].append(time.perf_counter() - start)
                now = os.times()
                own = now.user + now.system - used.user - used.system
                children = now.children_user + now.children_system - used.children_user - used.children_system
                processor[name] = min(processor.get(name, (np.inf, 0.0)), (own, children), key=sum)
            expected = forces if expected is None else expected
            if not np.array_equal(forces, expected):
                raise SystemExit("forces differ between workers")
    lines = [f"{name:<20}{statistics.median(found):8.2f} s ({min(found):.2f} to {max(found):.2f}), least processor "
             f"time {processor[name][0]:.2f} s here ({1e6 * processor[name][0] / count:.0f} us a cell) and "
             f"{processor[name][1]:.2f} s in workers ({1e6 * processor[name][1] / count:.0f} us a cell)"
             for name, found in times.items()]
    for base in ("one loop", "1 process"):
        ratios = [one / two for one, two in zip(times[base], times["2 processes"], strict=True)]
        lines.append(f"2 processes against {base}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
                     f"{max(ratios):.2f})")
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("potential")
    parser.add_argument("--structure", type=Path, help="a supercell; without it, 64 atoms of silicon")
    parser.add_argument("--cells", type=int, default=20000, help="of the campaigns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    atoms = read(options.structure) if options.structure else bulk("Si", "diamond", 5.43, cubic=True).repeat(2)
    lines = per_cell(atoms, options.potential, 100)
    lines += whole(atoms, options.potential, options.cells, options.rounds)
    write_record("campaign" if options.record else None,
                 f"campaign.py: {Path(options.potential).name}, {len(atoms)} atoms, {options.cells} cells", lines)


if __name__ == "__main__":
    main()
