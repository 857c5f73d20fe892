r"""Fourth-order force constants by finite differences, as a sparse list.

Three atoms i, j, k no farther from one another than a cutoff are displaced by +-h along Cartesian axes; for all l at
once

    Phi(i al; j be; k ga; l de) = - sum_(s,t,u = +-1) s t u F_l,de(s h e_al at i; t h e_be at j; u h e_ga at k) / 8 h^3

with an error of order h^2, also where atoms coincide (displacements add). Triples are reduced by the space group with
its translations and by permutations; of the 27 axes of a triple only so many are made that its own symmetry gives the
others; and of displaced cells that an operation turns into each other only one is kept.

    symbol          is
    i, j, k, l      atoms of the supercell
    al, be, ga, de  Cartesian components
    h               step, A
    F               forces less those of the undisplaced supercell, eV/A
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.displacements import shortest_distances
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.supercells import SpaceGroup

#: step of fourth-order finite differences, A
FOURTH_STEP = 0.03
_SIGNS = np.array(list(itertools.product((1.0, -1.0), repeat=3)))
_AXES = np.array(list(itertools.product(range(3), repeat=3)))
_PERMUTATIONS = [np.array(p) for p in itertools.permutations(range(3))]


@dataclass(frozen=True)
class FourthOrder:
    """Which displaced supercells fourth-order force constants take, and the way back from their forces.

    Attributes
    ----------
    supercell : Supercell
    group : SpaceGroup
    step : float
        h, A.
    near : (N_s, N_s) ndarray of bool
        Pairs within the cutoff.
    triples : (T, 3) ndarray of int
        One of each orbit.
    axes : list of (A,) ndarray of int
        For each triple, which of the 27 axes are made.
    dataset : DisplacementDataset
        Cells to calculate, three displacements each.
    cells : list of (A, 8) ndarray of int
        For each triple, axes and signs, the cell of the dataset that is equivalent; -1 where nothing is displaced.
    operations : list of (A, 8) ndarray of int
        Operation that takes the cell of the dataset to the one wanted.
    """

    supercell: Supercell
    group: SpaceGroup
    step: float
    near: np.ndarray
    triples: np.ndarray
    axes: list[np.ndarray]
    dataset: DisplacementDataset
    cells: list[np.ndarray]
    operations: list[np.ndarray]

    @classmethod
    def plan(cls, supercell: Supercell, group: SpaceGroup, cutoff: float | None,
             step: float = FOURTH_STEP) -> FourthOrder:
        """Find the displacements.

        Parameters
        ----------
        cutoff : float or None
            Largest distance between any two of four atoms, A; None for all of the supercell.
        """
        distances = np.array([shortest_distances(supercell, j) for j in range(supercell.n_atoms)])
        near = distances <= (np.inf if cutoff is None else cutoff)
        triples = _independent_triples(supercell, group, near)
        axes = [_sufficient_axes(group, triple) for triple in triples]
        atoms = np.concatenate([np.repeat(triple[None], 8 * len(a), axis=0)
                                for triple, a in zip(triples, axes, strict=True)])
        vectors = np.concatenate([(_SIGNS[None, :, :, None] * np.eye(3)[_AXES[a]][:, None]).reshape(-1, 3, 3)
                                  for a in axes]) * step
        first, operation, kept = _equivalent_cells(group, atoms, vectors, step)
        ends = np.cumsum([8 * len(a) for a in axes])[:-1]
        return cls(supercell, group, step, near, triples, axes,
                   DisplacementDataset(atoms[kept], vectors[kept]),
                   [c.reshape(-1, 8) for c in np.split(first, ends)],
                   [c.reshape(-1, 8) for c in np.split(operation, ends)])

    @property
    def n_quadruples(self) -> int:
        """Quadruples of near atoms with the first in the primitive cell: tensors that are found."""
        total = 0
        for home in self.supercell.origin_of:
            around = np.flatnonzero(self.near[home])
            near = self.near[np.ix_(around, around)].astype(float)
            total += int((near * (near @ near)).sum())
        return total

    def interactions(self, dataset: DisplacementDataset) -> Interactions:
        """Fourth-order force constants from the dataset with forces, eV/A^4, image shares included.

        Not yet symmetric under permutations; see `hpcthermo.phonons.sum_rules.with_sum_rules`.

        Raises
        ------
        InputError
            If the forces are missing.
        """
        if dataset.forces is None or len(dataset.forces) != self.dataset.n_cells:
            raise InputError(f"force constants: expected forces in {self.dataset.n_cells} displaced supercells, got "
                             f"{0 if dataset.forces is None else len(dataset.forces)}")
        supercell, group = self.supercell, self.group
        derivatives = [self._of_triple(t, dataset.forces) for t in range(len(self.triples))]
        triple, operation, permutation = self._reached()
        members, values = [], []
        for i, home in enumerate(supercell.origin_of):
            for j, k in np.argwhere(triple[i] >= 0):
                g, p = operation[i, j, k], _PERMUTATIONS[permutation[i, j, k]]
                l_atoms = np.flatnonzero(self.near[home] & self.near[j] & self.near[k])
                source = np.argsort(group.permutations[g])[l_atoms]
                rotation = group.cartesian[g]
                turned = np.einsum("ax,by,cz,dw,xyzlw->labcd", rotation, rotation, rotation, rotation,
                                   derivatives[triple[i, j, k]][:, :, :, source], optimize=True)
                members.append(np.stack([np.full(len(l_atoms), home), np.full(len(l_atoms), j),
                                         np.full(len(l_atoms), k), l_atoms], axis=1))
                values.append(turned.transpose(0, *(1 + p), 4))
        return Interactions.of_supercell(supercell, np.concatenate(members), np.concatenate(values))

    def _of_triple(self, t: int, forces: np.ndarray) -> np.ndarray:
        """Phi(i j k, l), (3, 3, 3, N_s, 3), for the first triple of an orbit, by least squares over its symmetry."""
        group, triple = self.group, self.triples[t]
        normal, total = np.zeros((27, 27)), np.zeros((27, self.supercell.n_atoms, 3))
        derivatives = []
        for cells, operations in zip(self.cells[t], self.operations[t], strict=True):
            sum_over_signs = np.zeros((self.supercell.n_atoms, 3))
            for sign, cell, g in zip(_SIGNS.prod(axis=1), cells, operations, strict=True):
                if cell >= 0:
                    sum_over_signs[group.permutations[g]] += sign * forces[cell] @ group.cartesian[g].T
            derivatives.append(-sum_over_signs / (8.0 * self.step**3))
        for g, p in _symmetry_of(group, triple):
            rotation, permutation = group.cartesian[g], group.permutations[g]
            for axis, derivative in zip(self.axes[t], derivatives, strict=True):
                direction = _direction(rotation, axis, p)
                normal += np.outer(direction, direction)
                total[:, permutation] += direction[:, None, None] * (derivative @ rotation.T)
        solved = np.linalg.solve(normal, total.reshape(27, -1))
        return solved.reshape(3, 3, 3, -1, 3)

    def _reached(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For triples (i, j, k), (n, N_s, N_s): independent triple, operation and permutation that lead there; -1."""
        n_super, origins = self.supercell.n_atoms, self.supercell.origin_of
        shape = (len(origins), n_super, n_super)
        triple, operation, permutation = (np.full(shape, -1) for _ in range(3))
        row = np.full(n_super, -1)
        row[origins] = np.arange(len(origins))
        every = np.arange(len(self.group.permutations))
        for t, members in enumerate(self.triples):
            images = self.group.permutations[:, members]
            for index, p in enumerate(_PERMUTATIONS):
                first = row[images[:, p[0]]]
                good = first >= 0
                place = first[good], images[good, p[1]], images[good, p[2]]
                triple[place], operation[place], permutation[place] = t, every[good], index
        return triple, operation, permutation


