"""When a run has to stop: signals that ask for a checkpoint, and launchers that died."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from hpcthermo.errors import EXIT_REQUEUE, HpcthermoError

#: values of the flag that goes through the reduction of each step; the largest of all ranks wins
CONTINUE, STOP = 0, 1
_LAUNCHERS = ("mpiexec", "mpirun", "hydra", "orted", "orterun", "prte", "srun", "slurmstepd")
_WATCH_INTERVAL = 0.5


class Requeue(HpcthermoError):
    """The run was asked to stop, has written a checkpoint, and can be resumed."""

    exit_code = EXIT_REQUEUE


class StopFlag:
    """Turns SIGTERM and SIGUSR1 into a flag that is read once per step.

    Use it as a context manager; outside, signals do again what they did before.
    """

    def __init__(self) -> None:
        self._value = CONTINUE
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> StopFlag:
        self._previous = {n: signal.signal(n, self._note) for n in (signal.SIGTERM, signal.SIGUSR1)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._value = STOP

    def __call__(self) -> int:
        """`STOP` after a signal, else `CONTINUE`."""
        return self._value


class LauncherWatch:
    """Ends this process at once when the launcher that started it has died.

    A rank whose launcher was killed would otherwise wait for ever in a message, or go on writing into a folder that a
    resumed run has taken over. A thread looks twice a second at the processes between this one and its launcher on this
    host; a process that nobody launched watches nothing.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._watched = _launcher_chain() if _launched() else []

    @property
    def watched(self) -> tuple[int, ...]:
        """Process ids whose death ends this process."""
        return tuple(process.pid for process in self._watched)

    def start(self) -> None:
        """Begin to watch, for the rest of this process's life."""
        if self._watched:
            threading.Thread(target=self._watch, name="launcher-watch", daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        while os.getppid() == self._parent and all(_lives(process) for process in self._watched):
            pause.wait(_WATCH_INTERVAL)
        # nothing may be cleaned up or written any more: another run may own the folder already
        os.kill(os.getpid(), signal.SIGKILL)


def _launched() -> bool:
    from hpcthermo.domain.comm import launcher_ranks

    return launcher_ranks() is not None


def _launcher_chain() -> list[Any]:
    """Processes from the parent up to the topmost known launcher on this host; at least the parent."""
    import psutil

    ancestors = psutil.Process().parents()
    last = max((i for i, p in enumerate(ancestors) if _name(p).startswith(_LAUNCHERS)), default=0)
    return ancestors[:last + 1]


def _lives(process: Any) -> bool:
    """False also for a zombie, a dead launcher that its own parent has not asked about."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _name(process: Any) -> str:
    import psutil

    try:
        return str(process.name())
    except psutil.Error:
        return ""
