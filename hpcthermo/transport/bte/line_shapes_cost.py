"""Time and memory of line shapes before they are computed.

time     sum over wave vectors of T B^2 F (2 c + 16 n_T B / r), one thread
memory   8 Q n_T B F, and 120 n_T B F while one wave vector is at work

symbol   is
T        triplets of a wave vector that its little group leaves
B, F     bands, frequencies of a line
Q, n_T   wave vectors, temperatures
c        two complex quotients, s
r        floating-point operations of products, 1/s
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.triplets import TripletSymmetry

#: measured on a Zen 3 core (AVX2): s, 1/s
_QUOTIENTS, _PRODUCTS = 18e-9, 3e10
_AT_WORK = 120.0


@dataclass(frozen=True)
class LineShapesCost:
    """Cost of the lines at some points of a mesh.

    Attributes
    ----------
    mesh : Mesh
    points : (Q,) ndarray of int
    n_temperatures, n_frequencies : int
    """

    mesh: Mesh
    points: np.ndarray
    n_temperatures: int
    n_frequencies: int

    @cached_property
    def n_triplets(self) -> int:
        """Sum of T over the wave vectors."""
        found, counts = np.unique(self.mesh.representative[self.points], return_counts=True)
        triplets = TripletSymmetry(self.mesh, permute=False)
        slots = np.searchsorted(self.mesh.irreducible[0], found)
        return sum(int(count) * len(triplets.of(int(slot))) for slot, count in zip(slots, counts, strict=True))

    @property
    def seconds(self) -> float:
        """Of processor time."""
        bands = self.mesh.crystal.n_bands
        elements = float(self.n_triplets) * bands**2 * (self.n_frequencies + bands)
        return elements * (2.0 * _QUOTIENTS + 2.0 * 8.0 * self.n_temperatures * bands / _PRODUCTS)

    @property
    def memory_bytes(self) -> float:
        """Of results, and of the wave vector at work."""
        of_point = float(self.n_temperatures * self.mesh.crystal.n_bands * self.n_frequencies)
        return (8.0 * len(self.points) + _AT_WORK) * of_point
