"""Groups of atoms for an experiment: by layer, by region along an axis, by species.

Every atom belongs to one block, a layer or a slab of the profile, and has one role. A group is the set of atoms of one
block with one role, so one label per atom carries both and travels with it from rank to rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError

ROLES = ("free", "fixed", "source", "sink")
FREE, FIXED, SOURCE, SINK = range(4)
#: slabs of a profile beyond this are a mistake in the width
MAXIMUM_BLOCKS = 100_000


@dataclass(frozen=True)
class Grouping:
    """Groups of all atoms.

    Attributes
    ----------
    labels : (N,) int32
        Group of each atom, by tag.
    blocks : (groups,) int32
        Layer or slab of each group, low to high along the axis.
    roles : (groups,) int32
        Index into `ROLES`.
    atoms : (groups,) int64
        Number of atoms.
    composition : tuple of str
        Species in each group, such as ``"BN"``.
    """

    labels: np.ndarray
    blocks: np.ndarray
    roles: np.ndarray
    atoms: np.ndarray
    composition: tuple[str, ...]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.blocks)

    def with_role(self, role: int) -> frozenset[int]:
        """Groups that have a role."""
        return frozenset(int(g) for g in np.flatnonzero(self.roles == role))


def make_grouping(snapshot: Snapshot, blocks: np.ndarray, roles: np.ndarray) -> Grouping:
    """Number the pairs of block and role that occur.

    Parameters
    ----------
    blocks, roles : (N,) int
        Of each atom.
    """
    codes = blocks.astype(np.int64) * len(ROLES) + roles
    present, labels, atoms = np.unique(codes, return_inverse=True, return_counts=True)
    has_species = np.zeros((len(present), len(snapshot.species)), dtype=bool)
    has_species[labels, snapshot.types] = True
    composition = tuple("".join(s for s, has in zip(snapshot.species, row, strict=True) if has) for row in has_species)
    return Grouping(
        labels.astype(np.int32), (present // len(ROLES)).astype(np.int32), (present % len(ROLES)).astype(np.int32),
        atoms, composition,
    )


def join_compositions(names: Iterable[str]) -> str:
    """Elements of several groups together: ``"BN"`` and ``"B"`` are ``"BN"``."""
    return "".join(sorted({element for name in names for element in re.findall("[A-Z][a-z]*", name)}))


def resolve_layers(indices: Sequence[int], n_layers: int, what: str) -> np.ndarray:
    """Layer numbers from indices that may count from the top (negative).

    Raises
    ------
    InputError
        For a layer that does not exist.
    """
    wanted = np.array(indices, dtype=np.int64)
    bad = wanted[(wanted < -n_layers) | (wanted >= n_layers)]
    if len(bad):
        raise InputError(
            f"{what}: layer {bad[0]} does not exist, the structure has {n_layers} layers "
            f"({-n_layers} ... {n_layers - 1}); correct it"
        )
    return wanted % n_layers


def atoms_in_layers(snapshot: Snapshot, indices: Sequence[int], what: str) -> np.ndarray:
    """(N,) bool, atoms of the layers; empty for no indices.

    Raises
    ------
    InputError
        If the structure has no layers or a layer does not exist.
    """
    if not len(indices):
        return np.zeros(snapshot.n_atoms, dtype=bool)
    if snapshot.layers.min() < 0:
        raise InputError(f"{what}: the structure has no layers; give a region instead, or a `layer` array in the file")
    return np.isin(snapshot.layers, resolve_layers(indices, int(snapshot.layers.max()) + 1, what))


def atoms_in_groups(snapshot: Snapshot, groups: Sequence[int], what: str) -> np.ndarray:
    """(N,) bool, atoms of the structure's groups; empty for no groups.

    Raises
    ------
    InputError
        If no atom is in one of them.
    """
    present = np.unique(snapshot.groups)
    for group in groups:
        if group not in present:
            known = ", ".join(str(g) for g in present[:20] if g >= 0) or "none"
            raise InputError(f"{what}: no atom is in group {group}; the structure has {known}; correct it")
    return np.isin(snapshot.groups, list(groups))


def atoms_in_region(snapshot: Snapshot, axis: int, low: float, high: float) -> np.ndarray:
    """(N,) bool, atoms whose coordinate lies in [low, high), A."""
    coordinate = snapshot.positions[:, axis]
    return (coordinate >= low) & (coordinate < high)


def atoms_of_species(snapshot: Snapshot, elements: Sequence[str], what: str) -> np.ndarray:
    """(N,) bool, atoms of the elements.

    Raises
    ------
    InputError
        If no atom is of one of them.
    """
    absent = [e for e in elements if e not in snapshot.species]
    if absent:
        raise InputError(f"{what}: no atom is {absent[0]}; the structure has {', '.join(snapshot.species)}; correct it")
    return np.isin(snapshot.types, [snapshot.species.index(e) for e in elements])


def slabs(snapshot: Snapshot, axis: int, width: float) -> np.ndarray:
    """(N,) slab of each atom by its present coordinate; slabs of about `width` A, low to high, none empty.

    The first slab begins half a width below the lowest atom, so that crystal planes lie inside slabs. Materials without
    a common element that follow each other along the axis are divided each on its own: no slab holds both sides of an
    interface.

    Raises
    ------
    InputError
        If the width gives fewer than 4 or too many slabs.
    """
    coordinate = snapshot.positions[:, axis]
    part = _materials_along(coordinate, snapshot.types)
    index = np.zeros(snapshot.n_atoms, dtype=np.int64)
    total = 0
    for number in range(int(part.max()) + 1):
        inside = part == number
        low = float(coordinate[inside].min()) - 0.5 * width
        extent = float(np.ptp(coordinate[inside])) + width
        count = max(1, round(extent / width))
        index[inside] = total + np.minimum((coordinate[inside] - low) / extent * count, count - 1).astype(np.int64)
        total += count
    if not 4 <= total <= MAXIMUM_BLOCKS:
        raise InputError(
            f"nemd.bin_width_A: {width:g} A divides the structure ({float(np.ptp(coordinate)) + width:.1f} A) into "
            f"{total} slabs, expected 4 ... {MAXIMUM_BLOCKS}; change it"
        )
    return np.unique(index, return_inverse=True)[1]


def _materials_along(coordinate: np.ndarray, types: np.ndarray) -> np.ndarray:
    """(N,) number of the material along an axis: cuts where no element stands on both sides."""
    present = np.unique(types)
    low = np.array([coordinate[types == t].min() for t in present])
    high = np.array([coordinate[types == t].max() for t in present])
    order = np.argsort(low, kind="stable")
    reached = np.maximum.accumulate(high[order])
    part = np.zeros(int(present.max()) + 1, dtype=np.int64)
    part[present[order[1:]]] = np.cumsum(low[order[1:]] > reached[:-1])
    return part[types]
