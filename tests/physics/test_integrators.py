"""Order, reversibility, ledgers and conserved quantities of the integrators."""

import math

import numpy as np
import pytest
from argon import MASS_AMU, NEAREST_LATTICE_A, argon_engine, fcc, thirds

from hpcthermo.domain.comm import world_communicator
from hpcthermo.dynamics.atoms import AtomSelection
from hpcthermo.dynamics.barostats import CellRescaling
from hpcthermo.dynamics.fire import Fire
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.lbfgs import Lbfgs
from hpcthermo.dynamics.nose_hoover import NoseHooverChain
from hpcthermo.dynamics.ramp import Ramp
from hpcthermo.dynamics.thermostats import Langevin, VelocityRescaling
from hpcthermo.dynamics.velocities import draw_velocities, kinetic_temperature
from hpcthermo.errors import InputError, PhysicsError

THERMOSTATS = {
    "langevin": lambda e, t, groups=None: Langevin(e, t, 200.0, seed=3, groups=groups),
    "langevin_at_rest": lambda e, t, groups=None: Langevin(e, t, 200.0, seed=3, groups=groups, conserve_momentum=True),
    "velocity_rescaling": lambda e, t, groups=None: VelocityRescaling(e, t, 200.0, seed=3, groups=groups),
    "nose_hoover": lambda e, t, groups=None: NoseHooverChain(e, t, 200.0, groups=groups),
}


def barostat(engine, temperature, **options):
    return CellRescaling(engine, temperature, 0.0, 1000.0, seed=5, bulk_modulus_GPa=2.0, interval=2, **options)


def run(engine, integrator, steps, first=0):
    """Conserved quantity after each step, eV."""
    conserved = []
    for step in range(first, first + steps):
        integrator.step(engine, step)
        conserved.append(integrator.conserved(engine))
    return np.array(conserved)


def cold_engine(**options):
    # nearest neighbours only and cold: no pair crosses the cutoff, so the energy is smooth
    engine = argon_engine(fcc((3, 3, 3), NEAREST_LATTICE_A), 10.0, cutoff=4.6, **options)
    engine.compute()
    return engine


def test_energy_fluctuation_falls_as_the_square_of_the_timestep():
    deviations = []
    for timestep in (4.0, 8.0):
        engine = cold_engine()
        energies = run(engine, Integrator(engine, timestep), round(8000.0 / timestep))
        deviations.append(energies.std())
    assert deviations[1] / deviations[0] == pytest.approx(4.0, abs=0.4)


def test_time_reversal_brings_the_start_back():
    engine = argon_engine(fcc(), 60.0)
    start = engine.domain.gather(engine.system)
    engine.compute()
    integrator = Integrator(engine, 4.0)
    run(engine, integrator, 150)
    assert engine.rebuilds > 1
    engine.system.velocities *= -1.0
    run(engine, integrator, 150)
    end = engine.domain.gather(engine.system)
    unwrapped = [s.positions + s.images @ s.cell for s in (start, end)]
    assert np.abs(unwrapped[0] - unwrapped[1]).max() < 1e-9
    assert np.abs(start.velocities + end.velocities).max() < 1e-9


def kinetic_energy_in_long_precision(engine):
    velocities = engine.system.velocities.astype(np.longdouble)
    return (0.5 * np.longdouble(MASS_AMU) * velocities**2).sum()


@pytest.mark.parametrize("groups", [None, frozenset({2})])
@pytest.mark.parametrize("name", THERMOSTATS)
def test_ledger_is_the_sum_of_kinetic_energy_changes(name, groups):
    engine = argon_engine(fcc(groups=thirds), 20.0)
    engine.compute()
    thermostat = THERMOSTATS[name](engine, 80.0, groups)
    changes = []
    act = thermostat.half_step

    def watched(*arguments):
        before = kinetic_energy_in_long_precision(engine)
        act(*arguments)
        changes.append(kinetic_energy_in_long_precision(engine) - before)

    thermostat.half_step = watched
    run(engine, Integrator(engine, 4.0, [thermostat]), 100)
    total = math.fsum(float(change) for change in changes)
    assert total > 0.1
    assert thermostat.ledger == pytest.approx(total, rel=1e-12)


def equilibrated():
    engine = argon_engine(fcc((3, 3, 3), 5.34), 20.0, cutoff=4.6)
    engine.compute()
    run(engine, Integrator(engine, 4.0, [Langevin(engine, 10.0, 100.0, seed=8)]), 800)
    return engine.state()


