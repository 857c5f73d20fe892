"""Registry-dependent interlayer potential (ILP) of graphene and hexagonal boron nitride.

W. Ouyang, D. Mandelli, M. Urbakh, O. Hod, Nano Lett. 18, 6009 (2018); normals and form: A. N. Kolmogorov, V. H. Crespi,
Phys. Rev. B 71, 235415 (2005), I. Leven et al., J. Chem. Theory Comput. 12, 2896 (2016); taper: T. Maaravi et al.,
J. Phys. Chem. C 121, 22826 (2017). The kernel (gpu/kernels/ilp.h) states the equations. Pairs of different layers
(`System.layers`) interact; a potential for the bonds within layers comes beside it, in an overlay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import NeighborList, NeighborListBuilder, PackedPositions, Tiles, make_tiles
from hpcthermo.potentials.base import FieldExchange, ForceArrays, require_layers, require_species
from hpcthermo.potentials.ilp_file import PAIR_COLUMNS, InterlayerModel
from hpcthermo.potentials.listed import ListedPotential
from hpcthermo.system import System

#: what may be left out of one pair, eV, by precision. About a hundred pairs of an atom are near the limit, so in double
#: the energy of an atom is right to 1e-10 eV
PAIR_TOLERANCE_EV = {"double": 1e-13, "mixed": 1e-9}
#: neighbours that make a normal, BONDS of ilp.h
BONDS = 3


class InterlayerPotential:
    """An ILP parametrisation, independent of device and system.

    Attributes
    ----------
    style : str
        ``"ilp"``.
    elements : tuple of str
    model : InterlayerModel
    """

    style = "ilp"
    sums_in_order = False

    def __init__(self, model: InterlayerModel) -> None:
        self.model = model
        self.elements = model.elements

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundInterlayer:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If a species or a pair has no parameters.
        """
        types = require_species(self.style, self.elements, species)
        pairs = np.ix_(types, types)
        missing = np.argwhere(np.isnan(self.model.parameters[pairs][..., 0]))
        if len(missing):
            raise InputError(f"{self.model.source}: no parameters for the pair "
                             f"{' '.join(species[t] for t in missing[0])}; complete the file")
        return BoundInterlayer(self.model.source, self.model.parameters[pairs], self.model.bond_cutoff[pairs],
                               self.model.cutoff, backend)


class BoundInterlayer(ListedPotential):
    """An ILP parametrisation on a device.

    Parameters
    ----------
    parameters : (T, T, 9) float64
        `ilp_file.PAIR_COLUMNS`.
    bond_cutoff : (T, T) float64
        A.
    cutoff : float
        R of the taper, A.
    """

    def __init__(self, source: str, parameters: np.ndarray, bond_cutoff: np.ndarray, cutoff: float,
                 backend: Backend) -> None:
        tolerance = PAIR_TOLERANCE_EV[backend.precision]
        near = reaches(parameters, cutoff, tolerance)
        super().__init__(backend, np.full(bond_cutoff.shape, cutoff), different_layers=True,
                         inner_reach=max(float(reach.max()) for reach in (near.damping, near.repulsion, near.registry)))
        self._source = source
        self._bond_reach = bond_cutoff
        self._bond_lists = NeighborListBuilder(backend)
        self._bonds: NeighborList
        xp = backend.xp
        self._bond_reach_squared = xp.asarray((bond_cutoff**2).astype(backend.real))
        self._rows = xp.asarray(parameter_rows(parameters, cutoff, tolerance).astype(backend.real))
        self._tiles: Tiles
        self._normals: Any = None
        self._gradients: Any = None
        self._scratch: tuple[Any, ...] = ()

    def build_lists(self, system: System, skin: float) -> None:
        """Build the list of interlayer neighbours and that of bonded ones.

        Raises
        ------
        InputError
            If an atom has no layer, or more neighbours in its layer than make a normal.
        """
        super().build_lists(system, skin)
        self._bonds = self._bond_lists.build(system, np.where(self._bond_reach > 0.0, self._bond_reach + skin, 0.0))
        self._refuse_crowded_atoms(system)

    def _arrange(self, system: System) -> Any:
        require_layers(system, self._source, "the interlayer potential")
        self._tiles = make_tiles(system, self._backend, by_layer=True)
        return self._tiles.members

    def _prepare(self, system: System, neighbors: NeighborList) -> None:
        backend, n = self._backend, system.n_owned
        self._normals = backend.empty_aligned((n, 4), backend.real)
        self._gradients = backend.empty_aligned((n, 4), backend.real)
        slots = neighbors.stride * backend.scratch_slices
        self._scratch = (backend.empty_aligned((6 * slots,), backend.real),
                         backend.empty_aligned((slots,), np.dtype(np.int32)))

    def _refuse_crowded_atoms(self, system: System) -> None:
        most = self._backend.xp.zeros(1, dtype=np.int32)
        bonds = self._bonds
        self._backend.launch("ilp", "ilp_most_bonds", 0, system.n_owned, system.positions, system.types, system.layers,
                             bonds.indices, bonds.stride, bonds.segments, system.n_total, len(system.species),
                             self._bond_reach_squared, most, per="thread")
        if int(self._backend.to_host(most)[0]) > BONDS:
            raise InputError(f"{self._source}: an atom has {int(self._backend.to_host(most)[0])} neighbours within "
                             f"{float(self._bond_reach.max()):g} A in its layer, expected at most {BONDS} (honeycomb "
                             "layers); check the structure and its layer numbers")

    def _add_forces(self, neighbors: NeighborList, system: System, packed: PackedPositions, begin: int, end: int,
                    output: ForceArrays, exchange: FieldExchange | None) -> None:
        backend, bonds = self._backend, self._bonds
        around = (packed.rows, packed.scale, system.layers, bonds.indices, bonds.stride, bonds.segments,
                  len(system.species), self._bond_reach_squared, self._normals)
        backend.launch("ilp", "ilp_normals", begin, end, *around, per="thread")
        backend.launch(
            "ilp", "ilp_pairs", *self._tiles.span(begin, end), begin, end, self._tiles.members, packed.rows,
            packed.scale, system.positions, system.n_total, neighbors.indices, neighbors.stride, neighbors.segments,
            neighbors.inner, len(system.species), self._rows, self._normals, self._gradients, *self._scratch,
            output.energies, output.forces, output.virials, output.total_virial, per="scratch",
        )
        backend.launch("ilp", "ilp_normal_forces", begin, end, *around, self._gradients, output.forces, output.virials,
                       per="thread")


