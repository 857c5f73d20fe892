"""Small NumPy potentials for tests of the engine: a pair potential and one that exchanges fields."""

import numpy as np

from hpcthermo.neighbors import NeighborListBuilder


class _Listed:
    exchanges_fields = False

    def __init__(self, species, backend, cutoff):
        self.backend = backend
        self.cutoff = self.ghost_depth = cutoff

    def build_lists(self, system, skin):
        n_types = len(system.species)
        cutoffs = np.full((n_types, n_types), self.cutoff + skin)
        self.list = NeighborListBuilder(self.backend).build(system, cutoffs)

    def pairs(self, packed, begin, end):
        """Rows i, j, r_j - r_i and distance of all listed pairs of the atoms within the cutoff."""
        rows = packed.rows
        index = self.list.indices[begin:end]
        used = np.arange(index.shape[1]) < self.list.segments[begin:end, -1][:, None]
        i, column = np.nonzero(used)
        j = index[i, column]
        i = i + begin
        # fixed point differences are exact as integers
        d = (rows[j, :3].astype(np.float64) - rows[i, :3].astype(np.float64)) * packed.scale
        r = np.linalg.norm(d, axis=1)
        near = r < self.cutoff
        return i[near], j[near], d[near], r[near]


def add_pair_forces(output, i, j, d, f):
    """F_i += f, F_j -= f, W_j -= d (x) f."""
    np.add.at(output.forces, i, np.pad(f, ((0, 0), (0, 1))))
    if output.virials is None:
        np.add.at(output.forces, j, np.pad(-f, ((0, 0), (0, 1))))
    else:
        np.add.at(output.virials, j, (-f[:, :, None] * np.pad(d, ((0, 0), (0, 1)), constant_values=1.0)[:, None, :])
                  .reshape(-1, 12))


class BoundPair(_Listed):
    """U_i = 1/2 sum_j 4 e ((s/r)^12 - (s/r)^6) (1 - r^2/rc^2)^3."""

    epsilon, sigma = 0.01, 2.2

    def compute(self, system, packed, begin, end, output, exchange=None):
        i, j, d, r = self.pairs(packed, begin, end)
        x = (self.sigma / r) ** 6
        c = 1.0 - (r / self.cutoff) ** 2
        u = 2.0 * self.epsilon * (x * x - x)
        du = 2.0 * self.epsilon * (-12.0 * x * x + 6.0 * x) / r
        slope = du * c**3 - u * 3.0 * c**2 * 2.0 * r / self.cutoff**2
        np.add.at(output.energies, i, u * c**3)
        add_pair_forces(output, i, j, d, (slope / r)[:, None] * d)


class BoundDensity(_Listed):
    """Embedded density: U_i = -e sqrt(rho_i), rho_i = sum_j (1 - r^2/rc^2)^3, with half the work exchanged.

    Each owned atom i adds half of every pair's density to itself and half to j (also if j is a ghost), so
    the densities are whole only after a reverse, and the forces need the neighbours' derivative forward.
    """

    exchanges_fields = True

    def compute(self, system, packed, begin, end, output, exchange=None):
        assert exchange is not None
        assert (begin, end) == (0, system.n_owned)
        i, j, d, r = self.pairs(packed, begin, end)
        c = 1.0 - (r / self.cutoff) ** 2
        rho = np.zeros((system.n_total, 1))
        np.add.at(rho[:, 0], i, 0.5 * c**3)
        np.add.at(rho[:, 0], j, 0.5 * c**3)
        exchange.reverse(rho)
        exchange.forward(rho)
        output.energies[:] -= np.sqrt(rho[:end, 0])
        slope = np.where(rho[:, 0] > 0.0, -0.5 / np.sqrt(np.where(rho[:, 0] > 0.0, rho[:, 0], 1.0)), 0.0)
        # half of dE/dr of the pair from this side, the other half from the other side
        dpair = 0.5 * (slope[i] + slope[j]) * (-6.0 * c**2 * r / self.cutoff**2)
        add_pair_forces(output, i, j, d, (dpair / r)[:, None] * d)


class SamplePotential:
    """Potential of one of the bound classes above."""

    style, elements = "sample", ("Ar", "Ne")

    def __init__(self, bound_class=BoundPair, cutoff=4.5):
        self.bound_class, self.cutoff = bound_class, cutoff

    def bind(self, species, backend):
        return self.bound_class(species, backend, self.cutoff)
