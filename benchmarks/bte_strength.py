"""Speed of the interaction strengths of three phonons, step by step, against the measured peak of the core.

    python benchmarks/bte_strength.py [--precision double] [--repeats 20]

Two synthetic crystals with random force constants of the shape that real ones have: two atoms (B = 6, 19^3 points,
lattice differences of a 64-atom supercell of silicon with images and origins averaged) and 28 atoms (B = 84, 24 x 24
points, a sheet with atom triples within a cutoff). For each step: seconds of processor time (least of some repetitions,
as other programs disturb), GFLOP/s by the formulas of transport/bte/strength.py, and the share of the peak.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import defaultdict
from typing import Any

import numpy as np

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.roofline import measure_peak
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.strength import CubicStrength


def random_phonons(mesh: Mesh, rng: np.random.Generator) -> Phonons:
    """Unitary eigenvectors and frequencies without degeneracy."""
    n_bands = mesh.crystal.n_bands
    block = rng.normal(size=(n_bands, n_bands)) + 1j * rng.normal(size=(n_bands, n_bands))
    unitary = np.linalg.qr(block)[0]
    turns = np.exp(2j * np.pi * rng.random((mesh.n_points, 1, n_bands)))
    frequencies = np.sort(rng.uniform(1.0, 15.0, (mesh.n_points, n_bands)), axis=1)
    return Phonons(mesh.q, frequencies, unitary[None] * turns)


def small_case(rng: np.random.Generator) -> tuple[Mesh, Interactions]:
    """39,000 triples of two atoms on an fcc lattice, both ends within six lattice vectors of each other."""
    crystal = Crystal((np.ones((3, 3)) - np.eye(3)) * 2.7, np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]), ("Si", "Si"),
                      np.array([28.0, 28.0]))
    box = np.array(list(np.ndindex(7, 7, 7))) - 3
    near = box[np.linalg.norm(box @ crystal.cell, axis=1) < 8.5]
    chosen = rng.integers(0, len(near), (39000, 2))
    return Mesh.create(crystal, (19, 19, 19), symmetric=False), terms(crystal, near[chosen], rng)


def large_case(rng: np.random.Generator) -> tuple[Mesh, Interactions]:
    """28 atoms in a sheet: triples with both ends within 5 A of the first atom."""
    side, n = 6.6, 28
    cell = np.array([[side, 0, 0], [-side / 2, side * 0.75**0.5, 0], [0, 0, 20.0]])
    positions = np.c_[rng.random((n, 2)), np.where(np.arange(n) < n // 2, 0.4, 0.57)]
    crystal = Crystal(cell, positions, ("C",) * n, np.full(n, 12.0))
    atoms, vectors = [], []
    shifts = np.array([(a, b, 0) for a in (-1, 0, 1) for b in (-1, 0, 1)])
    for i in range(n):
        apart = crystal.positions[None] + shifts[:, None] - crystal.positions[i]
        shift, other = np.nonzero(np.linalg.norm(apart @ crystal.cell, axis=2) < 5.0)
        j, k = (x.ravel() for x in np.meshgrid(np.arange(len(other)), np.arange(len(other))))
        atoms.append(np.stack([np.full(len(j), i), other[j], other[k]], axis=1))
        vectors.append(np.stack([shifts[shift[j]], shifts[shift[k]]], axis=1))
    all_atoms, all_vectors = np.concatenate(atoms), np.concatenate(vectors)
    third = Interactions(all_atoms, all_vectors, rng.normal(size=(len(all_atoms), 3, 3, 3)))
    return Mesh.create(crystal, (24, 24, 1), symmetric=False), third


def terms(crystal: Crystal, vectors: np.ndarray, rng: np.random.Generator) -> Interactions:
    """Random atoms and values for given lattice vectors."""
    atoms = rng.integers(0, crystal.n_atoms, (len(vectors), 3))
    return Interactions.merged(atoms, vectors, rng.normal(size=(len(vectors), 3, 3, 3)))


def measure(name: str, mesh: Mesh, third: Interactions, precision: str, n_triplets: int, repeats: int) -> None:
    """Time the steps for one wave vector and print them."""
    backend = make_backend("cpu", precision)
    rng = np.random.default_rng(2)
    peak = measure_peak(backend, SingleProcess()).flops
    start = time.process_time()
    cubic = CubicStrength(mesh, random_phonons(mesh, rng), third, backend)
    print(f"{name}: B = {cubic.n_bands}, {mesh.n_points} points, {cubic.n_terms} terms, {cubic.n_pairs} pairs "
          f"(j, k, dR), set-up {time.process_time() - start:.2f} s, peak {peak * 1e-9:.1f} GFLOP/s ({precision})")
    point0 = mesh.n_points // 3
    point1 = rng.choice(mesh.n_points, n_triplets, replace=False)
    point2 = mesh.index(-mesh.addresses[point0] - mesh.addresses[point1])
    out = backend.xp.empty((n_triplets, *3 * (cubic.n_bands,)))
    seconds: dict[str, float] = defaultdict(lambda: np.inf)
    for repeat in range(repeats):
        start = time.process_time()
        cubic.prepare((point0, 1 + repeat % 2))
        middle = time.process_time()
        cubic.of(point0, point1, point2, out)
        seconds["leg 0"] = min(seconds["leg 0"], middle - start)
        seconds["triplets"] = min(seconds["triplets"], time.process_time() - middle)
    for step, flops in cubic.operations(point1).items():
        took = seconds[step] / (2 if step == "leg 0" else 1)
        print(f"  {step:10s} {took * 1e3:10.3f} ms  {flops * 1e-6:10.1f} Mflop  {flops / took * 1e-9:6.1f} GFLOP/s  "
              f"{flops / took / peak:5.0%} of peak"
              + (f"  {took / n_triplets * 1e6:.2f} us a triplet" if step != "leg 0" else ""))
    print(f"  largest memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("double", "mixed"), default="double")
    parser.add_argument("--repeats", type=int, default=20)
    chosen = parser.parse_args(arguments)
    rng = np.random.default_rng(1)
    measure("two atoms", *small_case(rng), chosen.precision, 768, chosen.repeats)
    measure("28 atoms", *large_case(rng), chosen.precision, 24, max(2, chosen.repeats // 8))


if __name__ == "__main__":
    main()
