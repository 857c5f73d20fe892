"""Linewidths on the emulated GPU against the CPU."""

import numpy as np
import pytest
from emulated_gpu import EmulatedGpuBackend
from fake_cupy import installed_cupy
from phonon_cases import compare_problems, compare_rates

from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte.four_phonon import FourPhononRates
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import PhaseSpace, ThreePhononRates, sum_in_order
from hpcthermo.transport.bte.smearing import fixed_gaussian


class OnDevice:
    """A strength of the host whose values are brought to the device."""

    def __init__(self, strength, backend):
        self.strength, self.backend = strength, backend

    def prepare(self, points):
        self.strength.prepare(points)

    def of(self, point0, point1, point2, out=None):
        return self.backend.from_host(self.strength.of(point0, point1, point2))


@pytest.mark.parametrize(("delta", "from_last"), [("tetrahedra", False), ("tetrahedra", True), ("gaussian", False)])
def test_deposits_and_processes_are_those_of_the_cpu(delta, from_last):
    crystal = Crystal(np.diag([3.0, 4.0, 5.0]), np.array([[0.0, 0, 0]]), ("Ar",), np.array([40.0]))
    mesh = Mesh.create(crystal, (3, 2, 2))
    random = np.random.default_rng(2).uniform(1.0, 9.0, (mesh.n_points, 3))
    phonons = Phonons(mesh.q, np.sort(random[mesh.permutations].mean(axis=0) * 3 - 8, axis=1), np.zeros((12, 3, 3)))
    gaussian = fixed_gaussian(phonons.frequencies.shape, 0.7, 3.0) if delta == "gaussian" else None
    totals, amounts = [], []
    for backend in (make_backend("cpu", "double"), EmulatedGpuBackend("double", from_last)):
        listed = []
        strength = OnDevice(PhaseSpace(phonons), backend)
        rates = ThreePhononRates(mesh, phonons, strength, [100.0, 200.0, 300.0, 400.0, 500.0], gaussian=gaussian,
                                 backend=backend)
        totals.append(sum_in_order(rates))
        for task in range(rates.n_tasks):
            rates.task(task, listed.append)
        amounts.append([dict(zip(zip(p.legs.tolist(), p.modes.tolist(), strict=True), p.amounts, strict=True))
                        for p in listed])
    assert totals[0].max() > 0
    assert totals[1] == pytest.approx(totals[0], rel=1e-11)
    for here, there in zip(*amounts, strict=True):
        assert here.keys() == there.keys()
        assert list(there.values()) == pytest.approx([here[k] for k in there], rel=1e-11)


def test_processes_of_four_phonons_are_those_of_the_cpu():
    rng = np.random.default_rng(6)
    crystal = Crystal(np.diag([3.0, 4.0, 5.0]), np.array([[0.0, 0, 0]]), ("Ar",), np.array([40.0]))
    mesh = Mesh.create(crystal, (3, 2, 1), symmetric=False)
    vectors = np.linalg.qr(rng.normal(size=(mesh.n_points, 3, 3)))[0].astype(complex)
    phonons = Phonons(mesh.q, np.sort(rng.uniform(1.0, 9.0, (mesh.n_points, 3)), axis=1), vectors)
    fourth = Interactions(np.zeros((1, 4), dtype=int), np.zeros((1, 3, 3), dtype=int), rng.normal(size=(1, 3, 3, 3, 3)))
    gaussian = fixed_gaussian(phonons.frequencies.shape, 0.5, 3.0, modes=4)
    rates = [FourPhononRates(mesh, phonons, fourth, [100.0, 300.0], gaussian, backend=backend)
             for backend in (make_backend("cpu", "double"), EmulatedGpuBackend("double", True))]
    here, there = (np.array([of.exact(index) for index in range(3)]) for of in rates)
    assert (here > 0.0).any(axis=(0, 2, 3)).all()
    assert there == pytest.approx(here, rel=1e-11)


@pytest.mark.parametrize(("name", "precision", "from_last"), [
    ("1 atom", "double", False), ("2 atoms", "double", True), ("2 atoms", "mixed", False), ("8 atoms", "double", True)])
def test_strengths_and_linewidths_together(name, precision, from_last):
    compare_rates(name, EmulatedGpuBackend(precision, from_last), {"double": 1e-10, "mixed": 2e-4}[precision])


def test_the_backend_of_a_gpu_takes_all_steps():
    """CudaBackend itself, with its argument types, streams and launches, over the emulator."""
    with installed_cupy() as cupy:
        compare_rates("2 atoms", make_backend("cuda", "double"), 1e-10)
        compare_problems("2 atoms", 2e-4)
        kernels = {name for name, *_ in cupy.launched}
    assert {"contract_first_leg", "transform_lines", "contract_legs", "deposit"} <= kernels
