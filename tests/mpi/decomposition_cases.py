"""Small systems that are hard to decompose, and a velocity-Verlet step for them."""

import numpy as np

from hpcthermo.domain.snapshot import Snapshot

NONE, SLAB_XY, ALL = (False, False, False), (True, True, False), (True, True, True)


def lattice(counts, cell, jitter, seed=3):
    """Atoms on a simple grid of the given counts in a cell, each moved a little."""
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in counts], indexing="ij")
    fractional = np.stack(axes, -1).reshape(-1, 3)
    return fractional @ cell + np.random.default_rng(seed).normal(0.0, jitter, fractional.shape)


def snapshot_of(positions, cell, periodic, speed=0.03, seed=5):
    rng = np.random.default_rng(seed)
    return Snapshot.create(cell, periodic, ("Ar", "Ne"), [40.0, 20.0], positions, np.arange(len(positions)) % 2,
                           velocities=rng.normal(0.0, speed, positions.shape))


def cube():
    cell = np.diag([13.0, 13.2, 13.4])
    # some atoms stand outside the cell: they are wrapped
    return snapshot_of(lattice((5, 5, 5), cell, 0.05) + np.array([20.0, -9.0, 1.0]), cell, ALL)


def triclinic():
    cell = np.array([[12.0, 0.0, 0.0], [5.0, 12.0, 0.0], [-4.0, 3.0, 14.0]])
    return snapshot_of(lattice((5, 5, 5), cell, 0.05), cell, ALL)


def layered():
    # planes of atoms with exactly equal coordinates
    cell = np.diag([10.4, 10.4, 21.0])
    return snapshot_of(lattice((4, 4, 7), cell, 0.0), cell, ALL)


def vacuum():
    cell = np.diag([13.0, 13.0, 60.0])
    return snapshot_of(lattice((5, 5, 3), np.diag([13.0, 13.0, 8.0]), 0.05) + np.array([0, 0, 50.0]), cell, SLAB_XY)


def sheet():
    cell = np.array([[13.0, 0.0, 0.0], [6.0, 13.0, 0.0], [0.0, 0.0, 0.0]])
    return snapshot_of(lattice((5, 5, 1), cell + np.diag([0, 0, 1.0]), 0.05), cell, SLAB_XY)


def cluster():
    return snapshot_of(lattice((4, 4, 4), np.diag([10.0, 10.0, 10.0]), 0.05), np.zeros((3, 3)), NONE)


def thin():
    # two atoms in a cell much thinner than the cutoff; with more than two ranks some are empty
    cell = np.array([[2.6, 0.0, 0.0], [1.2, 2.5, 0.0], [0.3, 0.4, 4.2]])
    return snapshot_of(np.array([[0.1, 0.1, 0.2], [1.9, 1.5, 2.3]]), cell, ALL)


CASES = {f.__name__: f for f in (cube, triclinic, layered, vacuum, sheet, cluster, thin)}


def run_verlet(engine, steps, timestep):
    """Velocity Verlet; the potential energy and virial of the last step."""
    masses = engine.system.masses
    for _ in range(steps):
        system = engine.system
        n = system.n_owned
        inverse = 1.0 / masses[system.types[:n]][:, None]
        system.velocities += 0.5 * timestep * system.forces[:n, :3] * inverse
        system.positions[:n] += timestep * system.velocities
        engine.compute()
        system = engine.system
        n = system.n_owned
        inverse = 1.0 / masses[system.types[:n]][:, None]
        system.velocities += 0.5 * timestep * system.forces[:n, :3] * inverse


def random_system(seed):
    """Up to 40 atoms anywhere in a random cell: thin, tilted, open or without vectors along open axes."""
    rng = np.random.default_rng(seed)
    periodic = rng.random(3) < 0.7
    cell = np.diag(rng.uniform(2.5, 14.0, 3)) + np.triu(rng.uniform(-3.0, 3.0, (3, 3)), 1) * rng.integers(0, 2)
    cell[~periodic & (rng.random(3) < 0.5)] = 0.0
    n = int(rng.integers(0, 40))
    box = cell + np.diag(np.where(np.linalg.norm(cell, axis=1) == 0.0, 8.0, 0.0))
    return Snapshot.create(cell, periodic, ("Ar", "Ne"), [40.0, 20.0], rng.uniform(-1.0, 2.0, (n, 3)) @ box,
                           rng.integers(0, 2, n), velocities=rng.normal(0.0, 0.3, (n, 3)))
