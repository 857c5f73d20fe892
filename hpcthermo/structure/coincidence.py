"""Coincidence of two lattices of a plane: supercells of both that agree up to a small strain.

Every sublattice of index d of a lattice L has one basis H L with H = [[p, q], [0, r]], p r = d, 0 <= q < r (Hermite
normal form), so all supercells of a size are enumerated once. Two supercells of nearly equal area are compared by
their reduced bases S_1 and S_2 (two shortest vectors): F = S_2^-1 S_1 maps the second on the first, its polar
decomposition F = R (1 + e) gives the rotation and the strain, and supercells match if the larger principal value of e
is small. Reduced bases are not unique in symmetric lattices, therefore all short bases of the second are tried.

Source of the idea: Zur and McGill, J. Appl. Phys. 55, 378 (1984).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.limits import MAXIMUM_STRAIN
from hpcthermo.structure.sheet import strain_and_rotation

#: of an angle that is asked for, degrees
ANGLE_TOLERANCE = 0.05
DEFAULT_STRAIN = 0.01
DEFAULT_AREA = 1000.0
#: integer matrices of determinant 1 with entries -1, 0, 1: from one short basis to all others
_SHORT_BASES = np.array([t for t in itertools.product((-1, 0, 1), repeat=4) if t[0] * t[3] - t[1] * t[2] == 1]
                        ).reshape(-1, 2, 2)


@dataclass(frozen=True, eq=False)
class Coincidence:
    """Supercells of two lattices that match.

    Attributes
    ----------
    first, second : (2, 2) int
        Rows span the supercells in terms of the lattice vectors.
    strain : (2, 2) float64
        That maps the second, turned, on the first.
    mismatch : float
        Largest principal strain in magnitude.
    rotation : float
        Of the second lattice relative to the first, degrees.
    area : float
        Of the supercell of the first, A^2.
    """

    first: np.ndarray
    second: np.ndarray
    strain: np.ndarray
    mismatch: float
    rotation: float
    area: float

    @property
    def cells(self) -> tuple[int, int]:
        """Primitive cells of both in the supercell."""
        return tuple(round(abs(float(np.linalg.det(matrix)))) for matrix in (self.first, self.second))  # type: ignore[return-value]


def coincidences(first: np.ndarray, second: np.ndarray, maximum_strain: float = DEFAULT_STRAIN,
                 maximum_area: float = DEFAULT_AREA, angle: float | tuple[float, float] | None = 0.0
                 ) -> Iterator[Coincidence]:
    """Matching supercells of two lattices, the best of each area, smallest areas first.

    Parameters
    ----------
    first, second : (2, 2) float64
        Lattice vectors as rows, A.
    maximum_strain : float
        Largest principal strain of the second against the first.
    maximum_area : float
        A^2.
    angle : float, (low, high) or None
        Rotation of the second lattice, degrees: one (to 0.05 degrees), a range, or any.

    Yields
    ------
    Coincidence
    """
    low, high = _angle_range(angle)
    area_1, area_2 = (abs(float(np.linalg.det(lattice))) for lattice in (first, second))
    for d_1 in range(1, int(maximum_area / area_1) + 1):
        ideal = d_1 * area_1 / area_2
        sizes = [d for d in range(max(1, int(ideal * (1.0 - 2.5 * maximum_strain))),
                                  int(ideal * (1.0 + 2.5 * maximum_strain)) + 2)
                 if abs(d / ideal - 1.0) <= 2.5 * maximum_strain]
        found = [match for d_2 in sizes for match in _matches(first, second, d_1, d_2, maximum_strain)
                 if low <= match.rotation <= high]
        if found:
            yield min(found, key=lambda match: (round(match.mismatch, 9), round(abs(match.rotation), 6),
                                                round(float(np.linalg.norm(match.first @ first, axis=1).sum()), 6)))


def find_coincidence(first: np.ndarray, second: np.ndarray, maximum_strain: float = DEFAULT_STRAIN,
                     maximum_area: float = DEFAULT_AREA, angle: float | tuple[float, float] | None = 0.0
                     ) -> Coincidence:
    """The smallest matching supercell; arguments as in `coincidences`.

    Raises
    ------
    InputError
        If there is none; says what the nearest would be.
    """
    if not 0.0 < maximum_strain <= MAXIMUM_STRAIN:
        raise InputError(f"structure.maximum_strain_percent: expected more than 0 and at most "
                         f"{100 * MAXIMUM_STRAIN:g}, got {100 * maximum_strain:g}; correct it")
    match = next(coincidences(first, second, maximum_strain, maximum_area, angle), None)
    if match is not None:
        return match
    looser = [m for m in coincidences(first, second, MAXIMUM_STRAIN, min(maximum_area, 200.0), angle)]
    best = min(looser, key=lambda m: m.mismatch, default=None)
    hint = "" if best is None else (f" (up to 200 A^2 the best is {best.cells[0]} on {best.cells[1]} cells with "
                                    f"{100 * best.mismatch:.2f} %)")
    turned = "" if angle is None else f" at {angle} degrees"
    raise InputError(f"structure: no coincidence{turned} with at most {100 * maximum_strain:g} % strain and "
                     f"{maximum_area:g} A^2{hint}; raise maximum_strain_percent or maximum_area_A2, or allow another "
                     "angle_deg")


def aligned_cells(match: Coincidence, first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Both supercells without strain, the first with its first vector along x, the second turned onto it, A."""
    cell = match.first @ first
    _, turn = strain_and_rotation(match.second @ second, cell)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    x, y = cell[0] / np.linalg.norm(cell[0])
    back = np.array([[x, -y], [y, x]])
    return [cell @ back, match.second @ second @ np.array([[c, s], [-s, c]]) @ back]


