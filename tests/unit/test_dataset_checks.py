"""Damaged data sets are refused with the frame and the reason, good ones pass.

The set is made by a potential written out here (pairs and an embedding, exact derivatives), so that its labels belong
to each other; the sets of the shelf, from DFT, are damaged in the same ways.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcthermo.cli import main
from hpcthermo.datasets.checks import check_dataset, require_good
from hpcthermo.datasets.files import examine_file, read_dataset, write_dataset
from hpcthermo.datasets.findings import Finding, told_together
from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.datasets.linear_model import LinearModel, neighbor_pairs
from hpcthermo.datasets.split import block_split, index_split, random_split
from hpcthermo.datasets.statistics import dataset_statistics
from hpcthermo.errors import InputError

SHELF = Path(__file__).parents[3] / "shared" / "data" / "training"
LABELS = Path(__file__).parents[2] / "jobs" / "gr_hbn_nep" / "labels" / "dataset.xyz"
HARTREE, BOHR = 27.211386, 0.52917721
needs_shelf = pytest.mark.skipif(not SHELF.is_dir(), reason="no data sets in ../shared beside this checkout")


@pytest.fixture(autouse=True, scope="module")
def rows_are_kept():
    """Damaged sets have the positions of the good one, so the rows of the linear model are made once."""
    made, rows = {}, LinearModel.rows

    def kept(model, frame):
        key = model, frame.symbols, frame.positions.tobytes(), frame.cell.tobytes()
        if key not in made:
            made[key] = rows(model, frame)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinearModel, "rows", kept)
        yield


def labelled(cell: np.ndarray, positions: np.ndarray, symbols: tuple[str, ...], group: str = "") -> LabelledFrame:
    """E = sum_pairs D (x^2 - 2 x) - 0.3 sum_i sqrt(rho_i) + offsets, x = e^(-2(r-2.8)), rho = sum e^(-3(r-2.8))."""
    frame = LabelledFrame(cell, np.ones(3, dtype=bool), symbols, positions, group=group)
    i, j, vectors = neighbor_pairs(frame, 7.0)
    r = np.linalg.norm(vectors, axis=1)
    kinds = np.array([symbol == "Ge" for symbol in symbols]).astype(float)
    depth = 0.4 + 0.15 * (kinds[i] + kinds[j])
    x = np.exp(-2.0 * (r - 2.8))
    density = np.bincount(i, np.exp(-3.0 * (r - 2.8)), minlength=len(symbols))
    offsets = -100.0 * len(symbols) - 30.0 * kinds.sum()
    energy = 0.5 * (depth * (x**2 - 2.0 * x)).sum() - 0.3 * np.sqrt(density).sum() + offsets
    slope = 0.5 * depth * 2.0 * (2.0 * x - 2.0 * x**2) + 0.45 * np.exp(-3.0 * (r - 2.8)) / np.sqrt(density[i])
    gradient = slope[:, None] * vectors / r[:, None]
    forces = np.stack([np.bincount(i, gradient[:, c], len(symbols)) - np.bincount(j, gradient[:, c], len(symbols))
                       for c in range(3)], axis=1)
    return replace(frame, energy=float(energy), forces=forces, virial=-vectors.T @ gradient)


@pytest.fixture(scope="module")
def good() -> list[LabelledFrame]:
    rng = np.random.default_rng(5)
    corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    sites = np.concatenate([corners, corners + np.array([1, 0, 0])]) / np.array([2, 1, 1])
    frames = []
    for k in range(24):
        cell = np.diag([7.8, 3.9, 3.9]) * (1.0 + rng.uniform(-0.03, 0.04)) @ (np.eye(3) + rng.normal(0, 0.01, (3, 3)))
        symbols = tuple(rng.permutation(["Si"] * (3 + k % 4) + ["Ge"] * (5 - k % 4)).tolist())
        frames.append(labelled(cell, sites @ cell + rng.normal(0, 0.08, (8, 3)), symbols, ("a", "b")[k % 2]))
    return frames


def test_rows_of_the_linear_model_are_derivatives():
    rng = np.random.default_rng(0)
    frame = LabelledFrame(np.array([[2.5, 0, 0], [-1.2, 2.1, 0], [0, 0, 8.0]]), np.array([True, True, False]),
                          ("B", "N", "C"), 1.5 * rng.normal(size=(3, 3)))
    model = LinearModel(("B", "C", "N"))
    _, forces, virial = model.rows(frame)
    step = 1e-4
    for k in range(9):
        change = np.zeros(9)
        change[k] = step
        change = change.reshape(3, 3)
        moved = [model.rows(replace(frame, positions=frame.positions + sign * change))[0] for sign in (1, -1)]
        np.testing.assert_allclose(forces[k], -(moved[0] - moved[1]) / (2 * step), atol=1e-5)
        strained = [model.rows(replace(frame, positions=frame.positions @ (np.eye(3) + sign * change),
                                       cell=frame.cell @ (np.eye(3) + sign * change)))[0] for sign in (1, -1)]
        np.testing.assert_allclose(virial[k], -(strained[0] - strained[1]) / (2 * step), atol=0.02)


def test_a_good_set_passes(good):
    report = check_dataset(good, ["Si", "Ge"])
    assert report.findings == ()
    assert report.facts["forces_left"] < 0.2
    assert report.facts["energy_factor"] == pytest.approx(1.0, abs=0.05)
    assert report.facts["virial_factor"] == pytest.approx(1.0, abs=0.1)
    require_good(report, "set")


@pytest.fixture(scope="module")
def mixed(good) -> list[LabelledFrame]:
    """With a group whose energies and virials no model fits, and one with hardly any forces, as exact as an SCF is."""
    rng = np.random.default_rng(8)
    hot = []
    for f in good[:14]:
        frame = labelled(f.cell, f.positions + rng.normal(0, 0.2, (8, 3)), f.symbols, "hot")
        noise = rng.normal(0, 3, (3, 3))
        hot.append(replace(frame, energy=frame.energy + noise[0, 0], virial=frame.virial + noise + noise.T))
    perfect = labelled(good[0].cell, np.array([[0, 0, 0], [0.25, 0.5, 0], [0.25, 0, 0.5], [0, 0.5, 0.5], [0.5, 0, 0],
                                               [0.75, 0.5, 0], [0.75, 0, 0.5], [0.5, 0.5, 0.5]]) @ good[0].cell,
                       ("Si",) * 8, "cold")
    cold = []
    for k in range(30):
        scale = 1.0 + 0.001 * k
        frame = labelled(perfect.cell * scale, perfect.positions * scale, perfect.symbols, "cold")
        noise = rng.normal(0, 0.0005 if k % 10 else 0.01, (8, 3))
        cold.append(replace(frame, forces=frame.forces + noise - noise.mean(axis=0)))
    return [*good, *hot, *cold]


def test_frames_that_are_fitted_badly_or_have_hardly_any_forces_pass(mixed):
    assert check_dataset(mixed).refused == ()


@pytest.mark.parametrize("damage", ["energies in hartree", "sign of virials", "virials of GPa"])
def test_frames_that_are_fitted_badly_do_not_hide_a_wrong_set(mixed, damage):
    report = check_dataset([replace(frame, **OF_ALL[damage][0](frame)) for frame in mixed])
    assert [finding.frame for finding in report.refused] == [None]
    assert "do not belong to the forces" in report.refused[0].reason


def test_a_frame_unlike_the_others_is_judged_only_by_units(good):
    compressed = labelled(0.75 * good[0].cell, 0.75 * good[0].positions, good[0].symbols, "compressed")
    report = check_dataset([*good, compressed])
    assert report.refused == ()
    assert any("energies of 1 frames that are unlike" in finding.reason for finding in report.findings)
    report = check_dataset([*good, replace(compressed, energy=compressed.energy / HARTREE)])
    assert [finding.frame for finding in report.refused] == [24]
    assert "energies in hartree" in report.refused[0].reason


def test_layers_slid_over_each_other_say_nothing_of_virials():
    """Their bonds are all alike and hold each other in balance: forces are those between layers alone."""
    cell = np.diag([2.9, 2.9, 16.0])
    flat = np.array([[0.0, 0.0, 5.0], [1.45, 1.45, 5.0]])
    shifts = np.outer(np.arange(40), [0.25, 0.21, 0.0]) + np.array([0.0, 0.0, 3.1])
    slid = [labelled(cell, np.concatenate([flat, flat + shift]), ("Si", "Si", "Ge", "Ge")) for shift in shifts]
    report = check_dataset(slid)
    assert [finding for finding in report.findings if finding.severity != "note"] == []
    assert any("too much alike" in finding.reason for finding in report.findings)


def test_our_own_labels_are_not_refused():
    """Of layers pressed together, whose forces are larger than those of any others."""
    assert not check_dataset(examine_file(LABELS)).refused


def test_signs_of_a_third_of_the_virials(mixed):
    """Found where a virial is larger than what is usually left of it in its group."""
    flipped = set(range(0, len(mixed), 3))
    report = check_dataset([replace(frame, virial=-frame.virial) if k in flipped else frame
                            for k, frame in enumerate(mixed)])
    found = {finding.frame for finding in report.refused}
    assert found <= flipped
    assert len(found & set(range(24))) >= 6


Change = Callable[[LabelledFrame], dict[str, Any]]
_RANDOM = np.random.default_rng(2)


def _shuffled(frame: LabelledFrame) -> dict[str, Any]:
    return {"forces": frame.forces[_RANDOM.permutation(frame.n_atoms)]}


#: damage of all frames -> what the report says
OF_ALL: dict[str, tuple[Change, str]] = {
    "shuffled": (_shuffled, "forces have nothing to do with the positions"),
    "sign of forces": (lambda f: {"forces": -f.forces}, "the other sign"),
    "forces in hartree/bohr": (lambda f: {"forces": f.forces * BOHR / HARTREE}, "forces in hartree/bohr"),
    "forces in rydberg/bohr": (lambda f: {"forces": f.forces * BOHR / HARTREE * 2}, "forces in rydberg/bohr"),
    "energies in hartree": (lambda f: {"energy": f.energy / HARTREE}, "energies in hartree"),
    "energies in rydberg": (lambda f: {"energy": 2 * f.energy / HARTREE}, "energies in rydberg"),
    "energies in kcal/mol": (lambda f: {"energy": f.energy * 23.06}, "energies in kcal/mol"),
    "both in atomic units": (lambda f: {"energy": f.energy / HARTREE, "forces": f.forces * BOHR / HARTREE},
                             "with forces in the same unit per bohr"),
    "sign of virials": (lambda f: {"virial": -f.virial}, "virials do not belong to the forces"),
    "virials of GPa": (lambda f: {"virial": f.virial * 160.2}, "volume x GPa"),
    "virials of kbar": (lambda f: {"virial": f.virial * 1602.0}, "volume x kbar"),
    "stress as virial": (lambda f: {"virial": -f.virial / f.volume}, "a stress, not times volume"),
}


#: found by what finds others
ALIKE = {"forces in rydberg/bohr", "energies in rydberg", "energies in kcal/mol", "virials of kbar"}


@pytest.mark.parametrize("damage", [pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ())
                                    for name in OF_ALL])
def test_a_set_that_is_damaged_as_a_whole(good, damage):
    change, reason = OF_ALL[damage]
    report = check_dataset([replace(frame, **change(frame)) for frame in good])
    assert [finding.frame for finding in report.refused] == [None]
    assert reason in report.refused[0].reason


#: damage of frame 7 that only the other frames show
OF_ONE: dict[str, tuple[Change, str]] = {
    "shuffled": (lambda f: {"forces": np.roll(f.forces, 3, axis=0)}, "forces have nothing to do with its positions"),
    "sign of forces": (lambda f: {"forces": -f.forces}, "the other sign"),
    "forces in hartree/bohr": (lambda f: {"forces": f.forces * BOHR / HARTREE}, "in hartree/bohr"),
    "forces ten times too large": (lambda f: {"forces": 10.0 * f.forces}, "times what those of the other frames say"),
    "forces ten times too small": (lambda f: {"forces": 0.1 * f.forces}, "times what those of the other frames say"),
    "energy in hartree": (lambda f: {"energy": f.energy / HARTREE}, "energies in hartree"),
    "sign of virial": (lambda f: {"virial": -f.virial}, "the other sign"),
    "virial of GPa": (lambda f: {"virial": 160.2 * f.virial}, "volume x GPa"),
}
#: damage of frame 7 that it shows itself
BY_ITSELF: dict[str, tuple[Change, str]] = {
    "forces lost": (lambda f: {"forces": np.zeros_like(f.forces)}, "forces are all zero, although"),
    "atoms held fixed": (lambda f: {"forces": np.where(np.arange(8)[:, None] < 4, f.forces, 0.0)}, "forces add up to"),
    "virial not symmetric": (lambda f: {"virial": f.virial + np.triu(np.ones((3, 3)), 1)}, "virial is not symmetric"),
    "species": (lambda f: {"symbols": ("C", *f.symbols[1:])}, "species C not declared; declared are Ge, Si"),
    "atoms too close": (lambda f: {"positions": f.positions * [0.0, 1.0, 1.0]}, "apart, closer than"),
    "cell lost": (lambda f: {"cell": np.zeros((3, 3))}, "axis a is periodic"),
    "labels lost": (lambda f: {"energy": None, "forces": None}, "has neither energy nor forces"),
}


@pytest.mark.parametrize("damage", [*OF_ONE, *BY_ITSELF])
def test_one_damaged_frame_is_named(good, damage):
    change, reason = (OF_ONE | BY_ITSELF)[damage]
    frames = list(good if damage in OF_ONE else good[:9])
    frames[7] = replace(good[7], **change(good[7]))
    report = check_dataset(frames, {"Si", "Ge"})
    assert [finding.frame for finding in report.refused] == [7]
    assert reason in report.refused[0].reason
    with pytest.raises(InputError, match=r"set\.xyz: frame 7: "):
        require_good(report, "set.xyz")


def test_forces_of_the_right_direction_and_moderate_size_are_told_of_only(good):
    frames = [*good[:7], replace(good[7], forces=3.0 * good[7].forces), *good[8:]]
    found = [finding.severity for finding in check_dataset(frames).findings
             if finding.frame == 7 and "forces are" in finding.reason]
    assert found == ["warning"]


def test_a_quarter_of_the_frames_shuffled(good):
    frames = [replace(frame, **_shuffled(frame)) if k % 4 == 0 else frame for k, frame in enumerate(good)]
    assert {finding.frame for finding in check_dataset(frames).refused} == set(range(0, 24, 4))


def test_energies_of_other_frames(good):
    energies = [frame.energy + 100.0 * 8 + 30.0 * frame.symbols.count("Ge") for frame in good]
    mixed = [replace(frame, energy=frame.energy - own + other)
             for frame, own, other in zip(good, energies, np.roll(energies, 7), strict=True)]
    assert any("energies have nothing to do with" in finding.reason for finding in check_dataset(mixed).refused)


def test_duplicates(good):
    frames = [*good, good[3], replace(good[4], energy=good[4].energy + 0.1), BadFrame("energy: NaN")]
    report = check_dataset(frames)
    assert report.duplicates == {24: 3}
    assert [(finding.frame, finding.severity) for finding in report.findings] == \
        [(24, "warning"), (25, "refused"), (26, "refused")]
    assert "has the atoms of frame 4, but an energy that differs by 0.1" in report.findings[1].reason


def test_positions_in_bohr_and_missing_labels(good):
    stretched = [replace(f, cell=f.cell / BOHR, positions=f.positions / BOHR) for f in good[:3]]
    assert any("in bohr?" in finding.reason for finding in check_dataset(stretched).findings)
    report = check_dataset([*good[:5], replace(good[5], energy=None)])
    assert [finding.reason for finding in report.findings if "no energy" in finding.reason] == \
        ["1 of 6 frames have no energy (the first: 5)"]


def test_a_virial_without_a_cell_is_told_of(good):
    molecule = LabelledFrame(np.zeros((3, 3)), np.zeros(3), ("Si", "Si"), np.array([[0, 0, 0], [0, 0, 2.2]]),
                             energy=-1.0, virial=np.eye(3))
    assert [str(finding) for finding in check_dataset([*good[:3], molecule]).findings if finding.frame == 3] == \
        ["frame 3: has a virial, but no cell; ASE's stress cannot hold it"]


def test_zero_forces_of_a_perfect_crystal():
    cell = 4.1 * np.eye(3)
    positions = cell[0] * 0.0 + np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) @ cell
    crystal = LabelledFrame(cell, np.ones(3), ("Al",) * 4, positions, energy=-1.0, forces=np.zeros((4, 3)))
    report = check_dataset([crystal])
    assert report.refused == ()
    assert report.findings[-1].reason == "forces are all zero, as the symmetry of the structure demands"
    zero = report.findings[-1]
    assert told_together([zero, Finding(None, "note", "small"), replace(zero, frame=99)]) == [
        f"{zero} (2 such frames)", "data set: small"]
    moved = replace(crystal, positions=positions + np.eye(4, 3) * 0.05)
    assert "although the symmetry" in check_dataset([moved]).refused[0].reason


@needs_shelf
def test_sets_of_the_shelf_pass_and_their_zero_forces_are_found():
    pbte = check_dataset(read_dataset(SHELF / "pbte" / "train.xyz")[::2], ["Te", "Pb"])
    assert pbte.refused == ()
    assert pbte.facts["energy_factor"] == pytest.approx(1.0, abs=0.05)
    silicon = check_dataset(read_dataset(SHELF / "si128_dft")[::60])
    assert silicon.refused == ()
    assert silicon.findings[0].frame == 0
    assert silicon.findings[0].reason == "forces are all zero, as the symmetry of the structure demands"


@needs_shelf
@pytest.mark.slow
@pytest.mark.parametrize("damage", OF_ALL)
@pytest.mark.parametrize("name", ["pbte/train.xyz", "si128_dft"])
def test_damaged_sets_of_the_shelf(name, damage):
    frames = read_dataset(SHELF / name)[::1 if name.startswith("pbte") else 16]
    if ("virial" in damage) and frames[0].virial is None:
        pytest.skip("has no virials")
    change, reason = OF_ALL[damage]
    report = check_dataset([replace(frame, **change(frame)) for frame in frames])
    assert [finding.frame for finding in report.refused] == [None]
    assert reason in report.refused[0].reason


def test_statistics(good):
    statistics = dataset_statistics([*good, LabelledFrame(np.zeros((3, 3)), np.zeros(3), ("H", "H"),
                                                          np.array([[0, 0, 0], [0, 0, 0.74]]), energy=-31.0)])
    assert statistics.groups.count("a") == 12
    assert statistics.compositions[-1] == "H2"
    assert statistics.nearest_distances[-1] == pytest.approx(0.74)
    assert np.isnan([statistics.volumes[-1], statistics.pressures[-1], statistics.largest_forces[-1]]).all()

    def cubic(a: float) -> LabelledFrame:
        sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        return labelled(a * np.eye(3), a * sites, ("Si",) * 4)

    compressed, expanded = dataset_statistics([cubic(3.6), cubic(4.3)]).pressures
    assert compressed > 0.0 > expanded
    slope = -(cubic(3.601).energy - cubic(3.599).energy) / (3.601**3 - 3.599**3)
    assert compressed == pytest.approx(slope * 160.21766, rel=1e-3)


def test_command(tmp_path, good, capsys):
    frames = list(good)
    frames[7] = replace(good[7], forces=-good[7].forces)
    frames.append(good[0])
    write_dataset(frames, tmp_path / "set.xyz")
    arguments = ["dataset", str(tmp_path / "set.xyz"), "--species", "Si,Ge", "--out", str(tmp_path / "systems")]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    said = capsys.readouterr()
    assert "frame 7: forces are -" in said.err
    assert "warning: frame 24: is a duplicate of frame 0" in said.out
    assert not (tmp_path / "systems").exists()
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--drop", "--report", str(tmp_path / "report")])
    assert end.value.code == 0
    assert "pressure" in capsys.readouterr().out
    assert len(read_dataset(tmp_path / "systems")) == 23
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["results"]["frames"]["value"] == 23
    assert (tmp_path / "report" / "dataset.png").stat().st_size > 10_000


def test_command_with_cells_that_cannot_be_described(tmp_path, good, capsys):
    write_dataset(good[:4], tmp_path / "set.xyz")
    with (tmp_path / "set.xyz").open("a") as file:
        file.write('1\nLattice="9 0 0 9 0 0 0 0 9" Properties=species:S:1:pos:R:3 energy=-1\nSi 0 0 0\n')
    code, said = _left(["dataset", str(tmp_path / "set.xyz")], capsys)
    assert code == 2
    assert "frame 4: structure: cell vectors are (nearly) coplanar" in said.err
    assert "frames 4, atoms 32" in said.out
    code, said = _left(["dataset", str(tmp_path / "set.xyz"), "--drop", "--out", str(tmp_path / "kept.xyz")], capsys)
    assert code == 0
    assert len(read_dataset(tmp_path / "kept.xyz")) == 4


def _left(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code, capsys.readouterr()


def test_splits():
    groups = ["a"] * 50 + ["b"] * 30 + ["c"] * 3 + ["d"]
    split = random_split(groups, 0.1, 0.2, seed=4)
    assert sorted(np.concatenate([split.training, split.validation, split.test]).tolist()) == list(range(84))
    assert [len(split.validation), len(split.test)] == [8, 17]
    names = np.array(groups)
    assert [(names[split.test] == name).sum() for name in "abcd"] == [10, 6, 1, 0]
    again = random_split(groups, 0.1, 0.2, seed=4)
    np.testing.assert_array_equal(split.test, again.test)
    assert not np.array_equal(split.test, random_split(groups, 0.1, 0.2, seed=5).test)

    rare = random_split(groups, 0.3, 0.3, seed=4, smallest_validated=5)
    assert [(names[rare.validation] == name).sum() for name in "abcd"] == [15, 9, 0, 0]
    assert (names[rare.test] == "c").any()

    blocks = block_split(804, 40, [], [2, 7, 12, 17])
    assert (len(blocks.training), len(blocks.test), blocks.test[0], blocks.test[-1]) == (644, 160, 80, 719)
    named = index_split(25, [], [22, 2, 7, 12, 17])
    assert named.test.tolist() == [2, 7, 12, 17, 22]
    for bad in (lambda: block_split(80, 40, [2], []), lambda: index_split(5, [1], [1]), lambda: index_split(5, [5], []),
                lambda: index_split(2, [0], [1]), lambda: random_split(groups, 0.5, 0.5, 1)):
        with pytest.raises(InputError, match="split: "):
            bad()
