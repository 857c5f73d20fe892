"""gpu/cuda.py and CudaBackend on a fake CuPy: order of calls, recorded work, copies, readings; whole engines."""

import nep_reference
import numpy as np
import pytest
from device_cases import compare_flights, job_on, nep_engine, same_results, stages
from fake_cupy import BLOCKS_PER_MULTIPROCESSOR, MULTIPROCESSORS, USED, FakeCudaError, installed_cupy

from hpcthermo import preparation
from hpcthermo.domain.comm import SingleProcess, Transport, world_communicator
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.errors import InputError
from hpcthermo.gpu import cuda
from hpcthermo.gpu.backend import CpuBackend, CudaBackend
from hpcthermo.gpu.clock import LaunchClock
from hpcthermo.run import run_md
from hpcthermo.transport.observers import Sample

WORK, COPIES = 0, 1  # numbers of the streams


@pytest.fixture
def cupy():
    with installed_cupy() as fake:
        yield fake


def test_cupy_has_the_names_that_are_used():
    real = pytest.importorskip("cupy")
    for path in USED:
        found = real
        for name in path.split("."):
            found = getattr(found, name)


def test_launches(cupy):
    backend = CudaBackend("double")
    assert cupy.current is cupy.streams[WORK]
    velocities, positions = cupy.asarray(np.ones((300, 3))), cupy.asarray(np.zeros((300, 3)))
    backend.launch("integrate", "drift", 0, 300, 0.5, velocities, positions, per="thread")
    assert np.all(backend.to_host(positions) == 0.5)
    assert cupy.launched == [("drift", 3, cuda.THREADS_PER_BLOCK, False)]
    with pytest.raises(ValueError, match="C-contiguous"):
        backend.launch("integrate", "drift", 0, 300, 0.5, velocities[::2], positions, per="thread")
    with pytest.raises(AssertionError, match="of another type"):
        backend.launch("integrate", "drift", 0, 300, 1, velocities, positions, per="thread")
    for wrong in (np.float32(0.5), np.zeros((300, 3)), "0.5"):
        with pytest.raises(TypeError, match=f"not {type(wrong).__name__}"):
            backend.launch("integrate", "drift", 0, 300, wrong, velocities, positions, per="thread")


def test_scratch_launches_have_no_more_blocks_than_run_at_once(cupy, tmp_path):
    engine = nep_engine(SingleProcess(), CudaBackend("double"), nep_reference.write_model(tmp_path / "nep.txt"))
    engine.compute()
    blocks = {name: n for name, n, _, _ in cupy.launched}
    assert blocks["build_neighbors"] == MULTIPROCESSORS * BLOCKS_PER_MULTIPROCESSOR
    facts = cuda.kernel_facts("neighbors", "build_neighbors", "double", 4, 128)
    assert (facts.registers, facts.blocks_per_multiprocessor, facts.occupancy) == (64, 1, 128 / 2048)


def drifting(backend, xp):
    """Positions, and work that moves them by what stands in a device array."""
    velocities, positions = xp.asarray(np.ones((40, 3))), xp.asarray(np.zeros((40, 3)))

    def work():
        backend.launch("integrate", "drift", 0, 40, 1.0, velocities, positions, per="thread")
        velocities.fill(2.0)
        positions[:10] = velocities[10:20]

    return positions, velocities, work


def test_repeated_work_is_recorded_the_second_time(cupy):
    backend = CudaBackend("double")
    positions, velocities, work = drifting(backend, cupy)
    values = []
    for _ in range(4):
        backend.repeat("drift", work)
        values.append(float(positions[20, 0]))
    assert values == [1.0, 3.0, 5.0, 7.0]
    assert float(positions[0, 0]) == 2.0
    assert [recorded for *_, recorded in cupy.launched] == [False, True]
    assert cupy.calls == [("begin_capture", WORK), ("end_capture", WORK), *[("launch graph", WORK)] * 3]
    backend.forget()
    backend.repeat("drift", work)
    assert cupy.launched[-1][-1] is False
    # two keys do not disturb each other
    backend.repeat("other", work)
    backend.repeat("drift", work)
    backend.repeat("drift", work)
    assert [recorded for *_, recorded in cupy.launched[2:]] == [False, False, True]
    assert float(positions[20, 0]) == 15.0
    assert np.all(backend.to_host(velocities) == 2.0)


