"""Force constants of any order between random atoms."""

import itertools

import numpy as np

from hpcthermo.phonons.interactions import Interactions


def random_interactions(n, rng, order, count=60, reach=3):
    """Terms of random atoms and lattice vectors, each with all permutations of its legs."""
    atoms = rng.integers(0, n, (count, order))
    places = np.zeros((count, order, 3), dtype=int)
    places[:, 1:] = rng.integers(-reach, reach + 1, (count, order - 1, 3))
    values = rng.normal(size=(count,) + (3,) * order)
    parts = []
    for legs in itertools.permutations(range(order)):
        shifted = places[:, list(legs)] - places[:, [legs[0]]]
        parts.append((atoms[:, list(legs)], shifted[:, 1:], values.transpose(0, *(1 + leg for leg in legs))))
    return Interactions.merged(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def bond_interactions(crystal, length, tensor_of):
    """Terms of a sum over bonds of an energy of u_j - u_i; tensor_of(e) has its derivatives for a bond along e."""
    atoms, vectors, values = [], [], []
    for i, j, *r in itertools.product(range(crystal.n_atoms), range(crystal.n_atoms), *[(-1, 0, 1)] * 3):
        bond = (np.array(r) + crystal.positions[j] - crystal.positions[i]) @ crystal.cell
        if abs(np.linalg.norm(bond) - length) > 0.01:
            continue
        tensor = tensor_of(bond / length)
        for far in itertools.product((0, 1), repeat=tensor.ndim - 1):
            atoms.append([i, *(j if leg else i for leg in far)])
            vectors.append([np.array(r) * leg for leg in far])
            values.append((-1.0) ** sum(far) * tensor)
    return Interactions.merged(np.array(atoms), np.array(vectors), np.array(values))
