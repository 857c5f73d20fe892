"""How a structure is relaxed: algorithm, free cell components, tolerances."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hpcthermo.config.base import Boolean, Component, Gigapascal, Section, Steps

Axis = Literal["x", "y", "z"]


class Relaxation(Section):
    """Relaxation of atoms and cell."""

    algorithm: Literal["lbfgs", "fire"] = "lbfgs"
    """L-BFGS needs the fewest force calls; FIRE needs no energies."""
    force_tolerance_eV_per_A: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1e-3
    """Largest force on an atom at the end."""
    free_cell_components: tuple[Component, ...] | Literal["periodic"] = Field(default=(), max_length=6)
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
