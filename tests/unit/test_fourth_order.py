"""Fourth-order force constants: springs of known derivatives, and brute-force differences of an 8-atom silicon cell."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from spring_crystal import diamond

from hpcthermo.calculator import Calculator
from hpcthermo.errors import InputError
from hpcthermo.phonons.fourth_order import FourthOrder
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.sum_rules import with_sum_rules
from hpcthermo.phonons.supercells import SpaceGroup, build_supercell

CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])


def bonds(supercell, length):
    """Pairs of bonded atoms and unit vectors from one to the other."""
    found = []
    for i, j in itertools.permutations(range(supercell.n_atoms), 2):
        apart = supercell.positions[j] - supercell.positions[i]
        vector = (apart - np.rint(apart)) @ supercell.cell
        if abs(np.linalg.norm(vector) - length) < 0.01:
            found.append((i, j, vector / np.linalg.norm(vector)))
    return found


def test_polynomial_springs_come_out_exactly():
    """E = sum over bonds of s^2 + 0.7 s^3 + 0.4 s^4 with s = (u_j - u_i) . e: differences have no error."""
    crystal = diamond()
    supercell = build_supercell(crystal, CUBIC)
    plan = FourthOrder.plan(supercell, SpaceGroup.of(supercell), cutoff=2.5)
    pairs = [(i, j, e) for i, j, e in bonds(supercell, 5.43 * np.sqrt(3) / 4) if supercell.atom_of[i] == 0]
    assert len(pairs) == 16
    displacements = plan.dataset.dense(8)
    forces = np.zeros_like(displacements)
    for i, j, e in pairs:
        s = (displacements[:, j] - displacements[:, i]) @ e
        slope = (2 * s + 2.1 * s**2 + 1.6 * s**3)[:, None] * e
        forces[:, i] += slope
        forces[:, j] -= slope
    found = plan.interactions(plan.dataset.with_forces(forces))
    known: dict[tuple, np.ndarray] = {}
    for i, j, e in pairs:
        for legs in itertools.product((i, j), repeat=4):
            if legs[0] in supercell.origin_of:
                sign = (-1.0) ** sum(leg == i for leg in legs)
                tensor = sign * 0.4 * 24 * np.einsum("a,b,c,d->abcd", e, e, e, e)
                known[legs] = known.get(legs, 0.0) + tensor
    expected = Interactions.of_supercell(supercell, np.array(list(known)), np.array(list(known.values())))
    assert differences(found, expected) < 1e-7
    made = with_sum_rules(crystal, found)
    assert made.largest_change < 1e-7
    assert made.after < 1e-10


def differences(one, other):
    """Largest difference of two lists of different extent."""
    minus = Interactions(other.atoms, other.vectors, -other.values)
    both = Interactions.merged(*(np.concatenate([getattr(a, name) for a in (one, minus)])
                                 for name in ("atoms", "vectors", "values")))
    return np.abs(both.values).max(initial=0.0)


def test_silicon_cell_of_eight_atoms_against_brute_force():
    crystal = diamond()
    supercell = build_supercell(crystal, CUBIC)
    group = SpaceGroup.of(supercell)
    plan = FourthOrder.plan(supercell, group, cutoff=None)
    assert plan.dataset.n_cells < 0.05 * 8 * 27 * len(list(itertools.combinations_with_replacement(range(8), 3)))
    places = supercell.positions @ supercell.cell
    atoms = Atoms("Si8", places, cell=supercell.cell, pbc=True, calculator=Calculator("tersoff_si"))
    residual = atoms.get_forces()

    def forces(displacement):
        atoms.positions = places + displacement
        return atoms.get_forces() - residual

    dataset = plan.dataset.with_forces(np.array([forces(d) for d in plan.dataset.dense(8)]))
    found = plan.interactions(dataset)
    # terms of the supercell: sums over images
    vectors = (found.vectors + crystal.positions[found.atoms[:, 1:]] - crystal.positions[found.atoms[:, :1]])
    vectors = vectors @ crystal.cell
    scale = np.abs(found.values).max()
    rng = np.random.default_rng(5)
    checked = 0
    for _ in range(4):
        i, (j, k) = supercell.origin_of[rng.integers(2)], rng.integers(8, size=2)
        axes = rng.integers(3, size=3)
        brute = _differences(forces, (i, j, k), axes)
        relative = (supercell.positions - supercell.positions[i]) @ supercell.cell
        folded = np.zeros((8, 3))
        first = found.atoms[:, 0] == supercell.atom_of[i]
        legs = np.stack([_atom_at(vectors[first, leg], relative, supercell.cell) for leg in range(3)], axis=1)
        chosen = (legs[:, 0] == j) & (legs[:, 1] == k)
        np.add.at(folded, legs[chosen, 2], found.values[first][chosen][:, axes[0], axes[1], axes[2]])
        assert np.abs(folded - brute).max() < 2e-3 * scale
        checked += np.abs(brute).max() > 0.01 * scale
    assert checked >= 2


def _differences(forces, triple, axes):
    """Phi(i al; j be; k ga; l de) at all l, de by central differences, extrapolated from two steps."""
    results = []
    for h in (0.02, 0.04):
        total = 0.0
        for signs in itertools.product((1, -1), repeat=3):
            displacement = np.zeros((8, 3))
            for atom, axis, sign in zip(triple, axes, signs, strict=True):
                displacement[atom, axis] += sign * h
            total = total - np.prod(signs) * forces(displacement) / (8 * h**3)
        results.append(total)
    return (4 * results[0] - results[1]) / 3


def _atom_at(vectors, relative, cell):
    apart = (vectors[:, None, :] - relative[None]) @ np.linalg.inv(cell)
    return np.linalg.norm(apart - np.rint(apart), axis=2).argmin(axis=1)


def test_missing_forces_are_refused():
    supercell = build_supercell(diamond(), CUBIC)
    plan = FourthOrder.plan(supercell, SpaceGroup.of(supercell), cutoff=2.5)
    with pytest.raises(InputError, match="got 0"):
        plan.interactions(plan.dataset)
