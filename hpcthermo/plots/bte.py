"""Figures of the phonon Boltzmann equation: rates, phase space, conductivity and what carries it."""

from __future__ import annotations

import numpy as np

from hpcthermo.plots.phonons import dots, found, phonon_drawings
from hpcthermo.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Axes, Drawings
from hpcthermo.results import Results

#: linewidths in results.h5 -> name and colour
_RATES = {"linewidth": ("three phonons", BLUE), "normal_linewidth": ("normal", GREEN),
          "umklapp_linewidth": ("Umklapp", ORANGE), "isotope_linewidth": ("isotopes", RED),
          "boundary_linewidth": ("boundaries", GREY), "four_phonon_linewidth": ("four phonons", PURPLE)}
_PARTS = {"rta": ("relaxation times", BLUE, "o-"), "lbte": ("full equation", RED, "s-"),
          "coherence": ("coherence", GREEN, "^-")}
_DIAGONAL = (("xx", BLUE), ("yy", RED), ("zz", GREEN))
#: endings of what each way of solving gives -> style of lines and addition to labels
_SOLVED = {"": ("-", ""), "_lbte": ("--", ", full equation")}
#: paths below are of standing modes and not drawn, A
SHORTEST_PATH_A = 1e-2
#: rates below this part of the largest are of modes without partners, and not drawn
ROUNDING = 1e-9
#: part of the modes that an axis may leave out below
_FEW = 0.01
#: part of the conductivity at which the axis of mean free paths begins
_CARRIED = 1e-3
_SHAPES = (BLUE, RED, GREEN, ORANGE, PURPLE, GREY)


def bte_drawings(results: Results) -> Drawings:
    """Figures of a conductivity, after those of the phonons."""
    drawings: Drawings = {"conductivity": lambda axes: draw_conductivity(axes, results)}
    drawings |= phonon_drawings(results)
    modes = found(results, "modes")
    drawings["scattering_rate"] = lambda axes: draw_rates(axes, results)
    drawings["mean_free_path"] = lambda axes: draw_paths(axes, results)
    if "phase_space" in modes:
        drawings["phase_space"] = lambda axes: draw_phase_space(axes, results)
    drawings["cumulative_path"] = lambda axes: draw_cumulative(axes, results, "path")
    drawings["cumulative_frequency"] = lambda axes: draw_cumulative(axes, results, "frequency")
    drawings["spectral_conductivity"] = lambda axes: draw_spectrum(axes, results)
    drawings["branch_shares"] = lambda axes: draw_branches(axes, results)
    if results.group("line_shapes"):
        drawings["line_shapes"] = lambda axes: draw_line_shapes(axes, results)
    return drawings


def room_temperature(results: Results) -> tuple[int, float]:
    """Index and value of the temperature nearest 300 K, K."""
    temperatures = found(results, "kappa")["temperature"]
    index = int(np.abs(temperatures - 300.0).argmin())
    return index, float(temperatures[index])


def draw_conductivity(axes: Axes, results: Results) -> None:
    """Mean of the in-plane or all diagonal components against temperature, for each way of solving."""
    kappa = found(results, "kappa")
    order = np.argsort(kappa["temperature"])
    carried = np.flatnonzero(results.quantities["crystal/periodic"].values)
    for name, (label, color, style) in _PARTS.items():
        if name in kappa:
            mean = kappa[name][:, carried, carried].mean(axis=1)
            axes.plot(kappa["temperature"][order], mean[order], style, ms=4, color=color, label=label)
    if len(order) > 1:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("temperature (K)")
    axes.set_ylabel("mean conductivity (W/(m K))")
    axes.legend()


def draw_rates(axes: Axes, results: Results) -> None:
    """Scattering rates 1/tau = 4 pi gamma against frequency, near 300 K."""
    modes = found(results, "modes")
    index, temperature = room_temperature(results)
    lowest: list[float] = []
    for name, (label, color) in _RATES.items():
        if name in modes:
            gamma = modes[name][index] if modes[name].ndim == 3 else modes[name]
            shown = gamma > ROUNDING * gamma.max(initial=0.0)
            if shown.any():
                dots(axes, modes["frequency"][shown], 4.0 * np.pi * gamma[shown], color, label)
                lowest.append(4.0 * np.pi * float(np.quantile(gamma[shown], _FEW)))
    axes.set_yscale("log")
    if lowest:
        axes.set_ylim(bottom=0.5 * min(lowest))
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel(f"scattering rate at {temperature:g} K (1/ps)")
    axes.legend(markerscale=4)


def draw_paths(axes: Axes, results: Results) -> None:
    """Mean free paths against frequency, near 300 K."""
    modes = found(results, "modes")
    index, temperature = room_temperature(results)
    for ending, color, label in (("", BLUE, "relaxation times"), ("_lbte", RED, "full equation")):
        if f"mean_free_path{ending}" in modes:
            paths = modes[f"mean_free_path{ending}"][index]
            shown = paths > SHORTEST_PATH_A
            dots(axes, modes["frequency"][shown], 0.1 * paths[shown], color, label)
    if "mean_free_path_lbte" in modes:
        axes.legend(markerscale=4)
    axes.set_yscale("log")
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel(f"mean free path at {temperature:g} K (nm)")


