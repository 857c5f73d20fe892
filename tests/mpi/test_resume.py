"""Resumed runs end in the same bits; damaged checkpoints, full disks and taken folders do no harm."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from small_job import INTEGRATORS, MeanEnergies, final_state, fresh_engine, resumed

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.dynamics import checkpoint
from hpcthermo.dynamics.checkpoint import CheckpointStore, pack_shard, unpack_shard
from hpcthermo.dynamics.fire import Fire
from hpcthermo.dynamics.lock import LOCK_FILE, FolderLock
from hpcthermo.dynamics.loop import Checkpointer, run_stage
from hpcthermo.dynamics.relax import make_minimizer
from hpcthermo.dynamics.stop import STOP, Requeue
from hpcthermo.errors import InputError, ResourceError

STEPS = 40


def shared_folder(comm, tmp_path):
    return comm.bcast(tmp_path)


def undisturbed(comm, kind, steps=STEPS):
    engine = fresh_engine(comm)
    integrator, observers = INTEGRATORS[kind](engine), [MeanEnergies()]
    run_stage(engine, integrator, observers, 0, steps)
    return final_state(engine, integrator, observers)


def stopped_at(comm, kind, store, step):
    """A run that is asked to stop in its step number `step`."""
    engine, integrator, observers, first = resumed(store, comm, kind)
    calls = [first]

    def flag():
        calls[0] += 1
        # only one rank gets the signal
        return STOP if calls[0] >= step and comm.rank == comm.size - 1 else 0

    with pytest.raises(Requeue) as stop:
        run_stage(engine, integrator, observers, first, STEPS, Checkpointer(store, 0), stop_flag=flag)
    assert stop.value.exit_code == 75
    assert f"after step {step}" in str(stop.value)


def finished(comm, kind, store):
    engine, integrator, observers, step = resumed(store, comm, kind)
    run_stage(engine, integrator, observers, step, STEPS)
    return final_state(engine, integrator, observers)


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    assert [name for name in first if first[name].tobytes() != second[name].tobytes()] == []


def resumes_exactly(comm, kind, folder):
    lock = FolderLock(folder, comm)
    store = CheckpointStore(folder, comm, lock)
    generator = np.random.default_rng(len(kind))
    for step in sorted(generator.choice(np.arange(1, STEPS), 2, replace=False).tolist()):
        stopped_at(comm, kind, store, step)
    assert_same_bits(finished(comm, kind, store), undisturbed(comm, kind))
    lock.release()


@pytest.mark.parametrize("kind", INTEGRATORS)
def test_one_rank_resumes_to_the_same_bits(kind, tmp_path):
    resumes_exactly(SingleProcess(), kind, tmp_path)


@pytest.mark.parallel(2)
@pytest.mark.parametrize("kind", INTEGRATORS)
def test_two_ranks_resume_to_the_same_bits(kind, tmp_path):
    comm = world_communicator()
    resumes_exactly(comm, kind, shared_folder(comm, tmp_path))


@pytest.mark.parallel(2)
def test_another_number_of_ranks_continues_the_same_physics(tmp_path):
    comm = world_communicator()
    folder = shared_folder(comm, tmp_path)
    for kind in ("baths", "npt", "nose_hoover"):
        # two ranks stop, rank 0 alone goes on; and the other way round
        stopped_at(comm, kind, CheckpointStore(folder / kind, comm, FolderLock(folder / kind, comm)), 20)
        finals = [undisturbed(comm, kind)]
        if comm.rank == 0:
            alone = SingleProcess()
            lock = FolderLock(folder / f"{kind}1", alone)
            stopped_at(alone, kind, CheckpointStore(folder / f"{kind}1", alone, lock), 20)
            shutil.copytree(folder / kind, folder / f"{kind}2", ignore=shutil.ignore_patterns(LOCK_FILE))
            lock = FolderLock(folder / f"{kind}2", alone)
            finals.append(finished(alone, kind, CheckpointStore(folder / f"{kind}2", alone, lock)))
        comm.barrier()
        lock = FolderLock(folder / f"{kind}3", comm)
        if comm.rank == 0:
            shutil.copytree(folder / f"{kind}1" / "checkpoints", folder / f"{kind}3" / "checkpoints")
        comm.barrier()
        finals.append(finished(comm, kind, CheckpointStore(folder / f"{kind}3", comm, lock)))
        if comm.rank == 0:
            for other in finals[1:]:
                assert np.abs(other["positions"] - finals[0]["positions"]).max() < 1e-4
                assert np.abs(other["cell"] - finals[0]["cell"]).max() < 1e-6
                assert other["ledgers"] == pytest.approx(finals[0]["ledgers"], rel=1e-4, abs=1e-4)
                assert other["observer_rows"] == pytest.approx(finals[0]["observer_rows"], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("algorithm", ["fire", "lbfgs"])
@pytest.mark.parametrize("free", [(), ("xx", "yy", "zz", "xy")])
def test_a_minimiser_resumes_to_the_same_bits(algorithm, free):
    comm = SingleProcess()

    def minimizer(engine):
        return make_minimizer(engine, algorithm, 1e-7, free, stress_tolerance_GPa=1e-6)

    finals = []
    for stops in ((), (7, 19)):
        engine = fresh_engine(comm, (3, 3, 3))
        # velocities of the start shake the crystal
        velocities = engine.system.velocities
        engine.system.positions[:engine.system.n_owned] += 0.3 * velocities / velocities.std()
        engine.compute()
        mover = minimizer(engine)
        first = 0
        for stop in (*stops, 30):
            run_stage(engine, mover, [], first, stop)
            state, first = (engine.state(), mover.state()), stop
            engine = fresh_engine(comm, (3, 3, 3))
            mover = minimizer(engine)
            engine.restore(state[0])
            mover.restore(state[1])
        finals.append(engine.system.positions.tobytes())
    assert finals[0] == finals[1]


def test_a_minimiser_resumed_after_its_last_step_does_no_more():
    engine = fresh_engine(SingleProcess(), (3, 3, 3))
    fire = Fire(1e3)
    done = run_stage(engine, fire, [], 0, 40)
    again = Fire(1e3)
    again.restore(fire.state())
    assert done == 1
    assert run_stage(engine, again, [], done, 40) == done


# ---- files -------------------------------------------------------------------------------------------


def written(tmp_path, steps=(3, 6)):
    comm = SingleProcess()
    lock = FolderLock(tmp_path, comm)
    store = CheckpointStore(tmp_path, comm, lock)
    generator = np.random.default_rng(1)
    for step in steps:
        shard = {"engine/positions": generator.normal(size=(50, 3)), "name": np.array([b"Ar"])}
        store.write(step, shard, {"seed": step})
    return store


def test_shards_keep_every_bit_and_give_the_same_bytes():
    arrays = {"a/b": np.array([0.1, -0.0, np.nan]), "a/c": np.zeros((0, 3), np.int32), "d": np.array(7),
              "e": np.array([b"x"])}
    content = pack_shard(arrays)
    assert content == pack_shard(dict(reversed(arrays.items())))
    back = unpack_shard(content)
    assert back.keys() == arrays.keys()
    for name, value in arrays.items():
        assert (back[name].dtype, back[name].shape, back[name].tobytes()) == (value.dtype, value.shape, value.tobytes())


def test_two_generations_are_kept(tmp_path):
    store = written(tmp_path, (3, 6, 9))
    assert [g.step for g in store.generations()] == [9, 6]
    assert sorted(p.name for p in store.folder.iterdir()) == ["step-000000000006", "step-000000000009"]
    generation, complaints = store.newest()
    assert generation.facts == {"seed": 9}
    assert complaints == []


@pytest.mark.parametrize("target", ["shard", "manifest"])
def test_damaged_checkpoints_are_passed_over(target, tmp_path):
    store = written(tmp_path)
    newest = store.generations()[0]
    path = newest.folder / (newest.shards[0][0] if target == "shard" else "manifest.json")
    whole = path.read_bytes()
    generator = np.random.default_rng(2)
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            del damaged[int(generator.integers(len(whole))):]
        else:
            damaged[int(generator.integers(len(whole)))] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        generation, complaints = store.newest()
        assert generation.step == 3
        assert target == "manifest" or "step 6 is damaged" in complaints[0]
    path.unlink()
    assert store.newest()[0].step == 3
    path.write_bytes(whole)
    assert store.newest()[0].step == 6


def test_no_whole_checkpoint_is_none(tmp_path):
    store = written(tmp_path, (3,))
    shutil.rmtree(store.generations()[0].folder)
    assert store.newest() == (None, [])


def test_full_disk_names_path_and_bytes_and_keeps_the_previous(tmp_path, monkeypatch):
    store = written(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    expected = r"step-000000000009/rank-00000\..*h5: \d+ bytes cannot be written \(No space"
    with pytest.raises(ResourceError, match=expected):
        store.write(9, {"engine/positions": np.zeros(10)}, {})
    monkeypatch.undo()
    assert [g.step for g in store.generations()] == [6, 3]
    assert not (store.folder / "step-000000000009").exists()
    assert store.newest()[0].step == 6


@pytest.mark.parallel(2)
def test_a_full_disk_of_one_rank_stops_all(tmp_path, monkeypatch):
    comm = world_communicator()
    folder = shared_folder(comm, tmp_path)
    store = CheckpointStore(folder, comm, FolderLock(folder, comm))
    store.write(3, {"x": np.arange(3.0)}, {})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if comm.rank == 1:
        monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(ResourceError, match="rank-00001"):
        store.write(6, {"x": np.arange(3.0)}, {})
    comm.barrier()
    assert [g.step for g in store.generations()] == [3]


# ---- lock --------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]), SingleProcess())
print("held", flush=True)
time.sleep(100)
"""


