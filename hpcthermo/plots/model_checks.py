"""Figures of checks of a potential: dispersions, binding curves beside labelled energies."""

from __future__ import annotations

from functools import partial

from hpcthermo.model_checks.run import checks_of, results_of_check
from hpcthermo.plots.phonons import draw_dispersion
from hpcthermo.plots.style import BLUE, GREY, RED, Axes, Drawings
from hpcthermo.results import Results


def check_drawings(results: Results) -> Drawings:
    """Figures of the checks of a results file."""
    drawings: Drawings = {}
    for _, place in checks_of(results):
        found = results_of_check(results, place)
        name = place.rpartition("/")[2]
        if found.group("dispersion"):
            drawings[name] = partial(draw_dispersion, results=found)
        if found.group("binding_curve"):
            drawings[name] = partial(draw_labelled_curve, results=found)
    return drawings


def draw_labelled_curve(axes: Axes, results: Results) -> None:
    """Energies of the model and of the labels, both zero at the largest distance."""
    found = {name: quantity.values for name, quantity in results.group("binding_curve").items()}
    energy = 1e3 * (found["energy"] - found["energy"][-1])
    axes.axhline(0.0, color=GREY, lw=0.6)
    axes.plot(found["fine_distance"], 1e3 * (found["fine_energy"] - found["energy"][-1]), color=BLUE, label="model")
    axes.plot(found["distance"], energy, "o", ms=3, color=BLUE)
    lowest = float(energy.min())
    if "reference_energy" in found:
        labels = 1e3 * (found["reference_energy"] - found["reference_energy"][-1])
        axes.plot(found["distance"], labels, "x", ms=5, color=RED, label="labels")
        axes.legend()
        lowest = min(lowest, float(labels.min()))
    if lowest < 0.0:
        axes.set_ylim(1.3 * lowest, -lowest)
    axes.set_xlabel("distance (Å)")
    axes.set_ylabel("energy (meV/atom)")
