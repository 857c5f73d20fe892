"""Lennard-Jones potentials from the nonbond parameters of the universal force field (UFF), and mixing rules.

A. K. Rappe, C. J. Casewit, K. S. Colwell, W. A. Goddard III and W. M. Skiff, J. Am. Chem. Soc. 114, 10024 (1992):
table 1 gives the distance x of the minimum and the energy D of like atoms; Open Babel and RDKit have the same numbers.
UFF mixes both geometrically; with Lorentz-Berthelot mixing, common in molecular dynamics with these parameters, lengths
are arithmetic means.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hpcthermo.potentials.lennard_jones import LennardJonesModel, LennardJonesPotential

MIXING_RULES = ("geometric", "lorentz_berthelot")

#: x (A) and D (kcal/mol) by element
NONBOND: dict[str, tuple[float, float]] = {
    "H": (2.886, 0.044), "Li": (2.451, 0.025), "Be": (2.745, 0.085), "B": (4.083, 0.180), "C": (3.851, 0.105),
    "N": (3.660, 0.069), "O": (3.500, 0.060), "F": (3.364, 0.050), "Na": (2.983, 0.030), "Mg": (3.021, 0.111),
    "Al": (4.499, 0.505), "Si": (4.295, 0.402), "P": (4.147, 0.305), "S": (4.035, 0.274), "Cl": (3.947, 0.227),
    "K": (3.812, 0.035), "Ca": (3.399, 0.238), "Sc": (3.295, 0.019), "Ti": (3.175, 0.017), "V": (3.144, 0.016),
    "Cr": (3.023, 0.015), "Mn": (2.961, 0.013), "Fe": (2.912, 0.013), "Co": (2.872, 0.014), "Ni": (2.834, 0.015),
    "Cu": (3.495, 0.005), "Zn": (2.763, 0.124), "Ga": (4.383, 0.415), "Ge": (4.280, 0.379), "As": (4.230, 0.309),
    "Se": (4.205, 0.291), "Br": (4.189, 0.251), "Y": (3.345, 0.072), "Zr": (3.124, 0.069), "Nb": (3.165, 0.059),
    "Mo": (3.052, 0.056), "Ru": (2.963, 0.056), "Rh": (2.929, 0.053), "Pd": (2.899, 0.048), "Ag": (3.148, 0.036),
    "Cd": (2.848, 0.228), "In": (4.463, 0.599), "Sn": (4.392, 0.567), "Sb": (4.420, 0.449), "Te": (4.470, 0.398),
    "I": (4.500, 0.339), "Hf": (3.141, 0.072), "Ta": (3.170, 0.081), "W": (3.069, 0.067), "Re": (2.954, 0.066),
    "Os": (3.120, 0.037), "Ir": (2.840, 0.073), "Pt": (2.754, 0.080), "Au": (3.293, 0.039), "Hg": (2.705, 0.385),
    "Tl": (4.347, 0.680), "Pb": (4.297, 0.663), "Bi": (4.370, 0.518),
}
_KCAL_PER_MOL_EV = 4184.0 / 96485.33212


def universal_lennard_jones(table: Mapping[str, tuple[float, float]], cutoff: float, source: str, mixing: str,
                            between_layers_only: bool) -> LennardJonesPotential:
    """Lennard-Jones potential, energy-shifted, from UFF distances and energies.

    Parameters
    ----------
    table : mapping of symbol to (x, D)
        A and kcal/mol.
    cutoff : float
        A, for all pairs.
    mixing : str
        One of `MIXING_RULES`.
    """
    x, depth = np.array(list(table.values())).T
    epsilon, sigma = mixed(depth * _KCAL_PER_MOL_EV, x / 2.0 ** (1.0 / 6.0), mixing)
    return LennardJonesPotential(LennardJonesModel(
        source, tuple(table), epsilon, sigma, np.full((len(x), len(x)), cutoff), True, between_layers_only))


def mixed(epsilon: np.ndarray, sigma: np.ndarray, mixing: str) -> tuple[np.ndarray, np.ndarray]:
    """Parameters of all pairs, (T, T), from those of like pairs, (T,): sqrt(epsilon_i epsilon_j) and a mean of sigma.

    Parameters
    ----------
    mixing : str
        ``"geometric"`` or, for an arithmetic mean of sigma, ``"lorentz_berthelot"``.
    """
    mean = 0.5 * np.add.outer(sigma, sigma) if mixing == "lorentz_berthelot" else np.sqrt(np.outer(sigma, sigma))
    return np.sqrt(np.outer(epsilon, epsilon)), mean
