"""Which runs are the same run, and on which device and instruction set a run computes."""

import shutil

import pytest

from hpcthermo import preparation
from hpcthermo.config import load_job, parse_job
from hpcthermo.config.execution import Execution
from hpcthermo.domain.comm import Communicator, SingleProcess
from hpcthermo.dynamics.checkpoint import CheckpointStore
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.dynamics.resume import Resumption
from hpcthermo.errors import ResourceError
from hpcthermo.gpu import backend as gpu_backend
from hpcthermo.gpu import compile as kernel_compile
from hpcthermo.gpu.backend import make_backend, supports
from hpcthermo.gpu.compile import KERNEL_FOLDER, instruction_sets
from hpcthermo.identity import file_hashes, identity
from hpcthermo.preparation import load_job_potential
from hpcthermo.run import stage_phase
from hpcthermo.simulation import Simulation

STRUCTURE = """2
Lattice="2.46 0 0 0 4.26 0 0 0 10" Properties=species:S:1:pos:R:3 pbc="T T F"
C 0 0 0
C 0 1.42 0
"""
JOB = """
kind = "minimize"
structure.file = "model.xyz"
potential = "tersoff_graphene"
"""


OTHER_WORDS = """
title = "other words"
execution.skin_A = 0.7
execution.precision = "double"
"""


def identity_of(folder):
    job = load_job(folder / "job.toml")
    return identity(job.model_dump(mode="json"), file_hashes(job))


@pytest.fixture
def folder(tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    (first / "model.xyz").write_text(STRUCTURE)
    (first / "job.toml").write_text(JOB)
    return first


def test_a_moved_folder_holds_the_same_job(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "second")
    assert identity_of(tmp_path / "second") == identity_of(folder)
    assert str(folder) not in str(identity_of(folder))


def test_an_edited_file_or_another_precision_is_another_job(folder):
    before = identity_of(folder)
    (folder / "model.xyz").write_text(STRUCTURE.replace("1.42", "1.43"))
    edited = identity_of(folder)
    assert edited != before
    (folder / "job.toml").write_text(JOB + 'execution.precision = "mixed"\n')
    assert identity_of(folder) != edited
    (folder / "job.toml").write_text(JOB + OTHER_WORDS)
    assert identity_of(folder) == edited


class UnlikeRanks(Communicator):
    """This rank and another one with a weaker processor."""

    rank, size = 0, 2

    def allgather(self, value):
        return [value, "baseline" if isinstance(value, str) else value]


def test_unlike_nodes_agree_on_an_instruction_set():
    assert preparation.make_job_backend(Execution(), UnlikeRanks()).instruction_set == "baseline"


def test_a_continued_run_keeps_its_instruction_set(monkeypatch):
    alone = SingleProcess()
    monkeypatch.setattr(preparation, "supports", lambda name: True)
    assert preparation.make_job_backend(Execution(), alone, instruction_set="baseline").instruction_set == "baseline"
    monkeypatch.undo()
    monkeypatch.setenv("HPCTHERMO_INSTRUCTION_SET", "baseline")
    assert not supports("avx512")
    assert preparation.make_job_backend(Execution(), alone, instruction_set="avx512").instruction_set == "baseline"


def test_the_gpu_of_a_replica_is_counted_among_all_ranks(monkeypatch):
    taken = []
    monkeypatch.setattr(preparation, "make_backend", lambda *arguments: taken.append(arguments))
    preparation.make_job_backend(Execution(device="cuda"), SingleProcess(), 3)
    assert taken == [("cuda", "mixed", 3)]


def test_a_run_on_another_instruction_set_does_not_call_itself_exact(tmp_path):
    """Same ranks, same atoms, other rounding: continued, but not said to be the same bits."""
    job = parse_job({"kind": "md", "potential": "tersoff_graphene", "execution": {"skin_A": 1.0},
                     "structure": {"builder": "layered_stack", "vacuum_A": 20.0,
                                   "layers": [{"material": "graphene", "count": 1, "repeat": [3, 2]}]},
                     "stage": [{"ensemble": "nve", "temperature_K": 300, "timestep_fs": 0.5, "steps": 4}],
                     "output": {"checkpoint_interval_steps": 2}})
    simulation = Simulation(job, SingleProcess(), tmp_path, False, 1)
    simulation.run([stage_phase(job.stage[0], 1)])
    simulation.close()
    lock = FolderLock(tmp_path, SingleProcess())
    generation, _ = CheckpointStore(tmp_path, SingleProcess(), lock).newest()
    used = generation.facts["arithmetic"]["instruction_set"]
    potential = load_job_potential(job)

    def exact(precision, instruction_set):
        backend = make_backend("cpu", precision, instruction_set=instruction_set)
        return Resumption(generation, potential, SingleProcess(), backend).exact

    assert exact("mixed", used)
    assert not exact("double", used)
    others = [name for name in instruction_sets() if name != used and supports(name)]
    assert not any(exact("mixed", name) for name in others)
    lock.release()


def test_a_library_of_other_sources_is_refused_with_one_line(tmp_path, monkeypatch):
    """After an update of the sources alone, kernels may take other arguments than the library knows."""
    monkeypatch.setattr(kernel_compile, "KERNEL_FOLDER", tmp_path)
    for header in KERNEL_FOLDER.glob("*.h"):
        (tmp_path / header.name).write_text(header.read_text())
    assert kernel_compile.is_current("halo", "baseline", "double")
    with (tmp_path / "portable.h").open("a") as header:
        header.write("// changed\n")
    monkeypatch.setattr(gpu_backend, "_is_current", kernel_compile.is_current)
    with pytest.raises(ResourceError, match="built from other sources") as caught:
        gpu_backend._cpu_function.__wrapped__("halo", "kinetic_sum", "baseline", "double")
    assert "\n" not in str(caught.value)