def _angle_range(angle: float | tuple[float, float] | None) -> tuple[float, float]:
    if angle is None:
        return -180.0, 180.0
    if isinstance(angle, tuple):
        return angle
    return angle - ANGLE_TOLERANCE, angle + ANGLE_TOLERANCE


def _matches(first: np.ndarray, second: np.ndarray, d_1: int, d_2: int, maximum_strain: float) -> Iterator[Coincidence]:
    """Pairs of supercells of given indices whose shapes agree."""
    from scipy.spatial import cKDTree

    bases_1 = _reduced_supercells(first, d_1)
    # all short bases of all supercells of the second lattice
    bases_2 = (_SHORT_BASES[:, None] @ _reduced_supercells(second, d_2)[None]).reshape(-1, 2, 2)
    cells_1, cells_2 = bases_1 @ first, bases_2 @ second
    near = cKDTree(_shape(cells_2)).query_ball_point(_shape(cells_1), 2.5 * maximum_strain, p=np.inf)
    pairs_1 = np.repeat(np.arange(len(bases_1)), [len(rows) for rows in near])
    pairs_2 = np.array([k for rows in near for k in rows], dtype=np.int64)
    strains, rotations = strain_and_rotation(cells_2[pairs_2], cells_1[pairs_1])
    mismatches = np.abs(np.linalg.eigvalsh(strains)).max(axis=1, initial=0.0)
    for k in np.flatnonzero(mismatches <= maximum_strain):
        cell = cells_1[pairs_1[k]]
        yield Coincidence(bases_1[pairs_1[k]], bases_2[pairs_2[k]], strains[k], float(mismatches[k]),
                          float(rotations[k]), abs(float(np.linalg.det(cell))))


def _shape(cells: np.ndarray) -> np.ndarray:
    """(K, 3): logarithms of |u| and |v|, cosine of their angle; a strain e changes each by about 2 e at most."""
    lengths = np.linalg.norm(cells, axis=2)
    return np.column_stack([np.log(lengths), np.sum(cells[:, 0] * cells[:, 1], axis=1) / lengths.prod(axis=1)])


def _reduced_supercells(lattice: np.ndarray, d: int) -> np.ndarray:
    """(K, 2, 2) int, a reduced basis of every sublattice of index d, right-handed and near the axes."""
    forms = np.array([[[p, q], [0, d // p]] for p in range(1, d + 1) if d % p == 0 for q in range(d // p)])
    return near_the_axes(reduce_bases(forms, lattice), lattice)


def reduce_bases(bases: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Two shortest vectors u, v of plane lattices, |u| <= |v| (Gauss).

    Parameters
    ----------
    bases : (K, 2, k) int
        Rows in terms of the rows of `lattice`.
    lattice : (k, 2 or 3) float64, A
    """
    u, v = bases[:, 0].copy(), bases[:, 1].copy()
    while True:
        a, b = u @ lattice, v @ lattice
        longer = np.sum(b * b, axis=1) < np.sum(a * a, axis=1) * (1.0 - 1e-9)
        u[longer], v[longer] = v[longer], u[longer]
        a, b = u @ lattice, v @ lattice
        steps = np.rint(np.sum(a * b, axis=1) / np.sum(a * a, axis=1) - 1e-9).astype(u.dtype)
        if not longer.any() and not steps.any():
            return np.stack([u, v], axis=1)
        v -= steps[:, None] * u


def near_the_axes(bases: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Of the right-handed bases made of +-u and +-v, the one nearest to the axes.

    Its first vector lies nearest to +x and, of equal ones, its angle is acute.
    """
    u, v = bases[:, 0], bases[:, 1]
    options = np.stack([np.stack([s * p, t * q], axis=1) for p, q in ((u, v), (v, u))
                        for s in (1, -1) for t in (1, -1)], axis=1)
    cells = options @ lattice
    a, b = cells[:, :, 0], cells[:, :, 1]
    cosine = a[..., 0] / np.linalg.norm(a, axis=2)
    acute = np.sum(a * b, axis=2) / (np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=2))
    merit = np.where(a[..., 0] * b[..., 1] > a[..., 1] * b[..., 0], cosine + 1e-6 * acute, -np.inf)
    return options[np.arange(len(bases)), np.argmax(np.round(merit, 9), axis=1)]
