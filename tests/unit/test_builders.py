"""Builders against closed forms: counts, angles, bond lengths, coordination, registry, strains that add up."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list
from scipy.spatial import cKDTree

from hpcthermo.building import build_frames
from hpcthermo.config.structure import StructureJob
from hpcthermo.errors import InputError
from hpcthermo.structure.coincidence import coincidences, find_coincidence
from hpcthermo.structure.crystals import CRYSTALS
from hpcthermo.structure.frame import Frame
from hpcthermo.structure.layered_stack import LayerBlock, build_layered_stack
from hpcthermo.structure.materials import MATERIALS
from hpcthermo.structure.moire import moire_repeats
from hpcthermo.structure.stacking import REGISTRIES
from hpcthermo.structure.surface import slab
from hpcthermo.structure.twist import Twist, build_twisted_bilayer, find_twist, twists_between

SHARED = Path(__file__).parents[2].parent / "shared"


def frames(structure: dict, seed: int = 1) -> list[Frame]:
    return build_frames(StructureJob.model_validate({"structure": structure}).structure, seed)


def as_atoms(built) -> Atoms:
    symbols = np.array(built.species)[built.types] if hasattr(built, "species") else built.symbols
    return Atoms(symbols, positions=built.positions, cell=built.cell, pbc=built.periodic)


def bonds(built, cutoff: float = 1.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of neighbours of each atom, bond lengths, and pairs."""
    i, j, distance = neighbor_list("ijd", as_atoms(built), cutoff)
    return np.bincount(i, minlength=len(built.positions)), distance, np.column_stack([i, j])


# ---- layers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["orthogonal", "primitive"])
@pytest.mark.parametrize("name", ["MoS2", "WS2", "WSe2", "MoSe2"])
def test_dichalcogenides_have_their_bonds(name: str, cell: str) -> None:
    """M has six X, X three M; bond lengths of the 2H crystals are 2.41 A (sulfides) and 2.53 A (selenides)."""
    stack = build_layered_stack([LayerBlock(name, 2, (3, 2), "AA'")], vacuum=20.0, cell=cell)
    count, distance, _ = bonds(stack, 2.7)
    metal = np.char.find(stack.symbols, name[:2] if name[0] == "M" else "W") == 0
    assert set(count[metal]) == {6}
    assert set(count[~metal]) == {3}
    assert distance == pytest.approx(2.53 if "Se" in name else 2.41, abs=0.015)
    assert np.ptp(distance) < 1e-9


def pairs_above(built, layer: int) -> set[str]:
    """Symbols of atoms of a layer with the symbol straight above them in the next layer."""
    low, high = built.layers == layer, built.layers == layer + 1
    atoms = as_atoms(built)
    flat = atoms.positions.copy()
    flat[:, 2] = 0.0
    atoms.positions = flat
    i, j = neighbor_list("ij", atoms, 0.01)
    return {built.symbols[a] + built.symbols[b] for a, b in zip(i, j, strict=True) if low[a] and high[b]}


@pytest.mark.parametrize(("registry", "on_hbn", "graphene_on_hbn"), [
    ("AA", {"BB", "NN"}, {"BC", "NC"}), ("AA'", {"BN", "NB"}, {"BC", "NC"}), ("AB", {"BN"}, {"NC"}),
    ("BA", {"NB"}, {"NC"}), ("AB'", {"BB"}, {"BC"}), ("A'B", {"NN"}, {"NC"}), ("DW", set(), set()),
])
def test_registries_put_atoms_where_the_table_says(registry: str, on_hbn: set, graphene_on_hbn: set) -> None:
    """The same below a turned layer: the third layer lies on the second as the second on the first."""
    for material, pairs in (("h-BN", on_hbn), ("graphene", graphene_on_hbn)):
        for cell in ("orthogonal", "primitive"):
            blocks = [LayerBlock("h-BN", 2, (2, 2), "AA'"), LayerBlock(material, 1, (2, 2), registry=registry)]
            stack = build_layered_stack(blocks, 3.4, 20.0, cell=cell)
            assert pairs_above(stack, 1) == pairs
            blocks = [LayerBlock("h-BN", 1, (2, 2)), LayerBlock(material, 1, (2, 2), registry=registry)]
            assert pairs_above(build_layered_stack(blocks, 3.4, 20.0, cell=cell), 0) == pairs
    blocks = [LayerBlock("h-BN", 2, (2, 2), registry)]
    assert pairs_above(build_layered_stack(blocks, 3.4, 20.0), 0) == on_hbn
    assert registry in REGISTRIES


