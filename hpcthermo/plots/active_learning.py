"""Figures of active learning: errors on held-out frames, and what was met, by iteration."""

from __future__ import annotations

from functools import partial

import numpy as np

from hpcthermo.plots.style import BLUE, GREY, RED, Axes, Drawings
from hpcthermo.results import Results


def learning_drawings(results: Results) -> Drawings:
    """Figures of a loop."""
    drawings: Drawings = {"exploration": partial(draw_exploration, results=results)}
    if "held_out/force_rmse" in results.quantities:
        drawings["held_out_errors"] = partial(draw_held_out, results=results)
    return drawings


def draw_held_out(axes: Axes, results: Results) -> None:
    """Errors of the model of each iteration on all frames that were held out."""
    forces, energies = (1e3 * results.quantities[f"held_out/{name}_rmse"].values for name in ("force", "energy"))
    axes.plot(np.arange(len(forces)), forces, "o-", ms=3, color=BLUE, label="forces (meV/Å)")
    axes.plot(np.arange(len(energies)), energies, "s-", ms=3, color=RED, label="energies (meV/atom)")
    axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel("error on held-out frames")
    axes.legend()


def draw_exploration(axes: Axes, results: Results) -> None:
    """How new snapshots were, against the time of their runs, and the thresholds."""
    section = results.job["active_learning"]
    committee = section["criterion"] == "committee"
    numbers = sorted({path.split("/")[1] for path in results.quantities if path.startswith("exploration/")})
    for k, number in enumerate(numbers):
        found = {name: quantity.values for name, quantity in results.group(f"exploration/{number}").items()}
        shown = np.isfinite(found["measure"]) & (found["measure"] > 0.0)
        shade = 0.8 * (1.0 - (k + 1) / len(numbers))
        axes.plot(found["time"][shown], found["measure"][shown], ".", ms=3, color=(shade, shade, 1.0),
                  label=f"iteration {int(number)}")
        taken = found["taken"].astype(bool) & shown
        axes.plot(found["time"][taken], found["measure"][taken], "o", ms=4, mfc="none", color=RED, lw=0.6)
    for limit in section["force_disagreement_eV_per_A" if committee else "extrapolation_grade"]:
        axes.axhline(limit, color=GREY, lw=0.6, ls=":")
    axes.set_yscale("log")
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("force disagreement (eV/Å)" if committee else "extrapolation grade")
    axes.legend()
