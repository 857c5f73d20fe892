"""The communicator: reductions, exchanges, replicas, and how a job with several ranks ends."""

import time

import numpy as np
import pytest
from decomposition_cases import cube, run_verlet
from sample_potentials import SamplePotential

from hpcthermo.domain.comm import Communicator, SingleProcess, launcher_ranks, world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.gpu.backend import make_backend


def check_face(comm: Communicator) -> None:
    ranks = np.arange(comm.size)
    assert comm.allreduce_sum(float(comm.rank)) == ranks.sum()
    assert comm.allreduce_sum(comm.rank) == ranks.sum()
    assert np.array_equal(comm.allreduce_sum(np.full((2, 3), comm.rank + 1)), np.full((2, 3), (ranks + 1).sum()))
    assert comm.allreduce_sum(np.full(40_000, 0.5))[0] == 0.5 * comm.size
    assert comm.allreduce_max(float(comm.rank)) == comm.size - 1
    assert comm.allgather((comm.rank, "x")) == [(int(r), "x") for r in ranks]
    assert comm.bcast({"root": comm.rank}) == {"root": 0}
    rows = np.repeat(ranks, ranks + 1).astype(np.float64)[:, None] + [[0.0, 100.0 * comm.rank]]
    received, counts = comm.alltoallv(rows, ranks + 1)
    assert (counts == comm.rank + 1).all()
    assert np.array_equal(received[:, 1], np.repeat(100.0 * ranks, comm.rank + 1) + comm.rank)
    gathered = comm.gatherv(np.full((comm.rank, 3), comm.rank, dtype=np.int64))
    if comm.rank == 0:
        assert np.array_equal(gathered[:, 0], np.repeat(ranks, ranks))
    assert comm.all_arrived(5.0)
    comm.barrier()


def test_single_process():
    check_face(SingleProcess())


@pytest.mark.parallel(3)
def test_several_ranks():
    comm = world_communicator()
    assert comm.size == 3
    check_face(comm)


@pytest.mark.parallel(4)
def test_sums_have_the_same_bits_on_all_ranks():
    comm = world_communicator()
    for size in (1, 9, 5000):
        value = np.random.default_rng(comm.rank).normal(size=size) * 10.0 ** np.random.default_rng(7).uniform(-9, 9)
        sums = comm.allgather(comm.allreduce_sum(value).tobytes())
        assert len(set(sums)) == 1
        assert comm.allreduce_sum(value).tobytes() == sums[0]


@pytest.mark.parallel(4)
def test_replicas_are_a_split():
    comm = world_communicator()
    replica = comm.split(comm.rank // 2, comm.rank)
    assert (replica.size, replica.rank) == (2, comm.rank % 2)
    snapshot = cube()
    snapshot.fields["velocities"] *= 1.0 + comm.rank // 2
    engine = make_engine(snapshot if replica.rank == 0 else None, SamplePotential(), replica,
                         make_backend("cpu", "double"))
    engine.compute()
    run_verlet(engine, 3, 0.05)
    energies = comm.allgather(engine.kinetic_energy())
    assert energies[0] == energies[1]
    assert energies[2] == energies[3] > 3.0 * energies[0]


@pytest.mark.parallel(3)
def test_a_position_that_is_not_a_number_stops_all_ranks():
    comm = world_communicator()
    engine = make_engine(cube() if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "double"))
    engine.compute()
    if comm.rank == 1:
        engine.system.positions[3, 1] = np.nan
    with pytest.raises(PhysicsError, match="not finite"):
        engine.compute()
    with pytest.raises(PhysicsError, match="1 atoms are not finite"):
        engine.rebuild()


@pytest.mark.parallel(3)
def test_a_lost_atom_stops_all_ranks():
    comm = world_communicator()
    engine = make_engine(cube() if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "double"))
    engine.compute()
    if comm.rank == 2:
        engine.system.n_owned -= 1
    with pytest.raises(PhysicsError, match="expected 125 atoms on all ranks, got 124"):
        engine.rebuild()


