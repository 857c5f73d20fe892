"""The standard systems of benchmarks/ are what their records say: counts of atoms, neighbours and layers."""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from scipy.spatial import cKDTree

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def systems(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import systems

    return systems


def neighbors(atoms, cutoff):
    """Mean number of neighbours of a periodic rectangular cell."""
    edges = atoms.cell.lengths()
    tree = cKDTree(atoms.positions % edges, boxsize=edges)
    return tree.count_neighbors(tree, cutoff) / len(atoms) - 1.0


@pytest.mark.parametrize(("name", "radial", "angular"), [
    ("gr_hbn_multilayer", (8.0, 245.0), (4.0, 28.0)), ("silicon", (5.0, 28.0), (5.0, 28.0)),
    ("diamond", (7.0, 274.0), (4.0, 46.0)), ("alloy", (6.0, 54.0), (5.0, 38.0)),
])
def test_neighbor_numbers(systems, name, radial, angular):
    atoms = systems.standard_system(name)
    for cutoff, expected in (radial, angular):
        assert abs(neighbors(atoms, cutoff) - expected) < 0.5


@pytest.mark.parametrize("name", ["gr_hbn_multilayer", "gr_hbn_bilayer", "silicon", "silicon_64000", "diamond", "alloy",
                                  "bnc_layers", "gr_hbn_stack"])
def test_own_number_of_atoms(systems, name):
    assert len(systems.standard_system(name)) == systems.SYSTEMS[name].atoms


def test_bilayer_is_the_moire_cell(systems):
    atoms = systems.standard_system("gr_hbn_bilayer")
    assert atoms.symbols.formula.count() == {"B": 6050, "N": 6050, "C": 12544}
    area = atoms.cell[0, 0] * atoms.cell[1, 1]
    # 56 cells of graphene (2.46 A) on 55 of h-BN (2.50 A), four atoms in a x sqrt(3) a
    for cells, lattice in ((55, 2.50), (56, 2.46)):
        assert area == pytest.approx(cells**2 * lattice**2 * 3**0.5, rel=0.004)


@pytest.mark.parametrize(("name", "wanted"), [("gr_hbn_multilayer", 10_000), ("silicon", 100_000),
                                              ("gr_hbn_column", 10_000), ("gr_hbn_bilayer", 100_000)])
def test_other_sizes_keep_the_density(systems, name, wanted):
    standard, other = systems.standard_system(name), systems.standard_system(name, wanted)
    assert len(other) == pytest.approx(wanted, rel=0.1)
    assert len(other) / other.get_volume() == pytest.approx(len(standard) / standard.get_volume(), rel=1e-6)


def test_two_million_atoms_need_no_more_than_counting(systems):
    along_x, along_y = systems.rectangle(2_000_000 / 32)
    assert 32 * along_x * along_y == pytest.approx(2_000_000, rel=0.001)
    assert np.prod(systems.cube(2_000_000 / 8)) == pytest.approx(250_000, rel=0.02)


def test_vacuum_leaves_the_upper_part_empty(systems):
    full, half = (systems.standard_system("gr_hbn_column", 10_000, vacuum) for vacuum in (0.0, 200.0))
    assert half.pbc.all()
    assert half.cell[2, 2] == pytest.approx(full.cell[2, 2] + 200.0)
    assert np.array_equal(half.positions, full.positions)


def test_file_keeps_layers(systems, tmp_path):
    path = tmp_path / "layers.xyz"
    run = subprocess.run([sys.executable, BENCHMARKS / "systems.py", "bnc_layers", "--atoms", "1000", "-o", path],
                         capture_output=True, text=True, check=True)
    atoms = ase.io.read(path)
    assert np.array_equal(np.bincount(atoms.arrays["layer"]), [len(atoms) // 4] * 4)
    assert f"{len(atoms):,} atoms" in run.stdout


@pytest.mark.parametrize("arguments", [["nonsense", "-o", "x.xyz"], ["silicon", "--atoms", "-5", "-o", "x.xyz"],
                                       ["silicon", "--atoms", "8", "-o", "no/such/folder/x.xyz"]])
def test_bad_requests_are_one_line(systems, arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["systems.py", *arguments])
    with pytest.raises(SystemExit) as end:
        systems.main()
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
