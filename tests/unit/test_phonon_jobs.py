"""Jobs of kind phonon: strain, volumes, sheets."""

import json
import tomllib

import h5py
import pytest
from lattice_job_cases import AT_HAND, GRAPHENE, HARMONIC, SILICON
from test_cli import leave

from hpcthermo.config import JobFileError, parse_job


def test_a_strained_cell_on_purpose_states_its_stress():
    from hpcthermo.lattice_jobs.source import structure_and_potential
    from hpcthermo.phonons.relaxed_crystal import relaxed_crystal

    text = SILICON.replace('crystal = "Si"', 'crystal = "Si"\nlattice_constant_A = 5.46').replace(
        "[force_constants]", "[relaxation]\nrelax = false\nfree_cell_components = []\n[force_constants]")
    job = parse_job(tomllib.loads(text))
    snapshot, potential = structure_and_potential(job)
    held = relaxed_crystal(snapshot, potential, job.relaxation, True)
    assert held.free_stress == 0.0
    # bulk modulus of this potential: 98 GPa
    assert held.largest_stress == pytest.approx(3.0 * 98.0 * (5.46 / 5.432 - 1.0), rel=0.05)
    # the crystal at rest has none to state
    free = relaxed_crystal(snapshot, potential, job.relaxation.model_copy(
        update={"relax": True, "free_cell_components": "periodic"}), True)
    assert free.largest_stress < job.relaxation.stress_tolerance_GPa


@pytest.mark.usefixtures("without_figures")
def test_two_volumes_give_the_grueneisen_parameter_of_silicon(capsys, tmp_path):
    """0.7754 by third-order force constants of the same potential."""
    job = HARMONIC.replace('"fc"', '"phonon"').replace("[1, 1, 1]", "[2, 2, 2]\norder = 2")
    (tmp_path / "job.toml").write_text(job + "[phonon]\nmesh = [4, 4, 4]\npoints_per_line = 2\ngrueneisen = false\n"
                                             "grueneisen_volume_change_percent = 0.5\n")
    code, _, err = leave(["phonon", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out")], capsys)
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
    assert found["grueneisen_by_volumes_300K"]["value"] == pytest.approx(0.7754, abs=2e-3)
    with pytest.raises(JobFileError, match="force constants at hand are of one volume"):
        parse_job(tomllib.loads(AT_HAND + "[phonon]\ngrueneisen_volume_change_percent = 1.0"))


@pytest.mark.slow
def test_the_flexural_branch_of_a_sheet_is_quadratic_unless_it_is_pulled(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    text = GRAPHENE[:GRAPHENE.index("[bte]")].replace("[5, 5, 1]", "[3, 3, 1]")
    text = text.replace('kind = "bte"', 'kind = "phonon"')
    exponent = {}
    for name, rotational, pressure in (("free", "true", 0.0), ("pulled", "false", -1.0)):
        job = text.replace("cutoff3_A = 4.0", f"order = 2\nrotational_sum_rules = {rotational}") + (
            f"grueneisen = false\n[relaxation]\npressure_GPa = {pressure}\n")
        (tmp_path / "job.toml").write_text(job)
        code, _, err = leave(["phonon", str(tmp_path / "job.toml"), "--out", str(tmp_path / name)], capsys)
        assert code == 0, err
        with h5py.File(tmp_path / name / "results.h5") as file:
            exponent[name] = float(file["checks/flexural_exponent"][()])
            assert float(file["checks/lowest_frequency_before"][()]) == pytest.approx(0.0, abs=1e-3)
        checks = json.loads((tmp_path / name / "summary.json").read_text())["checks"]
        assert checks["flexural_branch"]["passed"] == (name == "free")
    assert exponent["free"] == pytest.approx(2.0, abs=0.1)
    assert exponent["pulled"] == pytest.approx(1.0, abs=0.02)
