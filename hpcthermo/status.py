"""What ``hpcthermo status DIR`` says about a run, from files that are readable while it lasts."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hpcthermo.errors import InputError
from hpcthermo.progress import duration_text

#: a running job writes its status every few seconds; older than this it has probably died
_STALE_AFTER = 120.0


def status_text(folder: Path) -> str:
    """State of a run as lines of text; of each replica if it has several.

    Raises
    ------
    InputError
        If the folder is not that of a run.
    """
    replicas = sorted(folder.glob("replica_*/status.json"))
    if replicas and not (folder / "status.json").exists():
        return "\n\n".join(f"{path.parent.name}\n{_one_status_text(path)}" for path in replicas)
    return _one_status_text(folder / "status.json")


def _one_status_text(path: Path) -> str:
    try:
        status = json.loads(path.read_text())
        state, step, total = str(status["state"]), int(status["step"]), int(status["total_steps"])
        age = max(0.0, time.time() - float(status["updated"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: no readable status; name the results folder of a run") from None
    if state == "running" and age > _STALE_AFTER:
        state = "running, but silent: it has probably died; continue it with `hpcthermo run --resume`"
    stage = [f"stage     {status['stage']}"] if status.get("stage") else []  # a job that has finished may be in none
    lines = [f"state     {state}", *stage,
             f"{status.get('counts') or 'step':<10}{step:,} of {total:,} ({100.0 * step / max(total, 1):.1f} %)",
             f"updated   {duration_text(age)} ago"]
    if status.get("counts") and "steps_per_second" in status:
        lines.append(f"speed     {status['steps_per_second']:.3g} {status['counts']}/s")
    elif "ns_per_day" in status:
        simulated = f"{status['ns_per_day']:.3g} ns/day, " if status["ns_per_day"] else ""
        lines.append(f"speed     {simulated}{status['atom_steps_per_second']:.3g} atom-step/s")
    if status["state"] == "running" and "eta_seconds" in status:
        lines.append(f"ETA       {duration_text(status['eta_seconds'])}")
    return "\n".join(lines)
