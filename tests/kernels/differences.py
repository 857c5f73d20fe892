"""Forces and virials against central differences of the energy, and exact invariances, for any calculator."""

from __future__ import annotations

import numpy as np

FORCE_STEP_A = 1e-3
STRAIN_STEP = 1e-4


def derivative(energy, step):
    """Fourth-order central difference of energy(x) at 0."""
    return (8.0 * (energy(step) - energy(-step)) - (energy(2 * step) - energy(-2 * step))) / (12.0 * step)


def largest_force_error(atoms, chosen, step=FORCE_STEP_A):
    """Largest |F + dE/dr| of the chosen atoms, eV/A."""
    forces = atoms.get_forces()

    def energy(i, axis, shift):
        moved = atoms.copy()
        moved.calc = atoms.calc
        moved.positions[i, axis] += shift
        return moved.get_potential_energy()

    return max(abs(forces[i, a] + derivative(lambda x, i=i, a=a: energy(i, a, x), step))
               for i in chosen for a in range(3))


def largest_virial_error(atoms, step=STRAIN_STEP):
    """Largest |W_ab + dE/dstrain_ab|, eV; strain maps r to r (1 + strain)."""
    atoms.get_forces()
    total = atoms.calc.results["virials"].sum(axis=0)

    def energy(a, b, strain):
        matrix = np.eye(3)
        matrix[a, b] += strain
        deformed = atoms.copy()
        deformed.calc = atoms.calc
        deformed.set_cell(atoms.cell.array @ matrix)
        deformed.positions = atoms.positions @ matrix
        return deformed.get_potential_energy()

    return max(abs(total[a, b] + derivative(lambda x, a=a, b=b: energy(a, b, x), step))
               for a in range(3) for b in range(3))


def rotation(seed=0):
    """A random proper rotation."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))
