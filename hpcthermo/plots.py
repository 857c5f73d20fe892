"""Figures of a results folder, each as PNG and PDF; the only module that imports matplotlib."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import ResourceError
from hpcthermo.results import RESULTS_FILE, Results, read_results, value_text
from hpcthermo.statics.elastic import diagonal_stresses
from hpcthermo.transport.analysis import Profile, analyze_record, interface_flux, make_profile
from hpcthermo.transport.groups import FREE, SINK, SOURCE
from hpcthermo.transport.record import NemdRecord, records_of
from hpcthermo.transport.statistics import mean_with_error, pool, ratio_of_means
from hpcthermo.units import CONDUCTANCE_MW_PER_M2_K

_STYLE: Any = {
    "figure.figsize": (4.8, 3.4), "figure.dpi": 100, "savefig.dpi": 200, "font.size": 9, "axes.labelsize": 9,
    "legend.fontsize": 8, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.direction": "in", "ytick.direction": "in", "lines.linewidth": 1.2, "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}
#: colour-blind safe (Okabe and Ito)
_BLUE, _RED, _GREEN, _GREY, _ORANGE = "#0072B2", "#D55E00", "#009E73", "#666666", "#E69F00"
_ROLE_COLORS = {SOURCE: _RED, SINK: _BLUE, FREE: "#000000"}
#: components of strain
_COMPONENT_COLORS = {"xx": _BLUE, "yy": _RED, "zz": _GREEN, "yz": _GREY, "xz": _ORANGE, "xy": "#CC79A7"}
_MOST_POINTS = 60
#: drawn when a run begins
STRUCTURE_FIGURE = "structure.png"
_CONDUCTANCE = "interfacial_thermal_conductance"
#: the jump between the layers at the interface, that of the fitted lines (arrow), the conductance of the first
_TITLE_RESULTS = (
    (r"$\Delta T$", "interface_temperature_jump"), (r"$\Delta T_\mathrm{fit}$", "interface_temperature_jump_fit"),
    ("$G$", "interfacial_thermal_conductance"),
)

Axes = Any


def draw_figures(folder: Path) -> list[Path]:
    """Draw all figures that the results of a folder allow.

    Returns
    -------
    list of Path
        PNG files; a PDF of the same name lies beside each of those drawn here, the picture of the structure comes last.

    Raises
    ------
    InputError
        Without a readable results file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    results = read_results(folder / RESULTS_FILE)
    with mpl.rc_context(_STYLE):
        drawings = _stage_drawings(results)
        drawings = {**_KINDS.get(results.kind, lambda _: {})(results), **drawings}
        paths = []
        for name, draw in drawings.items():
            figure, axes = pyplot.subplots(**_GRIDS.get(name, {}))
            draw(axes)
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1])
            figure.savefig(folder / f"{name}.pdf")
            pyplot.close(figure)
    drawn_at_start = folder / STRUCTURE_FIGURE
    return [*paths, drawn_at_start] if drawn_at_start.exists() else paths


# ---- NEMD ------------------------------------------------------------------------------------------


def _nemd_drawings(results: Results) -> dict[str, Callable[[Axes], None]]:
    records = records_of(results)
    if len(records) > 1:
        return _replica_drawings(records)
    record = records[0]
    analysis = analyze_record(record)
    profile = make_profile(record)
    plane = _plane(record.interface, np.unique(record.group_block))
    drawings: dict[str, Callable[[Axes], None]] = {
        "temperature_profile": lambda axes: draw_profile(axes, analysis.profile, analysis.results, profile, plane),
        "bath_energies": lambda axes: draw_bath_energies(
            axes, record.time, record.source_energy, record.sink_energy, record.warmup),
    }
    if plane is not None:
        flux = interface_flux(record, profile, plane)
        drawings["conductance_convergence"] = lambda axes: draw_convergence(axes, profile, flux, plane)
    return drawings


