"""Stillinger-Weber potential for any number of elements.

F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985). The kernel (gpu/kernels/stillinger_weber.h) states the
equations. File format and its meaning for several elements: LAMMPS documentation of pair_style sw. The entry (i, j, j)
gives what belongs to the pair ij (epsilon A, B, p, q, sigma, a and gamma), the entry (i, j, k) what belongs to the
angle (epsilon lambda and cos theta_0).

The exponentials vanish with all derivatives at a sigma, and are smaller than any rounding error well before: bonds end
where their exponents fall below `SMALLEST_EXPONENT`. For the same reason a file's tol (LAMMPS shortens its lists where
the exponential falls below it) is not needed and not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.potentials.bond_columns import BondColumnPotential
from hpcthermo.potentials.parameter_text import Elements
from hpcthermo.potentials.triplets import LARGEST_CUTOFF_A, TripletModel, TripletPotential, parse_triplets, refuse

#: the numbers of a triplet, in file order; epsilon in eV, sigma in A, the others without unit
COLUMNS = ("epsilon", "sigma", "a", "lambda", "gamma", "costheta0", "A", "B", "p", "q", "tol")
#: by precision: e^-22 = 3e-10 and e^-40 = 4e-18, times energies and slopes of some 10 eV and 1000 / A
SMALLEST_EXPONENT = {"mixed": -22.0, "double": -40.0}


class StillingerWeberPotential(TripletPotential):
    """A parametrisation of style ``"stillinger_weber"``; the columns of its model are `COLUMNS`."""

    style = "stillinger_weber"

    def _bind(self, parameters: np.ndarray, backend: Backend) -> BondColumnPotential:
        p = {name: parameters[..., k] for k, name in enumerate(COLUMNS)}
        reach = bond_reach(parameters, SMALLEST_EXPONENT[backend.precision])
        usual_powers = bool((pairs(p["p"])[reach > 0.0] == 4.0).all() and (pairs(p["q"])[reach > 0.0] == 0.0).all())
        return BondColumnPotential(backend, "stillinger_weber", "stillinger_weber", reach,
                                   parameter_rows(parameters, reach), int(usual_powers))


def pairs(values: np.ndarray) -> np.ndarray:
    """Values of the pair ij, (T, T), from those of the triplets (i, j, k)."""
    return np.einsum("ijj->ij", values)


def bond_reach(parameters: np.ndarray, smallest_exponent: float) -> np.ndarray:
    """How far atoms of type i look for bonds to type j, (T, T), A; 0 where the pair has no energy of any kind.

    Parameters
    ----------
    parameters : (T, T, T, 11) float64
        `COLUMNS`.
    smallest_exponent : float
        sigma / (r - a sigma), and gamma times it where there are angles, at the end of a bond.
    """
    p = {name: parameters[..., k] for k, name in enumerate(COLUMNS)}
    two_body = pairs(p["epsilon"] * p["A"]) != 0.0
    angles = (p["epsilon"] * p["lambda"] != 0.0).any(axis=2)
    decay = np.where(angles, np.minimum(pairs(p["gamma"]), 1.0), 1.0)
    reach = pairs(p["sigma"]) * (pairs(p["a"]) + decay / smallest_exponent)
    return np.where(two_body | angles, np.maximum(reach, 0.0), 0.0)


def parameter_rows(parameters: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """The numbers of each triplet in the form of the kernel (stillinger_weber.h, StillingerWeberParameter).

    Parameters
    ----------
    parameters : (T, T, T, 11) float64
        `COLUMNS`.
    reach : (T, T) float64
        `bond_reach`, A.

    Returns
    -------
    (T, T, T, 10) float64
    """
    p = {name: parameters[..., k] for k, name in enumerate(COLUMNS)}
    of_pair = [0.5 * p["A"] * p["epsilon"], p["B"], p["p"], p["q"], p["sigma"], p["gamma"] * p["sigma"],
               p["a"] * p["sigma"], np.broadcast_to(reach[:, :, None], p["a"].shape)]
    return np.stack([*of_pair, p["lambda"] * p["epsilon"], p["costheta0"]], axis=-1)


def parse_stillinger_weber(text: str, name: str, elements: Elements = None) -> TripletModel:
    """Parameters from the text of a LAMMPS file of 11 numbers by triplet (`triplets.parse_triplets`).

    Raises
    ------
    InputError
        Also if the two orders of a pair, or of the ends of an angle, do not have the same energy.
    """
    model = parse_triplets(text, name, elements, COLUMNS, _check_row)
    _check_orders(model)
    return model


def _check_row(row: np.ndarray, triplet: Sequence[str], name: str) -> None:
    """Refuse numbers for which the potential is not defined; those of the pair count where j and k are the same."""
    p = dict(zip(COLUMNS, (float(v) for v in row), strict=True))
    interacts = triplet[1] == triplet[2] and p["epsilon"] != 0.0 and (p["A"] != 0.0 or p["lambda"] != 0.0)
    not_negative = ("epsilon", "sigma", "a", "lambda", "gamma", "A", "B", "p", "q", "tol")
    refuse({
        ", ".join(not_negative) + " of at least 0": all(p[key] >= 0.0 for key in not_negative),
        "p and q of at most 50": p["p"] <= 50.0 and p["q"] <= 50.0,
        "cos(theta0) within [-2, 2]": abs(p["costheta0"]) <= 2.0,
        "sigma of at least 0.1 A": p["sigma"] >= 0.1 or not interacts,
        f"0 < a sigma <= {LARGEST_CUTOFF_A:g} A": 0.0 < p["a"] * p["sigma"] <= LARGEST_CUTOFF_A or not interacts,
    }, row, triplet, name)


def _check_orders(model: TripletModel) -> None:
    """The energy of a pair must not depend on which atom comes first, nor that of an angle on the order of its ends."""
    p = {name: model.parameters[..., k] for k, name in enumerate(COLUMNS)}
    depth, strength = p["epsilon"] * p["A"], p["epsilon"] * p["lambda"]
    n = len(model.elements)
    for i, j, k in np.ndindex(n, n, n):
        _require_same(model, "epsilon lambda", strength, (i, j, k), (i, k, j))
        if strength[i, j, k] != 0.0:
            _require_same(model, "costheta0", p["costheta0"], (i, j, k), (i, k, j))
    for i, j in np.ndindex(n, n):
        _require_same(model, "epsilon A", depth, (i, j, j), (j, i, i))
        if depth[i, j, j] != 0.0:
            for name in ("B", "p", "q", "sigma", "a"):
                _require_same(model, name, p[name], (i, j, j), (j, i, i))


def _require_same(model: TripletModel, what: str, values: np.ndarray, *triplets: tuple[int, int, int]) -> None:
    one, other = (float(values[triplet]) for triplet in triplets)
    if math.isnan(one) or math.isnan(other) or math.isclose(one, other, rel_tol=1e-9):
        return
    first, second = (" ".join(model.elements[t] for t in triplet) for triplet in triplets)
    raise InputError(f"{model.source}: {what} must be the same for {first} and {second}, got {one:g} and {other:g}; "
                     "correct the file")
