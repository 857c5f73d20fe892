"""Embedded-atom potentials: U_i = F_a(rho_i) + 1/2 sum_j phi_ab(r_ij), rho_i = sum_j rho_ab(r_ij).

M. S. Daw and M. I. Baskes, Phys. Rev. B 29, 6443 (1984); with rho_ab that depends on both types, M. W. Finnis and
J. E. Sinclair, Philos. Mag. A 50, 45 (1984). A type is a for the atom i and b for its neighbour j. The densities of
owned atoms are summed first; then the slopes F' of ghosts come from their owners, and forces follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays, require_species
from hpcthermo.potentials.cubic_tables import RadialFunction, bits_of, square_tables
from hpcthermo.potentials.listed import ListedPotential
from hpcthermo.system import System

#: tolerance of the tables and their finest grid by precision; float32 rounds at 6e-8
_TOLERANCE = {"mixed": 5e-8, "double": 5e-10}
_MOST_BITS = {"mixed": 9, "double": 12}


class EamModel(Protocol):
    """The functions of an embedded-atom potential; indices are places in ``elements``."""

    @property
    def source(self) -> str:
        """File or literature reference."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols."""

    @property
    def cutoff(self) -> float:
        """Longest distance, A."""

    def pair(self, a: int, b: int) -> RadialFunction:
        """phi_ab, eV; symmetric."""

    def density(self, a: int, b: int) -> RadialFunction:
        """rho_ab, at an atom of type a from one of type b."""

    def density_key(self, a: int, b: int) -> tuple[int, int]:
        """The same for pairs with the same density function."""

    def embedding(self, a: int) -> EmbeddingTable:
        """F_a, eV."""


@dataclass(frozen=True)
class EmbeddingTable:
    """F(rho) as cubic pieces, continued in straight lines.

    Attributes
    ----------
    step : float
        Density between nodes.
    rows : (n, 4) float64
        Coefficients by interval over x from 0 to 1 (`cubic_tables.cubic_rows`), eV.
    """

    step: float
    rows: np.ndarray


class EamPotential:
    """An embedded-atom model, independent of device and system.

    Attributes
    ----------
    style : str
        ``"eam"``, or ``"eam_zhou"`` for the analytic form of Zhou et al.
    elements : tuple of str
    model : EamModel
    """

    sums_in_order = False

    def __init__(self, model: EamModel, style: str = "eam") -> None:
        self.style = style
        self.model = model
        self.elements = model.elements

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundEam:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If the model lacks a species.
        """
        return BoundEam(self.model, require_species(self.style, self.elements, species).tolist(), backend)


class BoundEam(ListedPotential):
    """An embedded-atom model on a device."""

    exchanges_fields = True

    def __init__(self, model: EamModel, types: list[int], backend: Backend) -> None:
        n = len(types)
        super().__init__(backend, np.full((n, n), model.cutoff))
        functions: list[RadialFunction] = []
        known: dict[tuple[str, tuple[int, int]], int] = {}
        density, pair = np.zeros((n, n), np.int32), np.zeros((n, n), np.int32)
        for here, there in np.ndindex(n, n):
            a, b = types[here], types[there]
            for name, key, function, table in (("density", model.density_key(a, b), model.density, density),
                                               ("pair", (min(a, b), max(a, b)), model.pair, pair)):
                if (name, key) not in known:
                    known[name, key] = len(functions)
                    functions.append(function(a, b))
                table[here, there] = known[name, key]
        tables = square_tables(functions, model.cutoff, _TOLERANCE[backend.precision],
                               _MOST_BITS[backend.precision])
        with np.errstate(over="ignore"):
            rows = tables.astype(backend.real)
        if not np.isfinite(rows).all():
            raise InputError(f"{model.source}: expected functions in the range of {rows.dtype} numbers, got larger "
                             "values; correct the file, or say precision = \"double\"")
        self._tables = (n, bits_of(tables), 1.0 / model.cutoff**2, self._aligned(rows), backend.xp.asarray(density),
                        backend.xp.asarray(pair))
        self._embedding = self._embedding_arguments([model.embedding(a) for a in types])
        self._slopes: Any = None
        self._rounded_slopes: Any = None

    def _aligned(self, rows: np.ndarray) -> Any:
        memory = self._backend.empty_aligned(rows.shape, rows.dtype)
        memory[...] = self._backend.from_host(rows)
        return memory

    def _embedding_arguments(self, tables: list[EmbeddingTable]) -> tuple[Any, ...]:
        """Intervals by type, rows and intervals per density; short tables get straight lines at their ends."""
        longest = max(len(table.rows) for table in tables)
        rows = np.zeros((len(tables), longest, 4))
        for k, table in enumerate(tables):
            n = len(table.rows)
            rows[k, :n] = table.rows
            slope = table.rows[-1] @ np.array([0.0, 1.0, 2.0, 3.0])
            rows[k, n:, 0] = table.rows[-1].sum() + slope * np.arange(longest - n)
            rows[k, n:, 1] = slope
        per_density = np.array([1.0 / table.step for table in tables])
        xp = self._backend.xp
        return longest, xp.asarray(rows), xp.asarray(per_density)

    def _prepare(self, system: System, neighbors: NeighborList) -> None:
        # a row more for padding slots
        self._slopes = self._backend.xp.zeros((system.n_total + 1, 1))
        self._rounded_slopes = self._slopes.astype(self._backend.real)

    def _add_forces(self, neighbors: NeighborList, system: System, packed: PackedPositions, begin: int, end: int,
                    output: ForceArrays, exchange: FieldExchange | None) -> None:
        assert exchange is not None
        around = (neighbors.indices, neighbors.stride, neighbors.segments, *self._tables)
        self._backend.launch("eam", "eam_density", begin, end, packed.rows, packed.scale, *around, *self._embedding,
                             output.energies, self._slopes)
        exchange.forward(self._slopes)
        self._rounded_slopes[...] = self._slopes
        self._backend.launch("eam", "eam_force", begin, end, packed.rows, packed.scale, system.positions, *around,
                             self._rounded_slopes, output.energies, output.forces, output.virials, output.total_virial)
