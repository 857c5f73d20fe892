"""Crystals with made-up phonons and force constants, whose linewidths a device has to find as a CPU does."""

from __future__ import annotations

import numpy as np
import pytest

from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import PhaseSpace, ThreePhononRates
from hpcthermo.transport.bte.strength import CubicStrength
from hpcthermo.transport.bte.tasks import ThreePhononProblem, linewidths_of

#: atoms, mesh; 24 bands and more are contracted by products of matrices
SIZES = {"1 atom": (1, (3, 2, 2)), "2 atoms": (2, (2, 2, 1)), "8 atoms": (8, (2, 1, 1))}


def made_up(n_atoms, divisions, seed=5):
    """Mesh, phonons (a few below the cutoff, some degenerate) and third order of a crystal without symmetry."""
    random = np.random.default_rng(seed)
    crystal = Crystal(np.diag([3.0, 4.0, 5.0]), random.uniform(0.0, 1.0, (n_atoms, 3)), ("Ar",) * n_atoms,
                      random.uniform(20.0, 60.0, n_atoms))
    mesh = Mesh.create(crystal, divisions, False)
    n_bands = 3 * n_atoms
    spread = random.uniform(0.5, 9.0, (mesh.n_points, n_bands))
    frequencies = np.sort(spread[mesh.permutations].mean(axis=0), axis=1)
    frequencies[0, :3] = 0.0
    frequencies[-1, 1] = frequencies[-1, 0]
    matrices = random.normal(size=(2, mesh.n_points, n_bands, n_bands))
    eigenvectors = np.linalg.qr(matrices[0] + 1j * matrices[1])[0]
    count = 60
    third = Interactions.merged(random.integers(0, n_atoms, (count, 3)), random.integers(-1, 2, (count, 2, 3)),
                                random.normal(size=(count, 3, 3, 3)))
    return mesh, Phonons(mesh.q, frequencies, eigenvectors), third


def compare_rates(name, backend, tolerance):
    """Strengths, linewidths, lists of processes and phase space on a device against those of a CPU."""
    mesh, phonons, third = made_up(*SIZES[name])
    strengths, linewidths, lists, spaces = [], [], [], []
    for machine in (make_backend("cpu", "double"), backend):
        strength = CubicStrength(mesh, phonons, third, machine)
        all_points = np.arange(mesh.n_points)
        closing = mesh.index(-mesh.addresses[1] - mesh.addresses)
        strengths.append(machine.to_host(strength.of(1, all_points, closing)).copy())
        rates = ThreePhononRates(mesh, phonons, strength, [100.0, 300.0], backend=machine)
        listed = []
        deposits = [rates.task(task, listed.append) for task in range(rates.n_tasks)]
        linewidths.append(rates.linewidths(sum(deposits)))
        lists.append([set(zip(p.legs.tolist(), p.modes.tolist(), strict=True)) for p in listed])
        phase = ThreePhononRates(mesh, phonons, PhaseSpace(phonons), [300.0], backend=machine)
        spaces.append(phase.linewidths(sum(phase.task(task) for task in range(phase.n_tasks))))
    for here, there in (strengths, linewidths, spaces):
        assert here.max() > 0.0
        assert there == pytest.approx(here, rel=tolerance, abs=tolerance * float(here.max()))
    if backend.precision == "double":
        assert lists[0] == lists[1]
        assert any(lists[0])


def compare_problems(name, tolerance):
    """Linewidths and phase space of a whole problem on the GPU of this process, which takes one thread at a time."""
    mesh, phonons, third = made_up(*SIZES[name])
    for forces in (third, None):
        here, there = (linewidths_of(ThreePhononProblem(mesh, phonons, forces, np.array([100.0, 300.0]), device=device),
                                     threads=4) for device in ("cpu", "cuda"))
        assert here.max() > 0.0
        assert there == pytest.approx(here, rel=tolerance, abs=tolerance * float(here.max()))
