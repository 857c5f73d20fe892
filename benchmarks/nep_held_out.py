"""Errors of a train job's model on frames that nothing of its training has seen, by group.

    python benchmarks/nep_held_out.py jobs/gr_hbn_nep/train.toml --draws 5 --out runs/held_out --record

The job is trained anew for each draw, without a share of each group that is drawn at random and tests. Squares of
errors are averaged over the draws together. Energies are those of the model without those of the elements.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import write_record

from hpcthermo.config import TrainJob, load_job
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.results import read_results
from hpcthermo.training.run import run_train

#: name and unit
QUANTITIES = (("energy", "meV/atom"), ("force", "meV/A"), ("virial", "meV/atom"))


def squares(folder: Path) -> dict[str, list[np.ndarray]]:
    """Squares of the errors on the frames for testing, by group, in the order of `QUANTITIES`."""
    results = read_results(folder / "results.h5")
    part = {name: quantity.values for name, quantity in results.group("parity_test").items()}
    found = {}
    for number, group in enumerate(results.attributes["parity_test"]["groups"]):
        frames = part["group"] == number
        rows = {"energy": frames, "force": np.repeat(frames, part["atoms"]), "virial": frames}
        found[str(group)] = [(np.diff(part[name][rows[name]])**2).ravel() for name, _ in QUANTITIES]
    return found


def line(name: str, errors: list[np.ndarray]) -> str:
    """Root mean squares of a group."""
    values = "  ".join(f"{1e3 * np.sqrt(square.mean()):8.2f} {unit}"
                       for square, (_, unit) in zip(errors, QUANTITIES, strict=True))
    return f"{name:<46}{len(errors[0]):4d} frames {values}"


def main() -> None:
    """Train, collect, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    job = load_job(options.job)
    assert isinstance(job, TrainJob)
    groups: dict[str, list[list[np.ndarray]]] = {}
    for draw in range(options.draws):
        folder = options.out / f"draw_{draw}"
        folder.mkdir(parents=True, exist_ok=True)
        dataset = job.dataset.model_copy(update={"test_files": (), "test_share": options.share})
        run_train(job.model_copy(update={"dataset": dataset, "check": (), "seed": draw}), SingleProcess(), folder, True,
                  None)
        for group, errors in squares(folder).items():
            groups.setdefault(group, []).append(errors)
    pooled = {group: [np.concatenate(parts) for parts in zip(*draws, strict=True)] for group, draws in groups.items()}
    whole = [np.concatenate(parts) for parts in zip(*pooled.values(), strict=True)]
    write_record("nep_held_out" if options.record else None, f"Errors on unseen frames: {options.job.name}",
                 [f"draws     {options.draws}, each of {options.share:.0%} of a group", line("all", whole),
                  *(line(group, pooled[group]) for group in sorted(pooled))])


if __name__ == "__main__":
    main()
