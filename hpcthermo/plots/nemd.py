"""Figures of NEMD runs: profiles, bath energies, convergence, replicas."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hpcthermo.plots.style import BLUE, GREEN, GREY, RED, Axes, Drawings
from hpcthermo.results import Results, value_text
from hpcthermo.transport.analysis import Profile, analyze_record, interface_flux, make_profile
from hpcthermo.transport.groups import FREE, SINK, SOURCE
from hpcthermo.transport.record import NemdRecord, records_of
from hpcthermo.transport.statistics import pool, ratio_of_means
from hpcthermo.units import CONDUCTANCE_MW_PER_M2_K

_ROLE_COLORS = {SOURCE: RED, SINK: BLUE, FREE: "#000000"}
_MOST_POINTS = 60
_CONDUCTANCE = "interfacial_thermal_conductance"
#: the jump between the layers at the interface, that of the fitted lines (arrow), the conductance of the first
_TITLE_RESULTS = (
    (r"$\Delta T$", "interface_temperature_jump"), (r"$\Delta T_\mathrm{fit}$", "interface_temperature_jump_fit"),
    ("$G$", "interfacial_thermal_conductance"),
)


def nemd_drawings(results: Results) -> Drawings:
    """Figures of one run, or of its replicas together."""
    records = records_of(results)
    if len(records) > 1:
        return _replica_drawings(records)
    record = records[0]
    analysis = analyze_record(record)
    profile = make_profile(record)
    plane = _plane(record.interface, np.unique(record.group_block))
    drawings: Drawings = {
        "temperature_profile": lambda axes: draw_profile(axes, analysis.profile, analysis.results, profile, plane),
        "bath_energies": lambda axes: draw_bath_energies(
            axes, record.time, record.source_energy, record.sink_energy, record.warmup),
    }
    if plane is not None:
        flux = interface_flux(record, profile, plane)
        drawings["conductance_convergence"] = lambda axes: draw_convergence(axes, profile, flux, plane)
    return drawings


def _replica_drawings(records: list[NemdRecord]) -> Drawings:
    """Conductance of each replica, and the profiles of all on top of each other."""
    analyses = [analyze_record(record) for record in records]
    drawings: Drawings = {
        "replica_profiles": lambda axes: draw_replica_profiles(axes, [analysis.profile for analysis in analyses])}
    found = [a.results[_CONDUCTANCE] for a in analyses if _CONDUCTANCE in a.results]
    if found:
        drawings["replica_conductances"] = lambda axes: draw_replica_conductances(axes, found)
    return drawings


def draw_replica_conductances(axes: Axes, found: list[dict[str, Any]]) -> None:
    """Values with their own errors, the mean (line) and its standard error (band)."""
    values = np.array([entry["value"] for entry in found])
    mean, error, deviation = pool(values)
    axes.errorbar(np.arange(1, len(values) + 1), values, [entry["error"] for entry in found], fmt="o", ms=4, capsize=2,
                  color="#000000")
    axes.axhline(mean, color=GREEN)
    axes.axhspan(mean - error, mean + error, color=GREEN, alpha=0.2, lw=0)
    axes.set_xlabel("replica")
    axes.set_ylabel("conductance (MW m$^{-2}$ K$^{-1}$)")
    axes.set_title(f"mean {mean:.1f} $\\pm$ {error:.1f}, standard deviation {deviation:.1f}", fontsize=9)


def draw_replica_profiles(axes: Axes, profiles: list[dict[str, Any]]) -> None:
    """Temperature of each block in each replica."""
    for profile in profiles:
        axes.plot(profile["height_A"], profile["temperature_K"], "o-", ms=3, lw=0.6, color=BLUE, alpha=0.4)
    axes.set_xlabel("position along the heat flux (Å)")
    axes.set_ylabel("temperature (K)")


def _plane(interface: tuple[int, int] | None, blocks: np.ndarray) -> int | None:
    return None if interface is None else int(np.searchsorted(blocks, min(interface)))


def draw_profile(axes: Axes, arrays: dict[str, Any], results: dict[str, Any], profile: Profile,
                 plane: int | None) -> None:
    """Block temperatures with errors, fitted lines, and the jump at the interface."""
    height, temperature = np.array(arrays["height_A"]), np.array(arrays["temperature_K"])
    error, roles = np.array(arrays["temperature_error_K"]), np.array(arrays["role"])
    for role, color in _ROLE_COLORS.items():
        chosen = roles == role
        if chosen.any():
            axes.errorbar(height[chosen], temperature[chosen], error[chosen], fmt="o", ms=4, capsize=2, color=color,
                          label={SOURCE: "source", SINK: "sink", FREE: "free blocks"}[role], zorder=3)
    if "bin_height_A" in arrays:
        axes.errorbar(arrays["bin_height_A"], arrays["bin_temperature_K"], arrays["bin_temperature_error_K"], fmt=".",
                      ms=3, lw=0.6, color=GREY, label="bins", zorder=1)
    middle = None if plane is None else 0.5 * float(profile.heights[plane] + profile.heights[plane + 1])
    ends = []
    for name in ("line_source_side", "line_sink_side", "line_bulk"):
        if name in arrays:
            line = arrays[name]
            span = np.array([min(line["height_A"]), max(line["height_A"])])
            if middle is not None:
                span = np.array([min(span[0], middle), max(span[1], middle)])
                ends.append(line["intercept_K"] + line["slope_K_per_A"] * middle)
            axes.plot(span, line["intercept_K"] + line["slope_K_per_A"] * span, color=GREEN, zorder=2)
    if middle is not None and plane is not None:
        axes.axvline(middle, color=GREY, lw=0.8, ls=":", zorder=1)
        _label_sides(axes, profile, plane, middle)
        if len(ends) == 2:
            axes.annotate("", (middle, ends[0]), (middle, ends[1]),
                          arrowprops={"arrowstyle": "<->", "color": GREEN, "shrinkA": 0, "shrinkB": 0})
    text = [f"{symbol} = {value_text(results[name])}" for symbol, name in _TITLE_RESULTS if name in results]
    axes.set_title(_math_units("   ".join(text)), fontsize=7.5)
    axes.set_xlabel("position along the heat flux (\N{ANGSTROM SIGN})")
    axes.set_ylabel("temperature (K)")
    axes.legend()


def _math_units(text: str) -> str:
    """Powers of units as superscripts."""
    return re.sub(r"\^(-?\d+)", r"$^{\1}$", text)


def _label_sides(axes: Axes, profile: Profile, plane: int, middle: float) -> None:
    """Composition of both sides beside the interface, at the bottom of the axes."""
    for k, side, shift in ((plane, "right", -1), (plane + 1, "left", 1)):
        axes.annotate(profile.composition[k], (middle, 0.02), xycoords=("data", "axes fraction"),
                      xytext=(5 * shift, 0), textcoords="offset points", ha=side, color=GREY)


def draw_bath_energies(axes: Axes, time: np.ndarray, source: np.ndarray, sink: np.ndarray, warmup: float) -> None:
    """Energy exchanged with the baths; equal slopes mean a steady state."""
    analysed = time > warmup
    lines = ((source, "given by the source", RED, "-"), (-sink, "taken by the sink", BLUE, "--"))
    for values, name, color, style in lines:
        label = name
        if analysed.sum() > 2:
            slope = np.polyfit(time[analysed], values[analysed], 1)[0]
            label = f"{name}: {slope:.3g} eV/ps"
        axes.plot(time, values, color=color, ls=style, label=label)
    if warmup > 0.0:
        axes.axvspan(time[0], warmup, color=GREY, alpha=0.15, lw=0, label="warm-up")
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("energy (eV)")
    axes.legend()


def draw_convergence(axes: Axes, profile: Profile, flux: np.ndarray, plane: int) -> None:
    """Conductance of the first part of the run with its block error, against the length of that part."""
    hot, cold = (plane, plane + 1) if profile.direction > 0 else (plane + 1, plane)
    jump = profile.temperatures[:, hot] - profile.temperatures[:, cold]
    lengths = np.unique(np.linspace(min(16, len(jump)), len(jump), _MOST_POINTS).astype(int))
    estimates = [ratio_of_means(flux[:n], jump[:n]).scaled(CONDUCTANCE_MW_PER_M2_K) for n in lengths]
    time = lengths * profile.row_length
    values, errors = np.array([e.value for e in estimates]), np.array([e.error for e in estimates])
    axes.plot(time, values, color=BLUE)
    axes.fill_between(time, values - errors, values + errors, color=BLUE, alpha=0.25, lw=0, label="block error")
    axes.axhline(values[-1], color=GREY, lw=0.8, ls="--")
    # an early estimate with a jump near zero must not squeeze the rest
    reach = 5.0 * max(float(errors[-1]), 0.02 * abs(float(values[-1])))
    axes.set_ylim(max(values[-1] - reach, min((values - errors).min(), values[-1] - errors[-1])),
                  min(values[-1] + reach, max((values + errors).max(), values[-1] + errors[-1])))
    axes.set_xlabel("analysed time (ps)")
    axes.set_ylabel("conductance (MW m$^{-2}$ K$^{-1}$)")
    axes.legend()
