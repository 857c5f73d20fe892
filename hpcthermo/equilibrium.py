"""Results and verdicts of equilibrium runs, from the series in results.h5."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.results import Results, Table, entry
from hpcthermo.transport.statistics import drift, mean_with_error

#: fewest samples of a stage from which a mean and its error are taken
_FEWEST_SAMPLES = 8


def analyze_md(results: Results) -> tuple[Table, Table]:
    """Means over the last stage with block errors, and whether the conserved quantity is conserved.

    Returns
    -------
    results, checks : dict
        As in summary.json.
    """
    series = {name: quantity.values for name, quantity in results.group("series").items()}
    if "stage" not in series:
        raise InputError("results file: no series of a run; run the job to its end")
    if not len(series["stage"]):
        return {}, {"samples": {"passed": False, "detail": "nothing was sampled: the run had fewer steps than "
                                                           "output.series_interval_steps"}}
    last = series["stage"] == series["stage"][-1]
    atoms = max(1, int(results.run["atoms"]))
    table: Table = {}
    columns: dict[str, np.ndarray] = {"temperature": series["temperature"]}
    if "pressure" in series:  # not without a volume
        columns["volume"] = _volume(series["cell"])
        columns |= {f"pressure_{name}": series["pressure"][:, k] for k, name in enumerate(("xx", "yy", "zz"))}
    columns["potential_energy_per_atom"] = series["potential_energy"] / atoms
    units = {"temperature": "K", "volume": "A^3", "potential_energy_per_atom": "eV"}
    for name, values in columns.items():
        table[name] = _mean(values[last], units.get(name, "GPa"))
    checks: Table = {}
    if last.sum() >= _FEWEST_SAMPLES:
        _check_steady(columns["temperature"][last], checks)
        _check_conserved(series["conserved"][last] / atoms, series["time"][last], checks)
    return table, checks


def _mean(values: np.ndarray, unit: str) -> dict[str, Any]:
    if len(values) < _FEWEST_SAMPLES:
        return entry(float(values.mean()), unit)
    estimate = mean_with_error(values)
    return entry(estimate.value, unit, estimate.error)


def _volume(cells: np.ndarray) -> np.ndarray:
    return np.abs(np.linalg.det(cells.reshape(-1, 3, 3)))


def _check_steady(temperature: np.ndarray, checks: Table) -> None:
    """A significant drift of more than 2 % of the temperature means that the last stage has not equilibrated."""
    change, _, p_value = drift(temperature)
    checks["steady_temperature"] = {
        "passed": not (p_value < 0.01 and abs(change) > 0.02 * float(temperature.mean())),
        "detail": f"drift {change:.3g} K over the last stage (p = {p_value:.2g})",
    }


def _check_conserved(energy: np.ndarray, time: np.ndarray, checks: Table) -> None:
    """Drift of the conserved quantity per atom; 1 meV/atom over a stage would spoil any thermal average."""
    slope = float(np.polyfit(time - time[0], energy, 1)[0])
    change = abs(slope) * float(time[-1] - time[0])
    checks["conserved_quantity"] = {
        "passed": change < 1e-3,
        "detail": f"drift {slope * 1e6:.3g} meV/atom/ns, {change * 1e3:.2g} meV/atom over the last stage (limit 1)",
    }
