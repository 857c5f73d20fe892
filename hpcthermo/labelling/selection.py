"""The most different structures: farthest-point sampling in descriptor space.

    d(a) = min_b |q_a - q_b|       b: atoms of the same element in frames that were taken
    next frame = the one with the largest d of any of its atoms

so one unusual atom is enough to take a frame, and frames whose atoms have all been seen come last. Descriptors are
divided by their standard deviations over all atoms. T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

#: distances of atoms that differ by rounding only
_SAME = 1e-6


class FarthestFrames:
    """Takes frames one after the other, the most different from those taken first.

    Parameters
    ----------
    descriptors : sequence of (N_i, D) ndarray
        Of the atoms of each frame.
    numbers : sequence of (N_i,) ndarray of int
        Their atomic numbers.
    """

    def __init__(self, descriptors: Sequence[np.ndarray], numbers: Sequence[np.ndarray]) -> None:
        everything = np.concatenate(descriptors)
        deviation = everything.std(axis=0)
        self._points = everything / np.where(deviation > 1e-12, deviation, 1.0)
        self._numbers = np.concatenate(numbers)
        self._frame = np.repeat(np.arange(len(descriptors)), [len(d) for d in descriptors])
        self._distance = np.full(len(self._points), np.inf)
        self._taken = np.zeros(len(descriptors), dtype=bool)

    def take(self, frame: int) -> None:
        """Count a frame as taken."""
        self._taken[frame] = True
        own = np.flatnonzero(self._frame == frame)
        for number in np.unique(self._numbers[own]):
            alike = np.flatnonzero(self._numbers == number)
            for point in np.unique(np.round(self._points[own[self._numbers[own] == number]], 9), axis=0):
                distance = np.linalg.norm(self._points[alike] - point, axis=1)
                self._distance[alike] = np.minimum(self._distance[alike], distance)

    def novelty(self) -> np.ndarray:
        """(frames,) distance of the most unusual atom of each frame from those taken; 0 of frames that were taken."""
        found = np.zeros(len(self._taken))
        np.maximum.at(found, self._frame, self._distance)
        found[self._taken] = 0.0
        return found

    def take_farthest(self, among: Sequence[int], count: int, least: float) -> Iterator[int]:
        """Take up to `count` of some frames, each the farthest at its time, until none is farther than `least`."""
        pool = np.asarray(list(among), dtype=int)
        for _ in range(count):
            novelty = self.novelty()[pool]
            if not len(pool) or novelty.max() <= max(least, _SAME):
                return
            frame = int(pool[novelty.argmax()])
            self.take(frame)
            yield frame
