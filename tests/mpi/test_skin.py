"""Tuning the skin leaves the system alone and gives all ranks the same answer."""

import numpy as np
import pytest
from decomposition_cases import cube
from sample_potentials import SamplePotential

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.skin import DEFAULT_SKIN, _steps_between_rebuilds, tune_skin


@pytest.mark.parallel(3)
def test_tuning_takes_its_trial_back():
    comm = world_communicator()
    snapshot = cube()
    engine = make_engine(snapshot if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "double"))
    skin = tune_skin(engine, 0.05, (0.3, 0.6))
    assert comm.allgather(skin) == [skin] * 3
    assert engine.skin == skin
    assert engine.domain.halo_depth == engine.bound.ghost_depth + skin
    after = engine.domain.gather(engine.system)
    if comm.rank == 0:
        assert np.array_equal(after.velocities, snapshot.velocities)
        assert np.abs(after.positions + after.images @ after.cell - snapshot.positions).max() < 1e-12


def test_nothing_to_tell_by_without_motion():
    snapshot = cube()
    snapshot.fields["velocities"][:] = 0.0
    engine = make_engine(snapshot, SamplePotential(), SingleProcess(), make_backend("cpu", "double"), 0.4)
    assert tune_skin(engine, 0.05) == DEFAULT_SKIN == engine.skin


def test_steps_between_rebuilds():
    largest = np.array([0.1, 0.2, 0.3, 0.4])
    assert _steps_between_rebuilds(largest, 0.5) == 3
    assert _steps_between_rebuilds(largest, 1.6) == pytest.approx(16.0)
