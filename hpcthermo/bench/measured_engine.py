"""The engine that is timed, and its set-up from a case."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcthermo.bench.case import BenchCase
from hpcthermo.domain.comm import Communicator
from hpcthermo.domain.decomposition import Domain
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.potentials.formats import CALCULATOR_STYLES
from hpcthermo.preparation import make_job_backend, require_order, skin_of
from hpcthermo.skin import tune_skin

if TYPE_CHECKING:
    from hpcthermo.domain.snapshot import Snapshot
    from hpcthermo.potentials.base import Potential

_SEED = 1


class MeasuredEngine(Engine):
    """An engine that knows how long its rebuilds take, apart from the kernels of ordinary steps.

    Attributes
    ----------
    apart : dict of str to float
        Seconds in rebuilds and in what else ran under `set_apart`.
    """

    def __init__(self, *arguments: Any) -> None:
        self.apart: dict[str, float] = {"neighbours": 0.0, "observers": 0.0}
        super().__init__(*arguments)

    @contextmanager
    def set_apart(self, stage: str) -> Iterator[None]:
        """Count the seconds inside for this stage, and neither for kernels nor for waiting."""
        backend, counters = self.backend, self.comm.counters
        clock, waiting = backend.clock, counters.waiting_seconds
        backend.synchronize()
        backend.clock = None
        start = time.perf_counter()
        try:
            yield
            backend.synchronize()
        finally:
            self.apart[stage] += time.perf_counter() - start
            backend.clock, counters.waiting_seconds = clock, waiting

    def rebuild(self) -> None:
        """Rebuild as always, and count the time."""
        with self.set_apart("neighbours"):
            super().rebuild()


def prepare(case: BenchCase, comm: Communicator) -> tuple[MeasuredEngine, Potential, Integrator]:
    """Engine with atoms in motion and its skin chosen, its potential, and an integrator without baths (collective).

    Raises
    ------
    InputError
        On all ranks, if the structure cannot be read or does not fit the potential or the ranks.
    """
    from hpcthermo.potentials.load import load_potential
    from hpcthermo.simulation import on_first_rank

    def build() -> Snapshot:
        from hpcthermo.potentials.base import require_species

        snapshot = _structure(case)
        if comm.size > snapshot.n_atoms:
            raise InputError(f"bench: {comm.size} ranks for {snapshot.n_atoms} atoms; use fewer ranks or repeat the "
                             "structure")
        potential = load_potential(case.potential)
        foreign = {part.style for part in getattr(potential, "parts", (potential,))} & set(CALCULATOR_STYLES)
        if foreign:
            raise InputError(f"bench: the operations of style {min(foreign)} are not known, for another code computes "
                             "it; time it with benchmarks/bridge_overhead.py or a short run")
        require_order(potential, case.execution)
        require_species(potential.style, potential.elements, snapshot.species)
        return snapshot

    snapshot = on_first_rank(comm, build)
    potential = load_potential(case.potential)
    backend = make_job_backend(case.execution, comm)
    domain = Domain(comm, backend, halo_depth=10.0, layout=case.execution.decomposition)
    system = domain.distribute(snapshot)
    engine = MeasuredEngine(system, potential, domain, backend, skin_of(case.execution))
    if engine.kinetic_energy() == 0.0:
        draw_velocities(engine, 2.0 * case.temperature_K, _SEED)
    mover = Integrator(engine, case.timestep_fs)
    engine.compute()
    if case.execution.tunes_skin:
        tune_skin(engine, mover.timestep)
    return engine, potential, mover


def _structure(case: BenchCase) -> Snapshot:
    from hpcthermo.config.structure import FileStructure
    from hpcthermo.preparation import build_structure
    from hpcthermo.structure.samples import sample_names, sample_structure

    wanted = case.structure
    if not isinstance(wanted, str):
        return build_structure(wanted, case.seed)
    exists = Path(wanted).is_file()
    if wanted in sample_names() and not exists:
        return sample_structure(wanted)
    if not exists:
        raise InputError(f"structure: {wanted!r} is neither a file nor a built-in crystal "
                         f"({', '.join(sample_names())})")
    return build_structure(FileStructure(file=wanted))
