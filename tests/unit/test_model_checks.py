"""Checks of potentials: analytic crystals, labels of the potential itself, instabilities, bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from lattice_job_cases import refusal
from test_cli import leave
from test_nep_optimisation import pair_frames

from hpcthermo.calculator import Calculator
from hpcthermo.datasets.ase_atoms import frame_of_atoms
from hpcthermo.datasets.files import write_dataset
from hpcthermo.errors import InputError
from hpcthermo.model_checks.curves import two_layers
from hpcthermo.results import read_results

#: nearest neighbours only: r = 2^(1/6) sigma
EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 4.5
ARGON = """
kind = "model_checks"
[potential]
path = "lj.txt"
style = "lennard_jones"
"""
SHEETS = ["tersoff_graphene", "lj_gr_hbn"]
BILAYER = """
[check.structure]
builder = "layered_stack"
cell = "hexagonal"
layers = [{ material = "graphene", count = 2, repeat = [1, 1], stacking = "AB" }]
spacing_A = 3.35
vacuum_A = 14.0
"""


def run(text, tmp_path, capsys, command="run"):
    """Summary of a job."""
    (tmp_path / "job.toml").write_text(text)
    code, _, err = leave([command, str(tmp_path / "job.toml"), "--out", str(tmp_path / "out")], capsys)
    assert code == 0, err
    return json.loads((tmp_path / "out" / "summary.json").read_text())


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Bilayers labelled by the potential that is checked: at several distances, and stretched."""
    calculator, frames = Calculator(SHEETS), []

    def label(a, distance, group):
        cell = np.array([[a, 0, 0], [-0.5 * a, 0.75**0.5 * a, 0], [0, 0, 20.0]])
        basal = np.array([[0, 0], [1 / 3, 2 / 3], [1 / 3, 2 / 3], [2 / 3, 1 / 3]])
        heights = np.array([0, 0, distance, distance])[:, None]
        atoms = Atoms("C4", np.hstack([basal @ cell[:2, :2], heights]), cell=cell, pbc=True)
        atoms.set_array("layer", np.array([0, 0, 1, 1], dtype=np.int32))
        atoms.calc = calculator
        atoms.get_forces()
        # a constant of the labels, as between codes
        frames.append(replace(frame_of_atoms(atoms, group=group), energy=atoms.get_potential_energy() - 400.0))

    for distance in (2.9, 3.1, 3.25, 3.4, 3.55, 3.8, 4.3, 5.0, 6.5):
        label(2.53, distance, "binding")
    for a in (2.48, 2.5, 2.515, 2.53, 2.545, 2.56, 2.58):
        label(a, 3.45, "stretched")
    path = tmp_path_factory.mktemp("labels") / "labels.xyz"
    write_dataset(frames, path)
    return path


def lj_job(tmp_path):
    (tmp_path / "lj.txt").write_text(f"lj 1 Ar\n{EPSILON} {SIGMA} {CUTOFF}\n")
    return ARGON


@pytest.mark.usefixtures("without_figures")
def test_a_crystal_of_springs_has_the_analytic_lattice_constant_and_frequencies(tmp_path, capsys):
    """Highest frequency of nearest neighbours in fcc: omega^2 = 8 V''(r) / m at X."""
    a = 2.0**0.5 * 2.0 ** (1.0 / 6.0) * SIGMA
    cell = a * np.eye(3)
    Atoms("Ar4", scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], cell=1.01 * cell,
          pbc=True).write(tmp_path / "argon.xyz")
    structure = '[check.structure]\nfile = "argon.xyz"\n'
    summary = run(lj_job(tmp_path) + f"""
[[check]]
name = "argon"
kind = "lattice"
lattice_constant_A = {a}
lattice_constant_tolerance_A = 1e-4
relaxation.stress_tolerance_GPa = 1e-5
{structure}
[[check]]
name = "argon"
kind = "dispersion"
supercell = [2, 2, 2]
path = "GAMMA-X"
displacement_A = 0.001
points_per_line = 5
{structure}
""", tmp_path, capsys)
    stiffness = 72.0 * EPSILON / (2.0 ** (1.0 / 3.0) * SIGMA**2)
    mass = 39.948 * 1.03642697e-4  # eV ps^2/A^2
    highest = (8.0 * stiffness / mass) ** 0.5 / (2.0 * np.pi)
    assert summary["results"]["lattice_constant_a: argon"]["value"] == pytest.approx(a, abs=2e-5)
    assert summary["results"]["highest_frequency: argon"]["value"] == pytest.approx(highest, rel=1e-3)
    assert all(check["passed"] for check in summary["checks"].values()), summary["checks"]
    assert {"relaxed: argon", "lattice_constant_a: argon", "stability: argon"} <= set(summary["checks"])


