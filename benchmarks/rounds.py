"""Interleaved rounds and what is said of them: median, spread, ratio round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of the rounds."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 4, scale: float = 1.0) -> str:
        """``median (low to high)`` in significant digits."""
        return (f"{self.median * scale:.{digits}g} "
                f"({self.low * scale:.{digits}g} to {self.high * scale:.{digits}g})")


def spread(values: Sequence[float]) -> Spread:
    """Median and range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def interleaved(runs: Mapping[str, Callable[[], Result]], rounds: int,
                say: Callable[[str], None] = lambda text: None) -> dict[str, list[Result]]:
    """Results of each run in each round.

    Every other round goes backwards (A B C, C B A, A B C, ...): each run comes as often before another as after it, so
    a machine that grows slower or faster favours none.
    """
    results: dict[str, list[Result]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in runs if number % 2 == 0 else reversed(list(runs)):
            say(f"round {number + 1} of {rounds}: {name}")
            results[name].append(runs[name]())
    return results


def ratios(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """Ratio in each round, so that what slows the whole machine for a round cancels."""
    return [a / b for a, b in zip(upper, lower, strict=True)]
