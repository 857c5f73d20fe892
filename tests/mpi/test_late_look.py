"""The largest displacement looked at after the forces: the same run, and no rebuild is missed."""

import numpy as np
import pytest
from decomposition_cases import cube, run_verlet
from sample_potentials import BoundDensity, SamplePotential

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.engine import make_engine
from hpcthermo.errors import PhysicsError
from hpcthermo.gpu.backend import CpuBackend, make_backend
from hpcthermo.units import TIME_FS


def engine_of(comm, late, bound_class=None, speed=1.0, backend=None):
    snapshot = cube()
    snapshot.fields["velocities"] *= speed
    potential = SamplePotential() if bound_class is None else SamplePotential(bound_class)
    engine = make_engine(snapshot if comm.rank == 0 else None, potential, comm,
                         backend or make_backend("cpu", "mixed"), 0.3)
    engine.looks_late = late
    return engine


def bits(engine):
    system = engine.system
    n = system.n_owned
    return [system.tags[:n].tobytes(), system.positions[:n].tobytes(), system.forces[:n].tobytes(),
            engine.energies.tobytes(), engine.virial_total().tobytes()]


def flights_agree(comm, bound_class):
    early, late = (engine_of(comm, late, bound_class, 6.0) for late in (False, True))
    for _ in range(15):
        for engine in (early, late):
            run_verlet(engine, 4, 0.5 / TIME_FS)
            engine.compute(virials=True)
        assert bits(early) == bits(late)
        assert early.largest_displacement == late.largest_displacement
    assert early.rebuilds == late.rebuilds > 5
    # atoms that fly evenly are seen coming
    assert late.repeated <= 1
    assert early.repeated == 0


@pytest.mark.parametrize("bound_class", [None, BoundDensity])
def test_same_bits_on_one_rank(bound_class):
    flights_agree(SingleProcess(), bound_class)


@pytest.mark.parallel(3)
@pytest.mark.parametrize("bound_class", [pytest.param(None, marks=pytest.mark.slow), BoundDensity])
def test_same_bits_on_three_ranks(bound_class):
    flights_agree(world_communicator(), bound_class)


def jump_is_caught(comm):
    early, late = (engine_of(comm, late) for late in (False, True))
    for engine in (early, late):
        for _ in range(4):
            engine.compute()
        system = engine.system
        # without any warning one atom, wherever it is, stands 2 A away
        system.positions[:system.n_owned][system.tags[:system.n_owned] == 17] += np.array([2.0, 0.0, 0.0])
        engine.compute(virials=True)
    assert bits(early) == bits(late)
    assert (early.rebuilds, late.rebuilds) == (2, 2)
    assert late.repeated == 1


def test_a_jump_is_caught_on_one_rank():
    jump_is_caught(SingleProcess())


@pytest.mark.parallel(2)
def test_a_jump_is_caught_on_two_ranks():
    jump_is_caught(world_communicator())


@pytest.mark.parallel(2)
def test_flags_and_lost_numbers_reach_all_ranks():
    comm = world_communicator()
    engine = engine_of(comm, True)
    for _ in range(4):
        assert engine.compute() == 0
    assert engine.compute(flag=15 if comm.rank == 1 else 0) == 15
    if comm.rank == 1:
        engine.system.positions[3, 1] = np.nan
    with pytest.raises(PhysicsError, match="not finite"):
        engine.compute()


class Recording(CpuBackend):
    """Notes what it is asked to repeat."""

    def __init__(self, precision):
        super().__init__(precision)
        self.log = []

    def repeat(self, key, work):
        self.log.append(key)
        work()

    def forget(self):
        self.log.append("forget")


def test_work_of_one_rank_can_be_recorded():
    backend = Recording("double")
    engine = engine_of(SingleProcess(), True, backend=backend)
    for virials in (False, False, True):
        engine.compute(virials)
    keys = [key for key in backend.log if key != "forget"]
    assert keys[0] == keys[1] != keys[2]
    # a recording may not outlive the arrays it works on
    count = len(backend.log)
    memory = engine.system.forces
    engine.rebuild()
    assert backend.log[count:] == ["forget"]
    assert engine.system.forces is not memory