def test_a_potential_agrees_with_its_own_labels_and_not_with_others(labels, tmp_path, capsys):
    def job(file, groups, binding):
        return f"""
kind = "model_checks"
potential = {json.dumps(SHEETS)}
[[check]]
name = "bilayer"
kind = "lattice"
reference_files = ["{file}"]
{groups}
lattice_constant_tolerance_A = 1e-3
interlayer_spacing_tolerance_A = 5e-3
{BILAYER}
[[check]]
name = "bilayer AB, labels"
kind = "binding_curve"
reference_files = ["{file}"]
group = "{binding}"
rms_tolerance_meV_per_atom = 0.01
"""

    groups = 'equation_of_state_group = "stretched"\ninterlayer_spacing_group = "binding"'
    summary = run(job(labels, groups, "binding"), tmp_path, capsys)
    assert all(check["passed"] for check in summary["checks"].values()), summary["checks"]
    found = summary["results"]
    assert found["rms_difference: bilayer AB, labels"]["value"] < 1e-9
    assert found["equilibrium_distance: bilayer AB, labels"]["value"] == pytest.approx(
        found["interlayer_spacing: bilayer"]["value"], abs=5e-3)
    assert (tmp_path / "out" / "binding_curve_bilayer_ab_labels.png").exists()
    results = read_results(tmp_path / "out" / "results.h5").group("check/binding_curve_bilayer_ab_labels/binding_curve")
    np.testing.assert_allclose(results["energy"].values - results["reference_energy"].values, 100.0, atol=1e-9)


@pytest.mark.usefixtures("without_figures")
def test_other_labels_fail_the_checks(labels, tmp_path, capsys):
    from hpcthermo.datasets.files import read_dataset

    # layers that hold 20 % less, 0.1 A farther apart, and a lattice 1 % wider
    others = []
    for frame in read_dataset(labels):
        positions, cell = frame.positions.copy(), frame.cell.copy()
        if frame.group == "binding":
            positions[2:, 2] += 0.1
        else:
            cell[:2] *= 1.01
            positions[:, :2] *= 1.01
        others.append(replace(frame, positions=positions, cell=cell, energy=0.8 * frame.energy))
    write_dataset(others, tmp_path / "others.xyz")
    summary = run(f"""
kind = "model_checks"
potential = {json.dumps(SHEETS)}
[[check]]
name = "bilayer"
kind = "lattice"
reference_files = ["others.xyz"]
equation_of_state_group = "stretched"
interlayer_spacing_group = "binding"
{BILAYER}
[[check]]
name = "curve"
kind = "binding_curve"
reference_files = ["others.xyz"]
group = "binding"
""", tmp_path, capsys)
    failed = {name for name, check in summary["checks"].items() if not check["passed"]}
    assert failed == {"lattice_constant_a: bilayer", "interlayer_spacing: bilayer", "rms_difference: curve",
                      "equilibrium_distance: curve", "depth: curve"}


@pytest.mark.usefixtures("without_figures")
def test_an_unstable_crystal_fails_and_what_cannot_be_computed_has_failed(tmp_path, capsys):
    """A sheet under pressure buckles."""
    sheet = """
[check.structure]
builder = "layered_stack"
cell = "hexagonal"
layers = [{ material = "graphene", count = 1, repeat = [1, 1], lattice_constant_A = %s }]
vacuum_A = 14.0
"""
    check = '[[check]]\nname = "%s"\nkind = "dispersion"\nsupercell = [3, 3, 1]\npoints_per_line = 9\n'
    summary = run('kind = "model_checks"\npotential = "tersoff_graphene"\n'
                  + check % "at rest" + sheet % 2.46
                  + check % "pressed" + "rotational_sum_rules = false\nrelaxation.free_cell_components = []\n"
                  + sheet % 2.46
                  + check % "not relaxed" + "relaxation.steps = 1\n" + sheet % 2.46, tmp_path, capsys)
    assert summary["checks"]["stability: at rest"]["passed"]
    assert not summary["checks"]["stability: pressed"]["passed"]
    assert summary["results"]["lowest_frequency: pressed"]["value"] < -0.5
    assert "could not be computed" in summary["checks"]["dispersion: not relaxed"]["detail"]
    # the optical branch of this potential
    assert 45.0 < summary["results"]["highest_frequency: at rest"]["value"] < 55.0


