"""What all figures share: sizes, colours, types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STYLE: Any = {
    "figure.figsize": (4.8, 3.4), "font.size": 9, "axes.labelsize": 9,
    "legend.fontsize": 8, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.direction": "in", "ytick.direction": "in", "lines.linewidth": 1.2, "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}
#: colour-blind safe (Okabe and Ito)
BLUE, RED, GREEN, GREY, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#666666", "#E69F00", "#CC79A7"

Axes = Any
#: figures by name: what draws into the axes
Drawings = dict[str, Callable[[Axes], None]]
