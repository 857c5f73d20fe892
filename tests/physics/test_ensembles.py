"""Sampled ensembles: kinetic energies, two temperatures, two pressures, an ideal gas under pressure.

The checks of `physical_validation` (Merz and Shirts, PLoS ONE 13, e0202764 (2018)) give deviations in standard errors.
"""

import math

import numpy as np
import pytest
from argon import MASS_AMU, argon_engine, fcc
from scipy import stats

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics import barostats
from hpcthermo.dynamics.barostats import CellRescaling
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.nose_hoover import NoseHooverChain
from hpcthermo.dynamics.thermostats import Langevin, VelocityRescaling
from hpcthermo.gpu.backend import make_backend
from hpcthermo.system import System
from hpcthermo.units import BOLTZMANN_EV_PER_K, PRESSURE_GPA, TIME_FS

THERMOSTATS = {
    "langevin": lambda e, t: Langevin(e, t, 300.0, seed=7),
    "velocity_rescaling": lambda e, t: VelocityRescaling(e, t, 300.0, seed=7),
    "nose_hoover": lambda e, t: NoseHooverChain(e, t, 150.0),
}
TIMESTEP_FS = 5.0
#: a liquid, so that also a deterministic thermostat is ergodic
LIQUID_LATTICE_A = 5.75
EV_KJ_PER_MOL = 96.48533212


def sampled(temperature, make_thermostat, make_barostat, steps, every):
    """Columns kinetic, potential energy (eV) and volume (A^3) of liquid argon, after a tenth of the steps."""
    engine = argon_engine(fcc((3, 3, 3), LIQUID_LATTICE_A), 2.0 * temperature, seed=3, precision="mixed")
    barostat = make_barostat(engine) if make_barostat else None
    integrator = Integrator(engine, TIMESTEP_FS, [make_thermostat(engine, temperature)], barostat)
    engine.compute()
    rows = []
    for step in range(steps):
        integrator.step(engine, step)
        if step >= steps // 10 and step % every == 0:
            rows.append((engine.kinetic_energy(), engine.potential_energy(), engine.system.volume))
    return np.array(rows)


def simulation_data(rows, temperature, momentum_conserved, pressure=None):
    import physical_validation as validation

    units = validation.data.UnitData(
        kb=BOLTZMANN_EV_PER_K, energy_str="eV", energy_conversion=EV_KJ_PER_MOL, length_str="A", length_conversion=0.1,
        volume_str="A^3", volume_conversion=1e-3, temperature_str="K", temperature_conversion=1.0,
        pressure_str="eV/A^3", pressure_conversion=PRESSURE_GPA * 1e4, time_str="ps", time_conversion=1.0,
    )
    given = {"volume": rows[0, 2]} if pressure is None else {"pressure": pressure}
    ensemble = validation.data.EnsembleData("NVT" if pressure is None else "NPT", natoms=108, temperature=temperature,
                                            **given)
    system = validation.data.SystemData(natoms=108, nconstraints=0, ndof_reduction_tra=3 * momentum_conserved,
                                        ndof_reduction_rot=0)
    observables = validation.data.ObservableData(
        kinetic_energy=rows[:, 0], potential_energy=rows[:, 1], total_energy=rows[:, 0] + rows[:, 1], volume=rows[:, 2])
    return validation.data.SimulationData(units=units, ensemble=ensemble, system=system, observables=observables)


def kinetic_deviations(data):
    import physical_validation as validation

    return validation.kinetic_energy.distribution(data, strict=False, verbosity=0, bootstrap_seed=1)


def ensemble_deviations(first, second):
    import physical_validation as validation

    return validation.ensemble.check(first, second, total_energy=False, verbosity=0, bootstrap_seed=1)


def check_nvt(name, steps, every, limit):
    data = [simulation_data(sampled(t, THERMOSTATS[name], None, steps, every), t, name != "langevin")
            for t in (115.0, 125.0)]
    for one in data:
        assert max(np.abs(kinetic_deviations(one))) < limit
    deviations = ensemble_deviations(*data)
    print(name, [kinetic_deviations(one) for one in data], deviations)
    assert max(np.abs(deviations)) < limit


