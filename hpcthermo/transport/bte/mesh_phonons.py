r"""Phonons on a whole mesh from those of its irreducible points.

A symmetry {W|t} of the crystal takes atom i to tau_s(i) + L_i = W tau_i + t. It makes a phonon at q one at q' = W^-T q,

    e'_s(i) = W e_i exp(-2 pi i q' . L_i)        f' = f

and time reversal makes one at -q with the conjugate eigenvector.

    symbol   is
    W, t     rotation and translation of fractional positions
    s, L_i   permutation of the atoms, and the lattice vectors by which they miss their places in cell 0
    e_i      the three components of the eigenvector at atom i, in the lattice gauge

Eigenvectors of the whole mesh are the largest table of harmonic phonons, and each costs no more than a rotation: those
of the irreducible points are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.space_group import SYMMETRY_TOLERANCE
from hpcthermo.transport.bte.mesh import Mesh

#: rotated eigenvectors must solve the dynamical matrix to this part of its largest eigenvalue
RESIDUAL = 1e-6


class MeshPhonons(Phonons):
    """Phonons at all points of a mesh, whose eigenvectors are made of those of irreducible points when asked for.

    Parameters
    ----------
    mesh : Mesh
    solved : Phonons
        At the irreducible points (I), in their order.
    """

    mesh: Mesh
    solved: Phonons

    def __init__(self, mesh: Mesh, solved: Phonons) -> None:
        place = np.searchsorted(mesh.irreducible[0], mesh.representative)
        # eigenvectors are no field here
        vars(self).update(mesh=mesh, solved=solved, q=mesh.q, frequencies=solved.frequencies[place])

    @property
    def eigenvectors(self) -> np.ndarray:
        """At all points, (N, B, B), made anew each time."""
        return self.at(slice(None)).eigenvectors

    def at(self, points: np.ndarray | slice) -> Phonons:
        """Those of some of the points."""
        chosen = np.arange(len(self.q))[points]
        there = np.searchsorted(self.mesh.irreducible[0], self.mesh.representative[chosen])
        towards = self.mesh.to_representative[chosen]
        eigenvectors = np.empty((len(chosen), *self.solved.eigenvectors.shape[1:]), dtype=complex)
        for rotation in np.flatnonzero(np.bincount(towards)):
            here = np.flatnonzero(towards == rotation)
            eigenvectors[here] = _rotated(self.mesh.crystal, self._operations[int(rotation)], self.q[chosen[here]],
                                          self.solved.eigenvectors[there[here]])
        return Phonons(self.q[chosen], self.frequencies[chosen], eigenvectors)

    def parts(self, most: int) -> Iterator[tuple[np.ndarray, Phonons]]:
        """All points, by rotation, at most so many at a time, and the phonons at them."""
        by_rotation = np.argsort(self.mesh.to_representative, kind="stable")
        for begin in range(0, len(by_rotation), most):
            points = by_rotation[begin:begin + most]
            yield points, self.at(points)

    @cached_property
    def _operations(self) -> dict[int, _Operation]:
        """Symmetries of the crystal that turn irreducible points to others, by the rotation back."""
        used = np.flatnonzero(np.bincount(self.mesh.to_representative))
        return {int(g): _operation(self.mesh.crystal, np.rint(np.linalg.inv(self.mesh.rotations[g])).astype(int))
                for g in used}


def mesh_phonons(harmonic: HarmonicCrystal, mesh: Mesh) -> Phonons:
    """Phonons at all points of a mesh, in its order.

    Force constants without the symmetry of the crystal are recognised at one point for each rotation; then all points
    are solved.
    """
    points = mesh.irreducible[0]
    found = MeshPhonons(mesh, harmonic.phonons(mesh.q[points]))
    towards = mesh.to_representative
    samples = np.array([np.flatnonzero(towards == g)[-1] for g in np.flatnonzero(np.bincount(towards))])
    matrices, vectors = harmonic.dynamical_matrices(mesh.q[samples]), found.at(samples).eigenvectors
    diagonal = vectors.conj().transpose(0, 2, 1) @ matrices @ vectors
    squares = np.diagonal(diagonal, axis1=1, axis2=2).real
    off = diagonal - squares[:, None, :] * np.eye(squares.shape[1])
    expected = np.linalg.eigvalsh(harmonic.dynamical_matrices(mesh.q[mesh.representative[samples]]))
    if max(np.abs(off).max(), np.abs(squares - expected).max()) > RESIDUAL * np.abs(expected).max():
        return harmonic.phonons(mesh.q)
    return found


@dataclass(frozen=True)
class _Operation:
    """A symmetry of the crystal: W, s, L, and whether time is reversed."""

    turn: np.ndarray
    permutation: np.ndarray
    misses: np.ndarray
    reversed_time: bool


def _rotated(crystal: Crystal, operation: _Operation, q: np.ndarray, eigenvectors: np.ndarray) -> np.ndarray:
    """Eigenvectors at wave vectors q (N, 3) from those that the operation takes there."""
    to_cartesian = crystal.cell.T
    cartesian = to_cartesian @ operation.turn @ np.linalg.inv(to_cartesian)
    there = -q if operation.reversed_time else q
    phase = np.exp(-2j * np.pi * (there @ operation.misses.T))
    turned = cartesian @ eigenvectors.reshape(len(q), crystal.n_atoms, 3, -1) * phase[:, :, None, None]
    rotated = np.empty_like(turned)
    rotated[:, operation.permutation] = turned
    rotated = rotated.reshape(eigenvectors.shape)
    return rotated.conj() if operation.reversed_time else rotated


def _operation(crystal: Crystal, rotation: np.ndarray) -> _Operation:
    """W, s, L of a symmetry that rotates wave vectors so, with time reversal if needed."""
    turn = np.rint(np.linalg.inv(rotation).T).astype(int)
    kinds = crystal.numbers
    different = np.where(kinds[:, None] == kinds, 0.0, np.inf)
    for sign in (1, -1):
        turned = crystal.positions @ (sign * turn).T
        # some translation takes the first atom to one of its kind
        for target in np.flatnonzero(kinds == kinds[0]):
            apart = (turned - turned[0] + crystal.positions[target])[:, None] - crystal.positions
            distance = np.linalg.norm((apart - np.rint(apart)) @ crystal.cell, axis=2) + different
            if distance.min(axis=1).max() < 10 * SYMMETRY_TOLERANCE:
                permutation = distance.argmin(axis=1)
                misses = np.rint(apart[np.arange(crystal.n_atoms), permutation])
                return _Operation(sign * turn, permutation, misses, sign < 0)
    raise InputError(f"mesh: expected rotations of the crystal's symmetry, got {rotation.tolist()}; make the mesh from "
                     "the crystal of the force constants")
