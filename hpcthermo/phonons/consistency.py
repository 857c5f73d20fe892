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
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.crystal_symmetry import CrystalSymmetry
from hpcthermo.phonons.interactions import Interactions, all_legs
from hpcthermo.phonons.lattice_dynamics import SupercellForceConstants
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


def turned_tensors(values: np.ndarray, rotation: np.ndarray, axes: range) -> np.ndarray:
    """Tensors whose given axes are turned by a Cartesian rotation."""
    for axis in axes:
        values = np.moveaxis(np.tensordot(rotation, values, axes=(1, axis)), 0, axis)
    return values


def violations(found: SupercellForceConstants, symmetry: CrystalSymmetry | None = None) -> Violations:
    """How far supercell force constants of order 2 or 3 are from their invariants.

    Parameters
    ----------
    found : SupercellForceConstants
    symmetry : CrystalSymmetry, optional
        Look at these operations of the space group; without it, at all.
    """
    supercell, values, order = found.supercell, found.values, found.order
    scale = max(float(np.abs(values).max()), 1e-30)
    home = supercell.origin_of
    # rows belong to the atoms at home only: these are exchanged with each other
    among = values[:, home]
    swapped = np.moveaxis(among, (0, 1, order, order + 1), (1, 0, order + 1, order))
    permutation = float(np.abs(among - swapped).max())
    sum_rule = float(np.abs(values.sum(axis=order - 1)).max())
    broken = 0.0
    symmetry = (symmetry or CrystalSymmetry.of(supercell.crystal)).kept_by(supercell.cell)
    places = SupercellOrder(supercell)
    home_places = places.brought_home
    for g, rotation in enumerate(symmetry.cartesian):
        permuted = places.find(*symmetry.images(g, supercell.atom_of, places.lattice))
        for i in range(supercell.crystal.n_atoms):
            target = permuted[home[i]]
            # bring the image of the first atom home by a lattice translation
            place = home_places[target][permuted]
            there = values[supercell.atom_of[target]][np.ix_(*(place,) * (order - 1))]
            turned = turned_tensors(values[i], rotation, range(order - 1, 2 * order - 1))
            broken = max(broken, float(np.abs(turned - there).max()))
    return Violations(permutation / scale, sum_rule / scale, broken / scale)


def violations_of_list(found: Interactions, symmetry: CrystalSymmetry) -> Violations:
    """How far a list of force constants of any order is from its invariants.

    Parameters
    ----------
    found : Interactions
    symmetry : CrystalSymmetry
        The operations of the space group to look at.
    """
    order, atoms, vectors, values = found.order, found.atoms, found.vectors, found.values
    scale = max(float(np.abs(values).max(initial=0.0)), 1e-30)
    swapped = np.concatenate([-vectors[:, :1], vectors[:, 1:] - vectors[:, :1]], axis=1)
    exchange = [1, 0, *range(2, order)]
    permutation = largest_difference(found, Interactions(
        atoms[:, exchange], swapped, values.transpose(0, *(1 + leg for leg in exchange))))
    # over all further legs: the mean over origins keeps this sum, but not that over one leg
    sums = np.zeros((symmetry.crystal.n_atoms, *values.shape[1:]))
    np.add.at(sums, atoms[:, 0], values)
    broken = 0.0
    legs = all_legs(vectors)
    for g, rotation in enumerate(symmetry.cartesian):
        there, cells = symmetry.images(g, atoms, legs)
        turned = turned_tensors(values, rotation, range(1, order + 1))
        image = Interactions(there, cells[:, 1:] - cells[:, :1], turned)
        broken = max(broken, largest_difference(found, image))
    return Violations(permutation / scale, float(np.abs(sums).max(initial=0.0)) / scale, broken / scale)


def largest_difference(one: Interactions, other: Interactions) -> float:
    """Largest element of the difference of two lists."""
    both = Interactions.merged(np.concatenate([one.atoms, other.atoms]), np.concatenate([one.vectors, other.vectors]),
                               np.concatenate([one.values, -other.values]))
    return float(np.abs(both.values).max(initial=0.0))


def few_operations(crystal: Crystal) -> CrystalSymmetry:
    """`SPOT_CHECKS` operations of the space group, spread over spglib's list; all of them for a small group."""
    symmetry = CrystalSymmetry.of(crystal)
    last = len(symmetry.rotations) - 1
    return symmetry.some(np.unique(np.linspace(min(1, last), last, SPOT_CHECKS).astype(int)))


def require_of_crystal(found: SupercellForceConstants | Interactions, symmetry: CrystalSymmetry, where: str) -> None:
    """Refuse force constants that are not those of their crystal.

    Parameters
    ----------
    symmetry : CrystalSymmetry
        The operations of the crystal's space group to look at.
    where : str
        File, for the message.

    Raises
    ------
    InputError
        If they vanish or break an invariant by more than `FOREIGN` of their largest element.
    """
    if not np.abs(found.values).max(initial=0.0) > 1e-10:
        raise InputError(f"{where}: expected force constants, got zeros only; is the calculation complete?")
    broken = (violations_of_list(found, symmetry) if isinstance(found, Interactions) else violations(found, symmetry))
    for what, amount in (("symmetric when two atoms are exchanged", broken.permutation),
                         ("whose sum over an atom vanishes", broken.sum_rule),
                         ("with the symmetry of the crystal", broken.space_group)):
        if amount > FOREIGN:
            raise InputError(f"{where}: expected force constants {what}, got a deviation of {100.0 * amount:.0f} % "
                             "of the largest; are they of another crystal, another order of atoms, or a supercell "
                             "without its symmetry?")
