"""Text records of measurements: date, commit, machine and figures, appended to a file of benchmarks/results/."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def header() -> list[str]:
    """Date, commit, machine, instruction set, load."""
    from hpcthermo.bench.provenance import processor_name, source_commit
    from hpcthermo.gpu.backend import supported_instruction_set

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"date      {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        f"commit    {source_commit(*Path(__file__).parent.glob('*.py')) or 'unknown'}",
        f"machine   {processor_name()}, {os.cpu_count()} cores, instruction set {supported_instruction_set()}, "
        f"Python {platform.python_version()}",
        f"load      {load} (1, 5, 15 min before the end of the measurement, itself included)",
    ]


def write_record(name: str | None, title: str, lines: Iterable[str]) -> None:
    """Print a record and, with a name, append it to results/NAME.txt."""
    text = "\n".join([f"# {title}", *header(), "", *lines]) + "\n"
    sys.stdout.write(text)
    if name:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.txt"
        with path.open("a") as file:
            file.write(("\n" if path.stat().st_size else "") + text)
