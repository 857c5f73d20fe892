"""Which modes count, which belong together, and how many phonons they hold."""

from __future__ import annotations

import numpy as np

from hpcthermo.units import BOLTZMANN_EV_PER_K, PLANCK_EV_PER_THZ

#: modes below take no part, THz
CUTOFF_FREQUENCY_THZ = 1e-4
#: neighbouring bands closer than this are degenerate, THz
DEGENERACY_THZ = 1e-4


def first_of_group(frequencies: np.ndarray) -> np.ndarray:
    """Whether each band is the first of a group of degenerate ones, for ascending frequencies (..., B), THz."""
    first: np.ndarray = np.diff(frequencies, axis=-1, prepend=-np.inf) >= DEGENERACY_THZ
    return first


def degenerate_groups(frequencies: np.ndarray) -> np.ndarray:
    """Number of each band's group of degenerate ones, counted from 0 at each q; frequencies (..., B) ascend, THz."""
    groups: np.ndarray = np.cumsum(first_of_group(frequencies), axis=-1) - 1
    return groups


def degenerate_mean(frequencies: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (..., B, K) replaced by their means over degenerate bands of ascending frequencies (..., B), THz."""
    begins = first_of_group(frequencies).reshape(-1)
    flat = values.reshape(begins.size, -1)
    starts = np.flatnonzero(begins)
    counts = np.diff(np.append(starts, begins.size))
    means = np.add.reduceat(flat, starts, axis=0) / counts[:, None]
    spread: np.ndarray = np.repeat(means, counts, axis=0).reshape(values.shape)
    return spread


def occupations(frequencies: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Bose-Einstein occupations (n_T, ...) of frequencies (...), THz, at temperatures (n_T,), K; 0 below the cutoff."""
    at = np.asarray(temperatures, dtype=np.float64).reshape((-1,) + (1,) * frequencies.ndim)
    active = frequencies > CUTOFF_FREQUENCY_THZ
    with np.errstate(over="ignore", divide="ignore"):
        x = PLANCK_EV_PER_THZ * np.where(active, frequencies, 1.0) / (BOLTZMANN_EV_PER_K * at)
        n: np.ndarray = np.where(active, 1.0 / np.expm1(x), 0.0)
    return n


def heat_capacities(frequencies: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Heat capacities of modes (n_T, ...), eV/K, from frequencies (...), THz; zero below the cutoff."""
    n = occupations(frequencies, temperatures)
    temperatures = np.asarray(temperatures, dtype=np.float64).reshape((-1,) + (1,) * frequencies.ndim)
    x = PLANCK_EV_PER_THZ * frequencies / (BOLTZMANN_EV_PER_K * temperatures)
    capacity: np.ndarray = BOLTZMANN_EV_PER_K * x**2 * n * (n + 1.0)
    return capacity
