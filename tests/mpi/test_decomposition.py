"""Forces, energies and virials do not depend on the number of ranks or the layout."""

import numpy as np
import pytest
from decomposition_cases import CASES, cube, random_system, run_verlet
from sample_potentials import BoundDensity, BoundPair, SamplePotential

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.units import TIME_FS

TIMESTEP = 0.5 / TIME_FS
#: far within the skin; rebuilds on the way have tests of their own
STEPS = 8


#: three bricks in a row on uneven axes; the quick layouts show rows, planes and corners
SLOW_RANKS = 6


def on_ranks(ranks, *cases):
    marks = [pytest.mark.parallel(ranks), *([pytest.mark.slow] if ranks == SLOW_RANKS else [])]
    return [pytest.param(*case, marks=marks) for case in cases]


def gathered_virials(engine):
    tags = engine.comm.gather(np.asarray(engine.system.tags[:engine.system.n_owned]))
    virials = engine.comm.gather(np.asarray(engine.virials))
    if tags is None:
        return None
    return np.concatenate(virials)[np.argsort(np.concatenate(tags))]


def outcome(comm, snapshot, potential, layout, steps):
    """Everything that must agree, before and after some steps, on rank 0."""
    engine = make_engine(snapshot if comm.rank == 0 else None, potential, comm, make_backend("cpu", "double"),
                         skin=0.3, layout=layout)
    engine.compute(virials=True)
    results = {"virials": gathered_virials(engine), "virial": engine.virial_total(),
               "energy": engine.potential_energy(), "kinetic": engine.kinetic_energy()}
    assert np.abs(comm.allreduce_sum(engine.virials.sum(axis=0)) - results["virial"]).max() < 1e-9
    first = engine.domain.gather(engine.system)
    run_verlet(engine, steps, TIMESTEP)
    last = engine.domain.gather(engine.system)
    results["energy_last"] = engine.potential_energy()
    if comm.rank == 0:
        results["forces"], results["forces_last"] = first.forces[:, :3], last.forces[:, :3]
        results["unwrapped"] = last.positions + last.images @ last.cell
        results["unwrapped_start"] = first.positions + first.images @ first.cell
    return results, engine


LAYOUTS = {2: "slab", 3: "auto", 4: (1, 2, 2), 6: (1, 3, 2), 8: (2, 2, 2)}
MATRIX = [p for ranks, layout in LAYOUTS.items() for case in CASES for p in on_ranks(ranks, (case, layout))]
MATRIX += on_ranks(8, ("layered", "slab"), ("triclinic", "slab"))


@pytest.mark.parametrize(("case", "layout"), MATRIX)
def test_same_as_one_rank(case, layout):
    comm = world_communicator()
    snapshot = CASES[case]()
    many, engine = outcome(comm, snapshot, SamplePotential(), layout, STEPS)
    assert comm.allreduce_sum(float(engine.system.n_owned)) == snapshot.n_atoms
    # rank 0 repeats the run alone
    if comm.rank == 0:
        one, _ = outcome(SingleProcess(), snapshot, SamplePotential(), "auto", STEPS)
        for name, bound in {"forces": 1e-10, "virials": 1e-9, "energy": 1e-9, "virial": 1e-9, "kinetic": 1e-9,
                            "forces_last": 1e-8, "energy_last": 1e-9, "unwrapped": 1e-9}.items():
            assert np.abs(many[name] - one[name]).max() < bound, name
        assert np.abs(many["unwrapped_start"] - snapshot.positions).max() < 1e-10
        assert np.abs(one["forces_last"]).max() > 1e-4
    comm.barrier()


class SmallAtoms(BoundPair):
    """Atoms may stand close to each other."""

    sigma = 0.3


@pytest.mark.parallel(8)
def test_random_systems_on_five_ranks():
    world = world_communicator()
    comm = world.split(int(world.rank >= 5))  # the other three have no part in it
    potential = SamplePotential(SmallAtoms, 3.0)

    def fly(comm, snapshot, layout):
        engine = make_engine(snapshot if comm.rank == 0 else None, potential, comm, make_backend("cpu", "double"), 0.4,
                             layout)
        results = []
        for _ in range(4):
            engine.compute()
            gathered = engine.domain.gather(engine.system)
            results += [engine.potential_energy(), engine.virial_total(), None if gathered is None else gathered.forces]
            engine.system.positions[:engine.system.n_owned] += 0.1 * engine.system.velocities
        return results

    for seed in range(8 if world.rank < 5 else 0):
        snapshot = random_system(seed)
        many = fly(comm, snapshot, "slab" if seed % 2 else "auto")
        if comm.rank == 0:
            for a, b in zip(many, fly(SingleProcess(), snapshot, "auto"), strict=True):
                assert np.allclose(a, b, rtol=1e-9, atol=1e-10), seed
    world.barrier()


