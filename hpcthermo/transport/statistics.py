r"""Means, ratios and slopes of correlated time series, with errors that hold.

Block averaging. A series of n samples is cut into m blocks; with block means b_j, deviations d_j = b_j - <b> and

    c_0 = sum_j d_j^2 / (m - 1)              c_1 = sum_j d_j d_{j+1} / (m - 1) + c_0 / m

the variance of the mean is (c_0 + 2 c_1) / m. The term c_1 takes up what correlation is left between neighbouring
blocks (positive, as of slow temperatures, or negative, as of a bath that takes back what it gave); c_0 / m removes the
bias that the subtracted mean puts into c_1. This variance has a relative variance of 6 / m, as if it had nu = m / 3
degrees of freedom, and is widened by nu / (nu - 2) so that squared deviations over squared errors are 1 on average.
The block length is fixed by n alone, not sought on the data: searching for a plateau (Flyvbjerg and Petersen, J. Chem.
Phys. 91, 461 (1989)) quotes too small errors for short series. Measured in tests/unit/test_statistics.py.

Ratios. For R = <a> / <b> the error is that of the mean of the residual (a - R b) / <b>, so the correlation of
numerator and denominator is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: blocks of a series that is long enough; the error of the error is about 15 % with them
MAXIMUM_BLOCKS = 64
MINIMUM_BLOCKS = 4
#: least share of c_0 kept when c_1 is negative: a noisy c_1 must not make the error vanish
_LEAST_SHARE = 0.25


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error.

    Attributes
    ----------
    value, error : float
        Error is NaN with fewer than `MINIMUM_BLOCKS` samples.
    blocks : int
        Blocks the error rests on; it is itself uncertain by about sqrt(3 / (2 blocks)).
    """

    value: float
    error: float
    blocks: int

    def scaled(self, factor: float) -> Estimate:
        """The same quantity in another unit."""
        return Estimate(self.value * factor, self.error * abs(factor), self.blocks)

    def widened(self, error: float) -> Estimate:
        """The same value with another, independent error added in quadrature."""
        return Estimate(self.value, float(np.hypot(self.error, error)), self.blocks)


def block_means(series: np.ndarray, blocks: int) -> np.ndarray:
    """(blocks, ...) means over consecutive blocks; samples left over are dropped at the start."""
    length = len(series) // blocks
    return series[len(series) - blocks * length :].reshape(blocks, length, *series.shape[1:]).mean(axis=1)


def number_of_blocks(samples: int) -> int:
    """Blocks to cut a series into: sqrt(samples), between 16 (or what there is) and `MAXIMUM_BLOCKS`."""
    return int(min(samples, max(16, min(MAXIMUM_BLOCKS, round(samples**0.5)))))


def mean_with_error(series: np.ndarray) -> Estimate:
    """Mean of a correlated stationary series (n,) and its standard error."""
    n = len(series)
    if n == 0:
        return Estimate(float("nan"), float("nan"), 0)
    value = float(np.mean(series))
    if n < MINIMUM_BLOCKS:
        return Estimate(value, float("nan"), n)
    blocks = number_of_blocks(n)
    deviation = block_means(series, blocks)
    deviation = deviation - deviation.mean()
    c0 = float(np.dot(deviation, deviation)) / (blocks - 1)
    c1 = float(np.dot(deviation[1:], deviation[:-1])) / (blocks - 1) + c0 / blocks
    freedom = max(blocks / 3.0, 3.0)
    widening = freedom / (freedom - 2.0)
    return Estimate(value, float(np.sqrt(widening * max(c0 + 2.0 * c1, _LEAST_SHARE * c0) / blocks)), blocks)


