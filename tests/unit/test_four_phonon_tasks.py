"""Four-phonon linewidths as campaigns: the bits of this process on any workers, after any kill, round by round."""

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import sample_points
from sample_points import on

from hpcthermo.campaign.task import task_keys
from hpcthermo.campaign.workers import Processes, ThisThread, Threads
from hpcthermo.errors import PhysicsError
from hpcthermo.transport.bte.four_phonon_tasks import FourPhononTasks, all_processes, by_sample


@pytest.fixture(scope="module")
def problem():
    return sample_points.four_phonons()


@pytest.fixture(scope="module")
def expected(problem):
    """Of this process, and the tasks of each of its rounds."""
    rounds = []

    def stage(tasks):
        rounds.append([tasks, 0])
        return lambda done: rounds[-1].__setitem__(1, done)

    found = sample_points.sampled(problem, threads=2, stage=stage)
    assert len(rounds) > 2
    assert all(asked == done for asked, done in rounds)
    assert (found.gamma > 0.0).any()
    return found, [asked for asked, _ in rounds]


def require_equal(one, other):
    for name in ("gamma", "errors", "channels", "samples", "kappa_error"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("workers", [ThisThread(), Threads(2), Threads(4), pytest.param(
    Processes(2), marks=pytest.mark.slow)], ids=["here", "2 threads", "4 threads", "2 processes"])
def test_any_workers_give_the_bits_of_this_process(problem, expected, workers):
    require_equal(sample_points.sampled(problem, campaign=on(workers)), expected[0])


def test_all_processes_are_the_same_bits_on_any_workers(problem):
    here = all_processes(problem)
    require_equal(all_processes(problem, threads=3), here)
    require_equal(all_processes(problem, campaign=on(Threads(4))), here)


def test_a_sample_that_was_killed_goes_on_with_the_same_bits(problem, expected, tmp_path):
    found, rounds = expected
    code = subprocess.run([sys.executable, sample_points.__file__, str(tmp_path), "2", "four"], check=False,
                          timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode
    assert code == -signal.SIGKILL
    computed = []
    require_equal(sample_points.sampled(problem, campaign=on(Threads(2), tmp_path, computed)), found)
    assert computed[0] == 0
    assert 0 < computed[1] <= rounds[1] - 2
    assert computed[2:] == rounds[2:]
    # a further target takes what there is
    conductivity = sample_points.conductivity_beside(problem)
    by_sample(problem, conductivity, 2.0 * sample_points.TARGET, 100_000, campaign=on(ThisThread(), tmp_path, computed))
    assert computed[len(rounds):] == [0] * (len(computed) - len(rounds))


def test_whatever_changes_results_changes_the_names_of_tasks(problem):
    def names(of):
        function = FourPhononTasks(of)
        return task_keys(function, function.blocks([(0, 1)]))[0], task_keys(function, function.all_processes())[0]

    others = [problem, replace(problem, seed=6), replace(problem, temperatures=np.array([60.0, 401.0])),
              replace(problem, gaussian=replace(problem.gaussian, cutoff=5.0)),
              replace(problem, instruction_set="other"),
              replace(problem, fourth=replace(problem.fourth, values=problem.fourth.values * (1.0 + 1e-15)))]
    blocks, everything = zip(*map(names, others), strict=True)
    assert len({*blocks, *everything}) == 2 * len(others) - 1  # all processes know no seed
    assert problem.rates is problem.rates
    again = pickle.loads(pickle.dumps(problem))
    assert "rates" not in vars(again)
    assert names(again) == names(problem)


def test_a_task_that_fails_ends_the_job_with_its_reason(problem, monkeypatch):
    def fail(rates, index, begin, end):
        raise MemoryError("too much")

    monkeypatch.setattr(type(problem.rates), "batches", fail)
    with pytest.raises(PhysicsError, match=r"four_phonon_rates: .* too much"):
        sample_points.sampled(problem, campaign=on(ThisThread()))
