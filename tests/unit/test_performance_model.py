"""The model of many ranks: a published table, counted ghosts of real decompositions, a fit."""

import numpy as np
import pytest

from hpcthermo.domain.grid import choose_layout, images_in_brick, make_grid
from hpcthermo.performance_model import (
    Box,
    Network,
    Rank,
    all_ghosts,
    fit_rank,
    message_bytes,
    peers,
    reduction_pairs,
    remote_ghosts,
    seconds_per_step,
    strong_scaling,
    weak_scaling,
)

#: 10 million atoms of silicon in a cube, 8 A cutoff and 1 A skin: ranks, ghosts of a rank
GHOSTS = {8: 245_000, 64: 65_000, 512: 18_000, 1024: 12_900}
#: efficiencies for (R, n_half) by number of ranks, six message pairs of 30 us, 48 bytes per ghost at 20 GB/s
EFFICIENCY = {
    8: {(2.35e6, 15e3): 0.99, (2.35e6, 3e3): 1.0, (1e7, 15e3): 0.98, (1e7, 3e3): 0.99},
    64: {(2.35e6, 15e3): 0.91, (2.35e6, 3e3): 0.98, (1e7, 15e3): 0.90, (1e7, 3e3): 0.96},
    256: {(2.35e6, 15e3): 0.72, (2.35e6, 3e3): 0.92, (1e7, 15e3): 0.69, (1e7, 3e3): 0.88},
    512: {(2.35e6, 15e3): 0.56, (2.35e6, 3e3): 0.85, (1e7, 15e3): 0.53, (1e7, 3e3): 0.79},
    1024: {(2.35e6, 15e3): 0.39, (2.35e6, 3e3): 0.74, (1e7, 15e3): 0.36, (1e7, 3e3): 0.66},
}
PERIODIC = (True, True, True)


def silicon() -> Box:
    edge = (1e7 / 0.05) ** (1 / 3)
    return Box((edge, edge, edge), PERIODIC, 1e7, 9.0)


def layout(box: Box, ranks: int) -> tuple[int, int, int]:
    return choose_layout(ranks, "auto", np.array(box.lengths), np.array(box.periodic), box.depth)


@pytest.mark.parametrize("ranks", sorted(EFFICIENCY))
def test_the_table_of_ten_million_atoms(ranks):
    box = silicon()
    ghosts = remote_ghosts(box, layout(box, ranks))
    if ranks in GHOSTS:
        assert ghosts == pytest.approx(GHOSTS[ranks], rel=0.02)
    for (rate, half), expected in EFFICIENCY[ranks].items():
        rank, network = Rank(rate, half), Network(latency=30e-6, bandwidth=20e9)
        alone = seconds_per_step(rank, network, 1e7, 0, 0.0)
        seconds = seconds_per_step(rank, network, 1e7 / ranks, 6, 48.0 * ghosts)
        assert alone / (ranks * seconds) == pytest.approx(expected, abs=0.02)


def lattice(cells: int, edge: float) -> np.ndarray:
    corner = np.indices((cells,) * 3).reshape(3, -1).T
    return (corner + np.random.default_rng(3).uniform(0.0, 0.6, corner.shape)) / cells


