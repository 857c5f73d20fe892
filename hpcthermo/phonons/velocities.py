r"""Group velocities and velocity matrices.

    V_ss' = <e_s| W |e_s'> / (w_s + w_s')        v_s = V_ss

W is the slope of the dynamical matrix in the smooth gauge (`HarmonicCrystal.slopes`). Where bands are degenerate at q,
their eigenvectors are arbitrary and V_ss alone means nothing: W along one fixed direction is diagonalised within the
group first, so that velocities are slopes of bands along that direction, as in phonopy.

    symbol    is
    w         angular frequency, 2 pi f
    e         eigenvector
    v         group velocity, A/ps (100 m/s)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import FREQUENCY_THZ, HarmonicCrystal, Phonons
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_groups

#: in which degenerate bands are told apart, Cartesian
DIRECTION = (1.0, 2.0, 3.0)
#: (eV/(A amu)) / THz in A/ps
_VELOCITY = 2.0 * np.pi * FREQUENCY_THZ**2
#: elements of the matrices held at a time
_CHUNK = 2**21


def velocity_matrices(harmonic: HarmonicCrystal, phonons: Phonons) -> np.ndarray:
    """V_ss' at wave vectors, for the coherences between bands.

    Returns
    -------
    (N, 3, B, B) complex ndarray
        A/ps, Hermitian in the bands; zero for modes below the cutoff frequency.
    """
    return np.concatenate([_mode_slopes(harmonic, q, f, e).transpose(1, 0, 2, 3) / _frequency_sums(f)[:, None]
                           for q, f, e in _chunks(phonons)])


def group_velocities(harmonic: HarmonicCrystal, phonons: Phonons,
                     direction: tuple[float, float, float] | np.ndarray = DIRECTION) -> np.ndarray:
    """v_s at wave vectors.

    Parameters
    ----------
    direction : (3,) array
        Cartesian; along it degenerate bands are told apart.

    Returns
    -------
    (N, B, 3) ndarray
        A/ps; zero for modes below the cutoff frequency.
    """
    along = np.asarray(direction, dtype=float) / np.linalg.norm(direction)
    return np.concatenate([_group_velocities(harmonic, along, *chunk) for chunk in _chunks(phonons)])


def little_group_average(crystal: Crystal, q: np.ndarray, velocities: np.ndarray, rotations: np.ndarray,
                         cartesian_rotations: np.ndarray) -> np.ndarray:
    """Mean of velocities over the rotations that leave q itself where it is, as in phonopy.

    Rotations that move q by a reciprocal lattice vector take no part: at the zone boundary they exchange bands that
    cross, and a mean by band would be zero. Which image of q is meant matters there: of those in the first Brillouin
    zone or on its boundary it is the one in [-1/2, 1/2), or the first if there is none.

    Parameters
    ----------
    q : (N, 3) ndarray
        Fractional.
    velocities : (N, B, 3) ndarray
    rotations, cartesian_rotations : (G, 3, 3) ndarray
        Of wave vectors, as `Mesh` has them.
    """
    counts, images = crystal.shortest_wave_vectors(q)
    within = q - np.floor(q + 0.5 + 1e-9)
    chosen = (np.abs(images - within[:, None, :]) < 1e-5).all(axis=2) & (np.arange(images.shape[1]) < counts[:, None])
    q = images[np.arange(len(q)), chosen.argmax(axis=1)]
    keeps = (np.abs(np.einsum("gij,nj->ngi", rotations, q) - q[:, None, :]) < 1e-5).all(axis=2)
    mean = np.einsum("ng,gij->nij", keeps / keeps.sum(axis=1, keepdims=True), cartesian_rotations)
    return velocities @ mean.transpose(0, 2, 1)


def separated(operators: np.ndarray, along: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Operators (3, N, B, B) in eigenvectors that diagonalise their part along a direction within each group.

    Parameters
    ----------
    along : (3,) ndarray
        Unit vector.
    groups : (N, B) ndarray of int
        Ascending numbers of the groups of degenerate bands.
    """
    inside = groups[:, :, None] == groups[:, None, :]
    part = np.where(inside, np.tensordot(along, operators, axes=1), 0.0)
    # a step between the groups keeps them in order in one diagonalisation
    step = 4.0 * np.abs(part).sum(axis=2).max(initial=1e-30)
    bands = np.arange(groups.shape[1])
    part[:, bands, bands] += step * groups
    rotation = np.linalg.eigh(part)[1]
    found: np.ndarray = rotation.conj().transpose(0, 2, 1) @ operators @ rotation
    return found


def _chunks(phonons: Phonons) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    points, n_bands = phonons.frequencies.shape
    step = max(1, _CHUNK // (3 * n_bands**2))
    parts = (phonons.at(slice(i, i + step)) for i in range(0, points, step))
    return ((part.q, part.frequencies, part.eigenvectors) for part in parts)


def _mode_slopes(harmonic: HarmonicCrystal, q: np.ndarray, f: np.ndarray, e: np.ndarray) -> np.ndarray:
    """<e_s| W |e_s'> in A THz^2/ps, rows and columns of modes below the cutoff zero, (3, N, B, B)."""
    slopes: np.ndarray = _VELOCITY * (e.conj().transpose(0, 2, 1) @ harmonic.slopes(q) @ e)
    still = f < CUTOFF_FREQUENCY_THZ
    slopes.transpose(1, 2, 0, 3)[still] = 0.0
    slopes.transpose(1, 3, 0, 2)[still] = 0.0
    return slopes


def _frequency_sums(f: np.ndarray) -> np.ndarray:
    moving = np.maximum(f, CUTOFF_FREQUENCY_THZ)
    sums: np.ndarray = moving[:, :, None] + moving[:, None, :]
    return sums


def _group_velocities(harmonic: HarmonicCrystal, along: np.ndarray, q: np.ndarray, f: np.ndarray,
                      e: np.ndarray) -> np.ndarray:
    slopes = _mode_slopes(harmonic, q, f, e)
    groups = degenerate_groups(f)
    mixed = np.flatnonzero(groups[:, -1] < f.shape[1] - 1)
    if len(mixed):
        slopes[:, mixed] = separated(slopes[:, mixed], along, groups[mixed])
    diagonal = np.diagonal(slopes, axis1=2, axis2=3).real.transpose(1, 2, 0)
    velocities: np.ndarray = diagonal / (2.0 * np.maximum(f, CUTOFF_FREQUENCY_THZ))[..., None]
    return velocities
