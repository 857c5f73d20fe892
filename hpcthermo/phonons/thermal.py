r"""Thermal properties of harmonic phonons.

F = sum [h f / 2 + kT ln(1 - exp(-x))]        S = k sum [x n - ln(1 - exp(-x))]        C = k sum x^2 n (n + 1)

symbol   is
x        h f / kT
n        occupation
sum      over bands, mean over wave vectors; modes below the cutoff frequency left out
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, heat_capacities, occupations
from hpcthermo.units import BOLTZMANN_EV_PER_K, PLANCK_EV_PER_THZ


@dataclass(frozen=True)
class ThermalProperties:
    """Thermal properties of a cell.

    Attributes
    ----------
    temperatures : (T,) ndarray
        K.
    free_energy : (T,) ndarray
        F, eV, zero-point energy included.
    entropy : (T,) ndarray
        S, eV/K.
    heat_capacity : (T,) ndarray
        C at constant volume, eV/K.
    zero_point_energy : float
        eV.
    skipped : float
        Share of modes below the cutoff frequency; more than a few acoustic ones are a sign of an unstable crystal.
    """

    temperatures: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray
    zero_point_energy: float
    skipped: float


def thermal_properties(frequencies: np.ndarray, temperatures: np.ndarray,
                       weights: np.ndarray | None = None) -> ThermalProperties:
    """Thermal properties from frequencies.

    Parameters
    ----------
    frequencies : (N, B) array
        THz.
    temperatures : (T,) array
        K; zero is allowed.
    weights : (N,) array, optional
        Of wave vectors; without them all are alike.
    """
    temperatures = np.asarray(temperatures, dtype=float)
    weights = np.ones(len(frequencies)) if weights is None else weights
    share = (weights / weights.sum())[:, None] * (frequencies > CUTOFF_FREQUENCY_THZ)
    quantum = PLANCK_EV_PER_THZ * frequencies
    zero_point = 0.5 * float((share * quantum).sum())
    warm = np.flatnonzero(temperatures > 0.0)
    free = np.full(len(temperatures), zero_point)
    entropy, capacity = np.zeros(len(temperatures)), np.zeros(len(temperatures))
    occupied = occupations(frequencies, temperatures[warm])
    capacity[warm] = np.einsum("nb,tnb->t", share, heat_capacities(frequencies, temperatures[warm]))
    thermal = BOLTZMANN_EV_PER_K * temperatures[warm]
    # - ln(1 - exp(-x)) = ln(1 + n)
    free[warm] -= thermal * np.einsum("nb,tnb->t", share, np.log1p(occupied))
    entropy[warm] = (np.einsum("nb,tnb->t", share * quantum, occupied) + zero_point - free[warm]) / temperatures[warm]
    skipped = float((weights @ (frequencies <= CUTOFF_FREQUENCY_THZ)).sum() / (weights.sum() * frequencies.shape[1]))
    return ThermalProperties(temperatures, free, entropy, capacity, zero_point, skipped)
