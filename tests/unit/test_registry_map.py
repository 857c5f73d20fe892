"""Local stackings of two honeycomb layers: known stackings, moire patterns, heights, periods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcthermo.errors import InputError
from hpcthermo.structure import LayerBlock, layered_stack_snapshot, structure_from_file
from hpcthermo.structure.registry_map import corrugation, height_at, map_registry, pattern_period, value_at

SHARED = Path(__file__).parents[2].parent / "shared"


def registry_of(snapshot, **options):
    symbols = np.array(snapshot.species)[snapshot.types]
    return map_registry(snapshot.cell, snapshot.positions, symbols, snapshot.layers, **options)


def found_stackings(snapshot):
    found = registry_of(snapshot)
    return {found.names[k] for k in found.stacking}


@pytest.mark.parametrize(("offset", "name"), [(0.0, "AA"), (1 / 3, "AB'"), (2 / 3, "AB"), (0.5, "DW")])
def test_graphene_on_boron_nitride(offset, name):
    """Offsets along the bond by (1/3, 2/3) b put C on B and C on N; b/2 is the saddle between them."""
    for order in (1, -1):
        blocks = [LayerBlock("h-BN", 1, (4, 4)), LayerBlock("graphene", 1, (4, 4), offset=(0.0, offset))]
        if order < 0:  # graphene below: seen from h-BN, graphene is shifted the other way
            blocks = [LayerBlock("graphene", 1, (4, 4), offset=(0.0, offset)), LayerBlock("h-BN", 1, (4, 4))]
        assert found_stackings(layered_stack_snapshot(blocks, 3.4, 20.0, "first")) == {name}


@pytest.mark.parametrize(("stacking", "name"), [("AA", "AA"), ("AA'", "AA'")])
def test_boron_nitride_on_itself(stacking, name):
    snapshot = layered_stack_snapshot([LayerBlock("h-BN", 2, (4, 4), stacking)], 3.4, 20.0)
    assert found_stackings(snapshot) == {name}
    assert registry_of(snapshot).turned == (stacking == "AA'")


def test_names_say_which_atoms_lie_on_each_other():
    """Every stacking name against the atoms that a search finds straight above each other."""
    expected = {"AA": {"BB", "NN"}, "AB": {"BN"}, "BA": {"NB"}, "AA'": {"BN", "NB"}, "AB'": {"BB"}, "A'B": {"NN"}}
    for turned in (False, True):
        seen = set()
        for shift in (0.0, 1 / 3, 2 / 3):
            snapshot = layered_stack_snapshot([LayerBlock("h-BN", 2, (3, 3), "AA'" if turned else "AA")], 3.4, 20.0)
            upper = snapshot.layers == 1
            snapshot.positions[upper, 1] += shift * snapshot.cell[1, 1] / 3
            symbols = np.array(snapshot.species)[snapshot.types]
            flat = np.diag(snapshot.cell)[:2]
            pairs = set()
            for i in np.flatnonzero(~upper):
                d = snapshot.positions[upper, :2] - snapshot.positions[i, :2]
                d -= flat * np.rint(d / flat)
                on_top = np.flatnonzero(np.linalg.norm(d, axis=1) < 1e-6)
                pairs |= {symbols[i] + symbols[upper][k] for k in on_top}
            (name,) = found_stackings(snapshot)
            assert pairs == expected[name], name
            seen.add(name)
        assert len(seen) == 3


def voronoi_shares():
    """Shares of AA, AB, AB' and DW of uniform registries, on a hexagon of edge 1 around AA."""
    corners = np.exp(1j * np.pi / 3 * np.arange(6))
    middles = 0.5 * (corners + np.roll(corners, -1))
    points = np.concatenate([[0.0], corners, middles])
    label = np.array([0, *([1, 2] * 3), *([3] * 6)])
    x, y = np.random.default_rng(1).uniform(-1.0, 1.0, (2, 20_000))
    places = x + 1j * y
    inside = (places[:, None] * np.conj(middles / np.abs(middles))).real.max(axis=1) < np.sqrt(3.0) / 2.0
    nearest = np.abs(places[inside, None] - points).argmin(axis=1)
    return np.bincount(label[nearest], minlength=4) / inside.sum()


def test_a_moire_pattern_has_all_registries_once():
    """Rigid 24:25 pattern: registries fill the lattice cell evenly, and one period is the cell."""
    blocks = [LayerBlock("h-BN", 1, (24, 24)), LayerBlock("graphene", 1, (25, 25))]
    snapshot = layered_stack_snapshot(blocks, 3.4, 20.0, (24 * 2.5, 24 * 2.5 * np.sqrt(3.0)))
    found = registry_of(snapshot)
    share = np.bincount(found.stacking, minlength=4) / len(found.stacking)
    assert found.names == ("AA", "AB", "AB'", "DW")
    # Voronoi cells among AA and the corners of a hexagon (AB, AB') with the middles of its edges (DW):
    # from the middle of an edge to a corner they meet halfway, to AA at half of sqrt(3)/2 bonds
    assert share[1] == pytest.approx(share[2], abs=0.02)
    assert share == pytest.approx(voronoi_shares(), abs=0.03)
    assert np.histogram(found.registry[:, 0], 4, (0.0, 1.0))[0] / len(found.registry) == pytest.approx(0.25, abs=0.02)
    assert found.distance == pytest.approx(3.4)


