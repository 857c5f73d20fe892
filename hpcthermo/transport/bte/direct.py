r"""The linearised Boltzmann equation, by diagonalising the whole matrix: the oracle of `lbte`.

    Gamma + M = sum_k lambda_k u_k u_k^T        X = sum over lambda_k > cutoff of  u_k (u_k . B) / lambda_k

with rows and columns scaled by the roots of the sizes of stars, which makes the matrix symmetric. It has (3 B I)^2
elements, and its eigenvalues (relaxation rates of collective modes) are at hand; the cost grows as the cube of 3 B I.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.transport.bte.lbte import Solved

#: eigenvalues below this count as zero, THz, as in phono3py
CUTOFF_THZ = 1e-8
#: columns found at a time
_COLUMNS = 64
#: rows at most: 3.2 GB
MOST_ROWS = 20_000


def require_few_rows(rows: int) -> None:
    """Refuse a matrix with more than `MOST_ROWS` rows with an `InputError`."""
    if rows > MOST_ROWS:
        raise InputError(f"direct solution: expected at most {MOST_ROWS} rows (3 bands x irreducible points), got "
                         f"{rows}; use conjugate gradients, solver = \"cg\"")


def dense_matrix(matrix: Callable[[np.ndarray], np.ndarray], diagonal: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Gamma + M, (3 B I, 3 B I), symmetric, THz.

    Raises
    ------
    InputError
        If it would have more than `MOST_ROWS` rows.
    """
    n_points, n_bands = diagonal.shape
    rows = 3 * diagonal.size
    require_few_rows(rows)
    root = np.repeat(np.sqrt(sizes), 3 * n_bands)
    dense = np.empty((rows, rows))
    for begin in range(0, rows, _COLUMNS):
        some = np.arange(begin, min(begin + _COLUMNS, rows))
        unit = np.zeros((rows, len(some)))
        unit[some, some - begin] = 1.0 / root[some]
        dense[:, some] = root[:, None] * matrix(unit.reshape(n_points, n_bands, 3, -1)).reshape(rows, -1)
    dense[np.arange(rows), np.arange(rows)] += np.repeat(diagonal.ravel(), 3)
    return dense


def pseudo_inverse(matrix: Callable[[np.ndarray], np.ndarray], diagonal: np.ndarray, right: np.ndarray,
                   sizes: np.ndarray) -> Solved:
    """Solve (Gamma + M) X = B as `lbte.conjugate_gradients` does, by diagonalisation."""
    from scipy.linalg import eigh

    root = np.sqrt(sizes)[:, None, None]
    approximate = float((root**2 * right**2 / diagonal[..., None]).sum())
    if approximate == 0.0:
        return Solved(right / diagonal[..., None], 0, 0.0, (1.0,))  # so cold that no mode is excited
    dense = dense_matrix(matrix, diagonal, sizes)
    values, vectors = eigh(dense)
    kept = values > CUTOFF_THZ
    scaled = (root * right).ravel()
    solution = vectors[:, kept] @ ((vectors[:, kept].T @ scaled) / values[kept])
    residual = np.linalg.norm(scaled - dense @ solution) / np.linalg.norm(scaled)
    gained = float(scaled @ solution) / approximate
    return Solved(solution.reshape(right.shape) / root, 0, float(residual), (gained,))
