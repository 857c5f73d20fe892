"""GPU kernels, run by the warp emulator in both lane orders, against the CPU kernels: potentials, lists, engines."""

import os

import nep_reference
import pytest
from device_cases import (
    EMPIRICAL,
    MINIMIZE,
    NEMD,
    compare,
    compare_empirical,
    compare_flights,
    fly,
    listed,
    nep_engine,
    same_results,
    stages,
)
from emulated_gpu import EmulatedGpuBackend
from rank_launcher import CHILD
from test_nep import SYNTHETIC, cluster

from hpcthermo import preparation
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.gpu.backend import CpuBackend
from hpcthermo.potentials.nep import read_nep
from hpcthermo.run import run_md, run_minimize
from hpcthermo.transport.nemd import run_nemd

BOTH_ORDERS = pytest.mark.parametrize("from_last", [False, True], ids=["ascending", "descending"])
PRECISIONS = pytest.mark.parametrize("precision", ["double", "mixed"])
RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.parallel(2))])


@BOTH_ORDERS
@PRECISIONS
def test_nep(precision, from_last, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", kind="nep4_zbl", zbl="zbl 0.9 1.8"))
    compare((potential, *cluster(("B", "C", "N"))), EmulatedGpuBackend(precision, from_last))


@pytest.mark.slow
@BOTH_ORDERS
@PRECISIONS
@pytest.mark.parametrize("name", SYNTHETIC)
def test_nep_of_every_kind(name, precision, from_last, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", **SYNTHETIC[name]))
    compare((potential, *cluster(("B", "C", "N"))), EmulatedGpuBackend(precision, from_last))


@pytest.mark.slow
@PRECISIONS
@pytest.mark.parametrize("n_max_and_basis", [((4, 4), (8, 8)), ((8, 8), (12, 12)), ((10, 10), (10, 10)),
                                             ((12, 8), (16, 12)), ((12, 12), (16, 16))])
def test_nep_of_every_size(n_max_and_basis, precision, tmp_path):
    n_max, basis = n_max_and_basis
    flags = (8, 1, 1) if n_max == (12, 12) else (4, 1, 1)
    path = nep_reference.write_model(tmp_path / "nep.txt", n_max=n_max, basis=basis, flags=flags)
    compare((read_nep(path), *cluster(("B", "C", "N"))), EmulatedGpuBackend(precision))


@BOTH_ORDERS
@PRECISIONS
@pytest.mark.parametrize("name", EMPIRICAL)
def test_empirical_potentials(name, precision, from_last):
    compare_empirical(name, EmulatedGpuBackend(precision, from_last))


@BOTH_ORDERS
@pytest.mark.parametrize("different_layers", [False, True])
def test_lists(different_layers, from_last):
    assert listed(CpuBackend("double"), different_layers) == listed(EmulatedGpuBackend("double", from_last),
                                                                    different_layers)


@pytest.fixture
def emulated(monkeypatch, request):
    """Jobs that ask for a GPU get the emulated one."""
    made = []

    def make(device, precision, device_index=0, instruction_set=None):
        made.append(EmulatedGpuBackend(precision, from_last=True) if device == "cuda" else CpuBackend(precision))
        return made[-1]

    monkeypatch.setattr(preparation, "make_backend", make)
    yield
    # a parallel test runs in other processes, which look for themselves
    if CHILD in os.environ or request.node.get_closest_marker("parallel") is None:
        assert made[0].instruction_set == "emulated"


def test_every_ensemble(emulated, tmp_path):
    same_results(run_md, SingleProcess(), tmp_path, kind="md", stage=stages(8))


def test_relaxation(emulated, tmp_path):
    same_results(run_minimize, SingleProcess(), tmp_path, tolerance=1e-5, kind="minimize", minimize=MINIMIZE)


@pytest.mark.slow
@RANKS
def test_heat_transport(ranks, emulated, tmp_path):
    comm = world_communicator()
    same_results(run_nemd, comm, comm.bcast(tmp_path), tolerance=1e-5, kind="nemd", nemd=NEMD)


@pytest.mark.slow
@pytest.mark.parallel(2)
def test_two_ranks(emulated, tmp_path):
    comm = world_communicator()
    same_results(run_md, comm, comm.bcast(tmp_path), kind="md", stage=stages(8, slice(2)))


@RANKS
@PRECISIONS
def test_nep_engine(ranks, precision, tmp_path):
    comm = world_communicator()
    compare_flights(comm, EmulatedGpuBackend(precision, from_last=True), tmp_path)


def test_restored_state_gives_the_same_bits(tmp_path):
    path = nep_reference.write_model(tmp_path / "nep.txt")
    engine = nep_engine(SingleProcess(), EmulatedGpuBackend("mixed"), path)
    fly(engine)
    state, energy = engine.state(), engine.potential_energy()
    other = nep_engine(SingleProcess(), EmulatedGpuBackend("mixed"), path)
    other.compute()
    other.restore(state)
    other.compute()
    assert other.potential_energy() == energy
