"""[structure]: a file, or a builder with its parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from hpcthermo.config.base import Angstrom, Boolean, Element, Section, Text

Repeat = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Fraction = Annotated[float, Field(ge=-1.0, le=1.0, strict=True)]


class FileStructure(Section):
    """Atoms from a structure file."""

    file: Text = Field(min_length=1)
    """Extended XYZ, POSCAR, LAMMPS data or another format of ASE; relative to the job file."""
    repeat: tuple[Repeat, Repeat, Repeat] = (1, 1, 1)
    """Copies along the three cell vectors."""
    species: tuple[Element, ...] | None = None
    """Elements of the atom types 1, 2, ... of a LAMMPS data file."""
    grouping_method: Annotated[int, Field(ge=0, le=1000, strict=True)] = 0
    """Column of the group array of a GPUMD model.xyz."""
    periodic: tuple[Boolean, Boolean, Boolean] | None = None
    """Periodic directions, instead of what the file says (POSCAR and LAMMPS data say nothing)."""


class LayerBlock(Section):
    """Consecutive layers of one material in rectangular four-atom cells."""

    material: Literal["graphene", "h-BN"]
    """Honeycomb material."""
    count: Annotated[int, Field(ge=1, le=100_000, strict=True)]
    """Number of layers."""
    repeat: tuple[Repeat, Repeat]
    """Rectangular cells along x (zigzag) and y (armchair)."""
    stacking: Literal["AA", "AA'", "AB", "ABC"] = "AB"
    """Order of the layers of this block."""
    offset: tuple[Fraction, Fraction] = (0.0, 0.0)
    """Shift of the block in fractions of its rectangular cell."""


class LayeredStack(Section):
    """Honeycomb layers piled up along z in one in-plane cell."""

    builder: Literal["layered_stack"]
    """Name of the builder."""
    layers: tuple[LayerBlock, ...] = Field(min_length=1, max_length=1000)
    """Blocks of layers, bottom first."""
    spacing_A: Annotated[float, Field(ge=0.5, le=100.0, strict=True)] = 3.35
    """Distance of neighbouring layers."""
    vacuum_A: Annotated[float, Field(ge=0.0, le=1e5, strict=True)] = 0.0
    """Empty height in total; z is then not periodic. 0 makes z periodic."""
    lattice: Literal["first", "mean"] | tuple[Angstrom, Angstrom] = "mean"
    """In-plane edges: of the first block, the mean over all layers, or two lengths in A."""


def _form(table: Any) -> str:
    """Which of the two forms a [structure] table has."""
    if isinstance(table, dict):
        return "structure builder" if "builder" in table else "structure file"
    return "structure builder" if isinstance(table, LayeredStack) else "structure file"


Structure = Annotated[
    Annotated[FileStructure, Tag("structure file")] | Annotated[LayeredStack, Tag("structure builder")],
    Discriminator(_form),
]

__all__ = ["FileStructure", "LayerBlock", "LayeredStack", "Structure"]
