"""FIRE: damped dynamics that turns towards the force, by forces only.

Bitzek, Koskinen, Gaehler, Moseler, Gumbsch, Phys. Rev. Lett. 97, 170201 (2006), with the semi-implicit Euler step and
the half step back of Guenole et al., Comput. Mater. Sci. 175, 109584 (2020). With unit masses and P = F.v:

    P > 0:   after N_delay such steps dt <- min(1.1 dt, dt_max), alpha <- 0.99 alpha
    P <= 0:  r <- r - dt v / 2,  v <- 0,  dt <- dt / 2,  alpha <- alpha_0
    v <- (1 - alpha) (v + dt F) + alpha |v| F / |F|        r <- r + dt v

r, v and F hold the coordinates of the atoms and the variables of a free cell (`hpcthermo.dynamics.minimize`).
"""

from __future__ import annotations

import math

import numpy as np

from hpcthermo.dynamics.minimize import FreeCell, Minimizer, State
from hpcthermo.engine import Engine

_ALPHA, _ALPHA_FACTOR, _GROWTH, _SHRINKAGE, _DELAY = 0.25, 0.99, 1.1, 0.5, 20
#: natural units for unit mass: about 1/20 of a period for force constants of 50 eV/A^2
_FIRST_TIMESTEP, _LARGEST_TIMESTEP, _SMALLEST_TIMESTEP = 0.05, 0.5, 1e-4
#: component of a displacement in one step, A
_LARGEST_MOVE = 0.1
#: component of a strain in one step
_LARGEST_STRAIN = 0.005
_SUM_ROWS = 128


class Fire(Minimizer):
    """FIRE; parameters as for `Minimizer`.

    The velocities of the system serve as those of the minimiser; `finish` leaves them at zero.
    """

    def __init__(self, force_tolerance_eV_per_A: float, cell: FreeCell | None = None, atom_axes: str = "xyz") -> None:
        super().__init__(force_tolerance_eV_per_A, cell, atom_axes)
        self._timestep, self._alpha, self._downhill = _FIRST_TIMESTEP, _ALPHA, 0
        self._cell_velocity = np.zeros(0 if cell is None else cell.count)

    def step(self, engine: Engine, step: int, virials: bool = False, flag: int = 0) -> int:
        """Move once (collective); arguments and result as for `Integrator.step`."""
        if not self._begun:
            engine.system.velocities[...] = 0.0
            self._begun = True
        power, force_square, velocity_square = self._sums(engine)
        cell_force, cell_velocity = self._cell_force(engine), self._cell_velocity
        power += float(cell_force @ cell_velocity)
        force_square += float(cell_force @ cell_force)
        velocity_square += float(cell_velocity @ cell_velocity)
        self.finished = self.converged
        keep, back, mix = 1.0, 0.0, self._alpha
        if self.finished:
            engine.system.velocities[...] = 0.0
            return engine.compute(virials, flag)
        if power > 0.0:
            self._downhill += 1
            if self._downhill > _DELAY:
                self._timestep = min(_GROWTH * self._timestep, _LARGEST_TIMESTEP)
                self._alpha *= _ALPHA_FACTOR
        else:
            keep, back = 0.0, -0.5 * self._timestep
            self._downhill, self._alpha, mix = 0, _ALPHA, 0.0
            self._timestep = max(_SHRINKAGE * self._timestep, _SMALLEST_TIMESTEP)
        dt = self._timestep
        # |v + dt F| from the sums known
        speed = math.sqrt(max(keep * (velocity_square + 2.0 * dt * power) + dt * dt * force_square, 0.0))
        steer = mix * speed / math.sqrt(force_square)
        system = engine.system
        engine.backend.launch("minimize", "fire_move", 0, system.n_owned, keep, back, dt, mix, steer, _LARGEST_MOVE,
                              self._mobile, system.forces, system.velocities, system.positions, per="thread")
        self._cell_velocity = (1.0 - mix) * (keep * cell_velocity + dt * cell_force) + steer * cell_force
        self._move_cell(engine, back * cell_velocity + dt * self._cell_velocity)
        return engine.compute(virials, flag)

    def _move_cell(self, engine: Engine, change: np.ndarray) -> None:
        if self.cell is not None and self.cell.count:
            largest = float(np.abs(self.cell.strain(change)).max())
            self._strain_cell(engine, change * min(1.0, _LARGEST_STRAIN / max(largest, 1e-300)))

    def state(self) -> State:
        """All that later steps depend on."""
        return {"fire": np.array([self._timestep, self._alpha, self._downhill, self.largest_force, self.finished,
                                  self._begun]), "cell_velocity": self._cell_velocity.copy(), **self._cell_state()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._timestep, self._alpha, downhill, self.largest_force, finished, begun = (float(v) for v in state["fire"])
        self._downhill, self.finished, self._begun = int(downhill), bool(finished), bool(begun)
        self._cell_velocity = np.array(state["cell_velocity"], dtype=np.float64)
        self._restore_cell(state)

    def _sums(self, engine: Engine) -> tuple[float, float, float]:
        """F.v, F.F and v.v of the atoms of all ranks; notes the largest force (collective)."""
        xp, system, n = engine.backend.xp, engine.system, engine.system.n_owned
        chunks = -(-n // _SUM_ROWS)
        partial = xp.zeros((max(chunks, 1), 4))
        engine.backend.launch("minimize", "fire_sums", 0, chunks, n, self._mobile_coordinates(engine), system.forces,
                              system.velocities, partial, per="thread")
        local = engine.backend.to_host(partial)
        power, force_square, velocity_square = (float(v) for v in engine.comm.allreduce_sum(local[:, :3].sum(axis=0)))
        self.largest_force = math.sqrt(engine.comm.allreduce_max(float(local[:, 3].max())))
        return power, force_square, velocity_square
