"""Stacks of two-dimensional layers in one in-plane cell.

Blocks of layers are piled up along z. Each block brings its own number of cells, so materials with different lattice
constants meet in one cell: a block is strained by the ratio of the common edges to its own, which is small if the
numbers are chosen well (56 graphene to 55 h-BN cells). They may be found instead of given (`moire_repeats`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.limits import MAXIMUM_STRAIN
from hpcthermo.structure.materials import find_material
from hpcthermo.structure.moire import DEFAULT_MISMATCH, moire_repeats
from hpcthermo.structure.pile import Pile, PlacedSheet, check_atom_count, common_cell, pile_up
from hpcthermo.structure.sheet import Sheet, strain_and_rotation
from hpcthermo.structure.stacking import find_registry, find_sequence


@dataclass(frozen=True)
class LayerBlock:
    """Consecutive layers of one material.

    Attributes
    ----------
    material : str or Sheet
        Key of `MATERIALS`, or a two-dimensional crystal.
    count : int
        Number of layers.
    repeat : (int, int), optional
        Cells along both edges; found from the lattice constants if no block has it.
    stacking : str
        Key of `SEQUENCES`, from layer to layer of this block.
    offset : (float, float)
        Shift of the whole block in fractions of its repeated cell.
    registry : str, optional
        Key of `REGISTRIES`: how the first layer lies on the layer below it, at the corner of the cell. Without it the
        first layer is placed by `offset` alone.
    lattice_constant : float, optional
        Instead of that of the material, A.
    """

    material: str | Sheet
    count: int
    repeat: tuple[int, int] | None = None
    stacking: str = "AA"
    offset: tuple[float, float] = (0.0, 0.0)
    registry: str | None = None
    lattice_constant: float | None = None

    @property
    def sheet(self) -> Sheet:
        """The two-dimensional crystal."""
        sheet = find_material(self.material)
        return sheet if self.lattice_constant is None else sheet.with_lattice_constant(self.lattice_constant)


@dataclass(frozen=True)
class StackedLayers(Pile):
    """Atoms of a stack, bottom layer first.

    Attributes
    ----------
    strains : (blocks, 2) float64
        In-plane strain of each block along x and y.
    repeats : tuple of (int, int)
        Of each block.
    """

    strains: np.ndarray
    repeats: tuple[tuple[int, int], ...]


def build_layered_stack(
    blocks: Sequence[LayerBlock],
    spacing: float | Sequence[float] | None = None,
    vacuum: float = 0.0,
    lattice: str | float | tuple[float, float] = "mean",
    cell: str = "orthogonal",
    maximum_mismatch: float = DEFAULT_MISMATCH,
) -> StackedLayers:
    """Pile up blocks of layers along z.

    Parameters
    ----------
    blocks : sequence of LayerBlock
        Bottom block first.
    spacing : float, sequence or None
        Distance of the middle planes of neighbouring layers, A: for all gaps, for each, or from the bulk crystals.
    vacuum : float
        Empty height in total, half below and half above, A; z is then not periodic. 0 makes z periodic.
    lattice : "first", "second", "mean", "stiffness", fraction or (a, b)
        See `hpcthermo.structure.pile.common_cell`.
    cell : "orthogonal" or "primitive"
        What is repeated: the rectangular cell (x zigzag, y armchair), or the primitive one (hexagonal, 60 degrees).
    maximum_mismatch : float
        See `moire_repeats`.

    Raises
    ------
    InputError
        For no layers, more than `MAXIMUM_ATOMS` atoms, layers that overlap, or a strain beyond `MAXIMUM_STRAIN`.
    """
    blocks = _with_repeats(blocks, maximum_mismatch)
    sheets = _one_object_per_crystal([block.sheet for block in blocks])
    shapes = [sheet.cell_matrix(cell) for sheet in sheets]
    matrices = [np.diag(np.array(block.repeat)) @ shape for block, shape in zip(blocks, shapes, strict=True)]
    check_atom_count(sum(block.count * sheet.n_atoms * round(float(np.linalg.det(matrix)))
                         for block, sheet, matrix in zip(blocks, sheets, matrices, strict=True)))
    natural = [matrix @ sheet.lattice for matrix, sheet in zip(matrices, sheets, strict=True)]
    layer_of = [k for k, block in enumerate(blocks) for _ in range(block.count)]
    edges = common_cell([natural[k] for k in layer_of], lattice, [sheets[k] for k in layer_of])
    strains = np.array([np.diag(strain_and_rotation(own, edges)[0]) for own in natural])
    for block, sheet, strain in zip(blocks, sheets, strains, strict=True):
        if not np.all(np.abs(strain) <= MAXIMUM_STRAIN):
            assert block.repeat is not None
            raise InputError(
                f"structure: {sheet.name} {block.repeat[0]}x{block.repeat[1]} would be strained by "
                f"{100 * strain[0]:.1f}, {100 * strain[1]:.1f} % in the common cell "
                f"{np.linalg.norm(edges[0]):.3f} x {np.linalg.norm(edges[1]):.3f} A, limit "
                f"{100 * MAXIMUM_STRAIN:.0f} %; change repeat or lattice"
            )
    pile = pile_up(_placed_layers(blocks, sheets, shapes, matrices), edges, spacing, vacuum)
    return StackedLayers(pile.cell, pile.periodic, pile.symbols, pile.positions, pile.layers, strains,
                         tuple(block.repeat for block in blocks if block.repeat is not None))


def _placed_layers(blocks: Sequence[LayerBlock], sheets: Sequence[Sheet], shapes: Sequence[np.ndarray],
                   matrices: Sequence[np.ndarray]) -> list[PlacedSheet]:
    """Every layer with its shift, in fractions of its own lattice, and turned or not."""
    placed: list[PlacedSheet] = []
    turned, shift = False, np.zeros(2)
    for k, (block, sheet) in enumerate(zip(blocks, sheets, strict=True)):
        own = np.array(block.offset) @ shapes[k]
        if block.registry is not None and placed:
            registry = find_registry(block.registry, placed[-1].sheet, sheet)
            corner = shift @ np.linalg.inv(placed[-1].matrix) @ matrices[k]
            base, base_turned = corner + (-registry.shift if turned else registry.shift) + own, turned ^ registry.turned
        else:
            base, base_turned = own, False
        sequence = find_sequence(block.stacking, sheet)
        for number in range(block.count):
            step = sequence[number % len(sequence)]
            shift, turned = base + (-step.shift if base_turned else step.shift), base_turned ^ step.turned
            placed.append(PlacedSheet(sheet.turned() if turned else sheet, matrices[k], shift))
    return placed


def _with_repeats(blocks: Sequence[LayerBlock], maximum_mismatch: float) -> list[LayerBlock]:
    if not blocks:
        raise InputError("structure.layers: at least one block of layers is needed, got none; add [[structure.layers]]")
    for block in blocks:
        if block.count < 1 or (block.repeat is not None and min(block.repeat) < 1):
            raise InputError(
                f"structure.layers: count and repeat must be positive, got {block.count} and "
                f"{list(block.repeat or ())}; correct them"
            )
    given = [block.repeat is not None for block in blocks]
    if all(given):
        return list(blocks)
    if any(given):
        raise InputError("structure.layers: some blocks have repeat and some have not; give it for all, or for none to "
                         "have it found from the lattice constants")
    repeats = moire_repeats([float(np.linalg.norm(block.sheet.lattice[0])) for block in blocks], maximum_mismatch)
    return [replace(block, repeat=(n, n)) for block, n in zip(blocks, repeats, strict=True)]


def _one_object_per_crystal(sheets: list[Sheet]) -> list[Sheet]:
    """The same list, with one object for equal crystals: `common_cell` tells materials apart by identity."""
    kept: dict[tuple[str, bytes], Sheet] = {}
    return [kept.setdefault((sheet.name, sheet.lattice.tobytes()), sheet) for sheet in sheets]
