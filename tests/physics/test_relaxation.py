"""Minima known in closed form, derivatives of the enthalpy, and the minima that ASE's filters find."""

import numpy as np
import pytest
from argon import EPSILON_EV, MASS_AMU, NEAREST_LATTICE_A, SIGMA_A, argon_engine, fcc

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.cell import deform, exponential
from hpcthermo.dynamics.following_rows import FollowingRows
from hpcthermo.dynamics.loop import run_stage
from hpcthermo.dynamics.minimize import FreeCell
from hpcthermo.dynamics.relax import make_minimizer, relax
from hpcthermo.engine import make_engine
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.load import load_potential
from hpcthermo.structure.build import make_snapshot
from hpcthermo.units import PRESSURE_GPA

ALGORITHMS = pytest.mark.parametrize("algorithm", ["lbfgs", "fire"])
#: between first and second neighbours
NEAREST_CUTOFF_A = 4.6


def pair_energy(r, cutoff):
    """Lennard-Jones, zero at the cutoff."""
    bare = [4 * EPSILON_EV * ((SIGMA_A / x) ** 12 - (SIGMA_A / x) ** 6) for x in (r, cutoff)]
    return bare[0] - bare[1]


def strained_crystal(strain=0.0, noise=0.05, repeat=(3, 3, 3)):
    snapshot = fcc(repeat, NEAREST_LATTICE_A)
    generator = np.random.default_rng(8)
    tilt = np.tril(strain * generator.normal(size=(3, 3)))
    snapshot.cell = snapshot.cell @ exponential(tilt)
    moved = snapshot.positions @ exponential(tilt) + generator.normal(0.0, noise, snapshot.positions.shape)
    snapshot.fields["positions"] = moved
    return snapshot


def silicon_engine(atoms, potential="tersoff_si"):
    snapshot = make_snapshot(atoms.cell.array, atoms.pbc, atoms.get_chemical_symbols(), atoms.positions)
    return make_engine(snapshot, load_potential(potential), SingleProcess(), make_backend("cpu", "double"))


@ALGORITHMS
def test_a_dimer(algorithm):
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 2.0, 1.0]])
    engine = argon_engine(Snapshot.create(np.zeros((3, 3)), (False,) * 3, ("Ar",), [MASS_AMU], positions, [0, 0]))
    relaxed = relax(engine, algorithm, 1e-9)
    final = engine.domain.gather(engine.system).positions
    assert relaxed.converged
    assert np.linalg.norm(final[1] - final[0]) == pytest.approx(2 ** (1 / 6) * SIGMA_A, abs=1e-7)
    assert relaxed.energy == pytest.approx(pair_energy(2 ** (1 / 6) * SIGMA_A, 8.0), abs=1e-14)
    assert relaxed.steps < {"lbfgs": 40, "fire": 400}[algorithm]


@ALGORITHMS
def test_a_crystal_and_its_cell(algorithm):
    engine = argon_engine(strained_crystal(0.02), cutoff=NEAREST_CUTOFF_A)
    relaxed = relax(engine, algorithm, 1e-7, "periodic", stress_tolerance_GPa=1e-6)
    assert relaxed.converged
    energy = 6 * pair_energy(NEAREST_LATTICE_A / np.sqrt(2), NEAREST_CUTOFF_A)
    assert relaxed.energy / engine.n_atoms == pytest.approx(energy, abs=1e-10)
    metric = engine.system.cell @ engine.system.cell.T
    assert metric == pytest.approx((3 * NEAREST_LATTICE_A) ** 2 * np.eye(3), abs=1e-3)
    assert np.abs(relaxed.virial).max() / engine.system.volume * PRESSURE_GPA < 2e-6
    assert np.triu(engine.system.cell, 1) == pytest.approx(0.0, abs=1e-12)


@ALGORITHMS
@pytest.mark.parametrize("isotropic", [True, False])
def test_a_crystal_under_pressure(algorithm, isotropic):
    """P = -dE/dV of nearest neighbours in an fcc lattice, V = r^3 / sqrt(2)."""
    r = 0.96 * 2 ** (1 / 6) * SIGMA_A
    slope = 4 * EPSILON_EV * (-12 * SIGMA_A**12 / r**13 + 6 * SIGMA_A**6 / r**7)
    pressure = -6 * slope / (3 * r**2 / np.sqrt(2)) * PRESSURE_GPA
    engine = argon_engine(strained_crystal(), cutoff=NEAREST_CUTOFF_A)
    relaxed = relax(engine, algorithm, 1e-6, ("xx", "yy", "zz"), pressure, isotropic, 1e-6)
    assert relaxed.converged
    assert np.diag(engine.system.cell) == pytest.approx(3 * np.sqrt(2) * r, abs=2e-5)


