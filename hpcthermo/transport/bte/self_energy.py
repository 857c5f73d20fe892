r"""Self-energy of phonons to lowest order: shift and linewidth as functions of frequency (the bubble diagram).

    Sigma_a(f) = (1 / 2 h^2 N) sum S { (n1 + n2 + 1) [ 1/(z - f1 - f2) - 1/(z + f1 + f2) ]
                                      + (n1 - n2) [ 1/(z + f1 - f2) - 1/(z - f1 + f2) ] }        z = f + i eps
               = Delta_a(f) - i gamma_a(f)

    A_a(f) = (1/pi) 4 f_a^2 gamma / ((f^2 - f_a^2 - 2 f_a Delta)^2 + 4 f_a^2 gamma^2)

    symbol   is
    S        strength N |Phi3|^2 of modes a at q0, 1 at q1, 2 at q2, eV^2
    eps      width, THz: principal values and delta functions are smeared by Lorentzians of this half width, both alike,
             so that Delta and gamma belong to one analytic function (Kramers and Kronig)
    Delta    shift of the frequency, THz
    gamma    half width at half maximum, THz
    A        spectral function, 1/THz; its integral over f > 0 is 1 where lines are narrow

The shift is part of what cubic terms do to a frequency; the loop of quartic terms and, where atoms may move without
breaking symmetry, the tadpole belong to the same order.

Reference: A. A. Maradudin, A. E. Fein, Phys. Rev. 128, 2589 (1962).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean, occupations
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import Strength
from hpcthermo.transport.bte.triplets import TripletSymmetry
from hpcthermo.units import PLANCK_EV_PER_THZ

#: complex numbers held at a time
_ELEMENTS = 2**21


@dataclass(frozen=True)
class SelfEnergy:
    """Sigma of the modes at one wave vector.

    Attributes
    ----------
    point : int
        Index in the mesh.
    temperatures : (n_T,) ndarray
        K.
    frequencies : (F,) ndarray
        f, THz.
    bands : (B,) ndarray
        Harmonic frequencies f_a, THz.
    shifts, gamma : (n_T, B, F) ndarray
        Delta and gamma, THz; zero for modes below the cutoff frequency.
    width : float
        eps, THz.
    """

    point: int
    temperatures: np.ndarray
    frequencies: np.ndarray
    bands: np.ndarray
    shifts: np.ndarray
    gamma: np.ndarray
    width: float

    @property
    def spectral_functions(self) -> np.ndarray:
        """A (n_T, B, F), 1/THz; zero for modes below the cutoff frequency."""
        f, band = self.frequencies, self.bands[:, None]
        active = band > CUTOFF_FREQUENCY_THZ
        breadth = 4.0 * band**2 * self.gamma
        below = (f**2 - band**2 - 2.0 * band * self.shifts) ** 2 + breadth * self.gamma
        spectral: np.ndarray = np.where(active & (below > 0), breadth / np.where(below > 0, below, 1.0), 0.0) / np.pi
        return spectral


def self_energy(mesh: Mesh, phonons: Phonons, strength: Strength, point: int, temperatures: np.ndarray,
                frequencies: np.ndarray, width_THz: float) -> SelfEnergy:
    """Self-energy of all modes at one point, as a function of frequency.

    Parameters
    ----------
    phonons : Phonons
        On the whole mesh.
    point : int
        Index of the wave vector; its representative is taken.
    temperatures : (n_T,) array
        K.
    frequencies : (F,) array
        THz.
    width_THz : float
        eps.

    Raises
    ------
    InputError
        If the width is not positive, or there is no such point.
    """
    if not width_THz > 0.0:
        raise InputError(f"width_THz: expected a positive width, got {width_THz}")
    if not 0 <= point < mesh.n_points:
        raise InputError(f"self-energy: expected a point from 0 to {mesh.n_points - 1}, got {point}")
    temperatures, frequencies = np.asarray(temperatures, dtype=np.float64), np.asarray(frequencies, dtype=np.float64)
    point = int(mesh.representative[point])
    slot = int(np.searchsorted(mesh.irreducible[0], point))
    triplets = TripletSymmetry(mesh, permute=False).of(slot)
    f, n = phonons.frequencies, occupations(phonons.frequencies, temperatures)
    n_bands = f.shape[1]
    total = np.zeros((len(temperatures), n_bands, len(frequencies)), dtype=np.complex128)
    step = max(1, _ELEMENTS // (n_bands**2 * max(len(frequencies), n_bands)))
    for begin in range(0, len(triplets), step):
        part = triplets.part(begin, begin + step)
        first, second = part.point1, part.point2
        weighted = strength.of(point, first, second) * part.multiplicities[:, :1, None, None]
        by_band = weighted.transpose(1, 0, 2, 3).reshape(n_bands, -1)
        f1, f2 = f[first][:, :, None], f[second][:, None, :]
        n1, n2 = n[:, first][..., :, None], n[:, second][..., None, :]
        together = max(1, _ELEMENTS // (len(first) * n_bands**2))
        # both kinds of processes: z - E and z + E of opposite sign
        for energy, number in ((f1 + f2, n1 + n2 + 1.0), (f2 - f1, n1 - n2)):
            z, e = frequencies + 1j * width_THz, energy.reshape(-1, 1)
            for some in range(0, len(z), together):
                resolvent = 1.0 / (z[some:some + together] - e) - 1.0 / (z[some:some + together] + e)
                for t, amount in enumerate(number.reshape(len(temperatures), -1)):
                    total[t, :, some:some + together] += (by_band * amount) @ resolvent
    bands = f[point]
    total *= 1.0 / (2.0 * PLANCK_EV_PER_THZ**2 * mesh.n_points)
    means = np.array([degenerate_mean(bands, at) for at in total])
    return SelfEnergy(point, temperatures, frequencies, bands, means.real, -means.imag, width_THz)


def at_bands(mesh: Mesh, phonons: Phonons, strength: Strength, point: int, temperatures: np.ndarray,
             width_THz: float) -> tuple[np.ndarray, np.ndarray]:
    """Shifts and linewidths (n_T, B), THz, of each mode at its own frequency."""
    return lines_and_bands(mesh, phonons, strength, point, temperatures, np.zeros(0), width_THz)[1:]


def lines_and_bands(mesh: Mesh, phonons: Phonons, strength: Strength, point: int, temperatures: np.ndarray,
                    frequencies: np.ndarray, width_THz: float) -> tuple[SelfEnergy, np.ndarray, np.ndarray]:
    """`self_energy` and `at_bands` with one calculation of the strengths."""
    bands, n = phonons.frequencies[mesh.representative[point]], len(frequencies)
    found = self_energy(mesh, phonons, strength, point, temperatures, np.concatenate([frequencies, bands]), width_THz)
    lines = replace(found, frequencies=found.frequencies[:n], shifts=found.shifts[..., :n], gamma=found.gamma[..., :n])
    own = (np.einsum("tbb->bt", found.shifts[..., n:]), np.einsum("tbb->bt", found.gamma[..., n:]))
    return lines, degenerate_mean(bands, own[0]).T, degenerate_mean(bands, own[1]).T