def _replica_drawings(records: list[NemdRecord]) -> dict[str, Callable[[Axes], None]]:
    """Conductance of each replica, and the profiles of all on top of each other."""
    analyses = [analyze_record(record) for record in records]
    drawings: dict[str, Callable[[Axes], None]] = {
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
    axes.axhline(mean, color=_GREEN)
    axes.axhspan(mean - error, mean + error, color=_GREEN, alpha=0.2, lw=0)
    axes.set_xlabel("replica")
    axes.set_ylabel("conductance (MW m$^{-2}$ K$^{-1}$)")
    axes.set_title(f"mean {mean:.1f} $\\pm$ {error:.1f}, standard deviation {deviation:.1f}", fontsize=9)


def draw_replica_profiles(axes: Axes, profiles: list[dict[str, Any]]) -> None:
    """Temperature of each block in each replica."""
    for profile in profiles:
        axes.plot(profile["height_A"], profile["temperature_K"], "o-", ms=3, lw=0.6, color=_BLUE, alpha=0.4)
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
                      ms=3, lw=0.6, color=_GREY, label="bins", zorder=1)
    middle = None if plane is None else 0.5 * float(profile.heights[plane] + profile.heights[plane + 1])
    ends = []
    for name in ("line_source_side", "line_sink_side", "line_bulk"):
        if name in arrays:
            line = arrays[name]
            span = np.array([min(line["height_A"]), max(line["height_A"])])
            if middle is not None:
                span = np.array([min(span[0], middle), max(span[1], middle)])
                ends.append(line["intercept_K"] + line["slope_K_per_A"] * middle)
            axes.plot(span, line["intercept_K"] + line["slope_K_per_A"] * span, color=_GREEN, zorder=2)
    if middle is not None and plane is not None:
        axes.axvline(middle, color=_GREY, lw=0.8, ls=":", zorder=1)
        _label_sides(axes, profile, plane, middle)
        if len(ends) == 2:
            axes.annotate("", (middle, ends[0]), (middle, ends[1]),
                          arrowprops={"arrowstyle": "<->", "color": _GREEN, "shrinkA": 0, "shrinkB": 0})
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
                      xytext=(5 * shift, 0), textcoords="offset points", ha=side, color=_GREY)


def draw_bath_energies(axes: Axes, time: np.ndarray, source: np.ndarray, sink: np.ndarray, warmup: float) -> None:
    """Energy exchanged with the baths; equal slopes mean a steady state."""
    analysed = time > warmup
    lines = ((source, "given by the source", _RED, "-"), (-sink, "taken by the sink", _BLUE, "--"))
    for values, name, color, style in lines:
        label = name
        if analysed.sum() > 2:
            slope = np.polyfit(time[analysed], values[analysed], 1)[0]
            label = f"{name}: {slope:.3g} eV/ps"
        axes.plot(time, values, color=color, ls=style, label=label)
    if warmup > 0.0:
        axes.axvspan(time[0], warmup, color=_GREY, alpha=0.15, lw=0, label="warm-up")
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
    axes.plot(time, values, color=_BLUE)
    axes.fill_between(time, values - errors, values + errors, color=_BLUE, alpha=0.25, lw=0, label="block error")
    axes.axhline(values[-1], color=_GREY, lw=0.8, ls="--")
    # an early estimate with a jump near zero must not squeeze the rest
    reach = 5.0 * max(float(errors[-1]), 0.02 * abs(float(values[-1])))
    axes.set_ylim(max(values[-1] - reach, min((values - errors).min(), values[-1] - errors[-1])),
                  min(values[-1] + reach, max((values + errors).max(), values[-1] + errors[-1])))
    axes.set_xlabel("analysed time (ps)")
    axes.set_ylabel("conductance (MW m$^{-2}$ K$^{-1}$)")
    axes.legend()


# ---- layers ------------------------------------------------------------------------------------------


def _binding_drawings(results: Results) -> dict[str, Callable[[Axes], None]]:
    return {"binding_curve": lambda axes: draw_binding_curve(axes, results)}


