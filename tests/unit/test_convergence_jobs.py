"""Jobs of kind bte_convergence: series and what is concluded from them."""

import json

import numpy as np
import pytest
from lattice_job_cases import AT_HAND_OF_RUN, SILICON
from test_cli import leave

from hpcthermo.errors import PhysicsError
from hpcthermo.lattice_jobs.extrapolation import extrapolated, last_change
from hpcthermo.transport.bte.lbte import conjugate_gradients

#: they share the run of silicon (conftest.py)
pytestmark = pytest.mark.xdist_group("lattice_jobs")


def test_a_series_with_a_mesh_that_fails_has_no_verdict(silicon_run, capsys, monkeypatch):
    def solver(matrix, diagonal, *rest):
        if len(diagonal) == 4:  # irreducible points of 3 x 3 x 3
            raise PhysicsError("collision matrix: expected positive eigenvalues, got others")
        return conjugate_gradients(matrix, diagonal, *rest)

    monkeypatch.setattr("hpcthermo.transport.bte.lbte.conjugate_gradients", solver)
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    (silicon_run / "series.toml").write_text('kind = "bte_convergence"\n' + AT_HAND_OF_RUN + '[bte]\nmesh = [2, 2, 2]\n'
                                         'method = "lbte"\ncoherence = false\n[convergence]\n'
                                         "meshes = [[2, 2, 2], [3, 3, 3], [4, 4, 4]]\n")
    code, _, err = leave(["run", str(silicon_run / "series.toml"), "--out", str(silicon_run / "series")], capsys)
    assert code == 0, err
    summary = json.loads((silicon_run / "series" / "summary.json").read_text())
    assert sorted(name for name in summary["results"] if name.startswith("kappa")) == [
        f"kappa_lbte_mean_300K_mesh_{n}x{n}x{n}" for n in (2, 4)]
    for name in ("lbte_solved", "converged_mesh"):
        assert not summary["checks"][name]["passed"]
        assert "no solution of the full equation at 3x3x3" in summary["checks"][name]["detail"]


@pytest.mark.usefixtures("without_figures")
def test_conductivity_against_the_supercell(capsys, tmp_path):
    job = SILICON[:SILICON.index("[bte]")].replace('kind = "bte"', 'kind = "bte_convergence"').replace(
        "[force_constants]", "[force_constants]\ncutoff3_A = 2.5")
    (tmp_path / "job.toml").write_text(job + "[bte]\nmesh = [3, 3, 3]\ncoherence = false\n[convergence]\n"
                                             "supercells = [[1, 1, 1], [2, 2, 2]]\n")
    code, _, err = leave(["run", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out")], capsys)
    assert code == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    values = [summary["results"][f"kappa_rta_mean_300K_supercell_{n}x{n}x{n}"]["value"] for n in (1, 2)]
    assert min(values) > 0.0
    assert values[0] != values[1]
    assert "% from the value before" in summary["checks"]["converged_supercell"]["detail"]


def test_lines_are_extrapolated_to_their_limit():
    steps = 1.0 / np.array([8.0, 12.0, 16.0, 24.0])
    limit = extrapolated(steps, 100.0 - 30.0 * steps, 0.02)
    assert limit.value == pytest.approx(100.0, rel=1e-12)
    assert limit.error == pytest.approx(0.0, abs=1e-9)
    assert limit.converged
    assert not extrapolated(steps, 100.0 - 300.0 * steps, 0.02).converged


def test_changes_are_judged_by_the_last_one():
    assert last_change(np.array([1.0, 2.0, 2.01]), 0.02).converged
    assert not last_change(np.array([1.0, 2.0, 2.1]), 0.02).converged
