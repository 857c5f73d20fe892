"""Jobs about lattice vibrations: what is refused, and what a run leaves behind."""

import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_cli import leave

from hpcthermo.config import JobFileError, parse_job
from hpcthermo.config.lattice_dynamics import BteSection
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.identity import changes, file_hashes, task_inputs
from hpcthermo.lattice_jobs.bte import _kappa_checks, _path_of_half, main_results
from hpcthermo.lattice_jobs.estimate import estimate_lattice_job
from hpcthermo.lattice_jobs.extrapolation import extrapolated, last_change
from hpcthermo.lattice_jobs.phonon import harmonic_checks, sum_rule_quantities
from hpcthermo.lattice_jobs.source import ForceConstants
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.files.load import load_lattice_dynamics
from hpcthermo.phonons.relaxed_crystal import RelaxedCrystal
from hpcthermo.phonons.stability import harmonic_crystal
from hpcthermo.plots.bte import bte_drawings, draw_convergence
from hpcthermo.results import Quantity, Results, read_results
from hpcthermo.status import status_text
from hpcthermo.transport.bte.cost import RateCost
from hpcthermo.transport.bte.isotopes import isotope_linewidths, natural_mass_variances
from hpcthermo.transport.bte.lbte import conjugate_gradients
from hpcthermo.transport.bte.line_shapes_cost import LineShapesCost
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.solution import adaptive_widths, solve
from hpcthermo.units import CONDUCTIVITY_W_PER_M_K

AT_HAND = """
kind = "bte"
[crystal]
phonopy_yaml = "phonopy.yaml"
fc2 = "fc2.hdf5"
fc3 = "fc3.hdf5"
[bte]
mesh = [11, 11, 11]
temperatures_K = [300.0]
method = "rta"
"""
#: of force constants, in the folder of a run
FILES = {"phonopy_yaml": "phono3py.yaml", "fc2": "fc2.hdf5", "fc3": "fc3.hdf5"}
AT_HAND_OF_RUN = "[crystal]\n" + "".join(f'{name} = "out/{file}"\n' for name, file in FILES.items())
SILICON = """
kind = "bte"
potential = "tersoff_si"
[structure]
builder = "crystal"
crystal = "Si"
[force_constants]
supercell = [1, 1, 1]
[phonon]
mesh = [4, 4, 4]
points_per_line = 5
[bte]
mesh = [4, 4, 4]
temperatures_K = [300.0, 1000.5]
method = "lbte"
normal_umklapp = true
"""


def test_the_job_of_force_constants_at_hand_has_natural_isotopes():
    job = parse_job(tomllib.loads(AT_HAND))
    assert job.bte.isotopes
    assert job.bte.mesh == (11, 11, 11)
    assert job.structure is None


@pytest.mark.parametrize(("old", "new", "told"), [
    ("mesh = [11, 11, 11]", "", "either mesh (divisions) or mesh_length_A"),
    ("mesh = [11, 11, 11]", "mesh = [11, 11]", "or three rows of three, got 2 values; correct it"),
    ("mesh = [11, 11, 11]", "mesh = 11", "bte.mesh: expected three whole numbers"),
    ("mesh = [11, 11, 11]", "mesh = [11, 11, 11.5]", "bte.mesh[2]: expected an integer"),
    ("mesh = [11, 11, 11]", "mesh = [[1, 1, 0], [1, 1, 0], [0, 0, 9]]", "determinant other than zero"),
    ('method = "rta"', 'method = "exact"', "bte.method: expected 'rta' or 'lbte'"),
    ('method = "rta"', 'delta = "gaussian"', "sigma_THz"),
    ("[300.0]", "[300.0, 300.0]", "remove the repeated ones"),
    ('phonopy_yaml = "phonopy.yaml"', "", "one of phonopy_yaml"),
    ("[crystal]", "potential = 'tersoff_si'\n[crystal]", "either [crystal]"),
    ('method = "rta"', '[bte.four_phonon]', "add crystal.fc4"),
    ('method = "rta"', '[bte.four_phonon]\ndelta = "gaussian"', "sigma_THz"),
    ('kind = "bte"', 'kind = "bte_convergence"\nconvergence = { cutoffs3_A = [3.0, 4.0] }', "needs [structure]"),
    ('method = "rta"', "mass_variances = { Si = -1.0 }", "bte.mass_variances.Si: expected greater than or equal to 0"),
    ('method = "rta"', "mass_variances = { silicon = 0.1 }", "bte.mass_variances.silicon"),
    ('method = "rta"', "isotopes = false\nmass_variances = { Si = 0.1 }", "with isotopes = true only"),
    ('method = "rta"', "[bte.line_shapes]", "bte.line_shapes.q: required key is missing"),
    ('method = "rta"', "[bte.line_shapes]\nq = [[0, 0]]", "bte.line_shapes.q[0]: expected a list of more values"),
    ('method = "rta"', "[bte.line_shapes]\nq = [[0, 0, 0]]\nwidth_THz = 0", "width_THz: expected greater than 0"),
    ('method = "rta"', "[bte.line_shapes]\nq = [[0, 0, 1e30]]", "q[0][2]: expected less than or equal to 100"),
])
def test_wrong_tables_are_refused(old, new, told):
    text = AT_HAND.replace(old, new)
    if new.startswith("potential"):
        text = "potential = 'tersoff_si'\n" + AT_HAND
    with pytest.raises(JobFileError) as refused:
        parse_job(tomllib.loads(text))
    assert told in str(refused.value)


