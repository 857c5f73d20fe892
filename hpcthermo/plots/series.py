"""Figures of stages and relaxations: temperature, energies, pressure, convergence."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.plots.style import BLUE, GREEN, GREY, RED, Axes, Drawings
from hpcthermo.results import Results
from hpcthermo.transport.statistics import mean_with_error


def stage_drawings(results: Results) -> Drawings:
    """Temperature, energies and pressure over all stages, where they were recorded."""
    series = results.group("series")
    drawings: Drawings = {}
    if not len(series.get("time", _NOTHING).values):
        return drawings
    time, label = series["time"].values, "time (ps)"
    if not time.any():  # a minimisation has steps but no time
        time, label = series["step"].values, "step"
    if "temperature" in series:
        drawings["temperature"] = lambda axes: _draw_series(
            axes, time, {"temperature": series["temperature"].values}, "temperature (K)", label)
    if {"potential_energy", "kinetic_energy"} <= set(series):
        atoms = max(1, int(results.run.get("atoms", 1)))
        drawings["energies"] = lambda axes: _draw_series(axes, time, {
            name: (series[f"{name}"].values - series[f"{name}"].values[0]) / atoms * 1e3
            for name in ("potential_energy", "kinetic_energy", "conserved") if name in series
        }, "change of energy (meV/atom)", label)
    if "largest_force" in series:
        drawings["convergence"] = lambda axes: draw_relaxation(axes, results)
    if "pressure" in series:
        pressure = series["pressure"].values
        drawings["pressure"] = lambda axes: _draw_series(
            axes, time, {name: pressure[:, k] for k, name in enumerate(("xx", "yy", "zz"))}, "pressure (GPa)", label)
    return drawings


def draw_relaxation(axes: Axes, results: Results) -> None:
    """Forces, stress and energy over the steps of a relaxation, on a logarithmic axis."""
    series = {name: quantity.values for name, quantity in results.group("series").items()}
    final = {name: quantity.values for name, quantity in results.group("minimize").items()}
    steps, energy = series["step"], series["potential_energy"] / max(1, int(results.run.get("atoms", 1))) * 1e3
    lines = [("largest_force", "tolerance", "largest force (eV/Å)", BLUE),
             ("largest_stress", "stress_tolerance", "largest stress deviation (GPa)", RED)]
    for name, tolerance, label, color in lines:
        if name in final and name in series:
            axes.plot(steps, series[name], color=color, label=label)
            axes.axhline(float(final[tolerance]), color=color, lw=0.8, ls=":")
    above = energy - energy[-1]
    axes.plot(steps[above > 0.0], above[above > 0.0], color=GREY, lw=0.8, label="energy above the end (meV/atom)")
    axes.set_yscale("log")
    if "tolerance" in final:     # far below it is rounding, or a perfect crystal before it is strained
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 1e-4 * float(final["tolerance"])))
    axes.set_xlabel("step")
    axes.legend()


class _Nothing:
    values = np.zeros(0)


_NOTHING: Any = _Nothing()


def _draw_series(axes: Axes, time: np.ndarray, lines: dict[str, np.ndarray], label: str, time_label: str) -> None:
    for (name, values), color in zip(lines.items(), (BLUE, RED, GREEN), strict=False):
        axes.plot(time, values, color=color, lw=0.8, label=name.replace("_", " "))
    axes.set_xlabel(time_label)
    axes.set_ylabel(label)
    if len(lines) > 1:
        axes.legend()
    else:
        estimate = mean_with_error(next(iter(lines.values()))[len(time) // 2:]) if len(time) >= 16 else None
        if estimate is not None:
            axes.set_title(f"mean of the second half: {estimate.value:.4g} $\\pm$ {estimate.error:.2g}", fontsize=9)
