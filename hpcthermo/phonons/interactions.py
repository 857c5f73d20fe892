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
from scipy.sparse import csr_array

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
        first, starts = _groups(atoms, vectors)
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
        first, second, third = np.nonzero(np.abs(values).max(axis=(3, 4, 5)) > NEGLIGIBLE)
        members = np.stack([supercell.origin_of[first], second, third], axis=1)
        return cls.of_supercell(supercell, members, values[first, second, third], average_origins)

    @classmethod
    def of_supercell(cls, supercell: Supercell, members: np.ndarray, values: np.ndarray,
                     average_origins: bool = True) -> Interactions:
        """Any order, from terms of a supercell: each combination of atoms once.

        Parameters
        ----------
        members : (P, n) ndarray of int
            Atoms of the supercell, the first one of ``origin_of``.
        values : (P, 3, ..., 3) ndarray
            eV/A^n.
        average_origins : bool
            Take the mean over which of the atoms the others are nearest to.
        """
        counts, images = supercell.images
        order = members.shape[1]
        first = supercell.atom_of[members[:, 0]]
        choices = [counts[first, members[:, leg]] for leg in range(1, order)]
        copies = np.prod(choices, axis=0)
        term = np.repeat(np.arange(len(first)), copies)
        left = np.arange(len(term)) - np.repeat(np.cumsum(copies) - copies, copies)
        lattice = np.zeros((len(term), order, 3), dtype=int)
        for leg in range(order - 1, 0, -1):
            here = choices[leg - 1][term]
            lattice[:, leg] = images[first[term], members[term, leg], left % here]
            left //= here
        atoms = supercell.atom_of[members][term]
        # the atom to which the others are nearest as first, second, ... leg
        swaps = [[leg if k == 0 else 0 if k == leg else k for k in range(order)] for leg in range(order)]
        swaps = swaps if average_origins else swaps[:1]
        all_atoms = np.concatenate([atoms[:, swap] for swap in swaps])
        all_vectors = np.concatenate([lattice[:, swap[1:]] - lattice[:, swap[:1]] for swap in swaps])
        by_group, starts = _groups(all_atoms, all_vectors)
        group = np.empty(len(by_group), dtype=np.int64)
        group[by_group] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(by_group))))
        # shares are added up without a copy of the values for each image
        share = 1.0 / (len(swaps) * copies[term])
        total = np.zeros((len(starts), 3**order))
        for swap, rows in zip(swaps, np.split(group, len(swaps)), strict=True):
            turned = np.transpose(values, (0, *(1 + leg for leg in swap))).reshape(len(values), -1)
            total += csr_array((share, (rows, term)), shape=(len(starts), len(values))) @ turned
        keep = np.abs(total).max(axis=1) > NEGLIGIBLE
        chosen = by_group[starts[keep]]
        return cls(all_atoms[chosen], all_vectors[chosen], total[keep].reshape((-1,) + (3,) * order))


def _groups(atoms: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order that sorts terms by vectors and atoms, and where each combination of them begins in it."""
    code = row_codes(np.concatenate([vectors.reshape(len(vectors), -1), atoms], axis=1))
    order = np.argsort(code, kind="stable")
    code = code[order]
    return order, np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]]))


def row_codes(keys: np.ndarray) -> np.ndarray:
    """One integer for each row of small integers, in the order of the rows; sorts faster than rows."""
    low = keys.min(axis=0)
    spans = (keys.max(axis=0) - low + 1).astype(np.int64)
    if np.log2(spans.astype(float)).sum() > 62.0:  # more rows than integers
        return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1]).ravel()
    code = np.zeros(len(keys), dtype=np.int64)
    for column, span in zip((keys - low).T, spans, strict=True):
        code = code * span + column
    return code


def _require_shape(order: str, values: np.ndarray, expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise InputError(f"{order}-order force constants: expected the shape {expected} of this supercell, got "
                         f"{values.shape}; give the crystal and force constants of one calculation")
