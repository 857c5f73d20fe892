"""BORN of phonopy and infile.lotosplitting of TDEP: dielectric tensor and Born effective charges.

    BORN                    line 1: e^2/(4 pi eps_0) in the units of the calculation, or anything else for the default;
                            line 2: eps, xx xy xz yx ... zz; then a line Z of each symmetry-independent atom, or of all
    infile.lotosplitting    three rows eps, then three rows for each atom

Rows of Z are the direction of the field, columns that of the displacement. phonopy's independent atoms are the first
of each set of equivalent ones; the others follow by symmetry. The digits that rounding left unsymmetric are averaged; a
sum of charges that is not zero is left as it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.crystal_symmetry import CrystalSymmetry
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.files.text import numbers, read_text
from hpcthermo.results import write_text
from hpcthermo.units import COULOMB_EV_A

#: tensors that break the symmetry by more than this fraction are of another crystal or in other axes
ROUNDING = 0.05


def read_born(path: Path, crystal: Crystal) -> DielectricResponse:
    """Read BORN or infile.lotosplitting for a primitive cell.

    Raises
    ------
    InputError
        If it is damaged, or the number of charges is neither that of the atoms nor of the independent ones.
    """
    lines = [line.split("#")[0].split() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line]
    n = crystal.n_atoms
    if lines and len(lines) == 3 + 3 * n and all(len(line) == 3 for line in lines):
        table = numbers(lines, (n + 1, 3, 3), str(path))
        return DielectricResponse(table[1:], table[0])
    factor = COULOMB_EV_A
    try:
        factor = float(lines[0][0])
        tensors = lines[1:] if len(lines[0]) < 9 else lines
        factor = factor if len(lines[0]) < 9 else COULOMB_EV_A
    except (ValueError, IndexError):
        tensors = lines[1:]
    table = numbers([line[:9] for line in tensors], (-1, 3, 3), f"{path}: rows of nine numbers")
    if len(table) < 2:
        raise InputError(f"{path}: expected a dielectric tensor and charges, got {len(table)} rows of nine numbers; "
                         "complete it")
    symmetry = CrystalSymmetry.of(crystal)
    moved, cartesian = symmetry.atom_images, symmetry.cartesian
    independent = _independent(moved)
    given = table[1:]
    if len(given) not in {n, len(independent)}:
        raise InputError(f"{path}: expected charges of the {n} atoms or of the {len(independent)} independent ones, "
                         f"got {len(given)}; give the BORN of this primitive cell")
    charges = np.zeros((n, 3, 3))
    charges[np.arange(n) if len(given) == n else independent] = given
    if len(given) != n:
        charges = _spread(charges, independent, moved, cartesian)
    symmetric = _symmetrised(charges, moved, cartesian)
    dielectric = (cartesian @ table[0] @ cartesian.transpose(0, 2, 1)).mean(axis=0)
    for what, given_values, mean in (("charges", charges, symmetric), ("dielectric tensor", table[0], dielectric)):
        off = float(np.abs(given_values - mean).max() / np.abs(given_values).max())
        if off > ROUNDING:
            raise InputError(f"{path}: expected {what} with the symmetry of the crystal, got a deviation of "
                             f"{100.0 * off:.0f} % of the largest; give the BORN of this primitive cell in its axes")
    return DielectricResponse(symmetric, np.asarray(dielectric), factor)


def _independent(moved: np.ndarray) -> np.ndarray:
    """The first of each set of equivalent atoms."""
    return np.flatnonzero(moved.min(axis=0) == np.arange(moved.shape[1]))


def _spread(charges: np.ndarray, independent: np.ndarray, moved: np.ndarray, cartesian: np.ndarray) -> np.ndarray:
    """Charges of all atoms from those of the independent ones."""
    spread = charges.copy()
    for atom in independent:
        for target in np.unique(moved[:, atom]):
            turn = cartesian[(moved[:, atom] == target).argmax()]
            spread[target] = turn @ charges[atom] @ turn.T
    return spread


def _symmetrised(charges: np.ndarray, moved: np.ndarray, cartesian: np.ndarray) -> np.ndarray:
    """Mean over the space group."""
    total = np.zeros_like(charges)
    for places, turn in zip(moved, cartesian, strict=True):
        total[places] += turn @ charges @ turn.T
    return total / len(moved)


def write_born(response: DielectricResponse, crystal: Crystal, path: Path) -> None:
    """Write BORN with the charges of the independent atoms, as phonopy wants it."""
    rows = [response.dielectric, *response.born[_independent(CrystalSymmetry.of(crystal).atom_images)]]
    lines = [repr(float(response.factor)), *(" ".join(repr(float(value)) for value in row.ravel()) for row in rows)]
    write_text("\n".join(lines) + "\n", path)
