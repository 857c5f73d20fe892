"""Memory that was freed goes back to the system.

The C library keeps freed memory for later requests of the same thread. Work on several threads that follows the making
of large tables cannot use it: each thread has a heap of its own. glibc gives whole free pages back when asked to; other
C libraries are not asked.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


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
