"""What is compared between the CPU and a GPU, emulated or real: potentials, lists, engines, whole jobs."""

from __future__ import annotations

import nep_reference
import numpy as np
from one_rank import OneRank
from sample_structures import bilayer, metals, mixed_sheet, silicon, silicon_carbide
from sample_triplets import mixed_stillinger_weber, mixed_tersoff_mod
from test_nep import crystal

from hpcthermo.config import parse_job
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import CpuBackend
from hpcthermo.neighbors import NeighborListBuilder
from hpcthermo.potentials.load import load_potential
from hpcthermo.potentials.nep import read_nep
from hpcthermo.results import RESULTS_FILE, read_results

#: largest difference from the CPU in double precision, times the largest force where that is above 1
TOLERANCES = {"double": 1e-10, "mixed": 1e-4}


def close(expected, found, tolerance):
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * max(1.0, np.abs(a).max()))


def compare(case, backend, **options):
    """Energies, forces and virials of a case (potential, symbols, positions, cell) on both machines."""
    expected = OneRank(*case, precision="double", **options).run()
    found = OneRank(*case, backend=backend, **options).run()
    scale = max(1.0, np.abs(expected[1]).max())
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=TOLERANCES[backend.precision] * scale)


def atoms_case(name, atoms):
    return load_potential(name), atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array


EMPIRICAL = {
    "silicon": lambda: atoms_case("tersoff_si", silicon(3)),
    "silicon with lambda3": lambda: atoms_case("tersoff_si_1988", silicon(3)),
    "modified Tersoff": lambda: atoms_case(mixed_tersoff_mod(), silicon_carbide(3)),
    "Stillinger-Weber": lambda: atoms_case("sw_si", silicon(3)),
    "Stillinger-Weber, mixed": lambda: atoms_case(mixed_stillinger_weber(), silicon_carbide(3)),
    "B, C and N in one sheet": lambda: atoms_case("tersoff_bnc", mixed_sheet(6)),
    "alloy of three metals": lambda: atoms_case({"name": "eam_zhou", "cutoff_A": 5.0}, metals(("Al", "Cu", "Zr"), 2)),
    "aluminium and silicon, MEAM": lambda: atoms_case("meam_al_si", metals(("Al", "Si"), 2, 4.2)),
    "Lennard-Jones between layers": lambda: atoms_case("lj_gr_hbn", bilayer(3)),
    "ILP between layers": lambda: atoms_case({"name": "ilp_gr_hbn", "cutoff_A": 9.0}, bilayer(3)),
}


def compare_empirical(name, backend):
    compare(EMPIRICAL[name](), backend, **({"layers": bilayer(3).arrays["layer"]} if "layers" in name else {}))


def listed(backend, different_layers):
    """Neighbours of each atom by type, sorted; outer shells are checked to be outside."""
    atoms = bilayer(4)
    cutoffs = 3.0 + 0.4 * np.add.outer(np.arange(3), np.arange(3))
    rank = OneRank(load_potential("tersoff_bnc"), atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array,
                   backend=backend, layers=atoms.arrays["layer"], skin=3.0)
    found = NeighborListBuilder(backend, different_layers).build(rank.system, cutoffs, 3.5)
    rows = [backend.to_host(a) for a in (found.indices, found.segments, found.inner)]
    positions, padding = backend.to_host(rank.system.positions), rank.system.n_total
    for i, (row, s, n) in enumerate(zip(*rows, strict=True)):
        for t in range(3):
            outer = [j for j in row[s[t] + n[t]:s[t + 1]] if j < padding]
            assert np.all(np.linalg.norm(positions[outer] - positions[i], axis=1) > 3.5)
    neighbors = [sorted(j for j in row[s[t]:s[t + 1]] if j < padding)
                 for row, s in zip(*rows[:2], strict=True) for t in range(3)]
    assert sum(map(len, neighbors)) > 100
    return neighbors


# ---- engines --------------------------------------------------------------------------------------


def nep_engine(comm, backend, path):
    """An AB stack of graphene on h-BN, 48 atoms in motion."""
    symbols, positions, cell = crystal(("C", "B", "N"))
    repeat = np.stack(np.meshgrid(*[np.arange(n) for n in (3, 2, 1)], indexing="ij"), -1).reshape(-1, 1, 3)
    species = ("B", "C", "N")
    positions = (positions + repeat @ cell).reshape(-1, 3)
    types = np.tile([species.index(s) for s in symbols], len(repeat))
    velocities = np.random.default_rng(4).normal(0.0, 0.05, positions.shape)
    snapshot = Snapshot.create(cell * np.array([[3], [2], [1]]), [True] * 3, species, [10.81, 12.011, 14.007],
                               positions, types, velocities=velocities)
    return make_engine(snapshot if comm.rank == 0 else None, read_nep(path), comm, backend, 0.3)


