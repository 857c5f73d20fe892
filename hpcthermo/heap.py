"""Memory that was freed goes back to the system; how much is free.

The C library keeps freed memory for later requests of the same thread. Work on several threads that follows the making
of large tables cannot use it: each thread has a heap of its own. glibc gives whole free pages back when asked to; other
C libraries are not asked.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")


def return_freed_memory() -> None:
    """Give free pages of the heap back to the system, where the C library can."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


def free_memory() -> float:
    """Bytes this process may still take on its machine, within the limits of its control group (version 2)."""
    import psutil

    free = float(psutil.virtual_memory().available)
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        for folder in [_CGROUPS / group, *(_CGROUPS / group).parents]:
            limit = folder / "memory.max"
            if limit.is_file() and (text := limit.read_text().strip()) != "max":
                free = min(free, float(text) - float((folder / "memory.current").read_text()))
    except (OSError, ValueError):  # no such file system
        pass
    return max(free, 0.0)
