"""Figure of a data set: distributions by group."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from hpcthermo.datasets.statistics import DatasetStatistics
from hpcthermo.errors import ResourceError
from hpcthermo.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, Axes

DATASET_FIGURE = "dataset.png"
#: groups with a colour of their own; all others share grey
_COLORS = (BLUE, RED, GREEN, ORANGE, PURPLE)
#: attribute of the statistics, label of the axis
_PANELS = (("energies", "energy (eV/atom)"), ("pressures", "pressure (GPa)"), ("volumes", "volume (Å³/atom)"),
           ("nearest_distances", "nearest distance (Å)"))


def draw_dataset(statistics: DatasetStatistics, path: Path) -> Path:
    """A PNG: frames by group, histograms of energy, pressure, volume and nearest distance, and forces on atoms.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # the places of the panels are given: finding them by a layout would draw everything twice
    with mpl.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(9.0, 5.2), dpi=150)
        panels = figure.subplots(2, 3).ravel()
        figure.subplots_adjust(left=0.07, right=0.98, bottom=0.09, top=0.97, wspace=0.3, hspace=0.3)
        _draw_counts(panels[0], statistics)
        for axes, (name, label) in zip(panels[1:5], _PANELS, strict=True):
            _draw_histogram(axes, getattr(statistics, name), statistics, label)
        _draw_forces(panels[5], statistics.forces)
        try:
            with path.open("wb") as stream:
                FigureCanvasAgg(figure).print_png(stream)
        except OSError as error:
            raise ResourceError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    return path


def _shown_groups(statistics: DatasetStatistics) -> list[tuple[str, str]]:
    """Name and colour; the last takes all that have none of their own."""
    names = [name for name, _ in Counter(statistics.groups).most_common()]
    shown = list(zip(names, _COLORS, strict=False))
    return [*shown, ("others", GREY)] if len(names) > len(shown) else shown


def _draw_counts(axes: Axes, statistics: DatasetStatistics) -> None:
    counts = Counter(statistics.groups)
    others = sum(count for _, count in counts.most_common()[len(_COLORS):])
    for row, (name, color) in enumerate(_shown_groups(statistics)):
        own = counts.get(name, others)
        axes.barh(row, own, height=0.4, color=color)
        axes.text(0.0, row - 0.25, f" {name or 'no group'}: {own}", va="bottom", fontsize=7)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)
    axes.invert_yaxis()
    axes.set_xlabel("frames")


def _draw_histogram(axes: Axes, values: np.ndarray, statistics: DatasetStatistics, label: str) -> None:
    known = np.isfinite(values)
    axes.set_xlabel(label)
    axes.set_ylabel("frames")
    if not known.any():
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        return
    groups = _shown_groups(statistics)
    own = [name for name, _ in groups]
    parts = [values[known & np.array([(g == name) or (name == "others" and g not in own) for g in statistics.groups])]
             for name in own]
    bins = np.histogram_bin_edges(values[known], bins=30)
    axes.locator_params(axis="x", nbins=5)
    # one outline for each group: bars are drawn one by one
    axes.hist(parts, bins=bins, stacked=True, histtype="stepfilled", color=[color for _, color in groups])


def _draw_forces(axes: Axes, magnitudes: np.ndarray) -> None:
    axes.set_xlabel("force on an atom (eV/Å)")
    axes.set_ylabel("atoms")
    if len(magnitudes):
        axes.hist(magnitudes, bins=60, histtype="stepfilled", color=BLUE)
        axes.set_yscale("log")