def draw_binding_curve(axes: Axes, results: Results) -> None:
    """Energy per atom above that of the parts alone, and the reference set to zero at its last distance."""
    found = {name: quantity.values for name, quantity in results.group("binding_curve").items()}
    axes.axhline(0.0, color=_GREY, lw=0.6)
    axes.plot(found["distance"], 1e3 * (found["energy"] - found["energy_apart"]), "o-", ms=3, color=_BLUE, lw=0.8,
              label="this potential")
    if "reference" in found:
        distance, energy = found["reference"].T
        axes.plot(distance, 1e3 * (energy - energy[-1]), "x", ms=4, color=_RED, label="reference, zero at its end")
        axes.legend()
    lowest = 1e3 * float((found["energy"] - found["energy_apart"]).min())
    axes.set_ylim(1.3 * lowest, -lowest)
    axes.set_xlabel("distance (Å)")
    axes.set_ylabel("energy (meV/atom)")


def _sliding_drawings(results: Results) -> dict[str, Callable[[Axes], None]]:
    return {
        "sliding_surface": lambda axes: draw_sliding_map(axes, results, "energy", "energy (meV/atom)"),
        "sliding_distance": lambda axes: draw_sliding_map(axes, results, "distance", "distance (Å)"),
    }


def draw_sliding_map(axes: Axes, results: Results, name: str, label: str) -> None:
    """Contours over the shifts in the plane."""
    found = {key: quantity.values for key, quantity in results.group("sliding_surface").items()}
    x, y = np.moveaxis(found["shift"], -1, 0)
    if np.ptp(found[name]) > 1e-9:
        contours = axes.contourf(x, y, found[name], levels=24, cmap="viridis")
        axes.figure.colorbar(contours, ax=axes, label=label)
    else:
        axes.set_title(f"{label}: {found[name].flat[0]:.4g} everywhere", fontsize=9)
    axes.plot(x.ravel(), y.ravel(), ".", ms=1, color="#ffffff", alpha=0.5)
    axes.set_aspect("equal")
    axes.set_xlabel("shift along x (Å)")
    axes.set_ylabel("shift along y (Å)")


def _moire_drawings(results: Results) -> dict[str, Callable[[Axes], None]]:
    return {"moire_map": lambda axes: draw_moire_map(axes, results)}


def draw_moire_map(axes: Axes, results: Results) -> None:
    """Four views of the upper layer: stacking, distance, interlayer energy, height."""
    from matplotlib.colors import ListedColormap

    found = {name: quantity.values for name, quantity in results.group("moire_map").items()}
    upper = found["upper"].astype(bool)
    x, y, z = found["positions"][upper].T / 10.0
    # large enough to close the gaps between atoms
    size = 0.35 * (72.0 * 3.0) ** 2 * 2.6 / max(len(x), 1) / max(float(np.ptp(y) / max(float(np.ptp(x)), 1e-9)), 1.0)
    names = [name.decode() for name in found["names"]]
    colors = ListedColormap([_RED, _ORANGE, _BLUE, _GREY][:len(names)])
    panels = [
        ("local stacking", found["stacking"][upper], colors, (-0.5, len(names) - 0.5)),
        ("distance (Å)", found["distance"][upper], "viridis", None),
        ("interlayer energy (meV)", 1e3 * found["interlayer_energy"][upper], "viridis", None),
        ("height (Å)", 10.0 * (z - z.mean()), "coolwarm", None),
    ]
    for panel, (label, values, colormap, limits) in zip(axes.flat, panels, strict=True):
        low, high = limits or (values.min(), values.max())
        dots = panel.scatter(x, y, c=values, s=size, cmap=colormap, vmin=low, vmax=high, lw=0, rasterized=True)
        bar = panel.figure.colorbar(dots, ax=panel, label=label)
        if limits is not None:
            bar.set_ticks(range(len(names)), labels=names)
        panel.set_aspect("equal")
        panel.set_xlabel("x (nm)")
        panel.set_ylabel("y (nm)")


# ---- stages ----------------------------------------------------------------------------------------


