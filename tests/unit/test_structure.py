"""Layered stacks, structure files and the checks between them and a simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from scipy.spatial import cKDTree

from hpcthermo.errors import InputError
from hpcthermo.plots import draw_structure
from hpcthermo.structure import (
    LayerBlock,
    build_layered_stack,
    detect_layers,
    layered_stack_snapshot,
    structure_from_file,
)
from hpcthermo.structure.checks import check_structure
from hpcthermo.units import TIME_FS

SHARED = Path(__file__).parents[2].parent / "shared"


def periodic_neighbors(positions: np.ndarray, cell: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Number and mean distance of neighbours in an orthogonal cell."""
    tree = cKDTree(positions % np.diag(cell), boxsize=np.diag(cell))
    distances = tree.sparse_distance_matrix(tree, cutoff).toarray()
    count = (distances > 0.0).sum(axis=1)
    return count, distances.sum(axis=1) / count


def test_stack_of_the_paper() -> None:
    """12 graphene and 13 h-BN layers of 56 and 55 cells: 307,828 atoms, 13.8 x 23.9 nm (Liang et al. 2025)."""
    blocks = [LayerBlock("h-BN", 13, (55, 55), "AA'"), LayerBlock("graphene", 12, (56, 56), "AB")]
    snapshot = layered_stack_snapshot(blocks, 3.5, 30.0, "mean")
    assert snapshot.n_atoms == 307_828
    assert np.bincount(snapshot.layers).tolist() == [12_100] * 13 + [12_544] * 12
    assert snapshot.cell[0, 0] == pytest.approx(138.0, abs=0.5)
    assert snapshot.cell[1, 1] == pytest.approx(239.0, abs=0.8)
    assert snapshot.periodic.tolist() == [True, True, False]
    assert np.ptp(snapshot.positions[:, 2]) == pytest.approx(24 * 3.5)


@pytest.mark.parametrize(("material", "lattice_constant"), [("graphene", 2.46), ("h-BN", 2.50)])
def test_honeycomb_has_three_neighbors(material: str, lattice_constant: float) -> None:
    stack = build_layered_stack([LayerBlock(material, 2, (6, 4))], 6.0, 0.0, "first")
    count, distance = periodic_neighbors(stack.positions, stack.cell, 1.8)
    assert np.all(count == 3)
    assert distance == pytest.approx(lattice_constant / np.sqrt(3.0))
    if material == "h-BN":
        tree = cKDTree(stack.positions % np.diag(stack.cell), boxsize=np.diag(stack.cell))
        assert all(stack.symbols[i] != stack.symbols[j] for i, j in tree.query_pairs(1.8))


def above(stack, layer: int) -> list[str]:
    """Pairs of symbols of atoms of `layer` that have an atom of the next layer straight above."""
    low, high = stack.layers == layer, stack.layers == layer + 1
    edges = np.diag(stack.cell)[:2]
    tree = cKDTree(stack.positions[high][:, :2] % edges, boxsize=edges)
    distance, index = tree.query(stack.positions[low][:, :2] % edges)
    return [a + b for a, b, d in zip(stack.symbols[low], stack.symbols[high][index], distance, strict=True) if d < 1e-6]


@pytest.mark.parametrize(("stacking", "pairs", "fraction"), [
    ("AA", {"BB", "NN"}, 1.0), ("AA'", {"BN", "NB"}, 1.0), ("AB", {"BN"}, 0.5), ("ABC", {"BN"}, 0.5),
])
def test_stackings(stacking: str, pairs: set[str], fraction: float) -> None:
    stack = build_layered_stack([LayerBlock("h-BN", 3, (3, 3), stacking)], 3.4, 20.0)
    for layer in (0, 1):
        found = above(stack, layer)
        assert len(found) == fraction * 36
        expected = pairs if stacking != "AB" or layer == 0 else {"NB"}
        assert set(found) == expected


def test_offset_sets_the_registry_of_the_interface() -> None:
    """(0, 1/3): C over B and over the hollow, the most stable stacking ABp of the paper; (0, 2/3): C over N."""
    for offset, pair in ((1.0 / 3.0, "BC"), (2.0 / 3.0, "NC")):
        blocks = [LayerBlock("h-BN", 1, (4, 4)), LayerBlock("graphene", 1, (4, 4), offset=(0.0, offset))]
        assert set(above(build_layered_stack(blocks, 3.4, 20.0), 0)) == {pair}


