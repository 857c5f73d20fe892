"""Messages of the time loop: how many, of how many bytes, and that none is pickled."""

import numpy as np
import pytest
from decomposition_cases import cube
from sample_potentials import SamplePotential

from hpcthermo.domain.comm import world_communicator
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend


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
def test_each_neighbour_gets_two_messages_a_step(layout):
    comm = world_communicator()
    engine = make_engine(cube() if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "double"),
                         0.3, layout)
    engine.compute()
    # all bricks of the small cube touch: positions go to every other rank, forces come back from it
    neighbours, steps = comm.size - 1, 5
    own_copies = engine.domain.halo.own_copies
    sent, received = engine.domain.halo.n_send - own_copies, engine.system.n_ghost - own_copies
    messages, size, collectives = counted(engine, steps)
    assert messages == 2 * neighbours * steps
    assert size == (24 * sent + 32 * received) * steps
    assert collectives == steps