def ripple(cell, places, amplitude):
    """A hexagonal pattern of one period per cell along x, and its image, in a rectangular (1, sqrt 3) cell."""
    phases = 2.0 * np.pi * places @ np.linalg.inv(cell[:2, :2])
    return amplitude * (np.cos(phases[:, 0] + phases[:, 1]) + np.cos(phases[:, 0] - phases[:, 1])
                        + np.cos(2.0 * phases[:, 1]))


def test_heights_distances_and_the_period_of_a_known_ripple():
    snapshot = layered_stack_snapshot([LayerBlock("graphene", 2, (20, 20), "AB")], 3.4, 20.0)
    upper = snapshot.layers == 1
    snapshot.positions[upper, 2] += ripple(snapshot.cell, snapshot.positions[upper, :2], 0.2)
    found = registry_of(snapshot)
    expected = 3.4 + ripple(snapshot.cell, snapshot.positions[found.atoms, :2], 0.2)
    # the layer below is flat; from below, the distance is along the normal of the ripple
    assert found.distance[found.upper] == pytest.approx(expected[found.upper])
    step = [ripple(snapshot.cell, snapshot.positions[found.atoms, :2] + shift, 0.2) for shift in 1e-4 * np.eye(2)]
    slopes = [(moved - (expected - 3.4)) / 1e-4 for moved in step]
    along_normal = expected / np.sqrt(1.0 + slopes[0] ** 2 + slopes[1] ** 2)
    assert found.distance[~found.upper] == pytest.approx(along_normal[~found.upper], abs=0.005)
    period = pattern_period(snapshot.cell, snapshot.positions[upper])
    assert period.value == pytest.approx(20 * 2.46, rel=1e-3)
    assert period.spread < 1e-6
    assert period.amplitude == pytest.approx(0.2, rel=0.02)
    assert corrugation(snapshot.positions[upper, 2])[0] == pytest.approx(0.9, abs=0.03)  # 3 down to -1.5 amplitudes


def test_linear_fields_are_interpolated_exactly():
    rng = np.random.default_rng(2)
    cell = np.array([[9.0, 0, 0], [-4.0, 8.0, 0], [0, 0, 20.0]])
    points = rng.random((200, 2)) @ cell[:2, :2]
    places = rng.random((50, 2)) @ cell[:2, :2]
    assert value_at(cell, points, np.full(200, 2.5), places) == pytest.approx(2.5)
    layer = np.column_stack([points, np.zeros(200)])
    assert height_at(cell, layer, places) == pytest.approx(0.0)


@pytest.mark.skipif(not SHARED.exists(), reason="no reference data beside this checkout")
def test_published_bilayer_has_the_regions_of_the_paper():
    """Liang et al. 2025, figures 3a and 5: AA, AB, DW and ABp in one pattern, distance smallest in ABp."""
    snapshot = structure_from_file(SHARED / "data" / "gr_hbn" / "bilayer_24644.model.xyz")
    found = registry_of(snapshot)
    assert set(found.names[k] for k in found.stacking) == {"AA", "AB", "AB'", "DW"}
    distance = {name: found.distance[found.core(name, 0.15)].mean() for name in found.names}
    assert max(distance["AB'"], distance["DW"]) < distance["AB"] < distance["AA"]
    assert distance["AB'"] == pytest.approx(3.38, abs=0.02)
    assert distance["AA"] == pytest.approx(3.57, abs=0.02)
    # the two layers measure the same gap
    for name in found.names:
        core = found.core(name, 0.15)
        above, below = (found.distance[core & side].mean() for side in (found.upper, ~found.upper))
        assert above == pytest.approx(below, abs=0.005)
    period = pattern_period(snapshot.cell, snapshot.positions[snapshot.layers == 1])
    assert period.value == pytest.approx(137.0, abs=2.0)


def test_layers_that_are_no_honeycombs_are_refused():
    snapshot = layered_stack_snapshot([LayerBlock("graphene", 2, (4, 4))], 3.4, 20.0)
    with pytest.raises(InputError, match="layer 5 does not exist"):
        registry_of(snapshot, interface=(0, 5))
    keep = np.ones(snapshot.n_atoms, dtype=bool)
    keep[3] = False
    with pytest.raises(InputError, match="has 2 bonds"):
        map_registry(snapshot.cell, snapshot.positions[keep], np.array(["C"] * keep.sum()), snapshot.layers[keep])
