"""TDEP's infile.forceconstant, _thirdorder, _fourthorder, and infile.ucposcar.

    line                 second order            third (fourth) order
    1                    n                       n
    2                    cutoff, A               cutoff, A
    for each atom        number of neighbours    number of triplets (quartets)
    for each of these    i_2                     i_1, i_2, i_3 (i_4), one per line
                         R_2                     R_1, R_2, R_3 (R_4)
                         3 rows                  9 (27) rows of three numbers, last direction fastest

Lattice vectors are in units of the cell of infile.ucposcar, values in eV/A^order, text after the numbers of a line is
comment. Dipole-dipole parts that TDEP appends to second order for polar crystals are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.files.cells import require_crystal
from hpcthermo.phonons.files.text import numbers, parsed_numbers, read_text, require_finite, without_comments
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.results import write_text


def read_tdep(path: Path, order: int, crystal: Crystal) -> Interactions:
    """Read force constants of one order.

    Raises
    ------
    InputError
        If the file is damaged or of another crystal.
    """
    table = numbers(parsed_numbers(without_comments(read_text(path)), str(path)), (-1,), str(path))
    if len(table) < 2 or table[0] != crystal.n_atoms:
        raise InputError(f"{path}: expected the {crystal.n_atoms} atoms of the crystal in line 1, got "
                         f"{table[:1].tolist()}; give infile.ucposcar of these force constants")
    # of second order the first atom and its lattice vector are not written
    legs = order if order > 2 else 1
    width = 4 * legs + 3**order
    position, atoms, vectors, values = 2, [], [], []
    for first in range(crystal.n_atoms):
        count = int(table[position]) if position < len(table) else -1
        block = table[position + 1:position + 1 + count * width]
        if count < 0 or len(block) != count * width:
            raise InputError(f"{path}: expected the neighbours of atom {first + 1}, got too few numbers; is the file "
                             f"complete and of order {order}?")
        rows = block.reshape(count, width)
        position += 1 + count * width
        names = np.rint(rows[:, :legs]).astype(int) - 1
        places = rows[:, legs:4 * legs].reshape(count, legs, 3)
        if order == 2:
            names = np.concatenate([np.full((count, 1), first), names], axis=1)
            places = np.concatenate([np.zeros((count, 1, 3)), places], axis=1)
        atoms.append(names)
        vectors.append(places[:, 1:] - places[:, :1])
        values.append(rows[:, 4 * legs:])
    if position != len(table):
        raise InputError(f"{path}: expected {position} numbers, got {len(table)}; is it of order {order}, and without "
                         "the dipole-dipole part?")
    all_atoms, all_vectors = np.concatenate(atoms), np.concatenate(vectors)
    off = np.abs(all_vectors - np.rint(all_vectors)).max(initial=0.0)
    if all_atoms.min(initial=0) < 0 or all_atoms.max(initial=0) >= crystal.n_atoms or off > 1e-3:
        raise InputError(f"{path}: expected atoms 1 to {crystal.n_atoms} and whole lattice vectors, got others; give "
                         "infile.ucposcar of these force constants")
    return Interactions.merged(all_atoms, np.rint(all_vectors).astype(int),
                               np.concatenate(values).reshape((-1,) + (3,) * order))


def write_tdep(interactions: Interactions, crystal: Crystal, path: Path) -> None:
    """Write infile.forceconstant of the order of the list."""
    order = interactions.order
    offsets = crystal.positions[interactions.atoms[:, 1:]] - crystal.positions[interactions.atoms[:, :1]]
    reach = np.linalg.norm((interactions.vectors + offsets) @ crystal.cell, axis=2)
    lines = [f"{crystal.n_atoms}", f"{reach.max() + 1e-3:.10f}"]
    # of second order the first atom and its lattice vector are not written
    skip = 1 if order == 2 else 0
    term = "\n".join(["%d"] * (order - skip) + ["%d %d %d"] * (order - skip) + ["%r %r %r"] * 3 ** (order - 1))
    for first in range(crystal.n_atoms):
        chosen = np.flatnonzero(interactions.atoms[:, 0] == first)
        lines.append(f"{len(chosen)}")
        origin = [] if order == 2 else [0, 0, 0]
        lines += [term % (*atoms[skip:], *origin, *vectors, *values) for atoms, vectors, values in zip(
            (interactions.atoms[chosen] + 1).tolist(), interactions.vectors[chosen].reshape(len(chosen), -1).tolist(),
            interactions.values[chosen].reshape(len(chosen), -1).tolist(), strict=True)]
    write_text("\n".join(lines) + "\n", path)


def read_poscar(path: Path, periodic: tuple[bool, bool, bool] = (True, True, True)) -> Crystal:
    """infile.ucposcar (VASP's POSCAR) with standard masses.

    Raises
    ------
    InputError
        If it is not one.
    """
    from ase.data import atomic_masses
    from ase.io import read

    read_text(path)
    try:
        atoms: Any = read(path, format="vasp")
    except Exception as error:  # ASE raises whatever parsing runs into
        raise InputError(f"{path}: expected a POSCAR, got something else ({str(error).splitlines()[0][:60]}); give "
                         "infile.ucposcar") from None
    cell = np.array(atoms.cell)
    if not abs(np.linalg.det(cell)) > 0.0:
        raise InputError(f"{path}: expected three independent lattice vectors, got {cell.tolist()}; correct the cell")
    crystal = Crystal(cell, atoms.get_scaled_positions(wrap=False), tuple(atoms.get_chemical_symbols()),
                      atomic_masses[atoms.numbers], periodic)
    require_finite(cell, str(path))
    require_finite(crystal.positions, str(path))
    require_crystal(crystal, str(path))
    return crystal
