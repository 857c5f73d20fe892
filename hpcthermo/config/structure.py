"""[structure]: a file, or a builder with its parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from hpcthermo.config.base import Angstrom, Boolean, Element, Section, Text
from hpcthermo.config.perturbation import Perturbations

Repeat = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Fraction = Annotated[float, Field(ge=-1.0, le=1.0, strict=True)]
Share = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
Spacing = Annotated[float, Field(ge=0.5, le=100.0, strict=True)]
Vacuum = Annotated[float, Field(ge=0.0, le=1e5, strict=True)]
Degrees = Annotated[float, Field(ge=-180.0, le=180.0, strict=True)]
StrainPercent = Annotated[float, Field(gt=0.0, le=8.0, strict=True)]
Area = Annotated[float, Field(gt=0.0, le=5000.0, strict=True)]
LatticeConstant = Annotated[float, Field(ge=1.0, le=100.0, strict=True)]
MillerIndex = Annotated[int, Field(ge=-9, le=9, strict=True)]
FileName = Annotated[Text, Field(min_length=1)]
Material = Literal["graphene", "h-BN", "MoS2", "WS2", "WSe2", "MoSe2"]
CrystalName = Literal["Si", "Ge", "diamond", "GaAs", "Al", "Cu", "Ag", "Au", "Ni", "Pt", "Fe", "W", "NaCl", "MgO",
                      "PbTe", "CaF2", "ThO2"]
RegistryName = Literal["AA", "AA'", "AB", "BA", "AB'", "A'B", "DW", "DW'"]
StackingName = Literal["AA", "AA'", "AB", "BA", "AB'", "A'B", "DW", "DW'", "ABC"]
SharedStrain = Literal["first", "second", "mean", "stiffness"] | Share


def _in_order(angles: tuple[float, float]) -> tuple[float, float]:
    if angles[0] > angles[1]:
        raise ValueError("expected a list [low, high] with low <= high")
    return angles


Angle = Degrees | Annotated[tuple[Degrees, Degrees], AfterValidator(_in_order)] | Literal["any"]
CellShape = Literal["orthogonal", "hexagonal"]


class _Structure(Section):
    """What all forms of the table have."""

    perturbation: Perturbations = ()
    """What makes several frames of this structure, one after the other."""


class FileStructure(_Structure):
    """Atoms from a structure file."""

    file: FileName
    """Extended XYZ, POSCAR, LAMMPS data or another format of ASE; relative to the job file."""
    repeat: tuple[Repeat, Repeat, Repeat] = (1, 1, 1)
    """Copies along the three cell vectors."""
    species: tuple[Element, ...] | None = None
    """Elements of the atom types 1, 2, ... of a LAMMPS data file."""
    grouping_method: Annotated[int, Field(ge=0, le=1000, strict=True)] = 0
    """Column of the group array of a GPUMD model.xyz."""
    periodic: tuple[Boolean, Boolean, Boolean] | None = None
    """Periodic directions, instead of what the file says (POSCAR and LAMMPS data say nothing)."""


class _Builder(_Structure):
    """What all builders have."""

    pbc: tuple[Boolean, Boolean, Boolean] | None = None
    """Which axes must be periodic; the structure is refused if it is not so."""


class _Sheet(Section):
    """A two-dimensional crystal."""

    material: Material | None = None
    """Its name."""
    file: FileName | None = None
    """Instead: a structure file with one cell of one layer in the xy plane."""
    lattice_constant_A: LatticeConstant | None = None
    """Length of the first lattice vector instead of that of the material or file."""

    @model_validator(mode="after")
    def _one_source(self) -> Any:
        if (self.material is None) == (self.file is None):
            raise ValueError("expected either material (a name) or file (the cell of a layer); give one of them")
        return self


class LayerBlock(_Sheet):
    """Consecutive layers of one material."""

    count: Annotated[int, Field(ge=1, le=100_000, strict=True)]
    """Number of layers."""
    repeat: tuple[Repeat, Repeat] | None = None
    """Cells along both edges (orthogonal: x zigzag, y armchair); found from the lattice constants if no block has
    it."""
    stacking: StackingName = "AB"
    """Order of the layers of this block."""
    offset: tuple[Fraction, Fraction] = (0.0, 0.0)
    """Shift of the block in fractions of its repeated cell."""
    registry: RegistryName | None = None
    """How the block lies on the layer below, at the corner of the cell; without it, offset alone places it."""


class LayeredStack(_Builder):
    """Two-dimensional layers piled up along z in one in-plane cell."""

    builder: Literal["layered_stack"]
    """Name of the builder."""
    layers: tuple[LayerBlock, ...] = Field(min_length=1, max_length=1000)
    """Blocks of layers, bottom first."""
    spacing_A: Spacing | Annotated[tuple[Spacing, ...], Field(min_length=1, max_length=100_000)] | None = None
    """Distance of the middle planes of neighbouring layers: one, one for each gap, or by default from the materials."""
    vacuum_A: Vacuum = 0.0
    """Empty height in total; z is then not periodic. 0 makes z periodic."""
    lattice: SharedStrain | tuple[Angstrom, Angstrom] = "mean"
    """Common in-plane edges: of the first or second material, the mean over all layers, weighted by stiffness, a
    fraction of the way from first to second, or two lengths in A."""
    cell: CellShape = "orthogonal"
    """What is repeated: the rectangular cell (4 atoms of a honeycomb) or the hexagonal one (2 atoms)."""
    maximum_mismatch_percent: Annotated[float, Field(gt=0.0, le=10.0, strict=True)] = 0.05
    """How well repeats must agree that are found."""


class _Bilayer(_Builder):
    """What builders of two layers have."""

    registry: RegistryName = "AA"
    """How the upper layer lies on the lower one at the corner of the cell, before it is turned."""
    lattice: SharedStrain = "mean"
    """Who bears the strain: the common cell is that of the first or second layer, the mean, weighted by stiffness, or a
    fraction of the way from first to second."""
    repeat: tuple[Repeat, Repeat] = (1, 1)
    """Copies of the common cell."""
    spacing_A: Spacing | None = None
    """Distance of the middle planes; by default from the materials."""
    vacuum_A: Vacuum = 20.0
    """Empty height in total; z is then not periodic. 0 makes z periodic."""


class TwistedBilayer(_Bilayer):
    """Two layers turned by a commensurate angle."""

    builder: Literal["twisted_bilayer"]
    """Name of the builder."""
    materials: tuple[Material | _Sheet, ...] = Field(min_length=1, max_length=2)
    """One for both layers, or lower and upper; hexagonal."""
    angle_deg: Annotated[float, Field(gt=0.0, lt=60.0, strict=True)] | None = None
    """Twist; `hpcthermo build --angles LOW HIGH` lists those that are commensurate."""
    indices: tuple[Annotated[int, Field(ge=1, le=10_000, strict=True)],
                   Annotated[int, Field(ge=1, le=10_000, strict=True)]] | None = None
    """Instead: m and n, coprime, m < n."""
    angle_tolerance_deg: Annotated[float, Field(gt=0.0, le=5.0, strict=True)] = 0.005
    """How far the commensurate angle may be from the one asked for; the smallest cell within is taken."""
    maximum_atoms: Annotated[int, Field(ge=4, le=8_000_000, strict=True)] = 100_000
    """Largest common cell to look for, counted in atoms of two honeycomb layers."""
    cell: CellShape = "hexagonal"
    """The hexagonal common cell, or the rectangular one of twice the size."""

    @model_validator(mode="after")
    def _one_twist(self) -> Any:
        if (self.angle_deg is None) == (self.indices is None):
            raise ValueError("expected either angle_deg or indices; give one of them")
        return self


class Heterobilayer(_Bilayer):
    """Two different layers in the smallest cell that strains them little."""

    builder: Literal["heterobilayer"]
    """Name of the builder."""
    materials: tuple[Material | _Sheet, Material | _Sheet]
    """Lower and upper layer."""
    angle_deg: Angle = 0.0
    """Of the upper layer: one angle (to 0.05 degrees), a range, or "any"."""
    maximum_strain_percent: StrainPercent = 1.0
    """Largest strain of one layer against the other."""
    maximum_area_A2: Area = 1000.0
    """Largest common cell to look for."""


class DomainTable(_Sheet):
    """A strip of one material."""

    cells: Repeat
    """Rectangular cells across the seam."""


class LateralHeterostructure(_Builder):
    """Honeycomb materials side by side in one plane."""

    builder: Literal["lateral"]
    """Name of the builder."""
    domains: tuple[DomainTable, ...] = Field(min_length=2, max_length=1000)
    """Strips in order: along y for zigzag seams, along x for armchair seams."""
    width: Repeat
    """Rectangular cells along the seam."""
    seam: Literal["zigzag", "armchair"] = "zigzag"
    """Direction of the seams."""
    periodic: Boolean = True
    """Whether the last domain joins the first one."""
    lattice: SharedStrain = "mean"
    """Lattice constant along the seam."""
    vacuum_A: Angstrom = 20.0
    """Empty height above and below in total, and beside the domains if not periodic."""


class _Crystal(Section):
    """A three-dimensional crystal."""

    crystal: CrystalName | None = None
    """Its name."""
    file: FileName | None = None
    """Instead: a structure file with its cell."""
    lattice_constant_A: LatticeConstant | None = None
    """Of the cubic cell, instead of the one in the table of crystals."""
    cell: Literal["conventional", "primitive"] = "conventional"
    """Cubic or primitive cell of a crystal with a name; Miller indices refer to the cubic one in any case."""

    @model_validator(mode="after")
    def _one_source(self) -> Any:
        if (self.crystal is None) == (self.file is None):
            raise ValueError("expected either crystal (a name) or file (its cell); give one of them")
        if self.file is not None and (self.lattice_constant_A is not None or self.cell == "primitive"):
            raise ValueError("lattice_constant_A and cell belong to a crystal with a name; remove them beside file")
        return self


class CrystalStructure(_Builder, _Crystal):
    """A periodic crystal."""

    builder: Literal["crystal"]
    """Name of the builder."""
    repeat: tuple[Repeat, Repeat, Repeat] = (1, 1, 1)
    """Copies along the three cell vectors."""


class InterfaceSide(_Crystal):
    """One side of an interface."""

    miller: tuple[MillerIndex, MillerIndex, MillerIndex] = (0, 0, 1)
    """Of the interface plane."""
    length_A: Angstrom | Annotated[tuple[Angstrom, ...], Field(min_length=1, max_length=1000)]
    """Thickness, rounded to whole cells; a list gives a series of structures."""


class InterfaceStructure(_Builder):
    """Two crystals on each other, in the smallest cell that strains them little."""

    builder: Literal["interface"]
    """Name of the builder."""
    lower: InterfaceSide
    """Crystal below the interface."""
    upper: InterfaceSide
    """Crystal above it."""
    gap_A: Spacing | None = None
    """Distance of the outermost planes; by default the mean of what continues either crystal."""
    vacuum_A: Vacuum = 20.0
    """Empty height in total; z is then not periodic. 0 makes z periodic, with a second interface."""
    angle_deg: Angle = 0.0
    """Of the upper crystal about the normal: one angle (to 0.05 degrees), a range, or "any"."""
    maximum_strain_percent: StrainPercent = 1.0
    """Largest strain of one side against the other."""
    maximum_area_A2: Area = 1000.0
    """Largest common cell to look for."""
    lattice: Literal["first", "second", "mean"] | Share = "mean"
    """Who bears the strain: the common cell is that of the lower or upper crystal, the mean, or a fraction between."""
    repeat: tuple[Repeat, Repeat] = (1, 1)
    """Copies of the common cell."""
    frozen_A: Annotated[float, Field(ge=0.0, le=1e5, strict=True)] = 0.0
    """Thickness of the frozen ends: groups 0 and 5."""
    bath_A: Annotated[float, Field(ge=0.0, le=1e5, strict=True)] = 0.0
    """Thickness of the baths next to them: groups 1 and 4."""


_BUILDERS = ("layered_stack", "twisted_bilayer", "heterobilayer", "lateral", "crystal", "interface")


def _form(table: Any) -> str | None:
    """Which of the forms a [structure] table has; none for an unknown builder."""
    name = table.get("builder", "file") if isinstance(table, dict) else getattr(table, "builder", "file")
    return f"structure {name}" if isinstance(name, str) and name in ("file", *_BUILDERS) else None


Structure = Annotated[
    Annotated[FileStructure, Tag("structure file")]
    | Annotated[LayeredStack, Tag("structure layered_stack")]
    | Annotated[TwistedBilayer, Tag("structure twisted_bilayer")]
    | Annotated[Heterobilayer, Tag("structure heterobilayer")]
    | Annotated[LateralHeterostructure, Tag("structure lateral")]
    | Annotated[CrystalStructure, Tag("structure crystal")]
    | Annotated[InterfaceStructure, Tag("structure interface")],
    Discriminator(_form, custom_error_type="structure_form",
                  custom_error_message=f"one of {', '.join(_BUILDERS)} (or file in place of builder)"),
]


class StructureJob(Section):
    """A file for `hpcthermo build` that holds a structure and nothing else."""

    title: Text = ""
    """Free text."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 1
    """Seed of all random numbers."""
    structure: Structure
    """Where the atoms come from."""


__all__ = ["FileStructure", "LayerBlock", "LayeredStack", "Structure", "StructureJob"]
