"""SNES on a data set beside GPUMD's own curve (loss.out) at equal generations.

    python benchmarks/snes_curve.py ../shared/data/training/pbte --seeds 3 --generations 300 --record

The folder holds nep.in, train.xyz and loss.out of GPUMD's nep. Noise differs: the curves can agree only within the
spread of seeds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from record import write_record

from hpcthermo.training.beginning import beginning_of
from hpcthermo.training.crew import Crew
from hpcthermo.training.load import load_train_job
from hpcthermo.training.parts import read_parts
from hpcthermo.training.snes import Snes, SnesSettings, SnesState

#: columns of loss.out that are compared: name, unit, factor
COLUMNS = (("total", "1", 1.0), ("L1", "1", 1.0), ("L2", "1", 1.0), ("energy", "meV/atom", 1e3),
           ("force", "meV/A", 1e3))


def main() -> None:
    """Train by SNES with some seeds and print both curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--generations", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="append to benchmarks/results/snes_curve.txt")
    options = parser.parse_args()
    peer = {int(row[0]): row[1:6] for row in np.loadtxt(options.folder / "loss.out")}
    marks = [mark for mark in peer if mark <= options.generations]
    job = load_train_job(options.folder / "nep.in", optimiser="snes")
    frames, form = read_parts(job).training, beginning_of(job)[0]
    curves, seconds = [], []
    for seed in range(options.seeds):
        snes = Snes(frames, form, SnesSettings(seed=seed), crew=Crew(threads=options.threads))
        state, start = SnesState.start(form.n_parameters, seed), time.process_time()
        rows = {}
        while state.generation < marks[-1]:
            found = snes.step(state)
            rows[found.number] = [found.total, found.l1, found.l2, found.energy, found.force]
        curves.append([rows[mark] for mark in marks])
        seconds.append((time.process_time() - start) / marks[-1])
    facts = (f"{options.folder.name}: {len(frames)} structures, {sum(frame.n_atoms for frame in frames)} atoms, "
             f"{form.n_parameters} numbers, population 50, {options.seeds} seeds, {options.threads} thread"
             f"{'s' if options.threads > 1 else ''}; {np.median(seconds):.2f} s of processor time per generation")
    write_record("snes_curve" if options.record else None, "SNES beside the curve of GPUMD's nep",
                 [facts, "", *table(marks, np.array(curves), peer)])


def table(marks: list[int], curves: np.ndarray, peer: dict[int, np.ndarray]) -> list[str]:
    """Lines: mean, smallest and largest of our seeds, and the peer's."""
    lines = [f"{'generation':<11}{'':<10}{'ours: mean':>12}{'least':>10}{'most':>10}{'GPUMD':>10}  unit"]
    for k, mark in enumerate(marks):
        for c, (name, unit, factor) in enumerate(COLUMNS):
            ours = factor * curves[:, k, c]
            lines.append(f"{mark if c == 0 else '':<11}{name:<10}{ours.mean():>12.4g}{ours.min():>10.4g}"
                         f"{ours.max():>10.4g}{factor * peer[mark][c]:>10.4g}  {unit}")
    return lines


if __name__ == "__main__":
    main()
