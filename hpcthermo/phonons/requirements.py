"""What a campaign of finite displacements asks of a structure, and what it will cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.crystal_symmetry import CrystalSymmetry
from hpcthermo.phonons.displacements import shortest_distances
from hpcthermo.units import PRESSURE_GPA

#: largest force and stress of a structure that counts as relaxed, eV/A and GPa
FORCE_LIMIT = 1e-3
STRESS_LIMIT_GPA = 0.1
#: places of xx, yy, zz, yz, xz, xy in a tensor
_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
#: multiples of the primitive cell among which a supercell with the crystal's symmetry is looked for
_MOST_MULTIPLES = 60


@dataclass(frozen=True)
class Cost:
    """Size of a campaign.

    Attributes
    ----------
    n_atoms : int
        Atoms of a supercell, N_s.
    cells : dict of int to int
        Displaced supercells by order; the third order holds single displacements too.
    force_bytes : int
        Forces of all cells.
    compact_third_bytes : int
        Compact third-order array, 27 n N_s^2 numbers; about three times as much is at work.
    third_share : float
        Part of it within the cutoff.
    """

    n_atoms: int
    cells: dict[int, int]
    force_bytes: int
    compact_third_bytes: int
    third_share: float

    @classmethod
    def of_cells(cls, supercell: Supercell, cells: dict[int, int], third_cutoff: float | None = None) -> Cost:
        """From the numbers of displaced supercells by order."""
        n, n_super = supercell.crystal.n_atoms, supercell.n_atoms
        third, share = 3 in cells, float(3 in cells)
        if third and third_cutoff is not None:
            near = np.array([shortest_distances(supercell, j) <= third_cutoff for j in range(n_super)])
            inside = [np.count_nonzero(near[np.ix_(near[i], near[i])]) for i in supercell.origin_of]
            share = float(sum(inside)) / (n * n_super**2)
        return cls(n_super, cells, 24 * n_super * sum(cells.values()), 27 * 8 * n * n_super**2 if third else 0, share)


def largest_cutoff(supercell: Supercell) -> float:
    """Half the shortest width of the supercell along periodic directions, A."""
    widths = 1.0 / np.linalg.norm(np.linalg.inv(supercell.cell), axis=0)
    return 0.5 * float(widths[np.array(supercell.crystal.periodic)].min(initial=np.inf))


def require_cutoff(supercell: Supercell, cutoff: float | None, what: str) -> None:
    """Refuse a cutoff beyond which an atom and its image are neighbours of the same atom, and one without neighbours.

    Raises
    ------
    InputError
        If the cutoff reaches no neighbour of some atom, or beyond half the supercell, or none can do better.
    """
    if cutoff is None:
        return
    largest = largest_cutoff(supercell)
    nearest = max(float(np.delete(shortest_distances(supercell, int(i)), i).min(initial=np.inf))
                  for i in supercell.origin_of)
    if largest < nearest < np.inf:
        raise InputError(f"{what}: expected a supercell whose shortest width is at least twice the distance of nearest "
                         f"neighbours, {nearest:.3f} A, got half a width of {largest:.3f} A; give a larger supercell")
    if not 0.0 < cutoff <= largest:
        raise InputError(f"{what}: expected a cutoff above 0 and up to half the shortest width of the supercell, "
                         f"{largest:.3f} A, got {cutoff:g} A; give a smaller one, or a larger supercell")
    if cutoff + 1e-6 < nearest < np.inf:
        raise InputError(f"{what}: expected a cutoff that reaches the nearest neighbour of every atom, "
                         f"{nearest:.3f} A, got {cutoff:g} A; give a larger one")


def require_relaxed(supercell: Supercell, forces: np.ndarray, stress: np.ndarray | None = None,
                    force_limit: float = FORCE_LIMIT, stress_limit_GPa: float = STRESS_LIMIT_GPA) -> None:
    """Refuse a structure that is not at rest: its second derivatives are no phonons.

    Parameters
    ----------
    forces : (N, 3) ndarray
        Of the undisplaced structure, eV/A.
    stress : (6,) ndarray, optional
        xx, yy, zz, yz, xz, xy (Cartesian), eV/A^3; only its part in the plane of a sheet counts.
    force_limit : float
        eV/A.
    stress_limit_GPa : float

    Raises
    ------
    InputError
        If forces or stress are larger, or no numbers.
    """
    if not np.isfinite(forces).all() or (stress is not None and not np.isfinite(stress).all()):
        raise InputError("undisplaced supercell: expected forces and stress that are numbers, got others; check the "
                         "potential and the structure")
    largest = float(np.linalg.norm(forces, axis=1).max())
    if largest > force_limit:
        raise InputError(f"structure: expected forces below {force_limit:g} eV/A, got {largest:.2e}; relax it first "
                         "(double precision)")
    if stress is not None:
        crystal = supercell.crystal
        vectors = crystal.cell[np.array(crystal.periodic)]
        along = np.linalg.pinv(vectors) @ vectors
        tensor = np.asarray(stress)[_VOIGT]
        worst = float(np.abs(along @ tensor @ along).max(initial=0.0)) * PRESSURE_GPA
        if worst > stress_limit_GPa:
            raise InputError(f"structure: expected stress below {stress_limit_GPa:g} GPa, got {worst:.3g}; relax its "
                             "cell first")


def require_symmetry(supercell: Supercell, unit: np.ndarray | None = None) -> None:
    """Refuse a supercell that lacks rotations of its crystal: force constants would lack them too.

    Parameters
    ----------
    unit : (3, 3) array of int, optional
        Vectors of the cell, in terms of the primitive ones, in whose multiples the user gave the supercell.

    Raises
    ------
    InputError
        With the numbers of rotations, and a supercell that has them all.
    """
    crystal = supercell.crystal
    unit = np.eye(3, dtype=int) if unit is None else unit
    symmetry = CrystalSymmetry.of(crystal)
    everything, kept = (_n_rotations(group) for group in (symmetry, symmetry.kept_by(supercell.cell)))
    if kept == everything:
        return
    given = np.rint(supercell.cell @ np.linalg.inv(unit @ crystal.cell)).astype(int)
    better = next((matrix for matrix in _rounder_supercells(given, unit, np.array(crystal.periodic))
                   if _n_rotations(symmetry.kept_by(matrix @ unit @ crystal.cell)) == everything), None)
    fix = "give equal multiples along equivalent directions"
    if better is not None:
        diagonal = (better == np.diag(np.diag(better))).all()
        fix = f"for example {(np.diag(better) if diagonal else better).tolist()}"
    raise InputError(f"supercell: expected a shape with the {everything} rotations of the crystal, got one with "
                     f"{kept}; {fix}")


def _n_rotations(symmetry: CrystalSymmetry) -> int:
    return len(np.unique(symmetry.rotations, axis=0))


def _rounder_supercells(given: np.ndarray, unit: np.ndarray, periodic: np.ndarray) -> Iterator[np.ndarray]:
    """Matrices in terms of `unit` no smaller than a given one: multiples along its vectors, then of primitive cells."""
    counts = np.maximum(np.abs(np.diag(given)), 1)
    choices = [sorted({int(c) for c in counts[periodic] if c >= count}) if along else [1]
               for count, along in zip(counts, periodic, strict=True)]
    for multiples in sorted(itertools.product(*choices), key=math.prod):
        yield np.diag(multiples)
    size = abs(np.linalg.det(given @ unit))
    for count in range(1, _MOST_MULTIPLES + 1):
        matrix = np.diag(np.where(periodic, count, 1)) @ np.linalg.inv(unit)
        if np.abs(matrix - np.rint(matrix)).max() < 1e-6 and count ** int(periodic.sum()) > size - 0.5:
            yield np.rint(matrix).astype(int)
