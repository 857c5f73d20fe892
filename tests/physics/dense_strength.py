"""Strengths by plain sums over force constants, slowly."""

from __future__ import annotations

import numpy as np

from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean
from hpcthermo.units import ATOMIC_MASS_KG, ELEMENTARY_CHARGE_C, PLANCK_EV_PER_THZ

#: amu A^2/ps^2 in eV
KINETIC_EV = ATOMIC_MASS_KG * 1e4 / ELEMENTARY_CHARGE_C


class DenseStrength:
    """S = (hbar/2)^3 |sum Phi e0 e1 e2 exp(2 pi i (q1 R2 + q2 R3)) / sqrt(m m m)|^2 / (w0 w1 w2)."""

    def __init__(self, phonons, third, masses):
        self.phonons = phonons
        n = len(masses)
        self.vectors, term = np.unique(third.vectors.reshape(-1, 6), axis=0, return_inverse=True)
        blocks = np.zeros((len(self.vectors), n, n, n, 3, 3, 3))
        i, j, k = third.atoms.T
        weight = 1.0 / np.sqrt(masses[i] * masses[j] * masses[k])
        np.add.at(blocks, (term.ravel(), i, j, k), third.values * weight[:, None, None, None])
        self.blocks = blocks.transpose(0, 1, 4, 2, 5, 3, 6).reshape(len(blocks), -1)
        f = phonons.frequencies
        w = 2.0 * np.pi * np.where(f > CUTOFF_FREQUENCY_THZ, f, np.inf)
        self.legs = phonons.eigenvectors / np.sqrt(w)[:, None, :]
        self.factor = (PLANCK_EV_PER_THZ / (4.0 * np.pi)) ** 3 / KINETIC_EV**3

    def prepare(self, points):
        """Nothing."""

    def of(self, point0, point1, point2, out=None):
        q, f = self.phonons.q, self.phonons.frequencies
        n_bands = f.shape[1]
        angle = 2.0 * np.pi * np.concatenate([q[point1], q[point2]], axis=1) @ self.vectors.T
        total = (np.cos(angle) @ self.blocks + 1j * (np.sin(angle) @ self.blocks)).reshape(-1, *(n_bands,) * 3)
        total = np.einsum("tijk,ia->tajk", total, self.legs[point0])
        total = np.einsum("tajk,tjb->tabk", total, self.legs[point1])
        total = np.einsum("tabk,tkc->tabc", total, self.legs[point2])
        strength = self.factor * np.abs(total) ** 2
        for leg, points in enumerate((np.full_like(point1, point0), point1, point2)):
            moved = np.moveaxis(strength, 1 + leg, 1)
            strength = np.moveaxis(degenerate_mean(f[points], moved), 1, 1 + leg)
        return np.ascontiguousarray(strength)
