"""The engine on a GPU against the CPU: forces, virials, migration and exact continuation; one and two ranks."""

import importlib.util

import numpy as np
import pytest

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.load import load_potential

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")]


def silicon():
    base = np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    base = np.concatenate([base, base + 0.25])
    cells = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    positions = (cells + base).reshape(-1, 3) * 5.432
    rng = np.random.default_rng(2)
    positions += rng.normal(0.0, 0.08, positions.shape)
    return Snapshot.create(np.eye(3) * 3 * 5.432, [True] * 3, ("Si",), [28.085], positions,
                           np.zeros(len(positions), int), velocities=rng.normal(0.0, 0.05, positions.shape))


def drifted(comm, device, precision, steps=30):
    """Gathered state after free flight with rebuilds, and the sums of the last step."""
    engine = make_engine(silicon() if comm.rank == 0 else None, load_potential("tersoff_si"), comm,
                         make_backend(device, precision), 0.3)
    for _ in range(steps):
        engine.compute(virials=True)
        engine.system.positions[:engine.system.n_owned] += 0.05 * engine.system.velocities
    engine.compute(virials=True)
    assert engine.rebuilds > 1
    return engine, engine.domain.gather(engine.system), engine.potential_energy(), engine.virial_total()


def check(comm, precision, tolerance):
    _, gpu, gpu_energy, gpu_virial = drifted(comm, "cuda", precision)
    if comm.rank == 0:
        _, cpu, cpu_energy, cpu_virial = drifted(SingleProcess(), "cpu", precision)
        assert np.abs(gpu.forces[:, :3] - cpu.forces[:, :3]).max() < tolerance
        assert abs(gpu_energy - cpu_energy) < tolerance * cpu.n_atoms
        assert np.abs(gpu_virial - cpu_virial).max() < tolerance * cpu.n_atoms
    comm.barrier()


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-9), ("mixed", 1e-4)])
def test_one_rank(precision, tolerance):
    check(SingleProcess(), precision, tolerance)


@pytest.mark.parallel(2)
@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-9), ("mixed", 1e-4)])
def test_two_ranks_share_a_gpu(precision, tolerance):
    check(world_communicator(), precision, tolerance)


def test_state_is_restored():
    engine, _, energy, _ = drifted(SingleProcess(), "cuda", "mixed", 30)
    state = engine.state()
    other, *_ = drifted(SingleProcess(), "cuda", "mixed", 25)
    other.restore(state)
    assert all(value.tobytes() == other.state()[name].tobytes() for name, value in state.items())
    other.compute()
    assert other.potential_energy() == pytest.approx(energy, abs=1e-6)
