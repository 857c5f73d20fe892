"""Jobs of kind fc: orders, fits and forces."""

import json

import numpy as np
import pytest
from lattice_job_cases import FILES, HARMONIC, SILICON, refusal, solution
from test_cli import leave

from hpcthermo.lattice_jobs.phonon import harmonic_checks, sum_rule_quantities
from hpcthermo.lattice_jobs.source import ForceConstants
from hpcthermo.phonons.files.load import load_lattice_dynamics
from hpcthermo.phonons.relaxed_crystal import RelaxedCrystal
from hpcthermo.results import Quantity, Results


def test_forces_that_are_not_numbers_are_refused(capsys, tmp_path, monkeypatch):
    from hpcthermo.engine import Engine

    compute = Engine.compute

    def broken(self, *arguments, **options):
        done = compute(self, *arguments, **options)
        if self.system.n_owned == 64:  # the supercell, not the primitive cell while it is relaxed
            self.system.forces[3, 1] = np.nan
        return done

    monkeypatch.setattr(Engine, "compute", broken)
    told = refusal(HARMONIC.replace("[1, 1, 1]", "[2, 2, 2]\norder = 2"), capsys, tmp_path, "fc")
    assert "forces" in told
    assert "finite" in told
    assert not list((tmp_path / "out").glob("fc*.hdf5"))


@pytest.mark.usefixtures("without_figures")
def test_force_constants_of_the_fourth_order(capsys, tmp_path):
    job = HARMONIC.replace("[1, 1, 1]", "[1, 1, 1]\norder = 4\ncutoff3_A = 2.5\ncutoff4_A = 2.5\n"
                                        'formats = ["phonopy", "shengbte"]')
    (tmp_path / "job.toml").write_text(job + "[phonon]\ndos = false\npoints_per_line = 2\n")
    code, _, err = leave(["fc", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out")], capsys)
    assert code == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["checks"]["acoustic_sum_rule_4"]["passed"]
    assert summary["run"]["displaced_cells_4"] > 0
    # with which lines have the loop: it is in their places
    files = {**FILES, "fc3": "FORCE_CONSTANTS_3RD", "fc4": "FORCE_CONSTANTS_4TH"}
    found = solution(load_lattice_dynamics(**{name: tmp_path / "out" / file for name, file in files.items()}),
                     mesh=(2, 2, 2), line_shapes={"q": [(0.0, 0.0, 0.0)], "frequencies": 4000}).line_shapes
    assert abs(found.loop[0, 0, 3]) > 0.01
    shifts = found.bubble + found.tadpole + found.loop
    peaks = found.frequencies[found.spectral_functions[0, 0].argmax(axis=1)]
    np.testing.assert_allclose(peaks[3:], (found.bands + shifts[:, 0])[0, 3:], atol=0.02)


@pytest.mark.parametrize(("error", "passed"), [(0.01, True), (0.2, False), (np.nan, False)])
def test_a_fit_that_does_not_predict_forces_fails_its_check(error, passed):
    crystal = RelaxedCrystal(None, None, None, -1.0, 0.0, 0.0, 0.0, 1)
    found = sum_rule_quantities(ForceConstants(None, crystal, {"held_out_error_eV_per_A": 0.5 * error,
                                                               "held_out_force_eV_per_A": 0.5}, {2: 0.0}, {2: 0.0}))
    found["checks/mesh_lowest_frequency"] = Quantity(np.array(0.0), "THz")
    results = Results("fc", {"phonon": {"imaginary_limit_THz": 0.05}}, {}, found)
    assert harmonic_checks(results)["fit"]["passed"] == passed


@pytest.mark.slow
def test_random_displacements_give_the_frequencies_of_finite_differences(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    text = SILICON[:SILICON.index("[bte]")].replace('kind = "bte"', 'kind = "fc"').replace("[1, 1, 1]", "[2, 2, 2]")
    highest = []
    for name, more in (("finite", "order = 2"), ("random", 'order = 2\nmethod = "random"\nrandom_cells = 10\n'
                                                           "displacement_A = 0.005")):
        (tmp_path / "job.toml").write_text(text.replace("[2, 2, 2]", f"[2, 2, 2]\n{more}"))
        code, _, err = leave(["fc", str(tmp_path / "job.toml"), "--out", str(tmp_path / name)], capsys)
        assert code == 0, err
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        highest.append(summary["results"]["highest_frequency"]["value"])
    assert highest[1] == pytest.approx(highest[0], rel=1e-3)
