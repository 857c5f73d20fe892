"""A crystal, and the supercell in which its force constants were found.

Notation:

    symbol          is
    a_1, a_2, a_3   lattice vectors of the primitive cell, rows of ``cell``
    tau_i           fractional position of atom i of the primitive cell
    R               lattice vector, as three integers
    J               atom of the supercell: atom ``atom_of[J]`` of the primitive cell, displaced by a lattice vector
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.lattice_reduction import shortest_basis

#: atoms are at the same place if this close, A
PLACE_TOLERANCE = 1e-4
#: vectors between periodic images count as equally short within this, A
IMAGE_TOLERANCE = 1e-5
#: images of a wave vector count as equally short within this share of a reciprocal lattice vector
_WAVE_VECTOR_TOLERANCE = 1e-6
#: cells about a reduced one that hold all shortest images of its points
_NEIGHBOURS = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))


@dataclass(frozen=True)
class Crystal:
    """A primitive cell.

    Attributes
    ----------
    cell : (3, 3) ndarray
        Lattice vectors as rows, A.
    positions : (n, 3) ndarray
        Fractional.
    symbols : tuple of str
        Elements.
    masses : (n,) ndarray
        amu.
    periodic : (3,) tuple of bool
        False along a direction in which the crystal is a sheet; the cell then has vacuum there.
    """

    cell: np.ndarray
    positions: np.ndarray
    symbols: tuple[str, ...]
    masses: np.ndarray
    periodic: tuple[bool, bool, bool] = (True, True, True)

    @property
    def n_atoms(self) -> int:
        """Atoms of the primitive cell, n."""
        return len(self.symbols)

    @property
    def n_bands(self) -> int:
        """Phonon branches, B = 3 n."""
        return 3 * self.n_atoms

    @property
    def volume(self) -> float:
        """Volume of the primitive cell, A^3."""
        return float(abs(np.linalg.det(self.cell)))

    @cached_property
    def reciprocal(self) -> np.ndarray:
        """Rows b_1, b_2, b_3 with a_i . b_j = delta_ij (without 2 pi), 1/A."""
        return np.linalg.inv(self.cell).T

    @cached_property
    def numbers(self) -> np.ndarray:
        """One small integer per element and mass, for spglib: isotopes in a pattern break the symmetry of phonons."""
        kinds = [f"{symbol} {mass:.4f}" for symbol, mass in zip(self.symbols, self.masses, strict=True)]
        return np.unique(kinds, return_inverse=True)[1]

    @cached_property
    def _reduced_reciprocal(self) -> tuple[np.ndarray, np.ndarray]:
        """Shortest vectors (rows) of the reciprocal lattice, and the same in units of `reciprocal`."""
        return shortest_basis(self.reciprocal)

    def shortest_wave_vectors(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images of wave vectors in the first Brillouin zone or on its boundary.

        Parameters
        ----------
        q : (N, 3) array
            Fractional.

        Returns
        -------
        counts : (N,) ndarray of int
            How many are equally short.
        images : (N, most, 3) ndarray
            Those first, beyond the count longer ones.
        """
        reduced, operation = self._reduced_reciprocal
        place = q @ self.reciprocal @ np.linalg.inv(reduced)
        place -= np.rint(place)
        candidates = place[:, None, :] + np.array(list(itertools.product((-1, 0, 1), repeat=3)))
        length = np.linalg.norm(candidates @ reduced, axis=2)
        near = length < length.min(axis=1, keepdims=True) + _WAVE_VECTOR_TOLERANCE * np.linalg.norm(reduced,
                                                                                                   axis=1).max()
        counts = near.sum(axis=1)
        order = np.argsort(~near, axis=1, kind="stable")[:, :counts.max()]
        return counts, np.take_along_axis(candidates, order[..., None], axis=1) @ operation


