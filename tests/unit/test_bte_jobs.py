"""Jobs of kind bte: what a run leaves behind, resumes and cannot solve."""

import json
import shutil
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from lattice_job_cases import AT_HAND, AT_HAND_OF_RUN, GRAPHENE, HARMONIC, SILICON, solution
from test_cli import leave

from hpcthermo.config import parse_job
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.identity import changes, file_hashes, task_inputs
from hpcthermo.lattice_jobs.bte import _kappa_checks, _path_of_half, main_results
from hpcthermo.lattice_jobs.phonon import harmonic_checks, sum_rule_quantities
from hpcthermo.lattice_jobs.source import ForceConstants
from hpcthermo.phonons.stability import harmonic_crystal
from hpcthermo.plots.bte import bte_drawings, draw_convergence
from hpcthermo.results import Quantity, Results, read_results
from hpcthermo.status import status_text
from hpcthermo.transport.bte.isotopes import isotope_linewidths, natural_mass_variances
from hpcthermo.transport.bte.lbte import conjugate_gradients
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.solution import adaptive_widths
from hpcthermo.units import CONDUCTIVITY_W_PER_M_K

#: they share the run of silicon (conftest.py)
pytestmark = pytest.mark.xdist_group("lattice_jobs")


def test_the_summary_names_every_component_and_temperature(silicon_run):
    summary = json.loads((silicon_run / "out" / "summary.json").read_text())
    for method in ("rta", "lbte", "coherence"):
        for temperature in ("300K", "1000.5K"):
            for component in ("xx", "yy", "zz", "yz", "xz", "xy"):
                result = summary["results"][f"kappa_{method}_{component}_{temperature}"]
                assert result["unit"] == "W m^-1 K^-1"
    results, checks = summary["results"], summary["checks"]
    assert results["kappa_rta_xx_300K"]["value"] == pytest.approx(results["kappa_rta_zz_300K"]["value"], rel=1e-9)
    assert results["kappa_rta_xx_300K"]["value"] > results["kappa_rta_xx_1000.5K"]["value"] > 0.0
    assert {"acoustic_sum_rule_2", "acoustic_sum_rule_3", "stability", "tensor_symmetry", "positivity",
            "rta_against_lbte", "lbte_solved", "energy_conservation"} <= set(checks)
    assert all(checks[name]["passed"] for name in ("acoustic_sum_rule_3", "stability", "positivity", "lbte_solved"))
    assert "shared_weights" not in checks  # for sheets, unless asked for
    assert 50.0 < results["lowest_three_bands_share_300K"]["value"] < 100.0
    paths = [results[f"half_of_kappa_mean_free_path_{temperature}"]["value"] for temperature in ("300K", "1000.5K")]
    assert paths[0] > paths[1] > 0.0
    assert summary["run"]["isotopes"] == "natural mixture"
    assert summary["run"]["nonanalytic_correction"].startswith("not applied: no dielectric constants")


def test_a_terminal_shows_verdict_and_main_numbers(silicon_run, capsys, without_figures):
    code, out, _ = leave(["analyze", str(silicon_run / "out")], capsys)
    assert code == 0
    summary = json.loads((silicon_run / "out" / "summary.json").read_text())
    lines = out.splitlines()
    failed = [name for name, check in summary["checks"].items() if not check["passed"]]
    assert lines[0].split(None, 1)[1] == (f"{len(failed)} of {len(summary['checks'])} FAILED" if failed
                                          else f"all {len(summary['checks'])} passed")
    names = [line.split()[0] for line in lines[1 + len(failed):]]
    assert names == [*(f"kappa_{method}_{at}K" for method in ("lbte", "rta", "coherence") for at in ("300", "1000.5")),
                     "everything"]
    value = summary["results"]["kappa_lbte_xx_300K"]["value"]
    assert lines[1 + len(failed)].split(None, 1)[1] == f"{value:.6g} W m^-1 K^-1 (xx = yy = zz)"
    assert lines[-1].endswith(f"summary.json ({len(summary['results'])} results, {len(summary['checks'])} checks)")