@pytest.mark.parametrize("layout", [p for r, lay in {2: "slab", 8: "auto"}.items() for p in on_ranks(r, (lay,))])
def test_fields_are_exchanged_inside_the_force_call(layout):
    comm = world_communicator()
    many, _ = outcome(comm, cube(), SamplePotential(BoundDensity), layout, 5)
    if comm.rank == 0:
        one, engine = outcome(SingleProcess(), cube(), SamplePotential(BoundDensity), "auto", 5)
        assert np.abs(many["forces"] - one["forces"]).max() < 1e-10
        assert np.abs(many["forces_last"] - one["forces_last"]).max() < 1e-8
        assert np.abs(many["virials"] - one["virials"]).max() < 1e-9
        assert forces_match_energy(engine)
    comm.barrier()


def forces_match_energy(engine, step=1e-4):
    """Central differences of the energy on one atom of a single rank."""
    engine.rebuild()
    engine.compute()
    force = engine.system.forces[7, :3].copy()
    for axis in range(3):
        energies = []
        for sign in (1.0, -1.0):
            engine.system.positions[7, axis] += sign * step
            engine.compute()
            energies.append(engine.potential_energy())
            engine.system.positions[7, axis] -= sign * step
        if abs(-(energies[0] - energies[1]) / (2.0 * step) - force[axis]) > 1e-6:
            return False
    return True


def test_sample_forces_are_derivatives():
    for bound_class in (BoundPair, BoundDensity):
        engine = make_engine(cube(), SamplePotential(bound_class), SingleProcess(), make_backend("cpu", "double"), 0.3)
        engine.compute()
        assert forces_match_energy(engine)
        assert np.abs(engine.system.forces[:engine.system.n_owned]).max() > 1e-3


@pytest.mark.parallel(4)
def test_atoms_migrate_and_are_conserved():
    comm = world_communicator()
    fast = cube()
    fast.fields["velocities"] *= 30.0
    engine = make_engine(fast if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "mixed"),
                         0.5, (2, 2, 1))
    engine.compute()
    before = set(engine.system.tags[:engine.system.n_owned].tolist())
    run_verlet(engine, 40, TIMESTEP)
    after = set(engine.system.tags[:engine.system.n_owned].tolist())
    assert comm.allreduce_sum(float(len(after - before))) > 5
    assert engine.rebuilds > 3
    tags = comm.gather(sorted(after))
    if tags is not None:
        assert sorted(tag for own in tags for tag in own) == list(range(fast.n_atoms))


@pytest.mark.parallel(3)
def test_cell_changes_are_followed_by_ghosts():
    """A strain without rebuild gives the forces of the strained system built afresh."""
    comm = world_communicator()
    engine = make_engine(cube() if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "double"),
                         1.0, "slab")
    engine.compute()
    strain = np.eye(3) + 0.004 * np.array([[1.0, 0.3, 0.0], [0.0, -0.6, 0.2], [0.1, 0.0, 0.5]])
    system = engine.system
    system.cell = system.cell @ strain
    system.positions[:system.n_owned] = system.positions[:system.n_owned] @ strain
    engine.compute()
    assert engine.rebuilds == 1
    followed = engine.domain.gather(engine.system)
    energy = engine.potential_energy()
    engine.rebuild()
    engine.compute()
    rebuilt = engine.domain.gather(engine.system)
    if comm.rank == 0:
        assert np.abs(followed.forces - rebuilt.forces).max() < 1e-12
    assert abs(energy - engine.potential_energy()) < 1e-11
    # a large strain asks for a rebuild by itself
    engine.system.cell = engine.system.cell * 1.2
    engine.system.positions[:engine.system.n_owned] *= 1.2
    engine.compute()
    assert engine.rebuilds == 3


@pytest.mark.parallel(2)
def test_flag_of_one_rank_reaches_all():
    comm = world_communicator()
    engine = make_engine(cube() if comm.rank == 0 else None, SamplePotential(), comm, make_backend("cpu", "double"))
    assert engine.compute(flag=15 if comm.rank == 1 else 0) == 15
    assert engine.compute() == 0
