"""`check` and `doctor`: what they say is true, without running the job."""

from pathlib import Path

import numpy as np
import pytest
from job_files import NEMD_JOB

from hpcthermo.check import check_job
from hpcthermo.cli import main
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.physics_check import check_decomposition, check_forces, perturbed_silicon
from hpcthermo.potentials.load import load_potential
from hpcthermo.probe import array_bytes, brick_systems, measure_cost


@pytest.fixture
def job(tmp_path) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(NEMD_JOB)
    return path


def test_the_estimate_counts_atoms_steps_and_ranks(job):
    found = check_job(job, 4, probe=True)
    assert found.snapshot.n_atoms == 8 * 48
    assert found.owned.sum() == 8 * 48
    assert np.prod(found.parts) == 4
    assert found.seconds > 0.0
    text = found.text()
    for words in ("steps           24,000", "192 C", "between blocks 3 and 4", "MiB per rank", "atom-step/s",
                  "ghost fraction"):
        assert words in text


def test_check_does_not_run_or_write(job, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["check", str(job), "-n", "2", "--no-probe"])
    assert end.value.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["job.toml"]
    assert "time" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("sink_layers = [-2]", "sink_layers = [-20]", "layer -20 does not exist"),
     ('decomposition = "auto"', "decomposition = [3, 1, 1]", "product 2"),
     ("tersoff_bnc", "tersoff_si", "no element in common"),
     ("sink_layers = [-2]", "sink_layers = [1]", "both"),
     ("warmup_ps = 1", "warmup_ps = 1\ninitial_profile_K = [[99, 300]]", "nemd.initial_profile_K: layer 99"),
     ('"langevin"\ntemperature_K = [10, 300]\ncoupling_fs = 100', '"nve"', "the atoms have no velocities"),
     ('"langevin"', '"npt"\nfree_components = ["zz"]', "along a periodic direction"),
     ("sink_layers = [-2]\n", "sink_layers = [-2]\ninterface_layers = [3, 5]\n", "neighbouring layers")],
)
def test_a_job_that_cannot_run_is_refused(job, capsys, old, new, words):
    job.write_text(NEMD_JOB.replace(old, new))
    with pytest.raises(SystemExit) as end:
        main(["check", str(job), "-n", "2"])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_a_piece_has_the_ghosts_of_a_rank():
    """Owned and ghost rows of all bricks: every atom is owned once, and forces of the pieces are those of the whole."""
    snapshot, backend = perturbed_silicon(4, 0.05), make_backend("cpu", "double")
    bricks = brick_systems(snapshot, backend, 6, list(range(6)), 4.0)
    owned = np.concatenate([brick.tags[: brick.n_owned] for brick in bricks])
    assert sorted(owned) == list(range(snapshot.n_atoms))
    verdict, detail = check_decomposition()
    assert verdict == "ok", detail


def test_the_self_check_finds_a_wrong_force(monkeypatch):
    assert check_forces()[0] == "ok"
    from hpcthermo.engine import Engine

    right = Engine.potential_energy
    monkeypatch.setattr(Engine, "potential_energy", lambda engine: right(engine) * (1.0 + 1e-4))
    assert check_forces()[0] == "FAILED"


def test_the_memory_of_a_piece_is_that_of_an_engine():
    snapshot, backend = perturbed_silicon(8, 0.02), make_backend("cpu", "mixed")
    potential = load_potential("tersoff_si")
    cost = measure_cost(snapshot, potential, backend, 1.0)
    engine = make_engine(snapshot, potential, SingleProcess(), backend, 1.0)
    engine.compute()
    assert cost.list_bytes == pytest.approx(array_bytes(engine.bound) / snapshot.n_atoms, rel=0.1)


def test_doctor_reports(capsys):
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--quick"])
    out = capsys.readouterr().out
    assert end.value.code == 0, out
    for name in ("ranks", "placement", "mpi", "gpu", "nvrtc", "hdf5", "kernels", "potentials"):
        assert f"\n{name} " in "\n" + out


def test_bench_reports_stages(capsys, job):
    with pytest.raises(SystemExit) as end:
        main(["bench", str(job), "--steps", "3"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    for words in ("atom-step/s", "forces", "halo", "neighbours", "integrate", "host", "rebuilds", "skin", "GFLOP/s"):
        assert words in out


def test_figures_for_a_gpu_job_say_that_they_are_of_the_cpu(job):
    job.write_text(NEMD_JOB.replace('device = "cpu"', 'device = "cuda"'))
    text = check_job(job, 1, probe=True).text()
    assert "if it ran on the CPU; GPU memory is not estimated" in text
    assert "from a CPU probe; GPU time is not estimated" in text


def test_a_tilted_axis_is_refused_as_by_a_run(tmp_path, capsys):
    from ase.build import bulk
    from ase.io import write

    atoms = bulk("Si", cubic=True) * (3, 3, 6)
    atoms.cell[0, 2] = 5.0
    write(tmp_path / "tilted.xyz", atoms)
    path = tmp_path / "job.toml"
    path.write_text('kind = "nemd"\npotential = "tersoff_si"\nstructure.file = "tilted.xyz"\n[nemd]\n'
                    "fixed_region_A = [-1, 2]\nsource_region_A = [2, 6]\nsink_region_A = [16, 20]\n"
                    "temperature_K = 300\ntemperature_difference_K = 60\ntimestep_fs = 1\nduration_ps = 10\n")
    with pytest.raises(SystemExit) as end:
        main(["check", str(path)])
    assert end.value.code == 2
    assert "normal to the plane" in capsys.readouterr().err
