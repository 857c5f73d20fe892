"""Structure files in and out, signs and units of labels, GPUMD's run.in."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from ase.io import read, write
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hpcthermo.cli import app
from hpcthermo.config.load import parse_job
from hpcthermo.convert import convert
from hpcthermo.errors import InputError
from hpcthermo.run_in import convert_run_in
from hpcthermo.structure import structure_from_file
from hpcthermo.structure.build import make_snapshot
from hpcthermo.structure.write import write_structure
from hpcthermo.units import TIME_FS

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def snapshot():
    """A skewed two-layer cell with velocities, groups and masses of isotopes."""
    rng = np.random.default_rng(3)
    sheet = graphene("C2", a=2.46, size=(3, 2, 1), vacuum=None)
    positions = np.concatenate([sheet.positions + np.array([0, 0, 2.0]), sheet.positions + np.array([0.3, 0.1, 5.4])])
    cell = sheet.cell.array.copy()
    cell[2] = [1.0, 0.5, 12.0]
    symbols = ["C"] * len(sheet) + ["B", "N"] * (len(sheet) // 2)
    n = len(positions)
    return make_snapshot(cell, np.array([True] * 3), symbols, positions + 0.02 * rng.normal(size=(n, 3)),
                         velocities=0.01 * rng.normal(size=(n, 3)), layers=np.repeat([0, 1], n // 2),
                         groups=np.arange(n) % 3)


def environment(positions, symbols, cell):
    """Sorted distances and pairs of species, the same for any order, origin and orientation of the atoms."""
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
    distances = atoms.get_all_distances(mic=True)
    i, j = np.triu_indices(len(atoms), 1)
    pairs = ["".join(sorted(symbols[a] + symbols[b])) for a, b in zip(i, j, strict=True)]
    return sorted(zip(pairs, distances[i, j].round(5).tolist(), strict=True))


@pytest.mark.parametrize("name", ["model.xyz", "POSCAR", "atoms.data", "atoms.cif"])
def test_written_structures_are_read_again(name, snapshot, tmp_path):
    write_structure(snapshot, tmp_path / name)
    found = structure_from_file(tmp_path / name)
    assert abs(np.linalg.det(found.cell)) == pytest.approx(abs(np.linalg.det(snapshot.cell)))
    assert sorted(found.species) == sorted(snapshot.species)
    symbols = [[s.species[t] for t in s.types] for s in (found, snapshot)]
    assert (environment(found.positions, symbols[0], found.cell)
            == environment(snapshot.positions, symbols[1], snapshot.cell))
    assert sorted(np.bincount(found.layers)) == sorted(np.bincount(snapshot.layers))
    if name != "atoms.cif":  # CIF holds no velocities; other formats may rotate them with the cell
        assert (np.sort(np.linalg.norm(found.velocities, axis=1))
                == pytest.approx(np.sort(np.linalg.norm(snapshot.velocities, axis=1)), rel=1e-5))
    if name == "model.xyz":
        for field in ("positions", "velocities", "groups", "layers", "types"):
            assert np.allclose(getattr(found, field), getattr(snapshot, field), atol=1e-8)


def test_lammps_restricted_cell_and_velocities_turn_together(snapshot, tmp_path):
    write_structure(snapshot, tmp_path / "a.data")
    found = structure_from_file(tmp_path / "a.data")
    assert np.allclose(np.triu(found.cell, 1), 0.0)
    rotation = np.linalg.solve(snapshot.cell, found.cell)
    assert np.allclose(found.velocities, snapshot.velocities @ rotation, atol=1e-7)


def test_extended_xyz_says_its_units(snapshot, tmp_path):
    write_structure(snapshot, tmp_path / "a.xyz", {"angle_deg": 21.7868, "builder": "twisted", "strain": [0.1, 0.2]})
    atoms = read(tmp_path / "a.xyz")
    assert atoms.info["vel_unit"] == "A/fs"
    assert atoms.info["angle_deg"] == pytest.approx(21.7868)
    assert atoms.info["builder"] == "twisted"
    assert np.allclose(atoms.info["strain"], [0.1, 0.2])
    assert np.allclose(atoms.arrays["vel"] * TIME_FS, snapshot.velocities)


def test_gpumd_model_with_any_case_masses_and_grouping_methods(tmp_path):
    path = tmp_path / "model.xyz"
    path.write_text('2\nPBC="T T F" LATTICE="3 0 0 0 3 0 0 0 20" PROPERTIES=Species:S:1:Pos:R:3:Mass:R:1:GROUP:I:2\n'
                    "Si 0 0 5 27.5 0 1\nSi 1.5 1.5 6.5 27.5 1 0\n")
    found = structure_from_file(path)
    assert found.periodic.tolist() == [True, True, False]
    assert found.masses.tolist() == [27.5]
    assert found.groups.tolist() == [0, 1]
    assert structure_from_file(path, grouping_method=1).groups.tolist() == [1, 0]
    with pytest.raises(InputError, match="grouping_method: expected less than 2"):
        structure_from_file(path, grouping_method=2)
    assert structure_from_file(path, periodic=(True, False, False)).periodic.tolist() == [True, False, False]


LAMMPS = """atoms