def test_a_terminal_shows_a_sheet_and_some_of_many_temperatures():
    table = {f"kappa_rta_{c}_{t}K": {"value": value * t, "error": 0.1, "unit": "W"}
             for t in range(1, 31) for c, value in (("xx", 1.0), ("yy", 1.0), ("zz", 0.0), ("xy", 0.0))}
    lines = main_results(table)
    assert [name for name, _ in lines] == [f"kappa_rta_{t}K" for t in (1, 6, 12, 18, 24, 30)]
    assert lines[-1][1] == "xx 30.00 ± 0.10 W, yy 30.00 ± 0.10 W, zz 0.00 ± 0.10 W"


def test_status_of_a_finished_run_counts_all_tasks(silicon_run):
    status = json.loads((silicon_run / "out" / "status.json").read_text())
    run = json.loads((silicon_run / "out" / "summary.json").read_text())["run"]
    assert status["state"] == "finished"
    assert status["step"] == status["total_steps"] > run["force_tasks_2"] + run["force_tasks_3"]
    told = status_text(silicon_run / "out").splitlines()
    assert told[0].split() == ["state", "finished"]
    assert told[1].startswith("tasks ")
    assert told[1].endswith("(100.0 %)")


def test_half_of_the_conductivity_lies_between_points_of_the_curve():
    paths = np.geomspace(1.0, 1e4, 9)
    assert _path_of_half(paths, 3.0 * np.log(paths / 10.0)) == pytest.approx(10.0 * 1000.0**0.5, rel=1e-12)
    assert _path_of_half(np.array([2.0, 4.0]), np.array([1.0, 1.0])) == pytest.approx(2.0)


def test_axes_show_what_matters(silicon_run):
    """Not the modes without partners, nor paths that carry nothing."""
    from matplotlib.figure import Figure

    results = read_results(silicon_run / "out" / "results.h5")
    results.quantities["modes/isotope_linewidth"].values[0, :2] = 1e-15
    axes = Figure().subplots()
    bte_drawings(results)["scattering_rate"](axes)
    assert 1e-9 < axes.get_ylim()[0] < axes.get_ylim()[1] < 100.0
    axes = Figure().subplots()
    bte_drawings(results)["cumulative_path"](axes)
    cumulative = {name: quantity.values for name, quantity in results.group("cumulative").items()}
    first = np.searchsorted(cumulative["path"], axes.get_xlim()[0])
    curve = np.maximum(*(cumulative[f"path_kappa{ending}"][0, :, 0, 0] for ending in ("", "_lbte")))
    assert 0.1 < cumulative["path"][first] < cumulative["path"][-1]
    assert curve[first - 1] <= 1e-3 * curve[-1] < curve[first]
    series = {"abscissa": [0.5, 0.25, 0.2], "kappa": [1.0, 1.5, 1.6], "extrapolated": [2.0], "error": 0.1}
    axes = Figure().subplots()
    draw_convergence(axes, Results("bte_convergence", {}, {}, {
        f"convergence/meshes/{name}": Quantity(np.array(values), "1") for name, values in series.items()},
        {"convergence/meshes": {"method": "", "abscissa": "", "temperature_K": 300.0}}), "meshes")
    bar = axes.containers[0].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 1], [1.9, 2.1])


