"""Labels per hour with one worker and with two, Quantum ESPRESSO on the same structures.

    python benchmarks/labelling.py --record

Strained and rattled cells of h-BN, two atoms, in a setting that takes seconds (25 Ry). Time on the clock is that of the
whole campaign: workers start, records are written. Processor time of the calculations says what two at once cost each
other in memory and caches. Runs with one and with two workers take turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from record import write_record

from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import Processes
from hpcthermo.config.labelling import EspressoEngine
from hpcthermo.labelling.task import LabelStructures

ENGINE = {
    "name": "espresso", "pseudopotential_folder": "/usr/share/espresso/pseudo",
    "pseudopotentials": {"B": "B.pbe-n-kjpaw_psl.0.1.UPF", "N": "N.pbe-n-kjpaw_psl.0.1.UPF"},
    "cutoff_Ry": 25.0, "density_cutoff_Ry": 200.0, "k_points": {"k_spacing_per_A": 1.0}, "smearing": "fixed",
    "dispersion": "d3bj", "scf_tolerance_eV": 1e-6,
}
MESH = (3, 3, 1)
ASKED = 1.8


def structures(count: int) -> list[Atoms]:
    """Cells that differ by a few per cent."""
    random = np.random.default_rng(1)
    a = 2.51
    cell = np.array([[a, 0.0, 0.0], [-a / 2, a * np.sqrt(3.0) / 2, 0.0], [0.0, 0.0, 6.0]])
    found = []
    for _ in range(count):
        strained = cell @ (np.eye(3) + random.normal(0.0, 0.02, (3, 3)))
        positions = np.array([[0.0, 0.0, 0.5], [1 / 3, 2 / 3, 0.5]]) @ strained + random.normal(0.0, 0.05, (2, 3))
        found.append(Atoms("BN", positions=positions, cell=strained, pbc=True))
    return found


def campaign(atoms: list[Atoms], workers: int) -> tuple[float, float, list[float]]:
    """Time on the clock and processor time of the calculations, s, and energies, eV."""
    with tempfile.TemporaryDirectory() as folder:
        function = LabelStructures(EspressoEngine(**ENGINE, scratch_folder=str(Path(folder) / "scratch")))
        tasks = [function.task(own, MESH) for own in atoms]
        start = time.perf_counter()
        pool = Processes(workers)
        try:
            records = run_campaign(function, tasks, Path(folder) / "campaign", pool)
        finally:
            pool.close()
        elapsed = time.perf_counter() - start
        records.require_all()
        return (elapsed, float(sum(record.arrays["processor_seconds"] for record in records)),
                [float(record.arrays["energy"]) for record in records])


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    atoms = structures(options.structures)
    lines, ratios = [f"structures {len(atoms)} of 2 atoms, pw.x at 25 Ry, mesh {MESH}"], []
    for number in range(options.rounds):
        one, two = (campaign(atoms, workers) for workers in ((1, 2) if number % 2 == 0 else (2, 1)))
        if number % 2:
            one, two = two, one
        same = max(abs(a - b) for a, b in zip(one[2], two[2], strict=True))
        ratios.append(one[0] / two[0])
        lines.append(f"1 worker {one[0]:6.1f} s (processor {one[1]:6.1f} s)   2 workers {two[0]:6.1f} s (processor "
                     f"{two[1]:6.1f} s)   ratio {ratios[-1]:.2f}   energies differ by {same:.1e} eV")
    median = float(np.median(ratios))
    lines.append(f"{'ok  ' if median >= ASKED else 'MISS'} two workers are {median:.2f} times one, asked {ASKED}")
    write_record("labelling" if options.record else None, "Labels with one and two workers", lines)


if __name__ == "__main__":
    main()
