"""Figures of phonons: dispersion, densities of states, group velocities, Grueneisen parameters, heat capacity."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np

from hpcthermo.plots.style import BLUE, GREEN, GREY, ORANGE, RED, Axes, Drawings
from hpcthermo.results import Results

_COLORS = (BLUE, RED, GREEN, ORANGE, GREY, "#CC79A7", "#56B4E9")
#: Grueneisen parameters in results.h5 -> name and colour
_GRUENEISEN = {"grueneisen": ("third order", BLUE), "grueneisen_by_volumes": ("two volumes", RED)}
#: points drawn as dots, the rest is left out evenly
_MOST_DOTS = 20_000


def phonon_drawings(results: Results) -> Drawings:
    """The figures that the groups of a results file allow."""
    drawings: Drawings = {}
    dispersion, dos, thermal = (found(results, name) for name in ("dispersion", "dos", "thermal"))
    if dispersion:
        drawings["dispersion"] = lambda axes: draw_dispersion(axes, results)
        drawings["group_velocity"] = lambda axes: draw_velocities(axes, results)
    if any(name in dispersion for name in _GRUENEISEN):
        drawings["grueneisen"] = lambda axes: draw_grueneisen(axes, results)
    if dos:
        drawings["density_of_states"] = lambda axes: draw_dos(axes, results)
    if "heat_capacity" in thermal and len(thermal["temperature"]) > 1:
        drawings["heat_capacity"] = lambda axes: draw_heat_capacity(axes, results)
    return drawings


def found(results: Results, group: str) -> dict[str, np.ndarray]:
    """Arrays of a group by name."""
    return {name: quantity.values for name, quantity in results.group(group).items()}


def dots(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, label: str | None = None) -> None:
    """Points, so many that files stay small."""
    x, y = x.ravel(), y.ravel()
    every = max(1, len(x) // _MOST_DOTS)
    axes.plot(x[::every], y[::every], ".", ms=2.0, mew=0.0, alpha=0.7, color=color, label=label, rasterized=True)


def draw_dispersion(axes: Axes, results: Results) -> None:
    """Frequencies along the path."""
    path = found(results, "dispersion")
    for piece in _pieces(path):
        axes.plot(path["distance"][piece], path["frequency"][piece], color=BLUE, lw=0.9)
    axes.axhline(0.0, color=GREY, lw=0.5)
    _mark_points(axes, results, path)
    axes.set_ylabel("frequency (THz)")


def draw_velocities(axes: Axes, results: Results) -> None:
    """Magnitudes of group velocities against frequency: of the mesh where there is one, else along the path."""
    modes = found(results, "modes") or found(results, "dispersion")
    dots(axes, modes["frequency"], np.linalg.norm(modes["velocity"], axis=-1) * 0.1, BLUE)
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel("group velocity (km/s)")


def draw_grueneisen(axes: Axes, results: Results) -> None:
    """Mode Grueneisen parameters against frequency, along the path."""
    path = found(results, "dispersion")
    above = path["frequency"] > 0.05  # the parameter of a vanishing frequency is a quotient of two zeros
    for name, (label, color) in _GRUENEISEN.items():
        if name in path:
            dots(axes, path["frequency"][above], path[name][above], color, label)
    axes.legend()
    axes.axhline(0.0, color=GREY, lw=0.5)
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel("mode Grüneisen parameter")


def draw_dos(axes: Axes, results: Results) -> None:
    """Density of states and the shares of the elements."""
    dos = found(results, "dos")
    axes.plot(dos["frequency"], dos["total"], color="black", label="total")
    names = [name for name in dos if name.startswith("element/")]
    for name, color in zip(names if len(names) > 1 else [], _COLORS * len(names), strict=False):
        axes.plot(dos["frequency"], dos[name], color=color, lw=0.9, label=name.removeprefix("element/"))
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel("density of states (1/THz per cell)")
    axes.set_ylim(bottom=0.0)
    if len(names) > 1:
        axes.legend()


def draw_heat_capacity(axes: Axes, results: Results) -> None:
    """Heat capacity at constant volume against temperature."""
    thermal = found(results, "thermal")
    order = np.argsort(thermal["temperature"])
    axes.plot(thermal["temperature"][order], thermal["heat_capacity"][order], "o-", ms=3, color=BLUE)
    axes.set_xlabel("temperature (K)")
    axes.set_ylabel("heat capacity (J/(mol K))")


def _pieces(path: dict[str, np.ndarray]) -> list[slice]:
    """Lines of the path."""
    starts = np.flatnonzero(np.diff(path["line"], prepend=-1, append=-1)).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(starts)]


def _mark_points(axes: Axes, results: Results, path: dict[str, np.ndarray]) -> None:
    marks: list[Any] = json.loads(str(results.attributes["dispersion"]["labels"]))
    for place, _ in marks:
        axes.axvline(place, color=GREY, lw=0.5)
    axes.set_xticks([place for place, _ in marks], [_symbol(label) for _, label in marks])
    axes.set_xlim(path["distance"][0], path["distance"][-1])


def _symbol(label: str) -> str:
    """Names of points as in books: the centre of the zone is a Greek capital."""
    return label.replace("GAMMA", "Γ").replace("_", "")
