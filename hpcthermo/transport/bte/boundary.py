r"""Scattering at the boundaries of a specimen, and the sum of several kinds of scattering.

Every phonon meets a wall after a length L at the latest (walls that scatter diffusely):

    1/tau = |v| / L        gamma = |v| / (4 pi L)

    symbol   is
    v        group velocity, A/ps
    L        one length for all directions, A
    gamma    half width at half maximum, THz

Rates of independent kinds of scattering add (Matthiessen), so linewidths are simply added.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.errors import InputError


def boundary_linewidths(velocities: np.ndarray, length_A: float) -> np.ndarray:
    """Linewidths gamma (I, B), THz, of velocities (I, B, 3), A/ps, in a specimen of one length.

    Raises
    ------
    InputError
        If the length is not positive.
    """
    if not length_A > 0.0:
        raise InputError(f"boundary_length_A: expected a positive length, got {length_A}")
    gamma: np.ndarray = np.linalg.norm(velocities, axis=2) / (4.0 * np.pi * length_A)
    return gamma