@pytest.mark.parametrize("fault", [lambda cupy: cupy.zeros(3), lambda cupy: cupy.asarray(np.zeros(2)) + 1.0])
def test_recorded_work_may_not_allocate(cupy, fault):
    backend = CudaBackend("double")
    *_, work = drifting(backend, cupy)
    backend.repeat("key", lambda: fault(cupy))
    with pytest.raises(RuntimeError, match="bytes of device memory"):
        backend.repeat("key", lambda: fault(cupy))
    # the stream is usable again
    assert cupy.calls[-1] == ("end_capture", WORK)
    backend.launch("integrate", "drift", 0, 1, 1.0, cupy.zeros(3), cupy.zeros(3), per="thread")
    backend.repeat("sound", work)


def test_recorded_work_may_not_wait(cupy):
    backend = CudaBackend("double")
    positions, *_ = drifting(backend, cupy)
    backend.repeat("key", lambda: float(positions[0, 0]))
    with pytest.raises(FakeCudaError, match="reading a value"):
        backend.repeat("key", lambda: float(positions[0, 0]))


def test_a_clock_times_each_launch_and_nothing_is_recorded(cupy):
    backend = CudaBackend("double")
    *_, work = drifting(backend, cupy)
    backend.clock = LaunchClock()
    for _ in range(3):
        backend.repeat("drift", work)
    assert backend.clock.calls == {("integrate", "drift"): 3}
    assert not any(recorded for *_, recorded in cupy.launched)


def test_copies_wait_for_work_and_work_for_copies(cupy):
    backend = CudaBackend("double")
    device, host = cupy.asarray(np.arange(6.0)), backend.host_buffer(6)
    backend.begin_copies()
    backend.copy_to_host(device, host)
    backend.finish_copies()
    assert np.array_equal(host, np.arange(6.0))
    host[:] = 7.0
    backend.copy_to_device(host, device)
    backend.join_copies()
    assert np.all(backend.to_host(device) == 7.0)
    assert cupy.calls == [
        ("record", WORK), ("wait_event", COPIES), ("copy to host", COPIES), ("synchronize", COPIES),
        ("copy to device", COPIES), ("record", COPIES), ("wait_event", WORK)]
    with pytest.raises(FakeCudaError, match="pageable"):
        backend.copy_to_host(device, np.zeros(6))


def test_messages_leave_after_the_device_has_been_given_work(cupy):
    backend, order = CudaBackend("double"), []
    comm = SingleProcess()

    class Inner:
        def start(self):
            order.append("messages")

        def progress(self):
            order.append("progress")

        def wait(self):
            order.append("arrived")

    comm.exchange = lambda sends, receives: Inner()
    exchange = Transport(comm, backend).exchange([(1, cupy.zeros((2, 3)))], [(1, cupy.zeros((4, 3)))])
    exchange.start()
    assert order == []
    assert ("synchronize", COPIES) not in cupy.calls
    for _ in range(2):
        exchange.progress()
    exchange.wait()
    assert order == ["messages", "progress", "progress", "arrived"]
    assert cupy.calls.count(("synchronize", COPIES)) == 1


def test_readings_keep_their_values(cupy):
    backend = CudaBackend("double")
    array = cupy.asarray(np.arange(4.0).reshape(2, 2))
    reading = backend.begin_read(array[1])
    array.fill(0.0)
    assert np.array_equal(reading.value(), [2.0, 3.0])
    assert cupy.calls == [("copy to host", WORK), ("record", WORK), ("wait for event", None)]


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.parallel(2))])
def test_engine(ranks, cupy, tmp_path):
    comm = world_communicator()
    compare_flights(comm, CudaBackend("double"), tmp_path)
    if comm.size > 1:
        assert ("copy to device", COPIES) in cupy.calls
    comm.barrier()


def test_recorded_steps_give_the_same_bits(tmp_path):
    path, ends = nep_reference.write_model(tmp_path / "nep.txt"), []
    for recorded in (True, False):
        with installed_cupy() as fake:
            backend = CudaBackend("mixed")
            if not recorded:
                backend.repeat = lambda key, work: work()
            engine = nep_engine(SingleProcess(), backend, path)
            mover = Integrator(engine, 0.5)
            for step in range(60):
                mover.step(engine, step, virials=step % 7 == 0)
            assert engine.rebuilds > 1
            assert (("launch graph", WORK) in fake.calls) == recorded
            ends.append(engine.domain.gather(engine.system))
    for name in ("positions", "velocities", "forces"):
        assert np.array_equal(getattr(ends[0], name), getattr(ends[1], name))


