"""Neighbour lists against brute force: any cell, any density, several types, layers, tiles, memory used again."""

import numpy as np
import pytest
from one_rank import system_with_ghosts

from hpcthermo.gpu.backend import CpuBackend, supports
from hpcthermo.neighbors import TILE_ATOMS, NeighborListBuilder, make_tiles

SPECIES = ("A", "B", "C")
SKEWED = [[6.0, 0.0, 0.0], [2.5, 5.0, 0.0], [-1.5, 2.0, 7.0]]
#: cell, number of atoms, periodic axes
SYSTEMS = {
    "cube": (np.eye(3) * 9.0, 60, (True, True, True)),
    "triclinic": (SKEWED, 25, (True, True, True)),
    "thinner than the cutoff": (np.diag([2.1, 12.0, 1.7]), 6, (True, True, True)),
    "dense": (np.eye(3) * 5.0, 90, (True, True, True)),
    "slab": (np.diag([8.0, 9.0, 30.0]), 40, (True, True, False)),
    "open": (np.eye(3) * 20.0, 50, (False, False, False)),
    "one atom": (np.eye(3) * 3.0, 1, (True, True, True)),
    "two far apart": (np.eye(3) * 100.0, 2, (False, False, False)),
    "thin gas": (np.eye(3) * 60.0, 40, (False, False, False)),
}
CUTOFFS = np.array([[4.5, 3.0, 0.0], [3.0, 5.0, 2.0], [0.0, 2.0, 3.5]])


def random_system(case, seed, depth=5.5):
    cell, n, periodic = SYSTEMS[case]
    random = np.random.default_rng(seed)
    symbols = list(random.choice(SPECIES, n))
    positions = random.uniform(size=(n, 3)) @ np.asarray(cell)
    system, owners = system_with_ghosts(symbols, positions, cell, periodic, depth, SPECIES)
    system.layers[:] = random.integers(0, 3, n)[owners]
    return system


def brute_force(system, cutoffs, i, different_layers=False):
    """Neighbours of an owned row by type, and their distances."""
    distances = np.linalg.norm(system.positions - system.positions[i], axis=1)
    near = distances < cutoffs[system.types[i], system.types]
    near[i] = False
    if different_layers:
        near &= system.layers != system.layers[i]
    return [np.flatnonzero(near & (system.types == t)) for t in range(len(SPECIES))], distances


def row_by_type(neighbors, item, padding):
    for t in range(len(SPECIES)):
        begin, end = neighbors.segments[item, t:t + 2]
        row = neighbors.indices[item, begin:end]
        listed = row[row != padding]
        assert (row[len(listed):] == padding).all()
        assert len(set(listed)) == len(listed)
        yield row, listed


@pytest.fixture(params=[(p, i) for p in ("double", "mixed") for i in ("avx512", "avx2", "baseline")],
                ids="-".join)
def backend(request):
    precision, instruction_set = request.param
    if not supports(instruction_set):
        pytest.skip(f"no kernels for {instruction_set} here")
    return CpuBackend(precision, instruction_set)


@pytest.mark.parametrize("different_layers", [False, True])
@pytest.mark.parametrize("case", SYSTEMS)
def test_lists_equal_brute_force(backend, case, different_layers):
    inner_cutoff, tolerance = 2.5, 1e-4 if backend.precision == "mixed" else 1e-9
    builder = NeighborListBuilder(backend, different_layers)
    for seed in range(3):
        system = random_system(case, seed)
        neighbors = builder.build(system, CUTOFFS, inner_cutoff)
        assert (neighbors.segments % backend.lanes == 0).all()
        assert neighbors.segments.max() <= neighbors.stride
        for i in range(system.n_owned):
            least, distances = brute_force(system, CUTOFFS, i, different_layers)
            most, _ = brute_force(system, np.where(CUTOFFS > 0.0, CUTOFFS + tolerance, 0.0), i, different_layers)
            for t, (row, listed) in enumerate(row_by_type(neighbors, i, system.n_total)):
                assert set(least[t]) <= set(listed) <= set(most[t])
                first = row[:neighbors.inner[i, t]]
                assert set(least[t][distances[least[t]] < inner_cutoff]) <= set(first)
                assert (distances[listed[neighbors.inner[i, t]:]] >= inner_cutoff).all()


