"""How far a number is from its limit, from its values along a series.

    k(h) = k(0) + a h        h = 1/N for meshes of N points along a direction, h = u^2 for displacements u

Meshes leave out a region about the centre of the zone whose share shrinks as 1/N; central differences are wrong by a
term in u^2. The limit is the least-squares line through the last three values; its error is the larger of the change
when the line goes through the last two alone, and the residual of the three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FITTED = 3


@dataclass(frozen=True)
class Limit:
    """Where a series goes.

    Attributes
    ----------
    value : float
        Extrapolated; the last value where nothing can be extrapolated.
    error : float or None
        Of the extrapolated value.
    distance : float
        Of the last value from the extrapolated one, or where nothing is extrapolated from the one before, relative.
    converged : bool
    """

    value: float
    error: float | None
    distance: float
    converged: bool


def extrapolated(steps: np.ndarray, values: np.ndarray, tolerance: float) -> Limit:
    """Limit of values (M,) at steps h (M,) towards zero, the last one nearest.

    Parameters
    ----------
    tolerance : float
        Converged: the last value is that close, as a fraction, to the limit and to the value before.
    """
    if len(values) < _FITTED:
        return last_change(values, tolerance)
    h, k = steps[-_FITTED:], values[-_FITTED:]
    slope, limit = np.polyfit(h, k, 1)
    nearest = k[-1] - (k[-1] - k[-2]) / (h[-1] - h[-2]) * h[-1]
    error = max(abs(nearest - limit), float(np.abs(k - limit - slope * h).max()))
    distance = abs(k[-1] - limit) / abs(limit)
    change = abs(k[-1] - k[-2]) / abs(k[-1])
    return Limit(float(limit), float(error), float(distance), bool(max(distance, change) <= tolerance))


def last_change(values: np.ndarray, tolerance: float) -> Limit:
    """The last of values (M,) that follow no known law, judged by its change."""
    change = abs(values[-1] - values[-2]) / abs(values[-1])
    return Limit(float(values[-1]), None, float(change), bool(change <= tolerance))
