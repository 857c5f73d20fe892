"""The kernels behind the measured peak do what their names say; how fast is not a test."""

import numpy as np
import pytest

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.gpu.backend import make_backend
from hpcthermo.probe import array_bytes
from hpcthermo.roofline import CHAINS, measure_peak


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_every_chain_does_every_multiply_add(precision):
    backend = make_backend("cpu", precision)
    rounds, a, b, result = 37, 0.75, 0.5, np.zeros(2)
    backend.launch("peak", "multiply_add", 0, 2, rounds, a, b, result)
    x = np.add.outer(np.arange(CHAINS), np.arange(backend.lanes)).astype(backend.real)
    for _ in range(rounds):
        x = backend.real.type(a) * x + backend.real.type(b)
    np.testing.assert_allclose(result, x.sum(dtype=np.float64), rtol=1e-6 if precision == "mixed" else 1e-13)


def test_triad():
    backend = make_backend("cpu", "mixed")
    rng = np.random.default_rng(0)
    first, second, target = rng.normal(size=101), rng.normal(size=101), np.zeros(101)
    backend.launch("peak", "triad", 1, 101, 0.5, first, second, target, per="thread")
    np.testing.assert_allclose(target[1:], (first + 0.5 * second)[1:], rtol=1e-15)
    assert target[0] == 0.0


def test_a_core_does_something():
    backend = make_backend("cpu", "double")
    peak = measure_peak(backend, SingleProcess())
    assert peak.flops > 1e7
    assert peak.bandwidth > 1e7
    assert backend.clock is None


def test_views_of_one_memory_count_once():
    rows = np.zeros((100, 4))
    assert array_bytes([rows, rows[:10], rows[5:]]) == rows.nbytes
    assert array_bytes({"a": rows[:10], "b": rows[10:]}) == rows.nbytes
    assert array_bytes([rows, np.zeros(3)]) == rows.nbytes + 24
