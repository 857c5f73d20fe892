r"""Time and memory of three-phonon linewidths and of the full equation: counts times measured times.

    strengths         T (16 B^4 / r + t B^2)
    energy weights    T w B^2.5 (1 + 0.022 (n_T - 1)) (1 + 0.4 (C - 1))
    full equation     P (l + n_T s)                                         P = 3 B^3 T min(0.13, 5 A / L)

    symbol   is
    T        triplets (`triplets.count_triplets`)
    B, N, I  bands; points of the mesh; irreducible points
    n_T, C   temperatures; cuts of the mesh into tetrahedra
    P        processes: of all triples of bands those that conserve energy, the fewer the finer the mesh
    L        shortest length that the mesh resolves, N_k |a_k|
    r, t     speed of strengths and what is done besides, below `PRODUCTS_FROM` bands and from there on
    w, l, s  times of the weights of a triplet; of a process: to list it, to solve with it at one temperature

Measured in processor time on one core of an AMD Zen 3 (AVX2): silicon (B = 6, 24), NaCl (6), graphene (6, 12 and, 28
atoms, 84), 15 cases. Strengths and weights together are 0.8 to 1.8 times what was found, P 0.9 to 1.8 times (with
Gaussians of one width it follows that width instead), solutions 0.8 to 2.7 times (most where M itself is made). Leg 0
is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.transport.bte.collisions import MERGED_UP_TO
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import strength_bytes
from hpcthermo.transport.bte.strength import PRODUCTS_FROM
from hpcthermo.transport.bte.tetrahedron import N_PLACES, tetrahedron_cuts
from hpcthermo.transport.bte.triplets import count_triplets

#: r (1/s) and t (s)
_KERNELS, _PRODUCTS = (12e9, 4e-8), (32e9, 3.3e-7)
#: w, l and s, s
_WEIGHTS, _LISTING, _SOLVING = 1.2e-7, 8e-8, 2.5e-7
#: P by 3 B^3 T: at most, and times L, A; with Gaussians so many times as many
_MOST_SHARE, _SHARE_LENGTH_A, _BY_GAUSSIANS = 0.13, 5.0, 1.6
#: of a process in the list (collisions.py), and the list with what is at work beside it by the list
_PROCESS_BYTES, _BESIDE = 21.0, 1.1
#: of a thread beside its strengths, with matrix products; kernels need less than a tenth
_THREAD_BYTES = 6e7


@dataclass(frozen=True)
class RateCost:
    """Cost of the three-phonon linewidths of a mesh.

    Attributes
    ----------
    mesh : Mesh
    n_temperatures : int
    tetrahedra : bool
        False: Gaussians.
    symmetrised : bool
        The mean over all cuts into tetrahedra.
    split : bool
        Normal and Umklapp processes apart.
    """

    mesh: Mesh
    n_temperatures: int
    tetrahedra: bool = True
    symmetrised: bool = True
    split: bool = False

    @property
    def n_bands(self) -> int:
        """B."""
        return self.mesh.crystal.n_bands

    @cached_property
    def n_triplets(self) -> int:
        """T."""
        return count_triplets(self.mesh)

    @cached_property
    def n_cuts(self) -> int:
        """C; 1 for Gaussians."""
        return len(tetrahedron_cuts(self.mesh, self.symmetrised)) if self.tetrahedra else 1

    @cached_property
    def n_processes(self) -> float:
        """P."""
        crystal = self.mesh.crystal
        lengths = np.linalg.norm(self.mesh.matrix @ crystal.cell, axis=1)[list(crystal.periodic)]
        share = min(_MOST_SHARE, _SHARE_LENGTH_A / float(lengths.min(initial=np.inf)))
        return 3.0 * self.n_bands**3 * self.n_triplets * share * (1.0 if self.tetrahedra else _BY_GAUSSIANS)

    @property
    def strength_seconds(self) -> float:
        """Of strengths, s of processor time."""
        speed, besides = _KERNELS if self.n_bands < PRODUCTS_FROM else _PRODUCTS
        return self.n_triplets * (16.0 * self.n_bands**4 / speed + besides * self.n_bands**2)

    @property
    def weight_seconds(self) -> float:
        """Of energy weights, s of processor time."""
        return (self.n_triplets * _WEIGHTS * self.n_bands**2.5 * (1.0 + 0.022 * (self.n_temperatures - 1))
                * (1.0 + 0.4 * (self.n_cuts - 1)))

    @property
    def full_seconds(self) -> float:
        """Of the list of processes and of conjugate gradients, s of processor time."""
        return self.n_processes * (_LISTING + self.n_temperatures * _SOLVING)

    @property
    def full_bytes(self) -> float:
        """Of the list of processes, and of the matrix where that is made."""
        matrix = len(self.mesh.irreducible[0]) * self.mesh.n_points * self.n_bands**2
        made = matrix <= MERGED_UP_TO * self.n_processes
        return _BESIDE * _PROCESS_BYTES * self.n_processes + (8.0 * matrix if made else 0.0)

    def strength_bytes(self, device: str) -> float:
        """Of the strengths that a thread holds at a time."""
        return strength_bytes(device, self.n_bands, self.n_triplets / len(self.mesh.irreducible[0]))

    def table_bytes(self, threads: int) -> float:
        """Of modes, permutations of points, rows of frequencies, deposits, and what threads need besides."""
        n, bands, irreducible = self.mesh.n_points, self.n_bands, len(self.mesh.irreducible[0])
        modes = 24.0 * n * bands**2
        rows = 12.0 * N_PLACES * self.n_cuts * n * bands if self.tetrahedra else 0.0
        deposits = 8.0 * irreducible * bands * self.n_temperatures * (2 if self.split else 1) * (2 + threads)
        besides = _THREAD_BYTES * threads if bands >= PRODUCTS_FROM else 0.0
        return modes + rows + deposits + 4.0 * n * len(self.mesh.rotations) + besides
