"""From a [[stage]] table of a job to what moves the atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcthermo.dynamics.barostats import CellRescaling
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.minimize import Minimizer
from hpcthermo.dynamics.nose_hoover import NoseHooverChain
from hpcthermo.dynamics.ramp import Ramp
from hpcthermo.dynamics.relax import make_minimizer
from hpcthermo.dynamics.thermostats import Langevin, Thermostat, VelocityRescaling
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError

if TYPE_CHECKING:
    from hpcthermo.config.stage import NptStage, Stage, ThermostatStage

#: steps between removals of the momentum that thermostats and rounding leave behind
MOMENTUM_INTERVAL = 1000


def stage_integrator(stage: Stage, engine: Engine, seed: int, first_step: int) -> Integrator | Minimizer:
    """Integrator or minimiser of a stage (collective).

    Parameters
    ----------
    stage : Stage
        Model of the table.
    seed : int
    first_step : int
        Steps of the whole job before this stage; ramps begin there.
    """
    if stage.ensemble == "minimize":
        return make_minimizer(engine, **stage.minimizer_options)
    if stage.ensemble == "nve":
        return Integrator(engine, stage.timestep_fs)
    ramp = Ramp(*stage.temperature_ramp, first_step, first_step + stage.n_steps)
    thermostat = _THERMOSTATS[stage.ensemble](engine, stage, ramp, seed)
    barostat = _barostat(engine, stage, ramp, seed) if stage.ensemble == "npt" else None
    return Integrator(engine, stage.timestep_fs, (thermostat,), barostat, MOMENTUM_INTERVAL)


def _langevin(engine: Engine, stage: ThermostatStage, ramp: Ramp, seed: int) -> Thermostat:
    return Langevin(engine, ramp, stage.coupling_fs, seed)


def _nose_hoover(engine: Engine, stage: ThermostatStage, ramp: Ramp, seed: int) -> Thermostat:
    return NoseHooverChain(engine, ramp, stage.coupling_fs)


def _velocity_rescaling(engine: Engine, stage: ThermostatStage, ramp: Ramp, seed: int) -> Thermostat:
    return VelocityRescaling(engine, ramp, stage.coupling_fs, seed)


#: ensemble -> its thermostat
_THERMOSTATS: dict[str, Any] = {
    "langevin": _langevin,
    "nose_hoover": _nose_hoover,
    "velocity_rescaling": _velocity_rescaling,
    "npt": _velocity_rescaling,
}


def _barostat(engine: Engine, stage: NptStage, ramp: Ramp, seed: int) -> CellRescaling:
    return CellRescaling(engine, ramp, stage.pressures, stage.pressure_coupling_fs, seed, stage.bulk_modulus_GPa,
                         stage.free_components, stage.isotropic)


def start_velocities(stage: Stage, engine: Engine, seed: int, first_step: int) -> None:
    """Draw velocities at the first temperature of a stage if no atom moves yet (collective).

    Raises
    ------
    InputError
        If the stage gives no temperature.
    """
    if stage.ensemble == "minimize" or engine.kinetic_energy() > 0.0:
        return
    temperature = stage.temperature_K
    if temperature is None:
        raise InputError(f"stage {stage.name or stage.ensemble!r}: the atoms have no velocities; give temperature_K")
    start = temperature[0] if isinstance(temperature, tuple) else temperature
    draw_velocities(engine, start, seed, step=first_step)
