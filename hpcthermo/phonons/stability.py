"""The harmonic crystal of force constants, and whether it is stable."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics
from hpcthermo.phonons.nonanalytic import NonAnalytic

Correction = Literal["gonze", "wang", "none"]


def harmonic_crystal(dynamics: LatticeDynamics, nac: Correction = "gonze") -> HarmonicCrystal:
    """Harmonic phonons, with the non-analytic correction where charges are known and nac is not "none"."""
    if dynamics.dielectric is None or nac == "none":
        return HarmonicCrystal(dynamics.crystal, dynamics.second)
    supercell = dynamics.supercell(2)
    if supercell is None:
        raise InputError("phonon.nac: expected second-order force constants of a supercell, got a list; set nac = "
                         '"none", or give fc2.hdf5')
    return HarmonicCrystal(dynamics.crystal, dynamics.second, NonAnalytic(dynamics.dielectric, supercell, method=nac))


def correction_text(dynamics: LatticeDynamics, nac: Correction) -> str:
    """Whether `harmonic_crystal` applies the non-analytic correction, in words."""
    if dynamics.dielectric is None:
        return "not applied: no dielectric constants and Born charges are known"
    return 'not applied: phonon.nac = "none"' if nac == "none" else f"applied ({nac})"


def require_stable(frequencies: np.ndarray, q: np.ndarray, limit_THz: float) -> float:
    """Refuse imaginary modes, which have no lifetime.

    Returns
    -------
    float
        The lowest frequency, THz.

    Raises
    ------
    InputError
        Naming the lowest mode.
    """
    lowest = float(frequencies.min())
    if lowest < -limit_THz:
        where = q[int(frequencies.min(axis=1).argmin())]
        raise InputError(f"crystal: expected frequencies above -{limit_THz:g} THz, got {lowest:.3f} THz at q = "
                         f"{np.round(where, 4).tolist()}: it is unstable; relax it further, use a larger supercell, or "
                         "raise phonon.imaginary_limit_THz")
    return lowest
