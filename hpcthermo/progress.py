"""How far a run is: a bar on a terminal, else a line a minute, and status.json in the results folder."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from hpcthermo.log import get_logger

#: environment variable by which `launch` tells rank 0 that its output ends on a terminal of that width
TERMINAL_WIDTH = "HPCTHERMO_TERMINAL_WIDTH"
_LINE_INTERVAL = 60.0
_STATUS_INTERVAL = 2.0
_BAR_INTERVAL = 0.5
#: how far back the speed shown looks, s
_SPEED_WINDOW = 60.0


def write_status(folder: Path, status: dict[str, Any]) -> None:
    """Replace ``status.json`` at once, so that a reader never sees half of it."""
    temporary = folder / ".status.json.tmp"
    temporary.write_text(json.dumps({**status, "updated": time.time(), "process": os.getpid()}, indent=1))
    temporary.replace(folder / "status.json")


class Progress:
    """Progress of a whole job over its stages; does nothing on ranks other than 0.

    Parameters
    ----------
    rank : int
    folder : Path
        Results folder.
    n_atoms : int
    total_steps : int
        Steps of all stages.
    counts : str
        What a step is, where it is no time step: "tasks" of a campaign.
    done : int
        Steps that are done already.
    """

    def __init__(self, rank: int, folder: Path, n_atoms: int, total_steps: int, counts: str = "",
                 done: int = 0) -> None:
        self._active = rank == 0
        self._folder = folder
        self._n_atoms = n_atoms
        self._total_steps = max(1, total_steps)
        self._counts = counts
        self._stage = ""
        self._timestep_fs = 0.0
        self._step = done
        self._moments: list[tuple[float, int]] = []
        self._last_look = self._last_line = self._last_status = time.monotonic()
        self._bar: Any = None

    def begin_stage(self, name: str, step: int, timestep_fs: float) -> None:
        """Announce a stage that begins (or goes on) at a step of the whole job."""
        self._stage, self._timestep_fs, self._step = name, timestep_fs, step
        self._moments = [(time.monotonic(), step)]
        if self._active:
            get_logger().info("stage %s from step %d", name, step, extra={"stage": name, "step": step})
            self._write_status("running")
            self._open_bar()

    def update(self, step: int) -> None:
        """Note that `step` steps of the whole job are done; cheap enough for every step."""
        if not self._active:
            return
        now = time.monotonic()
        self._step = step
        if now - self._last_look < _BAR_INTERVAL:
            return
        self._last_look = now
        self._moments = [m for m in self._moments if now - m[0] < _SPEED_WINDOW] or self._moments[-1:]
        self._moments.append((now, step))
        if self._bar is not None:
            self._bar.update(0, completed=step, description=self._stage, speed=self._speed_text())
        elif now - self._last_line > _LINE_INTERVAL:
            self._last_line = now
            get_logger().info("%s: step %d of %d, %s", self._stage, step, self._total_steps, self._speed_text(),
                              extra={"stage": self._stage, "step": step, **self.speed()})
        if now - self._last_status > _STATUS_INTERVAL:
            self._last_status = now
            self._write_status("running")

    def speed(self) -> dict[str, float]:
        """Recent speed: steps and atom-steps per second, ns per day, seconds to the end (empty before the first)."""
        if len(self._moments) < 2 or self._moments[-1][1] <= self._moments[0][1]:
            return {}
        (t0, s0), (t1, s1) = self._moments[0], self._moments[-1]
        rate = (s1 - s0) / max(t1 - t0, 1e-9)
        return {
            "steps_per_second": rate,
            "atom_steps_per_second": rate * self._n_atoms,
            "ns_per_day": rate * self._timestep_fs * 1e-6 * 86400.0,
            "eta_seconds": max(0, self._total_steps - self._step) / rate,
        }

    def finish(self, state: str) -> None:
        """End with a state: "finished", "checkpointed" or "failed"."""
        if self._active:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
            self._write_status(state)

    def _speed_text(self) -> str:
        speed = self.speed()
        if not speed:
            return "..."
        if self._counts:
            return f"{speed['steps_per_second']:.3g} {self._counts}/s, ETA {duration_text(speed['eta_seconds'])}"
        simulated = f"{speed['ns_per_day']:.3g} ns/day, " if self._timestep_fs else ""
        return (f"{simulated}{speed['atom_steps_per_second']:.3g} atom-step/s, "
                f"ETA {duration_text(speed['eta_seconds'])}")

    def _write_status(self, state: str) -> None:
        status = {"state": state, "stage": self._stage, "step": self._step, "total_steps": self._total_steps,
                  "atoms": self._n_atoms, "counts": self._counts, **self.speed()}
        try:
            write_status(self._folder, status)
        except OSError as error:  # a full disk must not end a run over a status line
            get_logger().warning("status.json cannot be written (%s)", error.strerror)

    def _open_bar(self) -> None:
        width = os.environ.get(TERMINAL_WIDTH, "")
        if self._bar is not None or not (sys.stderr.isatty() or width.isdigit()):
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        console = Console(stderr=True, force_terminal=True, width=int(width) if width.isdigit() else None)
        self._bar = RichProgress(TextColumn("{task.description}"), BarColumn(),
                                 TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                                 TextColumn("{task.fields[speed]}"), console=console, transient=True)
        self._bar.add_task(self._stage, total=self._total_steps, completed=self._step, speed="...")
        self._bar.start()


def duration_text(seconds: float) -> str:
    """Seconds as text for people: ``42 s``, ``3 min 10 s``, ``5 h 12 min``, ``2 d 3 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