def test_a_run_leaves_report_figures_and_files(silicon_run):
    folder = silicon_run / "out"
    for name in ("report.html", "dispersion.png", "scattering_rate.png", "cumulative_path.pdf", "density_of_states.png",
                 "fc2.hdf5", "fc3.hdf5", "phono3py.yaml", "kappa-m444.hdf5"):
        assert (folder / name).stat().st_size > 0
    with h5py.File(folder / "results.h5") as store, h5py.File(folder / "kappa-m444.hdf5") as kappa:
        assert all("unit" in item.attrs for item in store["modes"].values())
        total = store["modes/linewidth"][()]
        parts = store["modes/normal_linewidth"][()] + store["modes/umklapp_linewidth"][()]
        assert np.allclose(total, parts, rtol=1e-12)
        assert np.allclose(kappa["gamma"][()], total)
        modes, weight = store["modes/kappa_rta"][()], store["mesh/weight"][()]
        summed = np.einsum("tisab,i->tab", modes, weight / weight.sum())
        assert np.allclose(summed, store["kappa/rta"][()])
        assert np.allclose(store["cumulative/path_kappa"][:, -1], store["kappa/rta"][()])
        bins = store["spectral/frequency"][()]
        assert np.allclose(store["spectral/kappa"][()].sum(axis=1) * (bins[1] - bins[0]), store["kappa/rta"][()])
        # the same of the full equation
        full = store["kappa/lbte"][()]
        assert np.allclose(np.einsum("tisab,i->tab", store["modes/kappa_lbte"], weight / weight.sum()), full)
        assert np.allclose(store["kappa/branch_lbte"][()].sum(axis=1), full)
        assert np.allclose(store["spectral/kappa_lbte"][()].sum(axis=1) * (bins[1] - bins[0]), full)
        for kind in ("path", "frequency"):
            assert np.allclose(store[f"cumulative/{kind}_kappa_lbte"][:, -1], full)
        # modes with paths up to 10 nm, one by one
        paths, lengths = store["modes/mean_free_path_lbte"][()], store["cumulative/path"][()]
        at = int(np.searchsorted(lengths, 10.0))
        short = np.where(paths <= 10.0 * lengths[at], 1.0, 0.0)[..., None, None] * store["modes/kappa_lbte"]
        assert np.allclose(store["cumulative/path_kappa_lbte"][:, at],
                           np.einsum("tisab,i->tab", short, weight / weight.sum()))
        # trace kappa = sum of C |v| path / V holds for both
        speeds = np.linalg.norm(store["modes/velocity"][()], axis=2)
        capacity, volume = store["modes/heat_capacity"][()], abs(np.linalg.det(store["crystal/cell"][()]))
        for name, ending in (("rta", ""), ("lbte", "_lbte")):
            traces = np.einsum("tis,is,tis,i->t", capacity, speeds, store[f"modes/mean_free_path{ending}"],
                               weight / weight.sum()) * CONDUCTIVITY_W_PER_M_K / volume
            assert np.allclose(traces, np.trace(store[f"kappa/{name}"][()], axis1=1, axis2=2))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("failing", [(300.0,), (300.0, 1000.5)])
def test_a_full_equation_that_fails_leaves_the_rest(failing, silicon_run, capsys, monkeypatch):
    """At one of the temperatures, or at all."""
    from matplotlib.figure import Figure

    remaining = iter(temperature in failing for temperature in (300.0, 1000.5))

    def solver(*arguments):
        if next(remaining):
            raise PhysicsError("collision matrix: expected positive eigenvalues, got others")
        return conjugate_gradients(*arguments)

    monkeypatch.setattr("hpcthermo.transport.bte.lbte.conjugate_gradients", solver)
    (silicon_run / "fails.toml").write_text('kind = "bte"\n' + AT_HAND_OF_RUN + "[phonon]\ndos = false\n"
                                        "points_per_line = 2\n[bte]\nmesh = [3, 3, 3]\n"
                                        'temperatures_K = [300.0, 1000.5]\nmethod = "lbte"\n')
    folder = silicon_run / f"fails{len(failing)}"
    code, out, err = leave(["bte", str(silicon_run / "fails.toml"), "--out", str(folder)], capsys)
    assert code == 0, err
    assert "nan" not in out
    assert (folder / "report.html").stat().st_size > 0
    assert (folder / "kappa-m333.hdf5").stat().st_size > 0
    summary = json.loads((folder / "summary.json").read_text())
    for temperature in (300.0, 1000.5):
        assert summary["results"][f"kappa_rta_xx_{temperature:g}K"]["value"] > 0.0
        ends = f"_{temperature:g}K"
        assert (temperature in failing) == (not [name for name in summary["results"] if "lbte" in name
                                                 and name.endswith(ends)])
    check = summary["checks"]["lbte_solved"]
    assert not check["passed"]
    assert f"no solution at {', '.join(f'{at:g}' for at in failing)} K" in check["detail"]
    assert "expected positive eigenvalues" in check["detail"]
    assert summary["checks"]["positivity"]["passed"]
    results = read_results(folder / "results.h5")
    for name in ("conductivity", "mean_free_path", "cumulative_path", "spectral_conductivity", "branch_shares"):
        bte_drawings(results)[name](Figure().subplots())