def _stage_drawings(results: Results) -> dict[str, Callable[[Axes], None]]:
    """Temperature, energies and pressure over all stages, where they were recorded."""
    series = results.group("series")
    drawings: dict[str, Callable[[Axes], None]] = {}
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
    lines = [("largest_force", "tolerance", "largest force (eV/Å)", _BLUE),
             ("largest_stress", "stress_tolerance", "largest stress deviation (GPa)", _RED)]
    for name, tolerance, label, color in lines:
        if name in final and name in series:
            axes.plot(steps, series[name], color=color, label=label)
            axes.axhline(float(final[tolerance]), color=color, lw=0.8, ls=":")
    above = energy - energy[-1]
    axes.plot(steps[above > 0.0], above[above > 0.0], color=_GREY, lw=0.8, label="energy above the end (meV/atom)")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.legend()


def draw_stress_strain(axes: Axes, results: Results) -> None:
    """Stress along each strain component (points) and the fitted constants C_jj (lines)."""
    strains, stresses, slopes, unit = diagonal_stresses(results)
    for (name, color), slope in zip(_COMPONENT_COLORS.items(), slopes, strict=True):
        if len(strains[name]):
            axes.plot(100.0 * strains[name], stresses[name], "o", ms=3, color=color, label=name)
            span = np.array([strains[name].min(), strains[name].max()])
            axes.plot(100.0 * span, slope * span, color=color, lw=0.8)
    axes.set_xlabel("strain (%), shear doubled")
    axes.set_ylabel(f"stress of the same component ({unit})")
    axes.legend(ncols=2)


class _Nothing:
    values = np.zeros(0)


_NOTHING: Any = _Nothing()


