"""Other codes' calculators as potentials of the engine (`hpcthermo.potentials.site_model` has the equations).

On every rank the owned atoms and the ghosts around them are one cluster without periodicity: ghosts are explicit
images, so a calculator sees no cell and needs no minimum image. On one rank, and always if the energy is not local, a
calculator sees the whole system in its periodic cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from scipy.spatial import cKDTree

from hpcthermo.domain.grid import heights
from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays, require_species
from hpcthermo.potentials.site_model import AseModel, SiteModel, SiteResult
from hpcthermo.system import System


class BridgedPotential:
    """A site model, independent of device and system.

    Attributes
    ----------
    style : str
        That of the job file: ``"mace"``, ``"gap"``, ``"ase"`` ...
    elements : tuple of str
    sums_in_order : bool
        False: nothing is known about how another code adds on a GPU.
    limits : Limits
    """

    sums_in_order = False

    def __init__(self, style: str, model: SiteModel) -> None:
        self.style, self.model = style, model
        self.elements, self.limits = model.elements, model.limits

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundBridge:
        """The model for this species table.

        Raises
        ------
        InputError
            If the model lacks a species.
        """
        require_species(self.style, self.elements, species)
        return BoundBridge(self.model, species, backend)


def bridge(calculator: Any, elements: tuple[str, ...], receptive_field: float | None = None) -> BridgedPotential:
    """An ASE calculator object as a potential.

    Parameters
    ----------
    calculator : ase.calculators.calculator.Calculator
    elements : tuple of str
        Chemical symbols it may be asked for.
    receptive_field : float, optional
        Largest distance at which an atom changes the site energy of another, A; None if the energy is no sum over
        atoms.

    Raises
    ------
    InputError
        If the calculator has no site energies and a receptive field is given.
    """
    return BridgedPotential("ase", AseModel(calculator, type(calculator).__name__, elements, receptive_field))


class BoundBridge:
    """A site model for one species table.

    Attributes
    ----------
    cutoff, ghost_depth : float
        The halo, A: how far positions matter, which is what neighbour lists are for elsewhere.
    exchanges_fields : bool
        True: a cluster is evaluated once, with all owned atoms.
    cluster_atoms : int
        Atoms of the last cluster, owned and halo.
    """

    exchanges_fields = True

    def __init__(self, model: SiteModel, species: tuple[str, ...], backend: Backend) -> None:
        self._model, self._backend = model, backend
        self._numbers = np.array([atomic_numbers[symbol] for symbol in species])
        self.cutoff = self.ghost_depth = model.halo or 0.0
        self.cluster_atoms = 0

    def build_lists(self, system: System, skin: float) -> None:
        """Nothing: calculators find their neighbours themselves."""

    def compute(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays,
                exchange: FieldExchange | None = None) -> None:
        """Add energies, forces and, if asked for, virials of all owned atoms."""
        if (begin, end) != (0, system.n_owned):
            raise RuntimeError("a cluster is evaluated at once")
        if system.n_owned == 0:
            return
        positions = self._backend.to_host(system.positions)[:system.n_total]
        types = self._backend.to_host(system.types)
        rows = np.arange(system.n_owned)
        numbers = self._numbers[types]
        if self._model.halo is None:
            atoms = Atoms(numbers[rows], positions[rows], cell=system.cell, pbc=system.periodic)
        elif self._is_whole(system, positions) and not (self._model.partial_forces and output.virials is not None):
            atoms = Atoms(numbers[rows], positions[rows], cell=system.cell, pbc=True)
        else:
            rows = np.concatenate([rows, self._halo_rows(positions, system.n_owned)])
            atoms = self._cluster(numbers[rows], positions[rows])
        self.cluster_atoms = len(rows)
        result = self._model.evaluate(atoms, system.n_owned, output.virials is not None)
        self._add(result, rows[:len(result.forces)], positions, output)

    def _is_whole(self, system: System, positions: np.ndarray) -> bool:
        """Whether all ghosts are images of owned atoms, in a cell that a calculator may take as periodic.

        Directions that are not periodic may be taken so if vacuum is left for it.
        """
        if system.volume == 0.0:
            return False
        tags = self._backend.to_host(system.tags)
        fractional = positions[:system.n_owned] @ np.linalg.inv(system.cell)
        needed = np.where(system.periodic, self._model.smallest_height,
                          np.ptp(fractional, axis=0) * heights(system.cell) + self.ghost_depth)
        return bool((heights(system.cell) >= needed).all()
                    and np.isin(tags[system.n_owned:], tags[:system.n_owned]).all())

    def _halo_rows(self, positions: np.ndarray, n_owned: int) -> np.ndarray:
        """Ghosts within the halo of an owned atom: bricks have corners and a skin, where nothing matters."""
        distance, _ = cKDTree(positions[:n_owned]).query(positions[n_owned:], distance_upper_bound=self.ghost_depth)
        return n_owned + np.flatnonzero(np.isfinite(distance))

    def _cluster(self, numbers: np.ndarray, positions: np.ndarray) -> Atoms:
        """Atoms in a box with so much vacuum that a code which repeats it all the same sees no images."""
        low, vacuum = positions.min(axis=0), self.ghost_depth + 1.0
        extent = np.ptp(positions, axis=0) + vacuum
        return Atoms(numbers, positions - low + 0.5 * vacuum, cell=extent, pbc=False)

    def _add(self, result: SiteResult, rows: np.ndarray, positions: np.ndarray, output: ForceArrays) -> None:
        xp = self._backend.xp
        output.energies[:] += xp.asarray(result.energies)
        where, forces = xp.asarray(rows), result.forces
        if output.virials is None:
            output.forces[where, :3] += xp.asarray(forces)
        else:
            assert result.virials is not None  # the engine asks only those that have them
            virial_rows = np.concatenate([result.virials, forces[:, None, :]], axis=1)  # W_xb, W_yb, W_zb, F_b
            output.virials[where] += xp.asarray(virial_rows.transpose(0, 2, 1).reshape(-1, 12))
        if output.total_virial is not None and result.total_virial is not None:
            lacking = result.total_virial - positions[rows].T @ forces
            output.total_virial[0] += xp.asarray(lacking.ravel())
