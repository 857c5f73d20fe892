"""Exchange of device arrays staged through host memory, with a device that the host only pretends to have."""

import numpy as np
import pytest
from decomposition_cases import triclinic
from sample_potentials import BoundDensity, BoundPair, SamplePotential
from test_decomposition import outcome

import hpcthermo.domain.comm as comm_module
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.gpu.backend import CpuBackend


class PretendedDevice(CpuBackend):
    """Copies where a GPU copies; those to the host are done by `synchronize`, as on a stream."""

    device = "cuda"

    def __init__(self, precision):
        super().__init__(precision)
        self.pending = []

    def to_host(self, array):
        return np.array(array)

    def from_host(self, array):
        return np.array(array)

    def copy_to_host(self, source, target):
        assert source.flags.c_contiguous
        self.pending.append((source, target))

    def synchronize(self):
        for source, target in self.pending:
            target[...] = source
        self.pending = []


@pytest.mark.parametrize("bound_class", [BoundPair, BoundDensity])
@pytest.mark.parametrize("layout", [pytest.param(layout, marks=pytest.mark.parallel(n))
                                    for n, layout in ((3, "auto"), (4, (2, 2, 1)))])
def test_staged_exchange_gives_the_same(layout, bound_class, monkeypatch):
    comm = world_communicator()
    monkeypatch.setattr("test_decomposition.make_backend", lambda device, precision: PretendedDevice(precision))
    starts = []
    started = comm_module._DeviceExchange.start

    def counted(self):
        starts.append(len(self._departures))
        started(self)

    monkeypatch.setattr(comm_module._DeviceExchange, "start", counted)
    many, _ = outcome(comm, triclinic(), SamplePotential(bound_class), layout, 5)
    assert len(starts) > 10
    if comm.rank == 0:
        one, _ = outcome(SingleProcess(), triclinic(), SamplePotential(bound_class), "auto", 5)
        for name, bound in {"forces": 1e-10, "virials": 1e-9, "forces_last": 1e-8, "energy_last": 1e-9}.items():
            assert np.abs(many[name] - one[name]).max() < bound, name
    comm.barrier()
