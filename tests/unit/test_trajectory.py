"""A trajectory that is missing, short, or not writable when a run goes on; the checkpoint of the tuned skin."""

import json
import logging
import sys
from pathlib import Path

import pytest
from test_run import run, write_job

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.errors import ResourceError
from hpcthermo.trajectory import TrajectoryObserver

sys.path.insert(0, str(Path(__file__).parents[1] / "physics"))
from argon import argon_engine, fcc


@pytest.fixture
def engine():
    return argon_engine(fcc((3, 3, 3), 5.4), 50.0, skin=0.5)


def observer_after(folder, lock, n_bytes):
    observer = TrajectoryObserver(folder, lock, 1.0, False)
    observer.restore({"bytes": n_bytes})
    return observer


@pytest.mark.parametrize("present", [None, b"short"])
def test_a_short_file_starts_anew(engine, tmp_path, present, caplog):
    path, lock = tmp_path / "trajectory.xyz", FolderLock(tmp_path, SingleProcess())
    if present is not None:
        path.write_bytes(present)
    with caplog.at_level(logging.WARNING, logger="hpcthermo"):
        logging.getLogger("hpcthermo").addHandler(caplog.handler)
        observer = observer_after(tmp_path, lock, 1000)
        observer.sample(5, engine, None)
        logging.getLogger("hpcthermo").removeHandler(caplog.handler)
    content = path.read_bytes()
    assert b"\0" not in content
    assert content.startswith(b"108\nLattice")
    assert int(observer.state()["bytes"]) == len(content)
    assert "starts anew" in caplog.text
    lock.release()


def test_a_file_that_cannot_be_written_is_one_line(engine, tmp_path):
    lock = FolderLock(tmp_path, SingleProcess())
    (tmp_path / "trajectory.xyz").mkdir()
    with pytest.raises(ResourceError, match=r"trajectory\.xyz: cannot be written"):
        observer_after(tmp_path, lock, 0).sample(5, engine, None)
    lock.release()


def test_a_run_that_lost_its_folder_appends_nothing(engine, tmp_path):
    lock = FolderLock(tmp_path, SingleProcess())
    entry = json.loads(lock.path.read_text())
    lock.path.write_text(json.dumps({**entry, "token": "of another"}))
    with pytest.raises(ResourceError, match="taken this folder over"):
        observer_after(tmp_path, lock, 0).sample(5, engine, None)
    assert not (tmp_path / "trajectory.xyz").exists()
    lock.release()


def test_a_tuned_skin_is_in_a_checkpoint_before_the_first_step(tmp_path):
    stages = """
execution.skin_A = "auto"
output.series_interval_steps = 1
[[stage]]
ensemble = "nve"
temperature_K = 200
timestep_fs = 0.5
steps = 3
"""
    job = write_job(tmp_path, "md", stages)
    job.write_text(job.read_text().replace("execution.skin_A = 1.0\n", ""))
    assert run(job, tmp_path / "out") == 0
    manifest = json.loads((tmp_path / "out" / "checkpoints" / "step-000000000000" / "manifest.json").read_text())
    skin = manifest["content"]["facts"]["tuned"]["skin_A"]
    assert run(job, tmp_path / "out", "--resume") == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["run"]["skin_A"] == skin
