r"""What four-phonon linewidths cost, before they are computed.

    operations = (pairs) B^4 (8 n_s + 16 B + 100)      pairs: N^2 / 6 of each irreducible point, or half of those drawn

at 3e9 a second of one core: silicon, 11 x 11 x 11. A sample draws 768 pairs of each point in its first round, which is
all for an error of a few tenths of a percent in kappa of silicon; further ones follow from their scatter, which is not
known beforehand.

    symbol   is
    N, B     points of the mesh, bands
    n_s      lattice vectors between the third and fourth atoms of the force constants
"""

from __future__ import annotations

from dataclasses import dataclass

from hpcthermo.transport.bte.four_phonon import PAIRS_OF_BATCH
from hpcthermo.transport.bte.four_phonon_sample import BLOCK, LEAST_BLOCKS
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.quartic_strength import QuarticSize

_OPERATIONS_PER_SECOND = 3e9
#: lanes of the widest vectors
_LANES = 8
#: pairs whose third point is the least probable
_KEPT = 0.5


@dataclass(frozen=True)
class FourPhononCost:
    """Size of a sum over processes of four phonons.

    Attributes
    ----------
    mesh : Mesh
    size : QuarticSize
    n_temperatures : int
    all_processes : bool
    most_samples : int
    """

    mesh: Mesh
    size: QuarticSize
    n_temperatures: int
    all_processes: bool
    most_samples: int

    @property
    def pairs_of_point(self) -> tuple[float, float]:
        """Pairs of wave vectors of each irreducible point, least and most."""
        if self.all_processes:
            return (self.mesh.n_points**2 / 6.0,) * 2
        least = LEAST_BLOCKS * BLOCK * PAIRS_OF_BATCH
        return float(least), float(max(least, self.most_samples))

    @property
    def n_points(self) -> int:
        """Irreducible points."""
        return len(self.mesh.irreducible[0])

    @property
    def core_seconds(self) -> float:
        """Of one core, for the least number of pairs."""
        pairs = self.pairs_of_point[0] * (1.0 if self.all_processes else _KEPT)
        return self.n_points * pairs * self.size.operations_of_pair / _OPERATIONS_PER_SECOND

    @property
    def thread_bytes(self) -> float:
        """Memory of each thread."""
        return self.size.thread_bytes(_LANES)

    @property
    def table_bytes(self) -> float:
        """Amplitudes and occupations of the mesh, and the batches of the least sample."""
        n_bands, batches = self.size.n_bands, 0.0 if self.all_processes else self.pairs_of_point[0] / PAIRS_OF_BATCH
        return (self.mesh.n_points * n_bands * (32.0 * n_bands + 8.0 * self.n_temperatures)
                + 16.0 * self.n_points * batches * n_bands * self.n_temperatures)
