r"""Shifts and line shapes of phonons at some wave vectors: bubble, tadpole and loop.

    A_a(f) = (1/pi) 4 f_a^2 gamma / ((f^2 - f_a^2 - 2 f_a Delta)^2 + 4 f_a^2 gamma^2)
    Delta  = Delta_bubble(f) + Delta_tadpole + Delta_loop        gamma = gamma_bubble(f)

The bubble (`self_energy`) depends on frequency; tadpole and loop (`phonons.thermal_shifts`) are constants, of which the
loop needs fourth-order force constants. Without these it is missing, and the bubble alone tends to lower frequencies
more than all three do. Thermal expansion (the quasi-harmonic shift) is not in it: the cell is that of the force
constants.

Reference: A. A. Maradudin, A. E. Fein, Phys. Rev. 128, 2589 (1962).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.thermal_shifts import frequency_changes, loop_springs, tadpole_springs
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.self_energy import lines_and_bands
from hpcthermo.transport.bte.strength import CubicStrength

#: lines are computed up to this multiple of the highest frequency
SPAN = 1.2
#: wave vectors count as points of the mesh within this part of a division
_NEAR = 1e-3


@dataclass(frozen=True)
class LineShapes:
    """Lines of all bands at some wave vectors.

    Attributes
    ----------
    q : (Q, 3) ndarray
        Fractional.
    bands : (Q, B) ndarray
        Harmonic frequencies, THz.
    temperatures : (n_T,) ndarray
        K.
    bubble, gamma : (Q, n_T, B) ndarray
        Shift and half width at half maximum by the bubble at the harmonic frequency, THz.
    tadpole : (Q, n_T, B) ndarray
        Shift, THz.
    loop : (Q, n_T, B) ndarray or None
        Shift, THz; None without fourth-order force constants.
    frequencies : (F,) ndarray
        f, THz.
    spectral_functions : (Q, n_T, B, F) ndarray
        A with all shifts that are there, 1/THz.
    width : float
        Half width of the Lorentzians in the bubble, THz.
    """

    q: np.ndarray
    bands: np.ndarray
    temperatures: np.ndarray
    bubble: np.ndarray
    gamma: np.ndarray
    tadpole: np.ndarray
    loop: np.ndarray | None
    frequencies: np.ndarray
    spectral_functions: np.ndarray
    width: float

    @property
    def content(self) -> str:
        """What is in the shifts, in words."""
        loop = "no loop (no fourth-order force constants)" if self.loop is None else "loop"
        return f"bubble (Lorentzians of half width {self.width:g} THz), tadpole, {loop}; no thermal expansion"


def mesh_points(mesh: Mesh, q: np.ndarray) -> np.ndarray:
    """Indices of wave vectors (Q, 3) in the mesh.

    Raises
    ------
    InputError
        If one is not a point of the mesh.
    """
    addresses = np.asarray(q, dtype=np.float64) @ np.linalg.inv(mesh.basis).T * mesh.divisions
    nearest = np.rint(addresses)
    for one, apart, at in zip(q, np.abs(addresses - nearest).max(axis=1), nearest, strict=True):
        if not apart < _NEAR:
            there = np.round(mesh.basis @ (at / mesh.divisions), 6) + 0.0
            raise InputError(f"bte.line_shapes.q: expected points of the mesh, got {one.tolist()}; the nearest is "
                             f"{there.tolist()}")
    return mesh.index(nearest.astype(int))


def line_shapes(harmonic: HarmonicCrystal, mesh: Mesh, phonons: Phonons, third: Interactions,
                fourth: Interactions | None, points: np.ndarray, temperatures: Sequence[float] | np.ndarray,
                width_THz: float = 0.1, n_frequencies: int = 1000,
                note: Callable[[int], None] | None = None) -> LineShapes:
    """Shifts and line shapes at points of a mesh.

    Parameters
    ----------
    phonons : Phonons
        On the whole mesh.
    third, fourth : Interactions
        Force constants; without those of the fourth order there is no loop.
    points : (Q,) array of int
        Indices; of equivalent points the representative is taken, which has the same lines.
    temperatures : (n_T,) array
        K.
    width_THz : float
        Half width of the Lorentzians in the bubble.
    n_frequencies : int
        Of the lines, from zero to `SPAN` times the highest frequency.
    note : callable, optional
        Told of the number of points that are done.
    """
    at = np.asarray(temperatures, dtype=np.float64)
    there = mesh.representative[points]
    at_points = phonons.at(there)

    def shifts(springs: Callable[[float], Interactions]) -> np.ndarray:
        return np.stack([frequency_changes(mesh.crystal, at_points, springs(float(temperature)))
                         for temperature in at], axis=1)

    tadpole = shifts(lambda temperature: tadpole_springs(harmonic, phonons, third, temperature))
    loop = None if fourth is None else shifts(
        lambda temperature: loop_springs(mesh.crystal, phonons, fourth, temperature))
    constant = tadpole if loop is None else tadpole + loop
    strength = CubicStrength(mesh, phonons, third, make_backend("cpu", "double"))
    frequencies = np.linspace(0.0, SPAN * phonons.frequencies.max(), n_frequencies)
    bubble, gamma = np.empty_like(constant), np.empty_like(constant)
    lines = np.empty((*constant.shape, n_frequencies))
    for q, (point, static) in enumerate(zip(there, constant, strict=True)):
        found, bubble[q], gamma[q] = lines_and_bands(mesh, phonons, strength, int(point), at, frequencies, width_THz)
        lines[q] = replace(found, shifts=found.shifts + static[..., None]).spectral_functions
        if note is not None:
            note(q + 1)
    return LineShapes(mesh.q[points], at_points.frequencies, at, bubble, gamma, tadpole, loop, frequencies, lines,
                      width_THz)