def test_no_source_of_force_constants_is_refused():
    with pytest.raises(JobFileError, match=r"\[structure\] with potential; add them"):
        parse_job({"kind": "phonon"})


def refusal(text, capsys, tmp_path, command="bte"):
    """The one line of a command that refuses a job."""
    path = tmp_path / "job.toml"
    path.write_text(text)
    code, out, err = leave([command, str(path), "--out", str(tmp_path / "out")], capsys)
    lines = [line for line in err.splitlines() if line.startswith("hpcthermo: ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(("old", "new", "told"), [
    ("mesh = [4, 4, 4]\ntemperatures", "mesh = [4, 4, 3]\ntemperatures", "mesh: expected one with the symmetry"),
    ("supercell = [1, 1, 1]", "supercell = [1, 1, 1]\ncutoff3_A = 4.0", "half the shortest width of the supercell"),
    ("supercell = [1, 1, 1]", "supercell = [1, 1, 1]\norder = 2", "force_constants.order of at least 3, got 2"),
    ("supercell = [1, 1, 1]", "supercell = [1, 1, 1]\nsupercell2 = [1, 1, 2]",
     "48 rotations of the crystal, got one with 16; for example [2, 2, 2]"),
    ("[force_constants]", "[relaxation]\nrelax = false\n[force_constants]\nprimitive = true", "is not relaxed"),
    ("[force_constants]", "[relaxation]\nrelax = false\n[force_constants]", "its cell is not relaxed"),
    ("[force_constants]", "[relaxation]\nforce_tolerance_eV_per_A = 1e-4\n[force_constants]", ""),
    ("mesh = [4, 4, 4]\npoints", "path = 'GAMMA-Q'\nmesh = [4, 4, 4]\npoints", "phonon.path: expected names of points"),
])
def test_nonsense_is_refused_in_one_line(old, new, told, capsys, tmp_path):
    text = SILICON.replace(old, new).replace('method = "lbte"\nnormal_umklapp = true', "coherence = false")
    if not told:  # an unstable crystal: far too wide
        told = "is unstable"
        text = text.replace('crystal = "Si"', 'crystal = "Si"\nlattice_constant_A = 6.6').replace(
            "force_tolerance_eV_per_A = 1e-4", "relax = false\nfree_cell_components = []")
    if "its cell" in told:  # 0.5 % too wide: no forces, 1.5 GPa
        text = text.replace('crystal = "Si"', 'crystal = "Si"\nlattice_constant_A = 5.46')
    elif "relaxed" in told:
        text = text.replace('builder = "crystal"\ncrystal = "Si"', "file = 'si.xyz'")
        from ase.build import bulk

        silicon = bulk("Si", "diamond", 5.43, cubic=True)
        silicon.positions[0] += 0.1
        silicon.write(tmp_path / "si.xyz")
    assert told in refusal(text, capsys, tmp_path)
    if "phonon.path" in told or "half the" in told:  # before any force
        assert not (tmp_path / "out" / "campaign").exists()


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


