"""Geometry of the decomposition against brute force, in one process."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcthermo.domain.grid import choose_layout, cut_by_count, frame_cell, heights, make_grid, wrap
from hpcthermo.domain.halo import plan_sends
from hpcthermo.domain.rebuild import canonical_order, fractional_coordinates
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import CpuBackend


@st.composite
def systems(draw):
    """Positions in a random, possibly tilted, possibly open cell, and a layout."""
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    periodic = np.array(draw(st.tuples(*[st.booleans()] * 3)))
    parts = draw(st.tuples(*[st.integers(1, 3)] * 3))
    cell = np.diag(rng.uniform(3.0, 9.0, 3)) + rng.uniform(-2.0, 2.0, (3, 3)) * draw(st.sampled_from([0.0, 0.5, 1.0]))
    open_axis = draw(st.integers(0, 3))
    if open_axis < 3 and not periodic[open_axis]:
        cell[open_axis] = 0.0
    n = draw(st.integers(0, 24))
    positions = rng.uniform(-12.0, 12.0, (n, 3))
    if draw(st.booleans()):
        # many atoms share a coordinate, some stand on faces
        positions = np.round(positions / 3.0) * 3.0
    return positions, cell, periodic, parts, draw(st.floats(0.5, 6.0))


@settings(max_examples=60, deadline=None)
@given(systems())
def test_every_atom_has_one_owner_and_all_ghosts(system):
    positions, cell, periodic, parts, depth = system
    frame = frame_cell(cell)
    wrapped, fractional, shifts = wrap(positions, frame, periodic)
    assert np.allclose(wrapped + shifts @ frame, positions, atol=1e-9)
    assert ((fractional[:, periodic] >= 0.0) & (fractional[:, periodic] < 1.0)).all()
    grid = make_grid(fractional, parts, periodic)
    lower, upper = grid.bounds()
    owners = grid.owners(fractional)
    # exactly one brick holds each atom, and it is the owner's
    holds = ((fractional[:, None] >= lower) & (fractional[:, None] < upper)).all(axis=2)
    assert (holds.sum(axis=1) == 1).all()
    assert (holds[np.arange(len(owners)), owners]).all()

    copies = set()
    for rank in range(len(lower)):
        own = np.flatnonzero(owners == rank)
        backend = CpuBackend("double")
        own_fractional = fractional_coordinates(wrapped[own], frame, backend)
        plan = plan_sends(own_fractional, grid, rank, frame, periodic, depth, backend)
        receivers = np.repeat(np.arange(len(lower)), plan.counts)
        for receiver, index, image in zip(receivers, plan.index, plan.images, strict=True):
            key = (int(receiver), int(own[index]), *(int(v) for v in image))
            assert key not in copies
            copies.add(key)
    # brute force: every image near an owned atom is there
    reach = [range(-4, 5) if p else range(1) for p in periodic]
    images = np.array(list(itertools.product(*reach)))
    if (np.ceil(depth / heights(frame)) + 1 > 4)[periodic].any():
        return
    for i, rank in enumerate(owners):
        for j in range(len(wrapped)):
            d = np.linalg.norm(wrapped[j] + images @ frame - wrapped[i], axis=1)
            for image in images[d < depth]:
                if not image.any() and owners[j] == rank:
                    continue
                assert (int(rank), j, *(int(v) for v in image)) in copies


@settings(max_examples=60, deadline=None)
@given(systems())
def test_interior_atoms_have_no_ghost_within_the_depth(system):
    positions, cell, periodic, parts, depth = system
    frame = frame_cell(cell)
    wrapped, fractional, _ = wrap(positions, frame, periodic)
    grid = make_grid(fractional, parts, periodic)
    lower, upper = grid.bounds()
    owners = grid.owners(fractional)
    for i, rank in enumerate(owners):
        atom = np.ascontiguousarray(fractional[i:i + 1].T)
        _, is_interior = canonical_order(atom, np.zeros(1, np.int64), lower[rank], upper[rank], depth / heights(frame),
                                         heights(frame), CpuBackend("double"))
        if not is_interior:
            continue
        for j in range(len(wrapped)):
            image = np.round(fractional[i] - fractional[j]) * periodic
            near = np.linalg.norm(wrapped[j] + image @ frame - wrapped[i]) < depth
            assert not near or (owners[j] == rank and not image.any())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.1 + 1e-16, 0.25, 0.5, 0.500001, 0.9]), max_size=60), st.integers(1, 9))
def test_bounds_increase_and_leave_planes_whole(values, parts):
    values = np.array(values)
    bounds = cut_by_count(values, parts, 0.0, 1.0)
    assert len(bounds) == parts + 1
    assert bounds[0] == 0.0
    assert bounds[-1] == 1.0
    assert (np.diff(bounds) > 0.0).all()


def test_parts_hold_equal_numbers_of_atoms():
    values = np.random.default_rng(1).beta(2.0, 8.0, 50_000)
    counts = np.histogram(values, cut_by_count(values, 7, 0.0, 1.0))[0]
    assert np.abs(counts - 50_000 / 7).max() < 0.03 * 50_000


def test_cut_goes_into_the_gap_between_layers():
    layers = np.repeat(np.arange(25) / 25.0, 400) + np.random.default_rng(2).normal(0.0, 1e-14, 10_000)
    bounds = cut_by_count(layers, 2, -np.inf, np.inf)
    counts = np.array([(layers < bounds[1]).sum(), (layers >= bounds[1]).sum()])
    assert sorted(counts % 400) == [0, 0]
    assert np.abs(counts - 5000).max() <= 400


def test_layout_has_the_fewest_ghosts():
    everywhere = np.array([True] * 3)
    assert choose_layout(8, "auto", np.array([100.0, 100.0, 100.0]), everywhere, 9.0) == (2, 2, 2)
    assert choose_layout(8, "auto", np.array([20.0, 20.0, 2000.0]), everywhere, 9.0) == (1, 1, 8)
    assert choose_layout(7, "auto", np.array([100.0, 90.0, 90.0]), everywhere, 9.0) == (7, 1, 1)
    assert choose_layout(6, "slab", np.array([10.0, 90.0, 20.0]), everywhere, 9.0) == (1, 6, 1)


@pytest.mark.parametrize("layout", [(2, 2, 1), (3, 0, 1), "cubes", (3, 1)])
def test_wrong_layout_is_refused(layout):
    with pytest.raises(InputError, match="decomposition: expected"):
        choose_layout(3, layout, np.ones(3), np.array([True] * 3), 1.0)


def test_flat_cell_is_refused():
    with pytest.raises(InputError, match="independent"):
        frame_cell(np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]]))
    frame = frame_cell(np.array([[2.0, 1.0, 0.0], [0, 0, 0], [0, 0, 0]]))
    assert abs(np.linalg.det(frame)) == pytest.approx(np.sqrt(5.0))


def test_atom_just_below_a_face_keeps_its_position():
    cell = np.diag([3.0, 3.0, 3.0])
    positions = np.array([[-1e-17, 3.0, 1.0], [2.9999999999999996, -3.0, 0.0]])
    wrapped, fractional, shifts = wrap(positions, cell, np.array([True] * 3))
    assert np.abs(wrapped @ np.linalg.inv(cell) - fractional).max() < 1e-15
    assert np.array_equal(wrapped + shifts @ cell, positions)
