"""Energy drift of constant-energy runs, in meV/atom/ns, by the slope of the shadow energy.

    python benchmarks/nve_drift.py --nep gr_hbn.nep.txt --record             all cases, both precisions, about 5 minutes
    python benchmarks/nve_drift.py tersoff --precision mixed --picoseconds 150

Velocity Verlet conserves not H = K + V but a shadow energy; with its leading term,

    H_shadow = H + dt^2 ( (1/12) v.V''v - (1/24) F.M^-1 F ),     v.V''v = -v.dF/dt

where dF/dt at step n is (F_{n+1} - F_{n-1}) / (2 dt). What is left oscillates as dt^4, so a slope far
below the fluctuation of H can be resolved. The error of the slope is the larger of two: from the
scatter of block means about the line, which is right for noise that is fast; and from the scatter of
the slopes of the four quarters of the run, which is right for an energy that walks at random, as it
may by rounding in mixed precision and by slow modes (for fast noise it is about four times too large;
a walk still exceeds twice its error in one run out of seven).

Asked for are less than 0.02 meV/atom/ns in mixed and 0.001 in double precision. How to read it:

- Both precisions start from the same state, equilibrated in mixed precision. A system that still
  relaxes changes the dt^4 term, and with it the slope: where double precision seems to drift,
  equilibrate for longer.
- A random walk has slopes of either sign, which fall as one over the root of the length of the run: what
  is undecided needs a longer run.
- Lennard-Jones pairs lose their force at the cutoff in one jump, which no order of the time step
  conserves; its drift is that of the truncation, alike in both precisions.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.build
import numpy as np
from ase import Atoms
from options import positive
from record import write_record
from systems import standard_system

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.atoms import AtomSelection
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.thermostats import VelocityRescaling
from hpcthermo.dynamics.velocities import draw_velocities
from hpcthermo.engine import make_engine
from hpcthermo.errors import HpcthermoError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.base import Potential
from hpcthermo.potentials.lennard_jones import LennardJonesModel, LennardJonesPotential
from hpcthermo.potentials.load import load_potential
from hpcthermo.structure.build import make_snapshot
from hpcthermo.units import TIME_FS

SKIN_A, COUPLING_FS, SEED = 1.0, 100.0, 1
#: meV/atom/ns
LARGEST_DRIFT = {"mixed": 0.02, "double": 0.001}
#: steps from one sample to the next; a sample takes three steps
EVERY = 10
ARGON_EPSILON_EV, ARGON_SIGMA_A, ARGON_CUTOFF_A, ARGON_LATTICE_A = 0.010324, 3.405, 10.0, 5.31


def graphene() -> Atoms:
    """A sheet of 1,040 atoms with the lattice constant of the Lindsay-Broido potential."""
    bond = 2.4922 / np.sqrt(3.0)
    cell = Atoms("C4", positions=[[0, 0, 10], [np.sqrt(3) / 2 * bond, bond / 2, 10],
                                  [np.sqrt(3) / 2 * bond, 1.5 * bond, 10], [0, 2 * bond, 10]],
                 cell=[np.sqrt(3) * bond, 3 * bond, 20.0], pbc=(True, True, False))
    return cell * (20, 13, 1)


def argon(_name: str) -> Potential:
    """Argon, energy-shifted at its cutoff."""
    parameters = [np.full((1, 1), value) for value in (ARGON_EPSILON_EV, ARGON_SIGMA_A, ARGON_CUTOFF_A)]
    return LennardJonesPotential(LennardJonesModel("argon", ("Ar",), *parameters))


@dataclass(frozen=True)
class Case:
    """A potential on a system at a temperature.

    Attributes
    ----------
    atoms : callable
        Makes the crystal.
    potential : str
        Embedded name; empty for one given on the command line.
    picoseconds, equilibration_ps : float
        At constant energy, and before it with a thermostat.
    load : callable
        Name or path to potential.
    """

    about: str
    atoms: Callable[[], Atoms]
    potential: str
    picoseconds: float
    equilibration_ps: float
    temperature_K: float = 300.0
    timestep_fs: float = 0.5
    load: Callable[[str], Potential] = load_potential


CASES = {
    "nep": Case("graphene/h-BN layers", lambda: standard_system("gr_hbn_multilayer", 1000), "", 5.0, 5.0),
    "tersoff": Case("graphene", graphene, "tersoff_graphene", 30.0, 5.0),
    "tersoff_si": Case("silicon", lambda: standard_system("silicon", 1000), "tersoff_si", 30.0, 5.0),
    "stillinger_weber": Case("silicon", lambda: standard_system("silicon", 1000), "sw_si", 30.0, 5.0),
    "lennard_jones": Case("argon", lambda: ase.build.bulk("Ar", "fcc", a=ARGON_LATTICE_A, cubic=True) * (7, 7, 6),
                          "argon", 40.0, 10.0, temperature_K=40.0, timestep_fs=2.0, load=argon),
}


def drift(times: np.ndarray, energies: np.ndarray, blocks: int = 20, parts: int = 4) -> tuple[float, float]:
    """Slope of energies against times and its standard error, by blocks or by parts of the run, the larger of both."""
    n = len(energies) // blocks * blocks
    t = times[:n].reshape(blocks, -1).mean(axis=1)
    e = energies[:n].reshape(blocks, -1).mean(axis=1)
    (slope, intercept) = np.polyfit(t, e, 1)
    scatter = e - (slope * t + intercept)
    error = np.sqrt((scatter**2).sum() / (blocks - 2) / ((t - t.mean()) ** 2).sum())
    slopes = [np.polyfit(*part, 1)[0] for part in zip(np.array_split(times, parts), np.array_split(energies, parts),
                                                      strict=True)]
    return float(slope), float(max(error, np.std(slopes, ddof=1) / np.sqrt(parts)))


class ShadowEnergy:
    """Collects the shadow energy per atom from three consecutive steps."""

    def __init__(self, timestep: float, masses: np.ndarray) -> None:
        self.timestep, self.masses = timestep, masses[:, None]

    def __call__(self, energy: float, velocities: np.ndarray, forces: list[np.ndarray]) -> float:
        rate = (forces[2] - forces[0]) / (2.0 * self.timestep)
        curvature = -float((velocities * rate).sum())
        gradient = float((forces[1] ** 2 / self.masses).sum())
        return energy + self.timestep**2 * (curvature / 12.0 - gradient / 24.0)


def equilibrated(case: Case, potential: Potential, picoseconds: float) -> Snapshot:
    """The system after a run with a thermostat, in mixed precision, at rest as a whole."""
    atoms = case.atoms()
    snapshot = make_snapshot(atoms.cell.array, atoms.pbc, atoms.get_chemical_symbols(), atoms.positions,
                             masses=atoms.get_masses())
    engine = make_engine(snapshot, potential, SingleProcess(), make_backend("cpu", "mixed"), SKIN_A)
    draw_velocities(engine, 2.0 * case.temperature_K, SEED)  # half of it goes into potential energy
    engine.compute()
    thermostat = VelocityRescaling(engine, case.temperature_K, coupling_fs=COUPLING_FS, seed=SEED)
    warm = Integrator(engine, case.timestep_fs, [thermostat])
    for step in range(round(picoseconds * 1e3 / case.timestep_fs)):
        warm.step(engine, step)
    AtomSelection(engine).remove_momentum()
    warmed = engine.domain.gather(engine.system)
    assert warmed is not None
    return warmed


def measure(start: Snapshot, potential: Potential, precision: str, timestep_fs: float,
            picoseconds: float) -> dict[str, float]:
    """Run at constant energy and fit; rows are brought to the order of tags, which rebuilds change."""
    engine = make_engine(start, potential, SingleProcess(), make_backend("cpu", precision), SKIN_A)
    engine.compute()
    integrator = Integrator(engine, timestep_fs)
    system, n = engine.system, engine.system.n_owned

    def by_tag(rows: np.ndarray) -> np.ndarray:
        ordered = np.empty((n, *rows.shape[1:]))
        ordered[system.tags[:n]] = rows[:n]
        return ordered

    shadow = ShadowEnergy(timestep_fs / TIME_FS, by_tag(system.masses[system.types[:n]]))
    times, shadows, totals = [], [], []
    history: list[np.ndarray] = []
    began = time.process_time()
    n_steps = round(picoseconds * 1e3 / timestep_fs)
    for step in range(n_steps):
        integrator.step(engine, step)
        phase = step % EVERY
        if phase >= EVERY - 3:
            history.append(by_tag(system.forces)[:, :3])
        if phase == EVERY - 2:
            energy = engine.potential_energy() + engine.kinetic_energy()
            velocities = by_tag(system.velocities)[:, :3]
        if phase == EVERY - 1:
            times.append(step * timestep_fs * 1e-6)
            totals.append(energy / n)
            shadows.append(shadow(energy, velocities, history) / n)
            history = []
    seconds = time.process_time() - began
    slope, error = drift(np.array(times), 1e3 * np.array(shadows))
    raw, raw_error = drift(np.array(times), 1e3 * np.array(totals))
    return {"slope": slope, "error": error, "raw": raw, "raw_error": raw_error,
            "std_total": 1e3 * float(np.std(totals)), "std_shadow": 1e3 * float(np.std(shadows)), "atoms": n,
            "atom_steps_per_second": n * n_steps / seconds}


def verdict(slope: float, error: float, bar: float) -> str:
    """What a slope and its error mean beside what is asked for."""
    if abs(slope) + 2.0 * error < bar:
        return "below"
    return "ABOVE" if abs(slope) - 2.0 * error > bar else "undecided"


HEAD = (f"{'':18s}{'precision':10s}{'atoms':>6s}{'ps':>6s}{'slope':>11s}{'error':>10s}  {'asked for':20s}"
        f"{'slope of H':>11s}{'error':>10s}{'std of H':>10s}{'of shadow':>10s}  1000 atom-step/s")


def row(name: str, precision: str, picoseconds: float, found: dict[str, float]) -> str:
    """One line of the table."""
    bar = LARGEST_DRIFT[precision]
    asked = f"{bar:g}: {verdict(found['slope'], found['error'], bar)}"
    return (f"{name:18s}{precision:10s}{found['atoms']:6.0f}{picoseconds:6g}{found['slope']:+11.2e}"
            f"{found['error']:10.1e}  {asked:20s}{found['raw']:+11.2e}{found['raw_error']:10.1e}"
            f"{found['std_total']:10.1e}{found['std_shadow']:10.1e}  {1e-3 * found['atom_steps_per_second']:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--nep", metavar="FILE", help="graphene/h-BN model, for the case nep")
    parser.add_argument("--precision", choices=tuple(LARGEST_DRIFT), help="default: both")
    parser.add_argument("--picoseconds", type=positive, help="default: those of the case")
    parser.add_argument("--equilibration-ps", type=positive, help="default: those of the case")
    parser.add_argument("--timestep-fs", type=positive, help="of the measurement; default: that of the case")
    parser.add_argument("--record", action="store_true", help="append to results/nve_drift.txt")
    options = parser.parse_args()
    names = options.cases or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; expected some of {', '.join(CASES)}")
    if "nep" in names and options.nep is None:
        parser.error("case nep needs --nep FILE, a graphene/h-BN model (or name other cases)")
    lines = [f"{name}: {CASES[name].about}, {CASES[name].temperature_K:g} K, "
             f"{options.timestep_fs or CASES[name].timestep_fs:g} fs, {CASES[name].potential or Path(options.nep).name}"
             for name in names]
    lines.append(HEAD)
    try:
        for name in names:
            case = CASES[name]
            potential = case.load(case.potential or options.nep)
            warm_ps = case.equilibration_ps if options.equilibration_ps is None else options.equilibration_ps
            picoseconds = case.picoseconds if options.picoseconds is None else options.picoseconds
            start = equilibrated(case, potential, warm_ps)
            for precision in [options.precision] if options.precision else LARGEST_DRIFT:
                found = measure(start, potential, precision, options.timestep_fs or case.timestep_fs, picoseconds)
                lines.append(row(name, precision, picoseconds, found))
                print(lines[-1], file=sys.stderr, flush=True)
    except HpcthermoError as error:
        print(f"nve_drift: {error}", file=sys.stderr)
        sys.exit(2)
    write_record("nve_drift" if options.record else None,
                 "nve_drift.py: drift of the shadow energy, meV/atom/ns; one rank, skin 1 A", lines)


if __name__ == "__main__":
    main()
