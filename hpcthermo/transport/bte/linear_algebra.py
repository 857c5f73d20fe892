"""One thread for linear algebra while tasks of q-points run.

The threads of tasks already fill the cores, and a product of matrices that is shared out over threads has other last
bits: a worker with one thread and this process with several would not agree.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from threadpoolctl import ThreadpoolController


class _OneThread(AbstractContextManager[None]):
    """A limit of the process that any threads enter: the first sets it and the last takes it back.

    threadpoolctl lets the thread that sets a limit, and no other, take it back. That is a thread of this object, for
    the last thread to leave need not be the first that entered. Where a thread that enters has set another limit
    before, only that thread can set this one; so each sets its own, too.
    """

    def __init__(self) -> None:
        self._entered, self._lock, self._holder = 0, threading.Lock(), ThreadPoolExecutor(1)
        self._limit: Any = None
        self._of_thread = threading.local()

    @cached_property
    def _controller(self) -> ThreadpoolController:
        return ThreadpoolController()

    def _set(self) -> None:
        self._limit = self._controller.limit(limits=1, user_api="blas")
        self._limit.__enter__()

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                self._holder.submit(self._set).result()
            self._entered += 1
            limits = self._of_thread.__dict__.setdefault("limits", [])
            limits.append(self._controller.limit(limits=1, user_api="blas").__enter__())

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._of_thread.limits.pop().__exit__(*error)
            self._entered -= 1
            if not self._entered:
                self._holder.submit(self._limit.__exit__, None, None, None).result()


_one_thread = _OneThread()


def one_thread() -> AbstractContextManager[None]:
    """A context in which NumPy's products of matrices take one thread, in all threads while any is in it.

    A limit that another living thread, which is in none, has set with threadpoolctl itself stays as it is.
    """
    return _one_thread
