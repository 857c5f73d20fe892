"""The loop over time steps: integrator, observers, checkpoints, and a clean end when asked to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hpcthermo.dynamics.checkpoint import CheckpointStore
from hpcthermo.dynamics.resume import collect
from hpcthermo.dynamics.stop import CONTINUE, STOP, Requeue
from hpcthermo.engine import Engine

State = dict[str, np.ndarray]


class Mover(Protocol):
    """What moves the atoms: `Integrator` or `Minimizer`."""

    def step(self, engine: Engine, step: int, virials: bool = False, flag: int = 0) -> int:
        """Advance by one step; the largest flag of all ranks."""

    def conserved(self, engine: Engine) -> float:
        """The conserved quantity, eV."""

    def state(self) -> State:
        """All that later steps depend on."""

    def restore(self, state: State) -> None:
        """Continue from `state`."""


class Observer(Protocol):
    """What is measured.

    Attributes
    ----------
    name : str
        Different for each observer of a run.
    every : int
        Sampled after the steps of the whole job that are multiples of it.
    needs_virials : bool
        Whether it reads per-atom virials.
    """

    name: str
    every: int
    needs_virials: bool

    def sample(self, step: int, engine: Engine, integrator: Any) -> None:
        """Measure after `step` steps (collective)."""

    def state(self) -> State:
        """All that later samples depend on; keys that end in ``_share`` add up over ranks, others are alike on all."""

    def restore(self, state: State) -> None:
        """Continue from `state`."""


class Checkpointer:
    """Writes checkpoints of a run every so many steps.

    Parameters
    ----------
    store : CheckpointStore
    interval : int
        Steps of the whole job between checkpoints; 0 for none but on request.
    facts : dict
        JSON values to remember: the job, the stage, tuned values.
    """

    def __init__(self, store: CheckpointStore, interval: int, facts: Mapping[str, Any] | None = None) -> None:
        self.store = store
        self.interval = interval
        self.facts: dict[str, Any] = dict(facts or {})

    def due(self, step: int) -> bool:
        """Whether a checkpoint belongs after this many steps."""
        return self.interval > 0 and step % self.interval == 0

    def write(self, step: int, engine: Engine, mover: Mover, observers: Sequence[Observer]) -> None:
        """Write one now, between two steps (collective)."""
        self.store.write(step, collect(engine, mover, observers), self.facts)


def run_stage(engine: Engine, mover: Mover, observers: Sequence[Observer], first_step: int, last_step: int,
              checkpointer: Checkpointer | None = None, progress: Callable[[int], None] | None = None,
              stop_flag: Callable[[], int] | None = None) -> int:
    """Do the steps from `first_step` to `last_step` of the whole job (collective).

    Parameters
    ----------
    first_step : int
        Steps already done.
    last_step : int
        Steps done at the end.
    progress : callable, optional
        Called with the number of steps done after each.
    stop_flag : callable, optional
        `CONTINUE` or `STOP` of this rank; the largest of all ranks counts at the end of the step.

    Returns
    -------
    int
        Steps done: `last_step`, or less if the mover says it has finished (a minimiser).

    Raises
    ------
    Requeue
        On all ranks, after a checkpoint, if one was asked to stop.
    """
    if engine.rebuilds == 0:
        engine.compute()
    if getattr(mover, "finished", False):  # resumed from a checkpoint of its last step
        return first_step
    for step in range(first_step, last_step):
        done = step + 1
        sampling = [observer for observer in observers if done % observer.every == 0]
        virials = any(observer.needs_virials for observer in sampling)
        flag = mover.step(engine, step, virials, stop_flag() if stop_flag is not None else CONTINUE)
        for observer in sampling:
            observer.sample(done, engine, mover)
        if progress is not None:
            progress(done)
        if checkpointer is not None and (flag >= STOP or checkpointer.due(done)):
            checkpointer.write(done, engine, mover, observers)
        if flag >= STOP:
            where = "a checkpoint was written" if checkpointer is not None else "nothing was saved"
            raise Requeue(f"asked to stop: {where} after step {done}; continue with --resume")
        if getattr(mover, "finished", False):
            return done
    return last_step
