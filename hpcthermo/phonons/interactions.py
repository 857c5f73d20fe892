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
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell

#: terms with smaller elements are left out, eV/A^n
NEGLIGIBLE = 1e-13
#: terms whose shares are added up at a time
_TERMS_TOGETHER = 512


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

    def elements_of(self, terms: np.ndarray) -> np.ndarray:
        """Elements (K, 3^n) of some terms."""
        found: np.ndarray = self.values.reshape(len(self.values), -1)[terms]
        return found

    @classmethod
    def merged(cls, atoms: np.ndarray, vectors: np.ndarray, values: np.ndarray) -> Interactions:
        """From terms of which several may belong to the same atoms and lattice vectors; those are added."""
        order = atoms.shape[1]
        first, starts = _groups(np.concatenate([vectors.reshape(len(vectors), -1), atoms], axis=1))
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
    def third(cls, supercell: Supercell, values: np.ndarray, average_origins: bool = True,
              dtype: DTypeLike = np.float64) -> Interactions:
        """Third order from compact force constants (n, N_s, N_s, 3, 3, 3), eV/A^3.

        Parameters
        ----------
        average_origins : bool
            Take the mean over which of the three atoms the others are nearest to.
        dtype : float32 or float64
            Of the list; sums are in float64.
        """
        return SupercellInteractions.third(supercell, values, average_origins, dtype).summed()

    @classmethod
    def of_supercell(cls, supercell: Supercell, members: np.ndarray, values: np.ndarray,
                     average_origins: bool = True, dtype: DTypeLike = np.float64) -> Interactions:
        """Any order, from terms of a supercell: each combination of atoms once.

        Parameters
        ----------
        members : (P, n) ndarray of int
            Atoms of the supercell, the first one of ``origin_of``.
        values : (P, 3, ..., 3) or (P, 3^n) ndarray
            eV/A^n.
        average_origins : bool
            Take the mean over which of the atoms the others are nearest to.
        dtype : float32 or float64
            Of the list; sums are in float64.
        """
        return SupercellInteractions.of_supercell(supercell, members, values, average_origins, dtype).summed()


