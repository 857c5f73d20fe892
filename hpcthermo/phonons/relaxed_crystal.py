"""From a [structure] and a potential to the relaxed primitive cell.

Relaxation follows forces that have the symmetry of the structure, so it keeps that symmetry but for rounding. What is
left of rounding is averaged out with the operations found before: positions are the mean over all operations, and the
metric G of the cell is the mean of W^T G W, W the rotations in fractional coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.grid import frame_cell
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.minimize import FreeCell
from hpcthermo.dynamics.relax import relax
from hpcthermo.engine import make_engine
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.space_group import ROUGH_TOLERANCE, primitive_cell, space_group_of

if TYPE_CHECKING:
    from hpcthermo.config.lattice_dynamics import TightRelaxation
    from hpcthermo.potentials.base import Potential

#: what averaging may move, A; more is no rounding
_LARGEST_CORRECTION = 1e-2
#: height of a cell without a vector across a sheet: its extent and this, A
_VACUUM = 20.0
#: of the virial of small cells, GPa
_STRESS_ROUNDING_GPA = 1e-8


@dataclass(frozen=True)
class RelaxedCrystal:
    """A relaxed primitive cell.

    Attributes
    ----------
    crystal : Crystal
    layers : (n,) ndarray of int
        Layer of each atom, for potentials that act between layers; -1 without layers.
    given_cell : (3, 3) ndarray of int
        Vectors of the cell of [structure] in units of the primitive ones.
    energy : float
        Per primitive cell, eV.
    largest_force : float
        eV/A.
    largest_stress : float
        Deviation of the components along periodic directions from the target, held ones too, GPa; not a number if the
        potential has no stress.
    free_stress : float
        The same of the free components (isotropic: of their mean), 0 without any; what the tolerance is for.
    steps : int
        Force calls of the relaxation.
    """

    crystal: Crystal
    layers: np.ndarray
    given_cell: np.ndarray
    energy: float
    largest_force: float
    largest_stress: float
    free_stress: float
    steps: int


def relaxed_crystal(snapshot: Snapshot, potential: Potential, relaxation: TightRelaxation, primitive: bool,
                    device: str = "cpu") -> RelaxedCrystal:
    """Reduce a structure to its primitive cell and relax it.

    Parameters
    ----------
    primitive : bool
        False: the cell is taken as it is.

    Raises
    ------
    InputError
        If the structure is a molecule or a wire, or forces or the stress of the free components of the cell are above
        their tolerances in the end.
    """
    crystal, kinds, given_cell = _reduced(snapshot, primitive)
    layers = _types_and_layers(snapshot)[kinds][:, 1]
    operations = space_group_of(crystal, kinds, ROUGH_TOLERANCE)
    done = _relaxed(crystal, layers, potential, relaxation, device)
    smooth = symmetrized(done.crystal, kinds, operations)
    moved = np.abs((smooth.positions - done.crystal.positions) @ done.crystal.cell).max(initial=0.0)
    if max(moved, np.abs(smooth.cell - done.crystal.cell).max()) < _LARGEST_CORRECTION:
        held = relaxation.model_copy(update={"relax": False})
        again = _relaxed(smooth, layers, potential, held, device)
        done = replace(again, steps=done.steps)
    _require_rest(done, relaxation)
    return replace(done, given_cell=given_cell)


def _require_rest(done: RelaxedCrystal, relaxation: TightRelaxation) -> None:
    tolerance = relaxation.force_tolerance_eV_per_A
    if not done.largest_force <= tolerance:
        how = ("relax it, or raise relaxation.force_tolerance_eV_per_A" if not relaxation.relax
               else f"after {done.steps} steps; raise relaxation.steps or the tolerance")
        raise InputError(f"structure: expected forces of at most {tolerance:g} eV/A, got {done.largest_force:.3g}: it "
                         f"is not relaxed; {how}")
    # positions and cell were averaged after the relaxation had ended within the tolerance
    tolerance = relaxation.stress_tolerance_GPa
    if not done.free_stress <= 1.01 * tolerance + _STRESS_ROUNDING_GPA:
        how = ("relax it, or take a strained cell on purpose by relaxation.free_cell_components = []"
               if not relaxation.relax
               else f"after {done.steps} steps; raise relaxation.steps or relaxation.stress_tolerance_GPa")
        raise InputError(f"structure: expected a stress within {tolerance:g} GPa of {-relaxation.pressure_GPa + 0.0:g} "
                         f"GPa, got one that is off by {done.free_stress:.3g}: its cell is not relaxed; {how}")


def at_volume(relaxed: RelaxedCrystal, change: float, potential: Potential, relaxation: TightRelaxation,
              device: str = "cpu") -> RelaxedCrystal:
    """The crystal with its volume (of a sheet: its area) changed, ions relaxed in a cell of the same shape.

    Parameters
    ----------
    change : float
        Of the volume, relative; above -1.

    Raises
    ------
    InputError
        If forces remain.
    """
    crystal = relaxed.crystal
    along = np.array(crystal.periodic)
    cell = np.where(along[:, None], (1.0 + change) ** (1.0 / along.sum()), 1.0) * crystal.cell
    scaled = Crystal(cell, crystal.positions, crystal.symbols, crystal.masses, crystal.periodic)
    kinds = np.unique(np.stack([crystal.numbers, relaxed.layers], axis=1), axis=0, return_inverse=True)[1].ravel()
    held = relaxation.model_copy(update={"relax": True, "free_cell_components": ()})
    done = _relaxed(scaled, relaxed.layers, potential, held, device)
    if not done.largest_force <= relaxation.force_tolerance_eV_per_A:
        raise InputError(f"structure with {100.0 * change:+g} % of volume: expected forces of at most "
                         f"{relaxation.force_tolerance_eV_per_A:g} eV/A, got {done.largest_force:.3g}; raise "
                         "relaxation.steps or the tolerance")
    smooth = symmetrized(done.crystal, kinds, space_group_of(crystal, kinds))
    return replace(done, crystal=smooth, given_cell=relaxed.given_cell)


def primitive_crystal(snapshot: Snapshot, primitive: bool) -> RelaxedCrystal:
    """The primitive cell as it is before relaxation; energies and forces are not numbers yet.

    Raises
    ------
    InputError
        If the structure is a molecule or a wire.
    """
    crystal, kinds, given_cell = _reduced(snapshot, primitive)
    layers = _types_and_layers(snapshot)[kinds][:, 1]
    return RelaxedCrystal(crystal, layers, given_cell, np.nan, np.nan, np.nan, np.nan, 0)


def _reduced(snapshot: Snapshot, primitive: bool) -> tuple[Crystal, np.ndarray, np.ndarray]:
    """Cell, kinds of its atoms, and the given cell in its units."""
    if int(snapshot.periodic.sum()) < 2:
        raise InputError(f"structure: expected a crystal or a sheet, got one that is periodic in "
                         f"{int(snapshot.periodic.sum())} directions; give a periodic structure")
    return _primitive(snapshot) if primitive else _as_given(snapshot)


def _types_and_layers(snapshot: Snapshot) -> np.ndarray:
    """Type and layer of each kind of atom."""
    return np.unique(np.stack([snapshot.types, snapshot.layers], axis=1), axis=0)


def _as_given(snapshot: Snapshot) -> tuple[Crystal, np.ndarray, np.ndarray]:
    """The whole structure as a crystal, the kind (type and layer) of each atom, and the identity."""
    positions = snapshot.positions + snapshot.images @ snapshot.cell
    cell = frame_cell(snapshot.cell)
    for axis in np.flatnonzero(np.linalg.norm(snapshot.cell, axis=1) == 0.0):
        extent = float(np.ptp(positions @ cell[axis]))
        cell[axis] *= extent + _VACUUM
    kinds = np.unique(np.stack([snapshot.types, snapshot.layers], axis=1), axis=0, return_inverse=True)[1].ravel()
    symbols = tuple(snapshot.species[t] for t in snapshot.types)
    crystal = Crystal(cell, positions @ np.linalg.inv(cell), symbols, snapshot.masses[snapshot.types],
                      tuple(bool(p) for p in snapshot.periodic))  # type: ignore[arg-type]
    return crystal, kinds, np.eye(3, dtype=int)


def _primitive(snapshot: Snapshot) -> tuple[Crystal, np.ndarray, np.ndarray]:
    """The primitive cell, kinds of its atoms, and the given cell in its units."""
    given, kinds, identity = _as_given(snapshot)
    found = primitive_cell(given, kinds)
    if found is None or len(found[2]) == given.n_atoms:
        return given, kinds, identity
    cell, positions, numbers = found
    change = _change_of_axes(given, cell)
    if change is None:
        return given, kinds, identity
    cell, positions = change @ cell, positions @ np.linalg.inv(change)
    ratio = given.cell @ np.linalg.inv(cell)
    first = [int(np.flatnonzero(kinds == number)[0]) for number in numbers]
    crystal = Crystal(np.array(cell), np.array(positions), tuple(given.symbols[i] for i in first),
                      given.masses[first], given.periodic)
    return crystal, np.asarray(numbers), np.rint(ratio).astype(int)


def _change_of_axes(given: Crystal, cell: np.ndarray) -> np.ndarray | None:
    """Matrix on primitive vectors after which the one across a sheet is what it was; None if none is across."""
    if all(given.periodic):
        return np.eye(3)
    across = given.periodic.index(False)
    for sign in (1.0, -1.0):
        for k in np.flatnonzero(np.abs(sign * cell - given.cell[across]).max(axis=1) < ROUGH_TOLERANCE):
            # cyclic order keeps right hands; a reversed vector asks for an exchange of the two others
            rows = np.roll(np.eye(3), across - int(k), axis=0)
            rows[across] *= sign
            if sign < 0.0:
                rows[[(across + 1) % 3, (across + 2) % 3]] = rows[[(across + 2) % 3, (across + 1) % 3]]
            return rows
    return None


def _relaxed(crystal: Crystal, layers: np.ndarray, potential: Potential, relaxation: TightRelaxation,
             device: str) -> RelaxedCrystal:
    """The crystal after a relaxation, or as it is, with what its forces are."""
    species = tuple(dict.fromkeys(crystal.symbols))
    masses = [crystal.masses[crystal.symbols.index(name)] for name in species]
    atoms = Snapshot.create(crystal.cell, crystal.periodic, species, masses, crystal.positions @ crystal.cell,
                            np.array([species.index(name) for name in crystal.symbols]), layers=layers)
    engine = make_engine(atoms, potential, SingleProcess(), make_backend(device, "double"))
    steps = 1
    if relaxation.relax:
        steps = relax(engine, steps=relaxation.steps, **relaxation.minimizer_options).steps
    else:
        engine.compute()
    free = FreeCell(engine, relaxation.free_cell_components, relaxation.pressure_GPa, relaxation.isotropic)
    if free.count and engine.limits.total_virial is not None:
        raise InputError("structure: expected a potential that gives the stress of the cell, got one that does not "
                         f"({engine.limits.total_virial}); take the cell as it is by relaxation.free_cell_components "
                         "= []")
    along = FreeCell(engine, "periodic", relaxation.pressure_GPa)
    along.largest_stress = np.nan
    if engine.limits.total_virial is None:
        for measured in (free, along):
            measured.force(engine)
    system, host = engine.system, engine.backend.to_host
    n = system.n_owned
    order = np.argsort(host(system.tags[:n]))
    forces = host(system.forces)[:n, :3][order]
    if not np.isfinite(forces).all():
        raise InputError("structure: expected finite forces, got NaN or infinity; look for atoms at one place")
    positions = (host(system.positions[:n]) + host(system.images[:n]) @ system.cell)[order]
    moved = Crystal(np.array(system.cell), positions @ np.linalg.inv(system.cell), crystal.symbols, crystal.masses,
                    crystal.periodic)
    return RelaxedCrystal(moved, layers, np.eye(3, dtype=int), engine.potential_energy(),
                          float(np.abs(forces).max(initial=0.0)), along.largest_stress, free.largest_stress, steps)


def symmetrized(crystal: Crystal, kinds: np.ndarray, operations: tuple[np.ndarray, np.ndarray]) -> Crystal:
    """The crystal with its positions and metric averaged over operations (`space_group_of`)."""
    rotations, translations = operations
    # x G x^T is the length; rotations act on columns
    metric = np.einsum("gji,jk,gkl->il", rotations, crystal.cell @ crystal.cell.T, rotations) / len(rotations)
    inverse = np.linalg.inv(crystal.cell)
    squares, axes = np.linalg.eigh(inverse @ metric @ inverse.T)
    cell = crystal.cell @ (axes * np.sqrt(squares)) @ axes.T
    total = np.zeros_like(crystal.positions)
    for rotation, translation in zip(rotations, translations, strict=True):
        images = crystal.positions @ rotation.T + translation
        apart = images[:, None, :] - crystal.positions[None, :, :]
        apart -= np.rint(apart)
        distance = np.linalg.norm(apart @ crystal.cell, axis=2)
        distance[kinds[:, None] != kinds[None, :]] = np.inf
        target = distance.argmin(axis=1)
        total[target] += crystal.positions[target] + apart[np.arange(len(target)), target]
    return Crystal(cell, total / len(rotations), crystal.symbols, crystal.masses, crystal.periodic)
