"""Meshes of wave vectors from their spacing.

    n_i = ceil(|b_i| / s),   b_i = 2 pi (a_j x a_k) / (a_1 . a_2 x a_3)

and one point across a vacuum, where bands have no dispersion. Meshes contain zero (Gamma-centred), so that hexagonal
cells keep their symmetry.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def k_mesh(cell: np.ndarray, positions: np.ndarray, spacing: float, vacuum: float) -> tuple[int, int, int]:
    """Divisions along the three reciprocal vectors.

    Parameters
    ----------
    cell : (3, 3)
        Rows, A.
    positions : (N, 3)
        A.
    spacing : float
        Largest distance of neighbouring points, 1/A with 2 pi.
    vacuum : float
        Height of an empty gap that counts as vacuum, A.
    """
    reciprocal = 2.0 * np.pi * np.linalg.inv(cell).T
    lengths = np.linalg.norm(reciprocal, axis=1)
    heights = 2.0 * np.pi / lengths
    # the tolerance keeps 1.0000000001 from becoming 2
    divisions = np.maximum(1, np.ceil(lengths / spacing - 1e-9)).astype(int)
    divisions[largest_gaps(cell, positions) * heights >= vacuum] = 1
    return int(divisions[0]), int(divisions[1]), int(divisions[2])


def mesh_of(engine: Any, spacing: float | None, cell: np.ndarray, positions: np.ndarray) -> tuple[int, int, int]:
    """Divisions for a table [engine]; one point for engines without wave vectors.

    Parameters
    ----------
    spacing : float or None
        Instead of that of the engine, 1/A.
    """
    table = getattr(engine, "k_points", None)
    if table is None:
        return 1, 1, 1
    return k_mesh(cell, positions, table.k_spacing_per_A if spacing is None else spacing, table.vacuum_A)


def largest_gaps(cell: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(3,) largest empty part of the cell along each of its vectors, as a fraction."""
    fractions = np.sort((positions @ np.linalg.inv(cell)) % 1.0, axis=0)
    return np.diff(np.concatenate([fractions, fractions[:1] + 1.0]), axis=0).max(axis=0)
