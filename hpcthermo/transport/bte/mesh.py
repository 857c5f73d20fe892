r"""A regular mesh of wave vectors with the symmetry of a crystal.

A mesh is a sublattice: its points are q with M q integer, M a 3 x 3 integer matrix (a plain mesh has M diagonal). With
the Smith normal form D = P M Q the points are counted by addresses (a_1, a_2, a_3), 0 <= a_k < D_k, and

    q = Q D^-1 a        so        q . R = sum_k a_k (Q^T R)_k / D_k

With lattice vectors written as Q^T R any mesh is a plain one of D_1 x D_2 x D_3 points; nothing further knows Q.

    symbol   is
    q        fractional wave vector (units of the reciprocal lattice vectors)
    a        address; the index of a point is a_1 + D_1 (a_2 + D_2 a_3)
    N        number of points, D_1 D_2 D_3
    I        irreducible points: one of each orbit under the point group and time reversal
    S        rotation of fractional wave vectors, q' = S q
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.space_group import space_group_of

#: kernels count the numbers of all modes' rows (16 for each, tetrahedron.py) in 32 bits
_MOST_MODES = 2**31 // 16
#: and sort points by 20 bits for each direction (strength.py)
_MOST_DIVISIONS = 2**20


@dataclass(frozen=True)
class Mesh:
    """A regular mesh and how symmetry permutes its points.

    Attributes
    ----------
    crystal : Crystal
    matrix : (3, 3) ndarray of int
        M.
    divisions : (3,) ndarray of int
        D.
    basis : (3, 3) ndarray of int
        Q.
    addresses : (N, 3) ndarray of int32
        By index.
    q : (N, 3) ndarray
        Fractional.
    rotations : (G, 3, 3) ndarray of int
        S, time reversal included; the identity first.
    permutations : (G, N) ndarray of int32
        permutations[g, i] is the index of the point onto which rotation g maps point i.
    """

    crystal: Crystal
    matrix: np.ndarray
    divisions: np.ndarray
    basis: np.ndarray
    addresses: np.ndarray
    q: np.ndarray
    rotations: np.ndarray
    permutations: np.ndarray

    @classmethod
    def create(cls, crystal: Crystal, mesh: tuple[int, ...] | np.ndarray, symmetric: bool = True) -> Mesh:
        """A mesh of a crystal.

        Parameters
        ----------
        mesh : (3,) or (3, 3) of int
            Divisions, or M.
        symmetric : bool
            False: time reversal and the identity alone are used.

        Raises
        ------
        InputError
            If the mesh has not the symmetry of the crystal, or too many points.
        """
        matrix = np.array(mesh, dtype=int)
        matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
        divisions, basis = smith_normal_form(matrix)
        n_points, most = math.prod(int(d) for d in divisions), (_MOST_MODES - 1) // crystal.n_bands
        if n_points > most or divisions.max() >= _MOST_DIVISIONS:
            raise InputError(f"mesh: expected at most {most:,} points for {crystal.n_bands} bands and fewer than "
                             f"{_MOST_DIVISIONS:,} in a row, for indices have 32 bits, got {n_points:,}; use a coarser "
                             "one")
        axes = [np.arange(d) for d in divisions[::-1]]
        addresses = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")][::-1], axis=1).astype(np.int32)
        q = (addresses / divisions) @ basis.T
        rotations = point_group(crystal) if symmetric else np.array([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
        inverse = np.linalg.inv(basis)
        in_addresses = np.einsum("i,ij,gjk,kl,l->gil", divisions, inverse, rotations, basis, 1.0 / divisions)
        whole = np.rint(in_addresses)
        if np.abs(in_addresses - whole).max() > 1e-6:
            raise InputError("mesh: expected one with the symmetry of the crystal, got "
                             f"{np.array(mesh).tolist()}; use equal divisions along lattice vectors that symmetry maps "
                             "onto each other, or switch symmetry off")
        permutations = np.empty((len(rotations), len(addresses)), dtype=np.int32)
        for permutation, rotation in zip(permutations, whole.astype(np.int32), strict=True):
            mapped = addresses @ rotation.T % divisions
            permutation[:] = mapped[:, 0] + divisions[0] * (mapped[:, 1] + divisions[1] * mapped[:, 2])
        return cls(crystal, matrix, divisions, basis, addresses, q, rotations, permutations)

    @property
    def n_points(self) -> int:
        """N."""
        return len(self.addresses)

    def index(self, addresses: np.ndarray) -> np.ndarray:
        """Indices of points given by addresses (..., 3), any integers."""
        a = addresses % self.divisions
        index: np.ndarray = a[..., 0] + self.divisions[0] * (a[..., 1] + self.divisions[1] * a[..., 2])
        return index

    def lattice_vectors(self, vectors: np.ndarray) -> np.ndarray:
        """Lattice vectors R (..., 3) as Q^T R, so that q . R = sum_k a_k (Q^T R)_k / D_k."""
        return vectors @ self.basis

    @cached_property
    def cartesian_rotations(self) -> np.ndarray:
        """Rotations of Cartesian vectors (columns) that go with `rotations`, (G, 3, 3)."""
        to_cartesian = self.crystal.reciprocal.T
        return np.einsum("ij,gjk,kl->gil", to_cartesian, self.rotations, np.linalg.inv(to_cartesian))

    @cached_property
    def representative(self) -> np.ndarray:
        """Lowest index of each point's orbit, (N,)."""
        lowest: np.ndarray = self.permutations.min(axis=0)
        return lowest

    @cached_property
    def to_representative(self) -> np.ndarray:
        """For each point a rotation (index g) that maps it onto its representative, (N,)."""
        which: np.ndarray = self.permutations.argmin(axis=0)
        return which

    @cached_property
    def irreducible(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the irreducible points and the sizes of their orbits, (I,) each."""
        points, weights = np.unique(self.representative, return_counts=True)
        return points, weights


def point_group(crystal: Crystal) -> np.ndarray:
    """Rotations S of fractional wave vectors, with time reversal, (G, 3, 3) of int; the identity first."""
    # positions go as x' = W x, wave vectors as q' = W^-T q; the group holds the inverses too
    rotations = {tuple(w.T.ravel()) for w in space_group_of(crystal)[0]}
    rotations |= {tuple(-x for x in w) for w in rotations}
    identity = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    return np.array([identity, *sorted(rotations - {identity})], dtype=int).reshape(-1, 3, 3)


def smith_normal_form(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal D and unimodular Q of D = P M Q.

    Returns
    -------
    divisions : (3,) ndarray of int
        Positive; for a diagonal M its own diagonal, with Q the identity.
    basis : (3, 3) ndarray of int

    Raises
    ------
    InputError
        If the matrix is singular.
    """
    determinant = round(float(np.linalg.det(matrix)))
    if determinant == 0:
        raise InputError(f"mesh: expected a matrix with a determinant other than zero, got {matrix.tolist()}")
    if np.array_equal(matrix, np.diag(np.diag(matrix))):
        return np.abs(np.diag(matrix)), np.diag(np.sign(np.diag(matrix)))
    work, basis = matrix.astype(int).copy(), np.eye(3, dtype=int)
    for k in range(3):
        # Euclid on rows and columns until row and column k hold their pivot only
        while True:
            block = np.abs(work[k:, k:])
            smallest = np.where(block == 0, np.iinfo(int).max, block).argmin()
            row, column = (int(x) for x in np.unravel_index(smallest, block.shape))
            work[[k, k + row]] = work[[k + row, k]]
            work[:, [k, k + column]] = work[:, [k + column, k]]
            basis[:, [k, k + column]] = basis[:, [k + column, k]]
            for other in range(k + 1, 3):
                work[other] -= work[k] * (work[other, k] // work[k, k])
                factor = work[k, other] // work[k, k]
                work[:, other] -= work[:, k] * factor
                basis[:, other] -= basis[:, k] * factor
            if not work[k, k + 1:].any() and not work[k + 1:, k].any():
                break
    signs = np.sign(np.diag(work))
    return np.abs(np.diag(work)), basis * signs