def test_small_grains_are_the_limit_of_short_paths(lattice):
    found, walls = solution(lattice), solution(lattice, boundary_length_um=1e-7)
    assert found.small_grains[0, 0, 0] > 0.0
    np.testing.assert_allclose(walls.relaxation_time.kappa / 1e-3, found.small_grains, rtol=1e-4, atol=1e-9)


def test_zero_mass_variances_are_no_isotopes(lattice):
    none, zero, natural, given = (solution(lattice, **settings).relaxation_time.kappa for settings in (
        {"isotopes": False}, {"mass_variances": {"Si": 0.0}}, {}, {"mass_variances": {"Si": 2.0e-3}}))
    np.testing.assert_array_equal(zero, none)
    assert given[0, 0, 0] < natural[0, 0, 0] < none[0, 0, 0]
    with pytest.raises(InputError, match=r"elements of the crystal \(Si\), got Ge"):
        solution(lattice, mass_variances={"Ge": 0.1})


def test_isotopes_have_the_delta_of_the_job(lattice):
    found = {delta: solution(lattice, delta=delta, sigma_THz=0.4 if delta == "gaussian" else None).linewidths["isotope"]
             for delta in ("tetrahedron", "gaussian", "adaptive_gaussian")}
    given = solution(lattice)
    variances = natural_mass_variances(("Si", "Si"))
    np.testing.assert_array_equal(found["gaussian"], isotope_linewidths(given.mesh, given.phonons, variances, 0.4))
    widths = np.full(given.phonons.frequencies.shape, 0.4)
    np.testing.assert_allclose(isotope_linewidths(given.mesh, given.phonons, variances, widths), found["gaussian"])
    assert not np.allclose(found["adaptive_gaussian"], found["tetrahedron"], rtol=1e-3)
    # on a fine mesh the sum over modes of any narrow delta is the same
    harmonic = harmonic_crystal(lattice, "gonze")
    mesh = Mesh.create(lattice.crystal, (9, 9, 9))
    phonons = mesh_phonons(harmonic, mesh)
    sums = [np.einsum("is,i->", isotope_linewidths(mesh, phonons, variances, widths), mesh.irreducible[1])
            for widths in (None, 0.1, adaptive_widths(mesh, harmonic, phonons).widths)]
    np.testing.assert_allclose(sums, sums[0], rtol=0.05)


def test_lines_have_shifts_and_areas(lattice):
    q = [(0.0, 0.0, 0.0), (1.0 / 3.0, 0.0, 0.333333)]
    found = solution(lattice, line_shapes={"q": q, "temperatures_K": (100.0, 600.0), "width_THz": 0.3,
                                           "frequencies": 3000}).line_shapes
    assert found.loop is None
    assert "no loop" in found.content
    np.testing.assert_allclose(found.tadpole, 0.0, atol=1e-6)  # by symmetry
    optical = found.bands[0] > 5.0
    assert optical.sum() == 3
    assert (found.bubble[0, :, ~optical] == 0.0).all()
    assert (found.bubble[0, 1, optical] < found.bubble[0, 0, optical]).all()  # softer when hot
    assert (found.gamma[:, 1] >= found.gamma[:, 0]).all()
    step = found.frequencies[1]
    area = found.spectral_functions[0][:, optical].sum(axis=2) * step
    np.testing.assert_allclose(area, 1.0, atol=0.02)
    with pytest.raises(InputError, match=r"points of the mesh, got \[0.25, 0.0, 0.0\]; the nearest is \[0.3333"):
        solution(lattice, line_shapes={"q": [(0.25, 0.0, 0.0)]})


def test_force_constants_of_a_run_give_its_conductivity_again(silicon_run, capsys, monkeypatch):
    """By way of the files that the run wrote."""
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])  # which take most of the time
    text = SILICON[SILICON.index("[phonon]"):].replace("true", "false")
    (silicon_run / "again.toml").write_text('kind = "bte"\n[crystal]\nphonopy_yaml = "out/phono3py.yaml"\n'
                                        'fc2 = "out/fc2.hdf5"\nfc3 = "out/fc3.hdf5"\n' + text)
    code, _, err = leave(["bte", str(silicon_run / "again.toml"), "--out", str(silicon_run / "again")], capsys)
    assert code == 0, err
    first, second = (json.loads((silicon_run / name / "summary.json").read_text())["results"]["kappa_lbte_xx_300K"]
                     for name in ("out", "again"))
    assert second["value"] == pytest.approx(first["value"], rel=1e-6)


