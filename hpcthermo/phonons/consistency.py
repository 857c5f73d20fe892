r"""Whether force constants are those of a crystal: permutation of legs, acoustic sum rule, space group.

    Phi(i a, J b) = Phi(J b, i a)        sum_J Phi(i a, J b) = 0        Phi(S i, S J) = W Phi(i, J) W^T

for every operation (W | w) of the space group that the supercell keeps, and likewise for the third order. Force
constants of another crystal, or in another order of atoms, break them by as much as their size; finite differences that
nobody has symmetrised by a few hundredths of it.

    symbol   is
    W        rotation, Cartesian
    S        where an operation takes an atom of the supercell
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import PLACE_TOLERANCE, Crystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import SupercellForceConstants
from hpcthermo.phonons.space_group import space_group_of
from hpcthermo.phonons.supercell_order import SupercellOrder

#: violations beyond this fraction of the largest element are those of another crystal
FOREIGN = 0.1
#: operations of the space group under which what is read is looked at: enough for a foreign crystal, and fast
SPOT_CHECKS = 3


@dataclass(frozen=True)
class Violations:
    """How far force constants are from their invariants, as fractions of the largest element.

    Attributes
    ----------
    permutation : float
        Exchange of the first two legs.
    sum_rule : float
        Acoustic sum rule: over the last leg; of a list, over all legs but the first.
    space_group : float
        Symmetry of the crystal.
    """

    permutation: float
    sum_rule: float
    space_group: float

    @property
    def worst(self) -> float:
        """The largest."""
        return max(self.permutation, self.sum_rule, self.space_group)


def moved_atoms(crystal: Crystal, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Atoms of the primitive cell, (n,), to whose places an operation of the space group takes the atoms.

    Raises
    ------
    InputError
        If it takes them elsewhere.
    """
    apart = (crystal.positions @ rotation.T + translation)[:, None, :] - crystal.positions[None, :, :]
    distance = np.linalg.norm((apart - np.rint(apart)) @ crystal.cell, axis=2)
    distance[crystal.numbers[:, None] != crystal.numbers[None, :]] = np.inf
    if distance.min(axis=1).max() > 100 * PLACE_TOLERANCE:
        raise InputError("crystal: expected an operation of its space group, got one that moves atoms elsewhere")
    return np.asarray(distance.argmin(axis=1))


