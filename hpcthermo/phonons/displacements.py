r"""Displaced supercells from which force constants follow by finite differences.

The symmetry of a site leaves few displacements to make (Parlinski, Li and Kawazoe, Phys. Rev. Lett. 78, 4063 (1997)).
For the third order, an atom is displaced first; the operations that keep it in place and leave its displacement as it
is make pairs equivalent and reduce the displacement of the second atom (Togo, Chaput and Tanaka, Phys. Rev. B 91,
094306 (2015)). Directions are those of phonopy, so that the sets agree with those of phonopy and phono3py.
"""

from __future__ import annotations

import numpy as np
from phonopy.harmonic.displacement import (
    directions_diag,
    get_displacement,
    get_least_displacements,
    is_minus_displacement,
)

from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.supercells import SpaceGroup

#: steps of second- and third-order finite differences, A
SECOND_STEP = 0.01
THIRD_STEP = 0.03


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

