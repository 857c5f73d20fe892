"""Who is who in a NEMD run: blocks of the profile, fixed atoms, source, sink, and the interface."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.transport.groups import (
    FIXED,
    FREE,
    ROLES,
    SINK,
    SOURCE,
    Grouping,
    atoms_in_groups,
    atoms_in_layers,
    atoms_in_region,
    atoms_of_species,
    join_compositions,
    make_grouping,
    resolve_layers,
    slabs,
)

if TYPE_CHECKING:
    from hpcthermo.config.nemd import NemdSection

AXES = {"x": 0, "y": 1, "z": 2}
#: width of the slabs of a structure without layers unless the job gives one, A
DEFAULT_SLAB_WIDTH = 5.0


def nemd_grouping(section: NemdSection, snapshot: Snapshot) -> Grouping:
    """Groups of a [nemd] table on a structure.

    Raises
    ------
    InputError
        If a layer, region or element selects no atom, selections overlap, or the heat has two ways to flow.
    """
    axis = AXES[section.axis]
    roles = np.full(snapshot.n_atoms, FREE)
    for role in (FIXED, SOURCE, SINK):
        chosen = _selected(section, snapshot, axis, ROLES[role])
        taken = chosen & (roles != FREE)
        if taken.any():
            other = ROLES[int(roles[np.argmax(taken)])]
            raise InputError(f"nemd: {taken.sum()} atoms are both {other} and {ROLES[role]}; separate the selections")
        if role != FIXED and not chosen.any():
            raise InputError(f"nemd.{ROLES[role]}: no atom is selected; correct the layers, region, groups or elements")
        roles[chosen] = role
    if snapshot.periodic[axis] and not np.any(roles == FIXED):
        raise InputError(
            f"nemd: axis {section.axis} is periodic and nothing is fixed, so heat flows both ways around; add "
            "vacuum_A, or fixed_layers between source and sink"
        )
    if not np.any(roles == FREE):
        raise InputError("nemd: no atom is left between source and sink; use fewer bath layers or a thicker structure")
    return make_grouping(snapshot, profile_blocks(section, snapshot), roles)


def profile_blocks(section: NemdSection, snapshot: Snapshot) -> np.ndarray:
    """(N,) layer of each atom where the structure has layers along the axis, else its slab."""
    layered = snapshot.layers.min() >= 0 and snapshot.layers.max() > 0 and section.axis == "z"
    if layered:
        return snapshot.layers.astype(np.int64)
    return slabs(snapshot, AXES[section.axis], section.bin_width_A or DEFAULT_SLAB_WIDTH)


def _selected(section: NemdSection, snapshot: Snapshot, axis: int, name: str) -> np.ndarray:
    """(N,) bool, atoms that a role asks for."""
    chosen = atoms_in_layers(snapshot, getattr(section, f"{name}_layers"), f"nemd.{name}_layers")
    chosen |= atoms_in_groups(snapshot, getattr(section, f"{name}_groups"), f"nemd.{name}_groups")
    region = getattr(section, f"{name}_region_A")
    for low, high in _as_regions(region):
        chosen |= atoms_in_region(snapshot, axis, low, high)
    elements = getattr(section, f"{name}_elements", None)
    if elements:
        chosen &= atoms_of_species(snapshot, elements, f"nemd.{name}_elements")
    return chosen


def _as_regions(region: tuple | None) -> list[tuple[float, float]]:
    if region is None:
        return []
    return [region] if isinstance(region[0], float | int) else list(region)


def find_interface(section: NemdSection, grouping: Grouping) -> tuple[int, int] | None:
    """Blocks below and above the interface: those given, or where the composition changes between free blocks.

    Raises
    ------
    InputError
        If the composition changes more than once, or the layers given are not neighbours.
    """
    blocks = np.unique(grouping.blocks)
    if section.interface_layers is not None:
        chosen = resolve_layers(section.interface_layers, len(blocks), "nemd.interface_layers")
        low, high = sorted(int(k) for k in chosen)
        if high != low + 1:
            raise InputError(f"nemd.interface_layers: expected neighbouring layers, got {low} and {high}; correct them")
        return int(blocks[low]), int(blocks[high])
    composition = {
        int(b): join_compositions(s for s, k in zip(grouping.composition, grouping.blocks, strict=True) if k == b)
        for b in blocks
    }
    changes = [(int(a), int(b)) for a, b in itertools.pairwise(blocks)
               if composition[int(a)] != composition[int(b)]]
    if not changes:
        return None
    if len(changes) > 1:
        raise InputError(
            f"nemd: the composition changes {len(changes)} times along the axis, first at blocks {changes[0]}; "
            "say which interface with interface_layers"
        )
    return changes[0]


def initial_profile(section: NemdSection, grouping: Grouping) -> np.ndarray | None:
    """(groups,) temperatures that the job gives as a first guess of the steady state, K; None if it gives none.

    Raises
    ------
    InputError
        If a point names a layer that does not exist.
    """
    if section.initial_profile_K is None:
        return None
    n_blocks = int(grouping.blocks.max()) + 1
    points = resolve_layers([layer for layer, _ in section.initial_profile_K], n_blocks, "nemd.initial_profile_K")
    temperatures = np.array([temperature for _, temperature in section.initial_profile_K])
    order = np.argsort(points)
    return np.interp(grouping.blocks, points[order], temperatures[order])


def cross_section(cell: np.ndarray, axis: int) -> float:
    """Area of the cell normal to an axis, A^2.

    Raises
    ------
    InputError
        If the other two cell vectors are not normal to the axis.
    """
    others = [cell[k] for k in range(3) if k != axis]
    normal = np.cross(others[0], others[1])
    area = float(np.linalg.norm(normal))
    if area < 1e-6 or abs(abs(float(normal[axis])) - area) > 1e-6 * area:
        raise InputError(f"nemd.axis: {'xyz'[axis]} is not normal to the plane of the other two cell vectors; rotate "
                         "the structure so that heat flows along a Cartesian axis")
    return area
