"""[[stage]]: what happens before the experiment, in order; one model per kind of ensemble."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcthermo.config.base import (
    MAXIMUM_STEPS,
    Component,
    Femtoseconds,
    Gigapascal,
    Kelvin,
    Picoseconds,
    Section,
    Steps,
    Text,
    Timestep,
    count_steps,
)
from hpcthermo.config.relaxation import Relaxation

Temperature = Kelvin | tuple[Kelvin, Kelvin]


class TimedStage(Section):
    """A stage of molecular dynamics."""

    name: Text = ""
    """Free label; shown in progress and results."""
    duration_ps: Picoseconds | None = None
    """Length of the stage (or give steps)."""
    steps: Steps | None = None
    """Length of the stage in steps (or give duration_ps)."""
    timestep_fs: Timestep
    """Time step."""

    @model_validator(mode="after")
    def _one_length(self) -> Any:
        if (self.duration_ps is None) == (self.steps is None):
            raise ValueError("expected either duration_ps or steps; give exactly one of them")
        if self.n_steps > MAXIMUM_STEPS:
            raise ValueError(f"expected at most {MAXIMUM_STEPS:.0e} steps, got {self.n_steps:.3g}; shorten the stage")
        return self

    @property
    def n_steps(self) -> int:
        """Number of time steps."""
        return self.steps if self.steps is not None else count_steps(self.duration_ps or 0.0, self.timestep_fs)


class NveStage(TimedStage):
    """Constant energy."""

    ensemble: Literal["nve"]
    """Ensemble."""
    temperature_K: Kelvin | None = None
    """Velocities are drawn at this temperature if the atoms have none yet."""


class ThermostatStage(TimedStage):
    """Constant volume and temperature."""

    ensemble: Literal["langevin", "nose_hoover", "velocity_rescaling"]
    """Thermostat."""
    temperature_K: Temperature
    """Target, or [start, end] of a linear ramp."""
    coupling_fs: Femtoseconds = 100.0
    """Relaxation time of the thermostat."""

    @property
    def temperature_ramp(self) -> tuple[float, float]:
        """Targets in K at the start and the end of the stage."""
        return self.temperature_K if isinstance(self.temperature_K, tuple) else (self.temperature_K, self.temperature_K)


class NptStage(ThermostatStage):
    """Constant pressure and temperature: stochastic cell rescaling with stochastic velocity rescaling."""

    ensemble: Literal["npt"]  # type: ignore[assignment]
    """Ensemble."""
    pressure_GPa: Gigapascal | tuple[Gigapascal, Gigapascal, Gigapascal] = 0.0
    """Target, the same for all or [xx, yy, zz]."""
    pressure_coupling_fs: Femtoseconds = 1000.0
    """Relaxation time of the barostat."""
    free_components: tuple[Component, ...] = Field(default=("xx", "yy", "zz"), min_length=1, max_length=6)
    """Cell components that change; the others are held."""
    isotropic: Annotated[bool, Field(strict=True)] = False
    """Scale all free axes by one factor."""
    bulk_modulus_GPa: Annotated[float, Field(gt=0.0, le=1e5, strict=True)] = 100.0
    """Rough bulk modulus; only the relaxation time depends on it."""

    @property
    def pressures(self) -> tuple[float, float, float]:
        """Targets of xx, yy, zz in GPa."""
        return self.pressure_GPa if isinstance(self.pressure_GPa, tuple) else (self.pressure_GPa,) * 3


class MinimizeStage(Relaxation):
    """Relaxation before the stages that follow."""

    name: Text = ""
    """Free label; shown in progress and results."""
    ensemble: Literal["minimize"]
    """Ensemble."""

    @property
    def n_steps(self) -> int:
        """Most steps it can take."""
        return self.steps


Stage = Annotated[NveStage | ThermostatStage | NptStage | MinimizeStage, Field(discriminator="ensemble")]