def test_commands_look_at_the_kind(capsys, tmp_path):
    assert "expected kind phonon, got bte; use `hpcthermo run`" in refusal(SILICON, capsys, tmp_path, "phonon")


def test_several_ranks_are_refused(tmp_path):
    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.errors import InputError
    from hpcthermo.lattice_jobs.run import LatticeRun

    class Two(SingleProcess):
        size = 2

    with pytest.raises(InputError, match="one process with threads, got 2 ranks"):
        LatticeRun(parse_job(tomllib.loads(SILICON)), Two(), tmp_path, False)


@pytest.fixture(scope="module")
def silicon(tmp_path_factory, plain_figures):
    """Folder of a tiny run: eight atoms are no converged supercell."""
    from hpcthermo.cli import main

    folder = tmp_path_factory.mktemp("silicon")
    (folder / "job.toml").write_text(SILICON)
    with pytest.raises(SystemExit) as end:
        main(["bte", str(folder / "job.toml"), "--out", str(folder / "out")])
    assert end.value.code == 0
    return folder


def test_the_summary_names_every_component_and_temperature(silicon):
    summary = json.loads((silicon / "out" / "summary.json").read_text())
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


def test_a_terminal_shows_verdict_and_main_numbers(silicon, capsys, without_figures):
    code, out, _ = leave(["analyze", str(silicon / "out")], capsys)
    assert code == 0
    summary = json.loads((silicon / "out" / "summary.json").read_text())
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


def test_status_of_a_finished_run_counts_all_tasks(silicon):
    status = json.loads((silicon / "out" / "status.json").read_text())
    run = json.loads((silicon / "out" / "summary.json").read_text())["run"]
    assert status["state"] == "finished"
    assert status["step"] == status["total_steps"] > run["force_tasks_2"] + run["force_tasks_3"]
    told = status_text(silicon / "out").splitlines()
    assert told[0].split() == ["state", "finished"]
    assert told[1].startswith("tasks ")
    assert told[1].endswith("(100.0 %)")


def test_half_of_the_conductivity_lies_between_points_of_the_curve():
    paths = np.geomspace(1.0, 1e4, 9)
    assert _path_of_half(paths, 3.0 * np.log(paths / 10.0)) == pytest.approx(10.0 * 1000.0**0.5, rel=1e-12)
    assert _path_of_half(np.array([2.0, 4.0]), np.array([1.0, 1.0])) == pytest.approx(2.0)


def test_axes_show_what_matters(silicon):
    """Not the modes without partners, nor paths that carry nothing."""
    from matplotlib.figure import Figure

    results = read_results(silicon / "out" / "results.h5")
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


def test_a_run_leaves_report_figures_and_files(silicon):
    folder = silicon / "out"
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


@pytest.fixture(scope="module")
def lattice(silicon):
    """Its force constants."""
    return load_lattice_dynamics(**{name: silicon / "out" / file for name, file in FILES.items()})


def solution(lattice, **settings):
    return solve(lattice, BteSection(**{"mesh": (3, 3, 3), "coherence": False, **settings}))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("failing", [(300.0,), (300.0, 1000.5)])
def test_a_full_equation_that_fails_leaves_the_rest(failing, silicon, capsys, monkeypatch):
    """At one of the temperatures, or at all."""
    from matplotlib.figure import Figure

    remaining = iter(temperature in failing for temperature in (300.0, 1000.5))

    def solver(*arguments):
        if next(remaining):
            raise PhysicsError("collision matrix: expected positive eigenvalues, got others")
        return conjugate_gradients(*arguments)

    monkeypatch.setattr("hpcthermo.transport.bte.lbte.conjugate_gradients", solver)
    (silicon / "fails.toml").write_text('kind = "bte"\n' + AT_HAND_OF_RUN + "[phonon]\ndos = false\n"
                                        "points_per_line = 2\n[bte]\nmesh = [3, 3, 3]\n"
                                        'temperatures_K = [300.0, 1000.5]\nmethod = "lbte"\n')
    folder = silicon / f"fails{len(failing)}"
    code, out, err = leave(["bte", str(silicon / "fails.toml"), "--out", str(folder)], capsys)
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


