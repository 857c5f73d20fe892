"""From a [[stage]] table to the integrator that carries it out; one table row per ensemble."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpcthermo.config.stage import MinimizeStage, NptStage, Stage, ThermostatStage
from hpcthermo.dynamics.barostats import CellRescaling
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.minimize import Fire
from hpcthermo.dynamics.nose_hoover import NoseHooverChain
from hpcthermo.dynamics.ramp import Ramp
from hpcthermo.dynamics.thermostats import Langevin, Thermostat, VelocityRescaling

if TYPE_CHECKING:
    from hpcthermo.engine import Engine

ThermostatMaker = Callable[["Engine", ThermostatStage, Ramp, int], Thermostat]

#: ensemble -> its thermostat
THERMOSTATS: dict[str, ThermostatMaker] = {
    "langevin": lambda engine, stage, ramp, seed: Langevin(
        engine, ramp, stage.coupling_fs, seed, conserve_momentum=True, index=0),
    "nose_hoover": lambda engine, stage, ramp, seed: NoseHooverChain(engine, ramp, stage.coupling_fs),
    "velocity_rescaling": lambda engine, stage, ramp, seed: VelocityRescaling(engine, ramp, stage.coupling_fs, seed),
    "npt": lambda engine, stage, ramp, seed: VelocityRescaling(engine, ramp, stage.coupling_fs, seed),
}


def stage_integrator(engine: Engine, stage: Stage, seed: int, first_step: int) -> Any:
    """Integrator (or minimiser, which has the same face) of a stage.

    Parameters
    ----------
    seed : int
    first_step : int
        Steps of the whole job done before the stage; ramps and random numbers count from there.

    Returns
    -------
    Integrator or Fire
    """
    if isinstance(stage, MinimizeStage):
        return Fire(engine, stage.force_tolerance_eV_per_A)
    if not isinstance(stage, ThermostatStage):
        return Integrator(engine, stage.timestep_fs)
    start, end = stage.temperature_ramp
    ramp = Ramp(start, end, first_step, first_step + stage.n_steps)
    thermostat = THERMOSTATS[stage.ensemble](engine, stage, ramp, seed)
    barostat = None
    if isinstance(stage, NptStage):
        barostat = CellRescaling(
            engine, ramp, stage.pressures, stage.pressure_coupling_fs, seed, stage.bulk_modulus_GPa,
            tuple(stage.free_components), stage.isotropic)
    return Integrator(engine, stage.timestep_fs, (thermostat,), barostat)


def first_temperature(stages: tuple[Stage, ...]) -> float | None:
    """Temperature at which velocities are drawn before the first stage of molecular dynamics, K."""
    for stage in stages:
        if isinstance(stage, ThermostatStage):
            return stage.temperature_ramp[0]
        if not isinstance(stage, MinimizeStage):
            return stage.temperature_K
    return None


def stage_timestep(stage: Stage) -> float:
    """Time step in fs; that of a minimiser counts as 0."""
    return 0.0 if isinstance(stage, MinimizeStage) else stage.timestep_fs