@pytest.mark.parallel(2)
def test_bad_layout_is_refused_on_all_ranks():
    comm = world_communicator()
    with pytest.raises(InputError, match="product 2"):
        make_engine(cube() if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "double"), 1.0,
                    (3, 1, 1))


@pytest.mark.parametrize(("change", "message"), [
    ({"positions": [[0.0, np.inf, 0.0]]}, "positions: expected finite"),
    ({"positions": [[0.0, 0.0]]}, "positions: expected shape"),
    ({"types": [2]}, "types: expected indices below 1"),
    ({"cell": np.diag([1.0, 1.0, 0.0])}, "vector c is zero but its axis is periodic"),
    ({"layers": [1, 2]}, r"layers: expected shape \(1,\)"),
    ({"charge": [1.0]}, "unknown per-atom field 'charge'"),
    ({"masses": [0.0]}, "masses: expected 1 positive"),
])
def test_bad_snapshots_are_refused(change, message):
    good = {"cell": np.eye(3), "periodic": [True] * 3, "species": ("Ar",), "masses": [40.0],
            "positions": [[0.0, 0.0, 0.0]], "types": [0]}
    Snapshot.create(**good)
    with pytest.raises(InputError, match=message):
        Snapshot.create(**{**good, **change})


ENDS = """
import sys, time
from hpcthermo.domain.comm import abort_on_error, world_communicator
from hpcthermo.errors import PhysicsError
comm = world_communicator()
with abort_on_error(comm, patience=0.5):
    if sys.argv[1] == "all" or comm.rank == 1:
        raise PhysicsError("too hot") if sys.argv[1] != "bug" else ZeroDivisionError("a bug")
    comm.barrier() if sys.argv[1] != "asleep" else time.sleep(100)
"""


def test_all_ranks_fail_with_one_line(ranks_runner):
    result = ranks_runner(3, ["-c", ENDS, "all"])
    assert result.returncode == PhysicsError.exit_code
    assert result.stdout.strip() == "hpcthermo: too hot"


@pytest.mark.parametrize("how", ["one", "asleep", "bug"])
def test_one_failing_rank_ends_the_job(ranks_runner, how):
    start = time.monotonic()
    result = ranks_runner(2, ["-c", ENDS, how], 30.0)
    assert time.monotonic() - start < 20.0
    assert result.returncode not in (0, 124)
    assert ("a bug" if how == "bug" else "[rank 1] hpcthermo: too hot") in result.stdout


def test_a_hanging_rank_meets_its_time_limit(ranks_runner):
    start = time.monotonic()
    result = ranks_runner(2, ["-c", "import time; time.sleep(60)"], 1.0)
    assert result.returncode == 124
    assert time.monotonic() - start < 15.0


WORLD = """
import sys
from hpcthermo.domain.comm import world_communicator
from hpcthermo.errors import HpcthermoError
try:
    print(world_communicator().size)
except HpcthermoError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("variables", [
    {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "{rank}"},
    {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "{rank}"},
])
def test_worlds_of_size_one_are_detected(ranks_runner, variables):
    """A launcher of another MPI: its environment says 4 ranks, mpi4py sees one."""
    for rank in (0, 3):
        given = {name: value.format(rank=rank) for name, value in variables.items()}
        result = ranks_runner(0, ["-c", WORLD], 30.0, given)
        assert result.returncode == 2
        lines = result.stdout.strip().splitlines()
        assert len(lines) == (1 if rank == 0 else 0)
        assert rank or ("4 worlds of size 1" in lines[0] and "hpcthermo run -n N" in lines[0])


def test_launcher_ranks(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert launcher_ranks() is None
    # an allocation alone (sbatch) is no launcher
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert launcher_ranks() is None
    monkeypatch.setenv("PMI_SIZE", "8")
    assert launcher_ranks() == 8
