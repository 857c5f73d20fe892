"""Thermostats: half steps on the velocities before and after the force call of a velocity Verlet step.

Symbols: K kinetic energy of the thermostat's atoms, N_f their degrees of freedom, T target, tau coupling time,
dt time step, xi, R standard normals.

Every thermostat keeps a ledger, the sum of the kinetic-energy changes it has made (eV, positive into the atoms).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from hpcthermo.dynamics.atoms import AtomSelection
from hpcthermo.dynamics.ledger import Ledger
from hpcthermo.dynamics.ramp import Ramp, positive_temperature
from hpcthermo.dynamics.random import Purpose, RandomSequence, atom_normals, stream_number
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.units import BOLTZMANN_EV_PER_K, TIME_FS

State = dict[str, np.ndarray]
#: which half of a step: before or after the force call
BEFORE, AFTER = 0, 1


class Thermostat(Protocol):
    """What the integrator asks of a thermostat.

    Attributes
    ----------
    name : str
        "source", "sink", or whatever distinguishes it from others.
    """

    name: str

    def half_step(self, engine: Engine, timestep: float, step: int, which: int) -> None:
        """Act on the velocities for half a time step (collective).

        Parameters
        ----------
        timestep : float
            Whole time step, natural units.
        step : int
            Steps of the whole job done before this one.
        which : int
            `BEFORE` or `AFTER` the force call.
        """

    @property
    def ledger(self) -> float:
        """Energy given to the atoms so far, eV (collective)."""

    def conserved_share(self) -> float:
        """What to add to the energy of the atoms for the conserved quantity, eV (collective)."""

    def state(self) -> State:
        """All that later steps depend on; keys that end in ``_share`` add up over ranks."""

    def restore(self, state: State) -> None:
        """Continue from `state`."""


def _coupling(coupling_fs: float, what: str) -> float:
    if not (math.isfinite(coupling_fs) and coupling_fs > 0.0):
        raise InputError(f"{what}: coupling_fs: expected a time above 0 fs, got {coupling_fs:g}; correct it")
    return coupling_fs / TIME_FS


class _LedgerThermostat:
    """Name, atoms, target, coupling time and ledger, common to all thermostats."""

    def __init__(self, engine: Engine, temperature_K: float | Ramp, coupling_fs: float,
                 groups: frozenset[int] | None, name: str) -> None:
        self.name = name
        self.atoms = AtomSelection(engine, groups, name)
        self.temperature = positive_temperature(temperature_K, name)
        self.coupling = _coupling(coupling_fs, name)
        self._comm = engine.comm
        self._ledger = Ledger()

    @property
    def ledger(self) -> float:
        """Energy given to the atoms so far, eV (collective)."""
        return self._ledger.total(self._comm)

    def conserved_share(self) -> float:
        """Minus the ledger, eV (collective)."""
        return -self.ledger

    def state(self) -> State:
        """Ledger of this rank."""
        return {"ledger_share": self._ledger.share}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._ledger.share = state["ledger_share"]

    def _thermal_energy(self, step: int, which: int) -> float:
        """Thermal energy k T at the end of this half of the step, eV."""
        return BOLTZMANN_EV_PER_K * self.temperature.at(step + which)

    def _kinetic_energy(self) -> float:
        kinetic = self.atoms.kinetic_energy()
        if not 0.0 < kinetic < math.inf:
            raise PhysicsError(f"{self.name}: the kinetic energy of its atoms is {kinetic:g} eV, and a thermostat that "
                               "scales velocities needs moving atoms; draw velocities first, or reduce the timestep")
        return kinetic

    def _scale(self, factor: float, kinetic: float) -> None:
        """Multiply the velocities and book the change on one rank for all."""
        self.atoms.scale_velocities(factor)
        if self._comm.rank == 0:
            self._ledger.add((factor - 1.0) * (factor + 1.0) * kinetic)


class Langevin(_LedgerThermostat):
    """Friction and noise on every atom; global or for some groups.

    v <- c v + sqrt((1 - c^2) k T / m) xi,  c = exp(-dt / (2 tau)), before and after the force call (the scheme
    O V R V O; Bussi and Parrinello, Phys. Rev. E 75, 056707 (2007)). The noise depends on seed, step and atom tag only.

    Parameters
    ----------
    engine : Engine
    temperature_K : float or Ramp
    coupling_fs : float
        Relaxation time tau of the velocities, 1 / friction.
    seed : int
    groups : frozenset of int, optional
        Only atoms of these groups.
    conserve_momentum : bool
        Take the mean kick away, dv <- dv - sum m dv / sum m, so that the bath does not push its atoms as a whole
        (one more reduction per half step).
    index : int
        Different for each Langevin thermostat of a run.
    name : str
    """

    def __init__(self, engine: Engine, temperature_K: float | Ramp, coupling_fs: float, seed: int,
                 groups: frozenset[int] | None = None, conserve_momentum: bool = False, index: int = 0,
                 name: str = "langevin") -> None:
        super().__init__(engine, temperature_K, coupling_fs, groups, name)
        self.seed = seed
        self.conserve_momentum = conserve_momentum
        self.index = index
        self._normals: Any = engine.backend.xp.empty((4, 0))
        self._noise: tuple[float, float, Any] = (-1.0, -1.0, None)

    def half_step(self, engine: Engine, timestep: float, step: int, which: int) -> None:
        """Friction and noise of half a time step (collective if momentum is conserved)."""
        atoms = self.atoms
        atoms.refresh()
        keep = math.exp(-0.5 * timestep / self.coupling)
        if self._normals.shape[1] != atoms.count:
            self._normals = engine.backend.xp.empty((4, atoms.count))
        stream = stream_number(Purpose.LANGEVIN, self.index, which)
        atom_normals(engine, atoms.rows, atoms.count, self.seed, step, stream, self._normals)
        amplitudes = self._amplitudes(engine, keep, self._thermal_energy(step, which))
        sums = atoms.launch_sums("langevin", "langevin_kick", 4, amplitudes, keep, self._normals,
                                 engine.system.velocities)
        self._ledger.add(float(sums[3]))
        if self.conserve_momentum:
            self._ledger.add(atoms.shift_velocities(-engine.comm.allreduce_sum(sums[:3]) / atoms.mass))

    def _amplitudes(self, engine: Engine, keep: float, thermal_energy: float) -> Any:
        """sqrt((1 - c^2) k T / m) by type, made again when the target changes."""
        if self._noise[:2] != (keep, thermal_energy):
            amplitudes = np.sqrt(-math.expm1(2.0 * math.log(keep)) * thermal_energy / engine.system.masses)
            self._noise = (keep, thermal_energy, engine.backend.xp.asarray(amplitudes))
        return self._noise[2]


class VelocityRescaling(_LedgerThermostat):
    """Stochastic velocity rescaling (Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007)).

    Once per step, after the force call, v <- alpha v with

        alpha^2 = c + (1 - c) q sum_{i=1}^{N_f} R_i^2 + 2 R_1 sqrt(c (1 - c) q)
        q = k T / (2 K),  c = exp(-dt / tau)

    Parameters
    ----------
    engine, temperature_K, coupling_fs, seed, groups, index, name
        As for `Langevin`; tau is the relaxation time of the kinetic energy.
    """

    def __init__(self, engine: Engine, temperature_K: float | Ramp, coupling_fs: float, seed: int,
                 groups: frozenset[int] | None = None, index: int = 0, name: str = "velocity_rescaling") -> None:
        super().__init__(engine, temperature_K, coupling_fs, groups, name)
        self.seed = seed
        self.index = index

    def half_step(self, engine: Engine, timestep: float, step: int, which: int) -> None:
        """Rescale for the whole step after the force call (collective)."""
        if which == BEFORE:
            return
        kinetic = self._kinetic_energy()
        numbers = RandomSequence(self.seed, step, stream_number(Purpose.RESCALING, self.index))
        first = numbers.normal()
        squares = first * first + numbers.sum_of_squares(self.atoms.degrees_of_freedom - 1)
        c = math.exp(-timestep / self.coupling)
        q = self._thermal_energy(step, which) / (2.0 * kinetic)
        alpha_squared = c + (1.0 - c) * q * squares + 2.0 * first * math.sqrt(c * (1.0 - c) * q)
        self._scale(math.sqrt(max(alpha_squared, 0.0)), kinetic)
