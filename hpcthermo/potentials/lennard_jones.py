"""Lennard-Jones potential by type pair, truncated, optionally between different layers only.

phi(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6] - phi_c for r < r_c, else 0. By default phi_c makes phi(r_c) = 0
(energy-shifted: forces are those of the plain truncation, and energy is conserved when a pair crosses r_c up to the
jump of the force); with ``shifted=False`` phi_c = 0. Parameter files have GPUMD's form ``lj N symbols`` and N^2 rows
"epsilon (eV) sigma (A) cutoff (A)".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, PackedPositions, Tiles, make_tiles
from hpcthermo.potentials.base import FieldExchange, ForceArrays, require_layers, require_species
from hpcthermo.potentials.listed import ListedPotential
from hpcthermo.potentials.parameter_text import Elements, chemical_symbols, data_lines, numbers, refuse_elements
from hpcthermo.system import System

LARGEST_CUTOFF_A = 50.0
MOST_ELEMENTS = 94


@dataclass(frozen=True)
class LennardJonesModel:
    """Parameters by type pair; a pair with epsilon 0 does not interact.

    Attributes
    ----------
    source : str
        File or literature reference.
    elements : tuple of str
        Chemical symbols of the T types.
    epsilon : (T, T) float64
        Depth, eV; symmetric.
    sigma : (T, T) float64
        Zero of the unshifted potential, A; symmetric.
    cutoff : (T, T) float64
        A; symmetric.
    shifted : bool
        Whether the energy is shifted to 0 at the cutoff.
    between_layers_only : bool
        Whether pairs within one layer (`System.layers`) are left out. Periodic images of a layer count as that layer.
    """

    source: str
    elements: tuple[str, ...]
    epsilon: np.ndarray
    sigma: np.ndarray
    cutoff: np.ndarray
    shifted: bool = True
    between_layers_only: bool = False


class LennardJonesPotential:
    """A Lennard-Jones model, independent of device and system.

    Attributes
    ----------
    style : str
        ``"lennard_jones"``.
    elements : tuple of str
    model : LennardJonesModel

    Raises
    ------
    InputError
        If the parameters are not physical or not symmetric.
    """

    style = "lennard_jones"
    sums_in_order = False

    def __init__(self, model: LennardJonesModel) -> None:
        _check_model(model)
        self.model = model
        self.elements = model.elements

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundLennardJones:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If the model lacks a species.
        """
        return BoundLennardJones(self.model, require_species(self.style, self.elements, species), backend)


class BoundLennardJones(ListedPotential):
    """A Lennard-Jones model on a device."""

    def __init__(self, model: LennardJonesModel, types: np.ndarray, backend: Backend) -> None:
        pairs = np.ix_(types, types)
        epsilon, sigma = model.epsilon[pairs], model.sigma[pairs]
        cutoffs = np.where(epsilon != 0.0, model.cutoff[pairs], 0.0)
        super().__init__(backend, cutoffs, different_layers=model.between_layers_only)
        self._source = model.source
        self._between_layers_only = model.between_layers_only
        ratio = np.divide(sigma, cutoffs, out=np.zeros_like(sigma), where=cutoffs > 0.0) ** 6
        shift = 4.0 * epsilon * (ratio**2 - ratio) if model.shifted else np.zeros_like(sigma)
        rows = np.stack([sigma**2, 4.0 * epsilon, shift, cutoffs**2], axis=-1)
        self._rows = backend.xp.asarray(rows.astype(backend.real))
        self._tiles: Tiles
        self._scratch: Any = None

    def _arrange(self, system: System) -> Any:
        if self._between_layers_only:
            require_layers(system, self._source, "between_layers_only", ", or set between_layers_only = false")
        self._tiles = make_tiles(system, self._backend, self._between_layers_only)
        return self._tiles.members

    def _prepare(self, system: System, neighbors: NeighborList) -> None:
        self._scratch = self._backend.empty_aligned((3 * neighbors.stride * self._backend.scratch_slices,),
                                                    self._backend.real)

    def _add_forces(self, neighbors: NeighborList, system: System, packed: PackedPositions, begin: int, end: int,
                    output: ForceArrays, exchange: FieldExchange | None) -> None:
        self._backend.launch(
            "lennard_jones", "lennard_jones", *self._tiles.span(begin, end), begin, end, self._tiles.members,
            int(not self._between_layers_only), packed.rows, packed.scale, system.positions, neighbors.indices,
            neighbors.stride, neighbors.segments, len(system.species), self._rows, self._scratch,
            output.energies, output.forces, output.virials, output.total_virial, per="scratch",
        )


def parse_lennard_jones(text: str, name: str, elements: Elements = None, *, cutoff: float | None = None,
                        shifted: bool = True, between_layers_only: bool = False) -> LennardJonesPotential:
    """Potential from the text of a GPUMD ``lj`` file.

    Parameters
    ----------
    elements : sequence of str, optional
        Must agree with the header if given.
    cutoff : float, optional
        Replaces the cutoffs of the file, A.

    Raises
    ------
    InputError
        If the file is incomplete or its numbers are not physical.
    """
    lines = data_lines(text)
    header = lines[0].split() if lines else []
    if len(header) < 3 or header[0] != "lj" or header[1] != str(len(header) - 2):
        raise InputError(f"{name}: expected the header \"lj N symbols\" with N symbols, got {' '.join(header)[:60]!r}")
    n = len(header) - 2
    if n > MOST_ELEMENTS:
        raise InputError(f"{name}: expected at most {MOST_ELEMENTS} elements, got {n}")
    symbols = chemical_symbols(header[2:], name)
    refuse_elements(elements, symbols, name)
    if len(lines) != 1 + n * n or any(len(line.split()) != 3 for line in lines[1:]):
        raise InputError(f"{name}: expected {n * n} rows of epsilon, sigma and cutoff, got {len(lines) - 1} rows; "
                         "correct the file")
    table = np.stack([numbers(line.split(), f"{name}: row {i + 1}") for i, line in enumerate(lines[1:])])
    epsilon, sigma, cutoffs = table.T.reshape(3, n, n)
    if cutoff is not None:
        cutoffs = np.full((n, n), cutoff)
    model = LennardJonesModel(name, symbols, epsilon, sigma, cutoffs, shifted, between_layers_only)
    return LennardJonesPotential(model)


def _check_model(model: LennardJonesModel) -> None:
    n = len(model.elements)
    for name, high, unit in (("epsilon", 100.0, "eV"), ("sigma", 20.0, "A"), ("cutoff", LARGEST_CUTOFF_A, "A")):
        values = np.asarray(getattr(model, name))
        if values.shape != (n, n) or not np.array_equal(values, values.T):
            raise InputError(f"{model.source}: expected {name} as a symmetric {n} x {n} table")
        if not ((values >= 0.0) & (values <= high)).all():
            raise InputError(f"{model.source}: expected {name} within [0, {high:g}] {unit}, "
                             f"got {values.min():g} to {values.max():g}")
    active = model.epsilon > 0.0
    if (active & ((model.sigma < 0.1) | (model.cutoff < 0.1))).any():
        raise InputError(f"{model.source}: expected sigma and cutoff of at least 0.1 A wherever "
                         "epsilon is positive")
