r"""Nearest force constants of a supercell that obey the exact symmetries.

Compact arrays Phi(i, J, K, ...) of a whole supercell, without cutoff, are projected on

    space group              Phi(g i, g J, ...) = R R ... Phi(i, J, ...)
    permutations             Phi(i al; J be; ...) = Phi(J be; i al; ...)
    acoustic sum rules       sum over any leg = 0

Each condition is an orthogonal projector: the mean over operations, the mean over permutations, and Q x Q x ... with
Q = 1 - (1/N_s) sum over atoms, on every leg. They commute, so their product is the orthogonal projector on all of them
at once, and the result is the least change (as symfc's, Seko and Togo, Phys. Rev. B 110, 214302 (2024)), at the cost of
a few passes over the array.

    symbol   is
    i        atom of the primitive cell
    J, K     atoms of the supercell
    R        rotation of operation g
    N_s      atoms of the supercell
"""

from __future__ import annotations

import itertools

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.finite_differences import transformed
from hpcthermo.phonons.supercells import SpaceGroup


def projected(supercell: Supercell, group: SpaceGroup, values: np.ndarray,
              average_space_group: bool = False) -> np.ndarray:
    """The nearest compact force constants that obey all conditions.

    Parameters
    ----------
    values : (n, N_s, ..., 3, ...) ndarray
        Compact, order 2 or 3 (higher ones fit no memory), eV/A^n, without cutoff.
    average_space_group : bool
        Take the mean over operations; those of finite differences with symmetry have it already.

    Raises
    ------
    InputError
        If the array is none of this supercell.
    """
    order = values.ndim // 2
    n, n_super = supercell.crystal.n_atoms, supercell.n_atoms
    if values.shape != (n,) + (n_super,) * (order - 1) + (3,) * order:
        raise InputError(f"force constants: expected compact ones of {n} atoms in a supercell of {n_super}, got the "
                         f"shape {values.shape}")
    lattice = Translations(supercell, group)
    symmetric = lattice.mean_over_operations(values) if average_space_group else values
    return lattice.without_sums(lattice.mean_over_permutations(symmetric))


def largest_sum(values: np.ndarray) -> float:
    """Largest violation of the acoustic sum rules in compact force constants, over their second and further legs."""
    order = values.ndim // 2
    return max(float(np.abs(values.sum(axis=leg)).max()) for leg in range(1, order))


class Translations:
    """Compact force constants read as if the first atom could be any of the supercell.

    Phi(J_1, J_2, ...) is row ``atom_of[J_1]`` at atoms ``moved[J_1, J_2]``, ...: where those lie once a translation has
    taken J_1 to the origin.
    """

    def __init__(self, supercell: Supercell, group: SpaceGroup) -> None:
        self.supercell, self.group = supercell, group
        pure = np.flatnonzero((group.rotations == np.eye(3, dtype=int)).all(axis=(1, 2)))
        permutations = group.permutations[pure]
        home = supercell.origin_of[supercell.atom_of]
        which = (permutations == home[None, :]).argmax(axis=0)
        self.moved = permutations[which]
        if (self.moved[np.arange(supercell.n_atoms), np.arange(supercell.n_atoms)] != home).any():
            raise InputError("supercell: expected the translations of the primitive cell among its symmetries, got "
                             "others; give the supercell of a relaxed crystal")

    def mean_over_permutations(self, values: np.ndarray) -> np.ndarray:
        """Symmetric under exchange of legs."""
        order = values.ndim // 2
        rest = np.zeros_like(values)
        later = list(itertools.permutations(range(1, order)))
        for legs in later:  # the later legs among themselves
            axes = (0, *legs, order, *(order + leg for leg in legs))
            rest += values.transpose(axes)
        rest /= len(later)
        total = rest.copy()
        for i in range(len(values)):
            for leg in range(1, order):
                total[i] += self._exchanged(rest, i, leg)
        return np.asarray(total / order)

    def _exchanged(self, values: np.ndarray, i: int, leg: int) -> np.ndarray:
        """Phi with leg 1 and another exchanged, for atom i as the new first."""
        order, n_super = values.ndim // 2, self.supercell.n_atoms
        grid = np.ogrid[tuple(slice(n_super) for _ in range(order - 1))]
        first = grid[leg - 1]
        index = [self.supercell.atom_of[first]]
        for axis in range(1, order):
            other = self.supercell.origin_of[i] if axis == leg else grid[axis - 1]
            index.append(self.moved[first, other])
        return values[tuple(index)].swapaxes(order - 1, order - 1 + leg)

    def without_sums(self, values: np.ndarray) -> np.ndarray:
        """The projector on the acoustic sum rules of all legs."""
        order, n_super = values.ndim // 2, self.supercell.n_atoms
        values = values.copy()
        for leg in range(1, order):
            values -= values.mean(axis=leg, keepdims=True)
        # the mean over the first leg, with the second in the primitive cell
        every = np.arange(n_super).reshape((n_super,) + (1,) * (order - 2))
        grid = np.ogrid[tuple(slice(n_super) for _ in range(order - 1))]
        mean = np.empty((len(values),) + (n_super,) * (order - 2) + (3,) * order)
        for i, home in enumerate(self.supercell.origin_of):
            index = [self.supercell.atom_of[every], self.moved[every, home]]
            index += [self.moved[every, other] for other in grid[1:]]
            mean[i] = values[tuple(index)].mean(axis=0)
        second = grid[0]
        values -= mean[(self.supercell.atom_of[second], *(self.moved[second, other] for other in grid[1:]))]
        return values

    def mean_over_operations(self, values: np.ndarray) -> np.ndarray:
        """Invariant under the space group."""
        group, origins = self.group, self.supercell.origin_of
        total = np.zeros_like(values)
        _, kinds = np.unique(group.rotations.reshape(len(group.rotations), 9), axis=0, return_inverse=True)
        n_rotations = int(kinds.max()) + 1
        for kind in range(n_rotations):
            operations = np.flatnonzero(kinds.ravel() == kind)
            for i, home in enumerate(origins):
                found, source = np.argwhere(group.permutations[np.ix_(operations, origins)] == home)[0]
                operation = operations[found]
                total[i] += transformed(values[source], group.cartesian[operation],
                                        np.argsort(group.permutations[operation]))
        return total / n_rotations
