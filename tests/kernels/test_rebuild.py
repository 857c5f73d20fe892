"""Wrapping, order and copies of owned atoms, on the CPU and as GPU code, against the geometry of the host."""

import numpy as np
import pytest
from emulated_gpu import EmulatedGpuBackend

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.decomposition import Domain
from hpcthermo.domain.grid import images_in_brick, wrap
from hpcthermo.domain.rebuild import (
    boxes_of_copies,
    canonical_order,
    copies_in_boxes,
    fractional_coordinates,
    lattice_shifts,
    wrap_atoms,
)
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import PhysicsError
from hpcthermo.gpu.backend import CpuBackend, supports

TILTED = np.array([[14.0, 0.0, 0.0], [3.0, 19.0, 0.0], [-2.0, 4.0, 25.0]])


@pytest.fixture(params=["avx512", "avx2", "baseline", "emulated GPU"])
def backend(request):
    if request.param == "emulated GPU":
        return EmulatedGpuBackend("double")
    if not supports(request.param):
        pytest.skip(f"no kernels for {request.param} here")
    return CpuBackend("double", request.param)


def scattered(n=500, seed=1):
    """Positions in and around the cell, some on its faces."""
    positions = np.random.default_rng(seed).uniform(-30.0, 50.0, (n, 3))
    positions[:20] = np.round(positions[:20] / 20.0) @ TILTED
    return positions


@pytest.mark.parametrize("periodic", [(True, True, True), (True, False, True)])
def test_wrapping(periodic, backend):
    host, periodic = backend.to_host, np.array(periodic)
    wrapped, fractional, shifts = wrap(scattered(), TILTED, periodic)
    positions, images = backend.from_host(scattered()), backend.xp.ones((500, 3), dtype=np.int32)
    found = wrap_atoms(positions, images, TILTED, periodic, backend)
    np.testing.assert_allclose(host(positions), wrapped, rtol=0, atol=1e-13)
    np.testing.assert_allclose(host(found).T, fractional, rtol=0, atol=1e-14)
    assert np.array_equal(host(images), shifts + 1)
    inside = ~shifts.any(axis=1)
    assert np.array_equal(host(positions)[inside], scattered()[inside])
    np.testing.assert_allclose(host(fractional_coordinates(positions, TILTED, backend)), np.linalg.inv(TILTED).T
                               @ wrapped.T, rtol=0, atol=1e-14)


def test_boxes_across_an_open_axis_are_those_that_atoms_can_reach():
    """64 slabs along an open z: the slab itself and its two neighbours, with their images along x and y."""
    edges = np.arange(64) / 64.0
    low, high = (np.column_stack([np.full(64, side), np.full(64, side), edges + shift])
                 for side, shift in ((-0.1, -0.01), (1.1, 1.0 / 64.0 + 0.01)))
    smallest, largest = np.array([0.0, 0.0, edges[30]]), np.array([0.99, 0.99, edges[30] + 0.015])
    boxes, receivers = boxes_of_copies(smallest, largest, low, high, np.array([True, True, False]), 30)
    assert sorted(set(receivers)) == [29, 30, 31]
    assert len(boxes) == 3 * 9 - 1
    assert not boxes[:, 2].any()


def test_an_atom_just_below_a_face_stays(backend):
    cell = np.diag([3.0, 3.0, 3.0])
    positions, images = np.array([[-1e-17, 3.0, 1.0]]), backend.xp.zeros((1, 3), dtype=np.int32)
    positions_here = backend.from_host(positions.copy())
    fractional = wrap_atoms(positions_here, images, cell, np.array([True] * 3), backend)
    assert backend.to_host(positions_here).tolist() == [[-1e-17, 0.0, 1.0]]
    assert backend.to_host(images).tolist() == [[0, 1, 0]]
    assert (backend.to_host(fractional)[:2] == 0.0).all()


@pytest.mark.parametrize("far", [False, True], ids=["in one integer", "beyond one integer"])
def test_order(far, backend):
    rng, n = np.random.default_rng(2), 700
    fractional, tags = rng.uniform(0.0, 1.0, (3, n)), rng.permutation(n)
    if far:
        fractional[:2, 0] = 1e10
    lower, upper, depth, between_faces = np.zeros(3), np.array([1.0, np.inf, 1.0]), np.full(3, 0.2), np.full(3, 20.0)
    order, n_interior = canonical_order(backend.from_host(fractional), backend.from_host(tags), lower, upper, depth,
                                        between_faces, backend)
    inside = ((fractional.T - lower > depth) & (upper - fractional.T > depth)).all(axis=1)
    cells = np.floor(3.0 * fractional)
    assert n_interior == inside.sum()
    assert np.array_equal(backend.to_host(order), np.lexsort((tags, *cells[::-1], ~inside)))


def test_copies(backend):
    rng = np.random.default_rng(3)
    fractional, periodic = rng.uniform(0.0, 1.0, (300, 3)), np.array([True, True, False])
    low, high = np.array([-0.3, 0.2, -np.inf]), np.array([1.3, 1.1, np.inf])
    index, images = images_in_brick(fractional, low, high, np.zeros(3), periodic)
    vectors, counts = np.unique(images, axis=0, return_counts=True)
    boxes = np.array([[*vector, *low, *high] for vector in vectors])
    found = copies_in_boxes(backend.from_host(np.ascontiguousarray(fractional.T)), boxes, backend)
    assert np.array_equal(backend.to_host(found[0]), index)
    assert np.array_equal(backend.to_host(found[1]), images)
    assert np.array_equal(found[2], counts)
    shifts = backend.xp.empty((len(index), 3))
    lattice_shifts(found[1], TILTED, shifts, backend)
    np.testing.assert_allclose(backend.to_host(shifts), images @ TILTED, rtol=0, atol=1e-13)


def domain_of(positions, backend):
    periodic = [True, True, False]
    rng, n = np.random.default_rng(5), len(positions)
    snapshot = Snapshot.create(TILTED, periodic, ("C", "B"), [12.0, 10.8], positions, rng.integers(0, 2, n),
                               velocities=rng.normal(size=(n, 3)))
    domain = Domain(SingleProcess(), backend, halo_depth=5.0)
    return domain, domain.distribute(snapshot)


def test_all_machines_build_the_same_rows(backend):
    """Owned rows and ghosts to the last bit, and nothing but counts and extremes comes to the host."""
    rows = []
    for machine in (CpuBackend("double"), backend):
        domain, system = domain_of(scattered(seed=6), machine)
        if machine is backend and hasattr(backend, "transfers"):
            backend.transfers.to_host = 0
        domain.rebuild(system)
        if machine is backend and hasattr(backend, "transfers"):
            assert backend.transfers.to_host <= 6
        names = ("positions", "velocities", "types", "tags", "images")
        rows.append([*(machine.to_host(getattr(system, name)) for name in names), machine.to_host(domain.ghost_images),
                     np.array([system.n_owned, system.n_ghost, domain.n_interior])])
    assert rows[0][-1][1] > 300
    for cpu, here in zip(*rows, strict=True):
        assert np.array_equal(cpu, here)


def test_positions_that_are_not_finite_are_named(backend):
    domain, system = domain_of(scattered(), backend)
    system.positions[7, 1] = np.nan
    with pytest.raises(PhysicsError, match=r"1 atoms are not finite \(atom 7 among them"):
        domain.rebuild(system)


def test_no_atoms(backend):
    domain, system = domain_of(np.zeros((0, 3)), backend)
    domain.rebuild(system)
    assert (system.n_owned, system.n_ghost) == (0, 0)
