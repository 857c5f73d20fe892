"""FORCE_CONSTANTS_3RD of ShengBTE and FORCE_CONSTANTS_4TH of FourPhonon: a list of blocks.

    number of blocks
    (empty line)
    block                          from 1
    R_2 (R_3, R_4)                 lattice vectors of the second and further atoms, Cartesian, A, one per line
    i_1 i_2 i_3 (i_4)              atoms of the unit cell of CONTROL, from 1
    a b c (d)  value               27 (81) lines, Cartesian directions from 1, eV/A^3 (eV/A^4)

The number of atoms and of lines are those of third order; of fourth order in parentheses. The values are derivatives
without factors such as 1/6, and each block is one term of the Fourier sum as in `Interactions`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.files.text import numbers, parsed_numbers, read_text
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.results import write_text


def read_blocks(path: Path, order: int, crystal: Crystal) -> Interactions:
    """Read a list of blocks.

    Raises
    ------
    InputError
        If it is damaged, of another order, or its lattice vectors are not those of the crystal.
    """
    found = parsed_numbers(read_text(path), str(path))
    count = int(numbers(found[:1], (1,), f"{path}: line 1")[0])
    elements = 3**order
    width = 1 + 3 * (order - 1) + order + elements * (order + 1)
    table = numbers(found[1:], (count, width), f"{path}: {count} blocks of order {order}")
    if not np.array_equal(table[:, 0], np.arange(1, count + 1)):
        raise InputError(f"{path}: expected blocks numbered from 1 to {count}, got others; is it of order {order}?")
    start = 1 + 3 * (order - 1)
    places = table[:, 1:start].reshape(count, order - 1, 3)
    fractional = places @ np.linalg.inv(crystal.cell)
    vectors = np.rint(fractional)
    off = float(np.abs((fractional - vectors) @ crystal.cell).max()) if count else 0.0
    if off > 1e-2:
        raise InputError(f"{path}: expected lattice vectors of the crystal in A, got one that is {off:.3g} A off; give "
                         "the cell that the force constants belong to (lattvec times lfactor is in nm)")
    atoms = np.rint(table[:, start:start + order]).astype(int) - 1
    if count and (atoms.min() < 0 or atoms.max() >= crystal.n_atoms):
        raise InputError(f"{path}: expected atoms 1 to {crystal.n_atoms}, got others; give the crystal of these force "
                         "constants")
    lines = table[:, start + order:].reshape(count, elements, order + 1)
    directions = np.rint(lines[..., :order]).astype(int) - 1
    if count and (directions.min() < 0 or directions.max() > 2):
        raise InputError(f"{path}: expected directions 1 to 3, got others; is the file damaged?")
    place = np.ravel_multi_index(tuple(np.moveaxis(directions, 2, 0)), (3,) * order)
    values = np.zeros((count, elements))
    np.put_along_axis(values, place, lines[..., order], axis=1)
    return Interactions.merged(atoms, vectors.astype(int), values.reshape((count,) + (3,) * order))


def write_blocks(interactions: Interactions, crystal: Crystal, path: Path) -> None:
    """Write FORCE_CONSTANTS_3RD or FORCE_CONSTANTS_4TH."""
    order = interactions.order
    lines = ["%d", *["%.12f %.12f %.12f"] * (order - 1), " ".join(["%d"] * order)]
    lines += [" ".join(str(axis + 1) for axis in axes) + " %r" for axes in np.ndindex((3,) * order)]
    block = "\n".join(lines) + "\n"
    places = interactions.vectors @ crystal.cell
    count = len(interactions.atoms)
    parts = [block % (number + 1, *vectors, *atoms, *values) for number, (vectors, atoms, values) in enumerate(zip(
        places.reshape(count, -1).tolist(), (interactions.atoms + 1).tolist(),
        interactions.values.reshape(count, -1).tolist(), strict=True))]
    write_text(f"{count}\n\n" + "\n".join(parts), path)