@pytest.mark.parametrize("parts", [(1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (1, 2, 4), (1, 1, 8), (1, 1, 5)])
def test_ghosts_and_peers_of_a_periodic_cube_are_those_of_its_bricks(parts):
    edge, depth, cells = 60.0, 9.0, 30
    fractional = lattice(cells, edge)
    box = Box((edge, edge, edge), PERIODIC, len(fractional), depth)
    periodic = np.array(PERIODIC)
    grid = make_grid(fractional, parts, periodic)
    owners, (lower, upper) = grid.owners(fractional), grid.bounds()
    everything, remote, senders = [], [], []
    for brick in range(int(np.prod(parts))):
        index, images = images_in_brick(fractional, lower[brick], upper[brick], np.full(3, depth / edge), periodic)
        foreign = owners[index] != brick
        everything.append((foreign | images.any(axis=1)).sum())
        remote.append(foreign.sum())
        senders.append(len(np.unique(owners[index][foreign])))
    assert all_ghosts(box, parts) == pytest.approx(np.mean(everything), rel=0.02)
    assert remote_ghosts(box, parts) == pytest.approx(np.mean(remote), rel=0.02, abs=0.5)
    assert peers(box, parts) == pytest.approx(np.mean(senders), abs=0.5)


def test_a_slab_has_the_ghosts_of_two_faces_whatever_the_number_of_ranks():
    box = Box((100.0, 100.0, 1000.0), PERIODIC, 5e5, 9.0)
    slabs = [remote_ghosts(box, (1, 1, ranks)) for ranks in (4, 16)]
    # images across a and b of atoms of other ranks are ghosts too
    assert slabs == pytest.approx([2 * 9.0 * 118.0 * 118.0 * box.density] * 2)
    open_sides = Box((100.0, 100.0, 1000.0), (False, False, True), 5e5, 9.0)
    assert remote_ghosts(open_sides, (1, 1, 8)) == pytest.approx(2 * 9.0 * 100.0 * 100.0 * box.density)
    assert remote_ghosts(box, (1, 1, 1)) == 0.0
    assert peers(box, (1, 1, 1)) == 0


def test_bytes_of_an_ordinary_and_of_a_sampling_step():
    assert message_bytes(100.0) == 100.0 * (24 + 32)
    assert message_bytes(100.0, virials_every=1) == 100.0 * (24 + 96)
    assert message_bytes(100.0, virials_every=8) == 100.0 * (24 + 32 + 8)


def test_strong_scaling_falls_and_weak_scaling_holds():
    rank, network = Rank(2.35e6, 15e3), Network()
    strong = strong_scaling(silicon(), rank, network)
    assert [line.ranks for line in strong] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert strong[0].efficiency == pytest.approx(1.0)
    efficiencies = [line.efficiency for line in strong]
    assert efficiencies == sorted(efficiencies, reverse=True)
    film = Box((300.0, 300.0, 40.0), (True, True, False), 180_000, 9.0)
    weak = weak_scaling(film, rank, network)
    assert all(line.parts[2] == 1 and line.atoms == 180_000 for line in weak)
    assert weak[-1].parts == (32, 32, 1)
    assert weak[-1].efficiency > 0.98
    # messages of the halo cost what they should, and a reduction of 1,024 ranks ten message pairs
    assert weak[-1].seconds_per_step - weak[0].seconds_per_step == pytest.approx(
        (8 + 10) * 30e-6 + message_bytes(weak[-1].ghosts) / 20e9)


@pytest.mark.parametrize(("ranks", "levels"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (1000, 10), (1024, 10)])
def test_a_reduction_climbs_the_levels_of_a_tree(ranks, levels):
    assert reduction_pairs(ranks) == levels
    assert reduction_pairs(ranks, virials_every=1) == 4 * levels
    assert reduction_pairs(ranks, virials_every=10) == pytest.approx(1.3 * levels)


def test_sampling_steps_cost_bytes_and_reductions():
    rank, network = Rank(2.35e6, 15e3), Network(latency=30e-6, bandwidth=20e9)
    plain, sampled = (strong_scaling(silicon(), rank, network, every, ranks=(1, 64)) for every in (0, 8))
    assert sampled[0] == plain[0]  # alone, a rank sends nothing
    assert sampled[1].bytes == pytest.approx(plain[1].bytes * (24 + 32 + 8) / (24 + 32))
    assert sampled[1].seconds_per_step - plain[1].seconds_per_step == pytest.approx(
        6 * 3 / 8 * 30e-6 + (sampled[1].bytes - plain[1].bytes) / 20e9)
    (weak,) = weak_scaling(silicon(), rank, network, 8, ranks=(64,))
    assert weak.bytes == pytest.approx(message_bytes(weak.ghosts, 8))


def test_the_fit_finds_rate_and_half_size():
    atoms = np.array([500.0, 2000.0, 8000.0, 100_000.0])
    found = fit_rank(atoms, (atoms + 4000.0) / 3e6)
    assert found.rate == pytest.approx(3e6)
    assert found.half_atoms == pytest.approx(4000.0)
    assert fit_rank(atoms[:1], atoms[:1] / 3e6) == Rank(pytest.approx(3e6), 0.0)
    assert fit_rank(atoms, atoms**1.05).half_atoms == 0.0  # no line of this kind: nothing fixed
