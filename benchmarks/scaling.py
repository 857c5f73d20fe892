"""One rank and two ranks, in interleaved rounds.

    python benchmarks/scaling.py strong gr_hbn.nep.txt --record     10,000 and 100,000 atoms on one and on two ranks
    python benchmarks/scaling.py weak gr_hbn.nep.txt --record       50,000 atoms a rank
    python benchmarks/scaling.py vacuum gr_hbn.nep.txt --record     half of the cell empty against none, two ranks
    python benchmarks/scaling.py host gr_hbn.nep.txt --record       share of the time spent outside kernels, one rank

Measured is `hpcthermo bench`: dynamics at constant energy and 300 K with 0.5 fs, list rebuilds included, by wall time.
Needs as many idle cores as ranks. `vacuum` cuts a column of 64 layers along z into two bricks; the vacuum above it
is as high as the column, so cuts in equal volumes would leave one rank without atoms.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.io
from options import count
from own import BenchError, TunedBench
from record import write_record
from rounds import interleaved, ratios, spread
from systems import standard_system

TIMESTEP_FS, TEMPERATURE_K = 0.5, 300.0
LAYERS, COLUMN = "gr_hbn_multilayer", "gr_hbn_column"


@dataclass(frozen=True)
class Run:
    """A system of a size on a number of ranks."""

    system: str
    atoms: int
    ranks: int
    steps: int
    vacuum: float = 0.0


@dataclass(frozen=True)
class Question:
    """Two runs compared by the ratio of their atom-step/s, and what is asked for."""

    upper: str
    lower: str
    at_least: float


@dataclass(frozen=True)
class Study:
    """Runs by label and the questions asked of them."""

    runs: dict[str, Run]
    questions: tuple[Question, ...]


STUDIES = {
    "strong": Study(
        {"10,000 atoms, 1 rank": Run(LAYERS, 10_000, 1, 120), "10,000 atoms, 2 ranks": Run(LAYERS, 10_000, 2, 120),
         "100,000 atoms, 1 rank": Run(LAYERS, 100_000, 1, 40), "100,000 atoms, 2 ranks": Run(LAYERS, 100_000, 2, 40)},
        (Question("10,000 atoms, 2 ranks", "10,000 atoms, 1 rank", 1.7),
         Question("100,000 atoms, 2 ranks", "100,000 atoms, 1 rank", 1.9))),
    "weak": Study(
        {"50,000 atoms, 1 rank": Run(LAYERS, 50_000, 1, 80), "100,000 atoms, 2 ranks": Run(LAYERS, 100_000, 2, 80)},
        (Question("100,000 atoms, 2 ranks", "50,000 atoms, 1 rank", 1.9),)),
    "vacuum": Study(
        {"full": Run(COLUMN, 50_000, 2, 80), "half empty": Run(COLUMN, 50_000, 2, 80, vacuum=214.4)},
        (Question("half empty", "full", 0.9),)),
    "host": Study({"10,000 atoms": Run(LAYERS, 10_000, 1, 120), "100,000 atoms": Run(LAYERS, 100_000, 1, 40)}, ()),
}
#: largest share of the time outside kernels that is asked for, by label of the host study
HOST_SHARES = {"10,000 atoms": 0.10, "100,000 atoms": 0.02}


def measure(study: Study, options: argparse.Namespace, folder: Path) -> dict[str, list[dict]]:
    """Answers of bench by label, one per round."""
    calls: dict[str, Callable[[], dict]] = {}
    for label, run in study.runs.items():
        structure = folder / f"{run.system}_{run.atoms}_{run.vacuum:g}.xyz"
        if not structure.exists():
            atoms = standard_system(run.system, run.atoms, run.vacuum, displaced=False)
            ase.io.write(structure, atoms, format="extxyz")
        calls[label] = TunedBench(
            str(options.potential), structure, ranks=run.ranks, precision=options.precision, skin=options.skin,
            steps=options.steps or run.steps, temperature=TEMPERATURE_K, timestep=TIMESTEP_FS)
    return interleaved(calls, options.rounds, functools.partial(print, file=sys.stderr, flush=True))


def table(study: Study, results: dict[str, list[dict]]) -> list[str]:
    """Speeds, shares of stages, ghosts and rebuilds; then the questions."""
    lines = [f"{'':26s}{'1000 atom-step/s of wall time':>32s}{'ghosts':>9s}  rebuilds    host and halo share"]
    for label, answers in results.items():
        speeds = spread([answer["atom_steps_per_second"] for answer in answers])
        host, halo = (spread([answer["stages"][stage] / answer["seconds_per_step"] for answer in answers])
                      for stage in ("host", "halo"))
        lines.append(f"{label:26s}{speeds.text(scale=1e-3):>32s}{answers[0]['ghosts']!s:>9s}  "
                     f"{[answer['rebuilds'] for answer in answers]!s:12s}{100 * host.median:.2f} %, "
                     f"{100 * halo.median:.2f} %{host_verdict(label, host.median)}")
    for question in study.questions:
        ratio = spread(ratios(*([answer["atom_steps_per_second"] for answer in results[label]]
                                for label in (question.upper, question.lower))))
        state = "reached" if ratio.median >= question.at_least else "MISSED"
        lines.append(f"{question.upper} / {question.lower}: {ratio.text()}, asked for {question.at_least:g}: {state}")
    return lines


def host_verdict(label: str, share: float) -> str:
    """What a host share means beside its goal, in the host study."""
    if label not in HOST_SHARES:
        return ""
    goal = HOST_SHARES[label]
    return f"; asked for less than {100 * goal:g} %: {'reached' if share < goal else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("potential", type=Path)
    parser.add_argument("--precision", choices=("mixed", "double"), default="mixed")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--steps", type=count, help="steps of every run (default: those of the study)")
    parser.add_argument("--skin", type=float, help="A (default: tuned in the first round)")
    parser.add_argument("--record", action="store_true", help="append to results/scaling.txt")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: expected at least 1")
    study = STUDIES[options.study]
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = measure(study, options, Path(folder))
    except BenchError as error:
        print(f"scaling: {error}", file=sys.stderr)
        sys.exit(2)
    write_record("scaling" if options.record else None,
                 f"scaling.py {options.study}: {options.potential.name}, {options.precision}, {options.rounds} rounds",
                 table(study, results))


if __name__ == "__main__":
    main()
