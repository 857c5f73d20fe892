"""The launch clock: every launch is counted once, and nothing changes without it."""

import numpy as np
import pytest

from hpcthermo.gpu.backend import make_backend
from hpcthermo.gpu.clock import LaunchClock


def drift(backend, n: int) -> np.ndarray:
    positions = np.zeros((n, 3))
    backend.launch("integrate", "drift", 0, n, 0.5, np.ones((n, 3)), positions, per="thread")
    return positions


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_launches_are_counted_by_module_and_kernel(precision):
    backend = make_backend("cpu", precision)
    unclocked = drift(backend, 7)
    backend.clock = clock = LaunchClock()
    for _ in range(3):
        np.testing.assert_array_equal(drift(backend, 7), unclocked)
    drift(backend, 0)  # nothing is launched for an empty range
    assert dict(clock.calls) == {("integrate", "drift"): 3}
    assert 0.0 < clock.seconds["integrate", "drift"] == clock.of_module("integrate") == clock.total()
    assert clock.of_module("nep") == 0.0
    backend.clock = None
    drift(backend, 7)
    assert clock.calls["integrate", "drift"] == 3