@pytest.mark.usefixtures("without_figures")
def test_a_training_ends_with_the_checks_of_its_model(tmp_path, capsys):
    frames = pair_frames(12)
    write_dataset(frames, tmp_path / "train.xyz")
    Atoms("ArKr", positions=[[0, 0, 0], [3, 0, 0]], cell=[6, 3, 3], pbc=True).write(tmp_path / "chain.xyz")
    summary = run("""
kind = "train"
[dataset]
train_files = ["train.xyz"]
[model]
elements = ["Ar", "Kr"]
radial_cutoff_A = 4.5
angular_cutoff_A = 4.0
n_max = [2, 1]
basis_size = [4, 3]
l_max = 2
neurons = 4
[optimiser]
name = "gradient"
epochs = 20
[[check]]
name = "salt"
kind = "lattice"
lattice_constant_A = 9.0
unit_cells = [1, 1, 1]
relaxation.steps = 30
structure.file = "chain.xyz"
""", tmp_path, capsys, "train")
    assert {"lattice_constant_a: salt", "force_rmse_training"} <= set(summary["results"])
    assert not summary["checks"]["lattice_constant_a: salt"]["passed"]


@pytest.mark.parametrize(("table", "told"), [
    ('kind = "lattice"\nlattice_constant_A = 2.5\nequation_of_state_group = "a"\nreference_files = ["labels.xyz"]'
     + BILAYER, "expected either lattice_constant_A or equation_of_state_group"),
    ('kind = "lattice"\nequation_of_state_group = "a"' + BILAYER, "expected reference_files with"),
    ('kind = "lattice"\nequation_of_state_group = "a"\nreference_files = ["labels.xyz"]' + BILAYER,
     "at least 5 frames of group 'a'"),
    ('kind = "lattice"\nequation_of_state_group = "binding"\nreference_files = ["labels.xyz"]' + BILAYER,
     "at least 5 different lattice constants"),
    ('kind = "lattice"\ninterlayer_spacing_group = "stretched"\nreference_files = ["labels.xyz"]' + BILAYER,
     "expected different distances"),
    ('kind = "binding_curve"\nreference_files = ["labels.xyz"]', "expected either reference_files with group"),
    ('kind = "binding_curve"' + BILAYER, "expected at least 5 distances, got 1"),
    ('kind = "lattice"\ninterlayer_spacing_A = 3.3' + BILAYER.replace('count = 2', 'count = 1').replace(
        ', stacking = "AB"', "").replace("spacing_A = 3.35\n", ""), "two layers or more"),
    ('kind = "dispersion"\nsupercell = [2, 2, 1]\npath = "GAMMA-Q"' + BILAYER, "expected names of points"),
    ('kind = "lattice"' + BILAYER.replace("graphene", "MoS2").replace("3.35", "6.5"), "got Mo S"),
    ('kind = "lattice"\nlattice_constant_tolerance_A = 0.0' + BILAYER, "lattice_constant_tolerance_A"),
])
def test_checks_that_cannot_be_done_are_refused(table, told, labels, tmp_path, capsys):
    (tmp_path / "labels.xyz").write_text(labels.read_text())
    job = f'kind = "model_checks"\npotential = {json.dumps(SHEETS)}\n[[check]]\nname = "it"\n{table}'
    assert told in refusal(job, capsys, tmp_path, "run")
    assert not (tmp_path / "out" / "results.h5").exists()


def test_two_checks_of_one_name_are_refused(tmp_path, capsys):
    check = f'[[check]]\nname = "%s"\nkind = "lattice"\n{BILAYER}'
    told = refusal('kind = "model_checks"\npotential = "tersoff_graphene"\n' + check % "a b" + check % "A-B", capsys,
                   tmp_path, "run")
    assert "expected different names" in told


def test_scans_that_share_a_frame_belong_together(labels):
    """Of both groups the frames with the cell of most: those of the binding curve."""
    from hpcthermo.model_checks.curves import frames_of_group, spacing_minimum

    alone = frames_of_group([str(labels)], "binding", "it", 0)
    both = frames_of_group([str(labels)], ("binding", "stretched"), "it", 0)
    assert len(both) - len(alone) == 1  # stretched, at the same lattice constant
    assert {frame.group for frame in both} == {"binding", "stretched"}
    assert spacing_minimum(alone, "it") == pytest.approx(3.35, abs=0.1)


def test_layers_are_found_across_the_boundary():
    cell = np.diag([2.5, 2.5, 20.0])
    positions = np.array([[0, 0, 19.9], [1, 1, 0.1], [0, 0, 3.4], [1, 1, 3.6]])
    layers, distance = two_layers(cell, positions, "it")
    assert layers.tolist() == [0, 0, 1, 1]
    assert distance == pytest.approx(3.5)
    # a crystal: the smaller of the two gaps
    layers, distance = two_layers(np.diag([2.5, 2.5, 7.0]), np.array([[0, 0, 0.2], [0, 0, 3.5]]), "it")
    assert distance == pytest.approx(3.3)
    with pytest.raises(InputError, match="two layers, got 1"):
        two_layers(cell, positions[:2], "it")
