"""Relaxation of an engine in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpcthermo.dynamics.fire import Fire
from hpcthermo.dynamics.lbfgs import Lbfgs
from hpcthermo.dynamics.loop import run_stage
from hpcthermo.dynamics.minimize import FreeCell, Minimizer
from hpcthermo.engine import Engine

Algorithm = Literal["lbfgs", "fire"]
MINIMIZERS: dict[str, type[Fire] | type[Lbfgs]] = {"lbfgs": Lbfgs, "fire": Fire}


@dataclass(frozen=True)
class Relaxed:
    """How a relaxation ended.

    Attributes
    ----------
    converged : bool
        Whether force and stress are within their tolerances.
    steps : int
        Force calls.
    energy : float
        eV.
    largest_force : float
        On a mobile atom along a direction in which it may move, eV/A.
    largest_stress : float
        Deviation of the free stress components from the target, GPa.
    virial : (3, 3) float64 or None
        eV; the pressure tensor is virial / volume. None if the potential has none.
    """

    converged: bool
    steps: int
    energy: float
    largest_force: float
    largest_stress: float
    virial: np.ndarray | None


def make_minimizer(engine: Engine, algorithm: Algorithm = "lbfgs", force_tolerance_eV_per_A: float = 1e-3,
                   free_cell_components: tuple[str, ...] | str = (), pressure_GPa: float = 0.0,
                   isotropic: bool = False, stress_tolerance_GPa: float = 0.01, atom_axes: str = "xyz") -> Minimizer:
    """A minimiser for an engine; arguments as for `relax` (collective)."""
    cell = FreeCell(engine, free_cell_components, pressure_GPa, isotropic, stress_tolerance_GPa)
    return MINIMIZERS[algorithm](force_tolerance_eV_per_A, cell, atom_axes)


def relax(engine: Engine, algorithm: Algorithm = "lbfgs", force_tolerance_eV_per_A: float = 1e-3,
          free_cell_components: tuple[str, ...] | str = (), pressure_GPa: float = 0.0, isotropic: bool = False,
          stress_tolerance_GPa: float = 0.01, atom_axes: str = "xyz", steps: int = 10_000) -> Relaxed:
    """Move the atoms of an engine, and its cell, to the nearest minimum of the enthalpy (collective).

    May be called again and again: atoms and cell begin where they are.

    Parameters
    ----------
    algorithm : {"lbfgs", "fire"}
    force_tolerance_eV_per_A : float
    free_cell_components : tuple of str, or "periodic"
        Out of xx, yy, zz, yz, xz, xy; "periodic" frees all along periodic directions, () holds the cell.
    pressure_GPa : float
        Of the free components; the others keep their strain.
    isotropic : bool
        The same strain along all free axes.
    stress_tolerance_GPa : float
    atom_axes : str
        Directions along which atoms move by themselves, for example "z" over a sliding surface.
    steps : int
        Most force calls.

    Raises
    ------
    InputError
        If a component lies along a direction that is not periodic, or a value makes no sense.
    """
    minimizer = make_minimizer(engine, algorithm, force_tolerance_eV_per_A, free_cell_components, pressure_GPa,
                               isotropic, stress_tolerance_GPa, atom_axes)
    engine.compute()
    done = run_stage(engine, minimizer, [], 0, steps)
    minimizer.finish(engine)
    return Relaxed(minimizer.converged, done, engine.potential_energy(), minimizer.largest_force,
                   minimizer.largest_stress, engine.virial_total() if engine.limits.total_virial is None else None)
