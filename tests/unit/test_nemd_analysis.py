"""Analysis of NEMD records whose conductance, flux and conductivity are known."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from hpcthermo.errors import InputError
from hpcthermo.transport.analysis import analyze_record, make_profile
from hpcthermo.transport.groups import FIXED
from hpcthermo.transport.record import NemdRecord
from hpcthermo.units import BOLTZMANN_EV_PER_K, CONDUCTANCE_MW_PER_M2_K, CONDUCTIVITY_W_PER_M_K

sys.path.insert(0, str(Path(__file__).parent))
import lumped_stack as lumped

CONDUCTANCE = lumped.INTERFACE / lumped.AREA * CONDUCTANCE_MW_PER_M2_K
CONDUCTIVITY = lumped.BULK / lumped.AREA * lumped.SPACING * CONDUCTIVITY_W_PER_M_K


@pytest.fixture(scope="module")
def analyses() -> list:
    return [analyze_record(lumped.lumped_record(seed)) for seed in range(24)]


@pytest.mark.parametrize("variant", ["", "_baths", "_heat_current"])
def test_conductance_and_its_error(analyses: list, variant: str) -> None:
    found = [a.results[f"interfacial_thermal_conductance{variant}"] for a in analyses]
    values, errors = np.array([f["value"] for f in found]), np.array([f["error"] for f in found])
    assert values.mean() == pytest.approx(CONDUCTANCE, abs=4.0 * values.std(ddof=1) / np.sqrt(len(values)))
    assert np.all(errors < 0.2 * CONDUCTANCE)
    # 24 degrees of freedom: 8 ... 55 holds 99.9 %
    assert 8.0 < np.sum(((values - CONDUCTANCE) / errors) ** 2) < 55.0


def with_slow_modes(seed: int, share: float) -> NemdRecord:
    """A record in which a share of each layer's canonical variance is frozen in for the whole run."""
    record = lumped.lumped_record(seed)
    rng = np.random.default_rng(1000 + seed)
    capacity = 3.0 * lumped.ATOMS * BOLTZMANN_EV_PER_K
    mean = record.group_energy.mean(axis=0)
    frozen = np.sqrt(share * capacity * BOLTZMANN_EV_PER_K) * mean / capacity * rng.standard_normal(len(mean))
    shrink = np.sqrt(1.0 - share)
    frozen[record.group_role != 0] = 0.0
    kinetic = record.group_kinetic_energy
    return dataclasses.replace(
        record, group_energy=mean + shrink * (record.group_energy - mean) + frozen,
        group_kinetic_energy=kinetic.mean(axis=0) + shrink * (kinetic - kinetic.mean(axis=0)) + 0.5 * frozen,
    )


def test_slow_modes_are_in_the_error(analyses: list) -> None:
    """Layers that keep 60 % of their energy fluctuation for ever scatter more from run to run than blocks show."""
    with_slow = [analyze_record(with_slow_modes(seed, 0.6)) for seed in range(24)]
    found = [a.results["interface_temperature_jump"] for a in with_slow]
    values, errors = np.array([f["value"] for f in found]), np.array([f["error"] for f in found])
    slow = np.array([a.results["slow_mode_error_of_jump"]["value"] for a in with_slow])
    truth = np.mean([a.results["interface_temperature_jump"]["value"] for a in analyses])
    assert 8.0 < np.sum(((values - truth) / errors) ** 2) < 55.0
    assert np.sum((values - truth) ** 2 / (errors**2 - slow**2)) > 55.0


def test_ergodic_runs_have_no_slow_modes(analyses: list) -> None:
    slow = [a.results["slow_mode_error_of_jump"]["value"] for a in analyses]
    assert np.mean(np.array(slow) > 0.0) < 0.4


def test_extrapolated_jump_is_larger_by_the_missing_half_layers(analyses: list) -> None:
    """The lines meet half a spacing from each interface layer: dT_fit = dT - q A / bulk link."""
    jump = np.mean([a.results["interface_temperature_jump"]["value"] for a in analyses])
    fitted = np.mean([a.results["interface_temperature_jump_fit"]["value"] for a in analyses])
    assert fitted == pytest.approx(jump * (1.0 - lumped.INTERFACE / lumped.BULK), rel=0.05)


