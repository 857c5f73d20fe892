"""Philox against published vectors, and noise that depends on atoms, not on ranks."""

import numpy as np
import pytest
from argon import argon_engine, fcc, thirds
from scipy import stats

from hpcthermo.domain.comm import world_communicator
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.random import RandomSequence, atom_normals, philox, stream_number
from hpcthermo.dynamics.thermostats import BEFORE, Langevin
from hpcthermo.gpu.backend import CpuBackend, make_backend, supports
from hpcthermo.gpu.compile import instruction_sets

# Random123 1.14, tests/kat_vectors, philox 4x32 10: counter, key, result
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


def test_known_answers():
    for counter, key, result in KNOWN_ANSWERS:
        assert philox(counter, key) == result


def test_known_answers_of_the_kernel():
    counters, keys, results = (np.array(values, dtype=np.uint32) for values in zip(*KNOWN_ANSWERS, strict=True))
    words = np.zeros_like(counters)
    make_backend("cpu", "double").launch("langevin", "philox_words", 0, 3, counters, keys, words, per="thread")
    assert np.array_equal(words, results)


def normals(tags, seed, step, stream, backend):
    output = np.empty((4, len(tags)))

    class Stub:
        system = type("Tags", (), {"tags": np.asarray(tags, dtype=np.int64)})

    Stub.backend = backend
    atom_normals(Stub, None, len(tags), seed, step, stream, output)
    return output


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_normals_follow_box_and_muller(instruction_set):
    if not supports(instruction_set):
        pytest.skip(f"this processor has no {instruction_set}")
    # large tags, seeds and steps use the high words
    tags = np.array([0, 1, 77, 2**32 + 5, 2**40])
    seed, step, stream = 2**63 + 12345678901, 2**33 + 3, stream_number(2, 9, 1)
    drawn = normals(tags, seed, step, stream, CpuBackend("mixed", instruction_set))
    for i, tag in enumerate(tags.tolist()):
        counter = (tag & 0xFFFFFFFF, tag >> 32 | stream << 16, step & 0xFFFFFFFF, step >> 32)
        u = [(word + 0.5) / 2**32 for word in philox(counter, (seed & 0xFFFFFFFF, seed >> 32))]
        for k in (0, 2):
            r = np.sqrt(-2.0 * np.log(u[k]))
            angle = 2.0 * np.pi * u[k + 1]
            assert drawn[k:k + 2, i] == pytest.approx([r * np.cos(angle), r * np.sin(angle)], abs=1e-14)


def test_normals_are_normal_and_independent():
    backend = make_backend("cpu", "double")
    drawn = np.concatenate([normals(np.arange(20000), 5, step, 1, backend) for step in range(5)], axis=1)
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    # also the squares, where Box and Muller's pairs would show a fault
    for values in (drawn, drawn**2):
        correlation = np.corrcoef(values) - np.eye(4)
        assert np.abs(correlation).max() < 4.5 / np.sqrt(drawn.shape[1])
    other = normals(np.arange(20000), 5, 0, 2, backend)
    assert np.abs(np.corrcoef(drawn[0, :20000], other[0])[0, 1]) < 4.5 / np.sqrt(20000)


@pytest.mark.parametrize("count", [1, 2, 3, 11, 600])
def test_sum_of_squares_is_chi_squared(count):
    values = [RandomSequence(3, step, 7).sum_of_squares(count) for step in range(4000)]
    assert stats.kstest(values, stats.chi2(count).cdf).pvalue > 1e-3


def test_sequences_differ_by_seed_step_and_stream():
    first = {RandomSequence(seed, step, stream).uniform() for seed in (1, 2) for step in (0, 1) for stream in (0, 1)}
    assert len(first) == 8
    assert RandomSequence(1, 0, 0).normal() == RandomSequence(1, 0, 0).normal()


@pytest.mark.parallel(2)
def test_noise_is_the_same_on_any_number_of_ranks():
    outcomes = []
    for comm in (None, world_communicator()):
        engine = argon_engine(fcc((4, 3, 3), groups=thirds), 40.0, seed=9, comm=comm)
        velocities_drawn = engine.domain.gather(engine.system)
        bath = Langevin(engine, 60.0, 50.0, seed=4, groups=frozenset({0, 2}))
        bath.half_step(engine, 0.2, 17, BEFORE)
        kicked = engine.domain.gather(engine.system)
        if engine.comm.rank == 0:
            outcomes.append((velocities_drawn.velocities, kicked.velocities, kicked.groups))
    if world_communicator().rank == 0:
        (drawn_one, one, groups), (drawn_two, two, _) = outcomes
        # momentum removal and scaling sum in another order; noise itself has the same bits
        assert np.abs(drawn_one - drawn_two).max() < 1e-15
        assert np.abs(one - two).max() < 1e-15
        assert np.array_equal(one[groups == 1], drawn_one[groups == 1])
        assert np.abs(one - drawn_one)[groups != 1].min() > 0.0


@pytest.mark.parallel(2)
def test_langevin_trajectories_agree_between_rank_counts():
    finals = []
    for comm in (None, world_communicator()):
        engine = argon_engine(fcc((4, 3, 3)), 40.0, seed=9, comm=comm)
        integrator = Integrator(engine, 5.0, [Langevin(engine, 60.0, 200.0, seed=4)])
        engine.compute()
        for step in range(20):
            integrator.step(engine, step)
        finals.append((engine.domain.gather(engine.system), integrator.thermostats[0].ledger))
    if world_communicator().rank == 0:
        assert np.abs(finals[0][0].positions - finals[1][0].positions).max() < 1e-10
        assert finals[0][1] == pytest.approx(finals[1][1], rel=1e-9)
