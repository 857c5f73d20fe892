"""Structures from molecular dynamics whose temperature rises: Langevin dynamics of ASE over any potential of ours.

The target rises as T(t) = T_0 + (T_1 - T_0) t / t_end; snapshots are taken at t_end / n, 2 t_end / n, ..., t_end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.md.langevin import Langevin

from hpcthermo.calculator import Calculator
from hpcthermo.config.base import count_steps
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import PhysicsError
from hpcthermo.structure.perturb import replaced
from hpcthermo.structure.write import snapshot_atoms

if TYPE_CHECKING:
    from hpcthermo.config.labelling import RampSection

#: steps at one temperature of the thermostat
_STRETCH = 10
#: no thermal fluctuation of a few atoms is so large a multiple of the temperature
_FLYING = 20.0


def thermal_snapshots(snapshot: Snapshot, settings: RampSection, potential: Any,
                      random: np.random.Generator) -> Iterator[tuple[float, Snapshot]]:
    """Times (ps) and snapshots of a run that begins from a structure, at constant cell.

    Parameters
    ----------
    potential : Potential
    random : numpy Generator
        Of velocities and noise.

    Raises
    ------
    PhysicsError
        If atoms fly apart.
    """
    atoms = snapshot_atoms(snapshot)
    atoms.calc = Calculator(potential)
    start, end = settings.temperature_K
    atoms.set_velocities(random.normal(size=(len(atoms), 3)) * np.sqrt(units.kB * start / atoms.get_masses())[:, None])
    steps = count_steps(settings.duration_ps, settings.timestep_fs)
    dynamics = Langevin(atoms, settings.timestep_fs * units.fs, temperature_K=start,
                        friction=settings.friction_per_ps / (1e3 * units.fs), rng=random, fixcm=False)
    done = 0
    for number in range(1, settings.snapshots + 1):
        until = round(steps * number / settings.snapshots)
        while done < until:
            stretch = min(_STRETCH, until - done)
            dynamics.set_temperature(temperature_K=start + (end - start) * (done + 0.5 * stretch) / steps)
            dynamics.run(stretch)
            done += stretch
        if not np.isfinite(atoms.positions).all() or atoms.get_temperature() > _FLYING * max(start, end):
            raise PhysicsError(f"dynamics: atoms flew apart after {done * settings.timestep_fs:g} fs; shorten "
                               "timestep_fs, or take another potential")
        yield 1e-3 * done * settings.timestep_fs, replaced(snapshot, positions=atoms.positions.copy())
