"""Perturbations of a structure for data sets: each takes a snapshot and a generator of random numbers or a value.

Every function returns a new snapshot. Random ones take a NumPy generator, so that a seed fixes their result.
"""

from __future__ import annotations

import itertools

import numpy as np

from hpcthermo.domain.grid import frame_cell
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.tensors import COMPONENTS

#: bonds of honeycomb layers are shorter than this, A
_LONGEST_BOND = 1.7
#: centres of two turned bonds are at least this far apart, A: their pentagons and heptagons share no atom
_DEFECT_DISTANCE = 8.0


def replaced(snapshot: Snapshot, cell: np.ndarray | None = None, kept: np.ndarray | None = None,
             species: tuple[str, ...] | None = None, masses: np.ndarray | None = None, **fields: np.ndarray
             ) -> Snapshot:
    """A copy with another cell, other per-atom fields, or only some of the atoms.

    Parameters
    ----------
    kept : (N,) bool, optional
        Atoms that stay; the others are left out after `fields` are replaced.
    """
    values = {**snapshot.fields, **fields}
    if kept is not None:
        values = {name: value[kept] for name, value in values.items()}
    values.pop("tags", None)
    positions, types = values.pop("positions"), values.pop("types")
    return Snapshot.create(snapshot.cell if cell is None else cell, snapshot.periodic, species or snapshot.species,
                           snapshot.masses if masses is None else masses, positions, types, snapshot.frozen_groups,
                           **values)


def strained(snapshot: Snapshot, strain: dict[str, float]) -> Snapshot:
    """Cell and positions times 1 + e.

    Parameters
    ----------
    strain : dict
        Component of the symmetric tensor e ("xx" ... "xy") -> value (1, not percent); others are 0.
    """
    tensor = np.eye(3)
    for name, value in strain.items():
        i, j = COMPONENTS[name]
        tensor[i, j] += value
        if i != j:
            tensor[j, i] += value
    return replaced(snapshot, cell=snapshot.cell @ tensor, positions=snapshot.positions @ tensor)


def rattled(snapshot: Snapshot, deviation: float, random: np.random.Generator) -> Snapshot:
    """Positions plus normally distributed displacements with a standard deviation per component (A)."""
    return replaced(snapshot, positions=snapshot.positions + random.normal(0.0, deviation, snapshot.positions.shape))


def with_vacancies(snapshot: Snapshot, count: int | None, fraction: float | None, element: str | None,
                   random: np.random.Generator) -> Snapshot:
    """Without some atoms of an element (or of any).

    Raises
    ------
    InputError
        If there are not so many.
    """
    chosen = _choose(snapshot, count, fraction, element, random, "vacancies")
    kept = np.ones(snapshot.n_atoms, dtype=bool)
    kept[chosen] = False
    if not kept.any():
        raise InputError("structure.perturbation: vacancies would remove every atom; reduce count or fraction")
    return replaced(snapshot, kept=kept)


def with_substitutions(snapshot: Snapshot, count: int | None, fraction: float | None, element: str, by: str,
                       random: np.random.Generator) -> Snapshot:
    """Some atoms of an element replaced by another one; its mass is that of the element.

    Raises
    ------
    InputError
        If there are not so many, or `by` is no element.
    """
    from ase.data import atomic_masses, atomic_numbers

    if by not in atomic_numbers or by == "X":
        raise InputError(f"structure.perturbation: substitution by {by!r}, which is no element; correct it")
    if by == element:
        raise InputError(f"structure.perturbation: substitution of {element} by itself; correct element or by")
    chosen = _choose(snapshot, count, fraction, element, random, "substitution")
    species, masses = snapshot.species, snapshot.masses
    if by not in species:
        species, masses = (*species, by), np.append(masses, atomic_masses[atomic_numbers[by]])
    types = snapshot.types.copy()
    types[chosen] = species.index(by)
    return replaced(snapshot, species=species, masses=masses, types=types)


def _choose(snapshot: Snapshot, count: int | None, fraction: float | None, element: str | None,
            random: np.random.Generator, what: str) -> np.ndarray:
    """Indices of atoms taken at random."""
    if element is not None and element not in snapshot.species:
        raise InputError(f"structure.perturbation: {what} of {element}, but the structure has "
                         f"{', '.join(snapshot.species)}; correct element")
    pool = np.arange(snapshot.n_atoms)
    if element is not None:
        pool = np.flatnonzero(snapshot.types == snapshot.species.index(element))
    wanted = count if count is not None else max(1, round(float(fraction or 0.0) * len(pool)))
    if wanted > len(pool):
        raise InputError(f"structure.perturbation: {what} of {wanted} atoms, but there are {len(pool)}"
                         f"{f' of {element}' if element else ''}; reduce count")
    return random.choice(pool, wanted, replace=False)


