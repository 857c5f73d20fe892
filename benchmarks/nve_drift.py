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

import numpy as np

from hpcthermo import units

SYSTEMS = ("graphene", "silicon")


def atoms_of(system: str, repeat: int):
    """Crystal of at least 1,000 atoms."""
    import ase.build
    from ase import Atoms

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


def measure(engine, integrator, timestep_fs: float, n_steps: int, every: int) -> dict[str, float]:
    """Run and fit; atoms stay in the order of the last rebuild, so samples are taken by tag."""
    system, n = engine.system, engine.system.n_owned
    timestep = timestep_fs / units.TIME_FS
    shadow = ShadowEnergy(timestep, system.masses[np.zeros(n, dtype=int)])
    times, shadows, totals = [], [], []
    history: list[np.ndarray] = []
    pending = None
    began = time.process_time()

    def by_tag(rows: np.ndarray) -> np.ndarray:
        ordered = np.empty((n, 3))
        ordered[system.tags[:n]] = rows[:n, :3]
        return ordered

    for step in range(1, n_steps + 1):
        integrator.step(engine, step)
        phase = step % every
        if phase in (0, 1, every - 1):
            history.append(by_tag(system.forces))
        if phase == 0:
            pending = (step, engine.potential_energy() + engine.kinetic_energy(), by_tag(system.velocities))
        if phase == 1:
            if pending is not None and len(history) == 3:
                at, energy, velocities = pending
                times.append(at * timestep_fs * 1e-6)
                totals.append(energy / n)
                shadows.append(shadow(energy, velocities, history) / n)
            history, pending = [], None
    seconds = time.process_time() - began
    slope, error = drift(np.array(times), 1e3 * np.array(shadows))
    raw, raw_error = drift(np.array(times), 1e3 * np.array(totals))
    return {"drift_meV_per_atom_ns": slope, "error": error, "raw_drift": raw, "raw_error": raw_error,
            "fluctuation_total_meV_per_atom": 1e3 * float(np.std(totals)),
            "fluctuation_shadow_meV_per_atom": 1e3 * float(np.std(shadows)),
            "nanoseconds": n_steps * timestep_fs * 1e-6, "atoms": n, "atom_steps_per_second": n * n_steps / seconds}


def main() -> None:
    """Equilibrate at 300 K, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=SYSTEMS, default="graphene")
    parser.add_argument("--potential", help="path or embedded name; default: the Tersoff model of the system")
    parser.add_argument("--precision", choices=("mixed", "double"), default="mixed")
    parser.add_argument("--timestep-fs", type=float, default=0.5)
    parser.add_argument("--picoseconds", type=float, default=50.0)
    parser.add_argument("--equilibration-ps", type=float, default=10.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--every", type=int, default=20)
    options = parser.parse_args()
    from benchmarks.assembly import equilibrated_engine  # built from the package's public parts

    engine, integrator = equilibrated_engine(atoms_of(options.system, options.repeat), options)
    result = measure(engine, integrator, options.timestep_fs, round(options.picoseconds * 1e3 / options.timestep_fs),
                     options.every)
    print(json.dumps({**vars(options), **result}))


if __name__ == "__main__":
    main()
