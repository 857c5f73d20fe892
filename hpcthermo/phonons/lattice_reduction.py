"""Shortest vectors of a lattice, in the sense of Minkowski.

A basis of three vectors b_1 <= b_2 <= b_3 by length is reduced if no b_k gets shorter by adding shorter ones once or
taking them away once,

    |b_k + sum_(i < k) x_i b_i| >= |b_k|        x_i = -1, 0, 1

Many cells are so already; only the others need ASE's reduction, and only they load it.

Source: P. Q. Nguyen, D. Stehle, ACM Trans. Algorithms 5, 46 (2009).
"""

from __future__ import annotations

import itertools

import numpy as np

#: lengths that differ by less than this part are equal
_SAME_LENGTH = 1e-9


def shortest_basis(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A reduced basis of a lattice.

    Parameters
    ----------
    cell : (3, 3) ndarray
        Lattice vectors, rows.

    Returns
    -------
    reduced : (3, 3) ndarray
        Rows; the given ones in their order if they are reduced.
    operation : (3, 3) ndarray of int
        reduced = operation @ cell.
    """
    if is_reduced(cell):
        return cell, np.eye(3, dtype=int)
    from ase.geometry import minkowski_reduce

    reduced, operation = minkowski_reduce(cell)
    return np.asarray(reduced), np.asarray(operation)


def is_reduced(cell: np.ndarray) -> bool:
    """Whether lattice vectors (rows) are as short as can be."""
    ascending = cell[np.argsort(np.linalg.norm(cell, axis=1), kind="stable")]
    for k in (1, 2):
        others = np.array(list(itertools.product((-1, 0, 1), repeat=k))) @ ascending[:k] + ascending[k]
        if np.linalg.norm(others, axis=1).min() < np.linalg.norm(ascending[k]) * (1.0 - _SAME_LENGTH):
            return False
    return True
