"""GPU kernels, run by the warp emulator in both lane orders, against the CPU kernels: potentials, lists, engines."""

import nep_reference
import numpy as np
import pytest
from emulated_gpu import EmulatedGpuBackend
from one_rank import OneRank
from sample_structures import bilayer, mixed_sheet, silicon
from test_nep import SYNTHETIC, cluster, crystal

from hpcthermo import preparation
from hpcthermo.config import parse_job
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import CpuBackend
from hpcthermo.neighbors import NeighborListBuilder
from hpcthermo.potentials.load import load_potential
from hpcthermo.potentials.nep import read_nep
from hpcthermo.results import RESULTS_FILE, read_results
from hpcthermo.run import run_md, run_minimize
from hpcthermo.transport.nemd import run_nemd

BOTH_ORDERS = pytest.mark.parametrize("from_last", [False, True], ids=["ascending", "descending"])
PRECISIONS = pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-10), ("mixed", 1e-4)])


def compare(case, tolerance, precision="double", from_last=False, **options):
    """Energies, forces and virials of a case (potential, symbols, positions, cell) on both machines."""
    expected = OneRank(*case, precision="double", **options).run()
    found = OneRank(*case, backend=EmulatedGpuBackend(precision, from_last), **options).run()
    scale = max(1.0, np.abs(expected[1]).max())
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * scale)


@BOTH_ORDERS
@PRECISIONS
def test_nep(precision, tolerance, from_last, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", kind="nep4_zbl", zbl="zbl 0.9 1.8"))
    compare((potential, *cluster(("B", "C", "N"))), tolerance, precision, from_last)


@pytest.mark.slow
@BOTH_ORDERS
@PRECISIONS
@pytest.mark.parametrize("name", SYNTHETIC)
def test_nep_of_every_kind(name, precision, tolerance, from_last, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", **SYNTHETIC[name]))
    compare((potential, *cluster(("B", "C", "N"))), tolerance, precision, from_last)


@pytest.mark.slow
@PRECISIONS
@pytest.mark.parametrize("n_max_and_basis", [((4, 4), (8, 8)), ((8, 8), (12, 12)), ((10, 10), (10, 10)),
                                             ((12, 8), (16, 12)), ((12, 12), (16, 16))])
def test_every_nep_shape(n_max_and_basis, precision, tolerance, tmp_path):
    n_max, basis = n_max_and_basis
    flags = (8, 1, 1) if n_max == (12, 12) else (4, 1, 1)
    path = nep_reference.write_model(tmp_path / "nep.txt", n_max=n_max, basis=basis, flags=flags)
    compare((read_nep(path), *cluster(("B", "C", "N"))), tolerance, precision)


def atoms_case(name, atoms):
    return load_potential(name), atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array


EMPIRICAL = {
    "silicon": lambda: atoms_case("tersoff_si", silicon(3)),
    "B, C and N in one sheet": lambda: atoms_case("tersoff_bnc", mixed_sheet(6)),
    "Lennard-Jones between layers": lambda: atoms_case("lj_gr_hbn", bilayer(3)),
}


@BOTH_ORDERS
@PRECISIONS
@pytest.mark.parametrize("name", EMPIRICAL)
def test_empirical_potentials(name, precision, tolerance, from_last):
    options = {"layers": bilayer(3).arrays["layer"]} if "layers" in name else {}
    compare(EMPIRICAL[name](), tolerance, precision, from_last, **options)


@BOTH_ORDERS
@pytest.mark.parametrize("different_layers", [False, True])
def test_lists(different_layers, from_last):
    atoms = bilayer(4)
    cutoffs = 3.0 + 0.4 * np.add.outer(np.arange(3), np.arange(3))
    neighbors = []
    for backend in (CpuBackend("double"), EmulatedGpuBackend("double", from_last)):
        rank = OneRank(load_potential("tersoff_bnc"), atoms.get_chemical_symbols(), atoms.positions, atoms.cell.array,
                       backend=backend, layers=atoms.arrays["layer"], skin=3.0)
        found = NeighborListBuilder(backend, different_layers).build(rank.system, cutoffs, 3.5)
        rows = [backend.to_host(a) for a in (found.indices, found.segments, found.inner)]
        neighbors.append([sorted(j for j in row[s[t]:s[t + 1]] if j < rank.system.n_total)
                          for row, s in zip(*rows[:2], strict=True) for t in range(3)])
        positions = backend.to_host(rank.system.positions)
        for i, (row, s, n) in enumerate(zip(*rows, strict=True)):
            for t in range(3):
                outer = [j for j in row[s[t] + n[t]:s[t + 1]] if j < rank.system.n_total]
                assert np.all(np.linalg.norm(positions[outer] - positions[i], axis=1) > 3.5)
    assert neighbors[0] == neighbors[1]
    assert sum(map(len, neighbors[0])) > 100


STACK = {"builder": "layered_stack", "spacing_A": 3.4, "vacuum_A": 20.0, "layers": [
    {"material": "h-BN", "count": 2, "repeat": [3, 2], "stacking": "AA'"},
    {"material": "graphene", "count": 2, "repeat": [3, 2], "stacking": "AB"}]}


def job_on(device, **tables):
    return parse_job({"seed": 3, "potential": ["tersoff_bnc", "lj_gr_hbn"], "structure": STACK,
                      "execution": {"device": device, "precision": "double", "skin_A": 0.4},
                      "output": {"series_interval_steps": 4, "checkpoint_interval_steps": 10}, **tables})


@pytest.fixture
def emulated(monkeypatch):
    """Jobs that ask for a GPU get the emulated one; the backends made."""
    made = []

    def make(device, precision, device_index=0, instruction_set=None):
        made.append(EmulatedGpuBackend(precision, from_last=True) if device == "cuda" else CpuBackend(precision))
        return made[-1]

    monkeypatch.setattr(preparation, "make_backend", make)
    return made


def same_results(runner, comm, tmp_path, emulated, tolerance=1e-7, **tables):
    """Run a job on the CPU, on one rank, and on the emulated GPU, and compare all that the results file holds."""
    runner(job_on("cuda", **tables), comm, tmp_path / "gpu", False, lambda: 0)
    assert emulated[-1].instruction_set == "emulated"
    if comm.rank == 0:
        runner(job_on("cpu", **tables), SingleProcess(), tmp_path / "cpu", False, lambda: 0)
        gpu, cpu = (read_results(tmp_path / name / RESULTS_FILE) for name in ("gpu", "cpu"))
        assert gpu.quantities.keys() == cpu.quantities.keys()
        for name, quantity in cpu.quantities.items():
            if quantity.values.dtype.kind not in "fiu":
                assert np.array_equal(gpu.quantities[name].values, quantity.values), name
                continue
            scale = max(1.0, float(np.nan_to_num(np.abs(quantity.values)).max(initial=0.0)))
            np.testing.assert_allclose(gpu.quantities[name].values, quantity.values, rtol=0, atol=tolerance * scale,
                                       err_msg=name)
    comm.barrier()


STAGES = [
    {"ensemble": "langevin", "temperature_K": 600, "coupling_fs": 20},
    {"ensemble": "npt", "temperature_K": 600, "coupling_fs": 50, "pressure_GPa": 0.0, "pressure_coupling_fs": 200,
     "free_components": ["xx", "yy"]},
    {"ensemble": "nose_hoover", "temperature_K": 600, "coupling_fs": 50},
    {"ensemble": "velocity_rescaling", "temperature_K": 600, "coupling_fs": 50},
    {"ensemble": "nve"},
]


def test_every_ensemble(emulated, tmp_path):
    stages = [{**stage, "timestep_fs": 1.0, "steps": 12} for stage in STAGES]
    same_results(run_md, SingleProcess(), tmp_path, emulated, kind="md", stage=stages)


NEMD = {"fixed_layers": [0], "sink_layers": [1], "source_layers": [-1], "temperature_K": 300,
        "temperature_difference_K": 200, "coupling_fs": 50, "timestep_fs": 1.0, "duration_ps": 0.03,
        "initial_profile_K": [[1, 210], [3, 390]], "initial_profile_ps": 0.01, "sample_interval_fs": 1,
        "samples_per_average": 2, "heat_current": True, "bin_width_A": 3.0}


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.parallel(2))])
def test_heat_transport(ranks, emulated, tmp_path):
    comm = world_communicator()
    same_results(run_nemd, comm, comm.bcast(tmp_path), emulated, tolerance=1e-5, kind="nemd", nemd=NEMD)


