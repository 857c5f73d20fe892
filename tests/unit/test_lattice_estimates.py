"""What `check` says of jobs about lattice vibrations, without a run."""

import json
import re
import sys
import tomllib

import numpy as np
import pytest
from lattice_job_cases import HARMONIC, SILICON
from test_cli import leave

from hpcthermo.config import parse_job
from hpcthermo.lattice_jobs.estimate import estimate_lattice_job
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.transport.bte.cost import RateCost
from hpcthermo.transport.bte.line_shapes_cost import LineShapesCost
from hpcthermo.transport.bte.mesh import Mesh

#: they share the run of silicon (conftest.py)
pytestmark = pytest.mark.xdist_group("lattice_jobs")


def test_check_counts_cells(silicon_run, capsys):
    code, out, _ = leave(["check", str(silicon_run / "job.toml"), "--no-probe"], capsys)
    assert code == 0
    run = json.loads((silicon_run / "out" / "summary.json").read_text())["run"]
    assert (f"{run['displaced_cells_3']:,} displaced cells of 8 atoms (with the undisplaced one "
            f"{run['force_tasks_3']} tasks)") in out
    assert run["force_tasks_3"] == run["displaced_cells_3"] + 1
    assert "64 points" in out
    assert re.search(r"triplets +42\n", out)
    assert re.search(r"q-point tasks +8 on \d+ threads", out)  # one for each irreducible point
    assert re.search(r"strengths +0\.\d MiB at a time", out)
    assert re.search(r"processes +about [\d,]+, \d+ MiB in memory\n", out)


