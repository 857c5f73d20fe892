"""Tersoff bond-order potential for any number of elements.

J. Tersoff, Phys. Rev. B 37, 6991 (1988); Phys. Rev. B 39, 5566 (1989). The kernel (gpu/kernels/tersoff.h) states the
equations.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.potentials.bond_columns import BondColumnPotential
from hpcthermo.potentials.tersoff_file import COLUMNS
from hpcthermo.potentials.triplets import TripletPotential

#: stands for ln 0
_LOG_ZERO = -1e4


class TersoffPotential(TripletPotential):
    """A Tersoff parametrisation of style ``"tersoff"``; the columns of its model are `tersoff_file.COLUMNS`."""

    style = "tersoff"

    def _bind(self, parameters: np.ndarray, backend: Backend) -> BondColumnPotential:
        p = {name: parameters[..., k] for k, name in enumerate(COLUMNS)}
        return bond_order_potential("tersoff", p, parameter_rows(p), backend)


def bond_order_potential(kernel: str, p: Mapping[str, np.ndarray], rows: np.ndarray,
                         backend: Backend) -> BondColumnPotential:
    """A bound potential of tersoff.h.

    Parameters
    ----------
    kernel : {"tersoff", "tersoff_mod"}
    p : mapping of name to (T, T, T) float64
        At least R, D and lambda3.
    rows : (T, T, T, 19) float64
        As the kernel takes them.
    """
    reach = (p["R"] + p["D"]).max(axis=1)  # any j may ask about the pair ik
    return BondColumnPotential(backend, "tersoff", kernel, reach, rows, int((p["lambda3"] != 0.0).any()))


def bond_order_columns(p: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The numbers that both forms of the potential have, in the order of TersoffParameter (tersoff.h)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_beta = np.maximum(np.where(p["beta"] > 0.0, np.log(p["beta"]), _LOG_ZERO), _LOG_ZERO)
        inverse_2n = np.where(p["n"] > 0.0, 0.5 / p["n"], 0.0)
        scale = np.where(p["D"] > 0.0, 0.5 * np.pi / p["D"], 0.0)
    return [p["A"], p["lambda1"], p["B"], p["lambda2"], log_beta, p["exponent"], inverse_2n,
            p["R"] - p["D"], p["R"], p["R"] + p["D"], scale,
            p["costheta0"], p["lambda3"], (p["m"] == 3.0).astype(np.float64)]


def parameter_rows(p: Mapping[str, np.ndarray]) -> np.ndarray:
    """The numbers of each triplet in the form of the kernel (tersoff.h).

    Parameters
    ----------
    p : mapping of name to (T, T, T) float64
        By `tersoff_file.COLUMNS`.

    Returns
    -------
    (T, T, T, 19) float64
    """
    d_squared = np.where(p["c"] > 0.0, p["d"], np.maximum(p["d"], 1.0)) ** 2
    return np.stack([
        *bond_order_columns({**p, "exponent": p["n"]}),
        p["gamma"], p["c"] ** 2 / d_squared, 2.0 * p["c"] ** 2, d_squared, np.zeros_like(d_squared),
    ], axis=-1)
