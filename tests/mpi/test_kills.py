"""SIGKILL of a rank, the launcher, or the whole group at random moments: the run resumes to the same bits.

Jobs run on two ranks with baths, averages in progress and a checkpoint every few steps. Kills
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
from rank_launcher import mpi_environment, mpiexec

from hpcthermo.results import read_results

SCRIPT = Path(__file__).with_name("small_job.py")
LIVES_ON_AT_MOST = 10.0
TIMEOUT = 120.0
VICTIMS = ("rank", "launcher", "group")
#: in this one only the ranks survive, and must notice it themselves
ALL_LAUNCHERS = "launcher and its proxies"


class ScriptJob:
    """small_job.py: fast, so that a kill costs little."""

    steps, interval = 90, 4
    rank_marks = ("small_job.py",)

    def command(self, folder):
        return [mpiexec(), "-n", "2", sys.executable, "-m", "mpi4py", str(SCRIPT), str(folder), str(self.steps),
                str(self.interval), "--pause", "0.004"]

    def final_bits(self, folder):
        with np.load(folder / "final.npz") as final:
            return {name: final[name].tobytes() for name in final.files}


class CommandJob:
    """``hpcthermo run`` of a small NEMD job with a stage of constant pressure before it."""

    steps, interval = 240, 20
    rank_marks = ("mpi4py", "hpcthermo", "run")

    def command(self, folder):
        job = folder.parent / "job.toml"
        job.write_text(COMMAND_JOB.format(interval=self.interval))
        return [sys.executable, "-m", "hpcthermo", "run", str(job), "--out", str(folder), "-n", "2", "--resume"]

    def final_bits(self, folder):
        quantities = read_results(folder / "results.h5").quantities
        return {name: np.ascontiguousarray(quantity.values).tobytes() for name, quantity in quantities.items()}


COMMAND_JOB = """
kind = "nemd"
seed = 4
[structure]
builder = "layered_stack"
spacing_A = 3.4
vacuum_A = 20.0
lattice = "mean"
layers = [{{material = "graphene", count = 3, repeat = [4, 3]}}, {{material = "h-BN", count = 3, repeat = [4, 3]}}]
[[potential]]
name = "tersoff_bnc"
[[potential]]
name = "lj_gr_hbn"
[execution]
skin_A = 1.0
[[stage]]
ensemble = "npt"
temperature_K = 300
free_components = ["xx", "yy"]
timestep_fs = 1.0
steps = 100
[nemd]
fixed_layers = [0]
source_layers = [1]
sink_layers = [-1]
temperature_K = 300
temperature_difference_K = 100
timestep_fs = 1.0
duration_ps = 0.14
sample_interval_fs = 2
samples_per_average = 7
heat_current = true
[output]
checkpoint_interval_steps = {interval}
series_interval_steps = 10
"""


def start(job, folder):
    log = (folder.parent / f"{folder.name}.log").open("ab")
    return subprocess.Popen(job.command(folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                            env=mpi_environment(), start_new_session=True)


def finish(job, folder):
    process = start(job, folder)
    try:
        assert process.wait(TIMEOUT) == 0, (folder.parent / f"{folder.name}.log").read_text()[-3000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return job.final_bits(folder)


def step_of(folder):
    """Step of the newest complete checkpoint."""
    return max((int(p.parent.name.removeprefix("step-")) for p in folder.glob("checkpoints/step-*/manifest.json")),
               default=0)


def writing_checkpoint(folder):
    return any(not (path / "manifest.json").exists() for path in folder.glob("checkpoints/step-*"))


def kill_once(job, folder, victim, generator):
    """Start or resume the job and kill its victim at a random moment; False if it ended before."""
    last_goal = job.steps - job.interval
    goal = generator.randint(min(step_of(folder), last_goal), last_goal)
    during_write = generator.random() < 0.4
    process = start(job, folder)
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        if step_of(folder) >= goal and (not during_write or writing_checkpoint(folder)):
            break
        time.sleep(0.0005)
    time.sleep(generator.random() * (0.0005 if during_write else 0.02))
    if process.poll() is not None:
        return False
    family = psutil.Process(process.pid).children(recursive=True)
    ranks = [p for p in family if is_rank(job, p)]
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
    _, alive = psutil.wait_procs(family, LIVES_ON_AT_MOST)
    for orphan in alive:
        orphan.kill()
    assert not alive, f"{alive} lived on after the {victim} was killed"
    return True


def is_rank(job, process):
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    text = " ".join(command)
    return command[:1] == [sys.executable] and all(mark in text for mark in job.rank_marks)


def kill_and_compare(job, folder, victims, generator, expected):
    kills = sum(kill_once(job, folder, victim, generator) for victim in victims)
    final = finish(job, folder)
    assert final.keys() == expected.keys()
    differing = [name for name, bits in final.items() if bits != expected[name]]
    assert not differing, f"{differing} differ after kills of {victims}"
    return kills


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return finish(ScriptJob(), tmp_path_factory.mktemp("undisturbed") / "run")


def test_five_kills_of_one_run(tmp_path, undisturbed):
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    kills = kill_and_compare(ScriptJob(), tmp_path / "run", ("rank", "launcher", "group", ALL_LAUNCHERS, "rank"),
                             random.Random(seed), undisturbed)
    assert kills >= 3


def many_kills(job, tmp_path, count, expected):
    generator, kills = random.Random(20240607), 0
    while kills < count:
        kills += kill_and_compare(job, tmp_path / f"run{kills}", (VICTIMS[kills % 3],), generator, expected)


@pytest.mark.slow
def test_a_hundred_kills(tmp_path, undisturbed):
    many_kills(ScriptJob(), tmp_path, 100, undisturbed)


@pytest.mark.slow
def test_kills_of_the_command(tmp_path):
    job = CommandJob()
    victims = ("launcher", "rank", "group", ALL_LAUNCHERS, "launcher", "rank")
    expected = finish(job, tmp_path / "undisturbed")
    assert kill_and_compare(job, tmp_path / "run", victims, random.Random(3), expected) >= 4


def test_term_signal_on_one_rank_ends_all_with_a_checkpoint(tmp_path, undisturbed):
    job, folder = ScriptJob(), tmp_path / "run"
    process = start(job, folder)
    while step_of(folder) < 8 and process.poll() is None:
        time.sleep(0.005)
    ranks = [p for p in psutil.Process(process.pid).children(recursive=True) if is_rank(job, p)]
    ranks[1].send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 75
    assert f"after step {step_of(folder)}; continue with --resume" in (tmp_path / "run.log").read_text()
    assert finish(job, folder) == undisturbed


RANK = """
import os, time
from hpcthermo.dynamics.stop import LauncherWatch
watch = LauncherWatch()
watch.start()
print(os.getpid(), len(watch.watched), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("launched", [True, False])
def test_a_rank_ends_with_its_launcher_and_another_process_does_not(launched):
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {RANK!r}])"
    environment = {**mpi_environment(), **({"PMI_SIZE": "1"} if launched else {})}
    process = subprocess.Popen([sys.executable, "-c", launcher], stdout=subprocess.PIPE, env=environment)
    pid, watched = (int(word) for word in process.stdout.readline().split())
    rank = psutil.Process(pid)
    assert watched == int(launched)
    process.kill()
    process.wait()
    alive = psutil.wait_procs([rank], 5.0 if launched else 1.5)[1]
    for other in alive:
        other.kill()
    assert bool(alive) != launched


def test_a_second_writer_is_refused(tmp_path):
    job, folder = ScriptJob(), tmp_path / "run"
    first = start(job, folder)
    while step_of(folder) < 4 and first.poll() is None:
        time.sleep(0.005)
    second = start(job, folder)
    assert second.wait(TIMEOUT) == 2
    assert "another run is writing there" in (tmp_path / "run.log").read_text()
    assert first.wait(TIMEOUT) == 0
