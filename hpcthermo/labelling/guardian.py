"""Runs a command, and ends all that it started when its time is over or its own parent dies.

    python -I -S guardian.py PARENT SECONDS COMMAND...

The kernel tells a process of the death of its parent, not of that of a parent's parent. So a program that is started
by a script or by mpirun would outlive the worker that wanted it: a calculation of hours whose result nobody reads. This
process stands between: it hears of the worker's death, adopts what the programs under it leave behind, and ends all of
it. It imports nothing of the package, so it starts at once.

Exit code: that of the command, 128 + N if signal N ended it, 124 if its time was over, 127 if it cannot be started.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

#: exit codes
TIME_IS_OVER, CANNOT_START = 124, 127
#: of prctl(2)
_PARENT_DEATH_SIGNAL, _CHILD_SUBREAPER = 1, 36


def main(parent: int, seconds: float, command: list[str]) -> int:
    """Run the command.

    Parameters
    ----------
    parent : int
        Process id of who wants it.
    seconds : float
        Time that it may take.
    """
    def leave(*_: object) -> NoReturn:
        end_descendants()
        os._exit(128 + signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    ask_kernel(_CHILD_SUBREAPER, 1)
    ask_kernel(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # died before the kernel was asked
        return CANNOT_START
    try:
        process = subprocess.Popen(  # a process without threads
            command, preexec_fn=lambda: ask_kernel(_PARENT_DEATH_SIGNAL, signal.SIGKILL))  # noqa: PLW1509
    except OSError as error:
        print(f"Error: {command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        end_descendants()
        return TIME_IS_OVER
    return code if code >= 0 else 128 - code


def ask_kernel(what: int, value: int) -> None:
    """prctl(2), where there is one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


def end_descendants() -> None:
    """Kill the children of this process until it has none: those of a child that died are its own now."""
    while True:
        for child in children():
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children() -> list[int]:
    """Process ids of the children of this process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # it ended meanwhile
            continue
        if parent == os.getpid():
            found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
