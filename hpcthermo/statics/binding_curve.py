"""Binding curve: energy of rigid layers against their distance, and what it says about how they hold together.

    E_b = [E(d_0) - E_lower - E_upper] / N        E_lower, E_upper: the two parts alone in the same cell

d_0 is the minimum of a cubic spline through the points. The error of d_0 and E_b is their change when every second
point is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.errors import InputError
from hpcthermo.preparation import load_job_potential
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.run import Stop, finish_run
from hpcthermo.simulation import Simulation, on_first_rank
from hpcthermo.statics.layer_sweep import energies_apart, sweep_phase
from hpcthermo.statics.reference import read_columns
from hpcthermo.units import ELEMENTARY_CHARGE_C

#: eV/A^2 in J/m^2
SURFACE_ENERGY_J_PER_M2 = ELEMENTARY_CHARGE_C * 1e20


def run_binding_curve(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Energies at all distances, to a report (collective)."""
    section = job.binding_curve
    reference = on_first_rank(comm, lambda: _read_reference(section.reference_file, section.distances))
    simulation = Simulation(job, comm, folder, resume, job.seed, stop=stop)
    distances = section.distances
    phase, sweeps = sweep_phase("binding curve", section.gap, np.zeros((len(distances), 2)), distances)
    simulation.run([phase])
    engine = simulation.engine
    apart = energies_apart(engine.domain.gather(engine.system), section.gap, load_job_potential(job), engine)
    quantities = {
        "binding_curve/distance": Quantity(distances, "A"),
        "binding_curve/energy": Quantity(sweeps[0].energies / engine.n_atoms, "eV", "per atom"),
        "binding_curve/area": Quantity(np.array(np.linalg.norm(np.cross(*engine.system.cell[:2]))), "A^2"),
    }
    if apart is not None:
        quantities["binding_curve/energy_apart"] = Quantity(np.array(apart.sum() / engine.n_atoms), "eV", "per atom")
    if reference is not None:
        quantities["binding_curve/reference"] = Quantity(reference, "A, eV", "distance and energy per atom")
    finish_run(simulation, quantities)


def _read_reference(name: str | None, distances: np.ndarray) -> np.ndarray | None:
    """(P, 2) distance (A) and energy (eV/atom) of a reference curve in order of distance.

    Raises
    ------
    InputError
        If it is no curve, or lies elsewhere.
    """
    table = read_columns(name, 2)
    if table is None:
        return None
    table = table[np.argsort(table[:, 0])]
    if np.any(np.diff(table[:, 0]) <= 0.0):
        raise InputError(f"reference_file: {name} gives two energies for one distance; remove one")
    if len(_common(distances, table)) < 2:
        raise InputError(f"reference_file: expected at least two distances between {distances[0]:g} and "
                         f"{distances[-1]:g} A in {name}; extend the distances or correct the file")
    return table


def analyze_binding_curve(results: Results) -> tuple[Table, Table]:
    """Equilibrium distance, binding energy, curvature, and how far a reference is.

    Raises
    ------
    InputError
        If the results hold no binding curve.
    """
    found = {name: quantity.values for name, quantity in results.group("binding_curve").items()}
    if not {"distance", "energy", "area", "energy_apart"} <= set(found):
        raise InputError("results file: no binding curve in it; run the job to its end")
    distance, energy, apart = found["distance"], found["energy"], float(found["energy_apart"])
    atoms, area = int(results.run["atoms"]), float(found["area"])
    table: Table = {}
    best = spline_minimum(distance, energy)
    inside = best is not None
    checks: Table = {"minimum": {
        "passed": inside, "detail": "the curve has its minimum between the first and the last distance" if inside else
        f"the lowest of {len(distance)} energies is at an end of the curve; extend the distances"}}
    if best is not None:
        halves = [m for m in (spline_minimum(distance[k::2], energy[k::2]) for k in (0, 1)) if m is not None]
        errors = [max(abs(half[i] - best[i]) for half in halves) if halves else None for i in (0, 1)]
        binding = best[1] - apart
        table["equilibrium_distance"] = entry(best[0], "A", errors[0])
        table["binding_energy"] = entry(1e3 * binding, "meV/atom", None if errors[1] is None else 1e3 * errors[1])
        table["binding_energy_per_area"] = entry(binding * atoms / area * SURFACE_ENERGY_J_PER_M2, "J/m^2")
        table["force_constant_per_area"] = entry(best[2] * atoms / area, "eV/A^4")
    table["energy_apart"] = entry(apart, "eV/atom")
    if "reference" in found:
        table |= _deviation(distance, energy - apart, found["reference"])
        largest = _largest_difference(distance, energy, found["reference"])
        table["largest_absolute_deviation_from_reference"] = entry(largest, "eV/atom")
    return table, checks


def spline_minimum(distance: np.ndarray, energy: np.ndarray) -> tuple[float, float, float] | None:
    """Place, value and curvature of the minimum of a spline; None if it is at an end."""
    from scipy.interpolate import CubicSpline

    lowest = int(np.argmin(energy))
    if not 0 < lowest < len(energy) - 1:
        return None
    curve = CubicSpline(distance, energy)
    roots = curve.derivative().roots(extrapolate=False)
    minima = [float(r) for r in np.atleast_1d(roots) if curve(r, 2) > 0.0]
    if not minima:
        return None
    place = min(minima, key=lambda r: float(curve(r)))
    return place, float(curve(place)), float(curve(place, 2))


def _common(distance: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Reference points between the first and the last distance."""
    return reference[(reference[:, 0] >= distance[0] - 1e-9) & (reference[:, 0] <= distance[-1] + 1e-9)]


def _largest_difference(distance: np.ndarray, energy: np.ndarray, reference: np.ndarray) -> float:
    from scipy.interpolate import CubicSpline

    inside = _common(distance, reference)
    return float(np.abs(CubicSpline(distance, energy)(inside[:, 0]) - inside[:, 1]).max())


def _deviation(distance: np.ndarray, binding: np.ndarray, reference: np.ndarray) -> Table:
    """Minimum of the reference, and the deviation after both are set to zero at the last common distance."""
    from scipy.interpolate import CubicSpline

    inside = _common(distance, reference)
    table: Table = {}
    best = spline_minimum(*reference.T)
    if best is not None:
        table["equilibrium_distance_of_reference"] = entry(best[0], "A")
        table["depth_of_reference"] = entry(1e3 * (best[1] - reference[-1, 1]), "meV/atom")
    ours = CubicSpline(distance, binding)(inside[:, 0])
    difference = (ours - ours[-1]) - (inside[:, 1] - inside[-1, 1])
    table["rms_deviation_from_reference"] = entry(1e3 * float(np.sqrt((difference**2).mean())), "meV/atom")
    return table