@dataclass(frozen=True)
class Supercell:
    """A supercell of a crystal, with atoms in any order.

    Attributes
    ----------
    crystal : Crystal
    cell : (3, 3) ndarray
        Rows, A; integer combinations of the primitive ones.
    positions : (N_s, 3) ndarray
        Fractional, of the supercell.
    atom_of : (N_s,) ndarray of int
        Atom of the primitive cell that each is an image of.
    origin_of : (n,) ndarray of int
        Atom of the supercell that stands for each atom of the primitive cell in compact force constants.
    """

    crystal: Crystal
    cell: np.ndarray
    positions: np.ndarray
    atom_of: np.ndarray
    origin_of: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Atoms of the supercell, N_s."""
        return len(self.positions)

    @classmethod
    def match(cls, crystal: Crystal, cell: np.ndarray, positions: np.ndarray, symbols: tuple[str, ...] | list[str],
              origin_of: np.ndarray | None = None) -> Supercell:
        """Recognise the atoms of a supercell as images of those of a crystal.

        Parameters
        ----------
        cell : (3, 3) array
            Rows, A.
        positions : (N_s, 3) array
            Fractional.
        origin_of : (n,) array of int, optional
            Known representatives; without it, the first image of each atom.

        Raises
        ------
        InputError
            If the supercell is none of this crystal.
        """
        ratio = cell @ np.linalg.inv(crystal.cell)
        if np.abs(ratio - np.rint(ratio)).max() > 1e-3:
            raise InputError("supercell: expected lattice vectors that are integer combinations of the primitive ones, "
                             f"got {np.round(ratio, 4).tolist()}")
        here = positions @ cell @ np.linalg.inv(crystal.cell)
        apart = here[:, None, :] - crystal.positions[None, :, :]
        apart -= np.rint(apart)
        distance = np.linalg.norm(apart @ crystal.cell, axis=2)
        distance[np.array(symbols)[:, None] != np.array(crystal.symbols)[None, :]] = np.inf
        atom_of = distance.argmin(axis=1)
        found = distance[np.arange(len(atom_of)), atom_of]
        copies = abs(round(float(np.linalg.det(ratio))))
        counts = np.bincount(atom_of, minlength=crystal.n_atoms)
        if found.max() > 100 * PLACE_TOLERANCE or (counts != copies).any():
            raise InputError(f"supercell: expected {copies} images of each of the {crystal.n_atoms} atoms of the "
                             f"primitive cell, got {counts.tolist()} within {100 * PLACE_TOLERANCE} A; give the "
                             "supercell of this crystal")
        if origin_of is None:
            origin_of = np.array([np.flatnonzero(atom_of == i)[0] for i in range(crystal.n_atoms)])
        return cls(crystal, np.asarray(cell, dtype=np.float64), np.asarray(positions, dtype=np.float64), atom_of,
                   np.asarray(origin_of))

    @cached_property
    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Equally short vectors from each atom of the primitive cell to each atom of the supercell.

        Returns
        -------
        counts : (n, N_s) ndarray of int
            How many there are.
        vectors : (n, N_s, most, 3) ndarray of int
            Lattice vectors R, so that the vector is (R + tau_j - tau_i) @ cell; beyond the count, zero.
        """
        crystal = self.crystal
        to_primitive = self.cell @ np.linalg.inv(crystal.cell)
        place = self.positions @ to_primitive
        base = np.rint(place - crystal.positions[self.atom_of]).astype(int)
        home = base[self.origin_of]
        _, reduced = shortest_basis(self.cell)
        step = np.rint(reduced @ to_primitive).astype(int)
        offset = crystal.positions[self.atom_of][None, :, :] - crystal.positions[:, None, :]
        lattice = base[None, :, :] - home[:, None, :]
        # wherever the atoms were given: into the reduced cell about the first one, then to its neighbours
        lattice = lattice - np.rint((lattice + offset) @ np.linalg.inv(step)).astype(int) @ step
        lattice = lattice[:, :, None, :] + _NEIGHBOURS @ step
        length = np.linalg.norm((lattice + offset[:, :, None, :]) @ crystal.cell, axis=3)
        near = length < length.min(axis=2, keepdims=True) + IMAGE_TOLERANCE
        counts = near.sum(axis=2)
        # the near ones first, otherwise in the order of the translations
        order = np.argsort(~near, axis=2, kind="stable")[:, :, :counts.max()]
        vectors = np.take_along_axis(lattice, order[..., None], axis=2)
        vectors[np.arange(counts.max())[None, None, :] >= counts[:, :, None]] = 0
        return counts, vectors
