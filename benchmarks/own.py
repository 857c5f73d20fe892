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


class TunedBench:
    """One case measured again and again: the skin that the first call finds is kept for the others.

    Parameters are those of `bench`; a ``skin`` that is given is used from the start.

    Parameters
    ----------
    like : TunedBench, optional
        Use the skin of this one if it has one by then, so that two runs which are compared differ in nothing else.

    Attributes
    ----------
    skin : float or None
        A; None before the first call.
    """

    def __init__(self, potential: str, structure: Path, *, skin: float | None = None, like: TunedBench | None = None,
                 **options: Any) -> None:
        self._potential, self._structure, self._options = potential, structure, options
        self._like = like
        self.skin = skin

    def __call__(self) -> dict[str, Any]:
        """Measure once."""
        if self.skin is None and self._like is not None:
            self.skin = self._like.skin
        answer = bench(self._potential, self._structure, skin=self.skin, **self._options)
        self.skin = answer["skin_A"]
        return answer


def _flags(options: dict[str, Any]) -> Sequence[str]:
    return [word for name, value in options.items() if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))]