def ratio_of_means(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """<a> / <b> of two series (n,) sampled together; NaN if <b> is zero."""
    below = float(np.mean(denominator)) if len(denominator) else 0.0
    if below == 0.0:
        return Estimate(float("nan"), float("nan"), len(denominator))
    ratio = float(np.mean(numerator)) / below
    residual = mean_with_error((numerator - ratio * denominator) / below)
    return Estimate(ratio, residual.error, residual.blocks)


def autocorrelation_time(series: np.ndarray) -> float:
    """Integrated autocorrelation time in samples, 1/2 for white noise.

    tau = 1/2 + sum_{t=1}^{W} rho(t) with the window W at which statistical and truncation error balance
    (U. Wolff, Comput. Phys. Commun. 156, 143 (2004), S = 1.5). The error of a mean is sqrt(2 tau variance / n).
    """
    n = len(series)
    deviation = series - np.mean(series)
    variance = float(np.mean(deviation**2))
    if n < 8 or variance == 0.0:
        return 0.5
    spectrum = np.fft.rfft(deviation, 2 * n)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: n // 2] / (n - np.arange(n // 2)) / variance
    tau = 0.5
    for window in range(1, n // 2):
        tau += float(correlation[window])
        if tau <= 0.5:
            return 0.5
        decay = 1.5 / np.log((2.0 * tau + 1.0) / (2.0 * tau - 1.0))
        if np.exp(-window / decay) < decay / np.sqrt(window * n):
            return tau * (1.0 + (2 * window + 1) / n)
    return tau


@dataclass(frozen=True)
class LineFit:
    """Least-squares line y = intercept + slope x.

    Attributes
    ----------
    slope, intercept : float
    slope_error, intercept_error : float
        Standard errors from the errors of y, or from the residuals if y came without errors.
    chi_squared : float
        Sum of squared residuals over squared errors; NaN without errors.
    degrees_of_freedom : int
    """

    slope: float
    intercept: float
    slope_error: float
    intercept_error: float
    chi_squared: float
    degrees_of_freedom: int


def fit_line(x: np.ndarray, y: np.ndarray, errors: np.ndarray | None = None) -> LineFit:
    """Weighted least squares of y (n,) at x (n,), n >= 2; `errors` are the standard errors of y."""
    weights = np.ones(len(x)) if errors is None else 1.0 / np.asarray(errors) ** 2
    design = np.column_stack([np.ones(len(x)), x])
    covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
    intercept, slope = covariance @ (design.T @ (weights * y))
    residual = float(np.sum(weights * (y - intercept - slope * x) ** 2))
    freedom = len(x) - 2
    if errors is None:
        covariance = covariance * (residual / freedom if freedom > 0 else np.nan)
    return LineFit(
        float(slope), float(intercept), float(np.sqrt(covariance[1, 1])), float(np.sqrt(covariance[0, 0])),
        float("nan") if errors is None else residual, freedom,
    )


def line_coefficients(x: np.ndarray, at: float) -> tuple[np.ndarray, np.ndarray]:
    """Vectors s, e with slope = s . y and value of the line at `at` = e . y for unweighted least squares.

    Applied to a time series of profiles they give the series of slopes and of extrapolated values.
    """
    centered = x - np.mean(x)
    slope = centered / float(np.dot(centered, centered))
    return slope, np.full(len(x), 1.0 / len(x)) + (at - float(np.mean(x))) * slope


def drift(series: np.ndarray) -> tuple[float, float, float]:
    """Change of a series over its length by a straight line through block means.

    The scatter of the blocks around the line gives the error; with correlation r between the residuals of neighbouring
    blocks it is wider by sqrt((1 + r) / (1 - r)), and the degrees of freedom are fewer by (1 - r) / (1 + r).

    Returns
    -------
    change, error : float
        Slope times length and its standard error.
    p_value : float
        Probability of a change at least as large if there is none (Student's t).
    """
    from scipy.stats import t as student

    blocks = min(16, len(series))
    if blocks < MINIMUM_BLOCKS:
        return float("nan"), float("nan"), float("nan")
    means = block_means(series, blocks)
    position = (np.arange(blocks) + 0.5) / blocks
    fit = fit_line(position, means)
    if fit.slope_error <= 1e-12 * abs(fit.slope):
        return fit.slope, 0.0, 1.0 if fit.slope == 0.0 else 0.0
    residual = means - fit.intercept - fit.slope * position
    # the two fitted parameters bias the correlation of residuals by about -4 / blocks
    correlation = float(np.dot(residual[1:], residual[:-1]) / np.dot(residual, residual)) + 4.0 / blocks
    correlation = min(max(correlation, 0.0), 0.9)
    widening = (1.0 + correlation) / (1.0 - correlation)
    error = fit.slope_error * widening**0.5
    p_value = 2.0 * float(student.sf(abs(fit.slope) / error, max((blocks - 2) / widening, 1.0)))
    return fit.slope, error, p_value


def pool(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, standard error and standard deviation of independent results (n,); NaN errors for one."""
    n = len(values)
    deviation = float(np.std(values, ddof=1)) if n > 1 else float("nan")
    return float(np.mean(values)), deviation / float(np.sqrt(n)), deviation
