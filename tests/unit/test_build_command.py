"""`hpcthermo build` as a user meets it: files, pictures, series of jobs, angles, and one line for bad input."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from hpcthermo.build_command import angle_lines, build_command
from hpcthermo.building import build_frames
from hpcthermo.cli import main
from hpcthermo.config import load_job
from hpcthermo.config.structure import StructureJob
from hpcthermo.preparation import build_structure
from hpcthermo.transport.groups import FIXED, SINK, SOURCE
from hpcthermo.transport.layout import find_interface, nemd_grouping

EXAMPLES = re.findall(r"```toml\n# (\d+) atoms\n(.*?)```",
                      (Path(__file__).parents[2] / "docs" / "structures.md").read_text(), re.DOTALL)
#: larger examples are only checked to be valid tables
MOST_ATOMS = 30_000


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_documentation(number: int) -> None:
    atoms, text = EXAMPLES[number]
    job = StructureJob.model_validate(tomllib.loads(text))
    if int(atoms) <= MOST_ATOMS:
        frames = build_frames(job.structure, job.seed)
        assert frames[0].snapshot.n_atoms == int(atoms)
        periods = [t for t in job.structure.perturbation if t.kind == "slide"]
        assert len(frames) == (441 if periods else {7: 6}.get(job.seed, len({f.label for f in frames})))


TWISTED = """
seed = 5
[structure]
builder = "twisted_bilayer"
materials = ["graphene"]
angle_deg = 21.79
[[structure.perturbation]]
kind = "rattle"
deviation_A = 0.02
frames = 3
"""


def test_frames_picture_and_metadata(tmp_path: Path, capsys) -> None:
    (tmp_path / "job.toml").write_text(TWISTED)
    with pytest.raises(SystemExit) as left:
        main(["build", str(tmp_path / "job.toml"), "-o", str(tmp_path / "set.xyz")])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert "atoms 28 (C 28)" in printed
    assert "3 frames" in printed
    frames = read(tmp_path / "set.xyz", ":")
    assert len(frames) == 3
    for frame in frames:
        assert frame.info["m"] == 1
        assert frame.info["angle_deg"] == pytest.approx(21.786789)
        assert frame.info["seed"] == 5
        assert frame.info["perturbation"].startswith("rattle 0.02 A")
        assert frame.arrays["layer"].tolist() == [0] * 14 + [1] * 14
        assert frame.pbc.tolist() == [True, True, False]
    assert (tmp_path / "set.png").read_bytes().startswith(b"\x89PNG")


def test_large_structures_are_drawn_by_pixels(tmp_path: Path) -> None:
    from matplotlib.image import imread

    (tmp_path / "job.toml").write_text('[structure]\nbuilder = "layered_stack"\nvacuum_A = 10.0\nlayers = '
                                       '[{ material = "h-BN", count = 2, repeat = [30, 20] }]\n')
    build_command(tmp_path / "job.toml", tmp_path / "model.vasp")
    picture = imread(tmp_path / "model.png")[..., :3]
    bluish = picture[..., 2] - picture[..., 0] > 0.2  # nitrogen, and some of the frame of the layers
    assert 0.03 < bluish.mean() < 0.5
    assert len(read(tmp_path / "model.vasp", format="vasp")) == 4800


AL_SI = """
kind = "nemd"
potential = "tersoff_si"
[structure]
builder = "interface"
frozen_A = 4.0
bath_A = 8.0
[structure.lower]
crystal = "Al"
length_A = [30.0, 40.0]
[structure.upper]
crystal = "Si"
length_A = [30.0]
[nemd]
fixed_groups = [0, 5]
source_groups = [1]
sink_groups = [4]
temperature_K = 300
temperature_difference_K = 60
duration_ps = 20
"""


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("inline", [False, True])
def test_series_of_jobs_for_nemd(tmp_path: Path, inline: bool) -> None:
    """Each member is a whole job whose groups are those of the builder; the interface is found."""
    text = AL_SI
    if inline:
        for side, crystal, lengths in (("lower", "Al", "[30.0, 40.0]"), ("upper", "Si", "[30.0]")):
            text = text.replace(f'[structure.{side}]\ncrystal = "{crystal}"\nlength_A = {lengths}\n',
                                f'structure.{side} = {{ crystal = "{crystal}", length_A = {lengths} }}\n')
        text = text.replace("[structure]\n", "").replace("builder =", "structure.builder =").replace(
            "frozen_A", "structure.frozen_A").replace("bath_A", "structure.bath_A")
    (tmp_path / "al_si.toml").write_text(text)
    lines = build_command(tmp_path / "al_si.toml", tmp_path / "model.xyz")
    jobs = sorted(tmp_path.glob("al_si-*.toml"))
    assert len(jobs) == len(list(tmp_path.glob("model-*.xyz"))) == 2
    assert sum(line.startswith("wrote") for line in lines) == 4
    counts = []
    for path in jobs:
        job = load_job(path)
        snapshot = build_structure(job.structure, job.seed)
        grouping = nemd_grouping(job.nemd, snapshot)
        roles = grouping.roles[grouping.labels]
        assert np.array_equal(roles == FIXED, np.isin(snapshot.groups, [0, 5]))
        assert np.array_equal(roles == SOURCE, snapshot.groups == 1)
        assert np.array_equal(roles == SINK, snapshot.groups == 4)
        low, high = find_interface(job.nemd, grouping) or (None, None)
        assert high == low + 1
        counts.append(snapshot.n_atoms)
    assert len(set(counts)) == 2
    with pytest.raises(Exception, match="gives 2 structures, and a run takes one"):
        build_structure(load_job(tmp_path / "al_si.toml").structure)


def test_angles_are_listed() -> None:
    lines = angle_lines(21.0, 28.0)
    assert any(line.split() == ["21.78679", "1", "2", "28"] for line in lines)
    assert "no commensurate angle" in angle_lines(0.1, 0.11)[0]


def test_cells_of_ones_own(tmp_path: Path) -> None:
    """A rectangular layer and a crystal from files, relative to the job file."""
    from ase import Atoms
    from ase.build import bulk

    write(tmp_path / "layer.xyz", Atoms("CN", [[0.0, 0.0, 5.0], [1.5, 1.0, 6.0]], cell=[3.0, 4.0, 10.0], pbc=(1, 1, 0)))
    write(tmp_path / "ge.xyz", bulk("Ge", cubic=True))
    (tmp_path / "a.toml").write_text('[structure]\nbuilder = "layered_stack"\nvacuum_A = 10.0\nlayers = '
                                     '[{ file = "layer.xyz", count = 2, repeat = [2, 3], stacking = "AA" }]\n')
    build_command(tmp_path / "a.toml", tmp_path / "a.xyz")
    made = read(tmp_path / "a.xyz")
    assert made.get_chemical_formula() == "C12N12"
    assert np.diag(made.cell.array)[:2] == pytest.approx([6.0, 12.0])
    (tmp_path / "b.toml").write_text('[structure]\nbuilder = "interface"\n'
                                     'lower = { file = "ge.xyz", length_A = 20.0 }\n'
                                     'upper = { crystal = "Si", length_A = 20.0 }\n'
                                     "maximum_strain_percent = 5\nmaximum_area_A2 = 50\n")
    build_command(tmp_path / "b.toml", tmp_path / "b.xyz")
    assert read(tmp_path / "b.xyz").get_chemical_formula() == "Ge32Si32"


BAD = {
    "angle": (TWISTED.replace("21.79", "17.0\nmaximum_atoms = 1000"), "nearest are"),
    "unknown builder": ('[structure]\nbuilder = "tower"\n', "structure.builder: expected one of"),
    "both angle and indices": (TWISTED.replace("angle_deg", "indices = [1, 2]\nangle_deg"),
                               "either angle_deg or indices"),
    "misspelt": (TWISTED.replace("materials", "material"), "material"),
    "no material": ('[structure]\nbuilder = "layered_stack"\nlayers = [{ count = 2 }]\n', "either material"),
    "vacuum and pbc": ('[structure]\nbuilder = "twisted_bilayer"\nmaterials = ["h-BN"]\nindices = [1, 2]\n'
                       "pbc = [true, true, true]\n", "z is to be periodic, but vacuum_A"),
    "absent file": ('[structure]\nbuilder = "layered_stack"\nlayers = [{ file = "no.xyz", count = 1 }]\n', "absent"),
    "missing cell": ('[structure]\nbuilder = "crystal"\nfile = "molecule.xyz"\n', "no cell"),
    "several frames in a POSCAR": (TWISTED, "holds one structure, there are 3"),
    "equal lengths": ('[structure]\nbuilder = "interface"\nlower = { crystal = "Al", length_A = [10.0, 10.1] }\n'
                      'upper = { crystal = "Si", length_A = 10.0 }\n', "numbers 0 and 1 of the lists"),
    "angles in disorder": ('[structure]\nbuilder = "heterobilayer"\nmaterials = ["graphene", "h-BN"]\n'
                           "angle_deg = [9.0, 3.0]\n", "low <= high"),
    "no room for a defect": (TWISTED.replace('"rattle"\ndeviation_A = 0.02\nframes = 3', '"stone_wales"'), "no room"),
    "frames of a scan": (TWISTED.replace('"rattle"\ndeviation_A = 0.02', '"strain"\nvalues_percent = [1.0]'),
                         "frames belongs to maximum_percent"),
    "its own source": ('[structure]\nfile = "molecule.xyz"\n', "read from this file"),
    "unknown perturbation": (TWISTED.replace("rattle", "shake"), "kind"),
    "perturbed twice as one": (TWISTED.replace("deviation_A = 0.02", ""), "deviation_A"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(name: str, tmp_path: Path, capsys) -> None:
    text, message = BAD[name]
    (tmp_path / "molecule.xyz").write_text("2\npbc=\"F F F\"\nC 0 0 0\nO 0 0 1.2\n")
    (tmp_path / "job.toml").write_text(text)
    names = {"several frames in a POSCAR": "POSCAR", "its own source": "molecule.xyz"}
    output = tmp_path / names.get(name, "model.xyz")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SystemExit) as left:
        main(["build", str(tmp_path / "job.toml"), "-o", str(output)])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert "|" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [["build"], ["build", "--angles", "9", "3"], ["build", "--angles", "9", "90"],
                                       ["build", "absent.toml"]])
def test_bad_command_lines(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
