"""Figures of a training: loss and errors on the way, predictions beside labels."""

from __future__ import annotations

from functools import partial

import numpy as np

from hpcthermo.plots.style import BLUE, GREEN, GREY, ORANGE, RED, Axes, Drawings
from hpcthermo.results import Results

_PARTS = {"training": BLUE, "validation": GREEN, "test": RED}
#: quantity -> what the axes call it, unit
_QUANTITIES = {"energy": ("energy", "eV/atom"), "force": ("force", "eV/Å"), "virial": ("virial", "eV/atom")}
#: more dots than this are not told apart
_MOST_DOTS = 20_000


def training_drawings(results: Results) -> Drawings:
    """Figures of a train job."""
    looks = len(results.quantities["loss/step"].values)  # none if time was over before
    drawings: Drawings = {"training_loss": partial(draw_loss, results=results)} if looks else {}
    for name in _QUANTITIES:
        if any(np.isfinite(_pairs(results, part, name)).any() for part in _PARTS):
            drawings[f"parity_{name}"] = partial(draw_parity, results=results, name=name)
    return drawings


def draw_loss(axes: Axes, results: Results) -> None:
    """Loss, and errors of energies and forces, against epochs or generations."""
    found = {name: quantity.values for name, quantity in results.group("loss").items()}
    lines = {"loss": ("total", GREY, "-"), "energy (eV/atom)": ("energy_training", BLUE, "-"),
             "force (eV/Å)": ("force_training", RED, "-"), "virial (eV/atom)": ("virial_training", ORANGE, "-"),
             "energy, test": ("energy_test", BLUE, ":"), "force, test": ("force_test", RED, ":"),
             "virial, test": ("virial_test", ORANGE, ":")}
    for label, (name, color, style) in lines.items():
        shown = np.isfinite(found[name]) & (found[name] > 0.0)
        if shown.any():
            axes.plot(found["step"][shown], found[name][shown], style, color=color, label=label)
    axes.set_yscale("log")
    axes.set_xlabel(str(results.attributes["loss"]["counts"]))
    axes.set_ylabel("loss, errors")
    axes.legend(ncols=2)


def draw_parity(axes: Axes, results: Results, name: str) -> None:
    """Predictions against labels of all parts."""
    low, high = np.inf, -np.inf
    label, unit = _QUANTITIES[name]
    for part, color in _PARTS.items():
        pairs = _pairs(results, part, name)
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        if not len(pairs):
            continue
        error = np.sqrt(((pairs[:, 0] - pairs[:, 1]) ** 2).mean())
        shown = pairs[:: -(-len(pairs) // _MOST_DOTS)]
        axes.plot(shown[:, 1], shown[:, 0], ".", ms=2, color=color, rasterized=True,
                  label=f"{part}, error {1e3 * error:.3g} m{unit}")
        low, high = min(low, pairs.min()), max(high, pairs.max())
    axes.plot([low, high], [low, high], color=GREY, lw=0.6, zorder=0)
    axes.set_xlabel(f"{label} of the labels ({unit})")
    axes.set_ylabel(f"{label} of the model ({unit})")
    axes.legend()


def _pairs(results: Results, part: str, name: str) -> np.ndarray:
    """Predictions and labels, (n, 2)."""
    quantity = results.quantities.get(f"parity_{part}/{name}")
    return np.zeros((0, 2)) if quantity is None else quantity.values.reshape(-1, 2)