def test_hbn_on_graphene_by_name() -> None:
    for registry, pair in (("AB", "CN"), ("AB'", "CB")):
        blocks = [LayerBlock("graphene", 1, (2, 2)), LayerBlock("h-BN", 1, (2, 2), registry=registry)]
        assert pairs_above(build_layered_stack(blocks, 3.4, 20.0), 0) == {pair}


def test_moire_repeats_are_found() -> None:
    assert moire_repeats([2.46, 2.504]) == (56, 55)
    assert moire_repeats([2.504, 2.46, 2.504]) == (55, 56, 55)
    assert moire_repeats([2.46, 2.46]) == (1, 1)
    assert moire_repeats([MATERIALS["graphene"].lattice[0, 0], 3.16], 1e-3) == (9, 7)
    with pytest.raises(InputError, match="the best are"):
        moire_repeats([2.46, 2.46 * math.sqrt(2.0) / 1.1], 1e-9)


@pytest.mark.parametrize(("lattice", "edge"), [
    ("first", 55 * 2.504), ("second", 56 * 2.46), (0.25, 0.75 * 55 * 2.504 + 0.25 * 56 * 2.46),
    ("stiffness", (289 * 55 * 2.504 + 340 * 56 * 2.46) / 629),
])
def test_strain_is_shared_as_chosen(lattice: str | float, edge: float) -> None:
    blocks = [LayerBlock("h-BN", 1, lattice_constant=2.504), LayerBlock("graphene", 1)]
    stack = build_layered_stack(blocks, 3.4, 20.0, lattice, "primitive")
    assert stack.cell[0, 0] == pytest.approx(edge)
    assert (1.0 + stack.strains) * [[55 * 2.504], [56 * 2.46]] == pytest.approx(np.full((2, 2), edge))


def structure_factor(positions: np.ndarray, cell: np.ndarray, hk: tuple[int, int]) -> complex:
    g = 2.0 * np.pi * np.array(hk) / np.diag(cell)[:2]
    return complex(np.exp(-1j * positions[:, :2] @ g).mean())


def test_published_bilayer_of_24644_atoms() -> None:
    """Composition, cell, and every atom up to the relaxation, a rigid shift of each layer and a half turn of both."""
    path = SHARED / "data" / "gr_hbn" / "bilayer_24644.model.xyz"
    if not path.exists():
        pytest.skip("reference data folder ../shared is absent")
    published = read(path)
    built = frames({"builder": "layered_stack", "spacing_A": 3.4, "vacuum_A": 203.4,
                    "lattice": [137.3053647342, 237.8198165228],
                    "layers": [{"material": "h-BN", "lattice_constant_A": 2.504, "count": 1},
                               {"material": "graphene", "count": 1}]})[0].snapshot
    assert built.cell == pytest.approx(published.cell.array)
    assert sorted(np.array(built.species)[built.types]) == sorted(published.get_chemical_symbols())
    edges = np.diag(built.cell)[:2]
    symbols = np.array(published.get_chemical_symbols())
    for names, n in ((("B", "N"), 55), (("C",), 56)):
        theirs = [-published.positions[symbols == name] for name in names]
        ours = [built.positions[built.types == built.species.index(name)] for name in names]
        shift = np.zeros(2)
        for hk in ((n, n), (2 * n, 0)):  # reciprocal vectors of the layer
            phase = np.angle(structure_factor(np.concatenate(ours), built.cell, hk)
                             / structure_factor(np.concatenate(theirs), built.cell, hk))
            shift = shift + _solve(hk, phase, edges, shift)
        for a, b in zip(ours, theirs, strict=True):
            tree = cKDTree((a[:, :2] + shift) % edges, boxsize=edges)
            distance, partner = tree.query(b[:, :2] % edges)
            assert distance.max() < 0.5
            assert len(np.unique(partner)) == len(b)