@pytest.mark.parametrize("options", [{}, {"isotropic": True}, {"pressure_GPa": 3.0}])
def test_the_cell_force_is_the_derivative_of_the_enthalpy(options):
    from ase.build import bulk

    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=2)
    engine = silicon_engine(atoms)
    engine.compute()
    cell = FreeCell(engine, "periodic", **options)
    assert cell.count == (1 if options.get("isotropic") else 6)
    force, h = cell.force(engine), 1e-4
    for k in range(cell.count):
        enthalpies = []
        for sign in (1.0, -1.0):
            move = exponential(cell.strain(sign * h * np.eye(cell.count)[k]))
            deform(engine, move)
            engine.compute()
            enthalpies.append(cell.enthalpy(engine))
            deform(engine, np.linalg.inv(move))
        assert (enthalpies[1] - enthalpies[0]) / (2 * h) == pytest.approx(force[k], abs=2e-6)


def test_the_same_minimum_as_ase():
    """Enthalpy, volume and metric of a strained, shaken silicon cell by FrechetCellFilter with BFGS."""
    # ASE is loaded by the tests that use it: ranks load this file too
    from ase.build import bulk
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    from hpcthermo.calculator import Calculator

    pressure = 2.0 / PRESSURE_GPA
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(atoms.cell.array @ exponential(np.array([[0.02, 0, 0], [0.03, -0.01, 0], [0.01, 0.02, 0.0]])),
                   scale_atoms=True)
    atoms.rattle(0.08, seed=5)
    engine = silicon_engine(atoms)
    relaxed = relax(engine, "lbfgs", 1e-6, "periodic", 2.0, stress_tolerance_GPa=1e-5)
    atoms.calc = Calculator("tersoff_si")
    BFGS(FrechetCellFilter(atoms, scalar_pressure=pressure), logfile=None).run(fmax=1e-5, steps=300)
    assert relaxed.converged
    enthalpy = atoms.get_potential_energy() + pressure * atoms.get_volume()
    assert relaxed.energy + pressure * engine.system.volume == pytest.approx(enthalpy, abs=1e-9)
    assert engine.system.volume == pytest.approx(atoms.get_volume(), abs=1e-4)
    assert engine.system.cell @ engine.system.cell.T == pytest.approx(atoms.cell.array @ atoms.cell.array.T, abs=1e-3)


@ALGORITHMS
def test_a_sheet_with_vacuum_relaxes_in_its_plane(algorithm):
    from ase import Atoms

    a = 2.5
    atoms = Atoms("C2", cell=[[a, 0, 0], [a / 2, a * np.sqrt(0.75), 0], [0, 0, 20.0]], pbc=(True, True, False),
                  positions=[[0, 0, 5.0], [a / 2, a / np.sqrt(12), 5.0]]) * (2, 2, 1)
    engine = silicon_engine(atoms, "tersoff_graphene")
    relaxed = relax(engine, algorithm, 1e-6, "periodic", stress_tolerance_GPa=1e-6)
    edges = np.linalg.norm(engine.system.cell, axis=1)
    assert relaxed.converged
    assert edges[0] == pytest.approx(edges[1], abs=1e-5)
    assert edges[2] == 20.0
    assert relaxed.energy / 8 == pytest.approx(-7.98, abs=0.05)  # Lindsay and Broido: about 2.49 A, -7.98 eV
    assert edges[0] / 2 == pytest.approx(2.492, abs=0.005)
    with pytest.raises(InputError, match="zz lies along a direction that is not periodic"):
        relax(engine, algorithm, 1e-6, ("xx", "zz"))


@ALGORITHMS
def test_directions_that_are_held(algorithm):
    engine = argon_engine(strained_crystal(), cutoff=NEAREST_CUTOFF_A)
    before = engine.domain.gather(engine.system)
    relaxed = relax(engine, algorithm, 1e-7, atom_axes="z")
    after = engine.domain.gather(engine.system)
    moved = after.positions + after.images @ after.cell - before.positions
    forces = after.forces[:, :3]
    assert relaxed.converged
    assert np.abs(moved[:, :2]).max() < 1e-12
    assert np.abs(forces[:, 2]).max() < 1e-7 < 1e-3 < np.abs(forces[:, 0]).max()


