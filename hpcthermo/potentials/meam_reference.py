"""Pair potentials of the modified embedded-atom method, from the energies of reference structures.

The energy per atom of a reference structure with nearest neighbours at R is given (Rose et al., with cubic terms),

    E(R) = -E_c [1 + a + d(a) a^3 ...] e^(-a),   a = alpha (R/r_e - 1)

and phi is what makes the sum of embedding and pairs equal to it. With Z_1 neighbours at R and, in the second-neighbour
formulation, Z_2 at s R whose screening by the nearest ones is S:

    one element    E = F(rho_ref(R)) + Z_1/2 phi(R) + Z_2 S/2 phi(s R)
                   phi(R) = sum_n (-Z_2 S/Z_1)^n psi(s^n R),   psi(R) = 2/Z_1 [E(R) - F(rho_ref(R))]
    two elements   E = 1/2 (F_a + F_b) + Z_1/2 phi_ab(R) + Z_2/4 [S_a phi_aa(s R) + S_b phi_bb(s R)]

rho_ref is the density in that structure: a neighbour at R of the other kind (or of the only one), at s R of its own.

M. I. Baskes, Phys. Rev. B 46, 2727 (1992); B.-J. Lee and M. I. Baskes, Phys. Rev. B 62, 8564 (2000); B.-J. Lee,
M. I. Baskes, H. Kim and Y. K. Cho, Phys. Rev. B 64, 184102 (2001); short distances: J. F. Ziegler, J. P. Biersack and
U. Littmark, The Stopping and Range of Ions in Solids (1985). At what distances both are blended is in none of these; it
was checked with energies of dimers that LAMMPS gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpcthermo.potentials.zbl import COULOMB_EV_A, UNIVERSAL_PHI

if TYPE_CHECKING:
    from hpcthermo.potentials.meam_file import MeamParameters

#: of the sum over n; the distances grow by at least 1.15 from one to the next
_SERIES_TERMS = 40
_SMALLEST_DENSITY = 1e-100
#: a at which phi is wholly that of Ziegler, Biersack and Littmark, and from which on it is not
_ZBL_FROM, _ZBL_TO = -3.0, -1.0


@dataclass(frozen=True)
class Lattice:
    """A reference structure.

    Attributes
    ----------
    neighbors : int
        Z_1.
    shape : tuple of 3 floats
        q_h of the densities h = 1, 2, 3 of equal neighbours, in units of d_h^2.
    second_neighbors : int
        Z_2.
    second_distance : float
        Of the second neighbours, in units of the first.
    screening_atoms : int
        Nearest neighbours of both ends that screen a second neighbour.
    screening_c : float
        Their C.
    edge : float
        Nearest-neighbour distance in lattice constants.
    """

    neighbors: int
    shape: tuple[float, float, float]
    second_neighbors: int
    second_distance: float
    screening_atoms: int
    screening_c: float
    edge: float


LATTICES = {
    "fcc": Lattice(12, (0.0, 0.0, 0.0), 6, np.sqrt(2.0), 4, 1.0, np.sqrt(0.5)),
    "bcc": Lattice(8, (0.0, 0.0, 0.0), 6, np.sqrt(4.0 / 3.0), 4, 2.0, np.sqrt(0.75)),
    "hcp": Lattice(12, (0.0, 0.0, 1.0 / 3.0), 6, np.sqrt(2.0), 4, 1.0, 1.0),
    "dia": Lattice(4, (0.0, 0.0, 32.0 / 9.0), 12, np.sqrt(8.0 / 3.0), 1, 0.5, np.sqrt(3.0) / 4.0),
    "dim": Lattice(1, (1.0, 2.0 / 3.0, 0.4), 0, 1.0, 0, 0.0, 1.0),
    "sc": Lattice(6, (0.0, 0.0, 0.0), 12, np.sqrt(2.0), 2, 1.0, 1.0),
    "b1": Lattice(6, (0.0, 0.0, 0.0), 12, np.sqrt(2.0), 2, 1.0, 0.5),
    "b2": Lattice(8, (0.0, 0.0, 0.0), 6, np.sqrt(4.0 / 3.0), 4, 2.0, np.sqrt(0.75)),
}
#: in which every neighbour of one element is of the other
ALLOY_LATTICES = ("b1", "b2", "dia", "dim")


def smooth_step(x: np.ndarray) -> np.ndarray:
    """[1 - (1 - x)^4]^2 from 0 at 0 to 1 at 1."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray((1.0 - (1.0 - x) ** 4) ** 2)


def g_function(form: int, smooth: float, gamma: np.ndarray) -> np.ndarray:
    """G(Gamma), as in meam.h."""
    gamma = np.asarray(gamma, dtype=np.float64)
    if form == 1:
        return np.asarray(np.exp(0.5 * gamma))
    if form == 3:
        return 2.0 / (1.0 + np.exp(-np.maximum(gamma, -700.0)))
    if form == -5:
        return np.asarray(np.copysign(np.sqrt(np.abs(1.0 + gamma)), 1.0 + gamma))
    end = -smooth / (smooth + 1.0)
    below = (end / np.minimum(gamma, end)) ** smooth / (smooth + 1.0)
    return np.sqrt(np.where(gamma > end, 1.0 + np.maximum(gamma, end), below))


