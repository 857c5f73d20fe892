"""Errors of correlated series are calibrated: deviations over errors have the scatter they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from hpcthermo.transport.statistics import (
    autocorrelation_time,
    block_means,
    drift,
    fit_line,
    line_coefficients,
    mean_with_error,
    pool,
    ratio_of_means,
)

REPEATS = 400


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    """AR(1) noise of unit innovations and mean zero, (n,)."""
    return lfilter([1.0], [1.0, -phi], rng.standard_normal(n + 400))[400:]


def bath_like(rng: np.random.Generator, n: int) -> np.ndarray:
    """White noise plus the derivative of a bounded quantity: strongly anticorrelated, as the power of a bath."""
    return rng.standard_normal(n) + np.diff(autoregressive(rng, n + 1, 0.5))


@pytest.mark.parametrize(("n", "phi"), [(100, 0.0), (300, 0.5), (1000, 0.9), (1000, -0.5), (5000, 0.97)])
def test_block_error_is_calibrated(n: int, phi: float) -> None:
    rng = np.random.default_rng(7)
    estimates = [mean_with_error(autoregressive(rng, n, phi)) for _ in range(REPEATS)]
    scores = np.array([e.value / e.error for e in estimates])
    # chi^2 per sample; its own scatter over 400 repeats is about 0.1 with these errors' few degrees of freedom
    assert 0.7 < np.mean(scores**2) < 1.4
    assert np.mean(np.abs(scores) > 3.0) < 0.03


def test_block_error_sees_anticorrelation() -> None:
    rng = np.random.default_rng(8)
    estimates = [mean_with_error(bath_like(rng, 4000)) for _ in range(200)]
    naive = 2.0 / np.sqrt(4000)
    assert np.median([e.error for e in estimates]) < 0.75 * naive
    assert 0.6 < np.mean([(e.value / e.error) ** 2 for e in estimates]) < 1.5


def test_ratio_error_uses_the_correlation() -> None:
    rng = np.random.default_rng(9)
    scores, errors, separate = [], [], []
    for _ in range(REPEATS):
        common = autoregressive(rng, 400, 0.6)
        numerator = 10.0 + common + 0.3 * rng.standard_normal(400)
        denominator = 5.0 + 0.5 * common
        ratio = ratio_of_means(numerator, denominator)
        scores.append((ratio.value - 2.0) / ratio.error)
        errors.append(ratio.error)
        top, bottom = mean_with_error(numerator), mean_with_error(denominator)
        separate.append(2.0 * np.hypot(top.error / 10.0, bottom.error / 5.0))
    assert 0.7 < np.mean(np.square(scores)) < 1.4
    assert np.mean(errors) < 0.3 * np.mean(separate)


def test_short_and_empty_series_have_no_error() -> None:
    assert np.isnan(mean_with_error(np.array([1.0, 2.0])).error)
    assert np.isnan(mean_with_error(np.array([])).value)
    assert np.isnan(ratio_of_means(np.ones(10), np.zeros(10)).value)


def test_autocorrelation_time_of_autoregressive_noise() -> None:
    rng = np.random.default_rng(10)
    for phi in (0.0, 0.5, 0.9):
        exact = 0.5 * (1.0 + phi) / (1.0 - phi)
        found = np.mean([autocorrelation_time(autoregressive(rng, 4000, phi)) for _ in range(30)])
        assert found == pytest.approx(exact, rel=0.08)


def test_block_means_drop_the_start() -> None:
    assert block_means(np.arange(7.0), 3).tolist() == [1.5, 3.5, 5.5]


def test_line_fit_errors_and_chi_squared() -> None:
    rng = np.random.default_rng(11)
    x, errors = np.linspace(0.0, 10.0, 12), np.linspace(0.1, 0.4, 12)
    fits = [fit_line(x, 3.0 - 0.5 * x + errors * rng.standard_normal(12), errors) for _ in range(600)]
    assert np.mean([((f.slope + 0.5) / f.slope_error) ** 2 for f in fits]) == pytest.approx(1.0, abs=0.2)
    assert np.mean([((f.intercept - 3.0) / f.intercept_error) ** 2 for f in fits]) == pytest.approx(1.0, abs=0.2)
    assert np.mean([f.chi_squared for f in fits]) == pytest.approx(10.0, rel=0.06)
    assert fits[0].degrees_of_freedom == 10


def test_line_coefficients_are_least_squares() -> None:
    x, y = np.array([0.0, 1.0, 3.0, 4.0]), np.array([1.0, 2.5, 2.0, 4.0])
    slope, value = line_coefficients(x, 7.0)
    expected = np.polyfit(x, y, 1)
    assert slope @ y == pytest.approx(expected[0])
    assert value @ y == pytest.approx(np.polyval(expected, 7.0))


def test_drift_finds_a_ramp_and_not_noise() -> None:
    rng = np.random.default_rng(12)
    noise = [drift(autoregressive(rng, 800, 0.5))[2] for _ in range(300)]
    assert np.mean(np.array(noise) < 0.05) < 0.13
    change, error, p_value = drift(autoregressive(rng, 800, 0.5) + np.linspace(0.0, 3.0, 800))
    assert change == pytest.approx(3.0, abs=5 * error)
    assert p_value < 1e-3


def test_pooled_replicas() -> None:
    mean, error, deviation = pool(np.array([1.0, 2.0, 3.0, 4.0]))
    assert (mean, deviation) == (2.5, pytest.approx(1.2909944))
    assert error == pytest.approx(1.2909944 / 2.0)
