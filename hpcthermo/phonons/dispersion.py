"""Phonons along lines through the Brillouin zone.

Crystals get the path of Y. Hinuma et al., Comput. Mater. Sci. 128, 140 (2017), through seekpath. Sheets get that of
their plane lattice: hexagonal G M K G, square G X M G, rectangular G X S Y G, others G X C Y G, with X = b_1/2 and
Y = b_2/2 of the reduced cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.velocities import group_velocities

#: lengths and angles of plane lattices are equal within this part
_PLANE_TOLERANCE = 1e-3
#: name of the point q = 0
GAMMA = "GAMMA"
#: f^2 counts from this multiple of the rounding of the largest (machine precision times it): p is known within 0.05
#: then, and sheets whose layers slide easily are seen where they bend as one (turned h-BN: 1.94; from 100 on 1.74)
ABOVE_ROUNDING = 5.0
#: steps of a span of wave vectors outwards, and where they end, as a multiple of a reciprocal lattice vector
_FURTHER, _ZONE_BOUNDARY = 1.25, 0.5


@dataclass(frozen=True)
class Path:
    """Lines between named points.

    Attributes
    ----------
    ends : (S, 2, 3) ndarray
        First and last point of each line, fractional.
    names : tuple of (str, str)
        Their names; that of q = 0 is ``GAMMA``.
    """

    ends: np.ndarray
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Dispersion:
    """Phonons along a path; where lines meet, the point stands twice.

    Attributes
    ----------
    q : (N, 3) ndarray
        Fractional.
    distances : (N,) ndarray
        Along the path, 1/A, without 2 pi.
    lines : (N,) ndarray of int
        Line of the path that each point belongs to.
    frequencies : (N, B) ndarray
        THz, ascending.
    eigenvectors : (N, B, B) complex ndarray
    velocities : (N, B, 3) ndarray
        A/ps.
    branches : (N, B) ndarray of int
        Place in the ascending order of branch 1, 2, ..., connected by their eigenvectors along each line.
    ticks : list of (float, str)
        Distances and names of the ends of lines; where the path jumps, both names.
    """

    q: np.ndarray
    distances: np.ndarray
    lines: np.ndarray
    frequencies: np.ndarray
    eigenvectors: np.ndarray
    velocities: np.ndarray
    branches: np.ndarray
    ticks: list[tuple[float, str]]


def standard_path(crystal: Crystal) -> Path:
    """The path that is usual for the lattice of a crystal or sheet.

    Raises
    ------
    InputError
        If the crystal is periodic in fewer than two directions.
    """
    if not all(crystal.periodic):
        return _sheet_path(crystal)
    import seekpath

    cell: Any = (crystal.cell, crystal.positions, crystal.numbers + 1)
    found = seekpath.get_path_orig_cell(cell)
    ends = np.array([[found["point_coords"][name] for name in line] for line in found["path"]])
    return Path(ends, tuple((a, b) for a, b in found["path"]))


def dispersion(harmonic: HarmonicCrystal, path: Path, points: int = 51) -> Dispersion:
    """Phonons along a path.

    At q = 0 the dipoles of an insulator take the direction of the line.

    Parameters
    ----------
    points : int
        Per line, its ends included.
    """
    if points < 2:
        raise InputError(f"path: expected at least 2 points per line, got {points}")
    parts = []
    ticks: list[tuple[float, str]] = []
    start = 0.0
    for number, ((first, last), (before, after)) in enumerate(zip(path.ends, path.names, strict=True)):
        q = first + np.linspace(0.0, 1.0, points)[:, None] * (last - first)
        found = harmonic.phonons(q, last - first)
        distances = start + np.linalg.norm((q - first) @ harmonic.crystal.reciprocal, axis=1)
        parts.append((q, distances, np.full(points, number), found.frequencies, found.eigenvectors,
                      group_velocities(harmonic, found), _connected(harmonic.crystal, q, found.eigenvectors)))
        if ticks and ticks[-1][1] != before:
            ticks[-1] = (start, f"{ticks[-1][1]}|{before}")
        elif not ticks:
            ticks.append((start, before))
        start = float(distances[-1])
        ticks.append((start, after))
    q, distances, lines, frequencies, eigenvectors, velocities, branches = (
        np.concatenate(column) for column in zip(*parts, strict=True))
    return Dispersion(q, distances, lines, frequencies, eigenvectors, velocities, branches, ticks)


def sound_velocities(harmonic: HarmonicCrystal, directions: np.ndarray, length: float = 1e-3) -> np.ndarray:
    """Speeds of the three acoustic branches, (D, 3), A/ps, ascending, from the limit f / |q| for q -> 0.

    Parameters
    ----------
    directions : (D, 3) array
        Cartesian.
    length : float
        |q| of the nearer of two points from which the limit is found, 1/A, without 2 pi.
    """
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    to_fractional = harmonic.crystal.cell.T
    near, far = (np.sort(harmonic.phonons(x * unit @ to_fractional).frequencies[:, :3] / x, axis=1)
                 for x in (length, 2.0 * length))
    # f / q = v + O(q^2)
    limit: np.ndarray = (4.0 * near - far) / 3.0
    return limit


def flexural_exponent(harmonic: HarmonicCrystal, direction: tuple[int, int, int] | np.ndarray = (1, 0, 0),
                      span: tuple[float, float] = (0.01, 0.05), points: int = 9) -> float:
    """Exponent p of f ~ |q|^p for the out-of-plane acoustic (ZA) branch of a sheet; two without stress.

    Parameters
    ----------
    direction : (3,) array
        Fractional wave vector.
    span : (float, float)
        Smallest and largest multiple of it. Both grow, with the same quotient, until f^2 at the smallest is
        `ABOVE_ROUNDING` times the rounding of the largest eigenvalue.

    Raises
    ------
    InputError
        If the crystal is no sheet, or the branch is unstable.
    """
    crystal = harmonic.crystal
    if crystal.periodic.count(False) != 1:
        raise InputError(f"flexural exponent: expected a sheet, got periodic = {crystal.periodic}")
    normal = np.cross(*crystal.cell[[a for a in range(3) if crystal.periodic[a]]])
    normal /= np.linalg.norm(normal)
    rigid = np.sqrt(crystal.masses / crystal.masses.sum())[:, None] * normal

    def branch(q: np.ndarray) -> np.ndarray:
        """The ZA branch, in which all atoms move alike along the normal."""
        found = harmonic.phonons(q[:, None] * np.asarray(direction, dtype=float))
        phase = np.exp(-2j * np.pi * (found.q @ crystal.positions.T))
        moving = found.eigenvectors.reshape(len(q), crystal.n_atoms, 3, -1)
        share = np.abs(np.einsum("ia,ni,nias->ns", rigid, phase, moving))**2
        frequencies: np.ndarray = found.frequencies[np.arange(len(q)), share.argmax(axis=1)]
        return frequencies

    highest = harmonic.phonons(np.outer([0.0, _ZONE_BOUNDARY], direction)).frequencies.max()
    rounding = np.sqrt(ABOVE_ROUNDING * np.finfo(float).eps) * highest
    q = np.geomspace(*span, points)
    while abs(branch(q[:1])[0]) < rounding and q[-1] < _ZONE_BOUNDARY:
        q = _FURTHER * q
    frequencies = branch(q)
    if frequencies.min() <= 0.0:
        raise InputError(f"flexural exponent: expected a stable branch, got {frequencies.min():.4f} THz; relax the "
                         "sheet and apply the sum rules")
    return float(np.polyfit(np.log(q), np.log(frequencies), 1)[0])


def _connected(crystal: Crystal, q: np.ndarray, eigenvectors: np.ndarray) -> np.ndarray:
    """Branches that follow eigenvectors from point to point, in the gauge where these change least."""
    from scipy.optimize import linear_sum_assignment

    smooth = np.exp(-2j * np.pi * (q @ np.repeat(crystal.positions, 3, axis=0).T))[:, :, None] * eigenvectors
    branches = np.empty((len(q), eigenvectors.shape[2]), dtype=int)
    branches[0] = np.arange(eigenvectors.shape[2])
    for i in range(1, len(q)):
        overlap = np.abs(smooth[i - 1].conj().T @ smooth[i])**2
        branches[i] = linear_sum_assignment(-overlap[branches[i - 1]])[1]
    return branches


def _sheet_path(crystal: Crystal) -> Path:
    along = [a for a in range(3) if crystal.periodic[a]]
    if len(along) != 2:
        raise InputError(f"path: expected a crystal or a sheet, got periodic = {crystal.periodic}; give a path")
    first, second = crystal.cell[along]
    basis = np.eye(2, dtype=int)
    while True:
        if first @ first > second @ second:
            first, second, basis = second, first, basis[::-1]
        steps = round(float(first @ second / (first @ first)))
        if steps == 0:
            break
        second, basis = second - steps * first, np.array([basis[0], basis[1] - steps * basis[0]])
    lengths = np.linalg.norm([first, second], axis=1)
    cosine = float(first @ second / lengths.prod())
    equal = abs(lengths[1] / lengths[0] - 1.0) < _PLANE_TOLERANCE
    if cosine > _PLANE_TOLERANCE:
        # an angle above 90 degrees
        basis, cosine = np.array([basis[0], -basis[1]]), -cosine
    if equal and abs(cosine + 0.5) < _PLANE_TOLERANCE:
        corners = {"M": (0.5, 0.0), "K": (1.0 / 3.0, 1.0 / 3.0)}
    elif equal and abs(cosine) < _PLANE_TOLERANCE:
        corners = {"X": (0.5, 0.0), "M": (0.5, 0.5)}
    elif abs(cosine) < _PLANE_TOLERANCE:
        corners = {"X": (0.5, 0.0), "S": (0.5, 0.5), "Y": (0.0, 0.5)}
    else:
        corners = {"X": (0.5, 0.0), "C": (0.5, 0.5), "Y": (0.0, 0.5)}
    # q in terms of the reduced cell, a' = basis a, is q = q' basis^-T in terms of the given one
    to_given = np.linalg.inv(basis).T
    names = [GAMMA, *corners, GAMMA]
    places = np.zeros((len(names), 3))
    for place, corner in zip(places[1:-1], corners.values(), strict=True):
        place[along] = np.array(corner) @ to_given
    return Path(np.stack([places[:-1], places[1:]], axis=1), tuple(pairwise(names)))
