"""A picture of a structure from above and from the side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcthermo.domain.grid import frame_cell
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import ResourceError
from hpcthermo.plots.style import BLUE, GREEN, GREY, ORANGE, RED, STYLE, Axes

#: drawn when a run begins
STRUCTURE_FIGURE = "structure.png"

#: colours of the elements met most, in the tradition of molecular graphics; others take the colours of labels
_ELEMENT_COLORS = {"C": "#4d4d4d", "B": "#f2a0a0", "N": "#3050f8", "Si": "#e0b060", "Al": "#9aa5b1", "Ge": "#668f8f",
                   "S": "#e6c619", "Se": "#f58a1f", "Mo": "#2e8b8b", "W": "#2166ac", "O": "#d62728", "Th": "#00a0a0",
                   "Na": "#ab5cf2", "Cl": "#2ca02c", "Cu": "#c88033"}
_PIXELS = 900
_PANEL_INCHES = 3.4
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    columns = _colorings(snapshot)
    inverse = np.linalg.inv(frame_cell(snapshot.cell))
    fractional = snapshot.positions @ inverse
    positions = snapshot.positions - (np.floor(fractional) * snapshot.periodic) @ snapshot.cell
    # the places of the axes are given: finding them by a layout would draw everything twice
    with mpl.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(_PANEL_INCHES * len(columns), 2.0 * _PANEL_INCHES), dpi=120)
        for k, (title, labels, names, colors) in enumerate(columns):
            rgb = np.array([to_rgb(color) for color in colors])
            for row, (across, up, depth) in enumerate(((0, 1, 2), (0, 2, 1))):
                width, height = 1.0 / len(columns), 0.46
                panel = figure.add_axes(((k + 0.17) * width, 0.52 - row * height, 0.8 * width, height - 0.09))
                panel.locator_params(nbins=3)
                _paint(panel, positions[:, [across, up]], positions[:, depth] * (1 if depth == 2 else -1), rgb[labels])
                panel.set_xlabel(f"{'xyz'[across]} (Å)")
                if k == 0:
                    panel.set_ylabel(f"{'xyz'[up]} (Å)")
                if row == 0:
                    handles = [mpl.lines.Line2D([], [], marker="o", ls="", ms=4, color=tuple(color))
                               for color in rgb[:10]]
                    panel.legend(handles, names[:10], title=title, loc="lower center", bbox_to_anchor=(0.5, 1.0),
                                 ncols=6, fontsize=6, title_fontsize=7, columnspacing=0.8, handletextpad=0.1)
        try:
            with path.open("wb") as stream:
                FigureCanvasAgg(figure).print_png(stream)
        except OSError as error:
            raise ResourceError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    return path


def _colorings(snapshot: Snapshot) -> list[tuple[str, np.ndarray, list[str], list[str]]]:
    """Title, label of each atom, names and colours of the labels."""
    cycle = (BLUE, RED, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#F0E442", GREY)
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
