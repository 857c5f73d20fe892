"""Velocities from a temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hpcthermo.dynamics.atoms import AtomSelection
from hpcthermo.dynamics.random import Purpose, atom_normals, stream_number
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.units import BOLTZMANN_EV_PER_K


def draw_velocities(engine: Engine, temperature_K: float | Mapping[int, float], seed: int, *, step: int = 0,
                    exact: bool = True, remove_momentum: bool = True) -> None:
    """Maxwell-Boltzmann velocities for all mobile atoms (collective); frozen atoms get none.

    v = sqrt(k T / m) xi with xi keyed by seed, step and tag, the same on any number of ranks.

    Parameters
    ----------
    temperature_K : float or {group: temperature}
        With a mapping, atoms of other groups keep their velocities.
    step : int
        Step of the whole job, so that a second draw is another one.
    exact : bool
        Scale so that the temperature is met exactly (of every group, with a mapping).
    remove_momentum : bool
        Bring the centre of mass of the mobile atoms to rest first.

    Raises
    ------
    InputError
        For a negative temperature or a group without mobile atoms.
    """
    targets = dict(temperature_K) if isinstance(temperature_K, Mapping) else {None: float(temperature_K)}
    parts = {}
    for group, temperature in targets.items():
        if not (math.isfinite(temperature) and temperature >= 0.0):
            raise InputError(f"temperature_K: expected 0 K or more, got {temperature:g}; correct it")
        members = None if group is None else frozenset({group})
        parts[group] = AtomSelection(engine, members, f"velocities of group {group}")
        _draw(engine, parts[group], temperature, seed, step)
    system = engine.system
    if system.frozen_groups:
        xp = engine.backend.xp
        frozen = xp.isin(system.groups[:system.n_owned], xp.asarray(sorted(system.frozen_groups), dtype=np.int32))
        system.velocities[frozen] = 0.0
    if remove_momentum and AtomSelection(engine).n_atoms > 1:
        AtomSelection(engine).remove_momentum()
    for group, temperature in targets.items():
        if exact:
            _scale_to(parts[group], temperature)


def kinetic_temperature(atoms: AtomSelection) -> float:
    """2 K / (N_f k), K (collective)."""
    return 2.0 * atoms.kinetic_energy() / (max(atoms.degrees_of_freedom, 1) * BOLTZMANN_EV_PER_K)


def _draw(engine: Engine, atoms: AtomSelection, temperature: float, seed: int, step: int) -> None:
    xp, system = engine.backend.xp, engine.system
    normals = xp.empty((4, atoms.count))
    atom_normals(engine, atoms.rows, atoms.count, seed, step, stream_number(Purpose.VELOCITIES), normals)
    rows = slice(0, atoms.count) if atoms.rows is None else atoms.rows
    spread = xp.sqrt(BOLTZMANN_EV_PER_K * temperature / atoms.masses)[system.types[:system.n_owned][rows]]
    system.velocities[rows] = normals[:3].T * spread[:, None]


def _scale_to(atoms: AtomSelection, temperature: float) -> None:
    present = kinetic_temperature(atoms)
    if present > 0.0:
        atoms.scale_velocities(math.sqrt(temperature / present))
