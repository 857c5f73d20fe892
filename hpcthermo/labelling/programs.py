"""Running a program of another code in a folder, so that it never outlives who started it."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

from hpcthermo.errors import PhysicsError, ResourceError
from hpcthermo.launch import die_with_parent

_SHOWN_CHARACTERS = 300


def require_program(command: str) -> None:
    """Refuse a command whose program is not there.

    Raises
    ------
    ResourceError
        Naming it.
    """
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise ResourceError(f"engine.command: {command!r} cannot be started: {words[0] if words else 'nothing'!r} is "
                            "not on the PATH; install the code, or give its path")


def run_program(command: str, folder: Path, output: str, time_limit: float, arguments: tuple[str, ...] = ()) -> None:
    """Run a command in a folder until it ends; its output goes into a file there.

    Parameters
    ----------
    command : str
        As one would type it.
    output : str
        File for what it prints.
    time_limit : float
        Seconds after which it is ended.

    Raises
    ------
    ResourceError
        If it cannot be started, or the disk is full.
    PhysicsError
        If it fails or takes too long; with its last line about an error.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    try:
        with (folder / output).open("wb") as out, (folder / "stderr.txt").open("wb") as err, subprocess.Popen(
                [*shlex.split(command), *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=environment, start_new_session=True, preexec_fn=die_with_parent) as process:  # noqa: PLW1509
            try:
                code = process.wait(time_limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise PhysicsError(f"ended after {time_limit / 3600.0:.3g} h (engine.time_limit_h)") from None
                raise
    except OSError as error:
        raise ResourceError(f"{command}: {error.strerror or error}") from error
    if code != 0:
        require_space(folder)
        raise PhysicsError(f"{shlex.split(command)[0]} ended with code {code}: {complaint(folder, output)}")


def require_space(folder: Path, least_bytes: int = 1 << 20) -> None:
    """Refuse a folder whose disk is full.

    Raises
    ------
    ResourceError
        Saying so.
    """
    free = shutil.disk_usage(folder).free
    if free < least_bytes:
        raise ResourceError(f"scratch folder: {os.strerror(errno.ENOSPC)} ({free} bytes free); make room, or give "
                            "engine.scratch_folder")


def complaint(folder: Path, *outputs: str) -> str:
    """Last lines in which a program speaks of an error, or its very last line."""
    for name in (*outputs, "stderr.txt"):
        lines = [line.strip(" %\t") for line in _tail(folder / name).splitlines()]
        lines = [line for line in lines if line]
        speaking = [k for k, line in enumerate(lines) if "error" in line.lower()]
        if speaking:
            return " ".join(lines[speaking[-1]:speaking[-1] + 2])[:_SHOWN_CHARACTERS]
        if lines:
            return lines[-1][:_SHOWN_CHARACTERS]
    return "it printed nothing"


def _tail(path: Path, length: int = 20_000) -> str:
    try:
        return path.read_bytes()[-length:].decode("utf-8", "replace")
    except OSError:
        return ""