def check_npt(isotropic, steps, every, limit):
    data = []
    for pressure_GPa in (0.03, 0.042):
        rows = sampled(120.0, THERMOSTATS["velocity_rescaling"], lambda e, p=pressure_GPa: CellRescaling(
            e, 120.0, p, 500.0, seed=5, bulk_modulus_GPa=0.6, isotropic=isotropic, interval=2), steps, every)
        data.append(simulation_data(rows, 120.0, True, pressure_GPa / PRESSURE_GPA))
    for one in data:
        assert max(np.abs(kinetic_deviations(one))) < limit
    deviations = ensemble_deviations(*data)
    print("isotropic" if isotropic else "free axes", [kinetic_deviations(one) for one in data], deviations)
    assert max(np.abs(deviations)) < limit


@pytest.mark.parametrize("name", THERMOSTATS)
def test_thermostats_quick(name):
    # short: a gross fault shows; four standard errors, since the run may differ between processors
    data = simulation_data(sampled(120.0, THERMOSTATS[name], None, 3000, 20), 120.0, name != "langevin")
    assert max(np.abs(kinetic_deviations(data))) < 4.0


@pytest.mark.slow
@pytest.mark.parametrize("name", THERMOSTATS)
def test_thermostats_sample_the_canonical_ensemble(name):
    check_nvt(name, 160_000, 40, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("isotropic", [True, False])
def test_barostat_samples_the_ensemble_of_constant_pressure(isotropic):
    check_npt(isotropic, 120_000, 30, 3.0)


class IdealGas:
    """As much of an engine as the barostat asks for, without forces."""

    def __init__(self, n, edge):
        fields = {"positions": np.zeros((n, 3)), "velocities": np.zeros((n, 3)), "forces": np.zeros((n + 1, 4)),
                  "types": np.zeros(n, np.int32), "tags": np.arange(n), "layers": np.zeros(n, np.int32),
                  "images": np.zeros((n, 3), np.int32), "groups": np.zeros(n, np.int32)}
        self.system = System(np.eye(3) * edge, np.ones(3, bool), ("Ar",), np.array([MASS_AMU]), n, 0, **fields)
        self.backend, self.comm, self.n_atoms = make_backend("cpu", "double"), SingleProcess(), n

    def virial_total(self):
        return np.zeros((3, 3))


@pytest.mark.parametrize(("options", "share", "steps"), [
    ({"isotropic": True}, 1.0, 3_000), ({"free_components": ("xx", "yy", "zz")}, 1.0, 3_000),
    pytest.param({"free_components": ("zz", "xy", "xz")}, 1.0 / 3.0, 30_000, marks=pytest.mark.slow),
])
def test_volume_of_an_ideal_gas(options, share, steps, monkeypatch):
    """N atoms of an ideal gas have P(V) ~ V^N exp(-P V / k T): a gamma distribution of shape N + 1."""
    monkeypatch.setattr(barostats, "_LARGEST_STRAIN", 5.0)
    n, temperature, timestep, relaxation = 6, 300.0, 1.0, 30.0
    thermal = BOLTZMANN_EV_PER_K * temperature
    pressure = (n + 1) * thermal / 1000.0
    engine = IdealGas(n, 10.0)
    barostat = CellRescaling(engine, temperature, pressure * PRESSURE_GPA, relaxation * TIME_FS, seed=2,
                             bulk_modulus_GPa=pressure * PRESSURE_GPA, interval=1, **options)
    velocities = np.random.default_rng(3).normal(0.0, math.sqrt(thermal / MASS_AMU), (steps, n, 3))
    volumes = []
    for step in range(steps):
        engine.system.velocities[...] = velocities[step]
        barostat.begin(engine, step)
        barostat.move(engine, timestep, step)
        volumes.append(engine.system.volume)
    expected = stats.gamma(n + 1, scale=thermal / pressure)
    independent = steps * timestep * share / (2.0 * relaxation)
    assert np.mean(volumes) == pytest.approx(expected.mean(), abs=3.0 * expected.std() / math.sqrt(independent))
    assert np.std(volumes) == pytest.approx(expected.std(), rel=3.0 / math.sqrt(independent))
