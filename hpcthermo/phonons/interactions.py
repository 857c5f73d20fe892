r"""Force constants of any order on a lattice, and how they come from those of a supercell.

    Phi_n(0 i_1, R_2 i_2, ..., R_n i_n) = d^n E / du(0 i_1) du(R_2 i_2) ... du(R_n i_n)        (no 1/n!)

Supercell force constants know an atom J only up to translations of the supercell. Where several images are equally near
to the first atom, each gets an equal share (as in phonopy and phono3py), so that sums over R are exact Fourier sums.
For the third and higher orders the choice of the first atom matters then; the mean over all choices is symmetric under
permutations of the legs.

    symbol   is
    P        number of terms of the list
    R_k      lattice vector of leg k relative to leg 1, three integers
    n        order
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell

#: terms with smaller elements are left out, eV/A^n
NEGLIGIBLE = 1e-13


@dataclass(frozen=True)
class Interactions:
    """A list of force constants of one order, each combination of atoms and lattice vectors once.

    Attributes
    ----------
    atoms : (P, n) ndarray of int
        Atoms of the primitive cell.
    vectors : (P, n - 1, 3) ndarray of int
        Lattice vectors of the second and further atoms; the first is in cell 0.
    values : (P, 3, ..., 3) ndarray
        eV/A^n.
    """

    atoms: np.ndarray
    vectors: np.ndarray
    values: np.ndarray

    @property
    def order(self) -> int:
        """The order n."""
        return int(self.atoms.shape[1])

    @classmethod
    def merged(cls, atoms: np.ndarray, vectors: np.ndarray, values: np.ndarray) -> Interactions:
        """From terms of which several may belong to the same atoms and lattice vectors; those are added."""
        order = atoms.shape[1]
        keys = np.concatenate([vectors.reshape(len(vectors), -1), atoms], axis=1)
        low = keys.min(axis=0)
        spans = (keys.max(axis=0) - low + 1).astype(np.int64)
        code = np.zeros(len(keys), dtype=np.int64)
        for column, span in zip((keys - low).T, spans, strict=True):
            code = code * span + column
        first = np.argsort(code, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(code[first]) != 0])
        total = np.add.reduceat(values[first].reshape(len(values), -1), starts, axis=0)
        keep = np.abs(total).max(axis=1) > NEGLIGIBLE
        chosen = first[starts[keep]]
        return cls(atoms[chosen], vectors[chosen], total[keep].reshape((-1,) + (3,) * order))

    @classmethod
    def second(cls, supercell: Supercell, values: np.ndarray) -> Interactions:
        """Second order from compact force constants (n, N_s, 3, 3), eV/A^2."""
        _require_shape("second", values, (supercell.crystal.n_atoms, supercell.n_atoms, 3, 3))
        counts, images = supercell.images
        first, other, image = np.nonzero(np.arange(images.shape[2]) < counts[:, :, None])
        atoms = np.stack([first, supercell.atom_of[other]], axis=1)
        shares = values[first, other] / counts[first, other, None, None]
        return cls.merged(atoms, images[first, other, image][:, None, :], shares)

    @classmethod
    def third(cls, supercell: Supercell, values: np.ndarray, average_origins: bool = True) -> Interactions:
        """Third order from compact force constants (n, N_s, N_s, 3, 3, 3), eV/A^3.

        Parameters
        ----------
        average_origins : bool
            Take the mean over which of the three atoms the others are nearest to.
        """
        n, n_super = supercell.crystal.n_atoms, supercell.n_atoms
        _require_shape("third", values, (n, n_super, n_super, 3, 3, 3))
        counts, images = supercell.images
        first, second, third = np.nonzero(np.abs(values).max(axis=(3, 4, 5)) > NEGLIGIBLE)
        pairs = counts[first, second] * counts[first, third]
        term = np.repeat(np.arange(len(first)), pairs)
        within = np.arange(len(term)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
        i, j, k = first[term], second[term], third[term]
        r_j = images[i, j, within // counts[i, k]]
        r_k = images[i, k, within % counts[i, k]]
        atoms = np.stack([i, supercell.atom_of[j], supercell.atom_of[k]], axis=1)
        shares = (values[first, second, third] / pairs[:, None, None, None])[term]
        if not average_origins:
            return cls.merged(atoms, np.stack([r_j, r_k], axis=1), shares)
        # atom i, to which the others are nearest, as first, second and third leg
        legs = [((0, 1, 2), r_j, r_k), ((1, 0, 2), -r_j, r_k - r_j), ((2, 1, 0), r_j - r_k, -r_k)]
        return cls.merged(
            np.concatenate([atoms[:, list(order)] for order, _, _ in legs]),
            np.concatenate([np.stack([a, b], axis=1) for _, a, b in legs]),
            np.concatenate([np.transpose(shares, (0, *(1 + leg for leg in order))) / 3.0 for order, _, _ in legs]))


def _require_shape(order: str, values: np.ndarray, expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise InputError(f"{order}-order force constants: expected the shape {expected} of this supercell, got "
                         f"{values.shape}; give the crystal and force constants of one calculation")
