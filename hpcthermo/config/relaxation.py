"""How a structure is relaxed: algorithm, free cell components, tolerances."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hpcthermo.config.base import Boolean, Component, Gigapascal, Section, Steps

Axis = Literal["x", "y", "z"]
FreeCell = Annotated[tuple[Component, ...], Field(max_length=6)] | Literal["periodic"]


class Relaxation(Section):
    """Relaxation of atoms and cell."""

    algorithm: Literal["lbfgs", "fire"] = "lbfgs"
    """L-BFGS needs the fewest force calls; FIRE needs no energies."""
    force_tolerance_eV_per_A: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1e-3
    """Largest force on an atom at the end."""
    free_cell_components: FreeCell = ()
    """Cell components that relax, out of xx, yy, zz, yz, xz, xy; "periodic" frees all along periodic directions."""
    isotropic: Boolean = False
    """Scale all free axes by one factor."""
    pressure_GPa: Gigapascal = 0.0
    """Target of the free components."""
    stress_tolerance_GPa: Annotated[float, Field(gt=0.0, le=1e3, strict=True)] = 0.01
    """Largest deviation of a free stress component from the target at the end."""
    atom_axes: tuple[Axis, ...] = Field(default=("x", "y", "z"), min_length=1, max_length=3)
    """Directions along which atoms move; forces along others do not count."""
    steps: Steps = 10_000
    """Most force calls."""

    @property
    def minimizer_options(self) -> dict[str, Any]:
        """Arguments of `hpcthermo.dynamics.relax.make_minimizer`."""
        fields = {name: getattr(self, name) for name in Relaxation.model_fields if name != "steps"}
        return {**fields, "atom_axes": "".join(self.atom_axes)}


Magnitude = Annotated[float, Field(gt=0.0, le=0.1, strict=True)]
CellCount = Annotated[int, Field(ge=1, le=10_000, strict=True)]


class CrystalRelaxation(Relaxation):
    """Relaxation of a crystal with its cell, tight enough for lattice constants to 1e-4 A."""

    force_tolerance_eV_per_A: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1e-4
    """Largest force on an atom at the end."""
    free_cell_components: FreeCell = "periodic"
    """Cell components that relax; "periodic" frees all along periodic directions."""
    stress_tolerance_GPa: Annotated[float, Field(gt=0.0, le=1e3, strict=True)] = 1e-3
    """Largest deviation of a free stress component from the target at the end."""


class LatticeSection(CrystalRelaxation):
    """Relaxation, unit cells in the cell, and what the cohesive energy is counted from."""

    unit_cells: tuple[CellCount, CellCount, CellCount] = (1, 1, 1)
    """Unit cells along the cell vectors; lattice constants are those of one."""
    reference: Literal["zero", "free_atoms"] = "zero"
    """Cohesive energy against the zero of the potential, or against its energy of free atoms."""


class ElasticSection(CrystalRelaxation):
    """Relaxation, then strains of the relaxed crystal."""

    force_tolerance_eV_per_A: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1e-5
    """Largest force on an atom at the end, also of strained crystals."""
    strains: tuple[Magnitude, ...] = Field(default=(0.0025, 0.005, 0.01), min_length=1, max_length=20)
    """Magnitudes; each component is strained both ways by each."""
    clamped_ions: Boolean = False
    """Atoms follow the strain and do not relax."""
    thickness_A: Annotated[float, Field(gt=0.0, le=1e4, strict=True)] | None = None
    """Thickness of a two-dimensional crystal, for constants in GPa beside those in N/m."""

    @field_validator("strains")
    @classmethod
    def _different(cls, strains: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(strains)) < len(strains):
            raise ValueError("expected different magnitudes; remove the repeated ones")
        return tuple(sorted(strains))