def _solve(hk: tuple[int, int], phase: float, edges: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What is left of a rigid shift: first the part along y of (n, n) with x unknown, then x from (2 n, 0)."""
    h, k = 2.0 * np.pi * np.array(hk) / edges
    if k:
        return np.array([0.0, phase / k])
    x = phase / h
    # the shift along x changes the phase of (n, n) too, which y compensates
    return np.array([x, -x * (0.5 * h) / (2.0 * np.pi * hk[0] / 2.0 / edges[1])])


# ---- twist -----------------------------------------------------------------------------------------


def test_twists_match_the_closed_form() -> None:
    listed = {round(t.angle, 2): t.atoms for t in twists_between(5.0, 30.0, 400)}
    assert listed[21.79] == 28
    assert listed[27.8] == 52
    assert listed[13.17] == 76
    assert listed[9.43] == 148
    for t in twists_between(0.5, 59.5, 3000):
        norm = t.m**2 + t.m * t.n + t.n**2
        assert math.cos(math.radians(t.angle)) == pytest.approx((t.m**2 + 4 * t.m * t.n + t.n**2) / (2 * norm))
        assert t.atoms == (4 * norm // 3 if (t.n - t.m) % 3 == 0 else 4 * norm)
        assert round(np.linalg.det(t.matrices[0])) == t.cells == round(np.linalg.det(t.matrices[1]))
    # each angle and its complement share a lattice, so they come in pairs of equal counts
    pairs = {(round(t.angle, 6), t.atoms) for t in twists_between(0.0, 60.0, 2000)}
    assert {(round(60.0 - angle, 6), atoms) for angle, atoms in pairs} == pairs


@pytest.mark.parametrize(("m", "n"), [(1, 2), (2, 5), (2, 3), (1, 4), (3, 4), (1, 3)])
def test_twisted_bilayers_are_two_perfect_layers(m: int, n: int) -> None:
    twist = Twist(m, n)
    for cell, times in (("primitive", 1), ("orthogonal", 2)):
        bilayer = build_twisted_bilayer("h-BN", "h-BN", twist, "AA'", cell=cell, vacuum=20.0)
        assert len(bilayer.symbols) == times * twist.atoms
        count, distance, pairs = bonds(bilayer)
        assert set(count) == {3}
        assert distance == pytest.approx(2.50 / math.sqrt(3.0))
        assert np.all(bilayer.symbols[pairs[:, 0]] != bilayer.symbols[pairs[:, 1]])
        assert bilayer.strains == pytest.approx(np.zeros((2, 2)), abs=1e-12)
        # the directions of bonds from boron tell the twist of the lattices themselves
        turns = [bond_angle(bilayer, layer) for layer in (0, 1)]
        assert (turns[1] - turns[0] + 180.0) % 120.0 == pytest.approx(twist.angle % 120.0)  # AA' turns by 180 more


def bond_angle(built, layer: int) -> float:
    i, vector = neighbor_list("iD", as_atoms(built), 1.8)
    from_boron = (built.symbols[i] == "B") & (built.layers[i] == layer)
    return math.degrees(math.atan2(*vector[from_boron][0][[1, 0]])) % 120.0


def test_0385_degrees_and_below() -> None:
    twist = find_twist(0.385)
    assert (twist.m, twist.n, twist.atoms) == (85, 86, 87_724)
    assert twist.angle == pytest.approx(0.38690, abs=1e-5)
    assert find_twist(21.79) == Twist(1, 2)
    assert find_twist(38.21) == Twist(1, 4)


def test_twisted_hetero_and_dichalcogenide() -> None:
    made = frames({"builder": "twisted_bilayer", "materials": ["graphene", "h-BN"], "angle_deg": 21.79})[0].snapshot
    assert made.n_atoms == 28
    assert np.linalg.norm(made.cell[:2], axis=1) == pytest.approx(2.48 * math.sqrt(7.0))
    assert frames({"builder": "twisted_bilayer", "materials": ["MoS2"], "indices": [1, 2]})[0].snapshot.n_atoms == 42


# ---- coincidence and interfaces --------------------------------------------------------------------


def test_aluminium_on_silicon() -> None:
    al, si = 4.05 * np.eye(2), 5.431 * np.eye(2)
    match = find_coincidence(al, si)
    assert match.first.tolist() == [[4, 0], [0, 4]]
    assert match.second.tolist() == [[3, 0], [0, 3]]
    assert match.mismatch == pytest.approx(1.0 - 16.2 / 16.293, rel=1e-6)
    found = {tuple(m.cells) for m in coincidences(al, si, maximum_area=1100.0)}
    assert {(16, 9), (64, 36)} <= found
    multiple = next(m for m in coincidences(al, si, maximum_area=1100.0) if m.cells == (64, 36))
    assert multiple.first.tolist() == [[8, 0], [0, 8]]
    # turned, a smaller one: 3 x 3 on sqrt(5) x sqrt(5) by atan(1/2)
    turned = find_coincidence(al, si, angle=None)
    assert turned.cells == (9, 5)
    assert abs(turned.rotation) == pytest.approx(math.degrees(math.atan(0.5)))


def test_coincidence_recovers_a_known_supercell() -> None:
    """A lattice that is another one's supercell, turned by an arbitrary angle: found with no strain."""
    graphene = MATERIALS["graphene"].lattice
    turn = math.radians(12.34)
    other = np.array([[2, 1], [-1, 3]]) @ graphene @ [[math.cos(turn), math.sin(turn)],
                                                      [-math.sin(turn), math.cos(turn)]]
    match = find_coincidence(graphene, other, 1e-6, 100.0, None)
    assert match.cells == (7, 1)
    assert match.mismatch < 1e-12


def interface(**changes) -> dict:
    return {"builder": "interface", "lower": {"crystal": "Al", "length_A": 30.0},
            "upper": {"crystal": "Si", "length_A": 30.0}, "frozen_A": 4.0, "bath_A": 8.0, **changes}


def test_interface_has_both_crystals_and_regions() -> None:
    made = frames(interface(lattice="second"))[0].snapshot
    al = made.types == made.species.index("Al")
    assert (al.sum(), (~al).sum()) == (4 * 16 * 7, 8 * 9 * 6)
    assert made.cell[0, 0] == pytest.approx(3 * 5.431)  # silicon bears nothing
    assert np.array_equal(np.unique(made.groups), np.arange(6))
    assert set(made.groups[al]) == {0, 1, 2}
    z = made.positions[:, 2]
    edges = [(z[made.groups == k].min(), z[made.groups == k].max()) for k in range(6)]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(edges))
    assert np.ptp(edges[0]) <= 4.0
    count, _, _ = bonds(made, 2.6)
    inner = ~al & (made.groups == 3) & (z > z[~al].min() + 2.8)
    assert set(count[inner]) == {4}


