"""Displacements and forces inside YAML files of phonopy and phono3py.

    key                     holds
    displacements           one displaced atom each: atom (from 1), displacement (A, Cartesian), forces (eV/A)
    phonon_displacements    the same, of the second-order supercell (phono3py)
    displacement_pairs      one displaced atom, and under paired_with the same with a second one displaced too: either
                            one ``displacement`` or several ``displacements`` per second atom
    dataset                 all atoms displaced: displacements, forces, one list of N_s vectors each

Pairs with ``included: false`` are beyond the cutoff and were not computed; without forces in the same file they are
kept, for FORCES_FC3 has a place (of zeros) for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.files.text import numbers

#: one configuration: atoms from 0, displacements, forces or None
Configuration = tuple[tuple[int, ...], list[Any], Any]


def read_displacements(content: Mapping[str, Any], supercells: Mapping[int, Supercell], path: Path,
                       scale: float, force_scale: float) -> dict[int, DisplacementDataset]:
    """Displacements in a loaded file.

    Parameters
    ----------
    supercells : mapping of int to Supercell
        By order; the highest is what ``displacements``, ``displacement_pairs`` and ``dataset`` belong to.
    scale : float
        Length unit of the file, A.
    force_scale : float
        Its unit of forces, eV/A.

    Returns
    -------
    dict of int to DisplacementDataset
        By order.

    Raises
    ------
    InputError
        If they do not fit the supercells.
    """
    highest = max(supercells)
    found = {}
    for key, order in (("phonon_displacements", 2), ("phonon_dataset", 2), ("displacements", highest),
                       ("displacement_pairs", 3), ("dataset", highest)):
        stored, where = content.get(key), f"{path}: {key}"
        if not stored or order not in supercells:
            continue
        try:
            if isinstance(stored, dict):
                found[order] = _of_all_atoms(stored, supercells[order], where, scale, force_scale)
            elif "displacement" in stored[0]:
                found[order] = _of_few_atoms(_configurations(stored), supercells[order], where, scale, force_scale)
            else:
                found[order] = _of_all_atoms({"displacements": stored, "forces": content.get("forces")},
                                             supercells[order], where, scale, force_scale)
        except (TypeError, KeyError, AttributeError, IndexError, ValueError):
            raise InputError(f"{where}: expected atoms, displacements and forces as phonopy writes them, got something "
                             "else; is the file edited?") from None
    return found


def _configurations(stored: list[dict[str, Any]]) -> list[Configuration]:
    """Single displacements first, then pairs, both in the order of the file."""
    singles: list[Configuration] = []
    pairs: list[Configuration] = []
    has_forces = any(single.get("forces") is not None for single in stored)
    for single in stored:
        first = (int(single["atom"]) - 1, single["displacement"])
        singles.append(((first[0],), [first[1]], single.get("forces")))
        for pair in single.get("paired_with") or []:
            if has_forces and pair.get("included") is False:
                continue
            several = "displacements" in pair
            vectors = pair["displacements"] if several else [pair["displacement"]]
            forces = pair.get("forces")
            for number, vector in enumerate(vectors):
                pairs.append(((first[0], int(pair["atom"]) - 1), [first[1], vector],
                              forces[number] if several and forces is not None else forces))
    return singles + pairs


def _of_few_atoms(configurations: list[Configuration], supercell: Supercell, where: str,
                  scale: float, force_scale: float) -> DisplacementDataset:
    count = len(configurations)
    most = max(len(atoms) for atoms, _, _ in configurations)
    atoms = np.full((count, most), -1)
    vectors = np.zeros((count, most, 3))
    for row, (names, moves, _) in enumerate(configurations):
        atoms[row, :len(names)] = names
        vectors[row, :len(names)] = numbers(moves, (len(names), 3), where) * scale
    if atoms[:, 0].min() < 0 or atoms.min() < -1 or atoms.max() >= supercell.n_atoms:
        raise InputError(f"{where}: expected atoms 1 to {supercell.n_atoms}, got others; give the displacements of "
                         "this supercell")
    given = [forces for _, _, forces in configurations if forces is not None]
    if given and len(given) != count:
        raise InputError(f"{where}: expected forces of all {count} supercells, got {len(given)}; complete them")
    forces = numbers(given, (count, supercell.n_atoms, 3), f"{where}.forces") * force_scale if given else None
    return DisplacementDataset(atoms, vectors, forces)


def _of_all_atoms(stored: Mapping[str, Any], supercell: Supercell, where: str, scale: float,
                  force_scale: float) -> DisplacementDataset:
    shape = (-1, supercell.n_atoms, 3)
    vectors = numbers(stored["displacements"], shape, f"{where}.displacements") * scale
    forces = None if stored.get("forces") is None else force_scale * numbers(stored["forces"], vectors.shape,
                                                                                   f"{where}.forces")
    atoms = np.tile(np.arange(supercell.n_atoms), (len(vectors), 1))
    return DisplacementDataset(atoms, vectors, forces)


def displacement_lines(datasets: Mapping[int, DisplacementDataset], program: str) -> list[str]:
    """Displacements and forces as lines of a YAML file of phonopy or phono3py."""
    lines: list[str] = []
    for order, dataset in sorted(datasets.items()):
        alone = program == "phonopy" or order == 3
        if dataset.atoms.shape[1] > 2:
            lines += ["", "dataset:" if alone else "phonon_dataset:", *_dense_lines(dataset)]
        elif dataset.atoms.shape[1] == 1:
            lines += ["", "displacements:" if alone else "phonon_displacements:"]
            for cell in range(dataset.n_cells):
                lines += _displacement("- ", dataset, cell, 0)
        else:
            lines += ["", "displacement_pairs:", *_pair_lines(dataset)]
    return lines


def _pair_lines(dataset: DisplacementDataset) -> list[str]:
    """Singles in their order, each with the pairs that start with it."""
    lines: list[str] = []
    single = np.flatnonzero(dataset.atoms[:, 1] < 0)
    pairs = np.flatnonzero(dataset.atoms[:, 1] >= 0)
    for cell in single.tolist():
        lines += [*_displacement("- ", dataset, cell, 0), f"  displacement_id: {cell + 1}", "  paired_with:"]
        same = (dataset.atoms[pairs, 0] == dataset.atoms[cell, 0]) & (
            dataset.vectors[pairs, 0] == dataset.vectors[cell, 0]).all(axis=1)
        for pair in pairs[same].tolist():
            lines += [*_displacement("  - ", dataset, pair, 1), f"    displacement_id: {pair + 1}"]
    return lines


def _displacement(head: str, dataset: DisplacementDataset, cell: int, leg: int) -> list[str]:
    inner = " " * len(head)
    lines = [f"{head}atom: {dataset.atoms[cell, leg] + 1}", f"{inner}displacement:",
             f"{inner}  {_vector(dataset.vectors[cell, leg])}"]
    if dataset.forces is not None:
        lines += [f"{inner}forces:", *(f"{inner}- {_vector(force)}" for force in dataset.forces[cell])]
    return lines


def _dense_lines(dataset: DisplacementDataset) -> list[str]:
    n_super = dataset.forces.shape[1] if dataset.forces is not None else int(dataset.atoms.max()) + 1
    lines = []
    for name, arrays in (("displacements", dataset.dense(n_super)), ("forces", dataset.forces)):
        if arrays is None:
            continue
        lines.append(f"  {name}:")
        for array in arrays:
            lines += [("  - - " if first == 0 else "    - ") + _vector(row) for first, row in enumerate(array)]
    return lines


def _vector(values: np.ndarray) -> str:
    return "[ " + ", ".join(f"{value:.17e}" for value in values) + " ]"