2 atoms
2 atom types
0 4 xlo xhi
0 4 ylo yhi
0 9 zlo zhi
1.0 0.0 0.5 xy xz yz

Masses

1 10.81{0}
2 14.007{1}

Atoms # atomic

1 1 0.0 0.0 1.0
2 2 1.4 0.0 1.0
"""


def test_types_of_lammps_data_are_not_guessed(tmp_path):
    path = tmp_path / "a.data"
    path.write_text(LAMMPS.format("", ""))
    with pytest.raises(InputError, match=r"name no elements \(by their masses perhaps B, N\)"):
        structure_from_file(path)
    assert structure_from_file(path, species=["B", "N"]).species == ("B", "N")
    with pytest.raises(InputError, match="expected 2 elements"):
        structure_from_file(path, species=["B"])
    path.write_text(LAMMPS.format(" # B", " # N"))
    found = structure_from_file(path)
    assert [found.species[t] for t in found.types] == ["B", "N"]
    assert np.allclose(found.cell, [[4, 0, 0], [1, 4, 0], [0, 0.5, 9]])
    xyz = tmp_path / "a.xyz"
    write(xyz, bulk("Si"))
    with pytest.raises(InputError, match="only LAMMPS data files need it"):
        structure_from_file(xyz, species=["Si"])


@pytest.mark.parametrize(("factor", "hint"), [(1.0, None), (-1.0, "opposite sign"), (1.0 / 160.2176634, "GPa")])
def test_stress_and_virial_must_agree(factor, hint, tmp_path):
    atoms = bulk("Si")
    stress = np.array([[0.01, 0.002, 0.0], [0.002, -0.03, 0.001], [0.0, 0.001, 0.02]])
    virial = -factor * stress * atoms.get_volume()
    text = " ".join(str(v) for v in virial.ravel()), " ".join(str(v) for v in stress.ravel())
    path = tmp_path / "a.xyz"
    path.write_text('2\nLattice="{}" Properties=species:S:1:pos:R:3 virial="{}" stress="{}"\n'.format(
        " ".join(str(v) for v in atoms.cell.array.ravel()), *text)
        + "".join(f"Si {x} {y} {z}\n" for x, y, z in atoms.positions))
    if hint is None:
        assert structure_from_file(path).n_atoms == 2
    else:
        with pytest.raises(InputError, match=hint):
            structure_from_file(path)


def test_names_without_format_and_files_in_the_way(snapshot, tmp_path):
    with pytest.raises(InputError, match="belongs to no format"):
        write_structure(snapshot, tmp_path / "a.pdb")
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(InputError, match="is there already"):
        convert(tmp_path / "b.xyz", tmp_path / "a.xyz", None, 0)
    flat = make_snapshot(np.zeros((3, 3)), np.array([False] * 3), ["C"], np.zeros((1, 3)))
    with pytest.raises(InputError, match="three cell vectors"):
        write_structure(flat, tmp_path / "POSCAR")
    assert not (tmp_path / "POSCAR").exists()


# ---- run.in ---------------------------------------------------------------------------------------------

RUN_IN = """potential nep.txt   # a comment
velocity 300 seed 7
ensemble npt_scr 300 300 100 0 0 0 50 50 50 1000
time_step 0.5
dump_thermo 100
dump_exyz 2000 1 0
run 1000

