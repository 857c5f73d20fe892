"""Time spent in each kernel: a clock that `Backend.launch` carries when asked to."""

from __future__ import annotations

from collections import defaultdict


class LaunchClock:
    """Seconds and calls by kernel, added up while it is set as `Backend.clock`.

    Each launch is waited for, so on a GPU launches do not overlap while a clock is set.

    Attributes
    ----------
    seconds : (module, kernel) -> float
    calls : (module, kernel) -> int
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.calls: defaultdict[tuple[str, str], int] = defaultdict(int)

    def add(self, module: str, kernel: str, seconds: float) -> None:
        """Count one launch."""
        self.seconds[module, kernel] += seconds
        self.calls[module, kernel] += 1

    def of_module(self, module: str) -> float:
        """Seconds in all kernels of a module."""
        return sum(seconds for (name, _), seconds in self.seconds.items() if name == module)

    def total(self) -> float:
        """Seconds in all kernels."""
        return sum(self.seconds.values())