@pytest.mark.parametrize("case", SYSTEMS)
def test_a_tile_lists_the_neighbours_of_all_its_members(backend, case):
    system = random_system(case, 0)
    n_tiles = -(-system.n_owned // TILE_ATOMS)
    shuffled = np.random.default_rng(1).permutation(system.n_owned)
    members = np.resize(shuffled, (n_tiles, TILE_ATOMS)).astype(np.int32)
    neighbors = NeighborListBuilder(backend).build(system, CUTOFFS, members=members)
    for tile, atoms in enumerate(members):
        for t, (_, listed) in enumerate(row_by_type(neighbors, tile, system.n_total)):
            distances = np.linalg.norm(system.positions[:, None] - system.positions[atoms][None, :], axis=2)
            cutoffs = CUTOFFS[system.types[atoms], t]
            of_type = system.types == t
            wanted = np.flatnonzero(of_type & (distances < cutoffs).any(axis=1))
            allowed = np.flatnonzero(of_type & (distances.min(axis=1) < cutoffs.max() + 1e-4))
            assert set(wanted) <= set(listed) <= set(allowed)


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("case", SYSTEMS)
def test_tiles_hold_every_owned_atom_once(case, by_layer):
    system = random_system(case, 3)
    tiles = make_tiles(system, CpuBackend("mixed"), by_layer)
    own = np.array([[m == 0 or row[m] != row[0] for m in range(TILE_ATOMS)] for row in tiles.members])
    assert sorted(tiles.members[own]) == list(range(system.n_owned))
    positions = system.positions[tiles.members]
    assert np.linalg.norm(positions - positions[:, :1], axis=2).max() <= 8.0
    if by_layer:
        layers = system.layers[tiles.members]
        assert (layers == layers[:, :1]).all()
    begin, end = tiles.span(0, system.n_owned)
    assert (begin, end) == (0, len(tiles.members))


def test_a_layer_on_a_face_of_the_cell_has_as_few_tiles_as_one_within():
    """Half of its atoms stand at the other end of the cell."""
    rng = np.random.default_rng(2)
    grid = np.stack(np.meshgrid(np.arange(22), np.arange(22), indexing="ij"), -1).reshape(-1, 2) * 1.6
    tiles = []
    for height in (0.0, 7.0):
        positions = np.c_[grid, height + rng.normal(0.0, 0.05, len(grid))] % [1e3, 1e3, 14.0]
        system, _ = system_with_ghosts(["A"] * len(grid), positions, np.diag([60.0, 60.0, 14.0]), (False,) * 3, 3.0)
        system.layers[:] = 0
        tiles.append(len(make_tiles(system, CpuBackend("mixed"), True).members))
    assert tiles[0] < 1.1 * tiles[1]


def test_tiles_of_a_range_of_rows_contain_all_of_them():
    symbols = ["A"] * 2000
    positions = np.random.default_rng(0).uniform(size=(2000, 3)) * 30.0
    positions = positions[np.lexsort((positions // 7.5).T)]  # rows come in the order of cells
    system, _ = system_with_ghosts(symbols, positions, np.eye(3) * 30.0, (False,) * 3, 3.0)
    tiles = make_tiles(system, CpuBackend("mixed"), False)
    for begin, end in ((0, 1), (0, 512), (511, 513), (700, 1400), (1999, 2000)):
        first, last = tiles.span(begin, end)
        assert set(range(begin, end)) <= set(tiles.members[first:last].ravel())
        assert last - first < 2 + 1.4 * (end - begin + 1024) / TILE_ATOMS
    # most tiles are small
    extent = np.ptp(positions[tiles.members], axis=1).max(axis=1)
    assert np.median(extent) < 8.0


def test_no_atoms_and_no_cutoffs(backend):
    system = random_system("cube", 0)
    builder = NeighborListBuilder(backend)
    neighbors = builder.build(system, np.zeros((3, 3)))
    assert (neighbors.segments == 0).all()
    assert (neighbors.indices == system.n_total).all()
    system.n_owned, system.n_ghost = 0, 0
    assert len(builder.build(system, CUTOFFS).indices) == 0


def test_rows_are_as_long_as_the_longest_and_memory_is_used_again():
    backend = CpuBackend("mixed")
    builder = NeighborListBuilder(backend)
    system = random_system("cube", 0)
    neighbors = builder.build(system, CUTOFFS)
    first, address = neighbors.indices.copy(), neighbors.indices.ctypes.data
    longest = int(neighbors.segments[:, -1].max())
    assert longest <= neighbors.stride <= longest + backend.lanes
    again = builder.build(system, CUTOFFS)
    assert again.indices.ctypes.data == address
    assert np.array_equal(*(_used(a, again.segments, system.n_total) for a in (again.indices, first)))
    # atoms that come closer need longer rows, and get them
    system.positions[:] *= 0.5
    denser = builder.build(system, CUTOFFS)
    assert denser.stride > neighbors.stride
    assert set(np.concatenate(brute_force(system, CUTOFFS, 5)[0])) <= set(denser.indices[5])
    # a shorter cutoff gives the memory back
    shorter = builder.build(system, 0.5 * CUTOFFS)
    assert shorter.stride < denser.stride
    assert shorter.indices.base.nbytes < denser.indices.nbytes


def test_order_does_not_depend_on_what_was_built_before():
    backend = CpuBackend("mixed")
    system = random_system("triclinic", 4)
    fresh = NeighborListBuilder(backend).build(system, CUTOFFS, 2.5)
    builder = NeighborListBuilder(backend)
    builder.build(random_system("dense", 1), CUTOFFS, 2.5)
    used = builder.build(system, CUTOFFS, 2.5)
    assert used.stride > fresh.stride
    assert np.array_equal(used.segments, fresh.segments)
    assert np.array_equal(used.inner, fresh.inner)
    assert np.array_equal(*(_used(n.indices, n.segments, system.n_total) for n in (used, fresh)))


def _used(indices, segments, padding):
    """Rows with what lies beyond their last segment cut off, all of one length."""
    longest = int(segments[:, -1].max())
    beyond = np.arange(longest)[None, :] >= segments[:, -1:]
    return np.where(beyond, padding, indices[:, :longest])
