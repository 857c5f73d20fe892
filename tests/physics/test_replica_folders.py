"""Folders of replicated runs: nothing finished is lost, nothing foreign is pooled, signals are heard everywhere."""

from pathlib import Path

import pytest
from test_nemd import small_job

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.dynamics.stop import CONTINUE, STOP, Requeue
from hpcthermo.errors import InputError
from hpcthermo.transport import nemd
from hpcthermo.transport.nemd import run_nemd


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    return small_job(execution={"replicas": 2}, nemd={"duration_ps": 0.2})


@pytest.fixture
def half_done(job, tmp_path, monkeypatch) -> Path:
    """Replica 0 is finished, the run was then asked to stop."""
    run_replica, runs = nemd.run_replica, []

    def count(*arguments):
        run_replica(*arguments)
        runs.append(1)

    with monkeypatch.context() as patch:
        patch.setattr(nemd, "run_replica", count)
        with pytest.raises(Requeue, match="before replica 1"):
            run_nemd(job, SingleProcess(), tmp_path, False, lambda: STOP if runs else CONTINUE)
    return tmp_path


def test_a_new_start_keeps_what_is_finished(half_done, job):
    before = (half_done / "replica_000" / "results.h5").read_bytes()
    with pytest.raises(InputError, match="1 of 2 replicas are finished"):
        run_nemd(job, SingleProcess(), half_done)
    assert (half_done / "replica_000" / "results.h5").read_bytes() == before
    with pytest.raises(InputError, match="results of another job"):
        run_nemd(job.model_copy(update={"seed": 99}), SingleProcess(), half_done, resume=True)
    lock = FolderLock(half_done, SingleProcess())
    assert lock.took_over == ""
    with pytest.raises(InputError, match="another run is writing"):
        run_nemd(job, SingleProcess(), half_done, resume=True)
    lock.release()
    run_nemd(job, SingleProcess(), half_done, resume=True)
    assert (half_done / "replica_000" / "results.h5").read_bytes() == before
    assert (half_done / "summary.json").exists()
