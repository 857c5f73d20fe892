"""Potentials on several ranks against one: a graphene / h-BN stack, Si and C on a diamond lattice, an alloy."""

from pathlib import Path

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers
from sample_triplets import mixed_stillinger_weber, mixed_tersoff_mod
from test_decomposition import STEPS, outcome

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.potentials.load import load_potential

MODEL = Path(__file__).parents[2].parent / "shared" / "data" / "nep" / "gr_hbn_liang2025.nep.txt"


def stack(tilted):
    """Two graphene and two h-BN layers of 3 x 2 rectangular cells, 96 atoms."""
    edges = np.array([3.0 * 1.43, np.sqrt(3.0) * 1.43])
    base = np.array([[0.0, 0.0], [0.5, 0.5], [1 / 3, 0.0], [5 / 6, 0.5]])
    cells = np.stack(np.meshgrid(np.arange(3), np.arange(2), indexing="ij"), -1).reshape(-1, 1, 2)
    plane = ((cells + base) * edges).reshape(-1, 2)
    layers = [np.c_[plane + np.array([1.43 * (k % 2), 0.0]), np.full(len(plane), 3.35 * k)] for k in range(4)]
    positions = np.concatenate(layers)
    positions += np.random.default_rng(4).normal(0.0, 0.04, positions.shape)
    types = np.tile([0, 0, 0, 0], 12).tolist() + np.tile([1, 1, 2, 2], 12).tolist()
    cell = np.diag([*(edges * [3, 2]), 4 * 3.35])
    if tilted:
        cell[2, 0], cell[2, 1] = 1.43, 0.5
    velocities = np.random.default_rng(6).normal(0.0, 0.03, positions.shape)
    return Snapshot.create(cell, [True, True, tilted], ("C", "B", "N"), [12.011, 10.81, 14.007], positions, types,
                           velocities=velocities, layers=np.repeat(np.arange(4), 24))


#: sites of a cubic cell; ase.build would take a second of every rank to load
FACE_CENTRED = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
DIAMOND = np.concatenate([FACE_CENTRED, FACE_CENTRED + 0.25])


def cubic(sites, edge, repeat):
    """Positions of the sites of repeat x repeat x repeat cubic cells."""
    cells = np.indices((repeat,) * 3).reshape(3, -1).T
    return edge * (cells[:, None] + sites).reshape(-1, 3)


def crystal(tilted):
    """64 atoms on a diamond lattice, which Tersoff/mod and Stillinger-Weber with made-up parameters hold together."""
    rng = np.random.default_rng(4)
    positions = cubic(DIAMOND, 4.9, 2) + rng.normal(0.0, 0.08, (64, 3))
    cell = np.diag([9.8, 9.8, 9.8])
    if tilted:
        cell[2, 0], cell[2, 1] = 2.45, 2.45
    return Snapshot.create(cell, [True, True, tilted], ("C", "Si"), [12.011, 28.085], positions, rng.integers(0, 2, 64),
                           velocities=rng.normal(0.0, 0.03, (64, 3)))


def alloy(periodic, symbols):
    """108 atoms on a face-centred cubic lattice in a small cell, periodic or with vacuum along z."""
    positions = cubic(FACE_CENTRED, 4.1, 3) + np.random.default_rng(4).normal(0.0, 0.08, (108, 3))
    types = np.random.default_rng(5).integers(0, len(symbols), len(positions))
    velocities = np.random.default_rng(6).normal(0.0, 0.02, positions.shape)
    cell = np.diag([12.3, 12.3, 12.3 if periodic else 40.0])
    masses = [atomic_masses[atomic_numbers[symbol]] for symbol in symbols]
    return Snapshot.create(cell, [True, True, periodic], symbols, masses, positions, types, velocities=velocities)


def pair():
    """Two atoms in a cell thinner than any cutoff: of three ranks one has ghosts only."""
    cell = np.array([[2.6, 0.0, 0.0], [1.2, 2.5, 0.0], [0.3, 0.4, 4.2]])
    return Snapshot.create(cell, [True, True, True], ("Al", "Cu"), [26.98, 63.55], [[0.1, 0.1, 0.2], [1.9, 1.5, 2.3]],
                           [0, 1], velocities=[[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0]])


EVERYWHERE = {"name": "lj_uff", "between_layers_only": False, "cutoff_A": 5.0}
BY_TRIPLET = {"tersoff_mod": mixed_tersoff_mod, "stillinger_weber": mixed_stillinger_weber}
LAYOUTS = ((2, False, "slab"), (3, True, "auto"), (8, True, (2, 2, 2)))
MATRIX = [pytest.param(potential, tilted, layout, marks=pytest.mark.parallel(ranks))
          for ranks, tilted, layout in LAYOUTS
          for potential in (str(MODEL), ["tersoff_bnc", "lj_gr_hbn"], ["tersoff_bnc", "ilp_gr_hbn"])]


@pytest.mark.parametrize(("spec", "tilted", "layout"), MATRIX)
def test_same_as_one_rank(spec, tilted, layout):
    if spec == str(MODEL) and not MODEL.exists():
        pytest.skip("the reference data are not beside this checkout")
    compare(stack(tilted), load_potential(spec), layout)


@pytest.mark.parametrize(("style", "tilted", "layout"),
                         [pytest.param(style, tilted, layout, marks=pytest.mark.parallel(ranks))
                          for ranks, tilted, layout in LAYOUTS for style in BY_TRIPLET])
def test_potentials_by_triplet_same_as_one_rank(style, tilted, layout):
    compare(crystal(tilted), BY_TRIPLET[style](), layout)


@pytest.mark.parametrize(("name", "tilted", "layout"),
                         [pytest.param(name, tilted, layout,
                                       # on eight ranks the potentials of two species are in the overlay
                                       marks=[pytest.mark.parallel(ranks),
                                              *([pytest.mark.slow] if ranks == 8 and name != "overlay" else [])])
                          for ranks, tilted, layout in LAYOUTS for name in ("eam_zhou", "meam_al_si", "overlay")])
def test_alloy_same_as_one_rank(name, tilted, layout):
    symbols = ("Al", "Si") if name == "meam_al_si" else ("Al", "Cu", "Zr")
    potential = load_potential(["eam_zhou", EVERYWHERE] if name == "overlay" else name)
    compare(alloy(tilted, symbols), potential, layout)


@pytest.mark.parallel(3)
@pytest.mark.parametrize("potential", ["eam_zhou", EVERYWHERE], ids=["eam", "pairs"])
def test_a_rank_without_atoms(potential):
    compare(pair(), load_potential(potential), "auto")


def compare(snapshot, potential, layout):
    comm = world_communicator()
    many, _ = outcome(comm, snapshot, potential, layout, STEPS)
    if comm.rank == 0:
        one, _ = outcome(SingleProcess(), snapshot, potential, "auto", STEPS)
        for name, bound in {"forces": 1e-10, "virials": 1e-9, "energy": 1e-9, "virial": 1e-9, "forces_last": 1e-8,
                            "energy_last": 1e-9}.items():
            assert np.abs(many[name] - one[name]).max() < bound, name
        assert np.abs(one["forces"]).max() > 0.1
    comm.barrier()
