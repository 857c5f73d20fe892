"""Velocity Verlet with thermostats around it and a barostat inside.

    thermostats, half a step
    v <- v + dt/2 F/m
    r <- r + dt v             (with a barostat, cell and atoms are deformed halfway)
    F <- forces(r)
    v <- v + dt/2 F/m
    thermostats in reverse order, half a step

Conserved: kinetic + potential energy + the shares of thermostats, barostat and momentum removal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcthermo.dynamics.atoms import AtomSelection
from hpcthermo.dynamics.barostats import CellRescaling
from hpcthermo.dynamics.ledger import Ledger
from hpcthermo.dynamics.thermostats import AFTER, BEFORE, Thermostat
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.units import TIME_FS

State = dict[str, np.ndarray]


class Integrator:
    """Moves the atoms of an engine.

    Parameters
    ----------
    engine : Engine
    timestep_fs : float
    thermostats : sequence of Thermostat
        With different names.
    barostat : CellRescaling, optional
    remove_momentum_interval : int
        Bring the centre of mass of the mobile atoms to rest every so many steps; 0 for never.

    Attributes
    ----------
    timestep : float
        Natural units.
    thermostats : tuple of Thermostat
    """

    def __init__(self, engine: Engine, timestep_fs: float, thermostats: Sequence[Thermostat] = (),
                 barostat: CellRescaling | None = None, remove_momentum_interval: int = 0) -> None:
        if not 0.0 < timestep_fs < 1e3:
            raise InputError(f"timestep_fs: expected a time above 0 fs, got {timestep_fs:g}; correct it")
        names = [thermostat.name for thermostat in thermostats]
        if len(set(names)) < len(names):
            raise InputError(f"thermostats: expected different names, got {', '.join(names)}")
        self.timestep = timestep_fs / TIME_FS
        self.thermostats = tuple(thermostats)
        self.barostat = barostat
        self.remove_momentum_interval = remove_momentum_interval
        self._mobile = AtomSelection(engine, what="structure")
        self._momentum_ledger = Ledger()
        self._inverse_masses: Any = None
        self._tags: Any = None
        self._comm = engine.comm

    def thermostat(self, name: str) -> Thermostat:
        """The thermostat with a name."""
        return next(thermostat for thermostat in self.thermostats if thermostat.name == name)

    def step(self, engine: Engine, step: int, virials: bool = False, flag: int = 0) -> int:
        """Advance by one time step (collective).

        Parameters
        ----------
        step : int
            Steps of the whole job done before this one.
        virials : bool
            Whether per-atom virials are wanted at the end of the step.
        flag : int
            A number of the caller, reduced for free.

        Returns
        -------
        int
            The largest flag of all ranks.
        """
        timestep = self.timestep
        for thermostat in self.thermostats:
            thermostat.half_step(engine, timestep, step, BEFORE)
        moves_cell = self.barostat is not None and self.barostat.begin(engine, step)
        if moves_cell and self.barostat is not None:
            self._kick(engine)
            self._drift(engine, 0.5 * timestep)
            self.barostat.move(engine, timestep, step)
            self._drift(engine, 0.5 * timestep)
        else:
            self._kick_drift(engine)
        flag = engine.compute(virials, flag)
        if moves_cell and self.barostat is not None:
            self.barostat.finish(engine)
        self._kick(engine)
        for thermostat in reversed(self.thermostats):
            thermostat.half_step(engine, timestep, step, AFTER)
        if self.remove_momentum_interval and (step + 1) % self.remove_momentum_interval == 0:
            self._momentum_ledger.add(self._mobile.remove_momentum())
        return flag

    def conserved(self, engine: Engine) -> float:
        """The conserved quantity, eV (collective)."""
        total = engine.kinetic_energy() + engine.potential_energy() - self._momentum_ledger.total(engine.comm)
        total += sum(thermostat.conserved_share() for thermostat in self.thermostats)
        return total + (self.barostat.conserved_share() if self.barostat is not None else 0.0)

    def state(self) -> State:
        """All that later steps depend on; keys that end in ``_share`` add up over ranks."""
        state = {"momentum/ledger_share": self._momentum_ledger.share}
        for thermostat in self.thermostats:
            state.update({f"thermostat/{thermostat.name}/{k}": v for k, v in thermostat.state().items()})
        if self.barostat is not None:
            state.update({f"barostat/{k}": v for k, v in self.barostat.state().items()})
        return state

    def restore(self, state: State) -> None:
        """Continue from `state`, made by an integrator with the same thermostats and barostat.

        Raises
        ------
        InputError
            If it was made by another.
        """
        parts = {f"thermostat/{thermostat.name}/": thermostat.restore for thermostat in self.thermostats}
        if self.barostat is not None:
            parts["barostat/"] = self.barostat.restore
        for prefix, restore in parts.items():
            part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if not part:
                raise InputError(f"checkpoint: it holds no state of {prefix.strip('/')!r}; "
                                 "resume with the job that wrote it")
            restore(part)
        self._momentum_ledger.share = state["momentum/ledger_share"]

    def _kick(self, engine: Engine) -> None:
        system = engine.system
        engine.backend.launch("integrate", "kick", 0, system.n_owned, 0.5 * self.timestep, system.forces,
                              self._inverse_masses_of(engine), system.velocities, per="thread")

    def _kick_drift(self, engine: Engine) -> None:
        system = engine.system
        engine.backend.launch("integrate", "kick_drift", 0, system.n_owned, self.timestep, system.forces,
                              self._inverse_masses_of(engine), system.velocities, system.positions, per="thread")

    def _drift(self, engine: Engine, timestep: float) -> None:
        system = engine.system
        engine.backend.launch("integrate", "drift", 0, system.n_owned, timestep, system.velocities, system.positions,
                              per="thread")

    def _inverse_masses_of(self, engine: Engine) -> Any:
        """Inverse masses by atom, 0 for frozen atoms, which also stand still."""
        system = engine.system
        if self._tags is system.tags:
            return self._inverse_masses
        # a rebuild gives the system new arrays
        xp, n = engine.backend.xp, system.n_owned
        self._tags = system.tags
        self._inverse_masses = xp.asarray(1.0 / system.masses)[system.types[:n]]
        if system.frozen_groups:
            frozen = xp.isin(system.groups[:n], xp.asarray(sorted(system.frozen_groups), dtype=np.int32))
            self._inverse_masses[frozen] = 0.0
            system.velocities[frozen] = 0.0
        return self._inverse_masses
