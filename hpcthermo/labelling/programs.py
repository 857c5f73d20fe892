"""Running a program of another code in a folder, so that nothing of it outlives who started it."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hpcthermo.errors import PhysicsError, ResourceError
from hpcthermo.labelling import guardian

_SHOWN_CHARACTERS = 300
#: threads of a program and of its linear algebra (OpenBLAS takes all cores otherwise)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: what starts a program as ranks, which have one thread each
_LAUNCHERS = frozenset({"mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prun", "srun", "aprun", "jsrun"})


class ScratchFullError(ResourceError):
    """The disk of the scratch folder is full."""


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


def guarded_command(words: Sequence[str], time_limit: float) -> list[str]:
    """A command under a guardian, which ends it after so many seconds, or with this process."""
    return [sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()), str(time_limit), *words]


def thread_variables(words: Sequence[str], cores: int) -> dict[str, str]:
    """Environment of a command that may use so many cores; a command that starts ranks gives each one thread."""
    return dict.fromkeys(_THREADS, str(1 if Path(words[0]).name in _LAUNCHERS else cores))


def run_program(command: str, folder: Path, output: str, time_limit: float, arguments: tuple[str, ...] = (), *,
                cores: int = 1) -> float:
    """Run a command in a folder until it ends; its output goes into a file there.

    When this process dies, the command and all that it started die (`guardian.py`).

    Parameters
    ----------
    command : str
        As one would type it.
    output : str
        File for what it prints.
    time_limit : float
        Seconds after which it is ended.
    cores : int
        Its threads; one if the command starts ranks.

    Returns
    -------
    float
        Processor time of the command and of all that it started on this machine, s.

    Raises
    ------
    ResourceError
        If it cannot be started, or the disk is full (`ScratchFullError`).
    PhysicsError
        If it fails or takes too long; with its last line about an error.
    """
    words = shlex.split(command)
    environment = {**os.environ, **thread_variables(words, cores)}
    guarded = guarded_command([*words, *arguments], time_limit)
    started = time.monotonic()
    try:
        with (folder / output).open("wb") as out, (folder / "stderr.txt").open("wb") as err, subprocess.Popen(
                guarded, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment,
                start_new_session=True) as process:
            try:
                _, status, used = os.wait4(process.pid, 0)
            except BaseException:
                process.terminate()
                process.wait()
                raise
            process.returncode = code = os.waitstatus_to_exitcode(status)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(folder) from error
        raise ResourceError(f"{command}: {error.strerror or error}") from error
    if code == guardian.TIME_IS_OVER and time.monotonic() - started >= time_limit:
        raise PhysicsError(f"ended after {time_limit / 3600.0:.3g} h (engine.time_limit_h)")
    if code != 0:
        require_space(folder)
        raise PhysicsError(f"{words[0]} {_ending(code)}: {complaint(folder, output)}")
    return used.ru_utime + used.ru_stime


def _ending(code: int) -> str:
    """How a program ended."""
    names = {number.value: number.name for number in signal.Signals}
    number = code - 128 if code > 128 else -code  # of the command; of the guardian
    if number in names:
        return f"was ended by signal {names[number]}{' (out of memory?)' if number == signal.SIGKILL else ''}"
    return f"ended with code {code}"


def require_space(folder: Path, least_bytes: int = 1 << 20) -> None:
    """Refuse a folder whose disk is full.

    Raises
    ------
    ScratchFullError
        Saying so.
    """
    if shutil.disk_usage(folder).free < least_bytes:
        raise _full(folder)


def _full(folder: Path) -> ScratchFullError:
    usage = shutil.disk_usage(folder)
    return ScratchFullError(f"scratch folder: {os.strerror(errno.ENOSPC)} ({usage.free >> 10} of {usage.total >> 10} "
                            "KiB free); make room, or give engine.scratch_folder")


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
