"""One thread for linear algebra while tasks of q-points run.

The threads of tasks already fill the cores, and a product of matrices that is shared out over threads has other last
bits: a worker with one thread and this process with several would not agree.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController

_controller = functools.cache(ThreadpoolController)


def one_thread() -> AbstractContextManager[Any]:
    """A context in which NumPy's products of matrices take one thread.

    The limit is one of the process, and belongs to the thread that sets it first: enter before threads are started.
    """
    limit: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limit
