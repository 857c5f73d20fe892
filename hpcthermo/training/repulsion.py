"""Energy, forces and virial of the short-range repulsion in a frame: constants of training.

    E = 1/2 sum_ij e(r_ij)    F_i = sum_j e'(r_ij) u_ij    W = -1/2 sum_ij e'(r_ij) r_ij (x) u_ij
    e(r) = (k Zi Zj / r) phi(r / a) w(r)

Symbols: potentials/zbl.py.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.training.neighbours import Pairs


def repulsion(pairs: Pairs, types: np.ndarray, screening: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Of all pairs of a frame.

    Parameters
    ----------
    pairs : Pairs
        Up to the largest outer cutoff at least.
    types : (N,) int
    screening : (T, T, 12) float64

    Returns
    -------
    energy : float
        eV.
    forces : (N, 3) float64
        eV/A.
    virial : (3, 3) float64
        eV.
    """
    r = np.linalg.norm(pairs.vectors, axis=1)
    numbers = screening[types[pairs.centre], types[pairs.neighbour]]
    near = r < numbers[:, 3]
    r, numbers, vectors, centre = r[near], numbers[near], pairs.vectors[near], pairs.centre[near]
    charge, inverse_length, inner, outer = numbers[:, :4].T
    amplitudes, exponents = numbers[:, 4::2], numbers[:, 5::2] * inverse_length[:, None]
    terms = amplitudes * np.exp(-exponents * r[:, None])
    phi, phi_slope = terms.sum(axis=1), -(exponents * terms).sum(axis=1)
    angle = np.pi * (r - inner) / (outer - inner)
    switched = r > inner
    w = np.where(switched, 0.5 * (1.0 + np.cos(angle)), 1.0)
    w_slope = np.where(switched, -0.5 * np.pi / (outer - inner) * np.sin(angle), 0.0)
    energies = charge / r * phi * w
    slopes = charge / r * (phi_slope * w + phi * w_slope - phi * w / r)
    pull = (slopes / r)[:, None] * vectors
    forces = np.zeros((len(types), 3))
    np.add.at(forces, centre, pull)
    return 0.5 * float(energies.sum()), forces, -0.5 * vectors.T @ pull
