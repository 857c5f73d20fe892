"""Force constants in the order of atoms that other programs expect.

phonopy and phono3py build the supercell anew from the unit cell and a matrix, and ShengBTE from the cell and three
integers in CONTROL; force constants in another order of atoms would be read without complaint and be wrong. So they are
put in that order first, and ShengBTE's second order is folded into a diagonal supercell that is large enough to give
back the same list.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.consistency import largest_difference
from hpcthermo.phonons.crystal import IMAGE_TOLERANCE, Crystal, Supercell
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.files.control import Control, write_control
from hpcthermo.phonons.files.force_constants_text import write_force_constants
from hpcthermo.phonons.files.hdf5 import write_hdf5, write_list
from hpcthermo.phonons.files.interaction_blocks import write_blocks
from hpcthermo.phonons.files.phonopy_yaml import write_phonopy_yaml
from hpcthermo.phonons.files.tdep import write_tdep
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants
from hpcthermo.phonons.supercell_order import SupercellOrder, reordered

#: the diagonal supercell of ShengBTE's second order has at most this many cells along a vector
MOST_CELLS = 12
#: folding into it gives the same list within this fraction of the largest element
SAME_LIST = 1e-10


def in_phonopy_order(lattice: LatticeDynamics) -> LatticeDynamics:
    """The same with all supercells, force constants and displacements in phonopy's order for the primitive cell."""
    from hpcthermo.phonons.supercells import build_supercell

    crystal = lattice.crystal
    constants: dict[int, SupercellForceConstants | Interactions] = {}
    datasets: dict[int, DisplacementDataset] = {}
    supercells: dict[int, Supercell] = {}
    for order in (2, 3, 4):
        here = lattice.supercell(order)
        found = lattice.force_constants.get(order)
        if here is None:
            if found is not None:
                constants[order] = found
            continue
        there = build_supercell(crystal, np.rint(here.cell @ np.linalg.inv(crystal.cell)).astype(int))
        supercells[order] = there
        if isinstance(found, SupercellForceConstants):
            constants[order] = SupercellForceConstants(there, reordered(here, found.values, there))
        elif found is not None:
            constants[order] = found
        if order in lattice.datasets:
            datasets[order] = _moved(lattice.datasets[order], here, there)
    return replace(lattice, force_constants=constants, datasets=datasets, supercells=supercells)


def _moved(dataset: DisplacementDataset, here: Supercell, there: Supercell) -> DisplacementDataset:
    old, new = SupercellOrder(here), SupercellOrder(there)
    place = new.find(here.atom_of, old.lattice)
    atoms = np.where(dataset.atoms >= 0, place[dataset.atoms], -1)
    forces = None
    if dataset.forces is not None:
        forces = np.empty_like(dataset.forces)
        forces[:, place] = dataset.forces
    return DisplacementDataset(atoms, dataset.vectors, forces)


def write_phonopy_files(lattice: LatticeDynamics, folder: Path, full: bool = False) -> list[Path]:
    """Write phonopy.yaml or phono3py.yaml, fc2.hdf5 and what there is of fc3.hdf5 and fc4.hdf5 into a folder.

    Orders that are lists go into HDF5 files that only this program reads.

    Returns
    -------
    list of Path
        What was written.
    """
    ordered = in_phonopy_order(lattice)
    name = "phono3py.yaml" if ordered.supercell(3) is not None else "phonopy.yaml"
    written = [folder / name]
    write_phonopy_yaml(ordered, written[0])
    for order, found in sorted(ordered.force_constants.items()):
        if isinstance(found, SupercellForceConstants):
            written.append(folder / f"fc{order}.hdf5")
            write_hdf5(found, written[-1], full)
        else:
            written.append(folder / f"fc{order}_list.hdf5")
            write_list(found, ordered.crystal, written[-1])
    return written


