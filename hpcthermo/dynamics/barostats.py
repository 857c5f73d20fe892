"""Stochastic cell rescaling with every cell component free or held.

Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020); del Tatto, Raiteri, Bernetti, Bussi, Appl. Sci. 12, 1139 (2022).
The cell, positions and velocities follow a strain e, M = exp(e), with row vectors

    C <- C M      r <- r M      v <- v M^-T

Each free component (a, b) of e obeys overdamped Langevin dynamics with the diffusion constant D = B k T / (3 V tau):

    e_ab = (B dt / (3 tau)) (P_ab - P0_ab) + sqrt(2 B k T dt / (3 V tau)) xi_ab
    P    = (sum m v (x) v + W) / V

B is the compressibility, tau the relaxation time, W the virial. In these logarithmic strains the terms k T / V of the
measure dV and of the V-dependent D cancel. Off-diagonal components shear along a as b grows (e_ba, a < b), so a
lower-triangular cell stays one. In isotropic mode one variable moves all free axes by the same factor.

The barostat's ledger is the energy it has given to the atoms: the exact change of the kinetic energy, and the work
-(W(t) + W(t + dt)) : e / 2 on the potential energy, which needs no further force call.
"""

from __future__ import annotations

import math

import numpy as np

from hpcthermo.dynamics.atoms import AtomSelection
from hpcthermo.dynamics.cell import deform, exponential, free_to_change, open_length, volume
from hpcthermo.dynamics.ledger import Ledger
from hpcthermo.dynamics.ramp import Ramp, positive_temperature
from hpcthermo.dynamics.random import Purpose, RandomSequence, stream_number
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.tensors import COMPONENTS
from hpcthermo.units import BOLTZMANN_EV_PER_K, PRESSURE_GPA, TIME_FS

State = dict[str, np.ndarray]
#: strain of one move beyond which the cell is not followed but blown up
_LARGEST_STRAIN = 0.02

Pressure = float | Ramp