def test_strains_of_both_sides_add_up_to_the_mismatch() -> None:
    for rule in ("first", "second", "mean", 0.3):
        facts = frames(interface(lattice=rule))[0].facts
        al, si = (float(part.split()[1]) / 100.0 for part in str(facts["strain_percent"]).split(", "))
        assert (1.0 + al) / (1.0 + si) == pytest.approx(3 * 5.431 / (4 * 4.05), abs=2e-6)
    assert al == pytest.approx(0.3 * (3 * 5.431 / 16.2 - 1.0), abs=1e-6)


def test_series_of_lengths() -> None:
    made = frames(interface(lower={"crystal": "Al", "length_A": [30.0, 60.0]},
                            upper={"crystal": "Si", "length_A": [30.0, 60.0]}))
    assert len(made) == 2
    assert len({frame.label for frame in made}) == 2
    assert made[1].snapshot.n_atoms > 1.8 * made[0].snapshot.n_atoms


@pytest.mark.parametrize("miller", [(0, 0, 1), (1, 1, 0), (1, 1, 1), (2, 1, 0), (3, -2, 1)])
def test_slabs_are_the_crystal(miller: tuple[int, int, int]) -> None:
    """Volume per atom, plane spacing, and coordination in the middle."""
    for shape in ("conventional", "primitive"):
        cell = CRYSTALS["Si"].unit_cell("Si", shape)
        sheet = slab(cell, miller, 25.0)
        assert sheet.area * sheet.spacing / sheet.n_atoms == pytest.approx(5.431**3 / 8)
        atoms = Atoms(sheet.species, cell=np.diag([1.0, 1.0, sheet.spacing + 20.0]), pbc=(True, True, False))
        atoms.cell[:2, :2] = sheet.lattice
        atoms.positions = np.column_stack([sheet.fractional @ sheet.lattice, sheet.heights])
        i, distance = neighbor_list("id", atoms, 2.6)
        middle = (sheet.heights > 4.0) & (sheet.heights < sheet.heights.max() - 4.0)
        assert set(np.bincount(i, minlength=len(atoms))[middle]) == {4}
        assert distance == pytest.approx(math.sqrt(3.0) / 4.0 * 5.431)