ensemble heat_lan 300 100 30 2 1
fix 0
compute 0 10 100 temperature
compute_shc 2 500 2 1000 400 group 0 1
run 100000
"""


@pytest.fixture
def gpumd_folder(tmp_path):
    n = 40
    lines = "".join(f"Si 0 0 {0.8 * k} {min(k // 10, 2)}\n" for k in range(n))
    (tmp_path / "model.xyz").write_text(
        f'{n}\nLattice="5 0 0 0 5 0 0 0 60" Properties=species:S:1:pos:R:3:group:I:1 pbc="T T F"\n{lines}')
    (tmp_path / "run.in").write_text(RUN_IN)
    return tmp_path


def test_run_in_becomes_a_job(gpumd_folder):
    lines = convert(gpumd_folder / "run.in", gpumd_folder / "job.toml", None, 0)
    job = parse_job(tomllib.loads((gpumd_folder / "job.toml").read_text()))
    assert job.kind == "nemd"
    assert job.seed == 7
    assert job.structure.file == "model.xyz"
    assert job.potential.path == "nep.txt"
    stage = job.stage[0]
    assert (stage.ensemble, stage.n_steps, stage.timestep_fs, stage.coupling_fs) == ("npt", 1000, 0.5, 50.0)
    assert stage.free_components == ("xx", "yy")  # z is not periodic
    assert stage.pressure_coupling_fs == 500.0
    nemd = job.nemd
    assert (nemd.axis, nemd.fixed_groups, nemd.source_groups, nemd.sink_groups) == ("z", (0,), (2,), (1,))
    assert (nemd.source_temperature, nemd.sink_temperature, nemd.coupling_fs) == (330.0, 270.0, 50.0)
    assert (nemd.n_steps, nemd.sample_interval_steps, nemd.samples_per_average) == (100_000, 10, 100)
    assert job.output.series_interval_steps == 100
    assert job.output.trajectory.interval_ps == 1.0
    assert job.output.trajectory.velocities
    assert any("compute_shc" in line and "no equivalent" in line for line in lines)
    assert any("line 3" in line and "not periodic" in line for line in lines)


def test_groups_of_the_structure_are_those_of_the_baths(gpumd_folder):
    from hpcthermo.preparation import build_structure
    from hpcthermo.transport.groups import FIXED, SINK, SOURCE
    from hpcthermo.transport.layout import nemd_grouping

    convert(gpumd_folder / "run.in", gpumd_folder / "job.toml", None, 0)
    data = tomllib.loads((gpumd_folder / "job.toml").read_text())
    data["structure"]["file"] = str(gpumd_folder / "model.xyz")
    data["nemd"] |= {"source_groups": [2], "sink_groups": [0], "fixed_groups": []}
    data["nemd"]["sink_groups"] = [0]
    job = parse_job(data)
    snapshot = build_structure(job.structure)
    grouping = nemd_grouping(job.nemd, snapshot)
    roles = grouping.roles[grouping.labels]
    assert np.array_equal(roles == SOURCE, snapshot.groups == 2)
    assert np.array_equal(roles == SINK, snapshot.groups == 0)
    assert not (roles == FIXED).any()
    data["nemd"]["fixed_groups"] = [9]
    with pytest.raises(InputError, match="no atom is in group 9"):
        nemd_grouping(parse_job(data).nemd, snapshot)


@pytest.mark.parametrize(("text", "message"), [
    ("velocity 300\n", "no potential"),
    ("potential a\nrun 10\n", "no run could be converted"),
    ("potential a\nensemble nvt_nhc 300\nrun 10\n", "line 2: expected at least 3 words"),
    ("potential a\nensemble nvt_nhc 300 x 100\nrun 10\n", "expected a number, got 'x'"),
    (RUN_IN + "ensemble nve\nrun 10\n", "split the file there"),
    ("potential a\n", "there is no line"),
    ("potential a\nensemble nve\nrun 1.5\n", "line 3: expected an integer, got '1.5'"),
    ("potential a\nensemble npt_scr 1 1 1 1 1\nrun 1\n", "1, 3 or 6 pressures"),
])
def test_bad_run_in(text, message, tmp_path):
    (tmp_path / "run.in").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        convert_run_in(tmp_path / "run.in", "model.xyz", None)
    assert "\n" not in str(caught.value)


def test_ensembles_of_run_in(tmp_path):
    (tmp_path / "run.in").write_text(
        "potential a\nvelocity 100\nminimize sd 1e-3 50\nensemble nvt_ber 300 500 200\nrun 10\n"
        "ensemble npt_ber 300 300 100 1 40 500\nrun 10\nensemble nve\nrun 20\nensemble nvt_qtb 1 1 1\nrun 5\n")
    conversion = convert_run_in(tmp_path / "run.in", "model.xyz", None)
    stages = conversion.job["stage"]
    assert [stage["ensemble"] for stage in stages] == ["minimize", "velocity_rescaling", "npt", "nve"]
    assert stages[1]["temperature_K"] == [300.0, 500.0]
    assert stages[2]["isotropic"]
    assert stages[2]["bulk_modulus_GPa"] == 40.0
    assert [r.line for r in conversion.remarks] == [3, 4, 6, 10]
    parse_job(tomllib.loads(conversion.text("run.in")))


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.sampled_from("potential nsmb\nruvte0123.-_#hlx"), max_size=200))
def test_any_text_is_converted_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("run") / "run.in"
    path.write_text("potential a\nensemble nve\n" + text + "\nrun 10\n")
    with suppress(InputError):
        tomllib.loads(convert_run_in(path, "model.xyz", None).text("run.in"))


@pytest.mark.skipif(not SHARED.exists(), reason="no reference data beside this checkout")
def test_published_run_in(tmp_path):
    text = (SHARED / "data" / "gr_hbn" / "nemd.run.in").read_text()
    (tmp_path / "run.in").write_text(text)
    conversion = convert_run_in(tmp_path / "run.in", "model.xyz", None)
    job = parse_job(tomllib.loads(conversion.text("run.in")))
    assert job.nemd.n_steps == 5_000_000
    assert (job.nemd.source_groups, job.nemd.sink_groups) == ((22,), (1,))
    assert [stage.n_steps for stage in job.stage] == [1_000_000, 500_000]


def test_a_poscar_with_vacuum_is_told_so(gpumd_folder):
    source, target = gpumd_folder / "POSCAR", gpumd_folder / "a.xyz"
    convert(gpumd_folder / "model.xyz", source, None, 0)
    assert any("--periodic" in line for line in convert(source, target, None, 0))
    assert structure_from_file(target).periodic.all()
    done = CliRunner().invoke(app, ["convert", str(source), str(gpumd_folder / "b.xyz"), "--periodic", "TTF"])
    assert done.exit_code == 0
    assert "--periodic" not in done.output
    assert structure_from_file(gpumd_folder / "b.xyz").periodic.tolist() == [True, True, False]
    done = CliRunner().invoke(app, ["convert", str(source), str(gpumd_folder / "c.xyz"), "--periodic", "yes"])
    assert done.exit_code == 2
    assert not (gpumd_folder / "c.xyz").exists()


def test_the_command_converts_and_refuses(gpumd_folder):
    runner = CliRunner()
    done = runner.invoke(app, ["convert", str(gpumd_folder / "model.xyz"), str(gpumd_folder / "a.data")])
    assert done.exit_code == 0, done.output
    assert "40 atoms, LAMMPS data" in done.output
    assert "structure.periodic = [true, true, false]" in done.output
    for options, message in ((["--species", "Qq"], "chemical symbols, got 'Qq'"),
                             (["--grouping-method", "2"], "has no group array")):
        done = runner.invoke(app, ["convert", str(gpumd_folder / "a.data"), str(gpumd_folder / "b.xyz"), *options])
        assert message in str(done.exception)
    done = runner.invoke(app, ["convert", str(gpumd_folder / "nothing.xyz"), str(gpumd_folder / "b.data")])
    assert isinstance(done.exception, InputError)