def test_threads_in_any_order_end_in_the_same_bits(tmp_path):
    """Positions, forces and sums by group of NEP runs whose lanes, warps and blocks come in opposite orders."""
    path, ends = nep_reference.write_model(tmp_path / "nep.txt"), []
    for from_last in (False, True):
        with installed_cupy(from_last):
            engine = nep_engine(SingleProcess(), CudaBackend("mixed"), path)
            mover = Integrator(engine, 0.5)
            for step in range(40):
                mover.step(engine, step, virials=step % 7 == 0)
            assert engine.rebuilds > 1
            sample = Sample(engine, mover, 40, n_groups=4)
            labels, energies = engine.system.types[:engine.system.n_owned], sample.energies
            sums = [sample.sum_by(labels[::turn], 3, energies[::turn]) for turn in (1, -1)]
            assert sums[0].tobytes() == sums[1].tobytes()
            np.testing.assert_allclose(sums[0].sum(), float(energies.sum()), rtol=1e-13)
            end = engine.domain.gather(engine.system)
            ends.append([end.positions, end.velocities, end.forces, sums[0], np.array(engine.potential_energy())])
    for first, second in zip(*ends, strict=True):
        assert first.tobytes() == second.tobytes()


def test_a_deterministic_job_on_a_gpu_is_refused_without_ordered_sums(tmp_path):
    nep = {"path": str(nep_reference.write_model(tmp_path / "nep.txt"))}
    for potential in ("tersoff_bnc", ["tersoff_bnc", "lj_gr_hbn"], [nep, "lj_gr_hbn"]):
        job = job_on("cuda", potential=potential, kind="md", stage=stages(1))
        job = job.model_copy(update={"execution": job.execution.model_copy(update={"deterministic": True})})
        with pytest.raises(InputError, match=r"execution\.deterministic: .* added on a GPU in an order that changes"):
            preparation.load_job_potential(job)
        on_cpu = job.execution.model_copy(update={"device": "cpu"})
        preparation.load_job_potential(job.model_copy(update={"execution": on_cpu}))
    preparation.load_job_potential(job.model_copy(update={"potential": job.potential[:1]}))


def test_an_ordinary_step_reads_only_the_displacement_and_late(cupy, tmp_path):
    engine = nep_engine(SingleProcess(), CudaBackend("mixed"), nep_reference.write_model(tmp_path / "nep.txt"))
    engine.system.velocities[...] = 0.0
    mover = Integrator(engine, 0.1)
    for step in range(4):
        mover.step(engine, step)
    rebuilds, transfers = engine.rebuilds, cupy.transfers
    cupy.calls.clear()
    transfers.to_host = transfers.to_device = 0
    mover.step(engine, 4)
    assert engine.rebuilds == rebuilds
    assert (transfers.to_host, transfers.to_device) == (0, 0)
    # the forces are on their way before the host looks
    assert cupy.calls == [("copy to host", WORK), ("record", WORK), ("launch graph", WORK), ("wait for event", None)]


def test_a_rebuild_moves_no_atoms_through_the_host(cupy, tmp_path):
    """What benchmarks/gpu_prediction.py counts: launches, readings, and copies of extremes and counts alone."""
    engine = nep_engine(SingleProcess(), CudaBackend("mixed"), nep_reference.write_model(tmp_path / "nep.txt"))
    for _ in range(2):
        engine.compute()
    launched, transfers = len(cupy.launched), cupy.transfers
    transfers.to_host = transfers.to_device = transfers.longest_to_host = transfers.longest_to_device = 0
    engine.rebuild()
    assert len(cupy.launched) - launched == 16
    assert transfers.to_host <= 8
    assert transfers.to_device <= 12
    # copies in each of 26 boxes come, these boxes go; the types alone of 48 atoms and 627 ghosts have 2.7 kB
    assert transfers.longest_to_host <= 26 * 4
    assert transfers.longest_to_device <= 26 * 9 * 8


@pytest.mark.slow
def test_every_ensemble(cupy, monkeypatch, tmp_path):
    monkeypatch.setattr(preparation, "make_backend", lambda device, precision, *_, **__: (
        CudaBackend if device == "cuda" else CpuBackend)(precision))
    same_results(run_md, SingleProcess(), tmp_path, kind="md", stage=stages(12))
    assert ("launch graph", WORK) in cupy.calls