def test_crystals_by_name() -> None:
    """ThO2 of the anharmonicity benchmark: 12, 24 and 192 atoms; eight O around Th, four Th around O."""
    for cell, copies, n in (("conventional", 1, 12), ("primitive", 2, 24), ("primitive", 4, 192)):
        repeat = [copies] * 3
        made = frames({"builder": "crystal", "crystal": "ThO2", "cell": cell, "repeat": repeat})[0].snapshot
        assert made.n_atoms == n
        count, _, _ = bonds(made, 2.6)
        assert set(count[made.types == made.species.index("Th")]) == {8}
        assert set(count[made.types == made.species.index("O")]) == {4}


@pytest.mark.parametrize("seam", ["zigzag", "armchair"])
def test_lateral_heterostructure(seam: str) -> None:
    made = frames({"builder": "lateral", "seam": seam, "width": 4,
                   "domains": [{"material": "graphene", "cells": 3}, {"material": "h-BN", "cells": 4}]})[0].snapshot
    count, distance, pairs = bonds(made)
    assert set(count) == {3}
    assert 2.46 / math.sqrt(3.0) - 1e-9 <= distance.min() <= distance.max() <= 2.50 / math.sqrt(3.0) + 1e-9
    names = np.array(made.species)[made.types]
    across = pairs[made.groups[pairs[:, 0]] != made.groups[pairs[:, 1]]]
    assert len(across) == 2 * 2 * 4 * (1 if seam == "zigzag" else 2)
    ends = {"".join(sorted(names[pair])) for pair in across}
    assert ends == {"BC", "CN"}
    strip = frames({"builder": "lateral", "seam": seam, "width": 4, "periodic": False,
                    "domains": [{"material": "graphene", "cells": 3}, {"material": "h-BN", "cells": 4}]})[0].snapshot
    assert strip.periodic.tolist() == [seam == "zigzag", seam == "armchair", False]


def test_heterobilayer_strains_are_opposite() -> None:
    made = frames({"builder": "heterobilayer", "materials": ["graphene", "MoS2"], "maximum_strain_percent": 0.2})[0]
    assert made.snapshot.n_atoms == 2 * 81 + 3 * 49
    assert bonds(made.snapshot, 1.5)[0][made.snapshot.layers == 0].tolist() == [3] * 162
    turned = frames({"builder": "heterobilayer", "materials": ["graphene", "MoS2"], "angle_deg": "any"})[0]
    assert turned.snapshot.n_atoms < made.snapshot.n_atoms
    assert abs(float(turned.facts["angle_deg"])) > 1.0