def test_fluxes_agree(analyses: list) -> None:
    for name in ("source", "sink", "heat_current"):
        other = np.mean([a.results[f"heat_flux_{name}"]["value"] for a in analyses])
        assert other == pytest.approx(np.mean([a.results["heat_flux"]["value"] for a in analyses]), rel=0.03)


def test_conductivity_of_a_side() -> None:
    analysis = analyze_record(lumped.lumped_record(3, rows=3000))
    found = analysis.results["thermal_conductivity_sink_side"]
    assert found["value"] == pytest.approx(CONDUCTIVITY, abs=4.0 * found["error"])
    assert found["unit"] == "W m^-1 K^-1"


def test_verdicts_pass_in_steady_state(analyses: list) -> None:
    for name in ("steady_state", "source_sink_agreement", "energy_balance", "heat_current_agreement"):
        passed = [a.checks[name]["passed"] for a in analyses]
        assert np.mean(passed) >= 22 / 24, name


def test_verdicts_fail_on_a_drifting_profile_and_on_a_leak() -> None:
    drifting = analyze_record(lumped.lumped_record(5, drift=150.0))
    assert not drifting.checks["steady_state"]["passed"]
    leaking = analyze_record(lumped.lumped_record(5, leak=0.5))
    assert not leaking.checks["energy_balance"]["passed"]
    assert not leaking.checks["source_sink_agreement"]["passed"]


def test_direction_does_not_matter() -> None:
    """Source below instead of above: the mirrored record gives the same conductance."""
    record = lumped.lumped_record(2)
    top = record.group_coordinate_sum.max()
    mirrored = dataclasses.replace(
        record, interface=(3, 4), group_coordinate_sum=(top - record.group_coordinate_sum)[:, ::-1],
        group_kinetic_energy=record.group_kinetic_energy[:, ::-1], group_energy=record.group_energy[:, ::-1],
        group_heat_current=-record.group_heat_current[:, ::-1], group_role=record.group_role[::-1],
        group_composition=record.group_composition[::-1],
    )
    first, second = analyze_record(record).results, analyze_record(mirrored).results
    for name in first:
        assert second[name]["value"] == pytest.approx(first[name]["value"], rel=1e-9), name


def test_interface_inside_one_block_pair_only() -> None:
    record = dataclasses.replace(lumped.lumped_record(1, rows=60), interface=(3, 5))
    with pytest.raises(InputError, match="not neighbours"):
        analyze_record(record)


def test_without_interface_the_whole_is_one_side() -> None:
    analysis = analyze_record(dataclasses.replace(lumped.lumped_record(1), interface=None))
    assert "interfacial_thermal_conductance" not in analysis.results
    assert "heat_flux" in analysis.results


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match="rows after the warm-up"):
        make_profile(dataclasses.replace(lumped.lumped_record(1, rows=60), warmup=29.0))


def test_temperature_of_each_bin() -> None:
    """Bins that hold one layer have its temperature; an empty bin has none."""
    record = lumped.lumped_record(2)
    layers = len(record.group_atoms)
    edges = lumped.SPACING * (np.arange(layers + 2) - 0.5)
    kinetic = np.pad(record.group_kinetic_energy, ((0, 0), (0, 1)))
    atoms = np.pad(np.tile(record.group_atoms * (record.group_role != FIXED), (len(kinetic), 1)), ((0, 0), (0, 1)))
    bins = {"bin_edges": edges, "bin_kinetic_energy": kinetic, "bin_atoms": atoms.astype(float)}
    found = analyze_record(dataclasses.replace(record, **bins)).profile
    assert found["bin_height_A"] == pytest.approx(found["height_A"])
    assert found["bin_temperature_K"] == pytest.approx(found["temperature_K"])
    assert found["bin_temperature_error_K"] == pytest.approx(found["temperature_error_K"], rel=0.3)
