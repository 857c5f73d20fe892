"""What the bridge asks of a calculator: site energies of a cluster and what follows from them.

The energy is a sum over atoms, E = sum_i U_i, and U_i depends on the atoms within the *receptive field* R of atom i
alone. A cluster is the owned atoms of a rank and, as further atoms without periodicity, every ghost within the halo h.
Two kinds of model differ in what they can differentiate:

    complete forces   F_j = -d(sum of all U_i in the cluster)/dr_j       h = 2 R, j owned
    partial forces    F_j = -d(sum of owned U_i)/dr_j                    h = R,   j owned or ghost

With complete forces everything an owned atom feels comes from sites within R of it, whose energies need R more. With
partial forces the rows of ghosts go home to their owners, as for every potential of this package, and half the halo
does. The neighbour-centred per-atom virial (`hpcthermo.potentials.base`) is in both

    W_j = -sum_i (r_j - r_i) (x) dU_i/dr_j

A rank whose ghosts are all images of its own atoms (one rank) needs no halo: the cell itself is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.stress import voigt_6_to_full_3x3_stress

from hpcthermo.errors import HpcthermoError, InputError, PhysicsError
from hpcthermo.potentials.base import Limits

#: largest relative difference between the sum of site energies and the energy: float32 models add rounding errors
_SUM_TOLERANCE = 1e-5

NO_SITE_ENERGIES = ("the calculator gives no site energies ('energies'), so its energy cannot be divided between "
                    "ranks; leave receptive_field_A out and run on one rank, or use a calculator that has them")
NO_STRESS = ("the calculator gives no stress, so there is no pressure; keep the cell fixed, or use a calculator that "
             "has it")
NO_ATOM_STRESSES = ("the calculator gives no per-atom stresses that add up to the stress, so a cluster of atoms has no "
                    "share of the virial; keep the cell fixed, or leave receptive_field_A out and run on one rank")
NO_ATOM_VIRIALS = ("the calculator gives no neighbour-centred per-atom virials, from which heat currents are made; use "
                   "a method without them (differences of bath energies), or a potential that has them")


@dataclass(frozen=True)
class SiteResult:
    """What a model gives for a cluster.

    Attributes
    ----------
    energies : (n_owned,) float64
        U_i, eV.
    forces : (n_rows, 3) float64
        Complete forces of the owned atoms, or partial forces of all rows, eV/A.
    virials : (n_rows, 3, 3) float64 or None
        W_j of the same rows, eV.
    total_virial : (3, 3) float64 or None
        Of what is owned, where it does not follow from forces and ghosts, eV.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray | None = None
    total_virial: np.ndarray | None = None


class SiteModel(Protocol):
    """A calculator as the bridge sees it.

    Attributes
    ----------
    source : str
        For messages: a file or the name of a method.
    elements : tuple of str
    halo : float or None
        h, A; None if the energy is not local: the whole system is then computed at once, in its periodic cell.
    partial_forces : bool
        Whether forces of a cluster are those of the owned energies, on all rows; virials then need a cluster.
    smallest_height : float
        Least distance between faces of a periodic cell for which the calculator is trusted with its images, A.
    limits : Limits
    """

    source: str
    elements: tuple[str, ...]
    halo: float | None
    partial_forces: bool
    smallest_height: float
    limits: Limits

    def evaluate(self, atoms: Atoms, n_owned: int, virials: bool) -> SiteResult:
        """Energies and forces of a cluster, whose first `n_owned` atoms are owned; virials if asked for.

        Or of a periodic cell, all of whose atoms are owned.
        """