# ---- perturbations ---------------------------------------------------------------------------------

BILAYER = {"builder": "layered_stack", "spacing_A": 3.4, "vacuum_A": 20.0,
           "layers": [{"material": "h-BN", "count": 2, "repeat": [6, 4], "stacking": "AA'"}]}


def perturbed(*tables: dict, seed: int = 1) -> list[Frame]:
    return frames({**BILAYER, "perturbation": list(tables)}, seed)


def test_random_perturbations_follow_the_seed() -> None:
    tables = [{"kind": "rattle", "deviation_A": 0.05, "frames": 3}, {"kind": "vacancies", "count": 2, "element": "N"}]
    first, again, other = perturbed(*tables), perturbed(*tables), perturbed(*tables, seed=2)
    assert len(first) == 3
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a.snapshot.positions, b.snapshot.positions)
        assert not np.array_equal(a.snapshot.positions, c.snapshot.positions)
        assert a.snapshot.n_atoms == 192 - 2
        assert a.facts["seed"] == 1
        assert str(a.facts["perturbation"]).startswith("rattle 0.05 A (variant")
    ideal = frames(BILAYER)[0].snapshot.positions
    alone = perturbed({"kind": "rattle", "deviation_A": 0.05})[0].snapshot.positions
    assert np.std(alone - ideal) == pytest.approx(0.05, rel=0.1)
    assert not np.array_equal(first[0].snapshot.positions, first[1].snapshot.positions)


def test_strain_scan_and_random_strain() -> None:
    scan = perturbed({"kind": "strain", "components": ["xx", "yy"], "values_percent": [-1.0, 2.0]})
    cell = frames(BILAYER)[0].snapshot.cell
    assert [f.snapshot.cell[0, 0] / cell[0, 0] for f in scan] == pytest.approx([0.99, 1.02])
    assert scan[1].snapshot.cell[2, 2] == pytest.approx(cell[2, 2])
    sheared = perturbed({"kind": "strain", "components": ["xy"], "maximum_percent": 3.0, "frames": 5})
    shear = np.array([f.snapshot.cell[1, 0] / cell[1, 1] for f in sheared])
    assert np.all((np.abs(shear) <= 0.03) & (shear != 0.0))
    assert len(set(shear)) == 5


def test_substitution_and_vacancies_count() -> None:
    made = perturbed({"kind": "substitution", "element": "B", "by": "C", "fraction": 0.25})[0].snapshot
    assert made.species == ("B", "N", "C")
    assert np.bincount(made.types).tolist() == [72, 96, 24]
    assert made.masses[2] == pytest.approx(12.011)


def test_stone_wales_makes_pentagons_and_heptagons() -> None:
    """Three bonds everywhere and two pentagons per defect: without triangles, tr A^5 is ten times their number."""
    structure = {"builder": "layered_stack", "vacuum_A": 20.0, "spacing_A": 3.4,
                 "layers": [{"material": "graphene", "count": 1, "repeat": [8, 5]}],
                 "perturbation": [{"kind": "stone_wales", "count": 2}]}
    made = frames(structure)[0].snapshot
    count, _, pairs = bonds(made, 1.7)
    assert set(count) == {3}
    adjacency = np.zeros((160, 160))
    adjacency[pairs[:, 0], pairs[:, 1]] = 1.0
    assert np.trace(np.linalg.matrix_power(adjacency, 3)) == 0.0
    assert np.trace(np.linalg.matrix_power(adjacency, 5)) == 10 * 2 * 2


