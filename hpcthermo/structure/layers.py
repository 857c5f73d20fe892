"""Which two-dimensional layer an atom belongs to, found from the positions alone.

Sorted by height, the atoms of flat layers fall into clusters with empty gaps between them. Corrugated layers may
overlap in height; then the covalent bonds tell: each connected network of bonds is one layer.
"""

from __future__ import annotations

import numpy as np

#: an empty height above which two clusters are two layers, A
MINIMUM_GAP = 1.2
#: a cluster thicker than this is more than one flat layer, A
MAXIMUM_THICKNESS = 2.4
#: bonds are shorter than this times the sum of covalent radii
BOND_TOLERANCE = 1.25


def detect_layers(positions: np.ndarray, symbols: list[str], axis: int = 2) -> np.ndarray:
    """Number the layers from low to high along an axis.

    Parameters
    ----------
    positions : (N, 3) float64
        A; whole layers, not cut by a periodic boundary of the axis.
    symbols : list of str
        Chemical symbols, used only if the layers overlap in height.
    axis : int
        Stacking axis.

    Returns
    -------
    layers : (N,) int32
        All zero if the atoms form one connected solid.
    """
    heights = positions[:, axis]
    labels = _height_clusters(heights)
    thickness = np.array([np.ptp(heights[labels == k]) for k in range(labels.max() + 1)])
    if thickness.max() > MAXIMUM_THICKNESS:
        labels = _bond_networks(positions, symbols)
    return _number_by_height(labels, heights)


def _height_clusters(heights: np.ndarray) -> np.ndarray:
    order = np.argsort(heights, kind="stable")
    labels = np.empty(len(heights), dtype=np.int32)
    labels[order] = np.concatenate([[0], np.cumsum(np.diff(heights[order]) > MINIMUM_GAP)])
    return labels


def _bond_networks(positions: np.ndarray, symbols: list[str]) -> np.ndarray:
    """Connected components of the bonds inside the cell; a bond across the boundary only joins what is joined."""
    from ase.data import atomic_numbers, covalent_radii
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    radii = covalent_radii[[atomic_numbers[s] for s in symbols]]
    pairs = cKDTree(positions).query_pairs(2.0 * BOND_TOLERANCE * float(radii.max()), output_type="ndarray")
    distance = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    bonded = pairs[distance < BOND_TOLERANCE * (radii[pairs[:, 0]] + radii[pairs[:, 1]])]
    n = len(positions)
    graph = coo_matrix((np.ones(len(bonded), dtype=bool), (bonded[:, 0], bonded[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _number_by_height(labels: np.ndarray, heights: np.ndarray) -> np.ndarray:
    mean_height = np.bincount(labels, weights=heights) / np.bincount(labels)
    rank = np.empty(len(mean_height), dtype=np.int32)
    rank[np.argsort(mean_height, kind="stable")] = np.arange(len(mean_height), dtype=np.int32)
    return rank[labels]
