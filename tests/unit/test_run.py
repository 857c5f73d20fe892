"""Equilibrium runs and relaxations from the job file to the results folder, in one process and through the launcher."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcthermo.cli import main

GRAPHITE = """
kind = "{kind}"
seed = 3
structure.builder = "layered_stack"
structure.spacing_A = 3.4
potential = ["tersoff_graphene", "lj_gr_hbn"]
execution.skin_A = 1.0
output.figures = {figures}
{rest}
[[structure.layers]]
material = "graphene"
count = 2
repeat = [4, 2]
"""
STAGES = """
output.series_interval_steps = 10
output.checkpoint_interval_steps = 25
output.trajectory = {{ interval_ps = 0.02, velocities = true }}
[[stage]]
name = "relax"
ensemble = "minimize"
steps = 20
[[stage]]
name = "heat"
ensemble = "langevin"
temperature_K = [100, 300]
timestep_fs = 1.0
steps = {steps}
[[stage]]
ensemble = "nve"
timestep_fs = 0.5
steps = 40
"""


def write_job(folder: Path, kind: str = "md", rest: str = "", steps: int = 60, figures: bool = False) -> Path:
    path = folder / "job.toml"
    path.write_text(GRAPHITE.format(kind=kind, figures=str(figures).lower(), rest=rest or STAGES.format(steps=steps)))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hpcthermo", *[str(argument) for argument in arguments]]


def run(job: Path, folder: Path, *options: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["run", str(job), "--out", str(folder), *[str(option) for option in options]])
    return end.value.code


@pytest.fixture(scope="module")
def finished(tmp_path_factory, plain_figures) -> Path:
    folder = tmp_path_factory.mktemp("md")
    assert run(write_job(folder, figures=True), folder / "out") == 0
    return folder / "out"


def series(folder: Path) -> dict[str, np.ndarray]:
    with h5py.File(folder / "results.h5") as store:
        return {name: store["series"][name][()] for name in store["series"]}


def test_all_stages_are_in_the_results(finished):
    found = series(finished)
    total = json.loads((finished / "summary.json").read_text())["run"]["steps"]
    assert list(found["step"]) == list(range(10, total + 1, 10))
    assert {1.0, 2.0} <= set(found["stage"]) <= {0.0, 1.0, 2.0}
    assert found["time"][-1] == pytest.approx(0.06 + 0.5e-3 * (found["step"][-1] - (total - 40)), abs=1e-9)
    nve = found["stage"] == 2.0
    assert np.ptp(found["conserved"][nve]) < 1e-4 * np.ptp(found["potential_energy"][nve]) + 1e-3


def test_the_folder_is_complete_and_unlocked(finished):
    names = set(os.listdir(finished))
    assert {"results.h5", "summary.json", "report.html", "status.json", "log.jsonl", "checkpoints", "temperature.png",
            "energies.pdf", "structure.png", "trajectory.xyz"} <= names
    assert json.loads((finished / "status.json").read_text())["state"] == "finished"
    for line in (finished / "log.jsonl").read_text().splitlines():
        json.loads(line)


def test_the_trajectory_is_readable(finished):
    from ase.io import read

    frames = read(finished / "trajectory.xyz", index=":")
    assert len(frames) >= 4
    assert all(len(frame) == 64 for frame in frames)
    assert frames[-1].arrays["vel"].shape == (64, 3)
    assert np.abs(frames[-1].positions - frames[0].positions).max() < 2.0  # unwrapped


def test_analyze_and_plot_redo_what_the_run_did(finished, capsys):
    before = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").unlink()
    with pytest.raises(SystemExit) as end:
        main(["analyze", str(finished)])
    assert end.value.code == 0
    assert json.loads((finished / "summary.json").read_text()) == before
    (finished / "temperature.png").unlink()
    with pytest.raises(SystemExit):
        main(["plot", str(finished)])
    assert (finished / "temperature.png").exists()
    assert "temperature" in capsys.readouterr().out


def test_a_resumed_run_ends_in_the_same_numbers(finished, tmp_path):
    """SIGTERM in the middle gives 75; --resume then gives every row of the uninterrupted run, bit for bit."""
    job = write_job(tmp_path)
    out = tmp_path / "out"
    script = ("import sys, os, signal\nfrom hpcthermo.progress import Progress\nold = Progress.update\n"
              "def update(self, step):\n    old(self, step)\n    if step == 67: os.kill(os.getpid(), signal.SIGTERM)\n"
              "Progress.update = update\nfrom hpcthermo.cli import main\nmain(sys.argv[1:])\n")
    stopped = subprocess.run([sys.executable, "-c", script, "run", str(job), "--out", str(out)], capture_output=True,
                             text=True, check=False)
    assert stopped.returncode == 75, stopped.stderr
    assert json.loads((out / "status.json").read_text())["state"] == "checkpointed"
    assert run(job, out) == 2  # not without --resume
    (out / "trajectory.xyz").open("a").write("rubbish of a killed run")
    assert run(job, out, "--resume") == 0
    once, twice = series(finished), series(out)
    assert once.keys() == twice.keys()
    for name in once:
        assert np.array_equal(once[name], twice[name]), name
    assert (out / "trajectory.xyz").read_text() == (finished / "trajectory.xyz").read_text()


def test_another_job_is_not_resumed(finished, tmp_path, capsys):
    job = write_job(tmp_path, steps=61)
    assert run(job, finished, "--resume") == 2
    assert "belongs to another job" in capsys.readouterr().err


def test_a_finished_folder_may_be_used_again(tmp_path):
    job = write_job(tmp_path, "minimize", "minimize.force_tolerance_eV_per_A = 0.01")
    for _ in range(2):
        assert run(job, tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["checks"]["converged"]["passed"]
    assert summary["results"]["largest_force"]["value"] < 0.01


def test_a_stage_after_a_relaxation_draws_its_own_velocities(tmp_path):
    """Relaxation broken off by its number of steps: its fictitious velocities must not pass for thermal motion."""
    stages = """
