"""Ranks of a bridged potential against its calculator on the whole periodic system."""

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from hpcthermo.domain.comm import world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend


def snapshot_of(atoms):
    symbols = atoms.get_chemical_symbols()
    species = tuple(sorted(set(symbols)))
    masses = [float(atoms.get_masses()[symbols.index(s)]) for s in species]
    return Snapshot.create(atoms.cell.array, atoms.pbc, species, masses, atoms.positions,
                           [species.index(s) for s in symbols])


def engine_on_ranks(atoms, potential, layout="auto", comm=None, backend=None):
    comm = world_communicator() if comm is None else comm
    snapshot = snapshot_of(atoms) if comm.rank == 0 else None
    return make_engine(snapshot, potential, comm, backend or make_backend("cpu", "double"), skin=0.4, layout=layout)


def gather(engine, rows):
    """Rows of all ranks in the order of tags, on rank 0."""
    parts = engine.comm.gather((np.asarray(engine.system.tags[:engine.system.n_owned]), np.asarray(rows)))
    if parts is None:
        return None
    return np.concatenate([r for _, r in parts])[np.argsort(np.concatenate([t for t, _ in parts]))]


def check_same_as_whole(atoms, potential, calculator, bound, layout="auto"):
    """Energy, forces and, where the potential has it, the virial; also after the atoms have moved; on all ranks."""
    engine = engine_on_ranks(atoms, potential, layout)
    with_total = engine.limits.total_virial is None
    for step in range(2):
        engine.compute(virials=engine.limits.atom_virials is None)
        n = engine.system.n_owned
        energy, forces = engine.potential_energy(), gather(engine, engine.system.forces[:n, :3])
        virial = engine.virial_total() if with_total else None
        sites = None if engine.virials is None else engine.comm.allreduce_sum(np.ascontiguousarray(
            engine.virials.sum(axis=0)))
        if engine.comm.rank == 0:
            whole = atoms.copy()
            whole.calc = calculator()
            assert np.abs(forces - whole.get_forces()).max() < bound
            assert np.abs(forces).max() > 0.1
            assert abs(energy - whole.get_potential_energy()) < bound * len(atoms)
            if virial is not None:
                stress = voigt_6_to_full_3x3_stress(whole.get_stress())
                assert np.abs(virial + stress * whole.get_volume()).max() < bound * len(atoms)
            if sites is not None:
                assert np.abs(sites - virial).max() < bound * len(atoms)
        if step == 0:  # move as far as the lists allow
            moves = np.random.default_rng(8).uniform(-0.1, 0.1, (len(atoms), 3))
            atoms = atoms.copy()
            atoms.positions += moves
            engine.system.positions[:n] += moves[engine.system.tags[:n]]
    assert engine.rebuilds == 1
    return engine


def check_strain_derivative(atoms, potential, bound, step=1e-4):
    """Virial of the system against -dE/d(strain), one process."""
    from hpcthermo.domain.comm import SingleProcess

    def energy(strain):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        engine = engine_on_ranks(strained, potential, comm=SingleProcess())
        engine.compute()
        return engine.potential_energy()

    engine = engine_on_ranks(atoms, potential, comm=SingleProcess())
    engine.compute()
    virial = engine.virial_total()
    for a, b in ((0, 0), (1, 2), (2, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] = step
        assert abs(virial[a, b] + (energy(strain) - energy(-strain)) / (2.0 * step)) < bound


def check_site_virials(atoms, model, bound, chosen=(0, 5), step=1e-4):
    """W_j = -sum_i (r_j - r_i) (x) dU_i/dr_j of a cluster, by finite differences of site energies."""
    cluster = atoms.copy()
    cluster.set_cell(np.ptp(atoms.positions, axis=0) + 2.0 * model.halo + 2.0)
    cluster.pbc = False
    cluster.positions += model.halo
    n = len(cluster)
    virials = model.evaluate(cluster, n, True).virials
    for j in chosen:
        for b in range(3):
            moved = []
            for sign in (1.0, -1.0):
                displaced = cluster.copy()
                displaced.positions[j, b] += sign * step
                moved.append(model.evaluate(displaced, n, False).energies)
            slopes = (moved[0] - moved[1]) / (2.0 * step)
            expected = -((cluster.positions[j] - cluster.positions) * slopes[:, None]).sum(axis=0)
            assert np.abs(virials[j][:, b] - expected).max() < bound
    asymmetry = np.abs(virials - virials.transpose(0, 2, 1)).max()
    assert asymmetry > 100.0 * bound  # or a transposed convention would pass
