"""What an insulator adds to its force constants: the field of its moving charges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.units import COULOMB_EV_A


@dataclass(frozen=True)
class DielectricResponse:
    """Born effective charges and the dielectric tensor of the electrons.

    Attributes
    ----------
    born : (n, 3, 3) ndarray
        Z*[i, a, b]: polarisation along a of a displacement of atom i along b, units of e.
    dielectric : (3, 3) ndarray
        epsilon_infinity.
    factor : float
        e^2 / (4 pi epsilon_0) with which the non-analytic term is formed, eV A. Files of phonopy state their own, which
        differs in the seventh digit.
    """

    born: np.ndarray
    dielectric: np.ndarray
    factor: float = COULOMB_EV_A