class CellRescaling:
    """Barostat by stochastic cell rescaling.

    Parameters
    ----------
    engine : Engine
    temperature_K : float or Ramp
        Temperature of the thermostat beside it.
    pressure_GPa : float, Ramp or sequence of three of them
        Target, the same for xx, yy and zz or for each; 0 for shear components.
    coupling_fs : float
        Relaxation time.
    seed : int
    bulk_modulus_GPa : float
        1 / B; only the relaxation time depends on it.
    free_components : tuple of str
        Out of xx, yy, zz, yz, xz, xy. Components along directions that are not periodic are held whatever is given.
    isotropic : bool
        One factor for all free axes.
    interval : int
        Steps between moves; a move stands for that many steps.

    Attributes
    ----------
    free : tuple of str
        Components that change.

    Raises
    ------
    InputError
        If nothing is free to change, or a value makes no sense.
    """

    def __init__(self, engine: Engine, temperature_K: float | Ramp,
                 pressure_GPa: Pressure | tuple[Pressure, Pressure, Pressure], coupling_fs: float, seed: int,
                 bulk_modulus_GPa: float = 100.0, free_components: tuple[str, ...] = ("xx", "yy", "zz"),
                 isotropic: bool = False, interval: int = 4) -> None:
        if coupling_fs <= 0.0 or bulk_modulus_GPa <= 0.0 or interval < 1:
            raise InputError("npt: expected a coupling time, bulk modulus and interval above 0, got "
                             f"{coupling_fs:g} fs, {bulk_modulus_GPa:g} GPa and {interval}; correct them")
        self.temperature = positive_temperature(temperature_K, "npt")
        targets = pressure_GPa if isinstance(pressure_GPa, tuple) else (pressure_GPa,) * 3
        self.pressures = tuple(Ramp.of(target) for target in targets)
        self.coupling = coupling_fs / TIME_FS
        self.compressibility = PRESSURE_GPA / bulk_modulus_GPa
        self.seed, self.isotropic, self.interval = seed, isotropic, interval
        self.free = free_to_change(free_components, engine.system.cell, engine.system.periodic, isotropic)
        self._atoms = AtomSelection(engine)
        self._comm = engine.comm
        self._open_length = open_length(engine)
        self._ledger = Ledger()
        self._stress_energy = np.zeros((3, 3))
        self._virial = np.zeros((3, 3))
        self._strain: np.ndarray | None = None

    # ---- one step --------------------------------------------------------------------------------

    def begin(self, engine: Engine, step: int) -> bool:
        """Before anything moves: measure if this step moves the cell (collective); whether it does."""
        if step % self.interval != 0:
            return False
        self._atoms.refresh()
        local = self._atoms.launch_sums("integrate", "kinetic_tensor", 9, engine.system.velocities).reshape(3, 3)
        self._virial = engine.virial_total()
        self._stress_energy = engine.comm.allreduce_sum(np.ascontiguousarray(local)) + self._virial
        return True

    def move(self, engine: Engine, timestep: float, step: int) -> None:
        """Deform cell, positions and velocities, halfway through the drift."""
        strain = self._draw_strain(engine, timestep * self.interval, step)
        deform(engine, exponential(strain))
        inverse = np.ascontiguousarray(exponential(-strain).T)
        change = self._atoms.launch_sums("integrate", "deform_velocities", 1, engine.backend.xp.asarray(inverse),
                                         engine.system.velocities)
        self._ledger.add(float(change[0]))
        self._strain = strain

    def finish(self, engine: Engine) -> None:
        """After the force call that follows a move: book the work (collective)."""
        if self._strain is None:
            return
        work = -0.5 * float(((self._virial + engine.virial_total()) * self._strain).sum())
        if self._comm.rank == 0:
            self._ledger.add(work)
        self._strain = None

    def volume(self, engine: Engine) -> float:
        """Volume, A^3; along directions without a cell vector the extent of the atoms at the start counts."""
        return volume(engine) * self._open_length

    def _draw_strain(self, engine: Engine, duration: float, step: int) -> np.ndarray:
        """(3, 3) strain of a move that stands for `duration`."""
        volume = self.volume(engine)
        mobility = self.compressibility * duration / (3.0 * self.coupling)
        noise = math.sqrt(2.0 * mobility * BOLTZMANN_EV_PER_K * self.temperature.at(step) / volume)
        excess = (0.5 * (self._stress_energy + self._stress_energy.T) / volume
                  - np.diag([ramp.at(step) / PRESSURE_GPA for ramp in self.pressures]))
        numbers = RandomSequence(self.seed, step, stream_number(Purpose.BAROSTAT))
        strain = np.zeros((3, 3))
        if self.isotropic:
            axes = [COMPONENTS[name][0] for name in self.free]
            # the mean of the free axes: drift of the mean, noise of a mean of independent numbers
            value = mobility * excess[axes, axes].mean() + noise / math.sqrt(len(axes)) * numbers.normal()
            strain[axes, axes] = value
        else:
            for name in self.free:
                a, b = COMPONENTS[name]
                strain[b, a] = mobility * excess[a, b] + noise * numbers.normal()
        largest = float(np.abs(strain).max())
        if not largest < _LARGEST_STRAIN:
            raise PhysicsError(f"npt: the cell would change by {100 * largest:.3g} % in one move at "
                               f"step {step}; relax the structure, raise pressure_coupling_fs or bulk_modulus_GPa, "
                               "or reduce the timestep")
        return strain

    # ---- bookkeeping -----------------------------------------------------------------------------

    @property
    def ledger(self) -> float:
        """Energy given to the atoms so far, eV (collective)."""
        return self._ledger.total(self._comm)

    def conserved_share(self) -> float:
        """Minus the ledger, eV (collective)."""
        return -self.ledger

    def state(self) -> State:
        """Ledger of this rank; keys that end in ``_share`` add up over ranks."""
        return {"ledger_share": self._ledger.share, "open_length": np.array(self._open_length)}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._ledger.share = state["ledger_share"]
        self._open_length = float(state["open_length"])