output.series_interval_steps = 1
[[stage]]
ensemble = "minimize"
steps = 4
force_tolerance_eV_per_A = 1e-9
[[stage]]
ensemble = "nve"
temperature_K = 200
timestep_fs = 0.1
steps = 1
"""
    assert run(write_job(tmp_path, "md", stages), tmp_path / "out") == 0
    found = series(tmp_path / "out")
    assert found["stage"].tolist() == [0.0] * 4 + [1.0]
    assert found["temperature"][-1] == pytest.approx(200.0, rel=0.02)


def test_two_ranks_through_the_launcher_agree_with_one(tmp_path):
    rest = "minimize.force_tolerance_eV_per_A = 1e-4"
    job = write_job(tmp_path, "minimize", rest)
    assert run(job, tmp_path / "one") == 0
    two = subprocess.run(command("run", job, "-n", 2, "--out", tmp_path / "two"), capture_output=True, text=True,
                         check=False)
    assert two.returncode == 0, two.stderr
    energies = [json.loads((tmp_path / n / "summary.json").read_text())["results"]["potential_energy"]["value"]
                for n in ("one", "two")]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)
    assert json.loads((tmp_path / "two" / "summary.json").read_text())["run"]["ranks"] == 2


def test_a_structure_that_cannot_be_built_ends_all_ranks_with_one_line(tmp_path):
    job = write_job(tmp_path, "minimize", 'structure.lattice = [30.0, 30.0]')
    result = subprocess.run(command("run", job, "-n", 2, "--out", tmp_path / "out"), capture_output=True, text=True,
                            check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "strained" in result.stderr


def test_a_signal_during_set_up_ends_in_a_checkpoint(tmp_path):
    job = write_job(tmp_path)
    script = ("import sys, os, signal\nfrom hpcthermo import simulation\nold = simulation.build_structure\n"
              "def build(*given):\n    os.kill(os.getpid(), signal.SIGTERM)\n    return old(*given)\n"
              "simulation.build_structure = build\nfrom hpcthermo.cli import main\nmain(sys.argv[1:])\n")
    stopped = subprocess.run([sys.executable, "-c", script, "run", str(job), "--out", str(tmp_path / "out")],
                             capture_output=True, text=True, check=False)
    assert stopped.returncode == 75, stopped.stderr
    assert "after step 1;" in stopped.stderr


def test_a_folder_in_use_is_refused(tmp_path, capsys):
    job = write_job(tmp_path, steps=200_000)
    first = subprocess.Popen(command("run", job, "--out", tmp_path / "out"), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "out" / "status.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    second = run(job, tmp_path / "out")
    first.send_signal(signal.SIGTERM)
    assert second == 2
    assert "another run is writing there" in capsys.readouterr().err
    assert first.wait(30) == 75


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("kind", ["md", "minimize"])
def test_a_cluster_without_a_cell_has_no_pressure(tmp_path, kind):
    (tmp_path / "cluster.xyz").write_text('4\npbc="F F F"\nSi 0 0 0\nSi 2.3 0 0\nSi 0 2.3 0\nSi 0 0 2.3\n')
    path = tmp_path / "job.toml"
    stage = '[[stage]]\nensemble = "nve"\ntemperature_K = 100\ntimestep_fs = 0.5\nsteps = 40\n'
    path.write_text(f'kind = "{kind}"\npotential = "tersoff_si"\nstructure.file = "cluster.xyz"\n'
                    f"execution.skin_A = 1.0\noutput.series_interval_steps = 2\n{stage if kind == 'md' else ''}")
    assert run(path, tmp_path / "out") == 0
    found = series(tmp_path / "out")
    assert "pressure" not in found
    assert all(np.isfinite(values).all() for values in found.values())
    assert (tmp_path / "out" / "report.html").exists()
    results = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
    assert "pressure_xx" not in results
    assert results["potential_energy_per_atom"]["value"] < -1.0


def test_a_run_too_short_to_sample_says_so(tmp_path):
    """Not an error after the work is done, but no numbers either."""
    stage = '[[stage]]\nensemble = "nve"\ntemperature_K = 100\ntimestep_fs = 0.5\nsteps = 3\n'
    assert run(write_job(tmp_path, "md", stage), tmp_path / "out") == 0
    assert not list((tmp_path / "out").glob("*.png"))  # the job wants none
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["results"] == {}
    assert not summary["checks"]["samples"]["passed"]
    assert "series_interval_steps" in summary["checks"]["samples"]["detail"]
