"""Two ranks on two cores against one, NVE at 300 K, list rebuilds included, runs interleaved.

    python benchmarks/two_ranks.py gr_hbn.nep.txt --folder /some/scratch/folder
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

JOB = """
kind = "md"
[structure]
builder = "layered_stack"
spacing_A = 3.35
lattice = "mean"
[[structure.layers]]
material = "h-BN"
count = 4
repeat = [{repeat}, {repeat}]
[[structure.layers]]
material = "graphene"
count = 4
repeat = [{repeat}, {repeat}]
[potential]
path = "gr_hbn.nep.txt"
[execution]
precision = "mixed"
skin_A = 1.0
[[stage]]
ensemble = "nve"
temperature_K = 300
timestep_fs = 0.5
steps = 1
"""


def speed(job: Path, ranks: int, steps: int) -> tuple[float, float]:
    """atom-step/s and percent of the time outside the force kernels and list rebuilds."""
    command = [sys.executable, "-m", "hpcthermo", "bench", str(job), "--steps", str(steps), "-n", str(ranks)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"speed\s+(\S+) atom-step/s", text)
    shares = dict(re.findall(r"^\s+(\w+)\s+([-\d.]+) %", text, re.MULTILINE))
    if found is None:
        sys.exit(f"two_ranks: no speed in the output of bench:\n{text}")
    return float(found.group(1)), 100.0 - float(shares["force"]) - float(shares["rebuild"])


def main() -> None:
    """Run one and two ranks in turn and print medians, spread and ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potential", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=40, help="cells along each side; 40 makes 51,200 atoms")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.potential, options.folder / "gr_hbn.nep.txt")
    job = options.folder / "bench.toml"
    job.write_text(JOB.format(repeat=options.repeat))
    results: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for ranks, values in results.items():
            values.append(speed(job, ranks, options.steps))
    for ranks, values in results.items():
        speeds = sorted(s for s, _ in values)
        outside = statistics.median(o for _, o in values)
        print(f"{ranks} rank(s): median {statistics.median(speeds):.4g} atom-step/s "
              f"({speeds[0]:.4g} to {speeds[-1]:.4g}), "
              f"{outside:.1f} % of the time outside force kernels and list rebuilds")
    ratios = sorted(two[0] / one[0] for one, two in zip(results[1], results[2], strict=True))
    print(f"ratio pair by pair: median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
