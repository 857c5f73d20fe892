"""Sum rules on lists of force constants, on a sheet of graphene by Tersoff and on random numbers."""

from functools import cache

import numpy as np
import pytest
from ase import Atoms

from hpcthermo.calculator import Calculator
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.crystal_symmetry import CrystalSymmetry
from hpcthermo.phonons.displacements import third_order_displacements
from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_symmetry import Orbits
from hpcthermo.phonons.projection import projected
from hpcthermo.phonons.sum_rules import largest_acoustic_sum, with_sum_rules
from hpcthermo.phonons.supercells import SpaceGroup, build_supercell

Q = np.array([[step, 0.0, 0.0] for step in (2e-3, 4e-3, 1e-2, 2e-2)])


@cache
def graphene():
    """Crystal and its second- and third-order force constants in 3 x 3 cells."""
    a = _lattice_constant()
    crystal = Crystal(np.array([[a, 0, 0], [-a / 2, a * np.sqrt(0.75), 0], [0, 0, 20.0]]),
                      np.array([[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]), ("C", "C"), np.full(2, 12.011),
                      (True, True, False))
    supercell = build_supercell(crystal, np.array([3, 3, 1]))
    group = SpaceGroup.of(supercell)
    dataset = third_order_displacements(supercell, group, cutoff=4.4)
    places = supercell.positions @ supercell.cell
    atoms = Atoms(["C"] * 18, places, cell=supercell.cell, pbc=[True, True, False],
                  calculator=Calculator("tersoff_graphene"))
    residual, forces = atoms.get_forces(), []
    for displacement in dataset.dense(18):
        atoms.positions = places + displacement
        forces.append(atoms.get_forces())
    dataset = dataset.with_forces(np.array(forces), residual)
    second = projected(supercell, group, second_force_constants(supercell, group, dataset))
    third = third_force_constants(supercell, group, dataset, cutoff=4.4)
    return crystal, Interactions.second(supercell, second), Interactions.third(supercell, third)


def _lattice_constant():
    """At rest, A."""
    from scipy.optimize import brentq

    atoms = Atoms("C2", scaled_positions=[[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]], pbc=[True, True, False],
                  cell=[[2.5, 0, 0], [-1.25, 2.5 * np.sqrt(0.75), 0], [0, 0, 20.0]],
                  calculator=Calculator("tersoff_graphene"))
    cell = atoms.cell.array.copy()

    def stress(a):
        atoms.set_cell(np.vstack([cell[:2] * a / 2.5, cell[2:]]), scale_atoms=True)
        return atoms.get_stress()[0]

    return brentq(stress, 2.45, 2.55, xtol=1e-10)


def exponent(crystal, second):
    lowest = np.abs(HarmonicCrystal(crystal, second).phonons(Q).frequencies).min(axis=1)
    return np.diff(np.log(lowest)) / np.diff(np.log(Q[:, 0]))


def test_flexural_branch_becomes_quadratic():
    crystal, second, _ = graphene()
    made = with_sum_rules(crystal, second)
    assert made.after < 1e-10
    assert made.rotational_after < 1e-10
    assert made.huang_after < 1e-9 < made.huang_before
    assert made.relative_change < 0.02
    assert exponent(crystal, made.interactions) == pytest.approx(2.0, abs=0.05)
    assert np.abs(exponent(crystal, second) - 2.0).max() > 0.5
    # the rest of the spectrum stays
    q = np.array([[0.5, 0.0, 0.0], [1 / 3, 1 / 3, 0.0]])
    before, after = (HarmonicCrystal(crystal, s).phonons(q).frequencies for s in (second, made.interactions))
    assert after == pytest.approx(before, abs=0.5)
    again = with_sum_rules(crystal, made.interactions)
    assert again.largest_change < 1e-11


def test_third_order_list_obeys_its_sum_rule():
    crystal, _, third = graphene()
    made = with_sum_rules(crystal, third)
    assert made.before > 1e-2
    assert made.after < 1e-10
    assert with_sum_rules(crystal, made.interactions).largest_change < 1e-9
    # Phi(i j k) = Phi(j i k)
    places = {(*a, *v.ravel()): t for a, v, t in zip(made.interactions.atoms.tolist(), made.interactions.vectors,
                                                     made.interactions.values, strict=True)}
    for (i, j, k, *vectors), tensor in list(places.items())[::7]:
        r_j, r_k = np.array(vectors[:3]), np.array(vectors[3:])
        other = places[(j, i, k, *(-r_j), *(r_k - r_j))]
        assert other.transpose(1, 0, 2) == pytest.approx(tensor, abs=1e-10)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_projection_is_orthogonal(order):
    crystal, second, _ = graphene()
    near = second.vectors[np.abs(second.vectors).max(axis=(1, 2)) <= 1]
    rng = np.random.default_rng(order)
    n_terms = {2: 40, 3: 40, 4: 6}[order]
    which = rng.integers(len(near), size=(n_terms, order - 1))
    some = Interactions.merged(rng.integers(2, size=(n_terms, order)), near[which, 0],
                               rng.normal(size=(n_terms,) + (3,) * order))
    symmetry = CrystalSymmetry.of(crystal)
    orbits = Orbits(symmetry, some.atoms, some.vectors)
    given = orbits.matched(some)
    made = with_sum_rules(crystal, some, rotational=order == 2).interactions
    values = orbits.matched(made)
    assert np.sum(given**2) == pytest.approx(np.sum(some.values**2))
    assert largest_acoustic_sum(made) < 1e-12
    # the change is at right angles to what is left (of order 4 and this small a support, little or nothing is)
    assert np.sum(values * (given - values)) == pytest.approx(0.0, abs=1e-10)
