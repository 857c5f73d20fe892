"""A run as a list of phases: start or resume, do the steps, checkpoint, and say what happened.

A phase is one stage of a job or one part of an experiment. What it needs beyond its steps (velocities to draw, atoms to
freeze) it does in `prepare`, which is not called again on resume: by then it is part of the state. Observers of phases
that are over stay in the checkpoint, so a resumed run ends with all rows.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpcthermo.domain.comm import launcher_rank
from hpcthermo.dynamics.checkpoint import FOLDER as CHECKPOINT_FOLDER
from hpcthermo.dynamics.checkpoint import CheckpointStore
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.dynamics.loop import Checkpointer, Mover, Observer, run_stage
from hpcthermo.dynamics.resume import Resumption, arithmetic
from hpcthermo.dynamics.stop import Requeue
from hpcthermo.errors import HpcthermoError, InputError
from hpcthermo.identity import file_hashes, identity
from hpcthermo.log import close_logging, get_logger, set_up_logging
from hpcthermo.preparation import build_structure, load_job_potential, make_job_backend, skin_of
from hpcthermo.progress import Progress
from hpcthermo.results import versions
from hpcthermo.units import TIME_FS

if TYPE_CHECKING:
    from hpcthermo.config import Job
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.domain.snapshot import Snapshot
    from hpcthermo.engine import Engine

T = TypeVar("T")
#: larger than any step: an observer that is not sampled any more
_NEVER = 2**62


@dataclass
class Phase:
    """One stretch of a run.

    Attributes
    ----------
    name : str
    n_steps : int
        Most steps (a minimiser may need fewer).
    timestep_fs : float
        0 for a minimiser.
    make_mover : callable
        (engine, first step) -> integrator or minimiser.
    observers : list
        Sampled in this phase only.
    prepare : callable, optional
        (engine, first step), done once when the phase begins.
    finish : callable, optional
        (engine, mover), done once when the phase is over.
    """

    name: str
    n_steps: int
    timestep_fs: float
    make_mover: Callable[[Engine, int], Mover]
    observers: list[Observer] = field(default_factory=list)
    prepare: Callable[[Engine, int], None] | None = None
    finish: Callable[[Engine, Any], None] | None = None


class _Kept:
    """An observer of a phase that is over: part of the checkpoint, not sampled."""

    every = _NEVER
    needs_virials = False

    def __init__(self, observer: Observer) -> None:
        self.name = observer.name
        self.state = observer.state
        self.restore = observer.restore

    def sample(self, step: int, engine: Engine, integrator: Any) -> None:
        """Never called."""


class Simulation:
    """The run of one job (or one of its replicas) in its folder (collective).

    Parameters
    ----------
    job : Job
    comm : Communicator
        The ranks that compute together.
    folder : Path
        Results folder; locked until `close`.
    resume : bool
        Continue from the last checkpoint, if there is one.
    seed : int
    mark : callable, optional
        Changes the structure before it is handed out: groups, frozen atoms (rank 0 only).
    device_index : int, optional
        GPU of this rank; by default counted among the ranks of `comm` on its node.
    stop : callable, optional
        See `hpcthermo.dynamics.loop.run_stage`.

    Attributes
    ----------
    engine : Engine
    phase : int
        Index of the phase in progress.
    step : int
        Steps of the whole run done.

    Raises
    ------
    InputError
        If the folder is in use, holds another or an unfinished run, or the job cannot be set up.
    """

    def __init__(self, job: Job, comm: Communicator, folder: Path, resume: bool, seed: int,
                 mark: Callable[[Snapshot], Snapshot] | None = None, device_index: int | None = None,
                 stop: Callable[[], int] | None = None) -> None:
        self.job, self.comm, self.folder, self.seed = job, comm, folder, seed
        self._device_index, self._stop = device_index, stop
        self.lock = FolderLock(folder, comm)
        self.store = CheckpointStore(folder, comm, self.lock)
        self.checkpointer = Checkpointer(self.store, job.output.checkpoint_interval_steps)
        self.phase, self._phase_start, self.step, self._phase_start_time = 0, 0, 0, 0.0
        self.tuned: dict[str, Any] = {}
        self._just_tuned = False
        self._timestep_fs = 0.0
        self._wall_start, self._steps_here = time.monotonic(), 0
        set_up_logging(comm.rank, folder, quiet=launcher_rank() != 0)
        self.resumed_from = -1
        self._resumption: Resumption | None = None
        with self._released_on_error():
            self.hashes: dict[str, str] = comm.bcast(on_first_rank(comm, lambda: file_hashes(job)))
            self._identity = identity(job.model_dump(mode="json"), self.hashes)
            self._resumption = self._find_checkpoint() if resume else None
            if self._resumption is not None:
                self._continue(self._resumption)
            else:
                on_first_rank(comm, lambda: forget_finished_run(folder, self.store))
                self.engine = self._fresh_engine(mark)
            self.checkpointer.facts.update(job=self._identity, arithmetic=arithmetic(self.engine.backend))

    # ---- start -----------------------------------------------------------------------------------

    def _fresh_engine(self, mark: Callable[[Snapshot], Snapshot] | None) -> Engine:
        from hpcthermo.engine import make_engine
        from hpcthermo.plots import STRUCTURE_FIGURE, draw_structure

        job = self.job

        def build() -> Snapshot:
            snapshot = build_structure(job.structure, job.seed)
            load_job_potential(job, snapshot)
            snapshot = snapshot if mark is None else mark(snapshot)
            if job.output.figures:
                draw_structure(snapshot, self.folder / STRUCTURE_FIGURE)
            return snapshot

        snapshot = on_first_rank(self.comm, build)
        potential = load_job_potential(job)
        backend = make_job_backend(job.execution, self.comm, self._device_index)
        return make_engine(snapshot, potential, self.comm, backend, skin_of(job.execution), job.execution.decomposition)

    def _find_checkpoint(self) -> Resumption | None:
        generation, complaints = self.store.newest()
        for complaint in complaints:
            get_logger().warning(complaint)
        if generation is None:
            get_logger().info("no checkpoint to resume from: starting from the beginning")
            return None
        if generation.facts.get("job") != self._identity:
            raise InputError(f"{self.folder}: its checkpoint belongs to another job (structure, potential, stages, "
                             "experiment or precision differ); resume with the job that wrote it, or give another "
                             "--out")
        potential = load_job_potential(self.job)
        backend = make_job_backend(self.job.execution, self.comm, self._device_index,
                                   generation.facts["arithmetic"]["instruction_set"])
        return Resumption(generation, potential, self.comm, backend, self.job.execution.decomposition)

    def _continue(self, resumption: Resumption) -> None:
        facts = resumption.facts
        self.engine, self.step = resumption.engine, resumption.step
        self.phase, self._phase_start = int(facts["phase"]), int(facts["phase_start"])
        self._phase_start_time, self.tuned = float(facts["phase_start_time"]), dict(facts["tuned"])
        self.checkpointer.facts.update(facts)
        self.resumed_from = self.step
        if resumption.exact:
            get_logger().info("resuming at step %d, exactly", self.step)
        else:
            get_logger().warning("resuming at step %d with the same physics, but not bit for bit: ranks, device or "
                                 "instruction set differ from those of the checkpoint (%s)", self.step,
                                 ", ".join(facts["arithmetic"].values()))

    # ---- run -------------------------------------------------------------------------------------

    def run(self, phases: Sequence[Phase], always: Sequence[Observer] = ()) -> None:
        """Do all phases from where the run stands (collective).

        Parameters
        ----------
        always : sequence of Observer
            Sampled in every phase.

        Raises
        ------
        InputError
            If an observer samples what the potential does not have.
        Requeue
            After a checkpoint, if a signal asked to stop.
        """
        progress = Progress(self.comm.rank, self.folder, self.engine.n_atoms, sum(p.n_steps for p in phases))
        state = "failed"
        try:
            with self._released_on_error():
                for observer in [*always, *(observer for phase in phases for observer in phase.observers)]:
                    if observer.needs_virials:
                        self.engine.limits.require("atom_virials", f"observer {observer.name!r}")
                for index in range(self.phase, len(phases)):
                    self._run_phase(phases, index, always, progress)
            state = "finished"
        except Requeue:
            state = "checkpointed"
            raise
        finally:
            progress.finish(state)

    def _run_phase(self, phases: Sequence[Phase], index: int, always: Sequence[Observer],
                   progress: Progress) -> None:
        phase = phases[index]
        resumption, self._resumption = self._resumption, None
        if resumption is None:
            self._enter(phase, index)
        self._timestep_fs = phase.timestep_fs
        for observer in always:
            if hasattr(observer, "begin_phase"):
                observer.begin_phase(index, phase.timestep_fs)
        past = [_Kept(observer) for earlier in phases[:index] for observer in earlier.observers]
        observers = [*always, *phase.observers, *past]
        mover = phase.make_mover(self.engine, self._phase_start)
        if resumption is not None:
            resumption.restore(mover, observers)
        if self._just_tuned:  # by timing: a run killed before its first checkpoint would tune to another skin
            self._just_tuned = False
            self.checkpointer.write(self.step, self.engine, mover, observers)
        progress.begin_stage(phase.name, self.step, phase.timestep_fs)

        def note(done: int) -> None:
            self._steps_here += 1
            self.step = done
            progress.update(done)

        last = self._phase_start + phase.n_steps
        self.step = run_stage(self.engine, mover, observers, self.step, last, self.checkpointer, note,
                              self._stop)
        if phase.finish is not None:
            phase.finish(self.engine, mover)

    def _enter(self, phase: Phase, index: int) -> None:
        """Begin a phase: remember where, prepare, and tune the skin before the very first step."""
        if index > 0:
            self._phase_start_time = self.time_ps(self.step)
        self.phase, self._phase_start = index, self.step
        if self.engine.rebuilds == 0:
            self.engine.compute()
        if phase.prepare is not None:
            phase.prepare(self.engine, self.step)
        if not self.tuned:
            self._tune(phase)
        self.checkpointer.facts.update(phase=index, phase_start=self._phase_start, tuned=self.tuned,
                                       phase_start_time=self._phase_start_time)

    def _tune(self, phase: Phase) -> None:
        """Choose the skin once, if the job leaves it open, and remember it."""
        from hpcthermo.skin import tune_skin

        if self.job.execution.tunes_skin and phase.timestep_fs > 0.0:
            tune_skin(self.engine, phase.timestep_fs / TIME_FS)
            self._just_tuned = True
        self.tuned = {"skin_A": self.engine.skin}

    def time_ps(self, step: int) -> float:
        """Simulated time from the start of the run to a step of the present phase, ps."""
        return self._phase_start_time + (step - self._phase_start) * self._timestep_fs * 1e-3

    # ---- end -------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Facts of the run for results.h5 and summary.json (collective)."""
        comm, wall = self.comm, time.monotonic() - self._wall_start
        used = resource.getrusage(resource.RUSAGE_SELF)
        memory = comm.allreduce_max(float(used.ru_maxrss) / 1024.0)
        processor = comm.allreduce_sum(used.ru_utime + used.ru_stime) / comm.size
        timings = {name: comm.allreduce_max(seconds) for name, seconds in self.engine.timings.items()}
        rate = self._steps_here * self.engine.n_atoms / max(wall, 1e-9)
        return {
            "atoms": self.engine.n_atoms, "steps": self.step, "ranks": comm.size,
            "device": self.engine.backend.device, "precision": self.engine.backend.precision, "seed": self.seed,
            "instruction_set": self.engine.backend.instruction_set, "input_sha256": self.hashes,
            **self.tuned, "atom_steps_per_second": rate, "wall_seconds": wall,
            "processor_seconds_per_rank": processor,
            "steps_of_this_process": self._steps_here, "peak_memory_MiB_per_rank": memory, "timings_s": timings,
            "rebuilds": self.engine.rebuilds,
            "resumed_from_step": self.resumed_from, "versions": versions(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def close(self) -> None:
        """Give the folder back."""
        self.lock.release()
        close_logging()

    @contextmanager
    def _released_on_error(self) -> Iterator[None]:
        """Give the folder back if the run ends early."""
        try:
            yield
        except BaseException:
            self.lock.release()
            raise


def on_first_rank(comm: Communicator, action: Callable[[], T]) -> T | None:
    """Result of an action that rank 0 does for all; its error is raised on all ranks (collective)."""
    result: T | None = None
    problem: HpcthermoError | None = None
    if comm.rank == 0:
        try:
            result = action()
        except HpcthermoError as error:
            problem = error
    problem = comm.bcast(problem)
    if problem is not None:
        raise problem
    return result


def refuse_unfinished_run(folder: Path, store: CheckpointStore) -> None:
    """Refuse to throw an unfinished run away.

    Raises
    ------
    InputError
        If the folder holds one.
    """
    generations = store.generations()
    # a checkpoint of step 0 holds no more than the choice of the skin
    if generations and generations[0].step > 0 and not (folder / "results.h5").exists():
        raise InputError(f"{folder}: holds an unfinished run (checkpoint of step {generations[0].step}); continue it "
                         "with --resume, give another --out, or remove the folder")


def forget_finished_run(folder: Path, store: CheckpointStore) -> None:
    """Remove checkpoints and results of a run that has ended.

    Raises
    ------
    InputError
        If the folder holds an unfinished run.
    """
    import shutil

    refuse_unfinished_run(folder, store)
    shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)
    for name in ("results.h5", "summary.json", "report.html"):
        (folder / name).unlink(missing_ok=True)
