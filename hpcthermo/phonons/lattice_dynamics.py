"""Everything a phonon calculation knows of a crystal: cells, force constants of all orders, charges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.interactions import NEGLIGIBLE, Interactions, SupercellInteractions
from hpcthermo.phonons.supercell_order import full_from_compact


@dataclass(frozen=True)
class SupercellForceConstants:
    """Compact force constants of a supercell, of one order: what finite differences find and phonopy's files hold.

    Attributes
    ----------
    supercell : Supercell
    values : (n, N_s, ..., N_s, 3, ..., 3) ndarray
        eV/A^order; the first atom is ``supercell.origin_of`` the primitive one.
    """

    supercell: Supercell
    values: np.ndarray

    @property
    def order(self) -> int:
        """2 for springs, 3 for what scatters phonons in threes, ..."""
        return self.values.ndim // 2

    @classmethod
    def of(cls, supercell: Supercell, values: np.ndarray, representatives: np.ndarray | None,
           where: str) -> SupercellForceConstants:
        """From compact or full ones.

        Parameters
        ----------
        values : (n, N_s, ...) or (N_s, N_s, ...) array
        representatives : (n,) array of int, optional
            Atoms of the supercell that the rows of compact ones belong to (``p2s_map``); if None, those of
            the supercell.
        where : str
            File and dataset, for the message.

        Raises
        ------
        InputError
            If shape or representatives are not those of the supercell.
        """
        n, n_super, order = supercell.crystal.n_atoms, supercell.n_atoms, values.ndim // 2
        tail = (n_super,) * (order - 1) + (3,) * order
        if values.shape not in {(n, *tail), (n_super, *tail)}:
            raise InputError(f"{where}: expected the shape {(n, *tail)} or {(n_super, *tail)} of the supercell, got "
                             f"{values.shape}; give the crystal and force constants of one calculation")
        if values.shape[0] == n_super:
            return cls(supercell, values[supercell.origin_of] if n_super > n else values)
        if representatives is not None:
            if representatives.shape != (n,) or representatives.dtype.kind not in "iu" or (
                    representatives.min() < 0 or representatives.max() >= n_super
                    or (supercell.atom_of[representatives] != np.arange(n)).any()):
                raise InputError(f"{where}: p2s_map: expected the places in the supercell of the {n} atoms of the "
                                 f"primitive cell, as {supercell.origin_of.tolist()[:8]}, got "
                                 f"{representatives.tolist()[:8]}; give the crystal and force constants of one "
                                 "calculation")
            supercell = replace(supercell, origin_of=representatives)
        return cls(supercell, values)

    def full(self) -> np.ndarray:
        """(N_s, N_s, ..., 3, ...): with every atom of the supercell as the first."""
        return full_from_compact(self.supercell, self.values)

    def interactions(self, average_origins: bool = True, dtype: DTypeLike = np.float64,
                     summed: bool = True) -> Interactions:
        """On the lattice; see `Interactions.third` for ``average_origins`` and ``dtype`` (not of order 2).

        ``summed=False`` gives values that are made when asked for (not of order 2).
        """
        if self.order == 2:
            return Interactions.second(self.supercell, self.values)
        if self.order == 3:
            third = SupercellInteractions.third(self.supercell, self.values, average_origins, dtype)
            return third.summed() if summed else third
        legs = tuple(range(self.order, 2 * self.order))
        members = np.argwhere(np.abs(self.values).max(axis=legs) > NEGLIGIBLE)
        values = self.values[tuple(members.T)]
        members[:, 0] = self.supercell.origin_of[members[:, 0]]
        found = SupercellInteractions.of_supercell(self.supercell, members, values, average_origins, dtype)
        return found.summed() if summed else found


@dataclass(frozen=True)
class LatticeDynamics:
    """A crystal with its force constants.

    Attributes
    ----------
    crystal : Crystal
        Primitive cell.
    force_constants : mapping of int to SupercellForceConstants or Interactions
        By order, as they were found; `second`, `third` and `fourth` are made from them when first asked for.
    dielectric : DielectricResponse, optional
        Of an insulator whose atoms are charged.
    datasets : mapping of int to DisplacementDataset
        Displacements (and forces) by the order they are meant for.
    sources : mapping of str to str
        What was read from which file.
    supercells : mapping of int to Supercell
        In which force constants of an order were found, also where they are a list.
    """

    crystal: Crystal
    force_constants: Mapping[int, SupercellForceConstants | Interactions]
    dielectric: DielectricResponse | None = None
    datasets: Mapping[int, DisplacementDataset] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    supercells: Mapping[int, Supercell] = field(default_factory=dict)

    def interactions(self, order: int, dtype: DTypeLike = np.float64, summed: bool = True) -> Interactions:
        """Force constants on the lattice.

        Parameters
        ----------
        dtype : float32 or float64
            Of those of a supercell.
        summed : bool
            False: values of those of a supercell are made when asked for, which takes little memory.

        Raises
        ------
        InputError
            If there are none of this order.
        """
        found = self.force_constants.get(order)
        if found is None:
            raise InputError(f"force constants of order {order}: expected, got none; give crystal.fc{order}")
        return found if isinstance(found, Interactions) else found.interactions(dtype=dtype, summed=summed)

    @cached_property
    def second(self) -> Interactions:
        """Of order 2, eV/A^2."""
        return self.interactions(2)

    @cached_property
    def third(self) -> Interactions:
        """Of order 3, eV/A^3."""
        return self.interactions(3)

    @cached_property
    def fourth(self) -> Interactions:
        """Of order 4, eV/A^4."""
        return self.interactions(4)

    def supercell(self, order: int) -> Supercell | None:
        """Supercell of the force constants of an order; None if they are a list whose supercell nobody named."""
        found = self.force_constants.get(order)
        return found.supercell if isinstance(found, SupercellForceConstants) else self.supercells.get(order)
