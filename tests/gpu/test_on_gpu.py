"""Everything that a GPU has to show: the CPU's results, drift, repeatability, recorded work, resumption, two ranks.

    pytest tests/gpu -m gpu           (with -m "gpu and not slow" in about a minute)
"""

import nep_reference
import numpy as np
import pytest
from device_cases import (
    EMPIRICAL,
    MINIMIZE,
    NEMD,
    close,
    compare,
    compare_empirical,
    compare_flights,
    fly,
    job_on,
    listed,
    nep_engine,
    same_results,
    stages,
)
from phonon_cases import SIZES, compare_problems, compare_rates
from test_nep import SHARED, SHARED_MODELS, SYNTHETIC, cluster, crystal

from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.stop import Requeue
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.gpu import cuda
from hpcthermo.gpu.backend import CpuBackend, make_backend
from hpcthermo.potentials.nep import read_nep
from hpcthermo.results import RESULTS_FILE, read_results
from hpcthermo.run import run_md, run_minimize
from hpcthermo.transport.nemd import run_nemd


def no_gpu():
    """Why these tests cannot run here, if they cannot."""
    try:
        import cupy  # noqa: F401
    except ImportError:
        return "CuPy is not installed"
    return "" if cuda.device_count() else "CuPy sees no GPU"


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(no_gpu()), reason=no_gpu() or "-")]
PRECISIONS = pytest.mark.parametrize("precision", ["double", "mixed"])
RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.parallel(2))])


def gpu(precision):
    return make_backend("cuda", precision)


# ---- the CPU's results ----------------------------------------------------------------------------


