r"""Conductance and conductivity from a NEMD record; NumPy and SciPy, no MPI and no GPU.

Symbols: A cross section; Q_h, Q_c energy that the source and sink have given to the atoms; T_k(t) temperature and
E_k(t) energy of block k (a layer or slab); q heat flux from source to sink.

    baths              q = (dQ_h/dt - dQ_c/dt) / 2A
    energy balance     q_I = (dQ_h/dt - d/dt sum_{k on the source side} E_k) / A, the flux through the interface itself,
                       and the same from the sink; both are equal if energy is conserved, and their mean is used
    heat current       q_J = sum_k J_k / (A sum_k L_k),   L_k = (z_{k+1} - z_{k-1}) / 2
    jump               dT = T_a - T_b of the two blocks at the interface
    extrapolated jump  dT_fit = difference at the interface of lines fitted to each side
    conductance        G = <q_I> / <dT>         conductivity of a side   kappa = <q> / |<dT/dz>|

In a steady state <q_I> = <q>, which is the definition of the paper (Liang et al. 2025, eq. 2); q_I is free of what the
layers store and give back, so its error is several times smaller in short runs. Every result is a mean or a ratio of
means of series that were sampled together; `statistics` gives their errors, the correlation of flux and jump included.

Slow modes. Modes of a layer that exchange no energy during the run (in-plane vibrations, for tens of ps) leave no trace
in the blocks of that run but differ from run to run. The energy of a block of N atoms has the canonical variance
3 N (k_B T)^2; what the run has not seen of it, 3 N (k_B T)^2 - var_t E, is the variance of its mean energy (law of
total variance). Divided by (3 N k_B)^2 it is that of its mean temperature and is added to the error of the jump, if it
is larger than the uncertainty of var_t E.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpcthermo.config.nemd import MINIMUM_AVERAGES
from hpcthermo.errors import InputError
from hpcthermo.transport.groups import FIXED, FREE, SINK, SOURCE, join_compositions
from hpcthermo.transport.record import NemdRecord
from hpcthermo.transport.statistics import (
    Estimate,
    autocorrelation_time,
    drift,
    fit_line,
    line_coefficients,
    mean_with_error,
    ratio_of_means,
)
from hpcthermo.units import BOLTZMANN_EV_PER_K, CONDUCTANCE_MW_PER_M2_K, CONDUCTIVITY_W_PER_M_K

CONDUCTANCE_UNIT = "MW m^-2 K^-1"
#: 1 eV/(ps A^2) in GW/m^2
FLUX_GW_PER_M2 = CONDUCTANCE_MW_PER_M2_K * 1e-3
#: independent samples of the temperature jump that the analysed part should give
ENOUGH_SAMPLES = 10.0


@dataclass(frozen=True)
class Profile:
    """Analysed rows by block, blocks in order of height.

    Attributes
    ----------
    temperatures : (rows, blocks) float64
        K; NaN for fixed blocks.
    heights : (blocks,) float64
        Mean coordinate, A.
    roles : (blocks,) int
    composition : tuple of str
    unseen_variances : (blocks,) float64
        Variance of the mean temperature by slow modes, K^2; zero for fixed blocks.
    source_power, sink_power : (rows,) float64
        Power from the source into the atoms and from the atoms into the sink, eV/ps.
    energy_rates : (rows, blocks) float64
        dE_k/dt, eV/ps.
    heat_currents : (rows, blocks) float64 or None
        Along the way from source to sink, eV A/ps.
    direction : int
        +1 if heat flows upwards.
    row_length : float
        Duration of a row, ps.
    """

    temperatures: np.ndarray
    heights: np.ndarray
    roles: np.ndarray
    composition: tuple[str, ...]
    unseen_variances: np.ndarray
    source_power: np.ndarray
    sink_power: np.ndarray
    energy_rates: np.ndarray
    heat_currents: np.ndarray | None
    direction: int
    row_length: float


@dataclass
class NemdAnalysis:
    """Tables for summary.json and arrays for the figures.

    Attributes
    ----------
    results : dict
        Name -> {"value", "error", "unit"}.
    checks : dict
        Name -> {"passed", "detail"}.
    profile : dict
        Arrays of the temperature profile and the fitted lines.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, estimate: Estimate, unit: str) -> None:
        """Enter a result."""
        self.results[name] = {"value": estimate.value, "error": estimate.error, "unit": unit}

    def check(self, name: str, passed: bool, detail: str) -> None:
        """Enter a verdict."""
        self.checks[name] = {"passed": bool(passed), "detail": detail}


