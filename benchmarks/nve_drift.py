"""Energy drift of constant-energy runs, in meV/atom/ns, by the slope of the shadow energy.

Velocity Verlet conserves not H = K + V but a shadow energy; with its leading term,

    H_shadow = H + dt^2 ( (1/12) v.V''v - (1/24) F.M^-1 F ),     v.V''v = -v.dF/dt

where dF/dt at step n is (F_{n+1} - F_{n-1}) / (2 dt). What is left oscillates as dt^4, so a slope far
below the fluctuation of H can be resolved. The error of the slope comes from blocks: the run is cut
into blocks, each block gives one mean, and the scatter of the means about the line gives the error.

    python benchmarks/nve_drift.py --system graphene --precision mixed --picoseconds 50
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import ase.build
import numpy as np
from ase import Atoms

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.atoms import AtomSelection
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.thermostats import VelocityRescaling
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import Engine, make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.load import load_potential
from hpcthermo.units import TIME_FS

DEFAULT_POTENTIALS = {"graphene": "tersoff_graphene", "silicon": "tersoff_si"}


def atoms_of(system: str, repeat: int) -> Atoms:
    """Crystal of at least 1,000 atoms."""
    if system == "silicon":
        return ase.build.bulk("Si", "diamond", a=5.432, cubic=True) * (5, 5, 5 * repeat)
    bond = 2.4922 / np.sqrt(3.0)  # Lindsay-Broido lattice constant
    cell = Atoms("C4", positions=[[0, 0, 10], [np.sqrt(3) / 2 * bond, bond / 2, 10],
                                  [np.sqrt(3) / 2 * bond, 1.5 * bond, 10], [0, 2 * bond, 10]],
                 cell=[np.sqrt(3) * bond, 3 * bond, 20.0], pbc=(True, True, False))
    return cell * (20, 13 * repeat, 1)


def drift(times: np.ndarray, energies: np.ndarray, blocks: int = 20) -> tuple[float, float]:
    """Slope of energies against times and its standard error from block means."""
    n = len(energies) // blocks * blocks
    t = times[:n].reshape(blocks, -1).mean(axis=1)
    e = energies[:n].reshape(blocks, -1).mean(axis=1)
    (slope, intercept) = np.polyfit(t, e, 1)
    scatter = e - (slope * t + intercept)
    error = np.sqrt((scatter**2).sum() / (blocks - 2) / ((t - t.mean()) ** 2).sum())
    return float(slope), float(error)


class ShadowEnergy:
    """Collects the shadow energy per atom from three consecutive steps."""

    def __init__(self, timestep: float, masses: np.ndarray) -> None:
        self.timestep, self.masses = timestep, masses[:, None]

    def __call__(self, energy: float, velocities: np.ndarray, forces: list[np.ndarray]) -> float:
        rate = (forces[2] - forces[0]) / (2.0 * self.timestep)
        curvature = -float((velocities * rate).sum())
        gradient = float((forces[1] ** 2 / self.masses).sum())
        return energy + self.timestep**2 * (curvature / 12.0 - gradient / 24.0)


def equilibrated(options: argparse.Namespace) -> tuple[Engine, Integrator]:
    """Engine at 300 K and an integrator without thermostats."""
    atoms = atoms_of(options.system, options.repeat)
    symbol = atoms.get_chemical_symbols()[0]
    snapshot = Snapshot.create(atoms.cell.array, atoms.pbc, (symbol,), atoms.get_masses()[:1], atoms.positions,
                               np.zeros(len(atoms), dtype=int))
    potential = load_potential(options.potential or DEFAULT_POTENTIALS[options.system], Path.cwd())
    backend = make_backend("cpu", options.precision)
    engine = make_engine(snapshot, potential, SingleProcess(), backend, skin=options.skin_A)
    draw_velocities(engine, 600.0, seed=1)  # half of it goes into potential energy
    engine.compute()
    thermostat = VelocityRescaling(engine, 300.0, coupling_fs=100.0, seed=1)
    warm = Integrator(engine, options.timestep_fs, [thermostat])
    steps = round(options.equilibration_ps * 1e3 / options.timestep_fs)
    for step in range(steps):
        warm.step(engine, step)
    AtomSelection(engine).remove_momentum()
    return engine, Integrator(engine, options.timestep_fs)


def measure(engine: Engine, integrator: Integrator, options: argparse.Namespace) -> dict[str, float]:
    """Run at constant energy and fit; rows are brought to the order of tags, which rebuilds change."""
    system, n = engine.system, engine.system.n_owned
    timestep_fs, every = options.timestep_fs, options.every
    n_steps = round(options.picoseconds * 1e3 / timestep_fs)
    shadow = ShadowEnergy(timestep_fs / TIME_FS, np.full(n, system.masses[0]))
    times, shadows, totals, momenta = [], [], [], []
    history: list[np.ndarray] = []

    def by_tag(rows: np.ndarray) -> np.ndarray:
        ordered = np.empty((n, 3))
        ordered[system.tags[:n]] = rows[:n, :3]
        return ordered

    began = time.process_time()
    for step in range(n_steps):
        integrator.step(engine, step)
        phase = step % every
        if phase >= every - 3:
            history.append(by_tag(system.forces))
        if phase == every - 2:
            energy = engine.potential_energy() + engine.kinetic_energy()
            velocities = by_tag(system.velocities)
        if phase == every - 1:
            times.append(step * timestep_fs * 1e-6)
            totals.append(energy / n)
            shadows.append(shadow(energy, velocities, history) / n)
            momenta.append(float(np.linalg.norm(velocities.sum(axis=0))) / n)
            history = []
    seconds = time.process_time() - began
    slope, error = drift(np.array(times), 1e3 * np.array(shadows))
    raw, raw_error = drift(np.array(times), 1e3 * np.array(totals))
    return {"drift_meV_per_atom_ns": slope, "error": error, "raw_drift": raw, "raw_error": raw_error,
            "fluctuation_total_meV_per_atom": 1e3 * float(np.std(totals)),
            "fluctuation_shadow_meV_per_atom": 1e3 * float(np.std(shadows)),
            "largest_mean_velocity": max(momenta), "picoseconds": options.picoseconds, "atoms": n,
            "atom_steps_per_cpu_second": n * n_steps / seconds}


def main() -> None:
    """Equilibrate at 300 K, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=tuple(DEFAULT_POTENTIALS), default="graphene")
    parser.add_argument("--potential", help="path or embedded name; default: the Tersoff model of the system")
    parser.add_argument("--precision", choices=("mixed", "double"), default="mixed")
    parser.add_argument("--timestep-fs", type=float, default=0.5)
    parser.add_argument("--picoseconds", type=float, default=50.0)
    parser.add_argument("--equilibration-ps", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--every", type=int, default=10, help="steps between samples, at least 3")
    parser.add_argument("--skin-A", type=float, default=1.0)
    options = parser.parse_args()
    engine, integrator = equilibrated(options)
    print(json.dumps({**vars(options), **measure(engine, integrator, options)}))


if __name__ == "__main__":
    main()