@PRECISIONS
@pytest.mark.parametrize("name", SYNTHETIC)
def test_nep(name, precision, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", **SYNTHETIC[name]))
    compare((potential, *cluster(("B", "C", "N"))), gpu(precision))


@PRECISIONS
@pytest.mark.parametrize("name", SHARED_MODELS)
def test_published_nep(name, precision):
    file, elements = SHARED_MODELS[name]
    if not (SHARED / "nep" / file).exists():
        pytest.skip(f"{file} is absent")
    compare((read_nep(SHARED / "nep" / file), *crystal(elements)), gpu(precision))


@PRECISIONS
@pytest.mark.parametrize("name", EMPIRICAL)
def test_empirical_potentials(name, precision):
    compare_empirical(name, gpu(precision))


@PRECISIONS
@pytest.mark.parametrize("name", SIZES)
def test_three_phonon_linewidths(name, precision):
    compare_rates(name, gpu(precision), {"double": 1e-10, "mixed": 2e-4}[precision])


@pytest.mark.parametrize("name", SIZES)
def test_problems_of_wave_vectors(name):
    compare_problems(name, 2e-4)


@pytest.mark.parametrize("different_layers", [False, True])
def test_lists(different_layers):
    assert listed(CpuBackend("double"), different_layers) == listed(gpu("double"), different_layers)


def test_noise():
    tags, deviates = np.arange(1000, dtype=np.int64) + 2**33, []
    for backend in (CpuBackend("double"), gpu("double")):
        normals = backend.xp.empty((4, len(tags)))
        backend.launch("langevin", "draw_normals", 0, len(tags), None, backend.from_host(tags), 12, 1, 5, 1, 3,
                       len(tags), normals, per="thread")
        deviates.append(backend.to_host(normals))
    np.testing.assert_allclose(deviates[1], deviates[0], rtol=0, atol=1e-14)
    assert 0.9 < deviates[0].std() < 1.1


@RANKS
@PRECISIONS
def test_nep_engine(ranks, precision, tmp_path):
    comm = world_communicator()
    compare_flights(comm, gpu(precision), tmp_path)


@RANKS
def test_every_ensemble(ranks, tmp_path):
    comm = world_communicator()
    same_results(run_md, comm, comm.bcast(tmp_path), kind="md", stage=stages(12))


@RANKS
def test_heat_transport(ranks, tmp_path):
    comm = world_communicator()
    same_results(run_nemd, comm, comm.bcast(tmp_path), tolerance=1e-5, kind="nemd", nemd=NEMD)


def test_relaxation(tmp_path):
    same_results(run_minimize, SingleProcess(), tmp_path, tolerance=1e-5, kind="minimize", minimize=MINIMIZE)


# ---- long and repeated runs -----------------------------------------------------------------------


def drift(backend, path, steps):
    """Slope of the conserved quantity in eV per atom and step, over an NVE run at 300 K."""
    engine = nep_engine(SingleProcess(), backend, path)
    engine.compute()
    draw_velocities(engine, 300.0, 1)
    mover = Integrator(engine, 0.5)
    energies = []
    for step in range(steps):
        mover.step(engine, step)
        if step % 10 == 9:
            energies.append(mover.conserved(engine) / engine.n_atoms)
    assert np.all(np.isfinite(energies))
    return np.polyfit(np.arange(len(energies)) * 10.0, energies, 1)[0], float(np.ptp(energies))


@pytest.mark.slow
@PRECISIONS
def test_energy_drift_is_that_of_the_cpu(precision):
    path = SHARED / "nep" / SHARED_MODELS["Gr/h-BN"][0]
    if not path.exists():
        pytest.skip(f"{path.name} is absent")
    (slope, spread), (expected, width) = (drift(b, path, 4000) for b in (gpu(precision), CpuBackend(precision)))
    assert abs(slope) < 2.0 * abs(expected) + 1e-9
    assert spread < 2.0 * width


def test_nep_repeats_to_the_bit(tmp_path):
    path = nep_reference.write_model(tmp_path / "nep.txt")
    first, second = (fly(nep_engine(SingleProcess(), gpu("mixed"), path)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


def moved(path, recorded, steps=60):
    """Positions, velocities and forces after an NVE run with rebuilds, with or without recorded launches."""
    backend = gpu("mixed")
    if not recorded:
        backend.repeat = lambda key, work: work()
    engine = nep_engine(SingleProcess(), backend, path)
    mover = Integrator(engine, 0.5)
    engine.compute()
    for step in range(steps):
        mover.step(engine, step)
    assert engine.rebuilds > 1
    last = engine.domain.gather(engine.system)
    return last.positions, last.velocities, last.forces


def test_recorded_launches_give_the_same_bits(tmp_path):
    path = nep_reference.write_model(tmp_path / "nep.txt")
    for a, b in zip(moved(path, True), moved(path, False), strict=True):
        assert np.array_equal(a, b)


def test_work_is_recorded_and_played_back():
    backend = gpu("double")
    velocities, positions = backend.xp.ones((1000, 3)), backend.xp.zeros((1000, 3))

    def work():
        backend.launch("integrate", "drift", 0, 1000, 1.0, velocities, positions, per="thread")
        velocities.fill(2.0)

    for _ in range(5):
        backend.repeat("drift", work)
    assert np.all(backend.to_host(positions) == 9.0)
    backend.repeat("refused", lambda: backend.xp.zeros(10))
    with pytest.raises(RuntimeError, match="bytes of device memory"):
        backend.repeat("refused", lambda: backend.xp.zeros(10))
    backend.repeat("drift", work)
    assert np.all(backend.to_host(positions) == 11.0)


def test_copies_and_readings():
    backend = gpu("double")
    device, host = backend.xp.arange(100000.0), backend.host_buffer(100000)
    backend.begin_copies()
    backend.copy_to_host(device, host)
    backend.finish_copies()
    assert np.array_equal(host, np.arange(100000.0))
    reading = backend.begin_read(device[5:7])
    host[:] = 7.0
    backend.copy_to_device(host, device)
    backend.join_copies()
    assert np.all(backend.to_host(device) == 7.0)
    assert np.array_equal(reading.value(), [5.0, 6.0])


def test_state_is_restored(tmp_path):
    path = nep_reference.write_model(tmp_path / "nep.txt")
    engine = nep_engine(SingleProcess(), gpu("mixed"), path)
    fly(engine)
    state, energy = engine.state(), engine.potential_energy()
    other = nep_engine(SingleProcess(), gpu("mixed"), path)
    other.compute()
    other.restore(state)
    assert all(value.tobytes() == other.state()[name].tobytes() for name, value in state.items())
    other.compute()
    assert other.potential_energy() == pytest.approx(energy, abs=1e-6)


def test_a_stopped_job_goes_on(tmp_path):
    job = job_on("cuda", kind="md", stage=stages(24, slice(1)))
    run_md(job, SingleProcess(), tmp_path / "whole", False, lambda: 0)
    calls = iter(range(10**6))
    with pytest.raises(Requeue):
        run_md(job, SingleProcess(), tmp_path / "parts", False, lambda: 15 if next(calls) > 13 else 0)
    run_md(job, SingleProcess(), tmp_path / "parts", True, lambda: 0)
    whole, parts = (read_results(tmp_path / name / RESULTS_FILE).quantities for name in ("whole", "parts"))
    # Tersoff and Lennard-Jones add forces in any order: equal to rounding only
    close([q.values for q in whole.values() if q.values.dtype.kind == "f"],
          [q.values for q in parts.values() if q.values.dtype.kind == "f"], 1e-8)


@PRECISIONS
def test_kernels_fit_the_device(precision):
    for module, kernel in (("neighbors", "build_neighbors"), ("tersoff", "tersoff"), ("tersoff", "tersoff_mod"),
                           ("stillinger_weber", "stillinger_weber"), ("lennard_jones", "lennard_jones")):
        facts = cuda.kernel_facts(module, kernel, precision, 4, 128)
        assert 16 <= facts.registers <= 255
        assert facts.blocks_per_multiprocessor >= 1
