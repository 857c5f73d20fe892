"""Which two-dimensional layer an atom belongs to, found from the positions alone.

A layer is held together by covalent bonds and nothing else: each connected network of bonds is one layer, however
corrugated, and pieces of one layer (flakes, fragments) stand at the same mean height. A crystal, whose planes are
bonded to each other, is one network and has no layers.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.structure.checks import with_close_images

#: networks whose mean heights differ by more than this are different layers, A
MINIMUM_GAP = 1.2
#: bonds are shorter than this times the sum of covalent radii
BOND_TOLERANCE = 1.25


def detect_layers(positions: np.ndarray, symbols: list[str], axis: int = 2, cell: np.ndarray | None = None,
                  periodic: np.ndarray | None = None) -> np.ndarray:
    """Number the layers from low to high along an axis.

    Parameters
    ----------
    positions : (N, 3) float64
        A; whole layers, not cut by a periodic boundary of the axis.
    symbols : list of str
        Chemical symbols.
    axis : int
        Stacking axis.
    cell : (3, 3) float64, optional
        A; with `periodic`, bonds across the boundaries beside the axis count too.
    periodic : (3,) bool, optional

    Returns
    -------
    layers : (N,) int32
        All zero if the atoms form one connected solid, or if most have no bonds.
    """
    heights = positions[:, axis]
    none = np.zeros(len(positions), dtype=np.int32)
    if not np.any(np.diff(np.sort(heights)) > 0.0):
        return none
    beside = np.zeros(3, dtype=bool) if cell is None or periodic is None else np.array(periodic, dtype=bool)
    beside[axis] = False
    networks = _bond_networks(positions, symbols, np.zeros((3, 3)) if cell is None else cell, beside)
    sizes = np.bincount(networks)
    if sizes[sizes == 1].sum() > 0.5 * len(positions):
        return none
    mean_heights = np.bincount(networks, weights=heights) / sizes
    return _height_clusters(mean_heights)[networks]


def _height_clusters(heights: np.ndarray) -> np.ndarray:
    """Number of the cluster of each height, low to high; empty gaps lie between clusters."""
    order = np.argsort(heights, kind="stable")
    labels = np.empty(len(heights), dtype=np.int32)
    labels[order] = np.concatenate([[0], np.cumsum(np.diff(heights[order]) > MINIMUM_GAP)])
    return labels


def _bond_networks(positions: np.ndarray, symbols: list[str], cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """(N,) number of the connected network of bonds of each atom."""
    from ase.data import atomic_numbers, covalent_radii
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    species, types = np.unique(np.asarray(symbols), return_inverse=True)
    radii = BOND_TOLERANCE * covalent_radii[[atomic_numbers[str(s)] for s in species]][types]
    longest = 2.0 * float(radii.max())
    _, rows, owners = with_close_images(cell, periodic, positions, longest)
    pairs = cKDTree(rows).query_pairs(longest, output_type="ndarray")
    distance = np.linalg.norm(rows[pairs[:, 0]] - rows[pairs[:, 1]], axis=1)
    pairs = owners[pairs]
    bonded = pairs[distance < radii[pairs[:, 0]] + radii[pairs[:, 1]]]
    n = len(positions)
    graph = coo_matrix((np.ones(len(bonded), dtype=bool), (bonded[:, 0], bonded[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]
