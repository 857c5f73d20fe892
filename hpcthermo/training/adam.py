"""Adam on parts of the set (Kingma and Ba, arXiv:1412.6980): the first steps, while the loss is far from quadratic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Adam:
    """Moments of the gradient.

    Attributes
    ----------
    mean, square : (n,) float64
    steps : int
    """

    mean: np.ndarray
    square: np.ndarray
    steps: int = 0
    decay: tuple[float, float] = (0.9, 0.999)

    @classmethod
    def start(cls, n: int) -> Adam:
        """For n parameters."""
        return cls(np.zeros(n), np.zeros(n))

    def step(self, gradient: np.ndarray, rate: float) -> np.ndarray:
        """What to add to theta, (n,) float64."""
        first, second = self.decay
        self.steps += 1
        self.mean += (1.0 - first) * (gradient - self.mean)
        self.square += (1.0 - second) * (gradient**2 - self.square)
        mean = self.mean / (1.0 - first**self.steps)
        square = self.square / (1.0 - second**self.steps)
        return -rate * mean / (np.sqrt(square) + 1e-12)