def test_a_stopped_job_with_workers_goes_on_with_the_bits_of_one_process(silicon_run, capsys, monkeypatch):
    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.dynamics.stop import STOP, Requeue
    from hpcthermo.lattice_jobs.bte import run_bte

    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    monkeypatch.chdir(silicon_run)
    table = tomllib.loads(SILICON[SILICON.index("[phonon]"):])
    table |= {"kind": "bte", "crystal": {"phonopy_yaml": "out/phono3py.yaml", "fc2": "out/fc2.hdf5",
                                         "fc3": "out/fc3.hdf5"}}
    results = {}
    for name, campaign in (("alone", {}), ("workers", {"where": "threads", "workers": 2})):
        job = parse_job(table | {"campaign": campaign})
        finished = silicon_run / name / "campaign" / "points" / "journal.bin"

        def stop(finished=finished):
            return STOP if finished.exists() and finished.stat().st_size > 30_000 else 0

        if campaign:
            with pytest.raises(Requeue, match="of 8 tasks done"):
                run_bte(job, SingleProcess(), silicon_run / name, False, stop)
        run_bte(job, SingleProcess(), silicon_run / name, bool(campaign), None)
        with h5py.File(silicon_run / name / "results.h5") as store:
            results[name] = {key: store[key][()] for key in (
                "modes/linewidth", "modes/normal_linewidth", "modes/phase_space", "kappa/rta", "kappa/lbte")}
    capsys.readouterr()
    for key, values in results["alone"].items():
        np.testing.assert_array_equal(results["workers"][key], values, err_msg=key)


def test_a_finished_campaign_is_not_computed_again(silicon_run, capsys, monkeypatch):
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    code, _, err = leave(["bte", str(silicon_run / "job.toml"), "--out", str(silicon_run / "out"), "--resume"], capsys)
    assert code == 0, err
    run = json.loads((silicon_run / "out" / "summary.json").read_text())["run"]
    assert (run["force_tasks_computed_2"], run["force_tasks_computed_3"]) == (0, 0)
    assert run["displaced_cells_3"] > 10