ENSEMBLES = {
    **{name: (lambda e, make=make: Integrator(e, TIMESTEP_FS, [make(e, 10.0)], remove_momentum_interval=50))
       for name, make in THERMOSTATS.items()},
    "npt_isotropic": lambda e: Integrator(e, TIMESTEP_FS, [VelocityRescaling(e, 10.0, 200.0, seed=3)],
                                          barostat(e, 10.0, isotropic=True)),
    "npt_full": lambda e: Integrator(e, TIMESTEP_FS, [NoseHooverChain(e, 10.0, 200.0)],
                                     barostat(e, 10.0, free_components=("xx", "yy", "zz", "yz", "xz", "xy"))),
}
TIMESTEP_FS = 2.0


def conserved_series(state, name, steps, every=1):
    engine = cold_engine()
    engine.restore(state)
    integrator = Integrator(engine, TIMESTEP_FS) if name == "nve" else ENSEMBLES[name](engine)
    conserved = []
    for step in range(steps):
        integrator.step(engine, step)
        if step % every == 0:
            conserved.append(integrator.conserved(engine))
    return np.array(conserved)


def test_conserved_quantities_stay_within_the_error_of_verlet():
    """Thermostats change the shadow energy at random (a walk of order dt^2), and nothing else."""
    state = equilibrated()
    fluctuation = conserved_series(state, "nve", 400).std()
    for name in ENSEMBLES:
        conserved = conserved_series(state, name, 800)
        assert np.ptp(conserved) < 40.0 * fluctuation, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nve", *ENSEMBLES])
def test_conserved_quantities_do_not_drift(name):
    """Slope below 0.002 meV/atom/ns or 3 standard errors of it, which must be below 0.002, too."""
    steps, every = 150_000, 50
    conserved = conserved_series(equilibrated(), name, steps, every) / 108 * 1e3
    duration = steps * TIMESTEP_FS * 1e-6
    # increments between far points of a random walk are independent
    parts = np.array([part.mean() for part in np.array_split(conserved, 21)])
    slope = (parts[-1] - parts[0]) / duration * 21 / 20
    error = np.diff(parts).std(ddof=1) * math.sqrt(20.0) / duration
    print(f"{name}: {slope:.2e} +- {error:.2e} meV/atom/ns")
    assert error < 0.002
    assert abs(slope) < max(0.002, 3.0 * error)


@pytest.mark.parametrize("name", THERMOSTATS)
def test_ramp_ends_at_its_target_on_the_moving_atoms(name):
    engine = argon_engine(fcc((4, 4, 4), frozen_groups=frozenset({0}), groups=thirds), 20.0)
    engine.compute()
    frozen = engine.system.groups == 0
    before = engine.system.positions[:engine.system.n_owned][frozen].copy()
    tags = engine.system.tags[:engine.system.n_owned][frozen].copy()
    ramp = Ramp(20.0, 40.0, 0, 600)
    integrator = Integrator(engine, 5.0, [THERMOSTATS[name](engine, ramp)])
    temperatures = []
    for step in range(900):
        integrator.step(engine, step)
        temperatures.append(kinetic_temperature(AtomSelection(engine)))
    atoms = AtomSelection(engine).n_atoms
    spread = 40.0 * math.sqrt(2.0 / (3 * atoms))
    assert np.mean(temperatures[600:]) == pytest.approx(40.0, abs=2.0 * spread)
    system, n = engine.system, engine.system.n_owned
    row = {tag: i for i, tag in enumerate(system.tags[:n].tolist())}
    rows = [row[tag] for tag in tags.tolist()]
    assert np.array_equal(system.positions[rows], before)
    assert not system.velocities[rows].any()


def test_langevin_bath_without_net_kick_leaves_the_total_momentum():
    engine = argon_engine(fcc(groups=thirds), 40.0)
    engine.compute()
    baths = [Langevin(engine, t, 100.0, seed=1, groups=frozenset({g}), conserve_momentum=True, index=g, name=f"bath{g}")
             for g, t in ((0, 60.0), (2, 20.0))]
    run(engine, Integrator(engine, 4.0, baths), 200)
    momentum = AtomSelection(engine).momentum()
    rms = math.sqrt(2.0 * engine.kinetic_energy() / engine.n_atoms * MASS_AMU)
    assert np.abs(momentum).max() / (engine.n_atoms * rms) < 1e-12
    assert baths[0].ledger > 0.0 > baths[1].ledger


