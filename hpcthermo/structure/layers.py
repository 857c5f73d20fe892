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
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    bonded, _ = bonded_pairs(positions, symbols, cell, periodic)
    n = len(positions)
    graph = coo_matrix((np.ones(len(bonded), dtype=bool), (bonded[:, 0], bonded[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def bonded_pairs(positions: np.ndarray, symbols: list[str], cell: np.ndarray,
                 periodic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms closer than `BOND_TOLERANCE` times the sum of their covalent radii, each bond once.

    Returns
    -------
    pairs : (m, 2) int
    vectors : (m, 3) float64
        From the first to the second, over the boundary where that is nearer, A.
    """
    from ase.data import atomic_numbers, covalent_radii
    from scipy.spatial import cKDTree

    species, types = np.unique(np.asarray(symbols), return_inverse=True)
    radii = BOND_TOLERANCE * covalent_radii[[atomic_numbers[str(s)] for s in species]][types]
    longest = 2.0 * float(radii.max())
    _, rows, owners = with_close_images(cell, periodic, positions, longest)
    found = cKDTree(rows).query_pairs(longest, output_type="ndarray")
    vectors = rows[found[:, 1]] - rows[found[:, 0]]
    pairs = owners[found]
    # a bond between two images repeats one that begins at an atom of the cell; one across a boundary has two copies
    own = found[:, 0] < len(positions)
    good = own & (np.linalg.norm(vectors, axis=1) < radii[pairs[:, 0]] + radii[pairs[:, 1]])
    pairs, vectors = pairs[good], vectors[good]
    across = found[good, 1] >= len(positions)
    kept = ~across | (pairs[:, 0] < pairs[:, 1]) | ((pairs[:, 0] == pairs[:, 1]) & _is_first_of_two(vectors))
    return pairs[kept], vectors[kept]


def _is_first_of_two(vectors: np.ndarray) -> np.ndarray:
    """Of a vector and its opposite, one: that whose first component that is not 0 is positive."""
    signs = np.sign(np.where(np.abs(vectors) > 1e-9, vectors, 0.0))
    first = (signs != 0.0).argmax(axis=1)
    return np.take_along_axis(signs, first[:, None], axis=1)[:, 0] > 0.0
