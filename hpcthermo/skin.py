"""Choose the skin of the neighbour lists before a run.

A wide skin makes every force call slower, a narrow one makes rebuilds frequent. With the measured times
of both and the number of steps n(s) until an atom has moved s/2,

    cost per step(s) = t_force(s) + t_rebuild(s) / n(s)

n(s) comes from a short trial at constant energy, whose steps are taken back. The choice depends on
timings, so it is made once, before step 0, and recorded with the results.
"""

from __future__ import annotations

import time

import numpy as np

from hpcthermo.engine import Engine

#: skins tried, A
CANDIDATES = (0.5, 0.75, 1.0, 1.4, 1.8)
DEFAULT_SKIN = 1.0
TRIAL_STEPS = 100
TRIAL_SECONDS = 10.0


def tune_skin(engine: Engine, timestep: float, candidates: tuple[float, ...] = CANDIDATES) -> float:
    """Set the fastest skin on the engine and return it, A (collective); positions and velocities stay.

    Without motion there is nothing to tell by, and the skin becomes `DEFAULT_SKIN`.

    Parameters
    ----------
    timestep : float
        Natural units of time.
    """
    if engine.kinetic_energy() == 0.0:
        engine.set_skin(DEFAULT_SKIN)
        engine.compute()
        return DEFAULT_SKIN
    engine.compute()
    start = engine.state()
    engine.set_skin(max(candidates))
    engine.compute()
    largest = _displacements_of_trial(engine, timestep)
    engine.restore(start)
    costs = []
    for skin in candidates:
        force, rebuild = _times(engine, skin)
        costs.append(force + rebuild / _steps_between_rebuilds(largest, skin))
    chosen = candidates[int(np.argmin(costs))]
    engine.restore(start)
    engine.set_skin(chosen)
    engine.compute()
    return chosen


def _displacements_of_trial(engine: Engine, timestep: float) -> np.ndarray:
    """Largest displacement of any atom after 1, 2, ... steps, A."""
    xp, first_rebuild, began = engine.backend.xp, engine.rebuilds, time.monotonic()
    masses = xp.asarray(engine.system.masses)
    largest: list[float] = []
    while len(largest) < TRIAL_STEPS:
        system = engine.system
        n = system.n_owned
        half_kick = 0.5 * timestep / masses[system.types[:n]][:, None]
        system.velocities += half_kick * system.forces[:n, :3]
        system.positions[:n] += timestep * system.velocities
        # all ranks stop together
        out_of_time = engine.compute(flag=int(time.monotonic() - began > TRIAL_SECONDS))
        if engine.rebuilds > first_rebuild:
            break
        system.velocities += half_kick * system.forces[:n, :3]
        largest.append(engine.largest_displacement)
        if out_of_time:
            break
    return np.array(largest or [np.inf])


def _steps_between_rebuilds(largest: np.ndarray, skin: float) -> float:
    """Steps until an atom has moved half the skin; beyond the trial, displacements grow as its square root."""
    passed = np.flatnonzero(2.0 * largest > skin)
    if len(passed):
        return float(passed[0] + 1)
    return len(largest) * (0.5 * skin / float(largest.max())) ** 2


def _times(engine: Engine, skin: float) -> tuple[float, float]:
    """Seconds of a force call and of a rebuild with this skin, of the slowest rank."""
    engine.set_skin(skin)
    # time on the core, where there is one: other programs on a shared machine do not count
    clock = time.process_time if engine.backend.device == "cpu" else time.perf_counter
    seconds = []
    engine.rebuild()  # the first measures how long the rows of the lists have to be
    for call in (engine.rebuild, engine.compute, engine.compute, engine.compute):
        began = clock()
        call()
        engine.backend.synchronize()
        seconds.append(clock() - began)
    force = min(seconds[1:])
    slowest = engine.comm.allreduce_max(np.array([force, seconds[0]]))
    return float(slowest[0]), float(slowest[1])
