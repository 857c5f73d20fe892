"""Cells that a user brings as files: a layer, or a crystal."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.checks import check_structure
from hpcthermo.structure.crystals import UnitCell
from hpcthermo.structure.read import StructureFile, read_structure
from hpcthermo.structure.sheet import Sheet, upright

#: distance of the outermost planes of neighbouring layers when nothing is known, A
_VAN_DER_WAALS_GAP = 3.3


def sheet_from_file(path: Path) -> Sheet:
    """One cell of a layer whose first two cell vectors lie in the xy plane.

    Raises
    ------
    InputError
        If the file is unusable, has no such cell, or atoms of the layer lie on both sides of a periodic boundary.
    """
    atoms = _read(path, (0, 1))
    if np.abs(atoms.cell[:2, 2]).max() > 1e-6 * np.abs(atoms.cell[:2]).max():
        raise InputError(f"structure file {path}: the first two cell vectors of a layer must lie in the xy plane; "
                         "rotate the cell")
    if np.linalg.det(atoms.cell[:2, :2]) <= 0.0:
        raise InputError(f"structure file {path}: the cell vectors a, b of a layer must be counter-clockwise; exchange "
                         "them")
    lattice = upright(atoms.cell[:2, :2])
    z = atoms.positions[:, 2]
    heights = z - 0.5 * (z.max() + z.min())
    if np.ptp(heights) > 15.0:
        raise InputError(f"structure file {path}: a layer {np.ptp(heights):.1f} A thick; expected one layer, not cut "
                         "by a periodic boundary along z")
    fractional = atoms.positions[:, :2] @ np.linalg.inv(atoms.cell[:2, :2])
    return Sheet.create(path.stem, lattice, atoms.symbols, fractional % 1.0, heights,
                        float(np.ptp(heights)) + _VAN_DER_WAALS_GAP, None, str(path))


def crystal_from_file(path: Path) -> UnitCell:
    """The cell of a crystal.

    Raises
    ------
    InputError
        If the file is unusable or has no cell.
    """
    atoms = _read(path, (0, 1, 2))
    fractional = atoms.positions @ np.linalg.inv(atoms.cell)
    cell = atoms.cell if np.linalg.det(atoms.cell) > 0.0 else atoms.cell * [[1.0], [1.0], [-1.0]]
    if cell is not atoms.cell:
        fractional = fractional * [1.0, 1.0, -1.0]
    return UnitCell.create(path.stem, cell, atoms.symbols, fractional % 1.0)


def _read(path: Path, axes: tuple[int, ...]) -> StructureFile:
    """The file, with a cell along some axes."""
    atoms = read_structure(path)
    if np.linalg.norm(atoms.cell[list(axes)], axis=1).min() < 0.1:
        raise InputError(f"structure file {path}: no cell; a builder needs the cell vectors {'abc'[:len(axes)]} of "
                         "what it repeats, add Lattice=...")
    check_structure(atoms.cell, atoms.periodic, atoms.positions, f"structure file {path}")
    return atoms
