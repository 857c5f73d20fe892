"""FIRE relaxation of the positions in a fixed cell, by forces only.

Bitzek, Koskinen, Gaehler, Moseler, Gumbsch, Phys. Rev. Lett. 97, 170201 (2006), with the semi-implicit Euler step and
the half step back of Guenole et al., Comput. Mater. Sci. 175, 109584 (2020). With unit masses and P = F.v:

    P > 0:   after N_delay such steps dt <- min(1.1 dt, dt_max), alpha <- 0.99 alpha
    P <= 0:  r <- r - dt v / 2,  v <- 0,  dt <- dt / 2,  alpha <- alpha_0
    v <- (1 - alpha) (v + dt F) + alpha |v| F / |F|        r <- r + dt v
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpcthermo.engine import Engine
from hpcthermo.errors import InputError

State = dict[str, np.ndarray]
_ALPHA, _ALPHA_FACTOR, _GROWTH, _SHRINKAGE, _DELAY = 0.25, 0.99, 1.1, 0.5, 20
#: natural units for unit mass: about 1/20 of a period for force constants of 50 eV/A^2
_FIRST_TIMESTEP, _LARGEST_TIMESTEP, _SMALLEST_TIMESTEP = 0.05, 0.5, 1e-4
#: component of a displacement in one step, A
_LARGEST_MOVE = 0.1
_SUM_ROWS = 128


class Fire:
    """Relaxation with the face of an integrator.

    The velocities of the system serve as those of the minimiser; `finish` leaves them at zero.

    Parameters
    ----------
    force_tolerance_eV_per_A : float
        Largest force on a mobile atom at the end.

    Attributes
    ----------
    largest_force : float
        At the start of the last step, eV/A.
    finished : bool
        Whether it was below the tolerance; steps then do nothing.
    """

    def __init__(self, force_tolerance_eV_per_A: float) -> None:
        if not force_tolerance_eV_per_A > 0.0:
            raise InputError(f"force_tolerance_eV_per_A: expected more than 0, got {force_tolerance_eV_per_A:g}")
        self.tolerance = force_tolerance_eV_per_A
        self.largest_force = math.inf
        self.finished = False
        self._timestep, self._alpha, self._downhill = _FIRST_TIMESTEP, _ALPHA, 0
        self._begun = False
        self._mobile: Any = None
        self._tags: Any = None

    def step(self, engine: Engine, step: int, virials: bool = False, flag: int = 0) -> int:
        """Move once (collective); arguments and result as for `Integrator.step`."""
        if not self._begun:
            engine.system.velocities[...] = 0.0
            self._begun = True
        power, force_square, velocity_square = self._sums(engine)
        self.finished = self.largest_force < self.tolerance
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
        system = engine.system
        engine.backend.launch("minimize", "fire_move", 0, system.n_owned, keep, back, dt, mix,
                              mix * speed / math.sqrt(force_square), _LARGEST_MOVE, self._mobile, system.forces,
                              system.velocities, system.positions, per="thread")
        return engine.compute(virials, flag)

    def finish(self, engine: Engine) -> None:
        """Leave the atoms at rest."""
        engine.system.velocities[...] = 0.0

    def conserved(self, engine: Engine) -> float:
        """The potential energy, which is not conserved here but falls, eV (collective)."""
        return engine.potential_energy()

    def state(self) -> State:
        """All that later steps depend on."""
        return {"fire": np.array([self._timestep, self._alpha, self._downhill, self.largest_force, self.finished,
                                  self._begun])}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._timestep, self._alpha, downhill, self.largest_force, finished, begun = (float(v) for v in state["fire"])
        self._downhill, self.finished, self._begun = int(downhill), bool(finished), bool(begun)

    def _sums(self, engine: Engine) -> tuple[float, float, float]:
        """F.v, F.F and v.v of all ranks; notes the largest force (collective)."""
        xp, system, n = engine.backend.xp, engine.system, engine.system.n_owned
        if self._tags is not system.tags:
            self._tags = system.tags
            self._mobile = xp.ones(n)
            if system.frozen_groups:
                frozen = xp.isin(system.groups[:n], xp.asarray(sorted(system.frozen_groups), dtype=np.int32))
                self._mobile[frozen] = 0.0
        chunks = -(-n // _SUM_ROWS)
        partial = xp.zeros((max(chunks, 1), 4))
        engine.backend.launch("minimize", "fire_sums", 0, chunks, n, self._mobile, system.forces, system.velocities,
                              partial, per="thread")
        local = engine.backend.to_host(partial)
        power, force_square, velocity_square = (float(v) for v in engine.comm.allreduce_sum(local[:, :3].sum(axis=0)))
        self.largest_force = math.sqrt(engine.comm.allreduce_max(float(local[:, 3].max())))
        return power, force_square, velocity_square