def _draw_series(axes: Axes, time: np.ndarray, lines: dict[str, np.ndarray], label: str, time_label: str) -> None:
    for (name, values), color in zip(lines.items(), (_BLUE, _RED, _GREEN), strict=False):
        axes.plot(time, values, color=color, lw=0.8, label=name.replace("_", " "))
    axes.set_xlabel(time_label)
    axes.set_ylabel(label)
    if len(lines) > 1:
        axes.legend()
    else:
        estimate = mean_with_error(next(iter(lines.values()))[len(time) // 2:]) if len(time) >= 16 else None
        if estimate is not None:
            axes.set_title(f"mean of the second half: {estimate.value:.4g} $\\pm$ {estimate.error:.2g}", fontsize=9)


# ---- structures ------------------------------------------------------------------------------------

#: colours of the elements met most, in the tradition of molecular graphics; others take the colours of labels
_ELEMENT_COLORS = {"C": "#4d4d4d", "B": "#f2a0a0", "N": "#3050f8", "Si": "#e0b060", "Al": "#9aa5b1", "Ge": "#668f8f",
                   "S": "#e6c619", "Se": "#f58a1f", "Mo": "#2e8b8b", "W": "#2166ac", "O": "#d62728", "Th": "#00a0a0",
                   "Na": "#ab5cf2", "Cl": "#2ca02c", "Cu": "#c88033"}
_PIXELS = 900
_DRAWN_AS_DISCS = 4000


def draw_structure(snapshot: Snapshot, path: Path) -> Path:
    """A PNG of a structure from above and from the side, coloured by species, and by layer and group if it has them.

    Discs for small structures; large ones are painted atom by atom into an image, nearest last.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import to_rgb

    columns = _colorings(snapshot)
    inverse = np.linalg.inv(snapshot.cell + np.diag((~snapshot.cell.any(axis=1)).astype(float)))
    fractional = snapshot.positions @ inverse
    positions = snapshot.positions - (np.floor(fractional) * snapshot.periodic) @ snapshot.cell
    with mpl.rc_context({**_STYLE, "figure.constrained_layout.use": False}):
        figure, axes = pyplot.subplots(2, len(columns), figsize=(3.6 * len(columns), 6.4), squeeze=False)
        for k, (title, labels, names, colors) in enumerate(columns):
            rgb = np.array([to_rgb(color) for color in colors])
            for row, (across, up, depth) in enumerate(((0, 1, 2), (0, 2, 1))):
                panel = axes[row, k]
                _paint(panel, positions[:, [across, up]], positions[:, depth] * (1 if depth == 2 else -1), rgb[labels])
                panel.set_xlabel(f"{'xyz'[across]} (Å)")
                if k == 0:
                    panel.set_ylabel(f"{'xyz'[up]} (Å)")
            handles = [mpl.lines.Line2D([], [], marker="o", ls="", ms=4, color=tuple(color)) for color in rgb[:10]]
            axes[0, k].legend(handles, names[:10], title=title, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5,
                              fontsize=6, title_fontsize=7, columnspacing=0.8, handletextpad=0.1)
        figure.tight_layout()
        try:
            figure.savefig(path, dpi=120)
        except OSError as error:
            raise ResourceError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
        finally:
            pyplot.close(figure)
    return path


def _colorings(snapshot: Snapshot) -> list[tuple[str, np.ndarray, list[str], list[str]]]:
    """Title, label of each atom, names and colours of the labels."""
    cycle = (_BLUE, _RED, _GREEN, _ORANGE, "#CC79A7", "#56B4E9", "#F0E442", _GREY)
    species = [_ELEMENT_COLORS.get(name, cycle[k % len(cycle)]) for k, name in enumerate(snapshot.species)]
    columns = [("species", snapshot.types, list(snapshot.species), species)]
    for title in ("layer", "group"):
        labels = snapshot.fields[f"{title}s"]
        if labels.min() >= 0 and labels.max() > 0:
            present, index = np.unique(labels, return_inverse=True)
            colors = [cycle[k % len(cycle)] for k in range(len(present))]
            columns.append((title, index, [str(k) for k in present], colors))
    return columns


def _paint(panel: Axes, plane: np.ndarray, depth: np.ndarray, colors: np.ndarray) -> None:
    """Atoms into axes with equal scales, the nearest ones on top."""
    from scipy.ndimage import maximum_filter

    order = np.argsort(depth, kind="stable")
    low = plane.min(axis=0) - 1.0
    extent = np.maximum(plane.max(axis=0) + 1.0 - low, 1e-6)
    panel.set_aspect("equal")
    panel.set_xlim(low[0], low[0] + extent[0])
    panel.set_ylim(low[1], low[1] + extent[1])
    if len(plane) <= _DRAWN_AS_DISCS:
        # a disc of 0.6 A radius in points of a panel about 200 points wide
        size = (2.0 * 0.6 * 200.0 / extent.max()) ** 2
        panel.scatter(plane[order, 0], plane[order, 1], s=size, c=colors[order], lw=0.1, edgecolors="black")
        return
    scale = _PIXELS / extent.max()
    shape = np.maximum(np.ceil(extent[::-1] * scale).astype(int), 1)
    column, row = ((plane[order] - low) * scale).astype(int).T
    # rank of the nearest atom of each pixel, then of each pixel within the radius of an atom
    rank = np.full(shape, -1)
    rank[np.minimum(row, shape[0] - 1), np.minimum(column, shape[1] - 1)] = np.arange(len(plane))
    rank = maximum_filter(rank, size=2 * int(min(3.0, 0.6 * scale)) + 1)
    image = np.where((rank >= 0)[..., None], colors[order][rank], 1.0)
    panel.imshow(image, origin="lower", extent=(low[0], low[0] + extent[0], low[1], low[1] + extent[1]),
                 interpolation="antialiased", aspect="equal")


#: kind of job -> its drawings by name
_KINDS: dict[str, Callable[[Results], dict[str, Callable[[Axes], None]]]] = {
    "nemd": _nemd_drawings, "binding_curve": _binding_drawings, "sliding_surface": _sliding_drawings,
    "moire_map": _moire_drawings,
    "elastic": lambda results: {"stress_strain": lambda axes: draw_stress_strain(axes, results)},
}
#: figures of several panels
_GRIDS: dict[str, Any] = {"moire_map": {"nrows": 2, "ncols": 2, "figsize": (8.0, 11.0)}}