def test_slide_and_spacing_grids() -> None:
    grid = perturbed({"kind": "slide", "grid": [3, 2], "period_A": [2.5, 4.33]})
    assert len(grid) == 6
    ideal = frames(BILAYER)[0].snapshot
    upper = ideal.layers == 1
    shift = grid[3].snapshot.positions - ideal.positions  # i = 1, j = 1
    assert shift[upper] == pytest.approx(np.tile([1.25, 4.33, 0.0], (96, 1)))
    assert shift[~upper] == pytest.approx(0.0)
    distances = perturbed({"kind": "spacing", "distances_A": [3.0, 3.3, 4.0]})
    for frame, expected in zip(distances, (3.0, 3.3, 4.0), strict=True):
        z, layers = frame.snapshot.positions[:, 2], frame.snapshot.layers
        assert z[layers == 1].mean() - z[layers == 0].mean() == pytest.approx(expected)


# ---- refusals --------------------------------------------------------------------------------------

REFUSED = {
    "impossible angle": ({"builder": "twisted_bilayer", "materials": ["graphene"], "angle_deg": 17.0,
                          "angle_tolerance_deg": 1e-6}, r"nearest are .*atoms\)"),
    "common divisor": ({"builder": "twisted_bilayer", "materials": ["graphene"], "indices": [2, 4]}, r"use \[1, 2\]"),
    "indices in the wrong order": ({"builder": "twisted_bilayer", "materials": ["graphene"], "indices": [2, 1]},
                                   "0 < m < n"),
    "too different": ({"builder": "twisted_bilayer", "materials": ["graphene", "MoS2"], "angle_deg": 21.79},
                      "strained"),
    "overlapping layers": ({**BILAYER, "layers": [{"material": "MoS2", "count": 2, "repeat": [2, 2]}]}, "overlap"),
    "wrong number of gaps": ({**BILAYER, "spacing_A": [3.3, 3.4]}, "expected one length or 1"),
    "vacuum and periodic z": ({**BILAYER, "pbc": [True, True, True]}, "z is to be periodic, but vacuum_A"),
    "open plane": ({**BILAYER, "pbc": [False, True, False]}, "x is to be open"),
    "no moire": ({**BILAYER, "maximum_mismatch_percent": 1e-12,
                  "layers": [{"material": m, "count": 1} for m in ("graphene", "WS2")]}, "the best are"),
    "some repeats": ({**BILAYER, "layers": [{"material": "graphene", "count": 1, "repeat": [2, 2]},
                                            {"material": "h-BN", "count": 1}]}, "for all, or for none"),
    "no coincidence": ({"builder": "heterobilayer", "materials": ["graphene", "MoS2"], "maximum_area_A2": 60.0,
                        "maximum_strain_percent": 0.1}, "no coincidence"),
    "miller": (interface(lower={"crystal": "Al", "length_A": 30.0, "miller": [0, 0, 0]}), "not all 0"),
    "too short": (interface(bath_A=60.0), "increase length_A"),
    "crystals overlap": (interface(gap_A=0.9), "overlap"),
    "lengths": (interface(lower={"crystal": "Al", "length_A": [30.0, 40.0]},
                          upper={"crystal": "Si", "length_A": [30.0, 40.0, 50.0]}), "lists of one length"),
    "no honeycomb": ({"builder": "lateral", "width": 2, "domains": [{"material": "graphene", "cells": 2},
                                                                    {"material": "MoS2", "cells": 2}]}, "honeycomb"),
    "absent species": ({**BILAYER, "perturbation": [{"kind": "substitution", "element": "Mo", "by": "W", "count": 1}]},
                       "substitution of Mo, but the structure has B, N"),
    "too many vacancies": ({**BILAYER, "perturbation": [{"kind": "vacancies", "count": 193}]}, "there are 192"),
    "no such element": ({**BILAYER, "perturbation": [{"kind": "substitution", "element": "B", "by": "Qq", "count": 1}]},
                        "no element"),
    "defects too dense": ({**BILAYER, "perturbation": [{"kind": "stone_wales", "count": 90}]}, "Stone-Wales"),
    "layer": ({**BILAYER, "perturbation": [{"kind": "slide", "grid": [2, 2], "above_layer": 1}]}, "none above"),
    "rattled together": ({**BILAYER, "perturbation": [{"kind": "rattle", "deviation_A": 1.5}]}, "apart"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_line(name: str) -> None:
    structure, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        frames(structure)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
