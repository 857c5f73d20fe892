"""From results.h5 to summary.json, figures and a self-contained report.html."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from hpcthermo.kinds import KINDS, Kind
from hpcthermo.results import (
    RESULTS_FILE,
    SUMMARY_FILE,
    Table,
    read_results,
    read_summary,
    replaced_file,
    value_text,
    versions,
    write_summary,
)

REPORT_FILE = "report.html"
#: characters of an exponent as superscripts
_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")

_CAPTIONS = {
    "temperature_profile": "Mean temperature of each block with its standard error, fitted lines, and the jump at the "
                           "interface (dotted).",
    "bath_energies": "Energy exchanged with source and sink; in a steady state both slopes agree.",
    "conductance_convergence": "Conductance from the first part of the analysed time, with its block error.",
    "temperature": "Temperature of all moving atoms.",
    "energies": "Energies relative to their first values.",
    "structure": "The structure at the start, from above and from the side.",
    "pressure": "Diagonal components of the pressure.",
    "stress_strain": "Stress of each strained component and the fitted elastic constant.",
    "convergence": "Largest force on an atom and largest deviation of a free stress component, with their tolerances "
                   "(dotted), and the energy above its last value.",
    "binding_curve": "Energy of rigid layers against the distance of their mean heights.",
    "sliding_surface": "Energy of shifting the upper layers, above the lowest; dots: computed points.",
    "sliding_distance": "Distance of the layers at each shift.",
    "dispersion": "Frequencies along the path between points of high symmetry; imaginary ones below zero.",
    "group_velocity": "Magnitudes of the group velocities.",
    "grueneisen": "Mode Grueneisen parameters along the path.",
    "density_of_states": "Density of states per primitive cell and the shares of the elements.",
    "heat_capacity": "Heat capacity at constant volume, per mole of primitive cells.",
    "conductivity": "Mean conductivity over the periodic directions.",
    "scattering_rate": "Scattering rates 1/tau = 4 pi gamma of the modes of the mesh.",
    "mean_free_path": "Mean free paths: |v| tau, and of the full equation its vector F along v.",
    "phase_space": "Weight of the three-phonon processes that conserve energy, of each mode.",
    "cumulative_path": "Conductivity of all modes with mean free paths up to the abscissa.",
    "cumulative_frequency": "Conductivity of all modes with frequencies up to the abscissa.",
    "branch_shares": "Share of each band in the conductivity; blue: the three lowest at each wave vector.",
    "spectral_conductivity": "Conductivity by frequency.",
    "line_shapes": "Spectral functions of all bands at wave vectors of the mesh with all shifts that the report names; "
                   "dotted: harmonic frequencies.",
    "training_loss": "Loss and root mean square errors on the way; dotted: on the test set.",
    "parity_energy": "Energies per atom by the model and by the labels.",
    "parity_force": "Components of forces by the model and by the labels.",
    "parity_virial": "Components of virials per atom by the model and by the labels.",
    "dataset": "Labels: frames by group, distributions of energy, pressure, volume, nearest distance and force.",
    "moire_map": "Upper layer coloured by local stacking, distance to the lower layer, interlayer energy and height.",
}


def finish_results(folder: Path) -> str:
    """Analyse results.h5, draw the figures unless the job wants none, write summary.json and report.html.

    Returns
    -------
    str
        The results and verdicts as text.

    Raises
    ------
    InputError
        If the folder holds no complete results.
    """
    from hpcthermo.plots import draw_figures

    results = read_results(folder / RESULTS_FILE)
    table, checks = KINDS[results.kind].analyze(results)
    write_summary(folder, table, checks, results.run)
    drawn = results.job.get("output", {}).get("figures", True)
    write_report(folder, draw_figures(folder) if drawn else [])
    return summary_text(KINDS[results.kind], table, checks, folder / SUMMARY_FILE)


def summary_text(kind: Kind, results: Table, checks: Table, path: Path) -> str:
    """What a terminal shows: checks that failed, results, and unless those are the main ones only, the other checks.

    Parameters
    ----------
    path : Path
        Of all of it.
    """
    main = kind.main_results(results)
    failed = [(name, f"FAILED: {check['detail']}") for name, check in checks.items() if not check["passed"]]
    verdict = f"{len(failed)} of {len(checks)} FAILED" if failed else f"all {len(checks)} passed"
    rows = [*([("checks", verdict)] if checks else []), *failed]
    if main is None:
        rows += [(name, value_text(entry)) for name, entry in results.items()]
        rows += [(name, f"passed: {check['detail']}") for name, check in checks.items() if check["passed"]]
    else:
        rows += [*main, ("everything", f"{path} ({len(results)} results, {len(checks)} checks)")]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def write_report(folder: Path, figures: list[Path]) -> Path:
    """Write report.html with the figures inside; nothing in it needs a network."""
    import jinja2

    results, summary = read_results(folder / RESULTS_FILE), read_summary(folder)
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    headline = KINDS[results.kind].headline(summary["results"])
    text = environment.get_template("report.html").render(
        title=results.job.get("title") or f"hpcthermo {results.kind}",
        kind=results.kind,
        created=results.run.get("finished", ""),
        version=versions()["hpcthermo"],
        headline=headline and {"name": _words(headline), "text": _typeset(value_text(summary["results"][headline]))},
        verdict=_verdict(summary["checks"]),
        results=[{"name": _words(n), "text": _typeset(value_text(e))} for n, e in summary["results"].items()],
        checks=[{"name": _words(n), **c} for n, c in summary["checks"].items()],
        figures=[{"caption": _CAPTIONS.get(p.stem, _words(p.stem)), "data": base64.b64encode(p.read_bytes()).decode()}
                 for p in figures],
        run=[(_words(name), _fact_text(value)) for name, value in sorted(results.run.items())],
        job=json.dumps(results.job, indent=2),
    )
    with replaced_file(folder / REPORT_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / REPORT_FILE


def _verdict(checks: Table) -> str:
    failed = [_words(name) for name, check in checks.items() if not check["passed"]]
    if failed:
        return (f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}. "
                "Read their details before using the numbers.")
    if len(checks) == 1:
        return "The one check passed."
    return f"All {len(checks)} checks passed." if checks else ""


def _words(name: str) -> str:
    return name.replace("_", " ")


def _fact_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _typeset(text: str) -> str:
    """Exponents of units as superscripts, as in W m⁻²."""
    return re.sub(r"\^(-?\d+)", lambda match: match.group(1).translate(_SUPERSCRIPTS), text)
