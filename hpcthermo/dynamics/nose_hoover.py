"""Nose-Hoover chain thermostat.

Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992), integrated as in Martyna, Tuckerman, Tobias, Klein,
Mol. Phys. 87, 1117 (1996), with Suzuki-Yoshida weights of fourth order:

    dv/dt   = F/m - eta_1 v
    deta_1  = (2 K - N_f k T) / Q_1 - eta_1 eta_2
    deta_j  = (Q_{j-1} eta_{j-1}^2 - k T) / Q_j - eta_j eta_{j+1}        Q_1 = N_f k T tau^2,  Q_j = k T tau^2

    conserved:  E + sum_j Q_j eta_j^2 / 2 + integral (N_f k T eta_1 + sum_{j>1} k T eta_j) dt
"""

from __future__ import annotations

import math

import numpy as np

from hpcthermo.dynamics.ramp import Ramp
from hpcthermo.dynamics.thermostats import State, _LedgerThermostat
from hpcthermo.engine import Engine
from hpcthermo.units import BOLTZMANN_EV_PER_K

_CHAIN_LENGTH = 4
_OUTER_WEIGHT = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
#: fractions of a half step, integrated one after the other
_SUZUKI_YOSHIDA_WEIGHTS = (_OUTER_WEIGHT, 1.0 - 2.0 * _OUTER_WEIGHT, _OUTER_WEIGHT)


class NoseHooverChain(_LedgerThermostat):
    """Deterministic thermostat with a chain of four variables; global or for some groups.

    Parameters
    ----------
    engine : Engine
    temperature_K : float or Ramp
    coupling_fs : float
        tau; the thermostat swings with a period of about 2 pi tau.
    groups : frozenset of int, optional
        Only atoms of these groups.
    name : str
    """

    def __init__(self, engine: Engine, temperature_K: float | Ramp, coupling_fs: float,
                 groups: frozenset[int] | None = None, name: str = "nose_hoover") -> None:
        super().__init__(engine, temperature_K, coupling_fs, groups, name)
        self._n_f = self.atoms.degrees_of_freedom
        # masses do not follow a ramp, so that the conserved quantity stays one
        thermal = BOLTZMANN_EV_PER_K * max(self.temperature.start, self.temperature.end)
        self._inertia = [thermal * self.coupling**2 * n for n in (self._n_f, *[1] * (_CHAIN_LENGTH - 1))]
        self._rates = [0.0] * _CHAIN_LENGTH
        self._heat = 0.0

    def half_step(self, engine: Engine, timestep: float, step: int, which: int) -> None:
        """Propagate the chain for half a time step and scale the velocities (collective)."""
        kinetic = self._kinetic_energy()
        thermal = self._thermal_energy(step, which)
        factor = 1.0
        for weight in _SUZUKI_YOSHIDA_WEIGHTS:
            factor *= self._propagate(0.5 * weight * timestep, factor * factor * kinetic, thermal)
        self._scale(factor, kinetic)

    def _propagate(self, h: float, kinetic: float, thermal: float) -> float:
        """Advance the chain by a time h at kinetic energy `kinetic`; factor for the velocities."""
        rates, last = self._rates, _CHAIN_LENGTH - 1
        for j in range(last, -1, -1):
            self._push(j, h, kinetic, thermal)
        factor = math.exp(-h * rates[0])
        self._heat += h * thermal * (self._n_f * rates[0] + sum(rates[1:]))
        kinetic *= factor * factor
        for j in range(last + 1):
            self._push(j, h, kinetic, thermal)
        return factor

    def _push(self, j: int, h: float, kinetic: float, thermal: float) -> None:
        """Half of the time h for eta_j, with the damping by eta_{j+1} split around the drive."""
        rates, inertia = self._rates, self._inertia
        drive = 2.0 * kinetic - self._n_f * thermal if j == 0 else inertia[j - 1] * rates[j - 1] ** 2 - thermal
        damping = math.exp(-0.25 * h * rates[j + 1]) if j + 1 < _CHAIN_LENGTH else 1.0
        rates[j] = (rates[j] * damping + 0.5 * h * drive / inertia[j]) * damping

    def conserved_share(self) -> float:
        """Energy of the chain, eV; the same on all ranks."""
        return self._heat + sum(0.5 * q * rate**2 for q, rate in zip(self._inertia, self._rates, strict=True))

    def state(self) -> State:
        """Ledger of this rank and the chain."""
        return {**super().state(), "rates": np.array(self._rates), "heat": np.array(self._heat)}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        super().restore(state)
        self._rates = [float(rate) for rate in state["rates"]]
        self._heat = float(state["heat"])
