"""FORCE_SETS, FORCES_FC2 and FORCES_FC3: forces of displaced supercells.

    FORCE_SETS, one atom displaced     N_s, number of cells; for each: atom (from 1), displacement, N_s forces
    FORCE_SETS, all atoms displaced    rows of displacement and force, N_s for each cell
    FORCES_FC2, FORCES_FC3             N_s forces for each cell, in the order of the displacements in phono3py's YAML
                                       file; displacements in comments

Displacements in A, forces in eV/A, both Cartesian. In FORCES_FC3 a cell whose forces are all zero was beyond the cutoff
of pairs and not computed; the zeros are kept, for finite differences take them as no change.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.files.text import numbers, parsed_numbers, read_text
from hpcthermo.results import write_text

#: displacements in comments agree with those of the YAML file within this, A
SAME_DISPLACEMENT = 1e-4


def read_force_sets(path: Path, n_super: int) -> DisplacementDataset:
    """Read FORCE_SETS of a supercell of ``n_super`` atoms.

    Raises
    ------
    InputError
        If it is damaged or of another supercell.
    """
    lines = [line.split("#")[0] for line in read_text(path).splitlines()]
    lines = [line for line in lines if line.strip()]
    if lines and len(lines[0].split()) == 6:
        table = numbers(parsed_numbers(" ".join(lines), str(path)), (-1, 6), str(path))
        if len(table) % n_super:
            raise InputError(f"{path}: expected rows in multiples of the {n_super} atoms of the supercell, got "
                             f"{len(table)}; give the FORCE_SETS of this crystal")
        table = table.reshape(-1, n_super, 6)
        return DisplacementDataset(np.tile(np.arange(n_super), (len(table), 1)), table[..., :3].copy(),
                                   table[..., 3:].copy())
    table = numbers(parsed_numbers(" ".join(lines), str(path)), (-1,), str(path))
    if len(table) < 2 or table[0] != n_super:
        raise InputError(f"{path}: expected {n_super} atoms in the supercell, got {table[:1].tolist()}; give the "
                         "FORCE_SETS of this crystal")
    cells = numbers(table[2:], (int(table[1]), 4 + 3 * n_super), f"{path}: {int(table[1])} cells")
    atoms = np.rint(cells[:, :1]).astype(int) - 1
    if atoms.min() < 0 or atoms.max() >= n_super:
        raise InputError(f"{path}: expected displaced atoms 1 to {n_super}, got others; is the file damaged?")
    return DisplacementDataset(atoms, cells[:, None, 1:4].copy(), cells[:, 4:].reshape(-1, n_super, 3).copy())


def write_force_sets(dataset: DisplacementDataset, path: Path) -> None:
    """Write FORCE_SETS: of one displaced atom each, or of all."""
    forces = _forces(dataset)
    if dataset.atoms.shape[1] == 1:
        lines = [f"{forces.shape[1]}", f"{dataset.n_cells}", ""]
        for cell in range(dataset.n_cells):
            lines += [f"{dataset.atoms[cell, 0] + 1}", _row(dataset.vectors[cell, 0])]
            lines += [_row(force) for force in forces[cell]] + [""]
    else:
        moved = dataset.dense(forces.shape[1])
        rows = np.concatenate([moved, forces], axis=2).reshape(-1, 6)
        lines = [_row(row) for row in rows]
    write_text("\n".join(lines).rstrip() + "\n", path)


def read_forces(path: Path, dataset: DisplacementDataset, n_super: int) -> DisplacementDataset:
    """Read FORCES_FC2 or FORCES_FC3 for displacements that are known.

    Raises
    ------
    InputError
        If number of cells, of atoms or the displacements in comments are others.
    """
    text = read_text(path)
    values, comments = [], []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comments.append(line)
        else:
            values.append(line)
    forces = numbers(parsed_numbers("\n".join(values), str(path)), (-1, 3), str(path))
    if forces.shape[0] != dataset.n_cells * n_super:
        raise InputError(f"{path}: expected forces on {n_super} atoms of {dataset.n_cells} cells, got {len(forces)} "
                         "rows; give the displacements and forces of one calculation")
    _require_same_displacements(path, comments, dataset)
    return DisplacementDataset(dataset.atoms, dataset.vectors, forces.reshape(-1, n_super, 3))


def _require_same_displacements(path: Path, comments: list[str], dataset: DisplacementDataset) -> None:
    """Comments `# atom x y z` after `# File: n` must name the displacements of the dataset."""
    cell, leg = -1, 0
    for line in comments:
        found = re.match(r"\s*#\s*File:\s*(\d+)", line)
        words = line.lstrip(" #").split()
        if found:
            cell, leg = int(found[1]) - 1, 0
        elif len(words) == 4 and 0 <= cell < dataset.n_cells and leg < dataset.atoms.shape[1]:
            try:
                atom, vector = int(words[0]) - 1, np.array([float(word) for word in words[1:]])
            except ValueError:
                continue
            off = np.abs(vector - dataset.vectors[cell, leg]).max()
            if atom != dataset.atoms[cell, leg] or off > SAME_DISPLACEMENT:
                raise InputError(f"{path}: cell {cell + 1}: expected the displacement of atom "
                                 f"{dataset.atoms[cell, leg] + 1} by {dataset.vectors[cell, leg].round(5).tolist()}, "
                                 f"got atom {atom + 1} by {vector.round(5).tolist()}; give the displacements and "
                                 "forces of one calculation")
            leg += 1


def write_forces(dataset: DisplacementDataset, path: Path) -> None:
    """Write FORCES_FC2 or FORCES_FC3, with the displacements in comments."""
    forces = _forces(dataset)
    lines = []
    for cell in range(dataset.n_cells):
        lines.append(f"# File: {cell + 1}")
        lines += [f"# {atom + 1:<5d} {_row(vector)}" for atom, vector in zip(dataset.atoms[cell], dataset.vectors[cell],
                                                                            strict=True) if atom >= 0]
        lines += [_row(force) for force in forces[cell]]
    write_text("\n".join(lines) + "\n", path)


def _forces(dataset: DisplacementDataset) -> np.ndarray:
    if dataset.forces is None:
        raise InputError("forces: expected those of the displaced supercells, got displacements only; compute them")
    return dataset.forces


def _row(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)