def make_profile(record: NemdRecord) -> Profile:
    """Rows after the warm-up, groups joined to blocks.

    Raises
    ------
    InputError
        With fewer than `MINIMUM_AVERAGES` rows or without source or sink.
    """
    first = _first_row(record)
    rows = slice(first, None)
    if len(record.time) - first < MINIMUM_AVERAGES:
        raise InputError(
            f"NEMD results: {len(record.time) - first} rows after the warm-up, expected at least {MINIMUM_AVERAGES}; "
            "run longer or average over fewer samples"
        )
    blocks = np.unique(record.group_block)
    member = (record.group_block[:, None] == blocks[None, :]).astype(np.float64)  # (groups, blocks)
    moving = member * (record.group_role != FIXED)[:, None]
    atoms, moving_atoms = record.group_atoms @ member, record.group_atoms @ moving
    with np.errstate(invalid="ignore", divide="ignore"):
        temperatures = 2.0 * (record.group_kinetic_energy[rows] @ moving) / (3.0 * moving_atoms * BOLTZMANN_EV_PER_K)
    heights = (record.group_coordinate_sum[rows].mean(axis=0) @ member) / atoms
    roles = np.array([_role(record.group_role[member[:, k] > 0]) for k in range(len(blocks))])
    if not (np.any(roles == SOURCE) and np.any(roles == SINK)):
        raise InputError("NEMD results: no source or no sink among the groups; the file is damaged")
    direction = 1 if heights[roles == SINK].mean() > heights[roles == SOURCE].mean() else -1
    interval = np.diff(record.time)[first - 1 :]
    energies = record.group_energy @ member
    currents = record.group_heat_current
    return Profile(
        temperatures=temperatures,
        heights=heights,
        roles=roles,
        composition=tuple(_composition(record, int(b)) for b in blocks),
        unseen_variances=np.array([
            0.0 if roles[k] == FIXED else _unseen_variance(energies[rows, k], temperatures[:, k], float(atoms[k]))
            for k in range(len(blocks))]),
        source_power=np.diff(record.source_energy)[first - 1 :] / interval,
        sink_power=-np.diff(record.sink_energy)[first - 1 :] / interval,
        energy_rates=np.diff(energies, axis=0)[first - 1 :] / interval[:, None],
        heat_currents=None if currents is None else direction * (currents[rows] @ member),
        direction=direction,
        row_length=float(interval.mean()),
    )


def _first_row(record: NemdRecord) -> int:
    """First row after the warm-up that has one before it."""
    return max(1, int(np.searchsorted(record.time, record.warmup * (1.0 + 1e-9) + 1e-12, side="right")))


def _unseen_variance(energies: np.ndarray, temperatures: np.ndarray, atoms: float) -> float:
    """Part of the canonical variance of a block's temperature that its energies (rows,) do not show, K^2."""
    canonical = float(np.mean(temperatures)) ** 2 / (3.0 * atoms)
    seen = float(np.var(energies)) / (3.0 * atoms * BOLTZMANN_EV_PER_K) ** 2
    samples = len(energies) / (2.0 * autocorrelation_time(energies))
    unseen = canonical - seen
    return unseen if unseen > canonical * (2.0 / samples) ** 0.5 else 0.0


def _role(roles: np.ndarray) -> int:
    """Role of a block: that of its bath if it has one, fixed only if nothing in it moves."""
    for role in (SOURCE, SINK, FREE):
        if np.any(roles == role):
            return role
    return FIXED


def _composition(record: NemdRecord, block: int) -> str:
    names = (name for name, b in zip(record.group_composition, record.group_block, strict=True) if int(b) == block)
    return join_compositions(names)