@dataclass(frozen=True)
class Reaches:
    """Distances beyond which a term of a pair stays below a tolerance, each (T, T) float64, A.

    Attributes
    ----------
    damping : what the damping takes from the dispersion.
    repulsion : the isotropic repulsion.
    registry : g from both sides, with the neighbour straight above.
    """

    damping: np.ndarray
    repulsion: np.ndarray
    registry: np.ndarray


def reaches(parameters: np.ndarray, cutoff: float, tolerance: float) -> Reaches:
    """Reaches of the terms.

    Parameters
    ----------
    parameters : (T, T, 9) float64
        `ilp_file.PAIR_COLUMNS`.
    cutoff : float
        R of the taper, A.
    tolerance : float
        eV.
    """
    p = {name: parameters[..., k, None] for k, name in enumerate(PAIR_COLUMNS)}
    r = np.linspace(0.0, cutoff, 2001)[1:]
    x = r / cutoff
    taper = (1.0 - x) ** 4 * (1.0 + 4.0 * x + 10.0 * x**2 + 20.0 * x**3)
    decay = taper * np.exp(p["alpha"] * (1.0 - r / p["beta"]))
    undamped = taper * p["C6"] / r**6 * np.exp(np.minimum(-p["d"] * (r / (p["sR"] * p["reff"]) - 1.0), 0.0))

    def reach(term: np.ndarray) -> np.ndarray:
        last = len(r) - 1 - np.argmax(term[..., ::-1] > tolerance, axis=-1)
        return np.where((term > tolerance).any(axis=-1), r[np.minimum(last + 1, len(r) - 1)], 0.0)

    return Reaches(reach(undamped), reach(p["epsilon"] * decay), reach(2.0 * p["C"] * decay))


def parameter_rows(parameters: np.ndarray, cutoff: float, tolerance: float) -> np.ndarray:
    """The numbers of each pair in the form of the kernel (ilp.h, InterlayerParameter).

    Parameters
    ----------
    parameters : (T, T, 9) float64
        `ilp_file.PAIR_COLUMNS`.
    tolerance : float
        What may be left out of a pair, eV.

    Returns
    -------
    (T, T, 13) float64
    """
    p = {name: parameters[..., k] for k, name in enumerate(PAIR_COLUMNS)}
    reach, same = reaches(parameters, cutoff, tolerance), np.ones_like(p["C"])
    return np.stack([
        same * cutoff**2, same / cutoff,
        p["alpha"], p["alpha"] / p["beta"], p["epsilon"], p["C"], p["gamma"] ** -2,
        np.log(tolerance / np.maximum(p["C"], 1e-3 * tolerance)),
        p["d"], p["d"] / (p["sR"] * p["reff"]), p["C6"],
        reach.damping**2, reach.repulsion**2,
    ], axis=-1)


def registry_distance(parameters: np.ndarray, tolerance: float, spacing: float = 3.35) -> np.ndarray:
    """Distance at which g between flat layers `spacing` (A) apart falls to `tolerance` (eV), by type pair, A.

    ln(C / tolerance) + alpha (1 - r/beta) - (r^2 - spacing^2) / gamma^2 = 0
    """
    p = {name: parameters[..., k] for k, name in enumerate(PAIR_COLUMNS)}
    slope = 0.5 * p["alpha"] / p["beta"] * p["gamma"] ** 2
    constant = np.log(np.maximum(p["C"], tolerance) / tolerance) + p["alpha"]
    return -slope + np.sqrt(slope**2 + constant * p["gamma"] ** 2 + spacing**2)
