r"""Least change of force constants on the lattice that makes them obey sum rules.

For a list of any order with any cutoff: nearest list that is symmetric under the space group and permutations and obeys

    acoustic sum rule     sum_(R k) Phi(0 i, ..., R k) = 0                                            any order
    Born-Huang            sum_(R j) Phi(0 i al, R j be) r_ga   = the same with be and ga exchanged    order 2
    Huang                 sum_(i, R j) Phi(0 i al, R j be) r_ga r_de = the same with (al be) and (ga de) exchanged

The last two say that a rotation costs no energy and that the crystal is free of stress; for sheets they make the
flexural branch quadratic (Carrete et al., Mater. Res. Lett. 4, 204 (2016); Lin, Ponce and Marzari, npj Comput. Mater.
8, 236 (2022)). With x the independent tensors, weighted by the root of the size of their orbit, and A x = 0 all
conditions,

    x' = x - A^T (A A^T)^+ A x

    symbol   is
    r        R + tau_j - tau_i, A
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, cg

from hpcthermo.errors import PhysicsError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.crystal_symmetry import CrystalSymmetry
from hpcthermo.phonons.interactions import Interactions, row_codes
from hpcthermo.phonons.lattice_symmetry import Orbits, SomeTerms

#: relative rounding error of a sum over a leg
ROUNDING = 3e-14


@dataclass(frozen=True)
class SumRules:
    """Force constants that obey the sum rules, and what it took.

    Attributes
    ----------
    interactions : Interactions
    largest_change : float
        Largest change of an element, eV/A^n.
    relative_change : float
        Root of the sum of squares of all changes over that of all elements.
    before, after : float
        Largest violation of the acoustic sum rule, eV/A^n.
    rotational_before, rotational_after : float
        Largest violation of the Born-Huang conditions, eV/A; 0 for orders other than 2.
    huang_before, huang_after : float
        Largest violation of the Huang conditions, eV; 0 for orders other than 2.
    """

    interactions: Interactions
    largest_change: float
    relative_change: float
    before: float
    after: float
    rotational_before: float = 0.0
    rotational_after: float = 0.0
    huang_before: float = 0.0
    huang_after: float = 0.0


def with_sum_rules(crystal: Crystal, interactions: Interactions, symmetry: CrystalSymmetry | None = None,
                   rotational: bool | None = None) -> SumRules:
    """The nearest force constants with all symmetries and sum rules.

    Parameters
    ----------
    symmetry : CrystalSymmetry, optional
        That of the crystal unless given; a supercell may keep only a part.
    rotational : bool, optional
        Born-Huang and Huang conditions, order 2 only; without it, for sheets.
    """
    symmetry = CrystalSymmetry.of(crystal) if symmetry is None else symmetry
    if rotational is None:
        rotational = not all(crystal.periodic)
    orbits = Orbits(symmetry, interactions.atoms, interactions.vectors)
    given = orbits.matched(interactions)
    start = orbits.tensors(given)
    if interactions.order == 2:
        tensors = _solved_directly(crystal, orbits, start, rotational)
    else:
        tensors = _solved_iteratively(orbits, start)
    values = orbits.all_terms.values(tensors)
    shape = (-1,) + (3,) * interactions.order
    result = Interactions(orbits.atoms, orbits.vectors, values.reshape(shape))
    change = values - given
    rotations: tuple[float, ...] = ()
    if interactions.order == 2:
        rotations = tuple(largest(crystal, which) for largest in (largest_rotational_sum, largest_huang_difference)
                          for which in (interactions, result))
    return SumRules(result, float(np.abs(change).max()), float(np.linalg.norm(change) / np.linalg.norm(given)),
                    largest_acoustic_sum(interactions), largest_acoustic_sum(result), *rotations)


def largest_acoustic_sum(interactions: Interactions) -> float:
    """Largest |sum over the last leg|, eV/A^n."""
    shorter = interactions.vectors[:, :-1].reshape(len(interactions.atoms), -1)
    keys = np.concatenate([interactions.atoms[:, :-1], shorter], axis=1)
    group = np.unique(row_codes(keys), return_inverse=True)[1].ravel()
    sums = _summing(group) @ interactions.values.reshape(len(group), -1)
    return float(np.abs(sums).max())


def largest_rotational_sum(crystal: Crystal, second: Interactions) -> float:
    """Largest violation of the Born-Huang conditions, eV/A."""
    moment = np.einsum("pab,pc->pabc", second.values, _distances(crystal, second.atoms, second.vectors[:, 0]))
    sums = np.zeros((crystal.n_atoms, 3, 3, 3))
    np.add.at(sums, second.atoms[:, 0], moment)
    return float(np.abs(sums - sums.swapaxes(2, 3)).max())


def largest_huang_difference(crystal: Crystal, second: Interactions) -> float:
    """Largest violation of the Huang conditions, eV."""
    r = _distances(crystal, second.atoms, second.vectors[:, 0])
    moments = np.einsum("pab,pc,pd->abcd", second.values, r, r)
    return float(np.abs(moments - moments.transpose(2, 3, 0, 1)).max())


def _distances(crystal: Crystal, atoms: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors r of pairs, (P, 3), A."""
    return (vectors + crystal.positions[atoms[:, 1]] - crystal.positions[atoms[:, 0]]) @ crystal.cell


