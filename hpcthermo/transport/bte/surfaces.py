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
of f is taken, which rounding cannot change. The alternative is a Gaussian, of one width or of one for each mode.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.gpu.backend import make_backend
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.tetrahedron import mesh_tetrahedra

#: step to the sides of a frequency, well above rounding and well below widths of bands, THz
SIDE_THZ = 1e-6
#: a Gaussian is cut off at so many widths
GAUSSIAN_REACH = 6.0


def surface_integrals(mesh: Mesh, frequencies: np.ndarray, values: np.ndarray, targets: np.ndarray,
                      sigma: float | np.ndarray | None = None) -> np.ndarray:
    """X(f) at targets.

    Parameters
    ----------
    frequencies : (N, B) array
        On the whole mesh, THz.
    values : (N, B, K) array
        K quantities X of each mode.
    targets : (W,) array
        THz.
    sigma : float or (N, B) array, optional
        Width of a Gaussian, or of one for each mode, THz, in place of tetrahedra.

    Returns
    -------
    (W, K) ndarray
        Units of X per THz.
    """
    order = np.argsort(targets, kind="stable")
    result = np.empty((len(targets), values.shape[2]))
    if sigma is not None:
        result[order] = _by_gaussian(frequencies, values, targets[order], sigma)
    else:
        tetrahedra = mesh_tetrahedra(mesh)
        by_point = len(tetrahedra) / mesh.n_points
        result[order] = tetrahedron_sums(tetrahedra, frequencies, values, targets[order]) / by_point
    return result / mesh.n_points


def tetrahedron_sums(corners: np.ndarray, frequencies: np.ndarray, values: np.ndarray,
                     targets: np.ndarray) -> np.ndarray:
    """Sums over tetrahedra of volume 1, with corners (T, 4) among the points, at ascending targets: (W, K)."""
    sums = np.zeros((len(targets), values.shape[2]))
    arrays = [np.ascontiguousarray(a, dtype=np.float64) for a in (frequencies, values, targets)]
    make_backend("cpu", "double").launch("surfaces", "integrate", 0, len(corners), corners.astype(np.int32),
                                         frequencies.shape[1], arrays[0], values.shape[2], arrays[1], len(targets),
                                         arrays[2], SIDE_THZ, sums)
    return sums


def _by_gaussian(frequencies: np.ndarray, values: np.ndarray, targets: np.ndarray,
                 sigma: float | np.ndarray) -> np.ndarray:
    flat = values.reshape(-1, values.shape[2])
    order = np.argsort(frequencies, axis=None)
    sorted_frequencies, flat = frequencies.ravel()[order], flat[order]
    widths = np.broadcast_to(sigma, frequencies.shape).ravel()[order]
    reach = GAUSSIAN_REACH * widths.max()
    result = np.zeros((len(targets), values.shape[2]))
    low, high = (np.searchsorted(sorted_frequencies, targets + s * reach) for s in (-1.0, 1.0))
    for i, target in enumerate(targets):
        width = widths[low[i]:high[i]]
        x = (sorted_frequencies[low[i]:high[i]] - target) / width
        result[i] = (np.exp(-0.5 * x * x) / width) @ flat[low[i]:high[i]]
    return result / np.sqrt(2.0 * np.pi)