def analyze_record(record: NemdRecord) -> NemdAnalysis:
    """All results and verdicts of one run."""
    profile = make_profile(record)
    analysis = NemdAnalysis()
    fluxes = _fluxes(record, profile, analysis)
    _steady_state(record, profile, analysis)
    _energy_conservation(record, profile, analysis)
    blocks = np.unique(record.group_block)
    plane = _interface_plane(record, blocks)
    sides = _sides(profile, plane)
    for name, side in sides.items():
        _conductivity(profile, fluxes[""], name, side, analysis)
    if plane is not None:
        _conductance(record, profile, fluxes, plane, sides, analysis)
    _profile_arrays(profile, analysis)
    _bin_temperatures(record, analysis)
    return analysis


def _fluxes(record: NemdRecord, profile: Profile, analysis: NemdAnalysis) -> dict[str, np.ndarray]:
    """Enter the fluxes; return series of the mean of both baths and of the heat current, eV/(ps A^2)."""
    source, sink = profile.source_power / record.area, profile.sink_power / record.area
    fluxes = {"": 0.5 * (source + sink)}
    estimates = {"_source": mean_with_error(source), "_sink": mean_with_error(sink), "": mean_with_error(fluxes[""])}
    for name, estimate in estimates.items():
        analysis.add(f"heat_flux{name}", estimate.scaled(FLUX_GW_PER_M2), "GW m^-2")
    difference = estimates["_source"].value - estimates["_sink"].value
    joint = float(np.hypot(estimates["_source"].error, estimates["_sink"].error))
    analysis.check(
        "source_sink_agreement", abs(difference) <= 3.0 * joint,
        f"source minus sink {difference * FLUX_GW_PER_M2:.4g} GW m^-2, joint error {joint * FLUX_GW_PER_M2:.2g}, "
        "limit 3 errors",
    )
    inner = np.flatnonzero(profile.roles[1:-1] == FREE) + 1
    if profile.heat_currents is not None and len(inner):
        z = profile.heights
        length = float(np.sum(z[inner + 1] - z[inner - 1])) / 2.0
        fluxes["_heat_current"] = profile.heat_currents[:, inner].sum(axis=1) / (record.area * length)
        analysis.add("heat_flux_heat_current", mean_with_error(fluxes["_heat_current"]).scaled(FLUX_GW_PER_M2),
                     "GW m^-2")
        offset = mean_with_error(fluxes["_heat_current"] - fluxes[""])
        analysis.check(
            "heat_current_agreement", abs(offset.value) <= 3.0 * offset.error,
            f"heat current minus baths {offset.value * FLUX_GW_PER_M2:.4g} GW m^-2, error of the difference "
            f"{offset.error * FLUX_GW_PER_M2:.2g}, limit 3 errors",
        )
    return fluxes


def _steady_state(record: NemdRecord, profile: Profile, analysis: NemdAnalysis) -> None:
    """Straight-line drift of each free block; one that is significant and above 2 % of the applied difference fails."""
    free = np.flatnonzero(profile.roles == FREE)
    span = abs(record.source_temperature - record.sink_temperature)
    worst_change, worst_p, failed = 0.0, 1.0, False
    for k in free:
        change, _, p_value = drift(profile.temperatures[:, k])
        joint_p = min(1.0, p_value * len(free))
        failed |= joint_p < 0.01 and abs(change) > 0.02 * span
        if p_value <= worst_p:
            worst_change, worst_p = change, p_value
    analysis.check(
        "steady_state", not failed,
        f"most significant drift of a block {worst_change:.2f} K over the run (p = {worst_p:.2g}, {len(free)} blocks)",
    )


def _energy_conservation(record: NemdRecord, profile: Profile, analysis: NemdAnalysis) -> None:
    """Energy that neither the baths nor the atoms account for, against the heat that went through."""
    leak = mean_with_error(profile.energy_rates.sum(axis=1) - profile.source_power + profile.sink_power)
    heat = 0.5 * float(np.mean(profile.source_power + profile.sink_power))
    per_atom = 1e6 / int(np.sum(record.group_atoms[record.group_role != FIXED]))
    analysis.check(
        "energy_balance", abs(leak.value) <= max(0.01 * abs(heat), 3.0 * leak.error),
        f"total energy minus ledgers drifts {leak.value * per_atom:.3g} +- {leak.error * per_atom:.2g} meV/atom/ns, "
        f"{100 * abs(leak.value / heat):.2g} % of the heat flow (limit 1 % or 3 errors)",
    )


