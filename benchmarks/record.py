"""Text records of measurements: date, commit, machine and figures, appended to a file of benchmarks/results/."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def processor_name() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    family = f" (family {fields['cpu family']} model {fields['model']})" if "cpu family" in fields else ""
    return fields.get("model name", platform.machine()) + family


def commit() -> str:
    """Short hash of this checkout, with a mark if tracked files differ from it."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True,
                              check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "hpcthermo", "benchmarks/*.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def header() -> list[str]:
    """Date, commit, machine, instruction set, load."""
    from hpcthermo.gpu.backend import supported_instruction_set

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"date      {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        f"commit    {commit()}",
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
