"""The physics self-check of ``hpcthermo doctor``: under 20 s on one core, with an embedded potential.

- forces          against central differences of the energy
- decomposition   forces of eight bricks with ghosts, sent home, against those of the whole cell
- conservation    slope of the total energy of a run at constant energy
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import Engine, make_engine
from hpcthermo.gpu.backend import Backend, make_backend
from hpcthermo.neighbors import pack_positions
from hpcthermo.potentials.base import ForceArrays, Potential
from hpcthermo.potentials.load import load_potential
from hpcthermo.probe import brick_systems
from hpcthermo.structure.build import make_snapshot

_POTENTIAL = "tersoff_si"
_SKIN = 1.0
_DIFFERENCE = 1e-4  # A
_FORCE_BAR = 1e-6  # eV/A
_SAME_BAR = 1e-10  # eV/A
_TIMESTEP_FS = 1.0
_STEPS = 20_000
_TEMPERATURE_K = 300.0
#: meV/atom/ps; a wrong force gives a hundred times more
_DRIFT_BAR = 1e-3

Look = Callable[[], tuple[str, str]]


def physics_findings(guarded: Callable[[str, Look], Any]) -> list[Any]:
    """Findings of all checks; `guarded` turns a check into a finding."""
    checks: dict[str, Look] = {"forces": check_forces, "decomposition": check_decomposition,
                               "conservation, double": lambda: check_conservation("double"),
                               "conservation, mixed": lambda: check_conservation("mixed")}
    return [guarded(name, check) for name, check in checks.items()]


def perturbed_silicon(cells: int, amplitude: float) -> Snapshot:
    """Diamond silicon, ``cells``^3 cubic cells, with random displacements (A)."""
    from ase.build import bulk

    atoms = bulk("Si", cubic=True) * (cells, cells, cells)
    atoms.positions += amplitude * np.random.default_rng(1).standard_normal(atoms.positions.shape)
    return make_snapshot(atoms.cell.array, atoms.pbc, atoms.get_chemical_symbols(), atoms.positions)


def _engine(snapshot: Snapshot, precision: str = "double") -> Engine:
    engine = make_engine(snapshot, load_potential(_POTENTIAL), SingleProcess(), make_backend("cpu", precision), _SKIN)
    engine.compute()
    return engine


def check_forces() -> tuple[str, str]:
    """Forces of some atoms against central differences."""
    snapshot = perturbed_silicon(2, 0.1)
    engine = _engine(snapshot)
    whole = engine.domain.gather(engine.system, ("forces",))
    assert whole is not None
    worst = 0.0
    for atom, axis in ((0, 0), (17, 1), (40, 2)):
        energies = []
        for sign in (1.0, -1.0):
            moved = snapshot.positions.copy()
            moved[atom, axis] += sign * _DIFFERENCE
            shifted = Snapshot.create(snapshot.cell, snapshot.periodic, snapshot.species, snapshot.masses, moved,
                                      snapshot.types)
            energies.append(_engine(shifted).potential_energy())
        slope = -(energies[0] - energies[1]) / (2.0 * _DIFFERENCE)
        worst = max(worst, abs(slope - float(whole.forces[atom, axis])))
    return _verdict(worst < _FORCE_BAR), f"largest difference {worst:.1e} eV/A (limit {_FORCE_BAR:.0e})"


def check_decomposition() -> tuple[str, str]:
    """Forces of a cell cut into eight bricks, each with its ghosts, against the cell in one piece."""
    snapshot = perturbed_silicon(4, 0.1)
    potential, backend = load_potential(_POTENTIAL), make_backend("cpu", "double")
    whole, bricks = (_forces(snapshot, potential, backend, count) for count in (1, 8))
    worst = float(np.abs(whole - bricks).max())
    detail = f"8 bricks against 1: largest difference {worst:.1e} eV/A (limit {_SAME_BAR:.0e})"
    return _verdict(worst < _SAME_BAR), detail


def _forces(snapshot: Snapshot, potential: Potential, backend: Backend, n_bricks: int) -> np.ndarray:
    """(N, 3) forces by tag, ghost rows added to their atoms."""
    bound = potential.bind(snapshot.species, backend)
    forces = np.zeros((snapshot.n_atoms, 3))
    for system in brick_systems(snapshot, backend, n_bricks, list(range(n_bricks)), bound.ghost_depth + _SKIN):
        bound.build_lists(system, _SKIN)
        packed = pack_positions(system, backend, bound.cutoff + _SKIN)
        output = ForceArrays(np.zeros(system.n_owned), system.forces, None)
        bound.compute(system, packed, 0, system.n_owned, output, None)
        np.add.at(forces, system.tags, system.forces[: system.n_total, :3])
    return forces


def check_conservation(precision: str) -> tuple[str, str]:
    """Drift of the total energy at constant energy, from a line through the run."""
    engine = _engine(perturbed_silicon(4, 0.0), precision)
    draw_velocities(engine, 2.0 * _TEMPERATURE_K, seed=1)
    mover = Integrator(engine, _TIMESTEP_FS)
    energies = []
    for step in range(_STEPS):
        mover.step(engine, step)
        if step % 10 == 0:
            energies.append(mover.conserved(engine))
    time_ps = np.arange(len(energies)) * 10.0 * _TIMESTEP_FS * 1e-3
    drift = abs(float(np.polyfit(time_ps, energies, 1)[0])) / engine.n_atoms * 1e3
    detail = f"drift {drift:.1e} meV/atom/ps over {time_ps[-1]:.0f} ps of {engine.n_atoms} atoms (limit {_DRIFT_BAR})"
    return _verdict(drift < _DRIFT_BAR), detail


def _verdict(passed: bool) -> str:
    return "ok" if passed else "FAILED"
