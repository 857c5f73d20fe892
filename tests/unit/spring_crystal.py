"""Crystals of central springs, for which every invariant of force constants holds exactly."""

import itertools

import numpy as np

from hpcthermo.phonons.crystal import Crystal, Supercell


def rocksalt(a=5.6, symbols=("Na", "Cl"), masses=(23.0, 35.5)):
    cell = (np.ones((3, 3)) - np.eye(3)) * a / 2
    return Crystal(cell, np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), symbols, np.array(masses))


def diamond(a=5.43, symbols=("Si", "Si"), masses=(28.0855, 28.0855)):
    cell = (np.ones((3, 3)) - np.eye(3)) * a / 2
    return Crystal(cell, np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]), symbols, np.array(masses))


def supercell_of(crystal, counts):
    """Diagonal supercell, images of an atom after one another, the first vector fastest (phonopy's order)."""
    counts = np.array(counts)
    shifts = np.array([(i, j, k) for k, j, i in itertools.product(*(range(n) for n in counts[::-1]))])
    positions = (crystal.positions[:, None, :] + shifts[None]).reshape(-1, 3) / counts
    symbols = [symbol for symbol in crystal.symbols for _ in shifts]
    return Supercell.match(crystal, crystal.cell * counts[:, None], positions, symbols)


def springs(supercell, order):
    """Compact force constants of sum over pairs of V(r) = exp(-r), shared by equally near images."""
    crystal, n_super = supercell.crystal, supercell.n_atoms
    counts, images = supercell.images
    values = np.zeros((crystal.n_atoms,) + (n_super,) * (order - 1) + (3,) * order)
    for i in range(crystal.n_atoms):
        home = supercell.origin_of[i]
        for j in range(n_super):
            for image in range(counts[i, j]):
                fractional = images[i, j, image] + crystal.positions[supercell.atom_of[j]] - crystal.positions[i]
                vector = fractional @ crystal.cell
                if j == home:
                    continue
                derivative = _derivative(vector, order) / counts[i, j]
                # V(|x_j - x_i|): a sign for every derivative by x_i; (home, ...) with all other legs at home or at j
                for others in itertools.product((home, j), repeat=order - 1):
                    sign = (-1.0) ** (1 + sum(other == home for other in others))
                    values[(i, *others)] += sign * derivative
    return values


def _derivative(vector, order):
    """Derivatives of exp(-r) by the vector."""
    r = np.linalg.norm(vector)
    e, eye = vector / r, np.eye(3)
    first, second, third = -np.exp(-r), np.exp(-r), -np.exp(-r)
    ee = np.multiply.outer(e, e)
    if order == 2:
        return second * ee + first / r * (eye - ee)
    eee = np.multiply.outer(ee, e)
    mixed = sum(np.transpose(np.multiply.outer(eye, e), axes) for axes in ((0, 1, 2), (0, 2, 1), (2, 0, 1)))
    return third * eee + (second / r - first / r**2) * (mixed - 3.0 * eee)
