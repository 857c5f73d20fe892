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


def silicon_cluster():
    """Four atoms without a cell."""
    return Atoms("Si4", positions=[[0, 0, 0], [2.4, 0, 0], [1.2, 2.0, 0], [1.2, 0.7, 1.9]])