class AseModel:
    """An ASE calculator, through ASE's interface alone.

    Parameters
    ----------
    calculator : ase.calculators.calculator.Calculator
    source : str
    elements : sequence of str
    receptive_field : float, optional
        R, A; None for an energy that is not local.
    stresses_are_site_virials : bool
        Whether the per-atom stresses are -W_j / V_j with nine components, not shared out in some other way.

    Raises
    ------
    InputError
        If the calculator has no site energies and a receptive field is given.
    """

    partial_forces = False

    def __init__(self, calculator: Any, source: str, elements: Sequence[str], receptive_field: float | None = None,
                 stresses_are_site_virials: bool = False) -> None:
        self.source, self.elements = source, tuple(elements)
        self.halo = None if receptive_field is None else 2.0 * receptive_field
        # codes with the nearest image only are wrong in smaller cells without a word
        self.smallest_height = self.halo or 0.0
        self._calculator = calculator
        self._has = frozenset(calculator.implemented_properties)
        self._site_stresses = stresses_are_site_virials
        if self.halo is not None and "energies" not in self._has:
            raise InputError(f"{source}: {NO_SITE_ENERGIES}")
        self.limits = self._limits()

    def _limits(self) -> Limits:
        if self.halo is None:
            return Limits(
                f"{self.source} is not decomposed: its energy is no sum over atoms with a stated receptive field; "
                "run on one rank",
                None if "stress" in self._has else f"{self.source}: {NO_STRESS}", f"{self.source}: {NO_ATOM_VIRIALS}")
        sites = "virials" in self._has or self._site_stresses
        total = sites or {"stress", "stresses"} <= self._has
        return Limits(None, None if total else f"{self.source}: {NO_ATOM_STRESSES}",
                      None if sites else f"{self.source}: {NO_ATOM_VIRIALS}")

    def evaluate(self, atoms: Atoms, n_owned: int, virials: bool) -> SiteResult:
        """As in `SiteModel`.

        Raises
        ------
        PhysicsError
            If the calculator fails.
        InputError
            If what it gives does not fit together.
        """
        if self.halo is None:
            return self._whole(atoms)
        wanted = ["energy", "energies", "forces"]
        if self.limits.total_virial is None:
            wanted += ["virials"] if "virials" in self._has else ["stress", "stresses"]
        results = self._calculate(atoms, wanted)
        energies, forces = np.asarray(results["energies"], float), np.asarray(results["forces"], float)
        self._check_sum(float(results["energy"]), energies)
        if self.limits.total_virial is not None:
            return SiteResult(energies[:n_owned], forces[:n_owned])
        shares = self._shares_of_virial(results, atoms.get_volume())[:n_owned]
        site = shares if virials and self.limits.atom_virials is None else None
        return SiteResult(energies[:n_owned], forces[:n_owned], site, shares.sum(axis=0))

    def _whole(self, atoms: Atoms) -> SiteResult:
        n, virial = len(atoms), None
        with_stress = "stress" in self._has and atoms.cell.rank == 3
        wanted = ["energy", "forces", *(["stress"] if with_stress else []), *({"energies"} & self._has)]
        results = self._calculate(atoms, wanted)
        energies = results.get("energies")
        if energies is None:
            energies = np.full(n, float(results["energy"]) / n)
        if with_stress:
            virial = -atoms.get_volume() * _full(np.asarray(results["stress"], float))
        return SiteResult(np.asarray(energies, float), np.asarray(results["forces"], float), None, virial)

    def _calculate(self, atoms: Atoms, wanted: list[str]) -> dict[str, Any]:
        self._calculator.reset()
        with calculator_failures(self.source, len(atoms)):
            self._calculator.calculate(atoms, wanted, all_changes)
        results = self._calculator.results
        missing = [name for name in wanted if name not in results]
        if missing:
            raise InputError(f"{self.source}: the calculator did not give {', '.join(missing)}, which it says it has; "
                             "check its version")
        return results

    def _check_sum(self, energy: float, energies: np.ndarray) -> None:
        difference = abs(float(energies.sum()) - energy)
        if not difference <= _SUM_TOLERANCE * max(1.0, float(np.abs(energies).sum())):
            raise InputError(f"{self.source}: site energies add up to {energies.sum():.8g} eV, expected the energy, "
                             f"{energy:.8g} eV; this calculator cannot be decomposed")

    def _shares_of_virial(self, results: dict[str, Any], volume: float) -> np.ndarray:
        """Shares (n, 3, 3) of the virial, eV.

        ASE leaves open whether per-atom stresses add up to the stress or are averaged to it; both are found in codes.
        """
        if "virials" in self._has:
            return np.asarray(results["virials"], float)
        stresses, stress = (_full(np.asarray(results[name], float)) for name in ("stresses", "stress"))
        summed, symmetric = stresses.sum(axis=0), 0.5 * (stress + stress.T)
        factors = (1.0, 1.0 / len(stresses))
        misfits = [np.abs(factor * summed - symmetric).max() / (factor * np.abs(stresses).sum() + 1e-300)
                   for factor in factors]
        best = int(np.argmin(misfits))
        if misfits[best] > _SUM_TOLERANCE:
            raise InputError(f"{self.source}: {NO_ATOM_STRESSES}")
        return -factors[best] * volume * stresses


def _full(stress: np.ndarray) -> np.ndarray:
    """(..., 3, 3) from (..., 6) in Voigt order or (..., 3, 3)."""
    return stress if stress.shape[-2:] == (3, 3) else voigt_6_to_full_3x3_stress(stress)


@contextmanager
def calculator_failures(source: str, n_atoms: int) -> Iterator[None]:
    """Whatever another code raises becomes one line."""
    try:
        yield
    except HpcthermoError:
        raise
    except Exception as error:
        raise PhysicsError(f"{source}: the calculator failed on {n_atoms} atoms: {type(error).__name__}: "
                           f"{' '.join(str(error).split())[:200]}") from error