def test_a_series_with_a_mesh_that_fails_has_no_verdict(silicon, capsys, monkeypatch):
    def solver(matrix, diagonal, *rest):
        if len(diagonal) == 4:  # irreducible points of 3 x 3 x 3
            raise PhysicsError("collision matrix: expected positive eigenvalues, got others")
        return conjugate_gradients(matrix, diagonal, *rest)

    monkeypatch.setattr("hpcthermo.transport.bte.lbte.conjugate_gradients", solver)
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    (silicon / "series.toml").write_text('kind = "bte_convergence"\n' + AT_HAND_OF_RUN + '[bte]\nmesh = [2, 2, 2]\n'
                                         'method = "lbte"\ncoherence = false\n[convergence]\n'
                                         "meshes = [[2, 2, 2], [3, 3, 3], [4, 4, 4]]\n")
    code, _, err = leave(["run", str(silicon / "series.toml"), "--out", str(silicon / "series")], capsys)
    assert code == 0, err
    summary = json.loads((silicon / "series" / "summary.json").read_text())
    assert sorted(name for name in summary["results"] if name.startswith("kappa")) == [
        f"kappa_lbte_mean_300K_mesh_{n}x{n}x{n}" for n in (2, 4)]
    for name in ("lbte_solved", "converged_mesh"):
        assert not summary["checks"][name]["passed"]
        assert "no solution of the full equation at 3x3x3" in summary["checks"][name]["detail"]


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


def test_force_constants_of_a_run_give_its_conductivity_again(silicon, capsys, monkeypatch):
    """By way of the files that the run wrote."""
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])  # which take most of the time
    text = SILICON[SILICON.index("[phonon]"):].replace("true", "false")
    (silicon / "again.toml").write_text('kind = "bte"\n[crystal]\nphonopy_yaml = "out/phono3py.yaml"\n'
                                        'fc2 = "out/fc2.hdf5"\nfc3 = "out/fc3.hdf5"\n' + text)
    code, _, err = leave(["bte", str(silicon / "again.toml"), "--out", str(silicon / "again")], capsys)
    assert code == 0, err
    first, second = (json.loads((silicon / name / "summary.json").read_text())["results"]["kappa_lbte_xx_300K"]["value"]
                     for name in ("out", "again"))
    assert second == pytest.approx(first, rel=1e-6)


def test_a_stopped_job_with_workers_goes_on_with_the_bits_of_one_process(silicon, capsys, monkeypatch):
    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.dynamics.stop import STOP, Requeue
    from hpcthermo.lattice_jobs.bte import run_bte

    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    monkeypatch.chdir(silicon)
    table = tomllib.loads(SILICON[SILICON.index("[phonon]"):])
    table |= {"kind": "bte", "crystal": {"phonopy_yaml": "out/phono3py.yaml", "fc2": "out/fc2.hdf5",
                                         "fc3": "out/fc3.hdf5"}}
    results = {}
    for name, campaign in (("alone", {}), ("workers", {"where": "threads", "workers": 2})):
        job = parse_job(table | {"campaign": campaign})
        finished = silicon / name / "campaign" / "points" / "journal.bin"

        def stop(finished=finished):
            return STOP if finished.exists() and finished.stat().st_size > 30_000 else 0

        if campaign:
            with pytest.raises(Requeue, match="of 8 tasks done"):
                run_bte(job, SingleProcess(), silicon / name, False, stop)
        run_bte(job, SingleProcess(), silicon / name, bool(campaign), None)
        with h5py.File(silicon / name / "results.h5") as store:
            results[name] = {key: store[key][()] for key in (
                "modes/linewidth", "modes/normal_linewidth", "modes/phase_space", "kappa/rta", "kappa/lbte")}
    capsys.readouterr()
    for key, values in results["alone"].items():
        np.testing.assert_array_equal(results["workers"][key], values, err_msg=key)


