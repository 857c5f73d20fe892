r"""Energy conservation by linear tetrahedra.

The weight of a point in a sum over the mesh with delta(W - E(q')), if E is linear between mesh points:

    g = sum over the 24 tetrahedra that share the point of  (1/6) (barycentric share of the point in delta(W - E))

A cell of the mesh, spanned by e_1, e_2, e_3, is cut into six tetrahedra round its shortest main diagonal; each is a
path 0, e_i, e_i + e_j, e_1 + e_2 + e_3. The points they share with q' are its 14 neighbours, sums of some of the e_k
and their negatives. The share of vertex 0 with value x_0 is a cubic B-spline with a double knot,

    4 [x_0, x_0, x_1, x_2, x_3] (W - .)^3_+  / 4

which gpu/kernels/linewidths.h evaluates with one division and without differences of close numbers.

Only for meshes of face-centred cubic type has the cut the symmetry of the crystal. On others the weights of equivalent
points differ (and vanish in their mean as the mesh grows); `symmetrised` takes the mean over the cuts that the point
group makes of the first one.

    symbol   is
    e_k      columns of a cut, in addresses of the mesh
    V        16 places of a row: 0 and 8 the point itself, 1 .. 7 the sums of e_k named by the bits of the place,
             9 .. 15 their negatives, so that a row read from -q' is the row with its halves exchanged

Source: P. E. Bloechl, O. Jepsen, O. K. Andersen, Phys. Rev. B 49, 16223 (1994); the B-spline: H. B. Curry and
I. J. Schoenberg, J. Anal. Math. 17, 71 (1966).
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import DTypeLike

from hpcthermo.phonons.lattice_reduction import shortest_basis
from hpcthermo.transport.bte.mesh import Mesh

#: places of a row of neighbours
N_PLACES = 16


def tetrahedron_cuts(mesh: Mesh, symmetrised: bool = False) -> np.ndarray:
    """How cells of the mesh are cut: for each cut the vectors e_1, e_2, e_3 as columns, (C, 3, 3) of int, in addresses.

    Parameters
    ----------
    symmetrised : bool
        All cuts that the point group makes of the first.
    """
    # steps of the mesh in addresses, columns: along the axes if these are as short as can be, else the shortest ones,
    # so that neither the choice of the lattice vectors nor the normal form of a matrix matters
    steps = np.eye(3, dtype=int)
    cartesian = mesh.crystal.reciprocal.T @ mesh.basis / mesh.divisions
    reduced, change = shortest_basis(cartesian.T)
    if (np.sort(np.linalg.norm(reduced, axis=1)) < np.sort(np.linalg.norm(cartesian, axis=0)) * (1.0 - 1e-6)).any():
        steps = np.rint(change).astype(int).T
    signs = [np.array([1, *rest]) for rest in itertools.product((1, -1), repeat=2)]
    # of equally short diagonals the first
    lengths = [np.linalg.norm(cartesian @ steps @ sign) for sign in signs]
    shortest = signs[int(np.flatnonzero(lengths < min(lengths) * (1 + 1e-6))[0])]
    first = steps * shortest
    if not symmetrised:
        return first[None]
    inverse = np.linalg.inv(mesh.basis)
    rotations = np.rint(np.einsum("i,ij,gjk,kl,l->gil", mesh.divisions, inverse, mesh.rotations, mesh.basis,
                                  1.0 / mesh.divisions)).astype(int)
    different = {_tetrahedra(rotation @ first): rotation @ first for rotation in rotations}
    return np.array(list(different.values()))


def mesh_tetrahedra(mesh: Mesh) -> np.ndarray:
    """Indices of the points at the corners of the tetrahedra of all C symmetrised cuts of a mesh, (6 C N, 4)."""
    corners = [np.cumsum([np.zeros(3, dtype=int), *cut.T[list(order)]], axis=0)
               for cut in tetrahedron_cuts(mesh, symmetrised=True) for order in itertools.permutations(range(3))]
    indices: np.ndarray = mesh.index(mesh.addresses[:, None, None, :] + np.array(corners))
    return indices.reshape(-1, 4)


def _tetrahedra(cut: np.ndarray) -> frozenset[frozenset[tuple[int, ...]]]:
    """The tetrahedra round a point: of each the other three vertices."""
    found = set()
    for order in itertools.permutations(range(3)):
        path = np.concatenate([np.zeros((1, 3), dtype=int), np.cumsum(cut.T[list(order)], axis=0)])
        for own in range(4):
            found.add(frozenset(tuple(int(x) for x in path[v] - path[own]) for v in range(4) if v != own))
    return frozenset(found)


def neighbour_places(cut: np.ndarray) -> np.ndarray:
    """Addresses of the 16 places of a row relative to the point, (V, 3) of int."""
    bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
    sums = bits @ cut.T
    return np.concatenate([sums, -sums])


def neighbour_frequencies(mesh: Mesh, frequencies: np.ndarray, cuts: np.ndarray,
                          dtype: DTypeLike = np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies round each point relative to its own, and how low and high they are, THz.

    Returns
    -------
    rows : (C, N, B, V) ndarray of `dtype`
    low, high : (N, B) ndarray
        Least and greatest frequency.
    """
    rows = np.empty((len(cuts), *frequencies.shape, N_PLACES), dtype=dtype)
    low, high = frequencies.copy(), frequencies.copy()
    for cut, row in zip(cuts, rows, strict=True):
        for place, step in enumerate(neighbour_places(cut)):
            there = frequencies[mesh.index(mesh.addresses + step)]
            row[..., place] = there - frequencies
            np.minimum(low, there, out=low)
            np.maximum(high, there, out=high)
    return rows, low, high