def write_shengbte_files(lattice: LatticeDynamics, folder: Path) -> list[Path]:
    """Write CONTROL, FORCE_CONSTANTS_2ND, and what there is of _3RD and _4TH into a folder.

    Returns
    -------
    list of Path
        What was written.
    """
    folded = folded_into_diagonal(lattice.second, lattice.crystal)
    counts = np.rint(np.diag(folded.supercell.cell @ np.linalg.inv(lattice.crystal.cell))).astype(int)
    scell = (int(counts[0]), int(counts[1]), int(counts[2]))
    written = [folder / "CONTROL", folder / "FORCE_CONSTANTS_2ND"]
    write_control(Control(lattice.crystal, scell, lattice.dielectric), written[0])
    write_force_constants(folded, written[1])
    for order, name in ((3, "FORCE_CONSTANTS_3RD"), (4, "FORCE_CONSTANTS_4TH")):
        if order in lattice.force_constants:
            written.append(folder / name)
            write_blocks(lattice.interactions(order), lattice.crystal, written[-1])
    return written


def write_tdep_files(lattice: LatticeDynamics, folder: Path) -> list[Path]:
    """Write infile.ucposcar and infile.forceconstant of all orders into a folder.

    Returns
    -------
    list of Path
        What was written.
    """
    from ase import Atoms
    from ase.io import write

    from hpcthermo.results import replaced_file

    crystal = lattice.crystal
    symbols = [symbol.rstrip("0123456789") for symbol in crystal.symbols]
    if symbols != sorted(symbols, key=symbols.index):
        raise InputError("infile.ucposcar: expected the atoms of an element after one another, got others between "
                         "them; reorder the primitive cell")
    written = [folder / "infile.ucposcar"]
    with replaced_file(written[0]) as temporary:
        write(temporary, Atoms(symbols, cell=crystal.cell, scaled_positions=crystal.positions, pbc=True), format="vasp",
              direct=True)
    for order, name in ((2, "infile.forceconstant"), (3, "infile.forceconstant_thirdorder"),
                        (4, "infile.forceconstant_fourthorder")):
        if order in lattice.force_constants:
            written.append(folder / name)
            write_tdep(lattice.interactions(order), crystal, written[-1])
    return written


def folded_into_diagonal(second: Interactions, crystal: Crystal) -> SupercellForceConstants:
    """Second order in the smallest diagonal supercell from which the same list follows.

    Raises
    ------
    InputError
        If none with up to `MOST_CELLS` cells along a vector does.
    """
    from hpcthermo.phonons.supercells import build_supercell

    longest = np.minimum(2 * np.abs(second.vectors[:, 0]).max(axis=0) + 1, MOST_CELLS)
    longest[~np.array(crystal.periodic)] = 1
    candidates = sorted(itertools.product(*(range(1, int(most) + 1) for most in longest)),
                        key=lambda counts: (int(np.prod(counts)), max(counts)))
    offsets = crystal.positions[second.atoms[:, 1]] - crystal.positions[second.atoms[:, 0]]
    lengths = np.linalg.norm((second.vectors[:, 0] + offsets) @ crystal.cell, axis=1)
    scale = float(np.abs(second.values).max())
    for counts in candidates:
        keys = np.concatenate([second.atoms, np.mod(second.vectors[:, 0], counts)], axis=1)
        unique, which = np.unique(keys, axis=0, return_inverse=True)
        nearest, farthest = np.full(len(unique), np.inf), np.zeros(len(unique))
        np.minimum.at(nearest, which.ravel(), lengths)
        np.maximum.at(farthest, which.ravel(), lengths)
        if (farthest - nearest).max() > IMAGE_TOLERANCE:
            continue  # terms of different length would become one
        constants = _folded(second, build_supercell(crystal, np.array(counts)))
        if largest_difference(constants.interactions(), second) < SAME_LIST * scale:
            return constants
    raise InputError("FORCE_CONSTANTS_2ND: expected second-order force constants that fit a supercell of at most "
                     f"{MOST_CELLS} cells along each vector, got longer ones; cut them off first")


def _folded(second: Interactions, supercell: Supercell) -> SupercellForceConstants:
    order = SupercellOrder(supercell)
    home = supercell.origin_of[second.atoms[:, 0]]
    other = order.find(second.atoms[:, 1], second.vectors[:, 0] + order.lattice[home])
    values = np.zeros((supercell.crystal.n_atoms, supercell.n_atoms, 3, 3))
    np.add.at(values, (second.atoms[:, 0], other), second.values)
    return SupercellForceConstants(supercell, values)