@pytest.mark.slow
@pytest.mark.parallel(2)
def test_two_ranks(emulated, tmp_path):
    comm = world_communicator()
    stages = [{**stage, "timestep_fs": 1.0, "steps": 8} for stage in STAGES[:2]]
    same_results(run_md, comm, comm.bcast(tmp_path), emulated, kind="md", stage=stages)


def test_relaxation(emulated, tmp_path):
    same_results(run_minimize, SingleProcess(), tmp_path, emulated, tolerance=1e-5, kind="minimize",
                 minimize={"force_tolerance_eV_per_A": 0.05, "steps": 30})


def nep_engine(comm, backend, path):
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


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.parallel(2))])
@PRECISIONS
def test_nep_engine(ranks, precision, tolerance, tmp_path):
    comm = world_communicator()
    path = comm.bcast(tmp_path / "nep.txt")
    if comm.rank == 0:
        nep_reference.write_model(path)
    comm.barrier()
    gpu = fly(nep_engine(comm, EmulatedGpuBackend(precision, from_last=True), path))
    if comm.rank == 0:
        cpu = fly(nep_engine(SingleProcess(), CpuBackend("double"), path))
        for a, b in zip(cpu, gpu, strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * max(1.0, np.abs(a).max()))
    comm.barrier()


def test_restored_state_gives_the_same_bits(tmp_path):
    path = nep_reference.write_model(tmp_path / "nep.txt")
    engine = nep_engine(SingleProcess(), EmulatedGpuBackend("mixed"), path)
    fly(engine)
    state, energy = engine.state(), engine.potential_energy()
    other = nep_engine(SingleProcess(), EmulatedGpuBackend("mixed"), path)
    other.compute()
    other.restore(state)
    other.compute()
    assert other.potential_energy() == energy
