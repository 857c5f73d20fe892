"""Neuroevolution potential (NEP): energies, forces and neighbour-centred virials.

Z. Fan et al., Phys. Rev. B 104, 104309 (2021); J. Chem. Phys. 157, 114801 (2022); K. Song et al., Nat. Commun. 15,
10208 (2024). The kernel (gpu/kernels/nep.h) states the equations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, NeighborListBuilder, PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays, require_species
from hpcthermo.potentials.nep_file import NepModel, read_nep_file
from hpcthermo.potentials.nep_gpu import BoundNepOnGpu
from hpcthermo.potentials.nep_parameters import nep_parameters, pair_cutoffs
from hpcthermo.system import System


class NepPotential:
    """A NEP model, independent of device and system.

    Attributes
    ----------
    style : str
        ``"nep"``.
    elements : tuple of str
    model : NepModel
    """

    style = "nep"
    sums_in_order = True  # BoundNepOnGpu adds in fixed point

    def __init__(self, model: NepModel) -> None:
        self.model = model
        self.elements = model.elements

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundNep | BoundNepOnGpu:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If the model lacks a species.
        """
        types = require_species(self.style, self.elements, species)
        form = BoundNep if backend.device == "cpu" else BoundNepOnGpu
        return form(self.model, types, backend)


def read_nep(path: str | Path) -> NepPotential:
    """Potential from a nep.txt.

    Raises
    ------
    InputError
        If the file is missing, unsupported or damaged.
    """
    return NepPotential(read_nep_file(path))


class BoundNep:
    """A NEP model on a device.

    Attributes
    ----------
    cutoff, ghost_depth : float
        A.
    exchanges_fields : bool
        False: site energies need no ghost exchange.
    STAGES : tuple of str
        Stages of the kernel.
    stage_cycles : (len(STAGES),) float64, device, or None
        Where set, each call adds the cycles that its groups spend in each stage.
    """

    exchanges_fields = False
    STAGES = ("compaction", "radial_descriptor", "angular_sums", "angular_descriptor", "network", "radial_force",
              "angular_force", "repulsion")

    def __init__(self, model: NepModel, types: np.ndarray, backend: Backend) -> None:
        self._model = model
        self._backend = backend
        radial, angular, reach = pair_cutoffs(model, types)
        self._pair_cutoffs = np.maximum(np.maximum(radial, angular), reach)
        self._reach = float(reach.max())
        self.cutoff = float(self._pair_cutoffs.max())
        self.ghost_depth = self.cutoff
        self._parameters = nep_parameters(model, types, backend)
        self._lists = NeighborListBuilder(backend)
        self._list: NeighborList | None = None
        self._scratch: tuple[Any, ...] = ()
        self.stage_cycles: Any | None = None

    def build_lists(self, system: System, skin: float) -> None:
        """Build the neighbour list for the present owned and ghost rows."""
        cutoffs = self._pair_cutoffs if self._parameters.sorted_lists else self._pair_cutoffs.max(keepdims=True)
        self._list = None  # its memory is used again
        self._list = self._lists.build(system, cutoffs + skin, self._reach + skin)
        self._scratch = self._scratch_arguments(self._list)

    def compute(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays,
                exchange: FieldExchange | None = None) -> None:
        """Add energies, forces and, if asked for, virials of the owned atoms [begin, end)."""
        self._launch(system, packed, begin, end, output, None)

    def descriptors(self, system: System, packed: PackedPositions) -> np.ndarray:
        """Scaled descriptors of the owned atoms, in the order of the file.

        Returns
        -------
        (n_owned, D) float64, host
        """
        xp, n = self._backend.xp, system.n_owned
        output = ForceArrays(xp.zeros(n), xp.zeros((system.n_total + 1, 4)), None)
        descriptors = xp.empty((n, self._parameters.n_descriptors))
        self._launch(system, packed, 0, n, output, descriptors)
        return self._backend.to_host(descriptors)[:, self._parameters.descriptor_index] * self._model.scaler

    def _launch(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays,
                descriptors: Any | None) -> None:
        if self._list is None:
            raise RuntimeError("build_lists comes before compute")
        self._backend.launch(
            "nep", self._parameters.shape.kernel, begin, end, packed.rows, packed.scale, system.n_total,
            self._list.indices, self._list.stride, self._list.segments, self._list.inner, *self._parameters.arguments,
            *self._scratch, output.energies, output.forces, output.virials, descriptors,
            self.stage_cycles, per="scratch",
        )

    def _scratch_arguments(self, neighbors: NeighborList) -> tuple[Any, ...]:
        """Scratch arrays and capacities for the longest rows of a list (sizes as in nep_model.h)."""
        backend, p = self._backend, self._parameters
        radial = _odd_multiple(neighbors.stride + 2 * backend.lanes)
        longest_inner = int(backend.to_host(neighbors.inner.sum(axis=1).max())) if len(neighbors.inner) else 0
        angular = _odd_multiple(longest_inner + 2 * backend.lanes)
        angular_row = -(-p.shape.n_angular // backend.lanes) * backend.lanes
        reals = (
            7 * radial + (6 + 2 * p.shape.n_angular + p.shape.harmonics) * angular + 2 * p.shape.harmonics * angular_row
            + 2 * (p.descriptor_row + 2 * backend.lanes) + p.neuron_row + p.n_types * p.series_row
        )
        integers = -(-(radial + angular + 2 * (p.n_types + 1)) // 16) * 16
        slices = backend.scratch_slices
        return (
            backend.empty_aligned((slices * reals,), backend.real),
            backend.empty_aligned((slices * integers,), np.dtype(np.int32)), radial, angular,
        )


def _odd_multiple(n: int) -> int:
    """Least odd multiple of 16 that is not below n: rows of that length do not collide in the cache."""
    return 16 * ((n + 15) // 16 | 1)
