"""Short-range repulsion of Ziegler, Biersack and Littmark (1985) as NEP files use it.

E(r) = (k Zi Zj / r) phi(r / a) w(r), 1/a = 2.134563 (Zi^0.23 + Zj^0.23) / A, phi(x) = sum_k A_k exp(-B_k x).
w falls from 1 at the inner cutoff to 0 at the outer one as (1 + cos)/2. Each atom of a pair gets half of E.

A pair is described by 12 numbers: k Zi Zj (eV A), 1/a (1/A), inner and outer cutoff (A), then
A_1, B_1, ..., A_4, B_4.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.errors import InputError

#: Coulomb constant e^2 / (4 pi eps0) in eV A as NEP uses it
COULOMB_EV_A = 14.399645
#: (amplitude, exponent) of the universal screening function
UNIVERSAL_PHI = (0.18175, 3.1998, 0.50986, 0.94229, 0.28022, 0.4029, 0.02817, 0.20162)

# Covalent radii in A of H..Pu: Pyykko and Atsumi, Chem. Eur. J. 15, 186 (2009), metals 10 % smaller, as in
# Grimme et al., J. Chem. Phys. 132, 154104 (2010), before their common factor 4/3.
_COVALENT_RADII = np.array([
    0.32, 0.46,
    1.20, 0.94, 0.77, 0.75, 0.71, 0.63, 0.64, 0.67,
    1.40, 1.25, 1.13, 1.04, 1.10, 1.02, 0.99, 0.96,
    1.76, 1.54, 1.33, 1.22, 1.21, 1.10, 1.07, 1.04, 1.00, 0.99, 1.01, 1.09, 1.12, 1.09, 1.15, 1.10, 1.14, 1.17,
    1.89, 1.67, 1.47, 1.39, 1.32, 1.24, 1.15, 1.13, 1.13, 1.08, 1.15, 1.23, 1.28, 1.26, 1.26, 1.23, 1.32, 1.31,
    2.09, 1.76, 1.62, 1.47, 1.58, 1.57, 1.56, 1.55, 1.51, 1.52, 1.51, 1.50, 1.49, 1.49, 1.48, 1.53, 1.46,
    1.37, 1.31, 1.23, 1.18, 1.16, 1.11, 1.12, 1.13, 1.32, 1.30, 1.30, 1.36, 1.31, 1.38, 1.42,
    2.01, 1.81, 1.67, 1.58, 1.52, 1.53, 1.54, 1.55,
])
# 4/3 of them, to the six digits at which NEP programs tabulate them
_TYPEWISE_RADII = np.array([float(f"{4.0 / 3.0 * radius:.6g}") for radius in _COVALENT_RADII])


def universal_screening(
    elements: tuple[str, ...], inner: float, outer: float, typewise_factor: float | None, phi: tuple[float, ...]
) -> np.ndarray:
    """Screening numbers of all pairs with common cutoffs.

    Parameters
    ----------
    elements : tuple of str
    inner, outer : float
        Cutoffs, A.
    typewise_factor : float or None
        If given, a pair's outer cutoff is at most this times the sum of its covalent radii, and its
        inner cutoff is 0.
    phi : tuple of 8 floats

    Returns
    -------
    (T, T, 12) float64
    """
    z = _atomic_numbers(elements)
    screening = np.empty((len(z), len(z), 12))
    screening[..., :2] = _charges_and_lengths(z)
    screening[..., 2] = inner
    screening[..., 3] = outer
    if typewise_factor is not None:
        radii = _TYPEWISE_RADII[z - 1]
        screening[..., 2] = 0.0
        screening[..., 3] = np.minimum(outer, typewise_factor * (radii[:, None] + radii[None, :]))
    screening[..., 4:] = phi
    return screening


def flexible_screening(name: str, elements: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
    """Screening numbers of a flexible ZBL: ten by pair, in the order 11, 12, ..., 1T, 22, ...

    Returns
    -------
    (T, T, 12) float64

    Raises
    ------
    InputError
        If the cutoffs of a pair are not ordered.
    """
    z = _atomic_numbers(elements)
    screening = np.empty((len(z), len(z), 12))
    screening[..., :2] = _charges_and_lengths(z)
    pairs = [(i, j) for i in range(len(z)) for j in range(i, len(z))]
    for (i, j), row in zip(pairs, numbers, strict=True):
        if not 0.0 <= row[0] < row[1] <= 20.0:
            raise InputError(
                f"{name}: ZBL of {elements[i]}-{elements[j]}: expected 0 <= inner < outer cutoff <= 20 A, "
                f"got {row[0]:g} and {row[1]:g}; the file is damaged"
            )
        screening[i, j, 2:] = screening[j, i, 2:] = row
    return screening


def _atomic_numbers(elements: tuple[str, ...]) -> np.ndarray:
    from ase.data import atomic_numbers

    return np.array([atomic_numbers[e] for e in elements])


def _charges_and_lengths(z: np.ndarray) -> np.ndarray:
    powers = z**0.23
    charges = COULOMB_EV_A * (z[:, None] * z[None, :]).astype(np.float64)
    return np.stack([charges, 2.134563 * (powers[:, None] + powers[None, :])], axis=-1)
