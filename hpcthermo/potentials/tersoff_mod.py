"""Modified Tersoff potential: another angular function, and a cutoff function with two continuous derivatives.

T. Kumagai, S. Izumi, S. Hara, S. Sakai, Comput. Mater. Sci. 39, 457 (2007); the cutoff function is that of M. V. R.
Murty and H. A. Atwater, Phys. Rev. B 51, 4889 (1995). The kernel (gpu/kernels/tersoff.h) states the equations. File
format: LAMMPS documentation of pair_style tersoff/mod, but for beta = 3 the exponent is [alpha (r_ij - r_ik)]^3, which
is what LAMMPS computes, where its documentation has alpha (r_ij - r_ik)^3. The set of the paper has beta = 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.potentials.bond_columns import BondColumnPotential
from hpcthermo.potentials.parameter_text import Elements
from hpcthermo.potentials.tersoff import bond_order_columns, bond_order_potential
from hpcthermo.potentials.triplets import LARGEST_CUTOFF_A, TripletModel, TripletPotential, parse_triplets, refuse

#: the numbers of a triplet, in file order; lambda in 1/A, alpha in 1/A, R and D in A, A and B in eV
COLUMNS = ("beta", "alpha", "h", "eta", "beta_ters", "lambda2", "B", "R", "D", "lambda1", "A", "n",
           "c1", "c2", "c3", "c4", "c5")


class TersoffModPotential(TripletPotential):
    """A parametrisation of style ``"tersoff_mod"``; the columns of its model are `COLUMNS`."""

    style = "tersoff_mod"

    def _bind(self, parameters: np.ndarray, backend: Backend) -> BondColumnPotential:
        p = {name: parameters[..., k] for k, name in enumerate(COLUMNS)}
        # in the names of the older form, whose beta is a factor of zeta
        p |= {"lambda3": p["alpha"], "m": p["beta"], "beta": p["beta_ters"], "exponent": p["eta"], "costheta0": p["h"]}
        rows = np.stack([*bond_order_columns(p), *(p[name] for name in ("c1", "c2", "c3", "c4", "c5"))], axis=-1)
        return bond_order_potential("tersoff_mod", p, rows, backend)


def parse_tersoff_mod(text: str, name: str, elements: Elements = None) -> TripletModel:
    """Parameters from the text of a LAMMPS file of 17 numbers by triplet (`triplets.parse_triplets`)."""
    return parse_triplets(text, name, elements, COLUMNS, _check_row)


def _check_row(row: np.ndarray, triplet: Sequence[str], name: str) -> None:
    """Refuse numbers for which the potential is not defined."""
    p = dict(zip(COLUMNS, (float(v) for v in row), strict=True))
    bond = triplet[1] == triplet[2]
    refuse({
        "beta = 1 or 3": p["beta"] in (1.0, 3.0),
        "beta_ters = 1, which the form has no other use for": p["beta_ters"] == 1.0,
        "eta, A, B, R, D and n of at least 0": all(p[key] >= 0.0 for key in ("eta", "A", "B", "R", "D", "n")),
        "lambda1 and lambda2 of at least 0": p["lambda1"] >= 0.0 and p["lambda2"] >= 0.0,
        "eta > 0 and n > 0": (p["eta"] > 0.0 and p["n"] > 0.0) or not bond,
        "c1, c2, c4 and c5 of at least 0": all(p[key] >= 0.0 for key in ("c1", "c2", "c4", "c5")),
        "c3 > 0": p["c3"] > 1e-12,
        "h within [-2, 2]": abs(p["h"]) <= 2.0,
        "D <= R": p["D"] <= p["R"],
        f"0 < R + D <= {LARGEST_CUTOFF_A:g} A": 0.0 < p["R"] + p["D"] <= LARGEST_CUTOFF_A,
        "alpha within [-100, 100]": abs(p["alpha"]) <= 100.0,
    }, row, triplet, name)
