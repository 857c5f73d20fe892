"""An engine restored from its state continues to the same bits; a snapshot continues on other ranks."""

import numpy as np
import pytest
from decomposition_cases import CASES, cube, run_verlet
from sample_potentials import SamplePotential

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend


def fast_engine(comm, snapshot, precision="mixed"):
    snapshot.fields["velocities"] *= 15.0
    return make_engine(snapshot if comm.rank == 0 else None, SamplePotential(), comm,
                       make_backend("cpu", precision), 0.4)


def same_bits(first, second):
    return first.keys() == second.keys() and all(first[name].tobytes() == second[name].tobytes() for name in first)


def continues_exactly(comm, case, steps_before, precision):
    engine = fast_engine(comm, CASES[case](), precision)
    engine.compute()
    run_verlet(engine, steps_before, 0.05)
    state, virial = engine.state(), engine.virial_total()
    rebuilds = engine.rebuilds
    run_verlet(engine, 12, 0.05)
    # a fresh engine with other atoms in it takes the state
    resumed = fast_engine(comm, CASES[case](), precision)
    resumed.restore(state)
    assert resumed.rebuilds == rebuilds
    assert same_bits(resumed.state(), state)
    assert resumed.virial_total().tobytes() == virial.tobytes()
    run_verlet(resumed, 12, 0.05)
    assert resumed.rebuilds == engine.rebuilds
    assert same_bits(resumed.state(), engine.state())
    assert resumed.potential_energy() == engine.potential_energy()
    return engine


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize("case", ["cube", "cluster", "thin"])
def test_one_rank_continues_to_the_same_bits(case, precision):
    for steps_before in (1, 9):
        continues_exactly(SingleProcess(), case, steps_before, precision)


@pytest.mark.parametrize("case", ["cube", "triclinic", "thin"])
@pytest.mark.parametrize("ranks", [pytest.param(n, marks=pytest.mark.parallel(n)) for n in (2, 4)])
def test_ranks_continue_to_the_same_bits(ranks, case):
    engine = continues_exactly(world_communicator(), case, 7, "mixed")
    assert engine.rebuilds > 1


def test_state_follows_a_changing_cell():
    comm = SingleProcess()
    engine = fast_engine(comm, cube(), "double")
    engine.compute()
    engine.system.cell = engine.system.cell * 1.002
    engine.system.positions[:engine.system.n_owned] *= 1.002
    engine.compute()
    state = engine.state()
    assert not np.array_equal(state["cell"], state["reference_cell"])
    resumed = fast_engine(comm, cube(), "double")
    resumed.restore(state)
    run_verlet(engine, 5, 0.01)
    run_verlet(resumed, 5, 0.01)
    assert same_bits(resumed.state(), engine.state())


@pytest.mark.parallel(4)
def test_snapshot_continues_on_other_ranks():
    comm = world_communicator()
    engine = fast_engine(comm, cube(), "double")
    engine.compute()
    run_verlet(engine, 5, 0.05)
    snapshot = engine.domain.gather(engine.system)
    run_verlet(engine, 5, 0.05)
    energies = engine.potential_energy(), engine.kinetic_energy()
    if snapshot is not None:
        alone = make_engine(snapshot, SamplePotential(), SingleProcess(), make_backend("cpu", "double"), 0.4)
        alone.compute()
        run_verlet(alone, 5, 0.05)
        assert energies == pytest.approx((alone.potential_energy(), alone.kinetic_energy()), abs=1e-9)
    comm.barrier()
