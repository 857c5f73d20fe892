"""Stacks of honeycomb layers in one in-plane cell.

Blocks of layers are piled up along z. Each block brings its own number n of rectangular cells, so materials with
different lattice constants meet in one cell of edges (A, B): a block is strained by A / (n_x a) - 1 along x and by
B / (n_y sqrt(3) a) - 1 along y, which is small if the numbers are chosen well (56 graphene to 55 h-BN cells).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.materials import (
    MATERIALS,
    RECTANGULAR_BASIS,
    RECTANGULAR_SUBLATTICE,
    STACKINGS,
    Honeycomb,
    Stacking,
)

#: about 1 GiB of atom state on one host
MAXIMUM_ATOMS = 8_000_000
#: a block strained more than this is a mistake in the repeats
MAXIMUM_STRAIN = 0.08


@dataclass(frozen=True)
class LayerBlock:
    """Consecutive layers of one material.

    Attributes
    ----------
    material : str
        Key of `MATERIALS`.
    count : int
        Number of layers.
    repeat : (int, int)
        Rectangular cells along x (zigzag) and y (armchair).
    stacking : str
        Key of `STACKINGS`, from layer to layer of this block.
    offset : (float, float)
        Shift of the whole block in fractions of its rectangular cell; sets the registry at an interface.
    """

    material: str
    count: int
    repeat: tuple[int, int]
    stacking: str = "AA"
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def crystal(self) -> Honeycomb:
        """Species and lattice constant."""
        if self.material not in MATERIALS:
            raise InputError(
                f"structure.layers: material must be one of {', '.join(MATERIALS)}, got {self.material!r}; correct it"
            )
        return MATERIALS[self.material]

    @property
    def order(self) -> Stacking:
        """Shifts and swaps of the layers."""
        if self.stacking not in STACKINGS:
            raise InputError(
                f"structure.layers: stacking must be one of {', '.join(STACKINGS)}, got {self.stacking!r}; correct it"
            )
        return STACKINGS[self.stacking]

    @property
    def natural_edges(self) -> np.ndarray:
        """(2,) edges of the repeated cell without strain, A."""
        a = self.crystal.lattice_constant
        return np.array([self.repeat[0] * a, self.repeat[1] * math.sqrt(3.0) * a])

    @property
    def atoms_per_layer(self) -> int:
        """Four per rectangular cell."""
        return 4 * self.repeat[0] * self.repeat[1]


@dataclass(frozen=True)
class StackedLayers:
    """Atoms of a stack, bottom layer first.

    Attributes
    ----------
    cell : (3, 3) float64, rows a, b, c, A
    periodic : (3,) bool
    symbols : (N,) str
    positions : (N, 3) float64, A
    layers : (N,) int32, 0 at the bottom
    strains : (blocks, 2) float64
        In-plane strain of each block.
    """

    cell: np.ndarray
    periodic: np.ndarray
    symbols: np.ndarray
    positions: np.ndarray
    layers: np.ndarray
    strains: np.ndarray


def common_edges(blocks: Sequence[LayerBlock], lattice: str | tuple[float, float]) -> np.ndarray:
    """In-plane edges shared by all blocks, A.

    Parameters
    ----------
    lattice : "first", "mean" or (a, b)
        Edges of the first block, the mean over all layers, or the two lengths themselves in A.
    """
    if not isinstance(lattice, str):
        return np.array(lattice, dtype=np.float64)
    if lattice == "first":
        return blocks[0].natural_edges
    if lattice == "mean":
        weights = np.array([block.count for block in blocks], dtype=np.float64)
        return np.average([block.natural_edges for block in blocks], axis=0, weights=weights)
    raise InputError(f"structure.lattice: expected 'first', 'mean' or [a, b] in A, got {lattice!r}; correct it")


def build_layered_stack(
    blocks: Sequence[LayerBlock],
    spacing: float,
    vacuum: float,
    lattice: str | tuple[float, float] = "mean",
) -> StackedLayers:
    """Pile up blocks of layers along z.

    Parameters
    ----------
    blocks : sequence of LayerBlock
        Bottom block first.
    spacing : float
        Distance of neighbouring layers, A.
    vacuum : float
        Empty height in total, half below and half above, A; z is then not periodic. 0 makes z periodic.
    lattice : "first", "mean" or (a, b)
        See `common_edges`.

    Raises
    ------
    InputError
        For no layers, more than `MAXIMUM_ATOMS` atoms, or a strain beyond `MAXIMUM_STRAIN`.
    """
    _check_counts(blocks, spacing, vacuum)
    edges = common_edges(blocks, lattice)
    strains = np.array([edges / block.natural_edges - 1.0 for block in blocks])
    for block, strain in zip(blocks, strains, strict=True):
        if not np.all(np.abs(strain) <= MAXIMUM_STRAIN):
            raise InputError(
                f"structure: {block.material} {block.repeat[0]}x{block.repeat[1]} would be strained by "
                f"{100 * strain[0]:.1f}, {100 * strain[1]:.1f} % in the common cell {edges[0]:.3f} x {edges[1]:.3f} "
                f"A, limit {100 * MAXIMUM_STRAIN:.0f} %; change repeat or lattice"
            )
    symbols, positions, layers = [], [], []
    n_layers = 0
    for block in blocks:
        for k in range(block.count):
            height = 0.5 * vacuum + n_layers * spacing
            names, xyz = _layer(block, k, edges, height)
            symbols.append(names)
            positions.append(xyz)
            layers.append(np.full(len(xyz), n_layers, dtype=np.int32))
            n_layers += 1
    height = n_layers * spacing if vacuum == 0.0 else (n_layers - 1) * spacing + vacuum
    return StackedLayers(
        cell=np.diag([edges[0], edges[1], height]),
        periodic=np.array([True, True, vacuum == 0.0]),
        symbols=np.concatenate(symbols),
        positions=np.concatenate(positions),
        layers=np.concatenate(layers),
        strains=strains,
    )


def _layer(block: LayerBlock, k: int, edges: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and positions of layer k of a block."""
    order = block.order
    n_x, n_y = block.repeat
    shift = np.array([block.offset[0], block.offset[1] + order.shifts[k % len(order.shifts)]])
    corners = np.stack(np.meshgrid(np.arange(n_x), np.arange(n_y), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    fractional = (corners + RECTANGULAR_BASIS + shift).reshape(-1, 2) / (n_x, n_y) % 1.0
    species = block.crystal.species[::-1] if order.swaps[k % len(order.swaps)] else block.crystal.species
    names = np.tile(np.array(species)[RECTANGULAR_SUBLATTICE], n_x * n_y)
    return names, np.column_stack([fractional * edges, np.full(len(fractional), height)])


def _check_counts(blocks: Sequence[LayerBlock], spacing: float, vacuum: float) -> None:
    if not blocks:
        raise InputError("structure.layers: at least one block of layers is needed, got none; add [[structure.layers]]")
    for block in blocks:
        if block.count < 1 or min(block.repeat) < 1:
            raise InputError(
                f"structure.layers: count and repeat must be positive, got {block.count} and {list(block.repeat)}; "
                "correct them"
            )
    n_atoms = sum(block.count * block.atoms_per_layer for block in blocks)
    if n_atoms > MAXIMUM_ATOMS:
        raise InputError(f"structure: {n_atoms} atoms asked for, limit {MAXIMUM_ATOMS}; reduce count or repeat")
    if not (0.5 <= spacing <= 100.0 and 0.0 <= vacuum <= 1e5):
        raise InputError(
            f"structure: spacing_A must lie in 0.5 ... 100 and vacuum_A in 0 ... 1e5, got {spacing} and {vacuum}; "
            "correct them"
        )
