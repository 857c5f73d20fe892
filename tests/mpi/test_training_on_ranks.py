"""Training on several ranks and with little memory: the same bits as in one process."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from test_nep_optimisation import FORM, pair_frames

from hpcthermo.config import parse_job
from hpcthermo.datasets.files import write_dataset
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.dynamics.stop import STOP, Requeue
from hpcthermo.errors import InputError
from hpcthermo.training.crew import Crew
from hpcthermo.training.gauss_newton import GaussNewtonSettings, gram_matrix
from hpcthermo.training.loss import Loss, LossWeights
from hpcthermo.training.run import run_train

#: three chunks
FRAMES = pair_frames(70)


def numbers(crew):
    """All that a crew computes for a set of more chunks than ranks."""
    loss = Loss(FRAMES, FORM, LossWeights(types={"Kr": 0.3}), crew=crew)
    theta = loss.form.start(1)
    predicted = loss.predict(theta)
    gram = gram_matrix(loss, theta, GaussNewtonSettings(rows_per_parameter=20.0), 3)
    return [loss.scaler, np.array(loss.set.most_neighbors), *loss.value_and_gradient(theta),
            loss.gradient_of_part(theta, 2), predicted.errors, predicted.energies, predicted.forces, predicted.virials,
            gram, loss.double().value_and_gradient(theta)[1]]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parallel(3)
def test_bits_do_not_depend_on_the_number_of_ranks():
    world = world_communicator()
    pair = world.split(int(world.rank == 2))
    expected = numbers(None) if world.rank == 0 else None
    # three ranks of which some parts are made anew, and two
    for comm in (world, pair) if world.rank < 2 else (world,):
        with Crew(comm, memory_GiB=1e-4 if comm is world else None) as crew:
            if crew.leads:
                assert same(numbers(crew), expected)
            else:
                crew.serve()


@pytest.mark.parallel(3)
def test_ranks_without_a_frame_take_part_and_errors_reach_all_ranks():
    def fail():
        with Crew(world_communicator()) as crew:
            if crew.leads:
                theta, rows = FORM.start(1), GaussNewtonSettings(rows_per_parameter=1.0)
                one, alone = (Loss(FRAMES[:1], FORM, crew=each) for each in (crew, None))
                assert same(one.value_and_gradient(theta), alone.value_and_gradient(theta))
                assert np.array_equal(gram_matrix(one, theta, rows, 0), gram_matrix(alone, theta, rows, 0))
                raise InputError("Xe")
            crew.serve()

    with pytest.raises(InputError, match="Xe"):
        fail()


def test_what_does_not_fit_in_memory_is_made_anew():
    usual, little = (Crew(memory_GiB=size) for size in (1.0, 2e-4))
    loss = Loss(FRAMES, FORM, crew=little)
    left = little.memory_limit("mixed")
    assert 0.0 < loss.set.kept < 1.0
    assert Loss(FRAMES, FORM, crew=usual).set.kept == 1.0
    assert same(numbers(usual), numbers(little))
    # what is dropped makes room
    assert Loss(FRAMES[:1], FORM, crew=little).set.kept == 1.0
    assert little.memory_limit("mixed") < left
    del loss
    same_again = Loss(FRAMES, FORM, crew=little)
    assert little.memory_limit("mixed") == left
    assert same_again.set.kept < 1.0


@pytest.mark.parallel(2)
def test_a_job_on_two_ranks_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.report.finish_results", lambda folder: "")
    comm = world_communicator()
    folder = Path(comm.bcast(str(tmp_path)))
    if comm.rank == 0:
        write_dataset(pair_frames(36), folder / "train.xyz")
    job = parse_job({
        "kind": "train", "dataset": {"train_files": [str(folder / "train.xyz")], "check": False},
        "model": {"elements": ["Ar", "Kr"], "radial_cutoff_A": 4.5, "n_max": [2, 1], "basis_size": [4, 3], "l_max": 2,
                  "neurons": 4},
        "optimiser": {"name": "gradient", "epochs": 24}, "execution": {"threads": 1, "look_interval": 10}})
    calls = []
    with pytest.raises(Requeue):
        run_train(job, comm, folder / "two", False, lambda: calls.append(1) or (STOP if len(calls) == 18 else 0)
                  if comm.rank == 0 else 0)
    run_train(job, comm, folder / "two", True, None)
    if comm.rank == 0:
        run_train(job, SingleProcess(), folder / "one", False, None)
        for name in ("nep.txt", "loss.out"):
            assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()
