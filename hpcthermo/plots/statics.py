"""Figures of atoms at rest: elastic constants, binding curves, sliding surfaces, moire maps."""

from __future__ import annotations

import numpy as np

from hpcthermo.plots.style import BLUE, GREEN, GREY, ORANGE, RED, Axes, Drawings
from hpcthermo.results import Results
from hpcthermo.statics.elastic import diagonal_stresses

#: components of strain
_COMPONENT_COLORS = {"xx": BLUE, "yy": RED, "zz": GREEN, "yz": GREY, "xz": ORANGE, "xy": "#CC79A7"}
#: figures of several panels: rows, columns, width and height in inches
GRIDS: dict[str, tuple[int, int, tuple[float, float]]] = {"moire_map": (2, 2, (8.0, 11.0))}


def elastic_drawings(results: Results) -> Drawings:
    """Figures of elastic constants."""
    return {"stress_strain": lambda axes: draw_stress_strain(axes, results)}


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


def binding_drawings(results: Results) -> Drawings:
    """Figures of a binding curve."""
    return {"binding_curve": lambda axes: draw_binding_curve(axes, results)}


def draw_binding_curve(axes: Axes, results: Results) -> None:
    """Energy per atom above that of the parts alone, and the reference set to zero at its last distance."""
    found = {name: quantity.values for name, quantity in results.group("binding_curve").items()}
    axes.axhline(0.0, color=GREY, lw=0.6)
    axes.plot(found["distance"], 1e3 * (found["energy"] - found["energy_apart"]), "o-", ms=3, color=BLUE, lw=0.8,
              label="this potential")
    if "reference" in found:
        distance, energy = found["reference"].T
        axes.plot(distance, 1e3 * (energy - energy[-1]), "x", ms=4, color=RED, label="reference, zero at its end")
        axes.legend()
    lowest = 1e3 * float((found["energy"] - found["energy_apart"]).min())
    if lowest < 0.0:
        axes.set_ylim(1.3 * lowest, -lowest)
    axes.set_xlabel("distance (Å)")
    axes.set_ylabel("energy (meV/atom)")


def sliding_drawings(results: Results) -> Drawings:
    """Figures of a sliding surface."""
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


def moire_drawings(results: Results) -> Drawings:
    """Figures of a moire map."""
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
    colors = ListedColormap([RED, ORANGE, BLUE, GREY][:len(names)])
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