def _interface_plane(record: NemdRecord, blocks: np.ndarray) -> int | None:
    """Index k of the block below the interface (the other is k + 1), None without interface."""
    if record.interface is None:
        return None
    low, high = sorted(int(np.searchsorted(blocks, b)) for b in record.interface)
    if high != low + 1:
        raise InputError(f"NEMD results: interface blocks {record.interface} are not neighbours; "
                         "correct interface_layers")
    return low


def _sides(profile: Profile, plane: int | None) -> dict[str, np.ndarray]:
    """Blocks of the linear region of each side, or of the whole without an interface.

    With four free blocks or more the one beside the bath is left out: the bath disturbs it.
    """
    free = profile.roles == FREE
    index = np.arange(len(free))
    if plane is None:
        inner = index[free]
        return {"bulk": inner[1:-1] if len(inner) >= 5 else inner}
    lower, upper = index[free & (index <= plane)], index[free & (index > plane)]
    lower = lower[1:] if len(lower) >= 4 else lower
    upper = upper[:-1] if len(upper) >= 4 else upper
    if profile.direction > 0:
        return {"source_side": lower, "sink_side": upper}
    return {"source_side": upper, "sink_side": lower}


def _conductivity(profile: Profile, flux: np.ndarray, name: str, side: np.ndarray, analysis: NemdAnalysis) -> None:
    """Conductivity of a side if it has three blocks and a slope of three errors; its straightness in any case."""
    if len(side) < 3:
        return
    slope_of, _ = line_coefficients(profile.heights[side], 0.0)
    gradient = -profile.direction * (profile.temperatures[:, side] @ slope_of)
    estimate = mean_with_error(gradient)
    if estimate.value > 3.0 * estimate.error:
        analysis.add(f"thermal_conductivity_{name}",
                     ratio_of_means(flux, gradient).scaled(CONDUCTIVITY_W_PER_M_K), "W m^-1 K^-1")
    means = [mean_with_error(profile.temperatures[:, k]) for k in side]
    errors = np.array([m.error for m in means])
    fit = fit_line(profile.heights[side], np.array([m.value for m in means]), errors)
    analysis.profile[f"line_{name}"] = {
        "height_A": profile.heights[side].tolist(), "slope_K_per_A": fit.slope, "intercept_K": fit.intercept,
        "chi_squared": fit.chi_squared, "degrees_of_freedom": fit.degrees_of_freedom,
    }


def _conductance(record: NemdRecord, profile: Profile, fluxes: dict[str, np.ndarray], plane: int,
                 sides: dict[str, np.ndarray], analysis: NemdAnalysis) -> None:
    """Conductance of the interface: each flux over the jump, and the flux through it over the extrapolated jump."""
    hot, cold = (plane, plane + 1) if profile.direction > 0 else (plane + 1, plane)
    jump = profile.temperatures[:, hot] - profile.temperatures[:, cold]
    middle = 0.5 * (profile.temperatures[:, hot] + profile.temperatures[:, cold])
    slow = float(np.sqrt(profile.unseen_variances[hot] + profile.unseen_variances[cold]))
    jump_estimate = mean_with_error(jump).widened(slow)
    analysis.add("interface_temperature_jump", jump_estimate, "K")
    analysis.add("interface_temperature", mean_with_error(middle).widened(0.5 * slow), "K")
    analysis.add("slow_mode_error_of_jump", Estimate(slow, float("nan"), 0), "K")
    through = interface_flux(record, profile, plane)
    ratios = {"": (through, jump, slow), "_baths": (fluxes[""], jump, slow)}
    if "_heat_current" in fluxes:
        ratios["_heat_current"] = (fluxes["_heat_current"], jump, slow)
    if min(len(side) for side in sides.values()) >= 2:
        fitted, slow_fit = _extrapolated_jump(profile, plane, sides)
        analysis.add("interface_temperature_jump_fit", mean_with_error(fitted).widened(slow_fit), "K")
        ratios["_fit"] = (through, fitted, slow_fit)
    estimates = {}
    for name, (above, below, slow_error) in ratios.items():
        ratio = ratio_of_means(above, below)
        ratio = ratio.widened(ratio.value * slow_error / float(np.mean(below)))
        estimates[name] = estimate = ratio.scaled(CONDUCTANCE_MW_PER_M2_K)
        analysis.add(f"interfacial_thermal_conductance{name}", estimate, CONDUCTANCE_UNIT)
    _conductance_checks(profile, jump, jump_estimate, estimates[""], analysis)


