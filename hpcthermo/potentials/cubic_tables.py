"""Functions of a distance as tables of cubic pieces over its square, as kernels read them (tables.h).

With t = (r/r_c)^2 each binade [2^-n, 2^(1-n)) of t is cut into 2^bits equal intervals, down to 2^-`BINADES`. On each of
them the function is the cubic that has its value and slope at both ends, so forces are exact derivatives of energies. A
last row of zeros stands for all distances from the cutoff r_c on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: r (A) to f and df/dr
RadialFunction = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

#: of t that have rows, BINADES of tables.h; atoms that are closer (a fortieth of the cutoff) have no force
BINADES = 11
#: tables are held to their tolerance from here on, A; atoms that meet have more than 10 eV long before
_ACCURATE_FROM_A = 1.0
_LEAST_BITS = 5


def cubic_rows(values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Coefficients c_0 ... c_3 over x from 0 to 1 of the cubics between neighbouring nodes.

    Parameters
    ----------
    values, slopes : (..., n + 1) float64
        At the nodes; slopes by interval.

    Returns
    -------
    (..., n, 4) float64
    """
    f, g, p, q = values[..., :-1], values[..., 1:], slopes[..., :-1], slopes[..., 1:]
    return np.stack([f, p, 3.0 * (g - f) - 2.0 * p - q, 2.0 * (f - g) + p + q], axis=-1)


def node_slopes(values: np.ndarray) -> np.ndarray:
    """Slopes per interval at equidistant points: differences over four neighbours, over fewer at the two ends.

    Parameters
    ----------
    values : (n,) float64
        n of at least 4.
    """
    slopes = np.empty_like(values)
    slopes[2:-2] = (values[:-4] - values[4:] + 8.0 * (values[3:-1] - values[1:-3])) / 12.0
    slopes[[1, -2]] = 0.5 * (values[2] - values[0]), 0.5 * (values[-1] - values[-3])
    slopes[[0, -1]] = values[1] - values[0], values[-1] - values[-2]
    return slopes


def equidistant(values: np.ndarray, first: float, step: float) -> RadialFunction:
    """The cubics through values (n,) at distances first, first + step, ..., A, with the slopes of `node_slopes`."""
    rows = cubic_rows(values, node_slopes(values)).T

    def function(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t = (r - first) / step
        at = np.clip(t.astype(np.int64), 0, rows.shape[1] - 1)
        x, c = t - at, rows[:, at]
        return c[0] + x * (c[1] + x * (c[2] + x * c[3])), (c[1] + x * (2.0 * c[2] + 3.0 * x * c[3])) / step

    return function


def nodes(bits: int) -> np.ndarray:
    """Places t of the rows, (BINADES 2^bits + 1,) float64, from 2^-BINADES to 1."""
    within = 1.0 + np.arange(2**bits) / 2**bits
    return np.append(np.outer(0.5 ** np.arange(BINADES, 0, -1), within).ravel(), 1.0)


def square_table(function: RadialFunction, cutoff: float, bits: int) -> np.ndarray:
    """Rows of one function, (BINADES 2^bits + 1, 4) float64, the last of zeros."""
    t = nodes(bits)
    r = np.sqrt(t) * cutoff
    value, slope = function(r)
    slope = slope * cutoff**2 / (2.0 * r)  # df/dt
    lengths = np.diff(t)[:, None]
    pieces = cubic_rows(np.stack([value[:-1], value[1:]], -1), lengths * np.stack([slope[:-1], slope[1:]], -1))[:, 0]
    return np.concatenate([pieces / lengths ** np.arange(4), np.zeros((1, 4))])


def square_tables(functions: Sequence[RadialFunction], cutoff: float, tolerance: float, most_bits: int) -> np.ndarray:
    """Tables of several functions with the same, fewest intervals that keep to a tolerance.

    Parameters
    ----------
    functions : sequence of RadialFunction
    cutoff : float
        A.
    tolerance : float
        Largest error of f in units of max(1, |f|), and a hundredth of that of df/dr, beyond 1 A. Intervals are halved
        until it is kept or there are 2^most_bits by binade.
    most_bits : int

    Returns
    -------
    (n_functions, BINADES 2^bits + 1, 4) float64
    """
    bits = _LEAST_BITS
    while True:
        tables = [square_table(function, cutoff, bits) for function in functions]
        errors = [largest_error(table, function, cutoff) for table, function in zip(tables, functions, strict=True)]
        if max(errors, default=0.0) <= tolerance or bits >= most_bits:
            return np.stack(tables)
        bits += 1


def bits_of(tables: np.ndarray) -> int:
    """2^bits intervals by binade of tables (..., rows, 4)."""
    return int(tables.shape[-2] // BINADES).bit_length() - 1


def largest_error(table: np.ndarray, function: RadialFunction, cutoff: float) -> float:
    """Of value and, a hundred times less strictly, of slope, in the middle and at a fifth of each interval."""
    t = nodes(bits_of(table))
    worst = 0.0
    for part in (0.2, 0.5):
        x = part * np.diff(t)
        r = np.sqrt(t[:-1] + x) * cutoff
        far = r > _ACCURATE_FROM_A
        r, x, c = r[far], x[far], table[:-1][far].T
        value, slope = function(r)
        found = c[0] + x * (c[1] + x * (c[2] + x * c[3]))
        found_slope = (c[1] + x * (2.0 * c[2] + 3.0 * x * c[3])) * 2.0 * r / cutoff**2
        worst = max(worst, float((np.abs(found - value) / np.maximum(1.0, np.abs(value))).max(initial=0.0)),
                    0.01 * float((np.abs(found_slope - slope) / np.maximum(1.0, np.abs(slope))).max(initial=0.0)))
    return worst
