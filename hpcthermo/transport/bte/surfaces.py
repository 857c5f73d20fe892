r"""Integrals over surfaces of constant frequency.

    X(f) = (1/N) sum_q sum_s X_s(q) delta(f - f_s(q))

by linear tetrahedra: the cell of the mesh is cut into six along its shortest diagonal, and frequency and X are linear
in each. With corners in the order f_1 <= f_2 <= f_3 <= f_4 and phi_ij = (f - f_j)/(f_i - f_j), the fraction of corner
i where the surface cuts edge ij, the surface is

    f_1 <= f < f_2    a triangle on the edges 12, 13, 14
    f_2 <= f < f_3    two triangles, on 13, 14, 24 and on 13, 24, 23
    f_3 <= f < f_4    a triangle on 14, 24, 34

and a triangle with weight g adds g times the mean of X over its corners:

    g(12, 13, 14) = 3 phi_21 phi_31 / (f_4 - f_1)       g(13, 14, 24) = 3 phi_41 phi_24 / (f_3 - f_1)
    g(14, 24, 34) = 3 phi_24 phi_34 / (f_4 - f_1)       g(13, 24, 23) = 3 phi_42 phi_23 / (f_3 - f_1)

No two nearly equal numbers are subtracted, so corners may coincide. Where three or four of them have the same
frequency, X(f) jumps there, and f is often just that one (equivalent points of the mesh); so the mean over both sides
of f is taken, which rounding cannot change. The alternative is a Gaussian of fixed width.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.tetrahedron import mesh_tetrahedra

#: step to the sides of a frequency, well above rounding and well below widths of bands, THz
SIDE_THZ = 1e-6
#: hits of targets by tetrahedra that are held at a time
CHUNK = 200_000
#: a Gaussian is cut off at so many widths
GAUSSIAN_REACH = 6.0


def corner_weights(corners: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights (H, 4) of the corners of tetrahedra with sorted frequencies (H, 4) at targets (H,) within, 1/THz."""
    def fraction(i: int, j: int) -> np.ndarray:
        apart = corners[rows, i] - corners[rows, j]
        part: np.ndarray = (target[rows] - corners[rows, j]) / apart
        return part

    def add(weight: np.ndarray, *edges: tuple[int, int]) -> None:
        for i, j in edges:
            at_i = fraction(i, j)
            weights[rows, i] += weight * at_i / 3.0
            weights[rows, j] += weight * (1.0 - at_i) / 3.0

    weights = np.zeros_like(corners)
    rows = np.flatnonzero(target < corners[:, 1])
    add(3.0 * fraction(1, 0) * fraction(2, 0) / (corners[rows, 3] - corners[rows, 0]), (0, 1), (0, 2), (0, 3))
    rows = np.flatnonzero((target >= corners[:, 1]) & (target < corners[:, 2]))
    base = corners[rows, 2] - corners[rows, 0]
    add(3.0 * fraction(3, 0) * fraction(1, 3) / base, (0, 2), (0, 3), (1, 3))
    add(3.0 * fraction(3, 1) * fraction(1, 2) / base, (0, 2), (1, 3), (1, 2))
    rows = np.flatnonzero((target >= corners[:, 2]) & (target < corners[:, 3]))
    add(3.0 * fraction(1, 3) * fraction(2, 3) / (corners[rows, 3] - corners[rows, 0]), (0, 3), (1, 3), (2, 3))
    return weights


def surface_integrals(mesh: Mesh, frequencies: np.ndarray, values: np.ndarray, targets: np.ndarray,
                      sigma: float | None = None) -> np.ndarray:
    """X(f) at targets.

    Parameters
    ----------
    frequencies : (N, B) array
        On the whole mesh, THz.
    values : (N, B, K) array
        K quantities X of each mode.
    targets : (W,) array
        THz.
    sigma : float, optional
        Width of a Gaussian, THz, in place of tetrahedra.

    Returns
    -------
    (W, K) ndarray
        Units of X per THz.
    """
    order = np.argsort(targets, kind="stable")
    result = np.empty((len(targets), values.shape[2]))
    if sigma:
        result[order] = _by_gaussian(frequencies, values, targets[order], sigma)
    else:
        result[order] = 0.5 * sum(_by_tetrahedra(mesh, frequencies, values, targets[order] + side)
                                  for side in (-SIDE_THZ, SIDE_THZ))
    return result / mesh.n_points


def _by_tetrahedra(mesh: Mesh, frequencies: np.ndarray, values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    points = mesh_tetrahedra(mesh)
    result = np.zeros((len(targets), values.shape[2]))
    for band in range(frequencies.shape[1]):
        corners = frequencies[points, band]
        sort = np.argsort(corners, axis=1)
        corners = np.take_along_axis(corners, sort, axis=1)
        ids = np.take_along_axis(points, sort, axis=1)
        first, last = np.searchsorted(targets, corners[:, 0]), np.searchsorted(targets, corners[:, 3])
        ends = np.cumsum(last - first)
        chunks = np.searchsorted(ends, np.arange(0, ends[-1], CHUNK)[1:])
        for some in np.split(np.arange(len(ends)), chunks):
            hits = (last - first)[some]
            which = np.repeat(some, hits)
            within = np.arange(len(which)) - np.repeat(np.cumsum(hits) - hits, hits)
            target = first[which] + within
            weights = corner_weights(corners[which], targets[target])
            matrix = csr_matrix((weights.ravel(), (np.repeat(target, 4), ids[which].ravel())),
                                shape=(len(targets), mesh.n_points))
            result += matrix @ values[:, band]
    # six tetrahedra by point
    return result / 6.0


def _by_gaussian(frequencies: np.ndarray, values: np.ndarray, targets: np.ndarray, sigma: float) -> np.ndarray:
    flat = values.reshape(-1, values.shape[2])
    order = np.argsort(frequencies, axis=None)
    sorted_frequencies, flat = frequencies.ravel()[order], flat[order]
    result = np.zeros((len(targets), values.shape[2]))
    low, high = (np.searchsorted(sorted_frequencies, targets + s * GAUSSIAN_REACH * sigma) for s in (-1.0, 1.0))
    for i, target in enumerate(targets):
        x = (sorted_frequencies[low[i]:high[i]] - target) / sigma
        result[i] = np.exp(-0.5 * x * x) @ flat[low[i]:high[i]]
    return result / (np.sqrt(2.0 * np.pi) * sigma)
