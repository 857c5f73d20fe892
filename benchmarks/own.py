"""``hpcthermo bench --json`` in a process of its own, as a dictionary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class BenchError(Exception):
    """`hpcthermo bench` refused or failed; the message is one line."""


def bench(potential: str, structure: Path, *, ranks: int = 1, instruction_set: str | None = None,
          **options: Any) -> dict[str, Any]:
    """Measure one case.

    Parameters
    ----------
    potential : str
        Path, embedded name, or several of these with commas (an overlay).
    structure : Path
    ranks : int
    instruction_set : str, optional
        Force ``avx2`` or another one.
    **options
        Further options of the command by name: ``precision``, ``steps``, ``skin``, ``virials_every``, ...; None leaves
        one out.
    """
    command = [sys.executable, "-m", "hpcthermo", "bench", "--potential", potential, "--structure", str(structure),
               "--json", *(("-n", str(ranks)) if ranks > 1 else ()), *_flags(options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if instruction_set:
        environment["HPCTHERMO_INSTRUCTION_SET"] = instruction_set
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        raise BenchError(last)
    return json.loads(done.stdout)


def _flags(options: dict[str, Any]) -> Sequence[str]:
    return [word for name, value in options.items() if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))]
