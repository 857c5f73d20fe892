"""The limit to one thread of linear algebra is one of the process, whichever threads enter and leave in which order."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy  # noqa: F401  its library for linear algebra is limited
import pytest
from threadpoolctl import ThreadpoolController

from hpcthermo.transport.bte.linear_algebra import one_thread


@pytest.fixture
def threads_of_blas():
    """Counts the threads of linear algebra, of which there are two."""
    blas = ThreadpoolController().select(user_api="blas")
    if not blas.lib_controllers:
        pytest.skip("NumPy's linear algebra has no threads")

    def numbers():
        return {library.num_threads for library in blas.lib_controllers}

    def become(count):
        with ThreadPoolExecutor(1) as ended:  # a thread that lives on would own the limit
            ended.submit(blas.limit, limits=count).result()

    before = numbers().pop()
    become(2)
    yield numbers
    become(before)
    assert numbers() == {before}


def test_the_limit_lasts_until_the_last_thread_leaves(threads_of_blas):
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def first():
        with one_thread():
            entered.set()
            leave.wait(60.0)
        left.set()

    assert threads_of_blas() == {2}
    other = threading.Thread(target=first)
    other.start()
    assert entered.wait(60.0)
    with one_thread(), one_thread():
        leave.set()
        assert left.wait(60.0)
        assert threads_of_blas() == {1}
    assert threads_of_blas() == {2}
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert threads_of_blas() == {2}
    other.join()