class ReferenceStructures:
    """Densities and pair potentials in the reference structures of a set of parameters."""

    def __init__(self, parameters: MeamParameters) -> None:
        self._p = parameters

    def background(self, a: int) -> float:
        """Density that F is scaled with: that of the reference structure at its equilibrium."""
        p = self._p
        lattice = LATTICES[p.lattice[a][a]]
        if p.background_from_neighbors:
            return float(p.rho0[a] * lattice.neighbors)
        return float(self._reference_density(a, a, np.array([p.r_e[a, a]]), equilibrium=True)[0])

    def pair(self, a: int, b: int, with_repulsion: bool = True) -> Callable[[np.ndarray], np.ndarray]:
        """phi_ab(r), eV; at short distances, where the parameters say so, with the repulsion of the nuclei."""
        p, lattice = self._p, LATTICES[self._p.lattice[a][b]]

        def phi(r: np.ndarray) -> np.ndarray:
            if a == b:
                factor = -lattice.second_neighbors * self._second_screening(a, b) / lattice.neighbors
                terms = _SERIES_TERMS if p.second_neighbors[a, b] and factor != 0.0 else 1
                value = sum((factor**n * self._psi(a, b, lattice.second_distance**n * r) for n in range(terms)),
                            np.zeros_like(r))
            else:
                value = self._psi(a, b, r)
                if p.second_neighbors[a, b]:
                    for one, other in ((a, b), (b, a)):
                        weight = 0.5 * lattice.second_neighbors / lattice.neighbors * self._second_screening(one, other)
                        if weight != 0.0:
                            value = value - weight * self.pair(one, one, False)(lattice.second_distance * r)
            return self._with_repulsion(a, b, r, value) if with_repulsion and p.zbl[a, b] else value

        return phi

    def _psi(self, a: int, b: int, r: np.ndarray) -> np.ndarray:
        """2/Z_1 [E - mean F]."""
        neighbors = LATTICES[self._p.lattice[a][b]].neighbors
        energies = [self._embedding(one, self._reference_density(one, other, r)) for one, other in ((a, b), (b, a))]
        return 2.0 / neighbors * (self._energy(a, b, r) - 0.5 * (energies[0] + energies[1]))

    def _energy(self, a: int, b: int, r: np.ndarray) -> np.ndarray:
        """E(R) of the reference structure."""
        p = self._p
        x = p.alpha[a, b] * (r / p.r_e[a, b] - 1.0)
        cubic = np.where(x < 0.0, p.repulsion[a, b], p.attraction[a, b])
        if p.rose_form == 1:
            cubic = -p.attraction[a, b] + p.repulsion[a, b] / r
        elif p.rose_form == 0:
            cubic = cubic * p.r_e[a, b] / r
        return np.asarray(-p.cohesive[a, b] * (1.0 + x + cubic * x**3) * np.exp(-x))

    def _embedding(self, a: int, density: np.ndarray) -> np.ndarray:
        p = self._p
        y = density / self.background(a)
        positive = y * np.log(np.where(y > 0.0, y, 1.0))
        scale = p.embedding[a] * p.cohesive[a, a]
        return scale * np.where(y > 0.0, positive, -y if p.linear_if_negative else 0.0)

    def _reference_density(self, a: int, b: int, r: np.ndarray, equilibrium: bool = False) -> np.ndarray:
        """Density at an atom of type a in the reference structure of a and b."""
        p, lattice = self._p, LATTICES[self._p.lattice[a][b]]
        d = [self._density(b, h, r) for h in range(4)]
        total = lattice.neighbors * d[0]
        if p.second_neighbors[a, b]:
            total = total + (lattice.second_neighbors * self._second_screening(a, b)
                             * self._density(a, 0, lattice.second_distance * r))
        form = int(p.g_form[a])
        gamma = np.zeros_like(r)
        t = p.t[a] if p.mean_of_t == "own" else p.t[b]
        # second neighbours stand symmetrically and add to R_0 only
        if any(lattice.shape) and not (equilibrium and form <= 0):
            # the density that F is scaled with has Gamma of the nearest neighbours, by convention
            normal = np.maximum(lattice.neighbors * d[0] if equilibrium else total, _SMALLEST_DENSITY)
            gamma = sum((t[h] * lattice.shape[h] * (d[h + 1] / normal) ** 2 for h in range(3)), gamma)
        return total * g_function(form, p.smooth_g, gamma)

    def _density(self, a: int, h: int, r: np.ndarray) -> np.ndarray:
        p = self._p
        return np.asarray(p.rho0[a] * np.exp(-p.beta[a, h] * (r / p.r_e[a, a] - 1.0)))

    def _second_screening(self, a: int, b: int) -> float:
        """S of second neighbours of type a by nearest ones of type b."""
        p, lattice = self._p, LATTICES[self._p.lattice[a][b]]
        c_min, c_max = p.c_min[a, a, b], p.c_max[a, a, b]
        return float(smooth_step(np.array((lattice.screening_c - c_min) / (c_max - c_min)))) ** lattice.screening_atoms

    def _with_repulsion(self, a: int, b: int, r: np.ndarray, value: np.ndarray) -> np.ndarray:
        """A phi that goes over into the screened Coulomb repulsion of the nuclei."""
        p = self._p
        x = p.alpha[a, b] * (r / p.r_e[a, b] - 1.0)
        length = 0.4685 / (p.numbers[a] ** 0.23 + p.numbers[b] ** 0.23)
        screened = sum((UNIVERSAL_PHI[2 * k] * np.exp(-UNIVERSAL_PHI[2 * k + 1] * r / length) for k in range(4)),
                       np.zeros_like(r))
        nuclei = COULOMB_EV_A * p.numbers[a] * p.numbers[b] / r * screened
        share = smooth_step((x - _ZBL_FROM) / (_ZBL_TO - _ZBL_FROM))
        return share * np.where(share > 0.0, value, 0.0) + (1.0 - share) * nuclei