def test_a_gpu_without_cupy_is_refused_before_work(silicon, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    (silicon / "cuda.toml").write_text(
        'kind = "bte"\n[crystal]\nphonopy_yaml = "out/phono3py.yaml"\nfc2 = "out/fc2.hdf5"\nfc3 = "out/fc3.hdf5"\n'
        '[bte]\nmesh = [4, 4, 4]\n[execution]\ndevice = "cuda"\n')
    code, _, err = leave(["bte", str(silicon / "cuda.toml"), "--out", str(silicon / "cuda")], capsys)
    assert code != 0
    assert "device 'cuda' needs CuPy; install" in err
    assert "Traceback" not in err


def test_a_finished_campaign_is_not_computed_again(silicon, capsys, monkeypatch):
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    code, _, err = leave(["bte", str(silicon / "job.toml"), "--out", str(silicon / "out"), "--resume"], capsys)
    assert code == 0, err
    run = json.loads((silicon / "out" / "summary.json").read_text())["run"]
    assert (run["force_tasks_computed_2"], run["force_tasks_computed_3"]) == (0, 0)
    assert run["displaced_cells_3"] > 10


@pytest.mark.usefixtures("without_figures")
def test_a_job_that_has_changed_says_so_and_keeps_what_it_can(silicon, capsys, tmp_path):
    shutil.copytree(silicon / "out" / "campaign", tmp_path / "out" / "campaign")
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


def test_check_counts_cells(silicon, capsys):
    code, out, _ = leave(["check", str(silicon / "job.toml"), "--no-probe"], capsys)
    assert code == 0
    run = json.loads((silicon / "out" / "summary.json").read_text())["run"]
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


HARMONIC = SILICON[:SILICON.index("[phonon]")].replace('kind = "bte"', 'kind = "fc"')


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


@pytest.mark.parametrize(("linewidths", "passed"), [([0.1, 0.0], True), ([0.0, 0.0], False), ([0.1, -0.1], False),
                                                    ([0.1, np.nan], False)])
def test_a_mesh_without_any_linewidth_fails_its_check(linewidths, passed):
    results = Results("bte", {}, {}, {
        "kappa/temperature": Quantity(np.array([300.0]), "K"), "kappa/rta": Quantity(np.eye(3)[None], ""),
        "checks/asymmetry": Quantity(np.array(0.0), "1"), "checks/lowest_eigenvalue": Quantity(np.array(1.0), "1"),
        "modes/linewidth": Quantity(np.array(linewidths), "THz")})
    kappa = {name: quantity.values for name, quantity in results.group("kappa").items()}
    assert _kappa_checks(results, kappa)["linewidths"]["passed"] == passed


@pytest.mark.parametrize(("error", "passed"), [(0.01, True), (0.2, False), (np.nan, False)])
def test_a_fit_that_does_not_predict_forces_fails_its_check(error, passed):
    crystal = RelaxedCrystal(None, None, None, -1.0, 0.0, 0.0, 0.0, 1)
    found = sum_rule_quantities(ForceConstants(None, crystal, {"held_out_error_eV_per_A": 0.5 * error,
                                                               "held_out_force_eV_per_A": 0.5}, {2: 0.0}, {2: 0.0}))
    found["checks/mesh_lowest_frequency"] = Quantity(np.array(0.0), "THz")
    results = Results("fc", {"phonon": {"imaginary_limit_THz": 0.05}}, {}, found)
    assert harmonic_checks(results)["fit"]["passed"] == passed


@pytest.mark.parametrize(("before", "after", "passed"), [(0.1, 1e-9, True), (0.3, 1e-9, False), (0.1, 1e-3, False)])
def test_force_constants_far_from_their_sum_rules_fail_the_check(before, after, passed):
    found = sum_rule_quantities(ForceConstants(None, None, {}, {4: before}, {4: after}))
    found["checks/mesh_lowest_frequency"] = Quantity(np.array(0.0), "THz")
    check = harmonic_checks(Results("fc", {"phonon": {"imaginary_limit_THz": 0.05}}, {}, found))["acoustic_sum_rule_4"]
    assert check["passed"] == passed
    assert f"{before:.1e} before projection, limit 0.2" in check["detail"]


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


GRAPHENE = """
kind = "bte"
potential = "tersoff_graphene"
[structure]
builder = "layered_stack"
cell = "hexagonal"
vacuum_A = 20.0
layers = [{ material = "graphene", count = 1, repeat = [1, 1] }]
[force_constants]
supercell = [5, 5, 1]
cutoff3_A = 4.0
[phonon]
points_per_line = 5
dos = false
[bte]
mesh = [10, 10, 1]
method = "lbte"
thickness_A = 3.35
"""


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