@pytest.mark.parametrize("command", ["check", "bte"])
@pytest.mark.parametrize(("new", "told"), [
    ('[campaign]\nwhere = "slurm"\n', "Slurm needs dask-jobqueue; pip install"),
    ("[relaxation]\nrelax = false\n", "structure: expected a stress within 0.001 GPa of 0 GPa, got one"),
])
def test_check_refuses_what_a_run_refuses(command, new, told, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    text = SILICON.replace('crystal = "Si"', 'crystal = "Si"\nlattice_constant_A = 5.46') + new
    (tmp_path / "job.toml").write_text(text)
    more = ["--no-probe"] if command == "check" else ["--out", str(tmp_path / "out")]
    code, out, err = leave([command, str(tmp_path / "job.toml"), *more], capsys)
    assert (code, out) == (2, "")
    assert [told in line for line in err.splitlines() if line.startswith("hpcthermo: ")] == [True]


def test_check_counts_cells_of_the_fourth_order():
    text = HARMONIC.replace("supercell = [1, 1, 1]", "supercell = [1, 1, 1]\norder = 4\ncutoff4_A = 2.5")
    found = estimate_lattice_job(parse_job(tomllib.loads(text)), probe=False)
    assert sorted(found.cells) == [2, 3, 4]
    assert found.cells[4] > 0
    line = next(text for name, text in found.lines if name == "order 4")
    # of two sites: i i i i, and seven of each of four bonds
    assert re.search(r"cells of 8 atoms .*, 58 quadruples", line)
    assert (found.quartic.n_bands, found.quartic.n_terms, found.quartic.n_places) == (6, 26, 10)


def test_check_counts_random_cells_and_every_mesh_of_a_convergence():
    text = SILICON.replace("bte", "bte_convergence", 1).replace(
        "[1, 1, 1]", '[2, 2, 2]\ncutoff3_A = 3.0\nmethod = "random"\nrandom_cells = 37')
    text += "[convergence]\nmeshes = [[2, 2, 2], [3, 3, 3], [4, 4, 4]]\ncutoffs3_A = [3.0, 4.0]\n"
    found = estimate_lattice_job(parse_job(tomllib.loads(text)), probe=False)
    assert found.cells == {3: 37}
    lines = [line for line in found.lines if line[0] in ("random cells", "mesh")]
    assert [name for name, _ in lines] == ["random cells"] * 2 + ["mesh"] * 4
    assert lines[0][1].startswith("37 randomly displaced cells of 64 atoms")
    assert [text for name, text in found.lines if name == "forces"] == ["of [force_constants]", "of cutoff3_A = 4"]
    assert [text for name, text in found.lines if name == "solution"] == [
        "mesh of [bte], for 2 cutoffs3_A", *(f"mesh = [{n}, {n}, {n}]" for n in (2, 3, 4))]
    shares = [float(re.search(r"([\d.]+) % of them", text).group(1)) for _, text in lines[:2]]
    assert 0.0 < shares[0] < shares[1] < 100.0
    assert found.memory > 150e6 + 4.0 * 27.0 * 64**2 * 2 * 8.0


def test_check_counts_the_memory_of_every_process():
    def check(more, text=SILICON):
        found = estimate_lattice_job(parse_job(tomllib.loads(text + more)), probe=False)
        return found.memory, next(value for name, value in found.lines if name == "strengths").split("each of ")[1]

    def processes(count):
        return f'[campaign]\nwhere = "processes"\nworkers = {count}\n'

    assert check("[execution]\nthreads = 5\n")[1] == check("[campaign]\nworkers = 5\n")[1] == "5 threads"
    one, three = check(processes(1)), check(processes(3))
    assert three[1] == "3 processes"
    assert 150e6 < (three[0] - one[0]) / 2.0 < 200e6
    elsewhere = check('[campaign]\nwhere = "scheduler"\nscheduler_file = "scheduler.json"\ntls = false\n')
    assert elsewhere[1] == "the workers elsewhere"
    assert one[0] - elsewhere[0] > 150e6
    # a list of 64 x 64 x 2 blocks instead of 8 x 8 x 2
    ones, threes = (check(processes(n), SILICON.replace("[1, 1, 1]", "[2, 2, 2]")) for n in (1, 3))
    assert (threes[0] - ones[0]) - (three[0] - one[0]) > 2.0 * (64**2 - 8**2) * 2 * 27.0 * 8.0


def test_check_tells_of_line_shapes():
    found = [estimate_lattice_job(parse_job(tomllib.loads(SILICON + table)), probe=False) for table in (
        "", "[bte.line_shapes]\nq = [[0, 0, 0]]\n", "[bte.line_shapes]\nq = [[0, 0, 0]]\nfrequencies = 100000\n"
                                                   "temperatures_K = [100, 200, 300, 400]\n")]
    assert [dict(one.lines).get("line shapes", "").split(",")[0] for one in found] == ["", *["1 wave vectors"] * 2]
    numbers = 4 * 6 * 100_000
    assert 8.0 * numbers < found[2].memory - found[0].memory < 200.0 * numbers
    cell = 2.716 * (np.ones((3, 3)) - np.eye(3))
    silicon = Crystal(cell, np.array([[0.0] * 3, [0.25] * 3]), ("Si",) * 2, np.full(2, 28.1))
    cost = LineShapesCost(Mesh.create(silicon, (9, 9, 9)), np.array([5]), 1, 2000)
    assert cost.n_triplets == 85
    assert 0.1 < cost.seconds < 0.6  # 0.25 s measured


def test_rates_cost_what_was_measured():
    """28 atoms of graphene: 52 ms of processor time for a triplet, weights of the phase space included."""
    sheet = Crystal(np.diag([6.5, 6.5, 40.0]), np.random.default_rng(1).random((28, 3)), ("C",) * 28, np.full(28, 12.0),
                    (True, True, False))
    cost = RateCost(Mesh.create(sheet, (6, 6, 1)), 5)
    seconds = (cost.strength_seconds + 2.0 * cost.weight_seconds) / cost.n_triplets
    assert 0.03 < seconds < 0.1
    more = RateCost(Mesh.create(sheet, (12, 12, 1)), 5)
    assert more.n_triplets / cost.n_triplets == pytest.approx(16.0, rel=0.2)
    assert more.n_processes / cost.n_processes == pytest.approx(8.0, rel=0.2)