def interface_flux(record: NemdRecord, profile: Profile, plane: int) -> np.ndarray:
    """Series of the flux through the plane above block `plane`, eV/(ps A^2) (energy balance)."""
    index = np.arange(len(profile.roles))
    source_side = index <= plane if profile.direction > 0 else index > plane
    leaves_source = profile.source_power - profile.energy_rates[:, source_side].sum(axis=1)
    enters_sink = profile.sink_power + profile.energy_rates[:, ~source_side].sum(axis=1)
    return 0.5 * (leaves_source + enters_sink) / record.area


def _extrapolated_jump(profile: Profile, plane: int, sides: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Difference of both fitted lines at the interface: its series, and its error by slow modes."""
    middle = 0.5 * float(profile.heights[plane] + profile.heights[plane + 1])
    ends, variance = {}, 0.0
    for name, side in sides.items():
        _, weights = line_coefficients(profile.heights[side], middle)
        ends[name] = profile.temperatures[:, side] @ weights
        variance += float(weights**2 @ profile.unseen_variances[side])
    return ends["source_side"] - ends["sink_side"], variance**0.5


def _conductance_checks(profile: Profile, jump: np.ndarray, estimate: Estimate, conductance: Estimate,
                        analysis: NemdAnalysis) -> None:
    analysis.check(
        "temperature_jump", estimate.value >= 5.0 * estimate.error,
        f"jump {estimate.value:.2f} K = {estimate.value / estimate.error:.1f} errors, expected at least 5",
    )
    relative = abs(conductance.error / conductance.value)
    analysis.check("conductance_precision", relative <= 0.3,
                   f"error {100 * relative:.1f} % of the conductance, expected at most 30 %")
    correlation = autocorrelation_time(jump)
    times = len(jump) / (2.0 * correlation)
    analysis.add("jump_correlation_time", Estimate(correlation * profile.row_length, float("nan"), 0), "ps")
    analysis.add("effective_samples", Estimate(times, float("nan"), 0), "1")
    analysis.check("sampling", times >= ENOUGH_SAMPLES,
                   f"{times:.0f} independent samples of the jump (correlation time "
                   f"{correlation * profile.row_length:.2g} ps), expected at least {ENOUGH_SAMPLES:.0f}")


def _profile_arrays(profile: Profile, analysis: NemdAnalysis) -> None:
    moving = profile.roles != FIXED
    estimates = [
        mean_with_error(profile.temperatures[:, k]).widened(float(profile.unseen_variances[k]) ** 0.5)
        for k in np.flatnonzero(moving)
    ]
    analysis.profile.update(
        height_A=profile.heights[moving].tolist(),
        temperature_K=[e.value for e in estimates],
        temperature_error_K=[e.error for e in estimates],
        role=profile.roles[moving].tolist(),
        composition=[profile.composition[k] for k in np.flatnonzero(moving)],
    )


def _bin_temperatures(record: NemdRecord, analysis: NemdAnalysis) -> None:
    """T = 2 <E_kin> / (3 k_B <N>) of each bin that holds a moving atom on average, if the job has bins."""
    if record.bin_edges is None or record.bin_kinetic_energy is None or record.bin_atoms is None:
        return
    rows = slice(_first_row(record), None)
    occupied = np.flatnonzero(record.bin_atoms[rows].mean(axis=0) >= 1.0)
    centres = 0.5 * (record.bin_edges[:-1] + record.bin_edges[1:])
    kelvin = 2.0 / (3.0 * BOLTZMANN_EV_PER_K)
    estimates = [ratio_of_means(record.bin_kinetic_energy[rows, k], record.bin_atoms[rows, k]).scaled(kelvin)
                 for k in occupied]
    analysis.profile.update(
        bin_height_A=centres[occupied].tolist(),
        bin_temperature_K=[e.value for e in estimates],
        bin_temperature_error_K=[e.error for e in estimates],
    )
