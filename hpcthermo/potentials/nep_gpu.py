"""NEP on a GPU: the module compiled for one model, and its three launches (gpu/kernels/nep_gpu.h)."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.gpu.compile import specialised
from hpcthermo.neighbors import NeighborList, NeighborListBuilder, PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays
from hpcthermo.potentials.nep_file import NepModel
from hpcthermo.potentials.nep_parameters import (
    CUTOFF_DEGREE,
    CUTOFF_TERMS,
    KernelShape,
    aligned_copy,
    cutoff_polynomial,
    derivative_series,
    descriptor_layout,
    network_arrays,
    pad_last,
    pair_cutoffs,
    polynomial_coefficients,
    product_table,
)
from hpcthermo.system import System

#: capacities are rounded up to this many slots, so that a rebuild seldom asks for another compilation
_CAPACITY_STEP = 64
#: shared memory that a block may declare, bytes
_SHARED_MEMORY = 49_152


class BoundNepOnGpu:
    """A NEP model on a GPU.

    Parameters
    ----------
    gather : bool
        Whether radial pair forces are gathered from the series of both atoms, or scattered by atomic additions.
    fixed_point : bool
        Whether scattered forces are summed as integers: the sum does not depend on the order then.

    Attributes
    ----------
    cutoff, ghost_depth : float
        A.
    exchanges_fields : bool
        False: site energies need no ghost exchange.
    STAGES : tuple of str
        Stages of the kernels.
    stage_cycles : (len(STAGES),) float64, device, or None
        Where set, each call adds the cycles that its groups spend in each stage.
    """

    exchanges_fields = False
    STAGES = ("radial_descriptor", "angular_sums", "angular_descriptor", "network", "radial_force", "angular_force")

    def __init__(self, model: NepModel, types: np.ndarray, backend: Backend, gather: bool = True,
                 fixed_point: bool = True) -> None:
        self._model = model
        self._backend = backend
        self._gather, self._fixed_point = gather, fixed_point
        radial, angular, reach = pair_cutoffs(model, types)
        self._pair_cutoffs = np.maximum(np.maximum(radial, angular), reach)
        self._reach = float(reach.max())
        self.cutoff = float(self._pair_cutoffs.max())
        self.ghost_depth = self.cutoff
        self._constants, self._tables, self._descriptor_index = _tables(model, types, backend)
        self._constants |= {"GATHER": int(gather), "FIXED_POINT": int(fixed_point)}
        self._lists = NeighborListBuilder(backend)
        self._list: NeighborList | None = None
        self._computed = 0
        self.stage_cycles: Any | None = None

    def build_lists(self, system: System, skin: float) -> None:
        """Build the neighbour list for the present owned and ghost rows."""
        backend, xp, n = self._backend, self._backend.xp, system.n_owned
        self._list = None  # its memory is used again
        self._list = self._lists.build(system, self._pair_cutoffs + skin, self._reach + skin)
        longest_inner = int(backend.to_host(self._list.inner.sum(axis=1).max())) if n else 0
        self._constants["ANGULAR_SLOTS"] = _rounded(longest_inner, _CAPACITY_STEP)
        self._constants["LIST_SLOTS"] = _rounded(self._list.stride, _CAPACITY_STEP)
        scratch = _scratch_reals(self._constants, backend)
        shared = backend.groups_per_block * scratch * backend.real.itemsize <= _SHARED_MEMORY
        self._constants["SHARED_SCRATCH"] = int(shared)
        self._scratch = None if shared else backend.empty_aligned((backend.scratch_slices * scratch,), backend.real)
        series_row = self._tables[3].shape[-1]
        self._series = backend.empty_aligned((self._constants["N_TYPES"], n, series_row), backend.real)
        self._masks = xp.empty((n, self._list.stride // backend.lanes), dtype=np.int32)
        self._fixed_forces = xp.zeros((system.n_total + 1, 4), dtype=np.int64) if self._fixed_point else None
        self._fixed_virials: Any | None = None
        self._computed = 0

    def compute(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays,
                exchange: FieldExchange | None = None) -> None:
        """Add energies, forces and, if asked for, virials of the owned atoms [begin, end).

        Rows of ghosts are complete when all ranges with ghost neighbours are done; those of owned atoms are when
        every owned atom has been computed once, because a pair of owned atoms needs the series of both.
        """
        if end <= begin:
            return
        forces, virials = self._scatter_rows(output)
        self._sites(system, packed, begin, end, output, forces, virials, None)
        n = system.n_owned
        self._computed += end - begin
        last = self._computed == n
        if self._fixed_point:
            first_row = 0 if last else n
            self._settle(forces, output.forces, first_row, system.n_total)
            if virials is not None:
                self._settle(virials, output.virials, first_row, system.n_total)
        if not last:
            return
        self._computed = 0
        if self._gather:
            neighbors = self._neighbors
            self._backend.launch(
                self._module, "nep_gather", 0, n, packed.rows, packed.scale, n, neighbors.indices, neighbors.stride,
                neighbors.segments, self._tables[0], self._series, self._masks, output.forces, output.virials,
                self.stage_cycles, per="scratch",
            )

    def descriptors(self, system: System, packed: PackedPositions) -> np.ndarray:
        """Scaled descriptors of the owned atoms, in the order of the file.

        Returns
        -------
        (n_owned, D) float64, host
        """
        xp, n = self._backend.xp, system.n_owned
        output = ForceArrays(xp.zeros(n), xp.zeros((system.n_total + 1, 4)), None)
        descriptors = xp.empty((n, self._constants["N_DESCRIPTORS"]))
        forces, _ = self._scatter_rows(output)
        self._sites(system, packed, 0, n, output, forces, None, descriptors)
        return self._backend.to_host(descriptors)[:, self._descriptor_index] * self._model.scaler

    @property
    def _neighbors(self) -> NeighborList:
        if self._list is None:
            raise RuntimeError("build_lists comes before compute")
        return self._list

    @property
    def _module(self) -> str:
        return specialised("nep_gpu", **self._constants, STAGE_CLOCK=int(self.stage_cycles is not None))

    def _scatter_rows(self, output: ForceArrays) -> tuple[Any, Any]:
        """Where the kernel scatters forces and virials: the rows of the output, or integers."""
        if not self._fixed_point:
            return output.forces, output.virials
        if output.virials is not None and self._fixed_virials is None:
            self._fixed_virials = self._backend.xp.zeros(output.virials.shape, dtype=np.int64)
        return self._fixed_forces, None if output.virials is None else self._fixed_virials

    def _sites(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays, forces: Any,
               virials: Any, descriptors: Any | None) -> None:
        neighbors = self._neighbors
        self._backend.launch(
            self._module, "nep_sites", begin, end, packed.rows, packed.scale, system.n_owned, system.n_total,
            neighbors.indices, neighbors.stride, neighbors.segments, neighbors.inner, *self._tables, self._scratch,
            self._series, self._masks, output.energies, output.forces, forces, virials, descriptors, self.stage_cycles,
            per="scratch",
        )

    def _settle(self, scattered: Any, rows: Any, first_row: int, last_row: int) -> None:
        columns = rows.shape[1]
        self._backend.launch(self._module, "nep_settle", first_row * columns, last_row * columns, scattered, rows,
                             per="thread")


def _rounded(count: int, step: int) -> int:
    return max(1, -(-count // step)) * step


def _scratch_reals(constants: dict[str, int], backend: Backend) -> int:
    """Length of NepScratch of nep_gpu.h, in numbers of the pair arithmetic."""
    size, lanes = backend.real.itemsize, backend.lanes
    harmonics = (constants["DEGREE"] + 1) ** 2 - 1
    angular_row = _rounded(constants["N_ANGULAR"], 16 // size)
    rows = max(lanes * (_rounded(harmonics, 4) + 4), 2 * harmonics * angular_row)
    names = ("N_DESCRIPTORS", "N_NEURONS", "K_RADIAL")
    descriptors, neurons, sums = (_rounded(constants[name], lanes) for name in names)
    return rows + lanes * angular_row + 2 * descriptors + max(neurons, sums) + 4 * constants["ANGULAR_SLOTS"] // size


def _tables(model: NepModel, types: np.ndarray, backend: Backend) -> tuple[dict[str, int], tuple[Any, ...], np.ndarray]:
    """Constants of the module, arrays as in NepTables of nep_gpu.h, and the place of each descriptor of the file."""
    (n_radial, k_radial), (n_angular, k_angular) = (c.shape[:2] for c in (model.radial_coefficients,
                                                                           model.angular_coefficients))
    shape = KernelShape(n_radial, k_radial, n_angular, k_angular, model.l_max)
    quad = 16 // backend.real.itemsize
    radial_pair, angular_pair, reach = pair_cutoffs(model, types)
    cutoffs = np.stack([1.0 / radial_pair, 1.0 / angular_pair, radial_pair**2, reach**2], axis=-1)
    radial = polynomial_coefficients(model.radial_coefficients, types, shape.n_radial, shape.k_radial)
    angular = polynomial_coefficients(model.angular_coefficients, types, shape.n_angular, shape.k_angular)
    series = derivative_series(radial, radial_pair, CUTOFF_DEGREE[backend.precision])
    index, blocks, n_descriptors = descriptor_layout(model, shape)
    products, coefficients = product_table(blocks)
    network = network_arrays(model, types, index, n_descriptors, backend)
    constants = {
        "N_TYPES": len(types), "N_RADIAL": shape.n_radial, "K_RADIAL": shape.k_radial, "N_ANGULAR": shape.n_angular,
        "K_ANGULAR": shape.k_angular, "DEGREE": shape.degree, "N_DESCRIPTORS": n_descriptors,
        "N_NEURONS": model.neuron_biases.shape[1], "N_PRODUCTS": len(coefficients),
        "FIVE_BODY": blocks.get("1111", -1), "REPULSION": int(model.screening is not None),
    }

    def real(array: np.ndarray) -> Any:
        return aligned_copy(backend, array.astype(backend.real))

    tables = (
        real(cutoffs), real(cutoff_polynomial(CUTOFF_TERMS[backend.precision])),
        real(pad_last(radial.transpose(0, 1, 3, 2), quad)), real(pad_last(series, quad)),
        real(pad_last(angular.transpose(0, 1, 3, 2), quad)), backend.xp.asarray(products), real(coefficients),
        real(network.input_weights), real(network.input_weights_back), real(network.biases),
        real(network.output_weights), real(network.output_biases),
        None if model.screening is None else real(model.screening[np.ix_(types, types)]),
    )
    return constants, tables, index