def _summing(group: np.ndarray) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix((np.ones(len(group)), (group, np.arange(len(group)))),
                                   shape=(int(group.max()) + 1, len(group)))


def _solved_directly(crystal: Crystal, orbits: Orbits, tensors: np.ndarray, rotational: bool) -> np.ndarray:
    """Order 2: the conditions as a matrix."""
    n, terms = crystal.n_atoms, np.arange(len(orbits.atoms))
    first = orbits.atoms[:, 0]
    r = _distances(crystal, orbits.atoms, orbits.vectors[:, 0])
    element = 9 * terms[:, None] + np.arange(9)  # places of Phi_al,be in the flattened list
    rows, columns, factors = [9 * first[:, None] + np.arange(9)], [element], [np.ones_like(element, dtype=float)]
    n_rows = 9 * n
    if rotational:
        scale = float(np.sqrt(np.mean(r**2)))
        for al in range(3):
            for be, ga in ((0, 1), (0, 2), (1, 2)):
                row = n_rows + first
                for beta, gamma, sign in ((be, ga, 1.0), (ga, be, -1.0)):
                    rows.append(row)
                    columns.append(element[:, 3 * al + beta])
                    factors.append(sign * r[:, gamma] / scale)
                n_rows += n
        pairs = [(a, b) for a in range(3) for b in range(a, 3)]
        for which, (al, be) in enumerate(pairs):
            for ga, de in pairs[:which]:
                for (a, b), (c, d), sign in (((al, be), (ga, de), 1.0), ((ga, de), (al, be), -1.0)):
                    for x, y in ((a, b), (b, a)):  # symmetric part; the rest vanishes by permutation
                        rows.append(np.full(len(terms), n_rows))
                        columns.append(element[:, 3 * x + y])
                        factors.append(0.5 * sign * r[:, c] * r[:, d] / scale**2)
                n_rows += 1
    conditions = scipy.sparse.csr_matrix(
        (np.concatenate([f.ravel() for f in factors]),
         (np.concatenate([i.ravel() for i in rows]), np.concatenate([j.ravel() for j in columns]))),
        shape=(n_rows, 9 * len(terms)))
    # rows of A over the independent tensors, each weighted by the root of the size of its orbit
    weight = 1.0 / np.sqrt(orbits.sizes)[:, None]
    dense = np.empty((n_rows, 9 * orbits.n_orbits))
    for condition in range(n_rows):
        values = conditions[[condition]].toarray().reshape(len(terms), 9)
        dense[condition] = (orbits.invariant(orbits.all_terms.transposed(values)) * weight).ravel()
    # every condition of the same weight
    length = np.linalg.norm(dense, axis=1)
    dense = dense[length > 1e-10 * length.max()] / length[length > 1e-10 * length.max(), None]
    flat = (tensors / weight).ravel()
    # orthonormal conditions: exact to rounding, twice is enough
    _, singular, basis = np.linalg.svd(dense, full_matrices=False)
    basis = basis[singular > 1e-9 * singular[0]]
    for _ in range(2):
        flat = flat - basis.T @ (basis @ flat)
    return orbits.invariant(flat.reshape(tensors.shape) * weight)


def _solved_iteratively(orbits: Orbits, tensors: np.ndarray) -> np.ndarray:
    """Orders above 2: conjugate gradients on A A^T, on sums for one cluster of each orbit of the legs but the last."""
    terms, group, multiplicity = orbits.first_prefixes()
    some, summing = SomeTerms(orbits, terms), _summing(group)
    weight = 1.0 / np.sqrt(orbits.sizes)[:, None]
    root = np.sqrt(multiplicity)[:, None]
    shape = (summing.shape[0], tensors.shape[1])

    def sums(x: np.ndarray) -> np.ndarray:
        return np.asarray(root * (summing @ some.values(orbits.invariant(x) * weight)))

    def spread(multipliers: np.ndarray) -> np.ndarray:
        return orbits.invariant(some.transposed(summing.T @ (root * multipliers)) * weight)

    normal = LinearOperator((shape[0] * shape[1],) * 2,
                            matvec=lambda y: sums(spread(np.asarray(y).reshape(shape))).ravel(), dtype=np.float64)
    x = tensors / weight
    # below the rounding of the sums the right-hand side is outside the range of A A^T, where the iteration diverges
    rounding = ROUNDING * float(np.abs(tensors).max()) * np.sqrt(normal.shape[0])
    for _ in range(3):
        violation = sums(x).ravel()
        if np.linalg.norm(violation) <= 2 * rounding:
            return np.asarray(x * weight)
        multipliers, _ = cg(normal, violation, rtol=0.0, atol=rounding, maxiter=2000)
        x = x - spread(multipliers.reshape(shape))
    left = float(np.linalg.norm(sums(x)) / np.linalg.norm(x))
    if left > 1e-9:
        raise PhysicsError(f"acoustic sum rules: expected the projection to converge, got {left:.1e} of the force "
                           "constants left; give force constants of one crystal, or a larger cutoff")
    return np.asarray(x * weight)
