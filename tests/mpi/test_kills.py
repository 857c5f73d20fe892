"""SIGKILL of a rank, the launcher, or the whole group at random moments: the run resumes to the same bits.

The job of small_job.py runs on two ranks with baths, an average in progress and a checkpoint every few steps. Kills
aim at random moments and at checkpoints being written. After each, no process of the job may live on for more than a
few seconds, and the resumed run must end in the same bits as one that nobody disturbed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import mpi_environment, mpiexec

SCRIPT = Path(__file__).with_name("small_job.py")
STEPS, INTERVAL, PAUSE = 90, 4, 0.004
LIVES_ON_AT_MOST = 10.0
TIMEOUT = 120.0
VICTIMS = ("rank", "launcher", "group")
#: in this one only the ranks survive, and must notice it themselves
ALL_LAUNCHERS = "launcher and its proxies"


def start(folder):
    command = [mpiexec(), "-n", "2", sys.executable, "-m", "mpi4py", str(SCRIPT), str(folder), str(STEPS),
               str(INTERVAL), "--pause", str(PAUSE)]
    log = (folder.parent / f"{folder.name}.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=mpi_environment(),
                            start_new_session=True)


def finish(folder):
    process = start(folder)
    try:
        assert process.wait(TIMEOUT) == 0, (folder.parent / f"{folder.name}.log").read_text()[-3000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return final_bits(folder)


def final_bits(folder):
    with np.load(folder / "final.npz") as final:
        return {name: final[name].tobytes() for name in final.files}


def step_of(folder):
    try:
        return int((folder / "step").read_text() or 0)
    except (OSError, ValueError):
        return 0


def writing_checkpoint(folder):
    return any(not (path / "manifest.json").exists() for path in folder.glob("checkpoints/step-*"))


def kill_once(folder, victim, generator):
    """Start or resume the job and kill its victim at a random moment; False if it ended before."""
    before = step_of(folder)
    goal = generator.randint(before, STEPS - 1)
    during_write = generator.random() < 0.4
    process = start(folder)
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        if step_of(folder) >= goal and (not during_write or writing_checkpoint(folder)):
            break
        time.sleep(0.0005)
    time.sleep(generator.random() * (0.0005 if during_write else 0.02))
    if process.poll() is not None:
        return False
    family = [p for p in psutil.Process(process.pid).children(recursive=True) if p.is_running()]
    ranks = [p for p in family if "small_job.py" in " ".join(_command(p))]
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == ALL_LAUNCHERS:
        for other in [psutil.Process(process.pid), *(p for p in family if p not in ranks)]:
            other.kill()
    elif victim == "launcher" or not ranks:
        process.kill()
    else:
        generator.choice(ranks).kill()
    process.wait(TIMEOUT)
    # reparented processes are not our children: watch their ids
    _, alive = psutil.wait_procs(family, LIVES_ON_AT_MOST)
    for orphan in alive:
        orphan.kill()
    assert not alive, f"{alive} lived on after the {victim} was killed"
    return True


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("undisturbed") / "run")


def kill_and_compare(folder, victims, generator, undisturbed):
    kills = 0
    for victim in victims:
        kills += kill_once(folder, victim, generator)
    final = finish(folder)
    assert final.keys() == undisturbed.keys()
    differing = [name for name, bits in final.items() if bits != undisturbed[name]]
    assert not differing, f"{differing} differ after kills of {victims}"
    return kills


def test_five_kills_of_one_run(tmp_path, undisturbed):
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    assert kill_and_compare(tmp_path / "run", ("rank", "launcher", "group", ALL_LAUNCHERS, "rank"), random.Random(seed),
                            undisturbed) >= 3


@pytest.mark.slow
def test_a_hundred_kills(tmp_path, undisturbed):
    generator = random.Random(20240607)
    kills = 0
    while kills < 100:
        kills += kill_and_compare(tmp_path / f"run{kills}", (VICTIMS[kills % 3],), generator, undisturbed)


def test_term_signal_on_one_rank_ends_all_with_a_checkpoint(tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = start(folder)
    while step_of(folder) < 10 and process.poll() is None:
        time.sleep(0.005)
    ranks = [p for p in psutil.Process(process.pid).children(recursive=True) if "small_job.py" in " ".join(_command(p))]
    ranks[1].send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 75
    assert "continue with --resume" in (tmp_path / "run.log").read_text()
    stopped = max(int(p.parent.name.removeprefix("step-")) for p in folder.glob("checkpoints/step-*/manifest.json"))
    assert stopped == step_of(folder)
    assert finish(folder) == undisturbed


def test_a_second_writer_is_refused(tmp_path):
    folder = tmp_path / "run"
    first = start(folder)
    while step_of(folder) < 2 and first.poll() is None:
        time.sleep(0.005)
    second = start(folder)
    assert second.wait(TIMEOUT) == 2
    assert "another run is writing there" in (tmp_path / "run.log").read_text()
    assert first.wait(TIMEOUT) == 0
