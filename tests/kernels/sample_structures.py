"""Perturbed crystals for the empirical potentials, always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene

EMPIRICAL = Path(__file__).parents[2].parent / "shared" / "data" / "empirical"


def perturbed(atoms, amplitude, seed=0):
    """The atoms with normal displacements of the given standard deviation, A."""
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(0.0, amplitude, atoms.positions.shape)
    return atoms


def silicon(repeat=2, a=5.43, amplitude=0.1):
    return perturbed(bulk("Si", "diamond", a=a).repeat((repeat,) * 3), amplitude)


def silicon_carbide(repeat=2, a=4.8, amplitude=0.2, seed=3):
    """Si and C at random on a diamond lattice."""
    atoms = silicon(repeat, a, amplitude)
    atoms.symbols = np.random.default_rng(seed).choice(["Si", "C"], len(atoms))
    return atoms


def sheet(formula="C2", a=2.46, repeat=3, amplitude=0.08):
    atoms = graphene(formula=formula, a=a, size=(repeat, repeat, 1), vacuum=5.0)
    atoms.pbc = True
    return perturbed(atoms, amplitude)


def mixed_sheet(repeat=4, amplitude=0.1, seed=1):
    atoms = sheet(repeat=repeat, amplitude=amplitude)
    atoms.symbols = np.random.default_rng(seed).choice(list("BNC"), len(atoms))
    return atoms


def bilayer(repeat=3, height=6.9, amplitude=0.05):
    """Graphene on h-BN in a triclinic cell, with layer numbers."""
    lower, upper = graphene(a=2.5, size=(repeat, repeat, 1)), graphene(formula="BN", a=2.5, size=(repeat, repeat, 1))
    upper.positions[:, 2] += 3.4
    atoms = lower + upper
    atoms.set_cell([*lower.cell.array[:2], [0.3, 0.2, height]])
    atoms.pbc = True
    atoms.set_array("layer", np.repeat([0, 1], [len(lower), len(upper)]))
    return perturbed(atoms, amplitude)


def four_layers(repeat=3, amplitude=0.05):
    """Two graphene and two h-BN layers, periodic along z: shorter than a cutoff of 16 A."""
    one = bilayer(repeat, 6.9, 0.0)
    other = one.copy()
    other.positions += [0.7, 0.4, 6.8]
    other.arrays["layer"] += 2
    atoms = one + other
    atoms.set_cell([*one.cell.array[:2], [0.3, 0.2, 13.6]])
    return perturbed(atoms, amplitude)


def corrugated(amplitude=0.03):
    """The bilayer with waves of 0.5 A."""
    atoms = bilayer(5, 24.0, amplitude)
    phase = 2.0 * np.pi * atoms.get_scaled_positions(wrap=False)
    sign = np.where(atoms.arrays["layer"] == 0, 1.0, -1.0)
    atoms.positions[:, 2] += 0.5 * np.sin(phase[:, 0]) * np.cos(phase[:, 1]) * sign
    return atoms


def twisted_flake(amplitude=0.05):
    """A round piece of graphene, turned by 12 degrees, on h-BN: a fragment of a moire pattern with edges."""
    lower = graphene(formula="BN", a=2.5, size=(5, 5, 1))
    upper = graphene(a=2.46, size=(8, 8, 1))
    upper.rotate(12.0, "z")
    upper.positions += lower.positions.mean(axis=0) - upper.positions.mean(axis=0) + [0.0, 0.0, 3.35]
    upper = upper[np.linalg.norm((upper.positions - lower.positions.mean(axis=0))[:, :2], axis=1) < 5.2]
    atoms = lower + upper
    atoms.set_cell([*lower.cell.array[:2], [0.0, 0.0, 20.0]])
    atoms.pbc = True
    atoms.set_array("layer", np.repeat([0, 1], [len(lower), len(upper)]))
    return perturbed(atoms, amplitude)


def flakes(amplitude=0.05):
    """The bilayer cut out: edge atoms with one and two bonds."""
    atoms = bilayer(4, 20.0, amplitude)
    atoms.set_cell([30.0, 28.0, 20.0])
    return atoms


def metals(symbols=("Al",), repeat=3, a=4.05, amplitude=0.1, seed=3):
    """A face-centred cubic alloy, sites dealt out at random."""
    atoms = perturbed(bulk("Al", "fcc", a=a, cubic=True).repeat(repeat), amplitude, seed)
    atoms.symbols = np.random.default_rng(seed).permutation(np.resize(list(symbols), len(atoms)))
    return atoms


def silicon_cluster():
    """Four atoms without a cell."""
    return Atoms("Si4", positions=[[0, 0, 0], [2.4, 0, 0], [1.2, 2.0, 0], [1.2, 0.7, 1.9]])
