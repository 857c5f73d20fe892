"""Modified embedded-atom potentials with screening, first and second neighbours (formulas: meam.h, meam_reference)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays, require_species
from hpcthermo.potentials.cubic_tables import BINADES, RadialFunction, bits_of, equidistant, square_tables
from hpcthermo.potentials.listed import ListedPotential
from hpcthermo.potentials.meam_file import MEANS_OF_T, MeamParameters
from hpcthermo.potentials.meam_reference import ReferenceStructures
from hpcthermo.system import System

_TOLERANCE = {"mixed": 5e-8, "double": 1e-9}
_MOST_BITS = {"mixed": 9, "double": 10}
#: of a pair potential: 1e-3 A apart, where those of other programs are 5e-3 A
_SAMPLES = 6000
#: MEAM_SUMS of the kernel, with some room
_LEAST_CAPACITY = 64


class MeamPotential:
    """A modified embedded-atom model, independent of device and system.

    Attributes
    ----------
    style : str
        ``"meam"``.
    elements : tuple of str
    model : MeamParameters
    """

    style = "meam"
    sums_in_order = False

    def __init__(self, model: MeamParameters) -> None:
        self.model = model
        self.elements = model.elements

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundMeam:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If the model lacks a species.
        """
        return BoundMeam(self.model, require_species(self.style, self.elements, species), backend)


def screening_reach(model: MeamParameters) -> float:
    """How far an atom can be that screens a pair within the cutoff, A: the far end of the ellipse C = C_max."""
    c = float(model.c_max.max())
    return model.cutoff * max(1.0, c / (2.0 * np.sqrt(c - 1.0)))


class BoundMeam(ListedPotential):
    """A modified embedded-atom model on a device."""

    def __init__(self, model: MeamParameters, types: np.ndarray, backend: Backend) -> None:
        n, reach = len(types), screening_reach(model)
        super().__init__(backend, np.full((n, n), reach))
        reference, xp = ReferenceStructures(model), backend.xp
        functions = [_sampled(reference.pair(a, b), model.cutoff) for a in types.tolist() for b in types.tolist()]
        tables = square_tables(functions, model.cutoff, _TOLERANCE[backend.precision], _MOST_BITS[backend.precision])
        elements = np.column_stack([
            model.rho0[types], 1.0 / model.r_e[types, types], model.beta[types], model.t[types],
            model.embedding[types] * model.cohesive[types, types],
            [1.0 / reference.background(a) for a in types.tolist()], model.g_form[types]])
        triplets = np.ix_(types, types, types)
        low, high = model.c_min[triplets], model.c_max[triplets]
        screens = np.stack([low, high, 1.0 / (high - low)], axis=-1)
        memory = backend.empty_aligned(tables.shape, backend.real)
        memory[...] = backend.from_host(tables.astype(backend.real))
        self._arguments = (
            n, bits_of(tables), MEANS_OF_T.index(model.mean_of_t), int(model.linear_if_negative), model.cutoff,
            model.smoothing, reach, model.smooth_g, xp.asarray(elements.astype(backend.real)),
            xp.asarray(screens.astype(backend.real)), memory)
        self._scratch: tuple[Any, ...] = ()

    def _prepare(self, system: System, neighbors: NeighborList) -> None:
        backend = self._backend
        lanes, n_types = backend.lanes, len(system.species)
        capacity = -(-max(neighbors.stride + n_types * lanes, _LEAST_CAPACITY) // lanes) * lanes + lanes
        self._scratch = (
            backend.empty_aligned((backend.scratch_slices * 9 * capacity,), backend.real),
            backend.empty_aligned((backend.scratch_slices * (2 * capacity + n_types + 1),), np.dtype(np.int32)),
            capacity)

    def _add_forces(self, neighbors: NeighborList, system: System, packed: PackedPositions, begin: int, end: int,
                    output: ForceArrays, exchange: FieldExchange | None) -> None:
        self._backend.launch(
            "meam", "meam", begin, end, packed.rows, packed.scale, system.n_total, neighbors.indices, neighbors.stride,
            neighbors.segments, *self._arguments, *self._scratch, output.energies, output.forces, output.virials,
            per="scratch")


def _sampled(function: Callable[[np.ndarray], np.ndarray], cutoff: float) -> RadialFunction:
    """A function that takes long, as cubics through many points over all distances that tables have."""
    first = 0.5 ** (0.5 * BINADES) * cutoff
    step = (cutoff - first) / (_SAMPLES - 1)
    # two points more at both ends, where slopes would be less accurate
    return equidistant(function(first + step * np.arange(-2, _SAMPLES + 2)), first - 2.0 * step, step)
