r"""Phonons on a whole mesh from those of its irreducible points.

A symmetry {W|t} of the crystal takes atom i to tau_s(i) + L_i = W tau_i + t. It makes a phonon at q one at q' = W^-T q,

    e'_s(i) = W e_i exp(-2 pi i q' . L_i)        f' = f

and time reversal makes one at -q with the conjugate eigenvector.

    symbol   is
    W, t     rotation and translation of fractional positions
    s, L_i   permutation of the atoms, and the lattice vectors by which they miss their places in cell 0
    e_i      the three components of the eigenvector at atom i, in the lattice gauge
"""

from __future__ import annotations

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.space_group import SYMMETRY_TOLERANCE
from hpcthermo.transport.bte.mesh import Mesh

#: rotated eigenvectors must solve the dynamical matrix to this part of its largest eigenvalue
RESIDUAL = 1e-6


def mesh_phonons(harmonic: HarmonicCrystal, mesh: Mesh) -> Phonons:
    """Phonons at all points of a mesh, in its order.

    Force constants without the symmetry of the crystal are recognised at one point for each rotation; then all points
    are solved.
    """
    points, place = np.unique(mesh.representative, return_inverse=True)
    solved = harmonic.phonons(mesh.q[points])
    frequencies = solved.frequencies[place]
    eigenvectors = np.empty((mesh.n_points, *solved.eigenvectors.shape[1:]), dtype=complex)
    towards = mesh.to_representative
    samples = []
    for g in np.flatnonzero(np.bincount(towards)):
        members = np.flatnonzero(towards == g)
        away = np.rint(np.linalg.inv(mesh.rotations[g])).astype(int)
        eigenvectors[members] = _rotated(mesh.crystal, away, solved.q[place[members]],
                                         solved.eigenvectors[place[members]])
        samples.append(members[-1])
    matrices, vectors = harmonic.dynamical_matrices(mesh.q[samples]), eigenvectors[samples]
    diagonal = vectors.conj().transpose(0, 2, 1) @ matrices @ vectors
    squares = np.diagonal(diagonal, axis1=1, axis2=2).real
    off = diagonal - squares[:, None, :] * np.eye(squares.shape[1])
    expected = np.linalg.eigvalsh(harmonic.dynamical_matrices(solved.q[place[samples]]))
    if max(np.abs(off).max(), np.abs(squares - expected).max()) > RESIDUAL * np.abs(expected).max():
        return harmonic.phonons(mesh.q)
    return Phonons(mesh.q, frequencies, eigenvectors)


def _rotated(crystal: Crystal, rotation: np.ndarray, q: np.ndarray, eigenvectors: np.ndarray) -> np.ndarray:
    """Eigenvectors at `rotation` q from those at q (N, 3)."""
    n = crystal.n_atoms
    turn, permutation, misses, reversed_time = _operation(crystal, rotation)
    to_cartesian = crystal.cell.T
    cartesian = to_cartesian @ turn @ np.linalg.inv(to_cartesian)
    there = q @ (-rotation if reversed_time else rotation).T
    phase = np.exp(-2j * np.pi * (there @ misses.T))
    turned = cartesian @ eigenvectors.reshape(len(q), n, 3, -1) * phase[:, :, None, None]
    rotated = np.empty_like(turned)
    rotated[:, permutation] = turned
    rotated = rotated.reshape(eigenvectors.shape)
    return rotated.conj() if reversed_time else rotated


def _operation(crystal: Crystal, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
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
                return sign * turn, permutation, misses, sign < 0
    raise InputError(f"mesh: expected rotations of the crystal's symmetry, got {rotation.tolist()}; make the mesh from "
                     "the crystal of the force constants")
