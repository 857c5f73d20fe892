"""L-BFGS with a given first inverse Hessian, for functions that are known to a finite precision.

    d = -H g    H from the last pairs s = theta' - theta, y = g' - g and M^-1 (Nocedal and Wright, alg. 7.4)

A step t is accepted by Wolfe's conditions, or where differences of the function are below its noise by those of Hager
and Zhang (SIAM J. Optim. 16, 170 (2005), eq. T2), which use the gradient alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Wolfe's constants: sufficient decrease, curvature
_DECREASE, _CURVATURE = 1e-4, 0.9
_MOST_TRIALS = 10

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
InverseHessian = Callable[[np.ndarray], np.ndarray]


@dataclass
class Pairs:
    """Steps and changes of the gradient, the last `most`, oldest first.

    Attributes
    ----------
    steps, changes : (k, n) float64
    """

    most: int
    steps: np.ndarray
    changes: np.ndarray

    @classmethod
    def none(cls, most: int, n: int) -> Pairs:
        """No pairs yet of vectors of length n."""
        return cls(most, np.zeros((0, n)), np.zeros((0, n)))

    def __post_init__(self) -> None:
        self._steps, self._changes = list(self.steps), list(self.changes)

    def __len__(self) -> int:
        return len(self._steps)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps and changes as arrays."""
        n = self.steps.shape[1]
        return np.array(self._steps).reshape(-1, n), np.array(self._changes).reshape(-1, n)

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Keep a pair if its curvature is positive beyond rounding."""
        if step @ change > 1e-12 * np.linalg.norm(step) * np.linalg.norm(change):
            self._steps.append(step)
            self._changes.append(change)
            del self._steps[: -self.most], self._changes[: -self.most]

    def drop(self) -> None:
        """Forget all."""
        self._steps, self._changes = [], []

    def shift(self, curvature: np.ndarray | float) -> None:
        """The function got another term 1/2 sum curvature theta^2."""
        self._changes = [change + curvature * step for step, change in zip(self._steps, self._changes, strict=True)]

    def scale(self, first: InverseHessian) -> float:
        """Factor by which M^-1 fits the last pair; it may be too large or too small as a whole."""
        if not self._steps:
            return 1.0
        s, y = self._steps[-1], self._changes[-1]
        return float(np.clip((s @ y) / (y @ first(y)), 1e-3, 30.0))

    def apply(self, vector: np.ndarray, first: InverseHessian, scale: float) -> np.ndarray:
        """H v with scale M^-1 for the first H."""
        q = vector.copy()
        rho = [1.0 / (s @ y) for s, y in zip(self._steps, self._changes, strict=True)]
        alpha = np.empty(len(rho))
        for k in range(len(rho) - 1, -1, -1):
            alpha[k] = rho[k] * (self._steps[k] @ q)
            q -= alpha[k] * self._changes[k]
        r = scale * first(q)
        for k in range(len(rho)):
            r += self._steps[k] * (alpha[k] - rho[k] * (self._changes[k] @ r))
        return r


@dataclass(frozen=True)
class Step:
    """Where a line search ended.

    Attributes
    ----------
    theta, gradient : (n,) float64
    value : float
    length : float
        t of it.
    accepted : bool
        Whether the step meets the conditions; False: the best point found if it is lower, else the start.
    evaluations : int
    """

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    length: float
    accepted: bool
    evaluations: int


def line_search(function: Function, theta: np.ndarray, value: float, gradient: np.ndarray, direction: np.ndarray,
                noise: float, first: float = 1.0) -> Step:
    """Along a descent direction, by halving and doubling.

    Parameters
    ----------
    function : callable
        theta -> value, gradient.
    noise : float
        Of the function, relative.
    first : float
        t of the first trial.
    """
    slope = float(gradient @ direction)
    t, low, high = first, 0.0, np.inf
    best = Step(theta, value, gradient, 0.0, False, 0)
    for trial in range(1, _MOST_TRIALS + 1):
        point = theta + t * direction
        here, at = function(point)
        here_slope = float(at @ direction)
        finite = bool(np.isfinite(here) and np.isfinite(here_slope))
        if finite and here < best.value:
            best = Step(point, here, at, t, False, trial)
        decreased = finite and here <= value + _DECREASE * t * slope
        within_noise = finite and here <= value + noise * abs(value) and here_slope <= (2.0 * _DECREASE - 1.0) * slope
        if not (decreased or within_noise):
            high = t
            if low > 0.0:
                t = 0.5 * (low + high)
            else:
                rise = here - value - slope * t if finite else np.inf
                t = max(0.1 * t, min(0.5 * t, -0.5 * slope * t * t / rise)) if rise > 0.0 else 0.5 * t
        elif here_slope < _CURVATURE * slope:
            low = t
            t = 2.0 * t if np.isinf(high) else 0.5 * (low + high)
        else:
            return Step(point, here, at, t, True, trial)
    return Step(best.theta, best.value, best.gradient, best.length, False, _MOST_TRIALS)