class SupercellInteractions(Interactions):
    """A list whose values are made of those of a supercell when asked for: it takes far less memory than all of them.

    Terms that add up to nothing are in it, with values of zero.

    Attributes
    ----------
    dtype : float32 or float64
        Of the values; sums are in float64.
    elements : (R, 3^n) ndarray
        Of terms of the supercell.
    rows : (S,) ndarray of int32
        Rows of `elements`, one for each image of a term of the supercell.
    shares : (S,) ndarray of int32
        Into how many parts the row is divided.
    members : ndarray of int32
        By term: swap of the legs x S + image.
    starts : (P + 1,) ndarray
        Where the members of each term begin.
    places : (swaps, 3^n) ndarray of int
        Where the elements are once the legs are swapped.
    """

    dtype: DTypeLike
    elements: np.ndarray
    rows: np.ndarray
    shares: np.ndarray
    members: np.ndarray
    starts: np.ndarray
    places: np.ndarray

    def __init__(self, atoms: np.ndarray, vectors: np.ndarray, **tables: Any) -> None:
        # values are no field here
        vars(self).update(atoms=atoms, vectors=vectors, **tables)

    @classmethod
    def third(cls, supercell: Supercell, values: np.ndarray, average_origins: bool = True,
              dtype: DTypeLike = np.float64) -> SupercellInteractions:
        """Third order; parameters are those of `Interactions.third`."""
        n, n_super = supercell.crystal.n_atoms, supercell.n_atoms
        _require_shape("third", values, (n, n_super, n_super, 3, 3, 3))
        elements = values.reshape(-1, 27)
        kept = np.flatnonzero(np.maximum(elements.max(axis=1), -elements.min(axis=1)) > NEGLIGIBLE)
        first, second, third = np.unravel_index(kept, values.shape[:3])
        members = np.stack([supercell.origin_of[first], second, third], axis=1, dtype=np.int32)
        return cls._of(supercell, members, elements, kept, average_origins, dtype)

    @classmethod
    def of_supercell(cls, supercell: Supercell, members: np.ndarray, values: np.ndarray,
                     average_origins: bool = True, dtype: DTypeLike = np.float64) -> SupercellInteractions:
        """Any order; parameters are those of `Interactions.of_supercell`."""
        return cls._of(supercell, members, values.reshape(len(values), -1), np.arange(len(values)), average_origins,
                       dtype)

    @classmethod
    def _of(cls, supercell: Supercell, members: np.ndarray, elements: np.ndarray, row: np.ndarray,
            average_origins: bool, dtype: DTypeLike) -> SupercellInteractions:
        counts, images = supercell.images
        order = members.shape[1]
        first = supercell.atom_of[members[:, 0]]
        choices = [counts[first, members[:, leg]] for leg in range(1, order)]
        copies = np.prod(choices, axis=0).astype(np.int32)
        term = np.repeat(np.arange(len(first), dtype=np.int32), copies)
        left = np.arange(len(term), dtype=np.int32) - (np.cumsum(copies) - copies).astype(np.int32)[term]
        lattice = np.zeros((len(term), order, 3), dtype=np.int16)
        for leg in range(order - 1, 0, -1):
            here = choices[leg - 1].astype(np.int32)[term]
            lattice[:, leg] = images[first[term], members[term, leg], left % here]
            left //= here
        atoms = supercell.atom_of[members].astype(np.int16)
        # the atom to which the others are nearest as first, second, ... leg
        swaps = [[leg if k == 0 else 0 if k == leg else k for k in range(order)] for leg in range(order)]
        swaps = swaps if average_origins else swaps[:1]
        # lattice vectors and atoms by swap and copy; the largest arrays here
        keys = np.empty((len(swaps), len(term), 4 * order - 3), dtype=np.int16)
        for key, swap in zip(keys, swaps, strict=True):
            key[:, :-order] = (lattice[:, swap[1:]] - lattice[:, swap[:1]]).reshape(len(term), -1)
            key[:, -order:] = atoms[:, swap][term]
        del lattice, left
        keys = keys.reshape(-1, keys.shape[2])
        by_group, starts = _groups(keys)
        keys = keys[by_group[starts]].astype(np.int32)
        places = [np.transpose(np.arange(3**order).reshape((3,) * order), swap).ravel() for swap in swaps]
        return cls(keys[:, -order:], keys[:, :-order].reshape(-1, order - 1, 3), dtype=dtype, elements=elements,
                   rows=row.astype(np.int32)[term], shares=len(swaps) * copies[term], places=np.array(places),
                   members=by_group.astype(np.int32), starts=np.append(starts, len(by_group)))

    def elements_of(self, terms: np.ndarray) -> np.ndarray:
        """Elements (K, 3^n) of some terms."""
        found = np.empty((len(terms), self.elements.shape[1]), dtype=self.dtype)
        for begin in range(0, len(terms), _TERMS_TOGETHER):
            some = terms[begin:begin + _TERMS_TOGETHER]
            counts = self.starts[some + 1] - self.starts[some]
            first = np.cumsum(counts) - counts
            members = self.members[np.arange(counts.sum()) + np.repeat(self.starts[some] - first, counts)]
            swap, image = np.divmod(members, len(self.rows))
            turned = self.elements[self.rows[image, None], self.places[swap]] / self.shares[image, None]
            sums = np.add.reduceat(turned, first, axis=0)
            sums[np.maximum(sums.max(axis=1), -sums.min(axis=1)) <= NEGLIGIBLE] = 0.0
            found[begin:begin + len(some)] = sums
        return found

    @property
    def values(self) -> np.ndarray:
        """Of all terms, (P, 3, ..., 3), made anew each time."""
        return self.elements_of(np.arange(len(self.atoms))).reshape((-1,) + (3,) * self.order)

    def summed(self) -> Interactions:
        """The same with all values, without terms that add up to nothing."""
        values = self.values
        kept = values.any(axis=tuple(range(1, values.ndim)))
        if kept.all():
            return Interactions(self.atoms, self.vectors, values)
        return Interactions(self.atoms[kept], self.vectors[kept], values[kept])


def _groups(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order that sorts rows of integers, and where each different row begins in it."""
    code = row_codes(keys)
    order = np.argsort(code, kind="stable")
    code = code[order]
    return order, np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]]))


def all_legs(vectors: np.ndarray) -> np.ndarray:
    """Lattice vectors of all atoms of terms, (P, n, 3): zero for the first, then the vectors (P, n - 1, 3)."""
    return np.concatenate([np.zeros((len(vectors), 1, 3), dtype=int), vectors], axis=1)


def row_codes(keys: np.ndarray) -> np.ndarray:
    """One integer for each row of small integers, in the order of the rows; sorts faster than rows."""
    low = keys.min(axis=0)
    spans = (keys.max(axis=0) - low + 1).astype(np.int64)
    if np.log2(spans.astype(float)).sum() > 62.0:  # more rows than integers
        return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1]).ravel()
    code = np.zeros(len(keys), dtype=np.int64)
    for column, least, span in zip(keys.T, low, spans, strict=True):
        code *= span
        code += column - least
    return code


def _require_shape(order: str, values: np.ndarray, expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise InputError(f"{order}-order force constants: expected the shape {expected} of this supercell, got "
                         f"{values.shape}; give the crystal and force constants of one calculation")
