r"""Displaced supercells from which force constants follow by finite differences.

The symmetry of a site leaves few displacements to make (Parlinski, Li and Kawazoe, Phys. Rev. Lett. 78, 4063 (1997)).
For the third order, an atom is displaced first; the operations that keep it in place and leave its displacement as it
is make pairs equivalent and reduce the displacement of the second atom (Togo, Chaput and Tanaka, Phys. Rev. B 91,
094306 (2015)). Directions are those of phonopy, so that the sets agree with those of phonopy and phono3py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from phonopy.harmonic.displacement import (
    directions_diag,
    get_displacement,
    get_least_displacements,
    is_minus_displacement,
)

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.supercells import SpaceGroup

#: steps of second- and third-order finite differences, A
SECOND_STEP = 0.01
THIRD_STEP = 0.03


@dataclass(frozen=True)
class DisplacementDataset:
    """Displaced supercells, and the forces in them once they are known.

    Attributes
    ----------
    atoms : (C, m) ndarray of int
        Displaced atoms of the supercell; -1 fills up rows with fewer. An atom may stand twice: displacements add.
    vectors : (C, m, 3) ndarray
        Displacements, A, Cartesian.
    forces : (C, N_s, 3) ndarray or None
        eV/A.
    """

    atoms: np.ndarray
    vectors: np.ndarray
    forces: np.ndarray | None = None

    @property
    def n_cells(self) -> int:
        """Number of displaced supercells, C."""
        return len(self.atoms)

    def dense(self, n_atoms: int) -> np.ndarray:
        """Displacements of all atoms, (C, N_s, 3)."""
        displacements = np.zeros((self.n_cells, n_atoms, 3))
        cell, slot = np.nonzero(self.atoms >= 0)
        np.add.at(displacements, (cell, self.atoms[cell, slot]), self.vectors[cell, slot])
        return displacements

    def with_forces(self, forces: np.ndarray, residual: np.ndarray | None = None) -> DisplacementDataset:
        """The dataset with forces (C, N_s, 3), less those of the undisplaced supercell, ``residual`` (N_s, 3).

        Raises
        ------
        InputError
            If there are other numbers of cells, or forces that are not numbers.
        """
        if forces.ndim != 3 or len(forces) != self.n_cells or forces.shape[2] != 3:
            raise InputError(f"forces: expected one array (N_s, 3) for each of the {self.n_cells} displaced "
                             f"supercells, got the shape {forces.shape}")
        bad = np.flatnonzero(~np.isfinite(forces).all(axis=(1, 2)))
        if len(bad):
            raise InputError(f"forces: expected finite numbers, got others in {len(bad)} displaced supercells, "
                             f"first in number {bad[0] + 1}; calculate these again")
        return replace(self, forces=forces if residual is None else forces - residual)


def second_order_displacements(supercell: Supercell, group: SpaceGroup, step: float = SECOND_STEP,
                               diagonal: bool = True) -> DisplacementDataset:
    """Single displacements; both signs where symmetry does not give one from the other.

    Parameters
    ----------
    step : float
        A.
    diagonal : bool
        Use directions between the lattice vectors where that saves cells.
    """
    least = np.array(get_least_displacements(group.phonopy, is_plusminus="auto", is_diagonal=diagonal))
    return DisplacementDataset(least[:, :1].astype(int), _along(least[:, 1:], supercell, step)[:, None, :])


def third_order_displacements(supercell: Supercell, group: SpaceGroup, step: float = THIRD_STEP,
                              cutoff: float | None = None) -> DisplacementDataset:
    """Single displacements, then pairs of displacements.

    Parameters
    ----------
    step : float
        A, of both atoms.
    cutoff : float, optional
        Largest distance of a pair, A.
    """
    least = np.array(get_least_displacements(group.phonopy, is_plusminus="auto", is_diagonal=False))
    firsts, seconds, first_steps, second_steps = [], [], [], []
    known: dict[bytes, list[np.ndarray]] = {}
    for atom, *direction in least:
        distances = shortest_distances(supercell, int(atom)) if cutoff is not None else None
        site = group.fixing(atom)
        site = site[(group.rotations[site] @ direction == direction).all(axis=1)]
        permutations = group.permutations[site]
        for second in np.flatnonzero(permutations.min(axis=0) == np.arange(supercell.n_atoms)):
            if distances is not None and distances[second] > cutoff:
                continue
            rotations = group.rotations[site[permutations[:, second] == second]]
            key = rotations.tobytes()
            if key not in known:
                known[key] = _directions(rotations)
            for other in known[key]:
                firsts.append(atom)
                seconds.append(second)
                first_steps.append(direction)
                second_steps.append(other)
    single = np.stack([least[:, 0], np.full(len(least), -1)], axis=1)
    pairs = np.stack([firsts, seconds], axis=1)
    along_single = _along(least[:, 1:], supercell, step)
    vectors = np.stack([_along(np.array(first_steps), supercell, step),
                        _along(np.array(second_steps), supercell, step)], axis=1)
    return DisplacementDataset(
        np.concatenate([single, pairs]).astype(int),
        np.concatenate([np.stack([along_single, np.zeros_like(along_single)], axis=1), vectors]))


def shortest_distances(supercell: Supercell, atom: int) -> np.ndarray:
    """Distances (N_s,) from an atom to the nearest image of each, A."""
    from ase.geometry import find_mic

    apart = (supercell.positions - supercell.positions[atom]) @ supercell.cell
    return np.asarray(find_mic(apart, supercell.cell, pbc=True)[1])


def _directions(rotations: np.ndarray) -> list[np.ndarray]:
    """Directions of displacement that suffice for an atom whose symmetry is given by rotations."""
    directions = []
    for direction in get_displacement(rotations, directions_diag):
        directions.append(np.asarray(direction))
        if is_minus_displacement(direction, rotations):
            directions.append(-np.asarray(direction))
    return directions


def _along(directions: np.ndarray, supercell: Supercell, step: float) -> np.ndarray:
    """Vectors of the length of the step along directions given in lattice vectors of the supercell."""
    vectors = directions @ supercell.cell
    return vectors * (step / np.linalg.norm(vectors, axis=-1, keepdims=True))

