"""``hpcthermo bench``: atom-step/s of a potential on a structure, and where the time goes."""

from __future__ import annotations

import time
from pathlib import Path

from hpcthermo.config import load_job, parse_job
from hpcthermo.domain.comm import abort_on_error, world_communicator
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.preparation import check_ranks, prepare_engine

#: graphite with the embedded potentials, about 10,000 atoms
_DEFAULT_JOB = {
    "kind": "md", "title": "graphite, Tersoff and Lennard-Jones", "potential": ["tersoff_graphene", "lj_gr_hbn"],
    "structure": {"builder": "layered_stack", "spacing_A": 3.4,
                  "layers": [{"material": "graphene", "count": 8, "repeat": [23, 14]}]},
    "stage": [{"ensemble": "nve", "temperature_K": 300, "timestep_fs": 0.5, "steps": 1}],
}
_TEMPERATURE_K = 300.0
_TIMESTEP_FS = 0.5
_WARM_UP_STEPS = 5


def run_bench(path: Path | None, steps: int) -> None:
    """Measure and print on rank 0 (collective)."""
    comm = world_communicator()
    with abort_on_error(comm):
        job = parse_job(_DEFAULT_JOB) if path is None else load_job(path)
        check_ranks(job, comm.size)
        engine = prepare_engine(job, comm)
        engine.compute()
        draw_velocities(engine, _TEMPERATURE_K, job.seed)
        mover = Integrator(engine, _TIMESTEP_FS)
        for step in range(_WARM_UP_STEPS):
            mover.step(engine, step)
        before, rebuilds = dict(engine.timings), engine.rebuilds
        comm.barrier()
        wall, processor = time.perf_counter(), time.process_time()
        for step in range(_WARM_UP_STEPS, _WARM_UP_STEPS + steps):
            mover.step(engine, step)
        engine.backend.synchronize()
        comm.barrier()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        stages = {name: comm.allreduce_sum(engine.timings[name] - before[name]) / comm.size
                  for name in engine.timings}
        if comm.rank == 0:
            backend = engine.backend
            print(f"job          {job.title or job.kind}: {engine.n_atoms:,} atoms, {steps} steps, {comm.size} ranks")
            print(f"device       {backend.device}, {backend.precision}, {backend.instruction_set}")
            print(f"speed        {engine.n_atoms * steps / wall:.4g} atom-step/s "
                  f"({wall / steps * 1e3:.3g} ms a step, processor {processor / steps * 1e3:.3g} ms)")
            stages["other"] = wall - sum(stages.values())
            for name, seconds in sorted(stages.items(), key=lambda item: -item[1]):
                print(f"  {name:<10} {100 * seconds / wall:5.1f} %  {seconds / steps * 1e3:.3g} ms a step")
            print(f"rebuilds     {engine.rebuilds - rebuilds}, skin {engine.skin:g} A")
