"""Folders of replicated runs: nothing finished is lost, nothing foreign is pooled, signals are heard everywhere."""

import json
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


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from hpcthermo import plots, run
from hpcthermo.domain.comm import launcher_rank
from hpcthermo.progress import Progress
plots.draw_figures = lambda folder: []
update = Progress.update
def with_signal(self, step):
    update(self, step)
    if launcher_rank() == 1 and step == 77:
        os.kill(os.getpid(), signal.SIGTERM)
Progress.update = with_signal
sys.exit(run.run_job(Path(sys.argv[1]), Path(sys.argv[2]), False))
"""


def test_a_stopped_replica_waits_for_the_other_and_asks_for_a_requeue(job, tmp_path, ranks_runner):
    """Replica 1 gets the signal early, replica 0 none: it ends, its results stay, and the run leaves with 75."""
    source = tmp_path / "job.toml"
    source.write_text(JOB)
    result = ranks_runner(2, ["-m", "mpi4py", "-c", SIGNALLED, str(source), str(tmp_path / "run")])
    assert result.returncode == 75, result.stdout
    assert (tmp_path / "run" / "replica_000" / "summary.json").exists()
    manifests = (tmp_path / "run" / "replica_001" / "checkpoints").glob("step-*/manifest.json")
    assert max(json.loads(path.read_text())["content"]["step"] for path in manifests) in (77, 78)


JOB = """
kind = "nemd"
potential = ["tersoff_bnc", "lj_gr_hbn"]
execution = {skin_A = 1.0, replicas = 2}
[structure]
builder = "layered_stack"
vacuum_A = 20.0
layers = [{material = "h-BN", count = 3, repeat = [3, 2]}, {material = "graphene", count = 3, repeat = [3, 2]}]
[nemd]
fixed_layers = [0]
sink_layers = [1]
source_layers = [-1]
temperature_K = 300
temperature_difference_K = 200
timestep_fs = 0.5
duration_ps = 0.2
sample_interval_fs = 5
samples_per_average = 2
"""