def fly(engine, steps=6):
    """Free flight with rebuilds; site energies, forces and virials by tag, and the total virial, on rank 0."""
    for _ in range(steps):
        engine.compute(virials=True)
        engine.system.positions[:engine.system.n_owned] += engine.system.velocities
    engine.compute(virials=True)
    n, host = engine.system.n_owned, engine.backend.to_host
    own = [host(a) for a in (engine.system.tags[:n], engine.energies, engine.system.forces[:n, :3], engine.virials)]
    parts = engine.comm.gather(own)
    total = engine.virial_total()
    assert engine.rebuilds > 1
    if parts is None:
        return []
    tags, *values = (np.concatenate(field) for field in zip(*parts, strict=True))
    return [*(value[np.argsort(tags)] for value in values), total]


def compare_flights(comm, backend, folder):
    """`fly` on the ranks of `comm` with this backend, and alone on the CPU, with a model written to rank 0's folder."""
    path = comm.bcast(folder / "nep.txt")
    if comm.rank == 0:
        nep_reference.write_model(path)
    comm.barrier()
    gpu = fly(nep_engine(comm, backend, path))
    if comm.rank == 0:
        close(fly(nep_engine(SingleProcess(), CpuBackend("double"), path)), gpu, TOLERANCES[backend.precision])
    comm.barrier()


# ---- jobs -----------------------------------------------------------------------------------------

STACK = {"builder": "layered_stack", "spacing_A": 3.4, "vacuum_A": 20.0, "layers": [
    {"material": "h-BN", "count": 2, "repeat": [3, 2], "stacking": "AA'"},
    {"material": "graphene", "count": 2, "repeat": [3, 2], "stacking": "AB"}]}
STAGES = [
    {"ensemble": "langevin", "temperature_K": 600, "coupling_fs": 20},
    {"ensemble": "npt", "temperature_K": 600, "coupling_fs": 50, "pressure_GPa": 0.0, "pressure_coupling_fs": 200,
     "free_components": ["xx", "yy"]},
    {"ensemble": "nose_hoover", "temperature_K": 600, "coupling_fs": 50},
    {"ensemble": "velocity_rescaling", "temperature_K": 600, "coupling_fs": 50},
    {"ensemble": "nve"},
]
NEMD = {"fixed_layers": [0], "sink_layers": [1], "source_layers": [-1], "temperature_K": 300,
        "temperature_difference_K": 200, "coupling_fs": 50, "timestep_fs": 1.0, "duration_ps": 0.03,
        "initial_profile_K": [[1, 210], [3, 390]], "initial_profile_ps": 0.01, "sample_interval_fs": 1,
        "samples_per_average": 2, "heat_current": True, "bin_width_A": 3.0}
MINIMIZE = {"force_tolerance_eV_per_A": 0.05, "steps": 30}


def stages(steps, chosen=slice(None)):
    return [{**stage, "timestep_fs": 1.0, "steps": steps} for stage in STAGES[chosen]]


def job_on(device, **tables):
    return parse_job({"seed": 3, "potential": ["tersoff_bnc", "lj_gr_hbn"], "structure": STACK,
                      "execution": {"device": device, "precision": "double", "skin_A": 0.4},
                      "output": {"series_interval_steps": 4, "checkpoint_interval_steps": 10}} | tables)


def same_results(runner, comm, folder, tolerance=1e-7, **tables):
    """Run a job on the GPU and, on one rank, on the CPU, and compare all that the results files hold."""
    runner(job_on("cuda", **tables), comm, folder / "gpu", False, lambda: 0)
    if comm.rank == 0:
        runner(job_on("cpu", **tables), SingleProcess(), folder / "cpu", False, lambda: 0)
        gpu, cpu = (read_results(folder / name / RESULTS_FILE) for name in ("gpu", "cpu"))
        assert gpu.quantities.keys() == cpu.quantities.keys()
        for name, quantity in cpu.quantities.items():
            if quantity.values.dtype.kind not in "fiu":
                assert np.array_equal(gpu.quantities[name].values, quantity.values), name
                continue
            scale = max(1.0, float(np.nan_to_num(np.abs(quantity.values)).max(initial=0.0)))
            np.testing.assert_allclose(gpu.quantities[name].values, quantity.values, rtol=0, atol=tolerance * scale,
                                       err_msg=name)
    comm.barrier()
