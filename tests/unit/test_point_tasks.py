"""Tasks of q-points as campaigns: the bits of threads in one process, whoever computes them, after any kill."""

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
from hpcthermo.errors import InputError, PhysicsError, ResourceError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.transport.bte import tasks
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import RateSum
from hpcthermo.transport.bte.smearing import fixed_gaussian
from hpcthermo.transport.bte.tasks import RateTasks, linewidths_and_collisions, linewidths_of


@pytest.fixture(scope="module")
def problem():
    return sample_points.problem()


@pytest.fixture(scope="module")
def expected(problem):
    """By threads of this process."""
    gamma = linewidths_of(problem, threads=2)
    assert (gamma > 0.0).sum() > 50
    return gamma


@pytest.mark.parametrize("workers", [ThisThread(), Threads(2), Threads(4), Processes(1), Processes(2)],
                         ids=["here", "2 threads", "4 threads", "1 process", "2 processes"])
def test_any_workers_give_the_bits_of_this_process(problem, expected, workers):
    np.testing.assert_array_equal(linewidths_of(problem, campaign=on(workers)), expected)


def test_a_killed_campaign_goes_on_with_the_same_bits(problem, expected, tmp_path):
    code = subprocess.run([sys.executable, sample_points.__file__, str(tmp_path), "4", "three"], check=False,
                          timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode
    assert code == -signal.SIGKILL
    computed = []
    np.testing.assert_array_equal(linewidths_of(problem, campaign=on(Threads(2), tmp_path, computed)), expected)
    assert 0 < computed[0] <= problem.rates.n_tasks - 4
    np.testing.assert_array_equal(linewidths_of(problem, campaign=on(ThisThread(), tmp_path, computed)), expected)
    assert computed[1] == 0


def test_lists_of_processes_are_the_same_from_a_store(problem, tmp_path):
    gamma, here = linewidths_and_collisions(problem, threads=2)
    stored, there = linewidths_and_collisions(problem, campaign=on(Threads(2), tmp_path))
    np.testing.assert_array_equal(stored, gamma)
    assert len(here) == len(there) > 1000
    for one, other in zip(here.whole, there.whole, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_whatever_changes_results_changes_the_names_of_tasks(problem):
    names = {task_keys(RateTasks(problem), RateTasks(problem).tasks())[0]}
    others = [replace(problem, split=True), replace(problem, temperatures=np.array([50.0, 301.0])),
              replace(problem, third=None), replace(problem, instruction_set="other"),
              replace(problem, gaussian=fixed_gaussian(problem.phonons.frequencies.shape, 0.1)),
              replace(problem, third=replace(problem.third, values=problem.third.values * (1.0 + 1e-15)))]
    for other in others:
        names.add(task_keys(RateTasks(other), RateTasks(problem).tasks())[0])
    names.add(task_keys(RateTasks(problem, listed=True), RateTasks(problem).tasks())[0])
    assert len(names) == len(others) + 2
    again = pickle.loads(pickle.dumps(problem))
    assert "rates" in vars(problem)
    assert "rates" not in vars(again)
    assert RateTasks(again).shared.digest() == RateTasks(problem).shared.digest()


def test_a_process_whose_workers_compute_makes_no_tables(problem, expected, tmp_path):
    linewidths_of(problem, campaign=on(ThisThread(), tmp_path))
    own = replace(problem)
    np.testing.assert_array_equal(linewidths_of(own, campaign=on(ThisThread(), tmp_path)), expected)
    assert "rates" not in vars(own)
    assert "rates" not in vars(own.divided())


def test_normal_and_umklapp_processes_apart_take_the_tables_that_are_there(problem, expected):
    apart = problem.divided()
    assert apart.rates.strength is problem.rates.strength
    normal, umklapp = np.split(linewidths_of(apart), 2)
    assert (umklapp > 0.0).sum() > 10
    np.testing.assert_allclose(normal + umklapp, expected, rtol=1e-12, atol=1e-15)
    assert not problem.rates.split


def test_what_32_bits_cannot_number_is_refused_before_work():
    silicon = sample_points.diamond()
    with pytest.raises(InputError, match=r"at most 22,369,621 points for 6 bands .* got 1,000,000,000; use a coarser"):
        Mesh.create(silicon, (1000, 1000, 1000))
    with pytest.raises(InputError, match=r"fewer than 1,048,576 in a row"):
        Mesh.create(silicon, np.array([[1000, 0, 0], [-1, 1000, 0], [0, -1, 10]]), symmetric=False)
    large = Crystal(np.eye(3), np.linspace(0.0, 1.0, 376)[:, None] * np.ones(3), ("C",) * 376, np.ones(376))
    with pytest.raises(InputError, match=r"at most 375 atoms .* got 376"):
        RateSum(Mesh.create(large, (1, 1, 1), symmetric=False), np.ones((1, 1128)), [300.0])


def test_a_worker_with_lesser_kernels_is_refused(problem, monkeypatch):
    monkeypatch.setattr(tasks, "supported_instruction_set", lambda: "baseline")
    with pytest.raises(ResourceError, match="set HPCTHERMO_INSTRUCTION_SET=baseline"):
        RateTasks(replace(problem, instruction_set="avx2")).prepare()


def test_a_task_that_fails_ends_the_job_with_its_reason(problem, monkeypatch):
    def fail(rates, task):
        raise MemoryError("too much")

    monkeypatch.setattr(type(problem.rates), "task", fail)
    with pytest.raises(PhysicsError, match=r"three_phonon_rates: .* too much"):
        linewidths_of(problem, campaign=on(ThisThread()))


def test_many_workers_have_work():
    """Tasks of four points, until deposits of all would fill the memory."""
    rates = sample_points.problem(third=False, divisions=(15, 15, 15)).rates
    assert rates.n_tasks == -(-rates.symmetry.n_irreducible // 4) > 25
    assert sorted(slot for task in range(rates.n_tasks) for slot in rates.slots(task)) == list(
        range(rates.symmetry.n_irreducible))


def test_the_last_bits_do_not_depend_on_threads_of_linear_algebra():
    """From 24 bands on strengths are products of matrices, which several threads would share out."""
    from phonon_cases import made_up
    from threadpoolctl import ThreadpoolController

    mesh, phonons, third = made_up(8, (2, 2, 1))
    problem = tasks.ThreePhononProblem(mesh, phonons, third, np.array([300.0]))
    blas, found = ThreadpoolController(), []
    for threads in (1, 2):
        with blas.limit(limits=threads, user_api="blas"):
            found.append(linewidths_of(problem, threads=threads))
            found.append(linewidths_of(problem, campaign=on(Threads(threads))))
            assert {pool["num_threads"] for pool in blas.info() if pool["user_api"] == "blas"} == {threads}
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