def with_turned_bonds(snapshot: Snapshot, count: int, random: np.random.Generator) -> Snapshot:
    """Stone-Wales defects: bonds of honeycomb layers turned by 90 degrees about their middle, in the xy plane.

    Raises
    ------
    InputError
        If there are not so many bonds far enough from each other.
    """
    from scipy.spatial import cKDTree

    from hpcthermo.structure.checks import with_close_images

    wrapped, padded, owners = with_close_images(snapshot.cell, snapshot.periodic, snapshot.positions, _LONGEST_BOND)
    pairs = cKDTree(padded).query_pairs(_LONGEST_BOND, output_type="ndarray")
    pairs = pairs[(pairs < len(wrapped)).any(axis=1)]
    neighbors = np.bincount(pairs[pairs < len(wrapped)], minlength=len(wrapped))
    pairs = pairs[(neighbors[owners[pairs]] >= 3).all(axis=1)]
    order = random.permutation(len(pairs))
    positions = wrapped.copy()
    centres: list[np.ndarray] = []
    inverse = np.linalg.inv(frame_cell(snapshot.cell))
    for i, j in pairs[order]:
        if len(centres) == count:
            break
        a, b = padded[i], padded[j]
        centre = 0.5 * (a + b)
        if any(_distance(centre, other, snapshot, inverse) < _DEFECT_DISTANCE for other in centres):
            continue
        half = 0.5 * (b - a)
        turned = np.array([-half[1], half[0], half[2]])
        positions[owners[i]] += (centre - turned) - a
        positions[owners[j]] += (centre + turned) - b
        centres.append(centre)
    if len(centres) < count or _nearest_image(snapshot) < _DEFECT_DISTANCE:
        raise InputError(f"structure.perturbation: {count} Stone-Wales defects asked for, but this cell has no "
                         f"room for so many bonds of honeycomb layers that lie {_DEFECT_DISTANCE:g} A from each other "
                         "and from their images; reduce count or enlarge the cell")
    return replaced(snapshot, positions=positions)


def _nearest_image(snapshot: Snapshot) -> float:
    """Length of the shortest lattice vector, A; infinite without periodicity."""
    steps = np.array(list(itertools.product(*((-1, 0, 1) if flag else (0,) for flag in snapshot.periodic))))
    lengths = np.linalg.norm(steps[steps.any(axis=1)] @ snapshot.cell, axis=1)
    return float(lengths.min(initial=np.inf))


def _distance(a: np.ndarray, b: np.ndarray, snapshot: Snapshot, inverse: np.ndarray) -> float:
    """Between two points, to the nearest image."""
    fractional = (a - b) @ inverse
    fractional[snapshot.periodic] -= np.rint(fractional[snapshot.periodic])
    return float(np.linalg.norm(fractional @ snapshot.cell))


def moved_layers(snapshot: Snapshot, above_layer: int, what: str) -> tuple[np.ndarray, int]:
    """(N,) bool, atoms of the layers above one, and the number of that layer.

    Raises
    ------
    InputError
        If the structure has no layers, or none above.
    """
    n_layers = int(snapshot.layers.max()) + 1
    if snapshot.layers.min() < 0 or n_layers < 2:
        raise InputError(f"structure.perturbation: {what} needs a structure with at least two layers; this one has "
                         f"{max(n_layers, 0)}")
    if not -n_layers <= above_layer < n_layers - 1 or above_layer == -1:
        raise InputError(f"structure.perturbation: {what} above layer {above_layer}, but layers are 0 ... "
                         f"{n_layers - 1} and the top one has none above; correct above_layer")
    low = above_layer % n_layers
    return snapshot.layers > low, low


def slid(snapshot: Snapshot, above_layer: int, shift: np.ndarray) -> Snapshot:
    """Layers above one moved by a vector (A)."""
    moved, _ = moved_layers(snapshot, above_layer, "slide")
    return replaced(snapshot, positions=snapshot.positions + moved[:, None] * shift)


def spaced(snapshot: Snapshot, above_layer: int, distance: float) -> Snapshot:
    """Layers above one moved along z until its mean height and that of the next differ by a distance (A).

    If z is periodic, the cell grows or shrinks with the gap.
    """
    moved, low = moved_layers(snapshot, above_layer, "spacing")
    z = snapshot.positions[:, 2]
    step = distance - float(z[snapshot.layers == low + 1].mean() - z[snapshot.layers == low].mean())
    cell = snapshot.cell.copy()
    if snapshot.periodic[2]:
        cell[2, 2] += step
    return replaced(snapshot, cell=cell, positions=snapshot.positions + moved[:, None] * np.array([0.0, 0.0, step]))
