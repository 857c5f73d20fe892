"""Groups, baths and interface from a [nemd] table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase.build import bulk

from hpcthermo.config.nemd import NemdSection
from hpcthermo.errors import InputError
from hpcthermo.structure import LayerBlock, layered_stack_snapshot, make_snapshot
from hpcthermo.transport.groups import FIXED, FREE, SINK, SOURCE, join_compositions
from hpcthermo.transport.layout import cross_section, find_interface, nemd_grouping

BASE = {"temperature_K": 300.0, "temperature_difference_K": 60.0, "duration_ps": 10.0}


def section(**keys) -> NemdSection:
    return NemdSection.model_validate({**BASE, **keys})


@pytest.fixture(scope="module")
def stack():
    blocks = [LayerBlock("h-BN", 4, (3, 3), "AA'"), LayerBlock("graphene", 3, (3, 3), "AB")]
    return layered_stack_snapshot(blocks, 3.4, 20.0)


def test_layout_of_the_paper_in_small(stack) -> None:
    table = section(fixed_layers=[0], sink_layers=[1, 2], source_layers=[-2, -1])
    grouping = nemd_grouping(table, stack)
    assert grouping.roles.tolist() == [FIXED, SINK, SINK, FREE, FREE, SOURCE, SOURCE]
    assert grouping.blocks.tolist() == list(range(7))
    assert np.array_equal(grouping.labels, stack.layers)
    assert grouping.composition == ("BN",) * 4 + ("C",) * 3
    assert grouping.with_role(SOURCE) == {5, 6}
    assert find_interface(table, grouping) == (3, 4)
    assert cross_section(stack.cell, 2) == pytest.approx(stack.cell[0, 0] * stack.cell[1, 1])


def test_regions_and_elements_of_a_solid() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((2, 2, 6))
    snapshot = make_snapshot(atoms.cell.array, np.array([True, True, False]), atoms.get_chemical_symbols(),
                             atoms.positions)
    table = section(fixed_region_A=[-0.1, 2.0], source_region_A=[2.0, 6.0], sink_region_A=[28.0, 40.0],
                    source_elements=["Na"], bin_width_A=2.82)
    grouping = nemd_grouping(table, snapshot)
    z, sodium = snapshot.positions[:, 2], np.array(atoms.get_chemical_symbols()) == "Na"
    source = np.isin(grouping.labels, list(grouping.with_role(SOURCE)))
    assert np.array_equal(source, (z >= 2.0) & (z < 6.0) & sodium)
    assert np.array_equal(np.isin(grouping.labels, list(grouping.with_role(FIXED))), z < 2.0)
    assert len(np.unique(grouping.blocks)) == 12
    assert grouping.atoms.sum() == snapshot.n_atoms


@pytest.mark.parametrize(("keys", "message"), [
    ({"source_layers": [6], "sink_layers": [7]}, "does not exist"),
    ({"source_layers": [5, 6], "sink_layers": [5]}, "both source and sink"),
    ({"source_layers": [3, 4, 5, 6], "sink_layers": [0, 1, 2]}, "no atom is left"),
    ({"source_layers": [6], "sink_region_A": [100.0, 101.0]}, "no atom is selected"),
    ({"source_layers": [6], "sink_layers": [0], "sink_elements": ["C"]}, "no atom is selected"),
    ({"source_layers": [6], "sink_layers": [0], "sink_elements": ["Si"]}, "no atom is Si"),
])
def test_refused_selections(stack, keys: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nemd_grouping(section(**keys), stack)


def test_two_ways_for_the_heat_are_refused() -> None:
    periodic = layered_stack_snapshot([LayerBlock("graphene", 6, (3, 3))], 3.4, 0.0)
    with pytest.raises(InputError, match="both ways"):
        nemd_grouping(section(source_layers=[0], sink_layers=[3]), periodic)
    assert nemd_grouping(section(source_layers=[1], sink_layers=[4], fixed_layers=[0]), periodic).n_groups == 6


def test_interface_must_be_named_if_there_are_two() -> None:
    sandwich = layered_stack_snapshot(
        [LayerBlock(material, 2, (3, 3)) for material in ("graphene", "h-BN", "graphene")], 3.4, 20.0)
    ends = {"source_layers": [5], "sink_layers": [0]}
    with pytest.raises(InputError, match="interface_layers"):
        find_interface(section(**ends), nemd_grouping(section(**ends), sandwich))
    named = section(**ends, interface_layers=[-2, -3])
    assert find_interface(named, nemd_grouping(named, sandwich)) == (3, 4)
    single = layered_stack_snapshot([LayerBlock("graphene", 6, (3, 3))], 3.4, 20.0)
    assert find_interface(section(**ends), nemd_grouping(section(**ends), single)) is None


def test_tilted_axis_has_no_cross_section() -> None:
    with pytest.raises(InputError, match="not normal"):
        cross_section(np.array([[5.0, 0.0, 0.0], [0.0, 5.0, 1.0], [0.0, 0.0, 20.0]]), 2)


def test_a_block_of_two_groups_has_the_elements_of_both(stack) -> None:
    """A source of boron only divides a layer into groups B and BN or N; the layer is BN all the same."""
    assert join_compositions(["BN", "B"]) == "BN"
    assert join_compositions(["Si", "CSi"]) == "CSi"
    # boron of a layer, and half of its nitrogen beside: groups "B" + "BN" make no second interface
    table = section(source_layers=[-1], sink_layers=[1], sink_elements=["B"], fixed_region_A=[-1.0, 1.0])
    grouping = nemd_grouping(table, stack)
    mixed = dataclasses.replace(grouping, composition=tuple("BN" if c == "N" else c for c in grouping.composition))
    assert find_interface(table, mixed) == (3, 4)
