"""Several honeycomb materials side by side in one plane, joined along zigzag or armchair seams.

Domains follow each other along y for a zigzag seam (which runs along x), along x for an armchair seam. Each domain
keeps its own lattice constant across the seam and takes the common one along it. Domains begin and end in the middle of
a bond, so that a bond across a seam has the mean length of the bonds of both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.limits import MAXIMUM_STRAIN
from hpcthermo.structure.materials import find_material
from hpcthermo.structure.pile import Pile, check_atom_count, common_cell
from hpcthermo.structure.sheet import Sheet

#: axis along which domains follow each other, and the shift that puts the cell boundary in the middle of a bond, in
#: fractions of the rectangular cell
_SEAMS = {"zigzag": (1, np.array([0.0, 1.0 / 6.0])), "armchair": (0, np.array([0.25, 0.0]))}


@dataclass(frozen=True)
class Domain:
    """A strip of one material.

    Attributes
    ----------
    material : str or Sheet
    cells : int
        Rectangular cells across the seam.
    """

    material: str | Sheet
    cells: int


@dataclass(frozen=True)
class LateralHeterostructure(Pile):
    """Atoms of domains in one plane.

    Attributes
    ----------
    groups : (N,) int32
        Number of the domain.
    strains : (domains,) float64
        Of each domain along the seam.
    lengths : (domains,) float64
        Across the seam, A.
    """

    groups: np.ndarray
    strains: np.ndarray
    lengths: np.ndarray


def build_lateral(domains: Sequence[Domain], width: int, seam: str = "zigzag", lattice: str | float = "mean",
                  periodic: bool = True, vacuum: float = 20.0) -> LateralHeterostructure:
    """Domains side by side, periodic along the seam.

    Parameters
    ----------
    domains : sequence of Domain
        In order; honeycombs of one atomic plane.
    width : int
        Rectangular cells along the seam.
    seam : "zigzag" or "armchair"
    lattice : "first", "second", "mean", "stiffness" or fraction
        Lattice constant along the seam, see `hpcthermo.structure.pile.common_cell`.
    periodic : bool
        The last domain joins the first one; else `vacuum` separates them.
    vacuum : float
        Empty height above and below in total, and beside the domains if not periodic, A.

    Raises
    ------
    InputError
        For fewer than two domains, materials that are no flat honeycombs, no vacuum, or too much strain.
    """
    if seam not in _SEAMS:
        raise InputError(f"structure.seam: expected 'zigzag' or 'armchair', got {seam!r}; correct it")
    if len(domains) < 2 or min(domain.cells for domain in domains) < 1 or width < 1:
        raise InputError("structure.domains: expected at least two domains, and cells and width of at least 1; correct "
                         "them")
    if vacuum <= 0.0:
        raise InputError(f"structure.vacuum_A: expected more than 0 above a single plane, got {vacuum:g}; correct it")
    sheets = [find_material(domain.material, "structure.domains") for domain in domains]
    for sheet in sheets:
        if not sheet.is_hexagonal or np.ptp(sheet.heights) > 0.0 or sheet.n_atoms != 2:
            raise InputError(f"structure.domains: {sheet.name} is not a flat honeycomb; expected graphene or h-BN")
    check_atom_count(sum(4 * domain.cells * width for domain in domains))
    across, middle = _SEAMS[seam]
    along = 1 - across
    matrix = sheets[0].cell_matrix("orthogonal")
    natural = [matrix @ sheet.lattice for sheet in sheets]
    edge = float(common_cell(natural, lattice, sheets)[along, along])
    strains = np.array([edge / own[along, along] - 1.0 for own in natural])
    if np.abs(strains).max() > MAXIMUM_STRAIN:
        raise InputError(f"structure.domains: a strain of {100 * np.abs(strains).max():.1f} % along the seam, limit "
                         f"{100 * MAXIMUM_STRAIN:.0f} %; change the materials or lattice")
    lengths = np.array([domain.cells * own[across, across] for domain, own in zip(domains, natural, strict=True)])
    starts = np.concatenate([[0.0], np.cumsum(lengths)]) + (0.0 if periodic else 0.5 * vacuum)
    symbols, planes, groups = [], [], []
    for k, (domain, sheet) in enumerate(zip(domains, sheets, strict=True)):
        counts = np.array([domain.cells, width] if across == 0 else [width, domain.cells])
        cell = np.diag([lengths[k], width * edge] if across == 0 else [width * edge, lengths[k]])
        names, plane, _ = sheet.fill(np.diag(counts) @ matrix, cell, middle @ matrix)
        plane[:, across] += starts[k]
        symbols.append(names)
        planes.append(plane)
        groups.append(np.full(len(names), k, dtype=np.int32))
    edges = np.zeros(3)
    edges[across] = starts[-1] + (0.0 if periodic else 0.5 * vacuum)
    edges[along], edges[2] = width * edge, vacuum
    plane = np.concatenate(planes)
    flags = np.array([True, True, False])
    flags[across] = periodic
    return LateralHeterostructure(
        np.diag(edges), flags, np.concatenate(symbols), np.column_stack([plane, np.full(len(plane), 0.5 * vacuum)]),
        np.zeros(len(plane), dtype=np.int32), np.concatenate(groups), strains, lengths)