def test_common_cell_choices() -> None:
    blocks = [LayerBlock("h-BN", 1, (55, 55)), LayerBlock("graphene", 3, (56, 56))]
    first = build_layered_stack(blocks, 3.4, 10.0, "first")
    assert first.strains[0] == pytest.approx([0.0, 0.0])
    mean = build_layered_stack(blocks, 3.4, 10.0, "mean")
    assert mean.cell[0, 0] == pytest.approx((55 * 2.50 + 3 * 56 * 2.46) / 4)
    given = build_layered_stack(blocks, 3.4, 10.0, (137.3, 237.8))
    assert np.diag(given.cell)[:2] == pytest.approx([137.3, 237.8])
    periodic = build_layered_stack(blocks, 3.4, 0.0)
    assert periodic.cell[2, 2] == pytest.approx(4 * 3.4)
    assert periodic.periodic.all()


@pytest.mark.parametrize(("blocks", "arguments", "message"), [
    ([LayerBlock("h-BN", 1, (5, 5)), LayerBlock("graphene", 1, (8, 8))], (3.4, 10.0), "strained"),
    ([LayerBlock("graphene", 100_000, (10_000, 10_000))], (3.4, 10.0), "atoms asked for"),
    ([LayerBlock("graphene", 1, (0, 4))], (3.4, 10.0), "must be positive"),
    ([LayerBlock("silicene", 1, (4, 4))], (3.4, 10.0), "material must be one of"),
    ([LayerBlock("graphene", 1, (4, 4), "ABA")], (3.4, 10.0), "stacking must be one of"),
    ([LayerBlock("graphene", 1, (4, 4))], (float("nan"), 10.0), "spacing_A"),
    ([], (3.4, 10.0), "at least one block"),
])
def test_builder_refuses(blocks: list, arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_layered_stack(blocks, *arguments)


def test_detected_layers_are_those_built() -> None:
    stack = build_layered_stack([LayerBlock("h-BN", 3, (4, 4), "AA'"), LayerBlock("graphene", 2, (4, 4))], 3.4, 20.0)
    shuffled = np.random.default_rng(1).permutation(len(stack.layers))
    found = detect_layers(stack.positions[shuffled], stack.symbols[shuffled].tolist())
    assert np.array_equal(found, stack.layers[shuffled])


def test_corrugated_layers_overlap_in_height() -> None:
    """Ripples of 2.5 A amplitude at a spacing of 3.4 A: only the bonds tell the layers apart."""
    stack = build_layered_stack([LayerBlock("graphene", 3, (20, 4))], 3.4, 20.0)
    positions = stack.positions.copy()
    positions[:, 2] += 2.5 * np.sin(2.0 * np.pi * positions[:, 0] / stack.cell[0, 0])
    assert np.array_equal(detect_layers(positions, stack.symbols.tolist()), stack.layers)


def test_published_bilayer() -> None:
    path = SHARED / "data" / "gr_hbn" / "bilayer_24644.model.xyz"
    if not path.exists():
        pytest.skip("reference data folder ../shared is absent")
    snapshot = structure_from_file(path)
    assert np.bincount(snapshot.layers).tolist() == [12_100, 12_544]
    assert np.array_equal(snapshot.groups, 1 - snapshot.layers)  # the file's groups: graphene 0, h-BN 1
    assert snapshot.species == ("B", "C", "N")


def silicon() -> Atoms:
    return bulk("Si", cubic=True)


def test_a_crystal_has_no_layers() -> None:
    """Planes of silicon are 1.36 A apart, with empty height between them, but bonded to each other."""
    for solid in (silicon() * (2, 2, 2), bulk("Al", cubic=True) * (3, 3, 3), silicon()):
        for cell in ({}, {"cell": solid.cell.array, "periodic": solid.pbc}):
            assert detect_layers(solid.positions, solid.get_chemical_symbols(), **cell).max() == 0


def test_a_layer_of_three_planes_is_one() -> None:
    """MoS2: sulfur planes 1.6 A from molybdenum are bonded to it; the next layer is not."""
    from ase.build import mx2

    one = mx2(size=(4, 4, 1))
    positions = np.concatenate([one.positions, one.positions + np.array([0.0, 0.0, 6.2])])
    found = detect_layers(positions, one.get_chemical_symbols() * 2)
    assert found.tolist() == [0] * len(one) + [1] * len(one)


def test_bonds_across_the_boundary_hold_a_layer_together() -> None:
    """A strip of graphene with a ripple of 3 A, cut by the boundary at its steepest place."""
    stack = build_layered_stack([LayerBlock("graphene", 2, (24, 3))], 3.4, 20.0)
    positions = stack.positions.copy()
    positions[:, 2] += 3.0 * np.sin(2.0 * np.pi * positions[:, 0] / stack.cell[0, 0])
    positions[:, 0] = (positions[:, 0] + 20.0) % stack.cell[0, 0]
    periodic = np.array([True, True, False])
    found = detect_layers(positions, stack.symbols.tolist(), cell=stack.cell, periodic=periodic)
    assert np.array_equal(found, stack.layers)


@pytest.mark.parametrize("name", ["cell.xyz", "POSCAR", "silicon.cif"])
def test_files_of_a_solid(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, silicon(), format={"cell.xyz": "extxyz", "POSCAR": "vasp", "silicon.cif": "cif"}[name])
    snapshot = structure_from_file(path)
    assert snapshot.n_atoms == 8
    assert snapshot.species == ("Si",)
    assert snapshot.periodic.all()
    assert snapshot.cell == pytest.approx(np.diag([5.43] * 3))


def test_layer_array_and_velocities_in_angstrom_per_femtosecond(tmp_path: Path) -> None:
    atoms = silicon()
    atoms.arrays["layer"] = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    atoms.arrays["vel"] = np.full((8, 3), 0.01)
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    snapshot = structure_from_file(tmp_path / "a.xyz")
    assert snapshot.layers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert snapshot.velocities == pytest.approx(0.01 * TIME_FS)


BAD_FILES = {
    "declares more atoms than it holds": ("900000000\nLattice=\"5 0 0 0 5 0 0 0 5\"\nC 0 0 0\n", "declares"),
    "empty": ("", "0 bytes"),
    "text": ("this is not a structure\n", "not readable"),
    "truncated": ("3\nLattice=\"5 0 0 0 5 0 0 0 5\" pbc=\"T T T\"\nC 0 0 0\nC 1 2 3\n", "not readable|one frame"),
    "not a number": ("1\nLattice=\"5 0 0 0 5 0 0 0 5\" pbc=\"T T T\"\nC nan 0 0\n", "finite"),
    "no cell": ("1\npbc=\"T T T\"\nC 0 0 0\n", "periodic"),
    "flat cell": ("1\nLattice=\"5 0 0 5 0 0 0 0 5\" pbc=\"T T T\"\nC 0 0 0\n", "coplanar"),
    "two frames": (2 * "1\nLattice=\"5 0 0 0 5 0 0 0 5\" pbc=\"T T T\"\nC 0 0 0\n", "one frame"),
    "overlap": ("2\nLattice=\"5 0 0 0 5 0 0 0 5\" pbc=\"T T T\"\nC 0.0 0 0\nC 4.9 0 0\n", "apart"),
    "species": ("1\nLattice=\"5 0 0 0 5 0 0 0 5\" pbc=\"T T T\"\nQq 0 0 0\n", "not readable"),
    "fractional": ("4\nLattice=\"9 0 0 0 9 0 0 0 9\" pbc=\"T T T\"\nC 0 0 0\nC .5 .5 0\nC .5 0 .5\nC 0 .5 .5\n",
                   "fractional"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_give_one_line(tmp_path: Path, name: str) -> None:
    text, message = BAD_FILES[name]
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        structure_from_file(path)
    assert "\n" not in str(caught.value)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        structure_from_file(tmp_path / "absent.xyz")


def test_overlap_across_a_triclinic_face() -> None:
    cell = np.array([[5.0, 0.0, 0.0], [2.5, 4.0, 0.0], [1.0, 1.0, 6.0]])
    inside = np.array([[0.02, 0.5, 0.5], [0.98, 0.5, 0.5]]) @ cell
    with pytest.raises(InputError, match=r"atoms (0 and 1|1 and 0)"):
        check_structure(cell, np.array([True, True, True]), inside, "test")
    check_structure(cell, np.array([False, True, True]), inside, "test")


@pytest.mark.parametrize(("lattice", "periodic"), [("0 5 0 0 0 0 0 0 0", "T F F"), ("0 0 0 0 0 0 9 0 0", "F F T"),
                                                   ("0 0 0 0 0 5 0 4 0", "F T T")])
def test_cell_vectors_may_be_missing_in_any_direction(lattice: str, periodic: str, tmp_path: Path) -> None:
    """A chain or sheet whose vectors do not lie along the axes of their numbers; images are found, and it is drawn."""
    path = tmp_path / "chain.xyz"
    header = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{periodic}"'
    path.write_text(f"4\n{header}\nC 0 0 0\nC 1.3 0.5 1\nC 2.6 2 2\nC 3 3 3\n")
    snapshot = structure_from_file(path)
    assert draw_structure(snapshot, tmp_path / "chain.png").stat().st_size > 10_000
    moved = snapshot.positions[0] + snapshot.cell.sum(axis=0)
    path.write_text(f"4\n{header}\nC 0 0 0\nC 1.3 0.5 1\nC 2.6 2 2\nC {moved[0]} {moved[1]} {moved[2] + 0.1}\n")
    with pytest.raises(InputError, match=r"atoms 0 and 3 .* are 0\.100 A apart"):
        structure_from_file(path)