def _independent_triples(supercell: Supercell, group: SpaceGroup, near: np.ndarray) -> np.ndarray:
    """One triple of each orbit under operations and permutations, (T, 3)."""
    n_super = supercell.n_atoms
    found = []
    seen: set[int] = set()
    for home in group.independent_atoms:
        around = np.flatnonzero(near[home])
        for a, j in enumerate(around):
            for k in around[a:]:
                if near[j, k] and int(_code(np.array([home, j, k]), n_super)) not in seen:
                    found.append((home, j, k))
                    seen.update(np.unique(_code(group.permutations[:, [home, j, k]], n_super)).tolist())
    return np.array(found)


def _code(triples: np.ndarray, n_super: int) -> np.ndarray:
    ordered = np.sort(triples, axis=-1)
    return np.asarray((ordered[..., 0] * n_super + ordered[..., 1]) * n_super + ordered[..., 2])


def _symmetry_of(group: SpaceGroup, triple: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Operations g and permutations p with g triple[p] = triple."""
    images = group.permutations[:, triple]
    return [(int(g), p) for p in _PERMUTATIONS for g in np.flatnonzero((images[:, p] == triple).all(axis=1))]


def _direction(rotation: np.ndarray, axis: int, p: np.ndarray) -> np.ndarray:
    """Product (27,) of the turned axes of the three displacements, legs permuted."""
    a, b, c = rotation.T[_AXES[axis]][p]
    return np.asarray(np.einsum("a,b,c->abc", a, b, c).ravel())


def _sufficient_axes(group: SpaceGroup, triple: np.ndarray) -> np.ndarray:
    """Axes from which the symmetry of a triple gives all others."""
    # a permutation of equal atoms and different operations with the same rotation add nothing new
    symmetry = _symmetry_of(group, triple)
    chosen: list[int] = []
    basis = np.zeros((0, 27))
    for axis in range(27):
        directions = np.array([_direction(group.cartesian[g], axis, p) for g, p in symmetry])
        rest = directions - directions @ basis.T @ basis
        _, singular, new = np.linalg.svd(rest, full_matrices=False)
        new = new[singular > 1e-6]
        if len(new):
            chosen.append(axis)
            basis = np.concatenate([basis, new])
        if len(basis) == 27:
            break
    return np.array(chosen)


def _equivalent_cells(group: SpaceGroup, atoms: np.ndarray, vectors: np.ndarray,
                      step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Displaced cells (C, 3), (C, 3, 3) that operations turn into one another.

    Returns
    -------
    which : (C,) ndarray of int
        Place of the equivalent cell among those kept; -1 for cells without displacement.
    operation : (C,) ndarray of int
        Operation that takes that cell to this one.
    kept : ndarray of int
        Cells kept.
    """
    # displacements of the same atom become one
    vectors = vectors.copy()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        same = atoms[:, a] == atoms[:, b]
        vectors[same, a] += vectors[same, b]
        vectors[same, b] = 0.0
    best = np.full(len(atoms), np.iinfo(np.uint64).max, dtype=np.uint64)
    to_canonical = np.zeros(len(atoms), dtype=int)
    for g, (rotation, permutation) in enumerate(zip(group.cartesian, group.permutations, strict=True)):
        code = _pattern_code(permutation[atoms], vectors @ rotation.T, step)
        better = code < best
        best[better], to_canonical[better] = code[better], g
    _, first, which = np.unique(best, return_index=True, return_inverse=True)
    which = which.ravel()
    moved = np.abs(vectors).max(axis=(1, 2)) > 0.0
    keep = moved[first]
    place = np.where(keep, np.cumsum(keep) - 1, -1)
    # cell = g^-1 (canonical) = g^-1 g_first (kept one)
    table = _products(group, to_canonical, to_canonical[first][which])
    return place[which], table, first[keep]


def _products(group: SpaceGroup, inverse_of: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Operations g^-1 h for arrays of g and h."""
    codes = {permutation.tobytes(): g for g, permutation in enumerate(group.permutations)}
    found: dict[tuple[int, int], int] = {}
    for pair in set(zip(inverse_of.tolist(), then.tolist(), strict=True)):
        back = np.argsort(group.permutations[pair[0]])
        found[pair] = codes[back[group.permutations[pair[1]]].tobytes()]
    return np.array([found[pair] for pair in zip(inverse_of.tolist(), then.tolist(), strict=True)])


def _pattern_code(atoms: np.ndarray, vectors: np.ndarray, step: float) -> np.ndarray:
    """64-bit code of sets of displaced atoms, independent of their order."""
    numbers = np.rint(vectors * (1e4 / step)).astype(np.int64)
    with np.errstate(over="ignore"):
        key = atoms.astype(np.uint64) + np.uint64(1)
        for axis in range(3):
            key = _mixed(key * np.uint64(0x9E3779B97F4A7C15) + numbers[..., axis].astype(np.uint64))
        key[(numbers == 0).all(axis=-1)] = 0
        return np.asarray(key.sum(axis=-1, dtype=np.uint64))


def _mixed(key: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that spreads their bits (the finaliser of SplitMix64)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(key ^ (key >> np.uint64(31)))
