"""Useful arithmetic of a force call per atom, from neighbour counts: the numerator of GFLOP/s.

Counting rules: an addition, subtraction, multiplication, division or (inverse) square root is one operation, so a
multiply-add is two; e^x, ln x and tanh x are the operations of their polynomials (portable.h). Counted is what the
algorithm needs for the neighbours within the cutoffs, energies and forces without virials. Not counted: neighbours that
a list holds beyond the cutoff, padding of lists and rows, values computed twice, comparisons, conversions, memory.

Counts are sums over the parts of the algorithm, in the symbols of the kernels' headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.potentials.angular_invariants import cubic_terms

if TYPE_CHECKING:
    from hpcthermo.potentials.base import Potential
    from hpcthermo.potentials.eam import EamPotential
    from hpcthermo.potentials.ilp import InterlayerPotential
    from hpcthermo.potentials.lennard_jones import LennardJonesPotential
    from hpcthermo.potentials.meam import MeamPotential
    from hpcthermo.potentials.nep import NepPotential
    from hpcthermo.potentials.nep_file import NepModel
    from hpcthermo.potentials.triplets import TripletPotential

#: by precision: polynomial degree of e^x, terms of ln x, of the sine series, of f_c = y P(y), degree of f_c in dg/dx
_EXP_DEGREE = {"mixed": 7, "double": 13}
_LOG_TERMS = {"mixed": 5, "double": 11}
_SINE_TERMS = {"mixed": 7, "double": 11}
_CUTOFF_TERMS = {"mixed": 7, "double": 14}
_CUTOFF_DEGREE = {"mixed": 7, "double": 12}
#: r_ij from two packed positions, and its square
_DISPLACEMENT = 3 + 5
#: F_i += f, F_j -= f
_ADD_FORCES = 6
#: atoms whose neighbours are counted
_SAMPLE_ATOMS = 4000


@dataclass(frozen=True)
class NeighborCount:
    """Neighbours of an atom, means over atoms.

    Attributes
    ----------
    mean : float
        Of the number z of neighbours.
    pairs : float
        Of z (z - 1) / 2, the pairs of neighbours.
    """

    mean: float
    pairs: float


def operations_per_atom(potential: Potential, counts: Mapping[str, NeighborCount], n_types: int,
                        precision: str) -> dict[str, float]:
    """Operations of a force call by part of the algorithm, per atom.

    Parameters
    ----------
    counts : name -> NeighborCount
        From `count_neighbors` and `mean_counts`.
    n_types : int
        Species of the structure.
    precision : "mixed" or "double"
    """
    parts: dict[str, float] = {}
    for name, member in _members(potential):
        own = {key.removeprefix(name): count for key, count in counts.items() if key.startswith(name)}
        for part, operations in _STYLES[member.style](member, own, n_types, precision).items():
            parts[name + part] = operations
    return parts


# ---- NEP -----------------------------------------------------------------------------------------


def nep_operations(model: NepModel, radial: float, angular: float, n_types: int, precision: str) -> dict[str, float]:
    """Operations of a NEP, with N_r radial functions of K_r terms, N_a angular ones of K_a, degree L, H harmonics.

    Parameters
    ----------
    radial, angular : float
        Neighbours within the two cutoffs.
    n_types : int
        Types among the neighbours, whose sums are contracted one by one.
    """
    n_radial, k_radial = model.radial_coefficients.shape[:2]
    n_angular, k_angular = model.angular_coefficients.shape[:2]
    neurons, n_descriptors = model.input_weights.shape[1:]
    degree = _largest_degree(model)
    harmonics = (degree + 1) ** 2 - 1
    terms, f_c_degree = _CUTOFF_TERMS[precision], _CUTOFF_DEGREE[precision]
    series = k_radial - 1 + f_c_degree

    # s = 1 - r/rc, s^2, x = 2 s^2 - 1, s/r
    argument = 1 + 1 + 2 + 1 + 2 + 1
    radial_functions = argument + 2 * terms + _chebyshev(k_radial) + k_radial
    radial_force = 3 * series + 10 + 1 + 3 + _ADD_FORCES
    # unit vector; f_c and its slope; g_n; Y_a
    angular_functions = 3 + argument + 4 * terms + 6 + _chebyshev(k_angular) + 2 * n_angular * k_angular
    slope_of_functions = 2 * n_angular * k_angular + 10 * k_angular + 3
    extra = [name for name in model.extra_invariants if len(name) == 3]
    products = sum(len(cubic_terms(*map(int, name))) for name in extra)
    five_body = "1111" in model.extra_invariants
    return {
        "displacements": radial * _DISPLACEMENT,
        "radial descriptors": radial * radial_functions + 2 * n_types * k_radial * n_radial,
        "angular sums": angular * (angular_functions + _harmonic_values(degree) + 2 * n_angular * harmonics),
        "angular descriptors": n_angular * (3 * harmonics + 5 * products + 2 * five_body),
        "network": 4 * n_descriptors * neurons + neurons * (_tanh(precision) + 6),
        "radial forces": radial * radial_force + 2 * n_types * n_radial * series,
        "angular slopes": n_angular * (2 * harmonics + degree + 10 * products + 4 * five_body),
        "angular forces": angular * (4 * n_angular * harmonics + slope_of_functions + _harmonic_gradient(degree)
                                     + 7 + 9 + _ADD_FORCES),
    }


def _largest_degree(model: NepModel) -> int:
    """Largest degree of any invariant: the sums S_na are needed up to it."""
    return max([model.l_max, *(int(digit) for name in model.extra_invariants for digit in name)])


def _chebyshev(n_terms: int) -> int:
    """f_c T_k(x) for k < n_terms by T_k = 2x T_(k-1) - T_(k-2), f_c known."""
    return 2 + 2 * max(n_terms - 2, 0)


def _harmonic_values(degree: int) -> int:
    """B_lm(z), (x + i y)^m and their products (solid_harmonics.h)."""
    powers = 6 * (degree - 1)
    associated = degree + 4 * (degree * (degree - 1) // 2)
    return powers + associated + degree * (degree + 1)


def _harmonic_gradient(degree: int) -> int:
    """sum_a weight_a grad Y_a, with B_lm and (x + i y)^m known."""
    zonal = 2 * degree
    sums = sum(4 if degree_ == order else 8 for order in range(1, degree + 1) for degree_ in range(order, degree + 1))
    return zonal + sums + 14 * degree


# ---- the others ----------------------------------------------------------------------------------


def tersoff_operations(bonds: float, bond_pairs: float, has_lambda_3: bool, precision: str,
                       modified: bool = False) -> dict[str, float]:
    """Operations of a Tersoff potential.

    Parameters
    ----------
    bonds : float
        Neighbours within R + D.
    bond_pairs : float
        Pairs of bonds, z (z - 1) / 2, of which each makes a term in zeta of both.
    modified : bool
        The form of 2007 (style tersoff_mod).
    """
    # f_C is a constant at most bonds: its trigonometry is not counted
    exponential = _exp(precision) + 6 if has_lambda_3 else 0
    # e^(-c5 x^2), 1 + c4 e and the product with it; and in the slope
    bell, bell_slope = (_exp(precision) + 4, 5) if modified else (0, 0)
    weight = 1 + 1 + 2 + 3 + 2 + bell  # x, x^2, d^2 + x^2 and its inverse, g, f_C e g
    logarithm = _log(precision)
    bond_order = 4 * _exp(precision) + 2 * logarithm + 30
    return {
        "displacements": bonds * (_DISPLACEMENT + 5),
        "zeta": bond_pairs * (5 + 2 * (weight + exponential)),
        "bond order": bonds * bond_order,
        # slopes of g and e; along and across the two bonds
        "angular forces": bond_pairs * (2 * (3 + bell_slope + (5 if has_lambda_3 else 0)) + 14 + 2 * (2 + 3 + 3 * 4)),
        "scatter": bonds * _ADD_FORCES,
    }


def stillinger_weber_operations(bonds: float, bond_pairs: float, usual_powers: bool,
                                precision: str) -> dict[str, float]:
    """Operations of a Stillinger-Weber potential; two-body terms are seen from both sides.

    Parameters
    ----------
    bonds : float
        Neighbours within the reach of bonds.
    bond_pairs : float
        Pairs of bonds, z (z - 1) / 2.
    usual_powers : bool
        p = 4 and q = 0.
    """
    powers = 4 if usual_powers else 2 * (_log(precision) + _exp(precision) + 2) + 2  # B s^p and s^q; slopes
    # s and 1/(r - a sigma), its square and two exponentials of it; energy and slope of phi_2; force; w and its slope
    pair = 4 + 2 * (1 + _exp(precision)) + powers + 3 + 5 + 1 + 3 + 2
    # cos theta, distance from theta_0, energy; across; along both bonds; forces on both ends
    angle = 5 + 1 + 5 + 4 + 2 * 4 + 2 * 12
    return {
        "displacements": bonds * (_DISPLACEMENT + 5),
        "two-body terms": bonds * pair,
        "three-body terms": bond_pairs * angle,
        "scatter": bonds * _ADD_FORCES,
    }


def lennard_jones_operations(neighbors: float) -> dict[str, float]:
    """Operations of a Lennard-Jones potential; every pair is seen from both sides."""
    energy_and_slope = 1 + 1 + 2 + 1 + 3 + 4
    return {"displacements": neighbors * _DISPLACEMENT, "pairs": neighbors * (energy_and_slope + 1 + 3 + 3)}


def interlayer_operations(neighbors: float, near: float, damped: float, repelled: float, registry: float,
                          precision: str) -> dict[str, float]:
    """Operations of the registry-dependent interlayer potential, in the symbols of ilp.h.

    Parameters
    ----------
    neighbors : float
        Within the cutoff R, in other layers; each is seen from both sides.
    near, damped, repelled, registry : float
        Of these, nearer than the polynomial reaches, with a damping, with a repulsion, with a g that matters.
    """
    from hpcthermo.potentials.ilp import FAR_DEGREE

    distance, along = 2, 5  # 1/r and r; n . r
    taper = 1 + 1 + 2 + 1 + 1 + 6 + 1 + 2
    exponent = _exp(precision) + 2
    return {
        "displacements": neighbors * _DISPLACEMENT,
        # n . r and the sideways distance; energy, force and their sums
        "pairs": neighbors * (along + 2 + 1 + 3 + 3),
        "far": (neighbors - near) * (2 + 1 + 2 * (2 * FAR_DEGREE[precision] - 4) + 2 + 6),
        "near": near * (distance + taper + 4 + 2 + 5 + 4),
        "damping": damped * (exponent + 2 + 1 + 5),
        "repulsion": repelled * (exponent + 1 + 1 + 2),
        # t; g, its slope and its direction across; sums of force, G and energy
        "registry": registry * (5 + distance + taper + along + 6 + exponent + 1 + 4 + 6 + 3 * 6 + 1 + _ADD_FORCES),
        # a x b and its length, h and its two products, three forces
        "normals": 3 * 3 + 6 + 9 + 8 + 5 + 6 + 2 * 9 + 6 + 3 * _ADD_FORCES,
    }


def eam_operations(neighbors: float) -> dict[str, float]:
    """Operations of an embedded-atom potential; every pair is seen from both sides, twice."""
    place, value, slope = 1 + 1, 6, 6
    return {
        "displacements": 2 * neighbors * _DISPLACEMENT,
        "densities": neighbors * (place + value + 1),
        # phi and its slope, the slope of rho; pull and weight; sums of force and virial
        "pairs": neighbors * (place + value + 2 * slope + 1 + 6 + 3 + 6 + 12),
    }


def meam_operations(neighbors: float, neighbor_pairs: float, precision: str) -> dict[str, float]:
    """Operations of a modified embedded-atom potential, without the forces from partly screened pairs.

    Parameters
    ----------
    neighbors : float
        Within the cutoff.
    neighbor_pairs : float
        Pairs of them: each may screen the other.
    """
    bond = 15 + 4 * (_exp(precision) + 3)
    return {
        "displacements": neighbors * _DISPLACEMENT,
        # r_jk^2, C, f
        "screening": 2 * neighbor_pairs * (8 + 10 + 9),
        "densities": neighbors * (bond + 6 + 2 * 24 + 2 * 16),
        "forces": neighbors * (bond + 8 + 6 * 24 + 40 + _ADD_FORCES),
    }


def _exp(precision: str) -> int:
    return 8 + 2 * _EXP_DEGREE[precision]


def _log(precision: str) -> int:
    return 4 + 2 * _LOG_TERMS[precision] + 6


def _tanh(precision: str) -> int:
    return _exp(precision) + 4


def _nep(potential: NepPotential, counts: Mapping[str, NeighborCount], n_types: int,
         precision: str) -> dict[str, float]:
    return nep_operations(potential.model, counts["radial"].mean, counts["angular"].mean, n_types, precision)


def _tersoff(potential: TripletPotential, counts: Mapping[str, NeighborCount], _n_types: int,
             precision: str) -> dict[str, float]:
    from hpcthermo.potentials.tersoff_file import COLUMNS

    has_lambda_3 = _any_other_than(potential.model.parameters[..., COLUMNS.index("lambda3")], 0.0)
    bonds = counts["angular"]
    return tersoff_operations(bonds.mean, bonds.pairs, has_lambda_3, precision)


def _tersoff_mod(potential: TripletPotential, counts: Mapping[str, NeighborCount], _n_types: int,
                 precision: str) -> dict[str, float]:
    from hpcthermo.potentials.tersoff_mod import COLUMNS

    has_alpha = _any_other_than(potential.model.parameters[..., COLUMNS.index("alpha")], 0.0)
    bonds = counts["angular"]
    return tersoff_operations(bonds.mean, bonds.pairs, has_alpha, precision, modified=True)


def _stillinger_weber(potential: TripletPotential, counts: Mapping[str, NeighborCount], _n_types: int,
                      precision: str) -> dict[str, float]:
    from hpcthermo.potentials.stillinger_weber import COLUMNS

    p, q = (np.einsum("ijj->ij", potential.model.parameters[..., COLUMNS.index(name)]) for name in "pq")
    unusual = _any_other_than(p, 4.0) or _any_other_than(q, 0.0)
    bonds = counts["angular"]
    return stillinger_weber_operations(bonds.mean, bonds.pairs, not unusual, precision)


def _any_other_than(values: np.ndarray, value: float) -> bool:
    """Whether a number that the file has is not this one."""
    return bool((np.nan_to_num(values, nan=value) != value).any())


def _lennard_jones(_potential: LennardJonesPotential, counts: Mapping[str, NeighborCount], _n_types: int,
                   _precision: str) -> dict[str, float]:
    return lennard_jones_operations(counts["radial"].mean)


def _interlayer(_potential: InterlayerPotential, counts: Mapping[str, NeighborCount], _n_types: int,
                precision: str) -> dict[str, float]:
    near, damped, repelled, registry = (counts[kind].mean for kind in ("near", "damped", "repelled", "registry"))
    return interlayer_operations(counts["radial"].mean, near, damped, repelled, registry, precision)


def _eam(_potential: EamPotential, counts: Mapping[str, NeighborCount], _n_types: int,
         _precision: str) -> dict[str, float]:
    return eam_operations(counts["radial"].mean)


def _meam(_potential: MeamPotential, counts: Mapping[str, NeighborCount], _n_types: int,
          precision: str) -> dict[str, float]:
    return meam_operations(counts["radial"].mean, counts["radial"].pairs, precision)


_STYLES: dict[str, Any] = {"nep": _nep, "tersoff": _tersoff, "tersoff_mod": _tersoff_mod,
                           "stillinger_weber": _stillinger_weber, "lennard_jones": _lennard_jones,
                           "ilp": _interlayer, "eam": _eam, "eam_zhou": _eam,
                           "meam": _meam}


# ---- neighbours ----------------------------------------------------------------------------------


def _members(potential: Potential) -> list[tuple[str, Any]]:
    """The parts of an overlay with a prefix each, or the potential itself."""
    parts = getattr(potential, "parts", None)
    if parts is None:
        return [("", potential)]
    return [(f"{part.style} {number} ", part) for number, part in enumerate(parts, start=1)]


def _ranges(member: Any, species: tuple[str, ...]) -> dict[str, tuple[np.ndarray, bool]]:
    """Cutoffs (T, T) in A by kind of neighbour, and whether pairs of one layer are left out."""
    from hpcthermo.potentials.base import require_species

    types = require_species(member.style, member.elements, species)
    pairs = np.ix_(types, types)
    if member.style == "nep":
        from hpcthermo.potentials.nep_parameters import pair_cutoffs

        radial, angular, _ = pair_cutoffs(member.model, types)
        return {"radial": (radial, False), "angular": (angular, False)}
    if member.style in ("tersoff", "tersoff_mod"):
        from hpcthermo.potentials import tersoff_file, tersoff_mod

        columns = tersoff_file.COLUMNS if member.style == "tersoff" else tersoff_mod.COLUMNS
        ends = member.model.parameters[..., columns.index("R")] + member.model.parameters[..., columns.index("D")]
        return {"angular": (np.einsum("ijj->ij", ends[np.ix_(types, types, types)]), False)}
    if member.style == "stillinger_weber":
        from hpcthermo.potentials.stillinger_weber import SMALLEST_EXPONENT, bond_reach

        parameters = member.model.parameters[np.ix_(types, types, types)]
        return {"angular": (bond_reach(parameters, SMALLEST_EXPONENT["double"]), False)}
    if member.style == "ilp":
        from hpcthermo.potentials.ilp import FAR_DEGREE, PAIR_TOLERANCE_EV, far_pairs, reaches, registry_distance

        parameters, cutoff = member.model.parameters[pairs], member.model.cutoff
        tolerance = PAIR_TOLERANCE_EV["mixed"]
        terms = reaches(parameters, cutoff, tolerance)
        start = far_pairs(parameters, cutoff, tolerance, FAR_DEGREE["mixed"]).start
        registry = registry_distance(parameters, tolerance)
        ranges = {"radial": np.full_like(registry, cutoff), "near": np.full_like(registry, start),
                  "damped": np.minimum(start, terms.damping), "repelled": np.minimum(start, terms.repulsion),
                  "registry": np.minimum(cutoff, registry)}
        return {kind: (distance, True) for kind, distance in ranges.items()}
    if member.style in ("eam", "eam_zhou", "meam"):
        return {"radial": (np.full(pairs[0].shape[:1] * 2, member.model.cutoff), False)}
    active = member.model.epsilon[pairs] != 0.0
    return {"radial": (np.where(active, member.model.cutoff[pairs], 0.0), member.model.between_layers_only)}


def count_neighbors(potential: Potential, species: tuple[str, ...], positions: np.ndarray, types: np.ndarray,
                    layers: np.ndarray, n_owned: int) -> dict[str, np.ndarray]:
    """Neighbours of the owned atoms, or of a sample of them, within the cutoffs (skin not included).

    Parameters
    ----------
    positions : (n, 3) float64
        Of owned atoms and, after them, ghosts, A.
    types, layers : (n,) int
    n_owned : int

    Returns
    -------
    dict of str to (3,) float64
        By kind: atoms looked at, and their sums of z and z (z - 1) / 2; additive over ranks (`mean_counts`).
    """
    from scipy.spatial import cKDTree

    chosen = np.arange(n_owned)
    if n_owned > _SAMPLE_ATOMS:
        chosen = np.random.default_rng(0).choice(n_owned, _SAMPLE_ATOMS, replace=False)
    tree = cKDTree(positions)
    sums = {}
    for name, member in _members(potential):
        for kind, (cutoffs, between_layers) in _ranges(member, species).items():
            z = np.array([_count_one(tree, positions, types, layers if between_layers else None, cutoffs, i)
                          for i in chosen.tolist()], dtype=np.float64)
            sums[name + kind] = np.array([len(z), z.sum(), 0.5 * (z * (z - 1.0)).sum()])
    return sums


def _count_one(tree: Any, positions: np.ndarray, types: np.ndarray, layers: np.ndarray | None, cutoffs: np.ndarray,
               i: int) -> int:
    limit = cutoffs[types[i]]
    near = np.array(tree.query_ball_point(positions[i], float(limit.max())), dtype=np.int64)
    square = ((positions[near] - positions[i]) ** 2).sum(axis=1)
    kept = (square < limit[types[near]] ** 2) & (near != i)
    if layers is not None:
        kept &= layers[near] != layers[i]
    return int(kept.sum())


def mean_counts(sums: Mapping[str, np.ndarray]) -> dict[str, NeighborCount]:
    """Means from the sums of all ranks."""
    return {kind: NeighborCount(z / max(atoms, 1.0), pairs / max(atoms, 1.0))
            for kind, (atoms, z, pairs) in sums.items()}
