"""Random numbers keyed by what they are for: (seed, step, stream, atom tag), never by rank or call order.

Philox4x32-10 (Salmon et al., SC11, 2011, doi:10.1145/2063384.2063405). Per-atom noise is drawn by kernels/langevin.h;
the few numbers that all ranks need alike (global thermostats, the barostat) are drawn here, from the same generator.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

from hpcthermo.engine import Engine

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


class Purpose(IntEnum):
    """Upper bits of a stream number."""

    VELOCITIES = 0
    LANGEVIN = 1
    RESCALING = 2
    BAROSTAT = 3


def stream_number(purpose: Purpose, index: int = 0, half: int = 0) -> int:
    """16-bit number of an independent sequence.

    Parameters
    ----------
    purpose : Purpose
    index : int
        Which thermostat, below 2048.
    half : int
        0 before the force call of a step, 1 after it.
    """
    if not 0 <= index < 2048:
        raise ValueError(f"stream index {index} is outside 0 ... 2047")
    return int(purpose) << 12 | index << 1 | half


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random 32-bit words of a counter and a key (32-bit words, too)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _WORD, (p0 >> 32) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


class RandomSequence:
    """Numbers of one (seed, step, stream), the same on all ranks.

    Parameters
    ----------
    seed : int
        64 bits are used.
    step : int
    stream : int
        From `stream_number`.
    """

    def __init__(self, seed: int, step: int, stream: int) -> None:
        self._key = (seed & _WORD, seed >> 32 & _WORD)
        self._counter = (stream << 16, step & _WORD, step >> 32 & _WORD)
        self._block = 0
        self._words: list[int] = []
        self._spare: float | None = None

    def uniform(self) -> float:
        """Uniform in (0, 1)."""
        if not self._words:
            self._words = list(philox((self._block, *self._counter), self._key))
            self._block += 1
        return (self._words.pop(0) + 0.5) * 2.0**-32

    def normal(self) -> float:
        """Standard normal (Box and Muller)."""
        if self._spare is not None:
            value, self._spare = self._spare, None
            return value
        radius, angle = math.sqrt(-2.0 * math.log(self.uniform())), 2.0 * math.pi * self.uniform()
        self._spare = radius * math.sin(angle)
        return radius * math.cos(angle)

    def sum_of_squares(self, count: int) -> float:
        """Sum of the squares of `count` standard normals: twice a gamma deviate of shape count / 2.

        Marsaglia and Tsang, ACM Trans. Math. Softw. 26, 363 (2000).
        """
        if count <= 0:
            return 0.0
        if count == 1:
            return self.normal() ** 2
        d = count / 2.0 - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        while True:
            x = self.normal()
            v = (1.0 + c * x) ** 3
            if v > 0.0 and math.log(self.uniform()) < 0.5 * x * x + d - d * v + d * math.log(v):
                return 2.0 * d * v


def atom_normals(engine: Engine, rows: Any | None, count: int, seed: int, step: int, stream: int,
                 output: Any) -> None:
    """Four standard normals per atom.

    Parameters
    ----------
    rows : (count,) int32, device, or None
        Owned rows; None for the first `count`.
    output : (4, count) float64, device
    """
    engine.backend.launch("langevin", "draw_normals", 0, count, rows, engine.system.tags, _signed(seed & _WORD),
                          _signed(seed >> 32 & _WORD), _signed(step & _WORD), _signed(step >> 32 & _WORD), stream,
                          count, output, per="thread")


def _signed(word: int) -> int:
    """The 32-bit word as the C int that kernels take."""
    return word - 2**32 if word >= 2**31 else word
