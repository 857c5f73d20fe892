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
from numpy.polynomial import chebyshev

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
#: FAR_DEGREE of ilp.h, by precision
FAR_DEGREE = {"double": 18, "mixed": 10}
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
        far = far_pairs(parameters, cutoff, tolerance, FAR_DEGREE[backend.precision])
        super().__init__(backend, np.full(bond_cutoff.shape, cutoff), different_layers=True, inner_reach=far.start)
        self._source = source
        self._bond_reach = bond_cutoff
        self._bond_lists = NeighborListBuilder(backend)
        self._bonds: NeighborList
        xp = backend.xp
        self._bond_reach_squared = xp.asarray((bond_cutoff**2).astype(backend.real))
        self._rows = xp.asarray(parameter_rows(parameters, cutoff, tolerance, far).astype(backend.real))
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


def taper(r: np.ndarray, cutoff: float) -> np.ndarray:
    """T(r) = 1 - 35 x^4 + 84 x^5 - 70 x^6 + 20 x^7, x = r / R."""
    x = r / cutoff
    return (1.0 - x) ** 4 * (1.0 + 4.0 * x + 10.0 * x**2 + 20.0 * x**3)


def _named(parameters: np.ndarray) -> dict[str, np.ndarray]:
    """Each of `PAIR_COLUMNS`, (T, T, 1)."""
    return {name: parameters[..., k, None] for k, name in enumerate(PAIR_COLUMNS)}


def pair_energy(parameters: np.ndarray, cutoff: float, r: np.ndarray) -> np.ndarray:
    """Energy phi of a pair (ilp.h) by types at the distances `r` (n,), A: (T, T, n), eV."""
    p = _named(parameters)
    repulsion = p["epsilon"] * np.exp(p["alpha"] * (1.0 - r / p["beta"]))
    damping = 1.0 / (1.0 + np.exp(-p["d"] * (r / (p["sR"] * p["reff"]) - 1.0)))
    return taper(r, cutoff) * (repulsion - p["C6"] / r**6 * damping)


@dataclass(frozen=True)
class Reaches:
    """Distances beyond which a term of a pair stays below a tolerance, each (T, T) float64, A.

    Attributes
    ----------
    damping : what the damping takes from the dispersion.
    repulsion : the isotropic repulsion.
    """

    damping: np.ndarray
    repulsion: np.ndarray


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
    p = _named(parameters)
    r = np.linspace(0.0, cutoff, 2001)[1:]
    repulsion = p["epsilon"] * np.exp(p["alpha"] * (1.0 - r / p["beta"]))
    undamped = p["C6"] / r**6 * np.exp(np.minimum(-p["d"] * (r / (p["sR"] * p["reff"]) - 1.0), 0.0))

    def reach(term: np.ndarray) -> np.ndarray:
        seen = taper(r, cutoff) * term > tolerance
        last = len(r) - 1 - np.argmax(seen[..., ::-1], axis=-1)
        return np.where(seen.any(axis=-1), r[np.minimum(last + 1, len(r) - 1)], 0.0)

    return Reaches(reach(undamped), reach(repulsion))


@dataclass(frozen=True)
class FarPairs:
    """phi beyond a distance as a polynomial in u, which runs from -1 to 1 linearly in r^2.

    Attributes
    ----------
    start : float
        Where it begins, A; it ends at the cutoff.
    coefficients : (T, T, degree + 1) float64
        Of u^0, u^1, ..., eV.
    """

    start: float
    coefficients: np.ndarray


def far_pairs(parameters: np.ndarray, cutoff: float, tolerance: float, degree: int) -> FarPairs:
    """The polynomials of this degree that begin as near as they can and miss phi by less than `tolerance` (eV).

    Interpolation at the zeros of the Chebyshev polynomial of the next degree.
    """
    n_types = len(parameters)
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    between = np.linspace(-1.0, 1.0, 20 * degree)

    def energies(start: float, u: np.ndarray) -> np.ndarray:
        r = np.sqrt(0.5 * (cutoff**2 + start**2) + 0.5 * (cutoff**2 - start**2) * u)
        return pair_energy(parameters, cutoff, r).reshape(n_types**2, -1).T

    for start in np.arange(0.25, 1.0, 0.01) * cutoff:
        series = chebyshev.chebfit(nodes, energies(start, nodes), degree)
        if np.abs(chebyshev.chebval(between, series).T - energies(start, between)).max() < 0.8 * tolerance:
            break
    powers = np.zeros((n_types**2, degree + 1))
    for row, column in zip(powers, series.T, strict=True):
        found = chebyshev.cheb2poly(column)  # without the zeros at its end: pairs may have no energy
        row[:len(found)] = found
    return FarPairs(float(start), powers.reshape(n_types, n_types, degree + 1))


def parameter_rows(parameters: np.ndarray, cutoff: float, tolerance: float, far: FarPairs) -> np.ndarray:
    """The numbers of each pair in the form of the kernel (ilp.h, InterlayerParameter), and those of its polynomial.

    Parameters
    ----------
    parameters : (T, T, 9) float64
        `ilp_file.PAIR_COLUMNS`.
    tolerance : float
        What may be left out of a pair, eV.

    Returns
    -------
    (T, T, 16 + degree + 1) float64
    """
    p = {name: parameters[..., k] for k, name in enumerate(PAIR_COLUMNS)}
    reach, same = reaches(parameters, cutoff, tolerance), np.ones_like(p["C"])
    least = np.log(tolerance / np.maximum(p["C"], 1e-3 * tolerance))
    # g falls with r, also by the taper: where t is too small at the start of far pairs it is everywhere
    start = p["alpha"] * (1.0 - far.start / p["beta"]) + np.log(taper(np.array(far.start), cutoff) + 1e-300) - least
    scale = 2.0 / (cutoff**2 - far.start**2)
    rows = np.stack([
        same * cutoff**2, same / cutoff,
        p["alpha"], p["alpha"] / p["beta"], p["epsilon"], p["C"], p["gamma"] ** -2, least,
        p["d"], p["d"] / (p["sR"] * p["reff"]), p["C6"],
        reach.damping**2, reach.repulsion**2, np.maximum(start, 0.0) * p["gamma"] ** 2,
        same * scale, same - scale * cutoff**2,
    ], axis=-1)
    return np.concatenate([rows, far.coefficients], axis=-1)


def registry_distance(parameters: np.ndarray, tolerance: float, spacing: float = 3.35) -> np.ndarray:
    """Distance at which g between flat layers `spacing` (A) apart falls to `tolerance` (eV), by type pair, A.

    ln(C / tolerance) + alpha (1 - r/beta) - (r^2 - spacing^2) / gamma^2 = 0
    """
    p = {name: parameters[..., k] for k, name in enumerate(PAIR_COLUMNS)}
    slope = 0.5 * p["alpha"] / p["beta"] * p["gamma"] ** 2
    constant = np.log(np.maximum(p["C"], tolerance) / tolerance) + p["alpha"]
    return -slope + np.sqrt(slope**2 + constant * p["gamma"] ** 2 + spacing**2)
