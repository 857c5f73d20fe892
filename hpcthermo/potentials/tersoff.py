"""Tersoff bond-order potential for any number of elements.

J. Tersoff, Phys. Rev. B 37, 6991 (1988); Phys. Rev. B 39, 5566 (1989). The kernel (gpu/kernels/tersoff.h) states the
equations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, PackedPositions
from hpcthermo.potentials.base import FieldExchange, ForceArrays, require_species
from hpcthermo.potentials.listed import ListedPotential
from hpcthermo.potentials.tersoff_file import COLUMNS, TersoffModel
from hpcthermo.system import System

#: atoms of one tile, sorted by type so that lanes share parameters; on a GPU a tile is one warp's batch
_TILE_SIZE = {"cpu": 512, "cuda": 32}
#: stands for ln 0
_LOG_ZERO = -1e4


class TersoffPotential:
    """A Tersoff parametrisation, independent of device and system.

    Attributes
    ----------
    style : str
        ``"tersoff"``.
    elements : tuple of str
    model : TersoffModel
    """

    style = "tersoff"
    sums_in_order = False

    def __init__(self, model: TersoffModel) -> None:
        self.model = model
        self.elements = model.elements

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundTersoff:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If a species or one of its triplets has no parameters.
        """
        types = require_species(self.style, self.elements, species)
        parameters = self.model.parameters[np.ix_(types, types, types)]
        missing = np.argwhere(np.isnan(parameters[..., 0]))
        if len(missing):
            first = " ".join(species[t] for t in missing[0])
            raise InputError(f"{self.model.source}: no parameters for the triplet {first} ({len(missing)} missing); "
                             "Tersoff files are not mixed, every triplet must be there")
        return BoundTersoff(parameters, backend)


class BoundTersoff(ListedPotential):
    """A Tersoff parametrisation on a device.

    Parameters
    ----------
    parameters : (T, T, T, 14) float64
        By species of i, j and k, columns as in `tersoff_file.COLUMNS`.
    """

    def __init__(self, parameters: np.ndarray, backend: Backend) -> None:
        ends = parameters[..., COLUMNS.index("R")] + parameters[..., COLUMNS.index("D")]
        super().__init__(backend, ends.max(axis=1))  # any j may ask about the pair ik
        self._has_lambda_3 = int((parameters[..., COLUMNS.index("lambda3")] != 0.0).any())
        self._rows = backend.xp.asarray(parameter_rows(parameters).astype(backend.real))
        self._reach_squared = backend.xp.asarray((self._reach**2).astype(backend.real))
        self._tile_size = _TILE_SIZE[backend.device]
        self._order: Any = None
        self._scratch: tuple[Any, ...] = ()

    def _prepare(self, system: System, neighbors: NeighborList) -> None:
        backend, xp, n = self._backend, self._backend.xp, system.n_owned
        tiles = xp.arange(n) // self._tile_size
        key = tiles * len(system.species) + system.types[:n]
        self._order = xp.argsort(key, kind="stable").astype(np.int32)
        longest = int(backend.to_host(neighbors.segments[:, -1].max())) if n else 0
        self._scratch = self._scratch_arguments(longest)

    def _add_forces(self, neighbors: NeighborList, system: System, packed: PackedPositions, begin: int, end: int,
                    output: ForceArrays, exchange: FieldExchange | None) -> None:
        tile = self._tile_size
        self._backend.launch(
            "tersoff", "tersoff", begin // tile, (end + tile - 1) // tile, begin, end, tile, system.n_owned,
            self._order, packed.rows, packed.scale, system.n_total,
            neighbors.indices, neighbors.stride, neighbors.segments,
            len(system.species), self._has_lambda_3, 2.0 * self.cutoff, self._rows, self._reach_squared, *self._scratch,
            output.energies, output.forces, output.virials, per="scratch",
        )

    def _scratch_arguments(self, longest: int) -> tuple[Any, ...]:
        """Scratch arrays and their capacity in bonds (sizes as tersoff_reals and tersoff_integers of the kernel)."""
        backend = self._backend
        lanes, slices = backend.lanes, backend.scratch_slices
        capacity = longest + lanes
        reals = 10 * capacity * lanes + 3 * (capacity + lanes) + lanes
        integers = 2 * capacity * lanes + (capacity + lanes) + capacity + 5 * lanes
        return (
            backend.empty_aligned((slices * reals,), backend.real),
            backend.empty_aligned((slices * integers,), np.dtype(np.int32)), capacity,
        )


def parameter_rows(parameters: np.ndarray) -> np.ndarray:
    """The numbers of each triplet in the form of the kernel (tersoff.h, TersoffParameter).

    Parameters
    ----------
    parameters : (T, T, T, 14) float64
        `tersoff_file.COLUMNS`.

    Returns
    -------
    (T, T, T, 18) float64
    """
    p = {name: parameters[..., k] for k, name in enumerate(COLUMNS)}
    with np.errstate(divide="ignore", invalid="ignore"):
        log_beta = np.maximum(np.where(p["beta"] > 0.0, np.log(p["beta"]), _LOG_ZERO), _LOG_ZERO)
        inverse_2n = np.where(p["n"] > 0.0, 0.5 / p["n"], 0.0)
        scale = np.where(p["D"] > 0.0, 0.5 * np.pi / p["D"], 0.0)
    d_squared = np.where(p["c"] > 0.0, p["d"], np.maximum(p["d"], 1.0)) ** 2
    return np.stack([
        p["A"], p["lambda1"], p["B"], p["lambda2"], log_beta, p["n"], inverse_2n,
        p["R"] - p["D"], p["R"], p["R"] + p["D"], scale,
        p["gamma"], p["c"] ** 2 / d_squared, 2.0 * p["c"] ** 2, d_squared, p["costheta0"],
        p["lambda3"], (p["m"] == 3.0).astype(np.float64),
    ], axis=-1)