def _jumps(crystal: Crystal, rotation: np.ndarray, translation: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Lattice vectors, (n, 3), between the places that atoms of cell 0 are taken to and the same atoms of cell 0."""
    return np.asarray(np.rint(crystal.positions @ rotation.T + translation - crystal.positions[moved]).astype(int))


def supercell_permutation(order: SupercellOrder, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray | None:
    """Where an operation of the primitive cell takes the atoms of a supercell; None if the supercell breaks it.

    Returns
    -------
    (N_s,) ndarray of int
        Atom J goes to the place of atom ``result[J]``.
    """
    supercell, crystal = order.supercell, order.supercell.crystal
    to_primitive = supercell.cell @ np.linalg.inv(crystal.cell)
    turned = to_primitive @ rotation.T @ np.linalg.inv(to_primitive)
    if np.abs(turned - np.rint(turned)).max() > 1e-3:
        return None
    moved = moved_atoms(crystal, rotation, translation)
    jumps = _jumps(crystal, rotation, translation, moved)
    return order.find(moved[supercell.atom_of], order.lattice @ rotation.T + jumps[supercell.atom_of])


def violations(found: SupercellForceConstants,
               operations: tuple[np.ndarray, np.ndarray] | None = None) -> Violations:
    """How far supercell force constants of order 2 or 3 are from their invariants.

    Parameters
    ----------
    found : SupercellForceConstants
    operations : (rotations, translations), optional
        Look at these operations of the space group; without it, at all.
    """
    supercell, values = found.supercell, found.values
    order, crystal = found.order, supercell.crystal
    scale = max(float(np.abs(values).max()), 1e-30)
    home = supercell.origin_of
    # rows belong to the atoms at home only: these are exchanged with each other
    among = values[:, home]
    swapped = np.moveaxis(among, (0, 1, order, order + 1), (1, 0, order + 1, order))
    permutation = float(np.abs(among - swapped).max())
    sum_rule = float(np.abs(values.sum(axis=order - 1)).max())
    broken = 0.0
    rotations, translations = operations or space_group_of(crystal)
    places = SupercellOrder(supercell)
    home_places = places.brought_home
    for rotation, translation in zip(rotations, translations, strict=True):
        permuted = supercell_permutation(places, rotation, translation)
        if permuted is None:
            continue
        turn = crystal.cell.T @ rotation @ np.linalg.inv(crystal.cell.T)
        for i in range(crystal.n_atoms):
            target = permuted[home[i]]
            # bring the image of the first atom home by a lattice translation
            place = home_places[target][permuted]
            turned = values[i]
            for leg in range(order):
                turned = np.moveaxis(np.tensordot(turn, turned, axes=(1, order - 1 + leg)), 0, order - 1 + leg)
            there = values[supercell.atom_of[target]][np.ix_(*(place,) * (order - 1))]
            broken = max(broken, float(np.abs(turned - there).max()))
    return Violations(permutation / scale, sum_rule / scale, broken / scale)


def violations_of_list(found: Interactions, crystal: Crystal,
                       operations: tuple[np.ndarray, np.ndarray] | None = None) -> Violations:
    """How far a list of force constants of any order is from its invariants.

    Parameters
    ----------
    operations : (rotations, translations), optional
        Look at these operations of the space group; without it, at all.
    """
    order, atoms, vectors, values = found.order, found.atoms, found.vectors, found.values
    scale = max(float(np.abs(values).max(initial=0.0)), 1e-30)
    swapped = np.concatenate([-vectors[:, :1], vectors[:, 1:] - vectors[:, :1]], axis=1)
    exchange = [1, 0, *range(2, order)]
    permutation = largest_difference(found, Interactions(
        atoms[:, exchange], swapped, values.transpose(0, *(1 + leg for leg in exchange))))
    # over all further legs: the mean over origins keeps this sum, but not that over one leg
    sums = np.zeros((crystal.n_atoms, *values.shape[1:]))
    np.add.at(sums, atoms[:, 0], values)
    broken = 0.0
    for rotation, translation in zip(*(operations or space_group_of(crystal)), strict=True):
        turn = crystal.cell.T @ rotation @ np.linalg.inv(crystal.cell.T)
        moved = moved_atoms(crystal, rotation, translation)
        jumps = _jumps(crystal, rotation, translation, moved)
        turned = values
        for leg in range(1, order + 1):
            turned = np.moveaxis(np.tensordot(turn, turned, axes=(1, leg)), 0, leg)
        image = Interactions(moved[atoms], vectors @ rotation.T + jumps[atoms[:, 1:]] - jumps[atoms[:, :1]], turned)
        broken = max(broken, largest_difference(found, image))
    return Violations(permutation / scale, float(np.abs(sums).max(initial=0.0)) / scale, broken / scale)


def largest_difference(one: Interactions, other: Interactions) -> float:
    """Largest element of the difference of two lists."""
    both = Interactions.merged(np.concatenate([one.atoms, other.atoms]), np.concatenate([one.vectors, other.vectors]),
                               np.concatenate([one.values, -other.values]))
    return float(np.abs(both.values).max(initial=0.0))


def few_operations(crystal: Crystal) -> tuple[np.ndarray, np.ndarray]:
    """`SPOT_CHECKS` operations of the space group, spread over spglib's list; all of them for a small group."""
    rotations, translations = space_group_of(crystal)
    last = len(rotations) - 1
    chosen = sorted(set(np.linspace(min(1, last), last, SPOT_CHECKS).astype(int).tolist()))
    return rotations[chosen], translations[chosen]


def require_of_crystal(found: SupercellForceConstants | Interactions, crystal: Crystal,
                       operations: tuple[np.ndarray, np.ndarray], where: str) -> None:
    """Refuse force constants that are not those of their crystal.

    Parameters
    ----------
    operations : (rotations, translations)
        Of the space group, to look at.
    where : str
        File, for the message.

    Raises
    ------
    InputError
        If they vanish or break an invariant by more than `FOREIGN` of their largest element.
    """
    if not np.abs(found.values).max(initial=0.0) > 1e-10:
        raise InputError(f"{where}: expected force constants, got zeros only; is the calculation complete?")
    broken = (violations_of_list(found, crystal, operations) if isinstance(found, Interactions)
              else violations(found, operations))
    for what, amount in (("symmetric when two atoms are exchanged", broken.permutation),
                         ("whose sum over an atom vanishes", broken.sum_rule),
                         ("with the symmetry of the crystal", broken.space_group)):
        if amount > FOREIGN:
            raise InputError(f"{where}: expected force constants {what}, got a deviation of {100.0 * amount:.0f} % "
                             "of the largest; are they of another crystal, another order of atoms, or a supercell "
                             "without its symmetry?")
