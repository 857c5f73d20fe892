"""Messages of the time loop: prepared once per rebuild, two per neighbour and step, none pickled."""

import ast
import gc
from pathlib import Path

import numpy as np
import pytest
from decomposition_cases import CASES, cube, run_verlet
from sample_potentials import BoundDensity, SamplePotential

import hpcthermo
from hpcthermo.domain import comm as comm_module
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.units import TIME_FS


def engine_of(comm, snapshot, layout="auto", potential=None, skin=0.3):
    return make_engine(snapshot if comm.rank == 0 else None, potential or SamplePotential(), comm,
                       make_backend("cpu", "double"), skin, layout)


def counted(engine, steps, virials=False):
    """Rises of (messages, bytes, collectives) during some force calls without a rebuild."""
    counters, rebuilds = engine.comm.counters, engine.rebuilds
    before = counters.messages_sent, counters.bytes_sent, counters.collectives
    for _ in range(steps):
        engine.compute(virials)
    assert engine.rebuilds == rebuilds
    return np.subtract((counters.messages_sent, counters.bytes_sent, counters.collectives), before)


@pytest.mark.parametrize("layout", [pytest.param(layout, marks=pytest.mark.parallel(n))
                                    for n, layout in ((2, "slab"), (4, (2, 2, 1)))])
@pytest.mark.parametrize(("virials", "bytes_back"), [(False, 32), (True, 96)])
def test_each_neighbour_gets_two_messages_a_step(layout, virials, bytes_back):
    comm = world_communicator()
    engine = engine_of(comm, cube(), layout)
    engine.compute()
    # all bricks of the small cube touch: positions go to every other rank, forces come back from it
    neighbours, steps = comm.size - 1, 5
    own = engine.domain.halo.own_copies
    sent, received = engine.domain.halo.n_send - own, engine.system.n_ghost - own
    messages, size, collectives = counted(engine, steps, virials)
    assert messages == 2 * neighbours * steps
    assert size == (24 * sent + bytes_back * received) * steps
    assert collectives == steps


@pytest.mark.parallel(4)
def test_a_rank_without_atoms_or_neighbours_sends_nothing():
    """A short block of atoms at one end of a long open chain of bricks."""
    comm = world_communicator()
    snapshot = CASES["thin"]()
    engine = engine_of(comm, snapshot, (1, 1, 4))
    engine.compute()
    messages, size, _ = counted(engine, 3, True)
    owned = comm.allgather(engine.system.n_owned)
    assert sum(owned) == 2
    assert 0 in owned
    if engine.system.n_owned == 0:
        # it has ghosts to send back, but no positions to send
        assert messages == 3 * len({r for r in range(comm.size) if owned[r]})
    else:
        assert size > 0


def live_exchanges():
    gc.collect()
    return sum(isinstance(item, comm_module._MpiExchange) for item in gc.get_objects())


@pytest.mark.parallel(3)
@pytest.mark.parametrize("bound_class", [pytest.param(None, marks=pytest.mark.slow), BoundDensity])
def test_prepared_messages_follow_rebuilds_cells_and_virials(bound_class):
    """A run in which everything that a prepared message holds on to is replaced, against one rank."""
    comm = world_communicator()
    fast = cube()
    fast.fields["velocities"] *= 10.0
    potential = SamplePotential() if bound_class is None else SamplePotential(bound_class)

    def flight(comm):
        engine, forces = engine_of(comm, fast, potential=potential), []
        for turn in range(12):
            run_verlet(engine, 3, 0.5 / TIME_FS)
            strain = np.eye(3) + 0.0005 * np.array([[1.0, 0.2, 0.0], [0.0, -1.0, 0.1], [0.0, 0.0, 0.4]])
            engine.system.cell = engine.system.cell @ strain
            engine.system.positions[:engine.system.n_owned] = (
                engine.system.positions[:engine.system.n_owned] @ strain)
            engine.compute(virials=turn % 2 == 0)
            gathered = engine.domain.gather(engine.system)
            forces.append((engine.virial_total(), None if gathered is None else gathered.forces))
            if turn % 2 == 0:
                total = comm.allreduce_sum(engine.virials.sum(axis=0))
                assert np.abs(total - forces[-1][0]).max() < 1e-9
        return engine, forces

    before = live_exchanges()
    engine, many = flight(comm)
    assert engine.rebuilds > 4
    # those of the present halo, not of halos before it
    assert 0 < live_exchanges() - before <= 8
    if comm.rank == 0:
        _, one = flight(SingleProcess())
        for (virial, forces), (virial_1, forces_1) in zip(many, one, strict=True):
            assert np.abs(virial - virial_1).max() < 1e-6
            assert np.abs(forces - forces_1).max() < 1e-6
    comm.barrier()
    del engine
    assert live_exchanges() == before


#: lower-case calls of a communicator, which pickle
PICKLED = {"allgather", "bcast", "gather", "scatter", "send", "recv", "isend", "irecv", "sendrecv", "reduce",
           "allreduce", "alltoall"}
#: modules with code of every step, and functions in them that run at start, stop, checkpoint or file writing only
PER_STEP = ("engine.py", "list_criterion.py", "domain/halo.py", "domain/migrate.py", "domain/decomposition.py",
            "dynamics/integrate.py", "dynamics/thermostats.py", "dynamics/nose_hoover.py", "dynamics/barostats.py",
            "dynamics/minimize.py", "dynamics/atoms.py", "dynamics/ledger.py", "dynamics/loop.py",
            "transport/observers.py")
ONCE = {"distribute", "gather"}


def pickled_calls(tree):
    """Names of pickling calls on something called comm, outside functions that run once."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name in ONCE:
            continue
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PICKLED
                and ast.unparse(node.func.value).lstrip("_").endswith("comm")):
            found.append(ast.unparse(node))
        found += pickled_calls(node)
    return found


def test_nothing_is_pickled_in_the_time_loop():
    folder = Path(hpcthermo.__file__).parent
    assert {name: pickled_calls(ast.parse((folder / name).read_text())) for name in PER_STEP} == {
        name: [] for name in PER_STEP}
    # the check sees what it should
    assert pickled_calls(ast.parse("def step(self):\n    self._comm.bcast(1)\n")) == ["self._comm.bcast(1)"]