@pytest.mark.parametrize("wrong", [
    {"free_cell_components": ("xw",)}, {"free_cell_components": ("xy",), "isotropic": True}, {"atom_axes": "w"},
    {"stress_tolerance_GPa": 0.0}, {"force_tolerance_eV_per_A": -1.0}, {"atom_axes": ""},
])
def test_senseless_values_are_refused(wrong):
    with pytest.raises(InputError):
        make_minimizer(argon_engine(fcc((2, 2, 2))), **wrong)


def test_repeated_relaxations_need_few_calls():
    engine = argon_engine(strained_crystal(), cutoff=NEAREST_CUTOFF_A)
    first, second = relax(engine, "lbfgs", 1e-6), relax(engine, "lbfgs", 1e-6)
    assert second.converged
    assert second.steps == 1 < first.steps
    assert second.energy == pytest.approx(first.energy, abs=1e-12)


@pytest.mark.parallel(4)
def test_rows_follow_their_atoms():
    comm = world_communicator()
    engine = argon_engine(fcc((4, 4, 4)), 60.0, comm=comm, skin=0.2)
    engine.compute()
    rows = FollowingRows(engine, 2)

    def expected():
        tags = engine.system.tags[:engine.system.n_owned]
        return np.stack([tags[:, None] + np.array([0.0, 0.25, 0.5]), -2.0 * tags[:, None] * np.ones(3)])

    rows.values[...] = expected()
    owned = [set(rows.tags.tolist())]
    for k in range(6):
        n = engine.system.n_owned
        engine.system.positions[:n] += 8.0 * engine.system.velocities + 3.0 * (k == 3)
        engine.rebuild()
        if k % 2:  # two rebuilds at a time
            rows.follow(engine)
            assert np.array_equal(rows.values, expected())
            owned.append(set(rows.tags.tolist()))
    strangers = comm.allreduce_sum(float(len(owned[-1] - owned[0])))
    assert strangers > 20


@pytest.mark.parallel(2)
def test_two_ranks_find_the_minimum_of_one():
    same_minimum_on_ranks()


@pytest.mark.parallel(4)
def test_four_ranks_find_the_minimum_of_one():
    same_minimum_on_ranks()


def minimum_with_moves(comm, algorithm):
    """Step, energy and volume at the minimum, and the sets of atoms that this rank had (none without moves)."""
    owners = set()
    engine = argon_engine(strained_crystal(0.01, 0.3, (4, 3, 3)), cutoff=NEAREST_CUTOFF_A, skin=0.3, comm=comm)
    minimizer = make_minimizer(engine, algorithm, 1e-6, ("xx", "yy", "zz", "xy"), stress_tolerance_GPa=1e-5)
    engine.compute()
    for step in range(400):
        minimizer.step(engine, step)
        if minimizer.finished:
            break
        if comm.size > 1 and step % 4 == 3:
            engine.system.positions[:engine.system.n_owned] += np.array([1.3, 0.9, -0.7])
            engine.compute()
            owners.add(frozenset(engine.system.tags[:engine.system.n_owned].tolist()))
    assert minimizer.converged
    return (step, engine.potential_energy(), engine.system.volume), owners


def same_minimum_on_ranks():
    """The whole crystal is moved now and then, which changes no force but sends atoms to other ranks."""
    world = world_communicator()
    for algorithm in ("lbfgs", "fire"):
        many, owners = minimum_with_moves(world, algorithm)
        assert len(owners) > 3
        one = world.bcast(minimum_with_moves(SingleProcess(), algorithm)[0] if world.rank == 0 else None)
        assert abs(many[0] - one[0]) <= 2
        assert many[1] == pytest.approx(one[1], abs=1e-9)
        assert many[2] == pytest.approx(one[2], rel=1e-6)


def test_a_state_of_other_ranks_is_continued_without_its_history():
    """Rows of other atoms than those of this rank: the minimum is found all the same."""
    engine = argon_engine(strained_crystal(), cutoff=NEAREST_CUTOFF_A)
    first = make_minimizer(engine, "lbfgs", 1e-7)
    engine.compute()
    for step in range(6):
        first.step(engine, step)
    state = first.state()
    second = make_minimizer(engine, "lbfgs", 1e-7)
    second.restore({**state, "tags": state["tags"][::-1]})
    assert np.array_equal(second.state()["rows"], state["rows"])
    done = run_stage(engine, second, [], 6, 100)
    assert second.converged
    assert done < 60
    energy = 6 * pair_energy(NEAREST_LATTICE_A / np.sqrt(2), NEAREST_CUTOFF_A)
    assert engine.potential_energy() / engine.n_atoms == pytest.approx(energy, abs=1e-10)