def draw_phase_space(axes: Axes, results: Results) -> None:
    """Weighted three-phonon phase space of each mode against frequency, near 300 K."""
    modes = found(results, "modes")
    index, temperature = room_temperature(results)
    space = modes["phase_space"][index]
    shown = space > 0.0
    dots(axes, modes["frequency"][shown], space[shown], BLUE)
    axes.set_yscale("log")
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel(f"weighted phase space at {temperature:g} K (1/THz$^4$)")


def draw_cumulative(axes: Axes, results: Results, kind: str) -> None:
    """Conductivity of all modes up to a mean free path or a frequency, near 300 K."""
    cumulative = found(results, "cumulative")
    index, temperature = room_temperature(results)
    _draw_components(axes, cumulative[kind], cumulative, f"{kind}_kappa", index)
    if kind == "path":
        axes.set_xscale("log")
        upto = np.abs([line.get_ydata() for line in axes.get_lines()]).max(axis=0, initial=0.0)
        axes.set_xlim(cumulative[kind][int((upto > _CARRIED * upto[-1]).argmax())], cumulative[kind][-1])
    axes.set_xlabel("mean free path (nm)" if kind == "path" else "frequency (THz)")
    axes.set_ylabel(f"conductivity up to there at {temperature:g} K (W/(m K))")
    axes.legend()


def draw_spectrum(axes: Axes, results: Results) -> None:
    """Conductivity by frequency, near 300 K."""
    spectral = found(results, "spectral")
    index, temperature = room_temperature(results)
    _draw_components(axes, spectral["frequency"], spectral, "kappa", index)
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel(f"conductivity by frequency at {temperature:g} K (W/(m K THz))")
    if "kappa_lbte" not in spectral:
        axes.set_ylim(bottom=0.0)
    axes.legend()


def _draw_components(axes: Axes, x: np.ndarray, table: dict[str, np.ndarray], name: str, index: int) -> None:
    """Diagonal components of tensors (n_T, len(x), 3, 3), for each way of solving."""
    for ending, (style, addition) in _SOLVED.items():
        tensors = table.get(f"{name}{ending}")
        if tensors is not None and np.isfinite(tensors[index]).all():
            for k, (component, color) in enumerate(_DIAGONAL):
                axes.plot(x, tensors[index, :, k, k], style, color=color, label=component + addition)


def draw_branches(axes: Axes, results: Results) -> None:
    """Shares of the bands (counted by frequency) in the conductivity near 300 K."""
    index, temperature = room_temperature(results)
    kappa = found(results, "kappa")
    branches = {label: np.trace(kappa[name][index], axis1=1, axis2=2)
                for name, label in (("branch", "relaxation times"), ("branch_lbte", "full equation"))
                if name in kappa and np.isfinite(kappa[name][index]).all()}
    width = 0.8 / len(branches)
    for k, (label, branch) in enumerate(branches.items()):
        share = 100.0 * branch / max(float(branch.sum()), 1e-300)
        place = 1 + np.arange(len(share)) + width * (k - 0.5 * (len(branches) - 1))
        axes.bar(place, share, width, color=[BLUE] * 3 + [GREY] * (len(share) - 3), alpha=1.0 - 0.5 * k, label=label)
    if len(branches) > 1:
        axes.legend()
    axes.set_xlabel("band, by frequency")
    axes.set_ylabel(f"share of the conductivity at {temperature:g} K (%)")


def draw_line_shapes(axes: Axes, results: Results) -> None:
    """Spectral functions of all bands together at the first wave vectors, near 300 K; dotted: harmonic frequencies."""
    lines = found(results, "line_shapes")
    index = int(np.abs(lines["temperature"] - 300.0).argmin())
    for color, q, bands, spectra in zip(_SHAPES, lines["q"], lines["harmonic_frequency"], lines["spectral_function"],
                                        strict=False):
        label = "q = (" + ", ".join(f"{x:.3g}" for x in q) + ")"
        axes.plot(lines["frequency"], spectra[index].sum(axis=0), color=color, lw=0.9, label=label)
        for band in bands[bands > 0.0]:
            axes.axvline(band, color=color, lw=0.5, ls=":")
    axes.set_yscale("log")
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel(f"spectral function at {lines['temperature'][index]:g} K (1/THz)")
    axes.legend()


def convergence_drawings(results: Results) -> Drawings:
    """One figure for each thing that was varied."""
    names = sorted({name.partition("/")[0] for name in results.group("convergence")})
    return {f"convergence_{name}": (lambda axes, name=name: draw_convergence(axes, results, name))  # type: ignore[misc]
            for name in names}


def draw_convergence(axes: Axes, results: Results, name: str) -> None:
    """Conductivity against what was varied, with the extrapolation where there is one."""
    data = found(results, f"convergence/{name}")
    facts = results.attributes[f"convergence/{name}"]
    axes.plot(data["abscissa"], data["kappa"], "o-", ms=4, color=BLUE, label=str(facts["method"]))
    if "extrapolated" in data:
        axes.errorbar([0.0], data["extrapolated"], data["error"], fmt="s", ms=5, capsize=3, color=RED,
                      label="extrapolated")
        axes.set_xlim(left=-0.03 * float(np.max(data["abscissa"])))  # the bar beside the axis
    axes.set_xlabel(str(facts["abscissa"]))
    axes.set_ylabel(f"mean conductivity at {float(facts['temperature_K']):g} K (W/(m K))")
    axes.legend()