def test_a_live_writer_is_refused_and_a_dead_one_replaced(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=f"process {holder.pid} on "):
        FolderLock(tmp_path, SingleProcess())
    holder.kill()
    holder.wait()
    lock = FolderLock(tmp_path, SingleProcess())
    assert str(holder.pid) in lock.took_over
    assert lock.is_held()
    lock.release()
    assert not lock.is_held()
    assert FolderLock(tmp_path, SingleProcess()).took_over == ""


def test_a_writer_on_another_host_counts_by_its_heartbeat(tmp_path):
    entry = {"host": "elsewhere", "pid": 1, "started": 1.0, "token": "x"}
    (tmp_path / LOCK_FILE).write_text(json.dumps(entry))
    with pytest.raises(InputError, match="process 1 on elsewhere"):
        FolderLock(tmp_path, SingleProcess())
    old = time.time() - 1000.0
    os.utime(tmp_path / LOCK_FILE, (old, old))
    assert FolderLock(tmp_path, SingleProcess()).took_over == "process 1 on elsewhere"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b'{"pid": "x"}'])
def test_a_damaged_lock_is_taken_over(content, tmp_path):
    (tmp_path / LOCK_FILE).write_bytes(content)
    assert FolderLock(tmp_path, SingleProcess()).is_held()


def test_a_run_that_lost_its_lock_writes_nothing(tmp_path):
    store = written(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    entry = json.loads((tmp_path / LOCK_FILE).read_text())
    (tmp_path / LOCK_FILE).write_text(json.dumps({**entry, "token": "of another"}))
    with pytest.raises(ResourceError, match="taken this folder over"):
        store.write(9, {"x": np.zeros(3)}, {})
    assert sorted(tmp_path.rglob("*")) == before
