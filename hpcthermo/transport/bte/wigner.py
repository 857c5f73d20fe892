r"""Heat carried by coherences between bands.

    kappa_C = (1/(N V)) sum_q sum_(s != s') C_ss' V_ss' V_s's g_ss' / ((w - w')^2 + g_ss'^2)        g_ss' = (G + G')/2

    V_ss' = <e_s| dD/dq |e_s'> / (2 sqrt(w w'))        G = 4 pi gamma

    "smm19"   C_ss' = ((w + w')/4) (C/w + C'/w')
              M. Simoncelli, N. Marzari, F. Mauri, Nat. Phys. 15, 809 (2019)
    "njc23"   C_ss' = (hbar/T) ((w + w')/2)^2 (n - n') / (w' - w)
              from Green-Kubo, after L. Isaeva et al., Nat. Commun. 10, 3853 (2019)

    symbol   is
    w        angular frequency, 2 pi f; C and n of a mode as in `conductivity`
    V_ss'    velocity operator, A/ps, in the gauge in which phases carry the positions of atoms
    G        full width of a line, 1/ps

Both tend to the same as w' approaches w, and at high temperature.

Within a group of degenerate bands the division into populations (s = s') and coherences depends on the eigenvectors.
Here they are those that diagonalise the velocity along one direction, as for group velocities, so that coherences add
to a conductivity in the relaxation-time approximation. Averaging group velocities over the little group leaves out
the part of V_ss V_ss that has not the symmetry of q; `left_out` says how much that is: kappa_RTA + within + left_out
does not depend on any choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_groups, heat_capacities, occupations
from hpcthermo.phonons.velocities import DIRECTION, separated
from hpcthermo.transport.bte.conductivity import Thickness, lifetimes, star_mean
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.units import CONDUCTIVITY_W_PER_M_K, PLANCK_EV_PER_THZ

FORMULAS = ("smm19", "njc23")


@dataclass(frozen=True)
class Coherences:
    """Conductivity by coherences, each (n_T, 3, 3), W/(m K).

    Attributes
    ----------
    between : ndarray
        Between bands of different frequency.
    within : ndarray
        Between degenerate bands.
    left_out : ndarray
        What group velocities averaged over the little group lack within degenerate groups; not part of `kappa`.
    """

    between: np.ndarray
    within: np.ndarray
    left_out: np.ndarray

    @property
    def kappa(self) -> np.ndarray:
        """All coherences, (n_T, 3, 3)."""
        total: np.ndarray = self.between + self.within
        return total


def coherences(mesh: Mesh, frequencies: np.ndarray, velocities: np.ndarray, velocity_matrices: np.ndarray,
               gamma: np.ndarray, temperatures: np.ndarray, formula: str = "smm19",
               thickness: Thickness | None = None) -> Coherences:
    """Conductivity by coherences.

    Parameters
    ----------
    frequencies, velocities : (I, B), (I, B, 3) arrays
        At the irreducible points, THz and A/ps; velocities as in the relaxation-time approximation they are added to.
    velocity_matrices : (I, 3, B, B) complex array
        <e_s| dD/dq |e_s'> / (w + w'), A/ps.
    gamma : (I, n_T, B) array
        THz.
    formula : str
        "smm19" or "njc23".

    Raises
    ------
    InputError
        If there is no such formula.
    """
    if formula not in FORMULAS:
        raise InputError(f"coherences: expected one of {', '.join(FORMULAS)}, got {formula}")
    temperatures = np.asarray(temperatures, dtype=np.float64)
    total = np.zeros((3, len(temperatures), 3, 3))
    for q, weight in enumerate(mesh.irreducible[1]):
        total += weight * np.stack(_at_point(frequencies[q], velocities[q], velocity_matrices[q], gamma[q],
                                             temperatures, formula))
    scale = CONDUCTIVITY_W_PER_M_K / (mesh.n_points * mesh.crystal.volume) * (thickness.scale if thickness else 1.0)
    return Coherences(*star_mean(mesh, total * scale))


def _at_point(f: np.ndarray, v: np.ndarray, velocity_matrix: np.ndarray, gamma: np.ndarray, temperatures: np.ndarray,
              formula: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over pairs of bands between, within and left out, (n_T, 3, 3), eV A^2/(K ps)."""
    active = f > CUTOFF_FREQUENCY_THZ
    group = degenerate_groups(f)
    f = np.where(active, f, 1.0)
    same = group[:, None] == group[None, :]
    w, w_ = f[:, None], f[None, :]
    operator = velocity_matrix * (w + w_) / (2.0 * np.sqrt(w * w_)) * (active[:, None] & active[None, :])
    if same.sum() > len(f):
        along = np.array(DIRECTION) / np.linalg.norm(DIRECTION)
        operator = separated(operator[:, None], along, group[None])[:, 0]
    # the diagonal is real: V_ss V_ss are populations
    products = (operator[:, None] * operator.conj()[None, :]).real
    width = 2.0 * np.pi * (gamma[:, :, None] + gamma[:, None, :])
    apart = 2.0 * np.pi * (w - w_)
    lines = np.where(width > 0.0, width, 0.0) / (apart**2 + np.where(width > 0.0, width, 1.0) ** 2)
    capacities = heat_capacities(f, temperatures)
    mixed = 0.25 * (w + w_) * (capacities[:, :, None] / w + capacities[:, None, :] / w_)
    if formula == "njc23":
        n = occupations(f, temperatures)
        slope = (n[:, None, :] - n[:, :, None]) / np.where(same, 1.0, w - w_)
        kubo = PLANCK_EV_PER_THZ * (0.5 * (w + w_)) ** 2 * slope / temperatures[:, None, None]
        mixed = np.where(same, mixed, kubo)
    carried = mixed * lines
    off = same & ~np.eye(len(f), dtype=bool)
    between, within = (np.einsum("tij,abij->tab", carried * mask, products) for mask in (~same, off))
    tau = lifetimes(gamma)
    spread = np.einsum("aii->ia", operator).real
    lost = spread[:, :, None] * spread[:, None, :] - v[:, :, None] * v[:, None, :]
    left_out = np.einsum("ti,iab->tab", capacities * tau * active, lost)
    return between, within, left_out