@pytest.mark.usefixtures("without_figures")
def test_a_job_that_has_changed_says_so_and_keeps_what_it_can(silicon_run, capsys, tmp_path):
    shutil.copytree(silicon_run / "out" / "campaign", tmp_path / "out" / "campaign")
    text = HARMONIC.replace("[1, 1, 1]", "[1, 1, 1]\ncutoff3_A = 2.5") + "[phonon]\ndos = false\npoints_per_line = 2\n"
    for changed in (True, False):
        (tmp_path / "job.toml").write_text(text)
        code, _, err = leave(["fc", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out"), "--resume"], capsys)
        assert code == 0, err
        told = [line for line in err.splitlines() if "has changed since its last run" in line]
        assert len(told) == changed
        if changed:
            assert "bte none (was a table), force_constants.cutoff3_A 2.5 (was none), kind" in told[0]
            assert told[0].endswith("tasks with the same inputs are kept, all others are computed")
            run = json.loads((tmp_path / "out" / "summary.json").read_text())["run"]
            kept = run["force_tasks_3"] - run["force_tasks_computed_3"]
            assert run["force_tasks_computed_2"] == 0
            assert f"{kept} of {run['force_tasks_3']} tasks are kept, {run['force_tasks_computed_3']} to compute" in err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["run"]["force_tasks_computed_3"] == 0


def test_an_edited_file_is_told_of_and_a_moved_one_is_not(tmp_path):
    told = []
    for folder, content in (("a", "1"), ("b", "1"), ("b", "2")):
        (tmp_path / folder).mkdir(exist_ok=True)
        names = {name: str(tmp_path / folder / name) for name in ("phonopy.yaml", "fc2.hdf5", "fc3.hdf5")}
        for name, path in names.items():
            Path(path).write_text(name + content)
        text = AT_HAND
        for name, path in names.items():
            text = text.replace(f'"{name}"', f'"{path}"')
        parsed = parse_job(tomllib.loads(text))
        told.append(task_inputs(parsed, file_hashes(parsed)))
    assert changes(told[0], told[1]) == []
    assert [text.split()[0] for text in changes(told[1], told[2])] == ["crystal.fc2", "crystal.fc3",
                                                                       "crystal.phonopy_yaml"]


@pytest.mark.slow
def test_four_phonons_lower_the_conductivity_within_error_bars(capsys, tmp_path, monkeypatch):
    """From displacements of fourth order, and the same processes all and sampled."""
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    text = SILICON.replace("[1, 1, 1]", "[1, 1, 1]\norder = 4\ncutoff4_A = 2.5").replace("[4, 4, 4]", "[3, 3, 3]")
    text = text[:text.index("method")] + "coherence = false\n[bte.four_phonon]\n"
    found = []
    for settings in ("target_error_percent = 0.5", "all_processes = true"):
        (tmp_path / "job.toml").write_text(text + settings)
        code, _, err = leave(["bte", str(tmp_path / "job.toml"), "--out", str(tmp_path / settings[:3])], capsys)
        assert code == 0, err
        found.append(json.loads((tmp_path / settings[:3] / "summary.json").read_text()))
    sample, every = (summary["results"]["kappa_rta_xx_1000.5K"] for summary in found)
    without = found[0]["results"]["kappa_rta_three_phonon_xx_1000.5K"]["value"]
    assert found[0]["checks"]["four_phonon_sample"]["passed"]
    assert found[0]["run"]["four_phonon_samples"] > 1000
    assert 0.0 < sample["error"] < 0.02 * sample["value"]
    assert abs(sample["value"] - every["value"]) < 4.0 * sample["error"]
    assert every["error"] == 0.0
    assert every["value"] < 0.98 * without


@pytest.mark.parametrize(("linewidths", "passed"), [([0.1, 0.0], True), ([0.0, 0.0], False), ([0.1, -0.1], False),
                                                    ([0.1, np.nan], False)])
def test_a_mesh_without_any_linewidth_fails_its_check(linewidths, passed):
    results = Results("bte", {}, {}, {
        "kappa/temperature": Quantity(np.array([300.0]), "K"), "kappa/rta": Quantity(np.eye(3)[None], ""),
        "checks/asymmetry": Quantity(np.array(0.0), "1"), "checks/lowest_eigenvalue": Quantity(np.array(1.0), "1"),
        "modes/linewidth": Quantity(np.array(linewidths), "THz")})
    kappa = {name: quantity.values for name, quantity in results.group("kappa").items()}
    assert _kappa_checks(results, kappa)["linewidths"]["passed"] == passed


@pytest.mark.parametrize(("before", "after", "passed"), [(0.1, 1e-9, True), (0.3, 1e-9, False), (0.1, 1e-3, False)])
def test_force_constants_far_from_their_sum_rules_fail_the_check(before, after, passed):
    found = sum_rule_quantities(ForceConstants(None, None, {}, {4: before}, {4: after}))
    found["checks/mesh_lowest_frequency"] = Quantity(np.array(0.0), "THz")
    check = harmonic_checks(Results("fc", {"phonon": {"imaginary_limit_THz": 0.05}}, {}, found))["acoustic_sum_rule_4"]
    assert check["passed"] == passed
    assert f"{before:.1e} before projection, limit 0.2" in check["detail"]


@pytest.mark.slow
def test_a_sheet_conducts_in_its_plane_and_relaxation_times_underestimate_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    (tmp_path / "job.toml").write_text(GRAPHENE)
    code, _, err = leave(["bte", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out")], capsys)
    assert code == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    kappa = {name: entry["value"] for name, entry in summary["results"].items()}
    assert kappa["kappa_rta_xx_300K"] == pytest.approx(kappa["kappa_rta_yy_300K"], rel=1e-6)
    assert kappa["kappa_lbte_xx_300K"] > 2.0 * kappa["kappa_rta_xx_300K"] > 0.0
    weights = summary["checks"].pop("shared_weights")  # for sheets; the mesh is coarse
    assert not weights["passed"]
    assert "beyond it at 300 K" in weights["detail"]
    assert kappa["kappa_lbte_zz_300K"] == pytest.approx(0.0, abs=1e-9)
    assert "thickness 3.35" in summary["run"]["thickness"]
    assert all(check["passed"] for check in summary["checks"].values())