def test_velocities_have_their_temperatures_exactly():
    engine = argon_engine(fcc(groups=thirds))
    draw_velocities(engine, 77.0, seed=2)
    atoms = AtomSelection(engine)
    assert kinetic_temperature(atoms) == pytest.approx(77.0, rel=1e-13)
    assert np.abs(atoms.momentum()).max() < 1e-11
    draw_velocities(engine, {0: 50.0, 2: 90.0}, seed=2, remove_momentum=False)
    for group, temperature in ((0, 50.0), (2, 90.0)):
        assert kinetic_temperature(AtomSelection(engine, frozenset({group}))) == pytest.approx(temperature, rel=1e-13)
    other = engine.system.velocities.copy()
    draw_velocities(engine, {0: 50.0, 2: 90.0}, seed=2, remove_momentum=False, step=1)
    assert np.abs(engine.system.velocities - other)[engine.system.groups != 1].min() > 0.0


def test_a_thermostat_that_scales_refuses_atoms_at_rest():
    engine = argon_engine(fcc((2, 2, 2)))
    engine.compute()
    with pytest.raises(PhysicsError, match="draw velocities"):
        Integrator(engine, 1.0, [NoseHooverChain(engine, 10.0, 100.0)]).step(engine, 0)


@pytest.mark.parametrize("wrong", [
    lambda e: Langevin(e, -1.0, 100.0, 1), lambda e: Langevin(e, 10.0, 0.0, 1), lambda e: Integrator(e, 0.0),
    lambda e: Langevin(e, 10.0, 100.0, 1, groups=frozenset({7})), lambda e: draw_velocities(e, -3.0, 1),
    lambda e: Integrator(e, 1.0, [Langevin(e, 1.0, 1.0, 1), Langevin(e, 1.0, 1.0, 1)]), lambda e: Fire(0.0),
    lambda e: barostat(e, 10.0, free_components=("zz",)), lambda e: barostat(e, 10.0, free_components=("xw",)),
])
def test_senseless_values_are_refused(wrong):
    engine = argon_engine(fcc((2, 2, 2), periodic=(True, True, False)))
    with pytest.raises(InputError):
        wrong(engine)


@pytest.mark.parametrize("minimizer", [Fire, Lbfgs])
def test_a_minimiser_finds_the_crystal_and_leaves_frozen_atoms(minimizer):
    snapshot = fcc((4, 4, 4), NEAREST_LATTICE_A, frozen_groups=frozenset({0}), groups=thirds)
    perfect = snapshot.positions.copy()
    generator = np.random.default_rng(4)
    shaken = snapshot.groups != 0
    snapshot.fields["positions"][shaken] += generator.normal(0.0, 0.15, (int(shaken.sum()), 3))
    engine = argon_engine(snapshot, cutoff=4.6)
    engine.compute()
    mover = minimizer(1e-6)
    start = engine.potential_energy()
    for step in range(600):
        mover.step(engine, step)
        if mover.finished:
            break
    assert mover.finished
    assert step < 400
    assert mover.largest_force < 1e-6
    assert engine.potential_energy() < start
    final = engine.domain.gather(engine.system)
    assert np.abs(final.positions + final.images @ final.cell - perfect).max() < 1e-4
    assert not final.velocities.any()


@pytest.mark.parallel(2)
def test_global_thermostats_agree_between_rank_counts():
    for name, make in THERMOSTATS.items():
        finals = []
        for comm in (None, world_communicator()):
            engine = argon_engine(fcc((4, 3, 3)), 40.0, seed=9, comm=comm)
            integrator = Integrator(engine, 5.0, [make(engine, 60.0)], barostat(engine, 60.0))
            engine.compute()
            for step in range(20):
                integrator.step(engine, step)
            finals.append((engine.domain.gather(engine.system), integrator.conserved(engine)))
        if world_communicator().rank == 0:
            assert np.abs(finals[0][0].positions - finals[1][0].positions).max() < 1e-9, name
            assert np.abs(finals[0][0].cell - finals[1][0].cell).max() < 1e-10, name
            assert finals[0][1] == pytest.approx(finals[1][1], abs=1e-9)
