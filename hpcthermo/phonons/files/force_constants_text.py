"""FORCE_CONSTANTS of phonopy, which is FORCE_CONSTANTS_2ND of ShengBTE too: second order as text.

    N_s  or  n N_s         number of atoms of the supercell; rows and atoms of compact ones
    i j                    atoms of the supercell, from 1
    xx xy xz               three rows, eV/A^2
    ...

ShengBTE wants all N_s^2 pairs, and atoms in phonopy's order: the images of an atom after one another, those along the
first vector fastest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.files.text import numbers, parsed_numbers, read_text
from hpcthermo.phonons.lattice_dynamics import SupercellForceConstants
from hpcthermo.results import write_text


def read_force_constants(path: Path, supercell: Supercell) -> SupercellForceConstants:
    """Read FORCE_CONSTANTS, compact or full.

    Raises
    ------
    InputError
        If it is damaged or of another supercell.
    """
    first, _, rest = read_text(path).lstrip().partition("\n")
    counts = numbers(first.split(), (-1,), f"{path}: line 1").astype(int)
    n_super = supercell.n_atoms
    if len(counts) not in {1, 2} or counts[-1] != n_super:
        raise InputError(f"{path}: expected the {n_super} atoms of the supercell, got {counts.tolist()[:2]}; give the "
                         "crystal and force constants of one calculation")
    blocks = numbers(parsed_numbers(rest, str(path)), (int(counts[0]) * n_super, 11), str(path))
    atoms = np.rint(blocks[:, :2]).astype(int) - 1
    rows, row = np.unique(atoms[:, 0], return_inverse=True)
    filled = np.zeros((len(rows), n_super), dtype=bool)
    if atoms.min() < 0 or atoms.max() >= n_super or len(rows) != counts[0]:
        raise InputError(f"{path}: expected pairs of atoms from 1 to {n_super}, got others; is the file damaged?")
    filled[row, atoms[:, 1]] = True
    if not filled.all():
        raise InputError(f"{path}: expected every pair of atoms once, {int((~filled).sum())} are missing; is the file "
                         "damaged?")
    values = np.zeros((len(rows), n_super, 3, 3))
    values[row, atoms[:, 1]] = blocks[:, 2:].reshape(-1, 3, 3)
    if len(rows) == supercell.crystal.n_atoms < n_super:
        # rows in the order of the primitive cell
        order = np.argsort(supercell.atom_of[rows], kind="stable")
        return SupercellForceConstants.of(supercell, values[order], rows[order], str(path))
    return SupercellForceConstants.of(supercell, values, None, str(path))


def write_force_constants(constants: SupercellForceConstants, path: Path, full: bool = True) -> None:
    """Write FORCE_CONSTANTS (compact or full) or FORCE_CONSTANTS_2ND (full)."""
    n_super = constants.supercell.n_atoms
    values = constants.full() if full else constants.values
    rows = np.arange(n_super) if full else constants.supercell.origin_of
    block = "%d %d\n%r %r %r\n%r %r %r\n%r %r %r"
    lines = [f"{len(rows)} {n_super}"]
    lines += [block % (atom + 1, other + 1, *elements) for atom, row in zip(rows, values.reshape(len(rows), n_super, 9),
                                                                           strict=True)
              for other, elements in enumerate(row.tolist())]
    write_text("\n".join(lines) + "\n", path)
