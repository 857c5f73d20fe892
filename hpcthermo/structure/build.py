"""From the [structure] table of a job to a checked Snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.structure.checks import check_structure
from hpcthermo.structure.crystals import UnitCell
from hpcthermo.structure.layered_stack import LayerBlock, build_layered_stack
from hpcthermo.structure.pile import Pile
from hpcthermo.structure.read import StructureFile, read_structure


def layered_stack_snapshot(
    blocks: Sequence[LayerBlock], spacing: float | Sequence[float] | None, vacuum: float,
    lattice: str | float | tuple[float, float] = "mean", cell: str = "orthogonal",
) -> Snapshot:
    """Snapshot of a stack of layers; arguments as in `build_layered_stack`."""
    return pile_snapshot(build_layered_stack(blocks, spacing, vacuum, lattice, cell), "layered_stack")


def pile_snapshot(pile: Pile, builder: str, groups: np.ndarray | None = None) -> Snapshot:
    """Checked snapshot of what a builder piled up.

    Raises
    ------
    InputError
        If atoms are on top of each other.
    """
    check_structure(pile.cell, pile.periodic, pile.positions, f"structure.builder {builder}")
    return make_snapshot(pile.cell, pile.periodic, pile.symbols.tolist(), pile.positions, layers=pile.layers,
                         groups=groups)


def crystal_snapshot(cell: UnitCell) -> Snapshot:
    """Checked snapshot of one cell of a crystal, periodic in all directions."""
    positions, periodic = cell.fractional @ cell.cell, np.full(3, True)
    check_structure(cell.cell, periodic, positions, "structure.builder crystal")
    return make_snapshot(cell.cell, periodic, list(cell.species), positions)


def structure_from_file(path: Path, *, species: Sequence[str] | None = None, grouping_method: int = 0,
                        periodic: Sequence[bool] | None = None) -> Snapshot:
    """Snapshot of a structure file with its layers, groups and velocities; arguments as of `read_structure`."""
    return snapshot_of_file(
        read_structure(path, species=species, grouping_method=grouping_method, periodic=periodic), path)


def snapshot_of_file(atoms: StructureFile, path: Path) -> Snapshot:
    """Checked snapshot of what was read from a file."""
    check_structure(atoms.cell, atoms.periodic, atoms.positions, f"structure file {path}")
    return make_snapshot(
        atoms.cell, atoms.periodic, atoms.symbols, atoms.positions,
        masses=atoms.masses, velocities=atoms.velocities, layers=atoms.layers, groups=atoms.groups,
    )


def make_snapshot(
    cell: np.ndarray,
    periodic: np.ndarray,
    symbols: Sequence[str],
    positions: np.ndarray,
    *,
    masses: np.ndarray | None = None,
    velocities: np.ndarray | None = None,
    layers: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Snapshot:
    """Snapshot from chemical symbols; masses are per atom (N,) and by default those of the elements.

    Raises
    ------
    InputError
        If atoms of one species have different masses.
    """
    from ase.data import atomic_masses, atomic_numbers

    species, types = np.unique(np.asarray(symbols), return_inverse=True)
    by_type = np.array([atomic_masses[atomic_numbers[str(s)]] for s in species])
    if masses is not None:
        for k, name in enumerate(species):
            of_type = masses[types == k]
            if np.ptp(of_type) > 1e-9 * of_type[0]:
                raise InputError(
                    f"structure: atoms of species {name} have different masses ({of_type.min()} ... {of_type.max()} "
                    "amu); expected one mass per species, use one species per isotope"
                )
            by_type[k] = of_type[0]
    return Snapshot.create(
        cell, periodic, tuple(str(s) for s in species), by_type, positions, types.astype(np.int32),
        velocities=velocities, layers=layers, groups=groups,
    )
