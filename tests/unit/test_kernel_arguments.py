"""Addresses of arrays that kernels get on a CPU."""

import ctypes

import numpy as np
import pytest

from hpcthermo.gpu.backend import _Address, _cpu_argument


def address(array):
    return _cpu_argument(array).value


def test_an_array_is_asked_once_and_forgotten_with_it():
    array = np.arange(12.0).reshape(3, 4)
    first = address(array)
    assert first == array.ctypes.data
    assert _cpu_argument(array) is _cpu_argument(array)
    noted = len(_Address.of)
    del array
    assert len(_Address.of) == noted - 1


def test_arrays_that_take_the_place_of_others_have_their_own_addresses():
    base = np.arange(1000.0)
    for start in range(900):
        # views that end at once: the next has the same id
        view = base[start:start + 5]
        assert address(view) == base.ctypes.data + 8 * start
        assert ctypes.cast(_cpu_argument(view), ctypes.POINTER(ctypes.c_double))[1] == start + 1
        del view


def test_rows_with_gaps_are_refused():
    with pytest.raises(ValueError, match="contiguous"):
        _cpu_argument(np.zeros((4, 4))[:, :2])
