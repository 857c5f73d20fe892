"""One writer per results folder.

``lock`` in the folder names its writer: host, process id, start time of the process, and a random token; it is empty
when the writer has left. The writer also holds an advisory lock of the file system on it, which the kernel lets go when
the process dies. A folder whose writer has died is taken over; a live one's is refused. Every write asks first whether
the token is still the writer's own.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from hpcthermo.domain.comm import Communicator
from hpcthermo.errors import InputError, ResourceError

LOCK_FILE = "lock"
#: a writer on another host that has not touched its lock for so long is dead, s
_SILENCE = 120.0
_HEARTBEAT = 15.0


class FolderLock:
    """The right to write into a results folder, held by rank 0 for all ranks (collective).

    Parameters
    ----------
    folder : Path
        Made if absent.
    comm : Communicator

    Raises
    ------
    InputError
        On all ranks, if another live process writes there.
    ResourceError
        On all ranks, if the folder cannot be written.
    """

    def __init__(self, folder: Path, comm: Communicator) -> None:
        self.path = folder / LOCK_FILE
        self.took_over = ""
        self._comm = comm
        self._descriptor = -1
        self._released = threading.Event()
        problem: InputError | ResourceError | None = None
        token = ""
        if comm.rank == 0:
            token = secrets.token_hex(8)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._acquire(token)
            except InputError as error:
                problem = error
            except OSError as error:
                problem = ResourceError(f"{folder}: cannot be written ({error.strerror}); give another --out")
        problem, self.token = comm.bcast((problem, token))
        if problem is not None:
            raise problem
        if comm.rank == 0:
            threading.Thread(target=self._beat, name="lock-heartbeat", daemon=True).start()

    def _acquire(self, token: str) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            kernel_says_free = _try_kernel_lock(descriptor)
            holder = _holder(descriptor)
            if kernel_says_free is False or (holder and _alive(holder, self.path, kernel_says_free)):
                raise InputError(f"{self.path.parent}: another run is writing there ({_describe(holder)}); wait for "
                                 "it, stop it, or give another --out")
            if holder:
                self.took_over = _describe(holder)
            entry = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()), "token": token}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(entry).encode(), 0)
            os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def is_held(self) -> bool:
        """Whether the folder is still this run's, by what the lock file says now (any rank)."""
        try:
            return json.loads(self.path.read_text()).get("token") == self.token
        except (OSError, ValueError, AttributeError):
            return False

    def require(self) -> None:
        """Stop this rank from writing if the folder has been taken over.

        Raises
        ------
        ResourceError
            If the lock is not this run's any more.
        """
        if not self.is_held():
            raise ResourceError(f"{self.path.parent}: another run has taken this folder over; nothing more is written "
                                "there, stop this run")

    def release(self) -> None:
        """Give the folder back."""
        self._released.set()
        if self._descriptor >= 0:
            if self.is_held():
                # not removed: a run that has opened it already would hold a lock on a file that is gone
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def _beat(self) -> None:
        while not self._released.wait(_HEARTBEAT):
            if self.is_held():
                os.utime(self.path)


def _try_kernel_lock(descriptor: int) -> bool | None:
    """True: got it; False: another process holds it; None: this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _holder(descriptor: int) -> dict[str, Any]:
    try:
        entry = json.loads(os.pread(descriptor, 4096, 0))
        return {"host": str(entry["host"]), "pid": int(entry["pid"]), "started": float(entry["started"])}
    except (ValueError, KeyError, TypeError):
        return {}


def _alive(holder: dict[str, Any], path: Path, kernel_says_free: bool | None) -> bool:
    if holder["host"] == socket.gethostname():
        # the kernel of this host knows: a lock it gave us has no other holder
        return not kernel_says_free and _started(holder["pid"]) == holder["started"]
    return time.time() - path.stat().st_mtime < _SILENCE


def _started(pid: int) -> float:
    """Start time of a process, s since the epoch; 0 if there is none."""
    import psutil

    try:
        return round(psutil.Process(pid).create_time(), 2)
    except psutil.Error:
        return 0.0


def _describe(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}" if holder else "unknown process"
