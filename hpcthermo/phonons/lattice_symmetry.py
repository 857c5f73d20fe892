r"""Space group and permutations acting on lists of force constants on the lattice.

A cluster is a set of atoms (i_1, 0), (i_2, R_2), ..., (i_n, R_n), given up to lattice translations. An operation g
takes atom (i, R) to (g i, W R + s_gi) (`crystal_symmetry`), and a term of the list to another term whose tensor is
turned; permutations of legs do the same. All terms that are reached from one another form an orbit and have one
independent tensor, which the operations that map the first term of the orbit to itself restrict further.

    symbol    is
    M_gp      matrix that turns a flattened tensor and permutes its indices
"""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
import scipy.sparse

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal_symmetry import CrystalSymmetry
from hpcthermo.phonons.interactions import Interactions, all_legs, row_codes


class Orbits:
    """Orbits of a list of terms, made complete under the space group and permutations.

    Attributes
    ----------
    atoms : (P, n) ndarray of int
    vectors : (P, n - 1, 3) ndarray of int
        The complete list.
    orbit : (P,) ndarray of int
        Orbit of each term.
    n_orbits : int
    """

    def __init__(self, symmetry: CrystalSymmetry, atoms: np.ndarray, vectors: np.ndarray) -> None:
        self.symmetry, self.order = symmetry, atoms.shape[1]
        self.permutations = [np.array(p) for p in itertools.permutations(range(self.order))]
        legs = all_legs(vectors)
        self._codes = _Codes.of(symmetry, atoms, legs)
        set_atoms, set_legs = self._complete_sets(atoms, legs)
        # the operation and permutation that take each set to the first term of its orbit
        best = np.full(len(set_atoms), np.iinfo(np.int64).max)
        operation, permutation = np.zeros(len(best), dtype=int), np.zeros(len(best), dtype=int)
        for g in range(len(symmetry.rotations)):
            code, index = self._canonical(*symmetry.images(g, set_atoms, set_legs))
            better = code < best
            best[better], operation[better], permutation[better] = code[better], g, index[better]
        # a term is a permutation of its set: undo that, then go on
        every_atoms = np.concatenate([set_atoms[:, p] for p in self.permutations])
        every_legs = np.concatenate([set_legs[:, p] - set_legs[:, p[:1]] for p in self.permutations])
        self._sorted, chosen = np.unique(self._codes.of_terms(every_atoms, every_legs), return_index=True)
        made_by, of_set = np.divmod(chosen, len(set_atoms))
        after = self._products_with_inverse()[made_by, permutation[of_set]]
        self._which = operation[of_set] * len(self.permutations) + after
        self.atoms, legs = every_atoms[chosen], every_legs[chosen]
        self.vectors = legs[:, 1:]
        firsts, orbit_of_set = np.unique(best, return_inverse=True)
        self.orbit = orbit_of_set.ravel()[of_set]
        self.n_orbits = len(firsts)
        self.sizes = np.bincount(self.orbit, minlength=self.n_orbits)
        first = self.places_of_codes(firsts)
        self._set_invariants(self.atoms[first], legs[first], firsts)
        self.all_terms = SomeTerms(self, np.arange(len(self.orbit)))

    def places_of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Places in the list of terms with given codes; -1 where there is none."""
        at = np.minimum(np.searchsorted(self._sorted, codes), len(self._sorted) - 1)
        return np.where(self._sorted[at] == codes, at, -1)

    def _complete_sets(self, atoms: np.ndarray, legs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One term of each set of atoms that symmetry makes from those of the list."""
        atoms, legs = self._unique_sets(atoms, legs)
        found_atoms, found_legs = [], []
        for g in range(len(self.symmetry.rotations)):
            new = self._unique_sets(*self.symmetry.images(g, atoms, legs))
            found_atoms.append(new[0])
            found_legs.append(new[1])
            if len(found_atoms) > 8:
                merged = self._unique_sets(np.concatenate(found_atoms), np.concatenate(found_legs))
                found_atoms, found_legs = [merged[0]], [merged[1]]
        return self._unique_sets(np.concatenate(found_atoms), np.concatenate(found_legs))

    def _unique_sets(self, atoms: np.ndarray, legs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        code, permutation = self._canonical(atoms, legs)
        first = np.unique(code, return_index=True)[1]
        order = np.array(self.permutations)[permutation[first]]
        legs = np.take_along_axis(legs[first], order[:, :, None], axis=1)
        return np.take_along_axis(atoms[first], order, axis=1), legs - legs[:, :1]

    def _products_with_inverse(self) -> np.ndarray:
        """Which permutation is that of the inverse of one, then another."""
        place = {tuple(p): index for index, p in enumerate(self.permutations)}
        return np.array([[place[tuple(np.argsort(p)[q])] for q in self.permutations] for p in self.permutations])

    def _canonical(self, atoms: np.ndarray, legs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Smallest code over permutations of legs, and the permutation that gives it."""
        best = np.full(len(atoms), np.iinfo(np.int64).max)
        which = np.zeros(len(atoms), dtype=int)
        for index, p in enumerate(self.permutations):
            code = self._codes.of_terms(atoms[:, p], legs[:, p] - legs[:, p[:1]])
            better = code < best
            best[better], which[better] = code[better], index
        return best, which

    @cached_property
    def _all_matrices(self) -> np.ndarray:
        """M_gp, (G n!, 3^n, 3^n)."""
        size = 3 ** self.order
        found = np.empty((len(self.symmetry.rotations), len(self.permutations), size, size))
        grid = np.arange(size).reshape((3,) * self.order)
        for g, rotation in enumerate(self.symmetry.cartesian):
            turn = np.ones((1, 1))
            for _ in range(self.order):
                turn = np.kron(turn, rotation)
            for index, p in enumerate(self.permutations):
                found[g, index] = turn[grid.transpose(p).ravel()]
        return found.reshape(-1, size, size)

    def _set_invariants(self, atoms: np.ndarray, legs: np.ndarray, codes: np.ndarray) -> None:
        """Projectors on the tensors that each first term's own symmetry allows, where there is such symmetry."""
        matches = []
        for g in range(len(self.symmetry.rotations)):
            image_atoms, image = self.symmetry.images(g, atoms, legs)
            for index, p in enumerate(self.permutations):
                same = self._codes.of_terms(image_atoms[:, p], image[:, p] - image[:, p[:1]]) == codes
                matches.append((g * len(self.permutations) + index, np.flatnonzero(same)))
        counts = np.bincount(np.concatenate([m for _, m in matches]), minlength=len(codes))
        self._special = np.flatnonzero(counts > 1)
        slot = np.full(len(codes), -1)
        slot[self._special] = np.arange(len(self._special))
        size = 3 ** self.order
        self._projectors = np.zeros((len(self._special), size, size))
        for matrix, members in matches:
            places = slot[members]
            self._projectors[places[places >= 0]] += self._all_matrices[matrix]
        self._projectors /= counts[self._special, None, None]

    def tensors(self, values: np.ndarray) -> np.ndarray:
        """Independent tensors (orbits, 3^n): means over the orbits of values (P, 3^n)."""
        return self.invariant(self.all_terms.transposed(values) / self.sizes[:, None])

    def invariant(self, tensors: np.ndarray) -> np.ndarray:
        """The part of tensors (orbits, 3^n) that the symmetry of the first terms allows."""
        tensors = tensors.copy()
        tensors[self._special] = np.einsum("sab,sb->sa", self._projectors, tensors[self._special])
        return tensors

    def matched(self, interactions: Interactions) -> np.ndarray:
        """Values (P, 3^n) of a list in the order of this one, zero for terms that it lacks."""
        codes = self._codes.of_terms(interactions.atoms, all_legs(interactions.vectors))
        values = np.zeros((len(self.orbit), 3 ** self.order))
        values[self.places_of_codes(codes)] = interactions.values.reshape(len(codes), -1)
        return values

    def first_prefixes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Terms whose legs but the last are a first of an orbit of such clusters.

        Returns
        -------
        terms : (S,) ndarray of int
        group : (S,) ndarray of int
            Cluster of the legs but the last.
        multiplicity : ndarray
            Size of the orbit of each cluster.
        """
        shorter = self.atoms[:, :-1]
        legs = all_legs(self.vectors)[:, :-1]
        codes = self._codes.of_terms(shorter, legs)
        unique, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        best = np.full(len(unique), np.iinfo(np.int64).max)
        for g in range(len(self.symmetry.rotations)):
            atoms, image = self.symmetry.images(g, shorter[first], legs[first])
            for p in itertools.permutations(range(self.order - 1)):
                order = list(p)
                best = np.minimum(best, self._codes.of_terms(atoms[:, order], image[:, order] - image[:, order[:1]]))
        chosen, multiplicity = np.unique(best, return_counts=True)
        terms = np.flatnonzero((best == unique)[inverse.ravel()])
        return terms, np.searchsorted(chosen, codes[terms]), multiplicity


class SomeTerms:
    """Some terms of a list of orbits: their values from independent tensors, and the transpose of that."""

    def __init__(self, orbits: Orbits, terms: np.ndarray) -> None:
        self._orbits = orbits
        which = orbits._which[terms]
        self._by_matrix = np.argsort(which, kind="stable")
        self._matrices, self._starts = np.unique(which[self._by_matrix], return_index=True)
        self._ends = np.r_[self._starts[1:], len(terms)]
        self._orbit = orbits.orbit[terms]
        self._gather = scipy.sparse.csr_matrix((np.ones(len(terms)), (self._orbit, np.arange(len(terms)))),
                                               shape=(orbits.n_orbits, len(terms)))

    def values(self, tensors: np.ndarray) -> np.ndarray:
        """Values (S, 3^n) from tensors (orbits, 3^n)."""
        values = np.empty((len(self._orbit), tensors.shape[1]))
        for matrix, start, end in zip(self._matrices, self._starts, self._ends, strict=True):
            members = self._by_matrix[start:end]
            values[members] = tensors[self._orbit[members]] @ self._orbits._all_matrices[matrix]
        return values

    def transposed(self, values: np.ndarray) -> np.ndarray:
        """Sums over the orbits (orbits, 3^n) of values (S, 3^n) turned back."""
        back = np.empty_like(values)
        for matrix, start, end in zip(self._matrices, self._starts, self._ends, strict=True):
            members = self._by_matrix[start:end]
            back[members] = values[members] @ self._orbits._all_matrices[matrix].T
        return np.asarray(self._gather @ back)


class _Codes:
    """One integer for each cluster: lattice vectors between its legs are numbered by a table."""

    def __init__(self, low: np.ndarray, table: np.ndarray, n_vectors: int, n_atoms: int) -> None:
        self._low, self._table, self._n_vectors, self._n_atoms = low, table, n_vectors, n_atoms

    @classmethod
    def of(cls, symmetry: CrystalSymmetry, atoms: np.ndarray, legs: np.ndarray) -> _Codes:
        """For the clusters of a list (P, n), (P, n, 3), all images and permutations."""
        order, n_atoms = atoms.shape[1], symmetry.atom_images.shape[1]
        pairs = _unique_rows(np.concatenate([
            np.concatenate([legs[:, b] - legs[:, a], atoms[:, [a]], atoms[:, [b]]], axis=1)
            for a in range(order) for b in range(order)]))
        between = _unique_rows(np.concatenate([
            pairs[:, :3] @ w.T + s[pairs[:, 4]] - s[pairs[:, 3]]
            for w, s in zip(symmetry.rotations, symmetry.shifts, strict=True)]))
        low = between.min(axis=0)
        table = np.zeros(between.max(axis=0) - low + 1, dtype=np.int64)
        table[tuple((between - low).T)] = np.arange(len(between))
        if np.log2(float(len(between)) * n_atoms) * (order - 1) + np.log2(n_atoms) > 62:
            raise InputError(f"force constants of order {order}: expected fewer neighbours than {len(between)}; give a "
                             "smaller cutoff")
        return cls(low, table, len(between), n_atoms)

    def of_terms(self, atoms: np.ndarray, legs: np.ndarray) -> np.ndarray:
        """Codes of terms whose first leg is in cell 0."""
        code = atoms[:, 0].astype(np.int64)
        for leg in range(1, atoms.shape[1]):
            at = legs[:, leg] - self._low
            code = (code * self._n_vectors + self._table[at[:, 0], at[:, 1], at[:, 2]]) * self._n_atoms + atoms[:, leg]
        return code


def _unique_rows(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows[np.unique(row_codes(rows), return_index=True)[1]])
