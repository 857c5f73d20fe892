"""Starting ranks: the right launcher, signals to the ranks, the exit code back."""

import os
import signal
import subprocess
import sys
import time

import pytest
from job_files import NEMD_JOB

from hpcthermo import launch
from hpcthermo.errors import InputError, ResourceError


@pytest.mark.parametrize(
    ("text", "family"),
    [("MPICH Version: 5.0.0", "MPICH"), ("HYDRA build details:", "MPICH"), ("Intel(R) MPI Library 2021.13", "MPICH"),
     ("Open MPI v5.0.5", "Open MPI"), ("mpiexec (OpenRTE) 4.1.4", "Open MPI"), ("mpiexec (Open MPI) 5", "Open MPI"),
     ("something", "")],
)
def test_families(text, family):
    assert launch.mpi_family(text) == family


def test_the_launcher_belongs_to_the_library():
    installation = launch.find_installation()
    assert installation.family
    assert os.access(installation.launcher, os.X_OK)


def test_a_foreign_launcher_is_refused(tmp_path, monkeypatch):
    foreign = tmp_path / "mpiexec"
    foreign.write_text("#!/bin/sh\necho 'mpiexec (OpenRTE) 4.1.4'\n")
    foreign.chmod(0o755)
    monkeypatch.setattr(launch, "mpi_library", lambda: "MPICH Version: 5.0.0")
    monkeypatch.setattr(launch, "_launchers", lambda: [str(foreign)])
    with pytest.raises(ResourceError, match=r"another MPI: .*Open MPI"):
        launch.find_installation()
    monkeypatch.setattr(launch, "_launchers", list)
    with pytest.raises(ResourceError, match="no mpiexec"):
        launch.find_installation()


@pytest.mark.parametrize("ranks", [0, -1, 10**6])
def test_a_number_of_ranks_that_makes_no_sense_is_refused(ranks):
    with pytest.raises(InputError):
        launch.start_ranks(ranks, ["--help"])


def test_the_exit_code_of_the_ranks_comes_back(tmp_path):
    assert launch.start_ranks(2, ["run", str(tmp_path / "absent.toml")]) == 2


SCRIPT = """
import sys
from hpcthermo import launch
launch._RANK_MODULE = ["-c", '''{rank}''']
sys.exit(launch.start_ranks(2, []))
"""
RANK = """
import signal, sys, time, pathlib
from mpi4py import MPI
def leave(*_):
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
pathlib.Path(r"{folder}", str(MPI.COMM_WORLD.rank)).write_text(str(__import__("os").getpid()))
time.sleep(60)
"""


def start(tmp_path) -> tuple[subprocess.Popen, list[int]]:
    rank = RANK.format(folder=tmp_path)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(rank=rank)])
    deadline = time.monotonic() + 30
    while not all((tmp_path / str(r)).exists() and (tmp_path / str(r)).read_text() for r in range(2)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, [int((tmp_path / str(r)).read_text()) for r in range(2)]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_sigterm_reaches_every_rank_and_75_comes_back(tmp_path):
    process, ranks = start(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 75
    assert not any(alive(pid) for pid in ranks)


def test_no_rank_outlives_a_killed_launcher(tmp_path):
    process, ranks = start(tmp_path)
    process.kill()
    process.wait(10)
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in ranks):
        assert time.monotonic() < deadline, "a rank is still alive"
        time.sleep(0.1)


def test_a_shell_of_one_slurm_task_starts_its_own_ranks(monkeypatch):
    """``srun --pty bash``: one task, which is no reason to refuse ``-n 4`` and no place to start them through srun."""
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert launch.needs_launcher(4)
    assert not launch.needs_launcher(1)
    assert not any(name.startswith("SLURM_") for name in launch._rank_environment("MPICH"))
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(InputError, match="a launcher has started 2"):
        launch.needs_launcher(4)


@pytest.mark.slow
def test_bench_on_ranks_refuses_a_wrong_species_with_one_line(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(NEMD_JOB.replace("tersoff_bnc", "tersoff_si"))
    result = subprocess.run([sys.executable, "-m", "hpcthermo", "bench", str(path), "-n", "2"], capture_output=True,
                            text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert len((result.stdout + result.stderr).strip().splitlines()) == 1, result.stderr
