"""``kind = "bte_convergence"``: the conductivity against mesh, cutoff, supercell and displacement, with a verdict.

One thing varies at a time; [bte] and [force_constants] hold the others. Values are the mean of the diagonal components
along periodic directions, at the temperature nearest 300 K, by the full equation if the job asks for it. Where that has
no solution a value is left out, with a failed check and no verdict.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.lattice_jobs.bte import UNIT, isotopes
from hpcthermo.lattice_jobs.extrapolation import Limit, extrapolated, last_change
from hpcthermo.lattice_jobs.phonon import crystal_quantities, facts_of, harmonic_checks, sum_rule_quantities
from hpcthermo.lattice_jobs.run import LatticeRun
from hpcthermo.lattice_jobs.source import (
    ForceConstants,
    computed_force_constants,
    force_constants_at_hand,
    relaxed_structure,
)
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.transport.bte.conductivity import Thickness
from hpcthermo.transport.bte.solution import Solution, solve

if TYPE_CHECKING:
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.phonons.relaxed_crystal import RelaxedCrystal
    from hpcthermo.run import Stop

#: what may vary -> its name on axes
AXES = {"meshes": "1 / points along a direction", "cutoffs3_A": "third-order cutoff (Å)",
        "supercells": "cells in the supercell", "displacements_A": "displacement squared (Å²)"}


def run_convergence(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """All series of the job, one after the other, to a report."""
    with LatticeRun(job, comm, folder, resume, stop) as run:
        relaxed = None if job.crystal is not None else relaxed_structure(run)
        constants = _force_constants(run, relaxed, job.order, {})
        quantities: dict[str, Quantity] = {}
        attributes: dict[str, dict[str, Any]] = {}
        lowest = np.inf
        for name, axis in AXES.items():
            values = getattr(job.convergence, name)
            if values is None:
                continue
            ordered = sorted(values, key=lambda value, name=name: _order(name, value))  # type: ignore[misc]
            kappa, abscissa, failures = [], [], dict[str, str]()
            for value in ordered:
                at = constants if name == "meshes" else _force_constants(
                    run, relaxed, job.order, {_KEYS[name]: value})
                settings = job.bte.model_copy(update={"mesh": value, "mesh_length_A": None} if name == "meshes" else {})
                solution = solve(at.dynamics, settings, nac=job.phonon.nac,
                                 imaginary_limit_THz=job.phonon.imaginary_limit_THz, threads=run.threads,
                                 device=job.execution.device, stage=run.stage,
                                 campaign=run.point_records, seed=job.seed)
                lowest = min(lowest, float(solution.phonons.frequencies.min()))
                kappa.append(_mean(solution, job.bte.method == "lbte"))
                if np.isnan(kappa[-1]):
                    index, _ = _temperature(job.bte.temperatures_K)
                    failures[_label(str(value))] = solution.full_failures[index]
                abscissa.append(_abscissa(name, value, solution))
            steps, found = np.array(abscissa), np.array(kappa)
            limit = _limit(name, steps, found, job.convergence.tolerance_percent / 100.0)
            quantities |= _series(name, ordered, steps, found, limit)
            attributes[f"convergence/{name}"] = {
                "abscissa": axis, "method": "full equation" if job.bte.method == "lbte" else "relaxation times",
                "temperature_K": _temperature(job.bte.temperatures_K)[1], "failures": json.dumps(failures)}
        quantities |= crystal_quantities(constants.dynamics.crystal) | sum_rule_quantities(constants)
        quantities["checks/lowest_frequency"] = Quantity(np.array(lowest), "THz", "on all meshes")
        thickness = Thickness.of(constants.dynamics.crystal, job.bte.thickness_A)
        facts = {**facts_of(job, constants), "isotopes": isotopes(job.bte)}
        run.finish(quantities, attributes, facts if thickness is None else {**facts, "thickness": str(thickness)})


#: what may vary -> its name in results
NAMES = {"meshes": "mesh", "cutoffs3_A": "cutoff3", "supercells": "supercell", "displacements_A": "displacement"}
_KEYS = {"cutoffs3_A": "cutoff3_A", "supercells": "supercell", "displacements_A": "displacement_A"}


def _force_constants(run: LatticeRun, relaxed: RelaxedCrystal | None, order: int,
                     changes: dict[str, Any]) -> ForceConstants:
    """Force constants with some settings changed; forces that are known are not computed again."""
    if relaxed is None:
        return force_constants_at_hand(run, order)
    return computed_force_constants(run, relaxed, run.job.force_constants.model_copy(update=changes), order)


def _temperature(temperatures: tuple[float, ...]) -> tuple[int, float]:
    index = int(np.abs(np.array(temperatures) - 300.0).argmin())
    return index, float(temperatures[index])


def _mean(solution: Solution, full: bool) -> float:
    """Mean diagonal component along periodic directions; not a number where the full equation has no solution."""
    index, _ = _temperature(tuple(solution.relaxation_time.temperatures))
    found = solution.full if full else solution.relaxation_time
    return np.nan if found is None else float(np.diag(found.kappa[index])[list(solution.mesh.crystal.periodic)].mean())


def _label(value: str) -> str:
    """A value as the keys of summary.json have it: (4, 4, 4) is 4x4x4."""
    return value.strip("()").replace(", ", "x").replace("(", "").replace(")", "")


def _order(name: str, value: Any) -> float:
    """From the crude to the fine."""
    if name == "displacements_A":
        return -float(value)
    if name == "cutoffs3_A":
        return float(value)
    matrix = np.array(value)
    return abs(float(np.prod(matrix) if matrix.ndim == 1 else np.linalg.det(matrix)))


def _abscissa(name: str, value: Any, solution: Solution) -> float:
    if name == "meshes":
        along = sum(solution.mesh.crystal.periodic)
        return float(solution.mesh.n_points) ** (-1.0 / along)
    return float(value) ** 2 if name == "displacements_A" else abs(_order(name, value))


def _limit(name: str, steps: np.ndarray, kappa: np.ndarray, tolerance: float) -> Limit:
    """Meshes and displacements have a known law; cutoffs and supercells are judged by the last change."""
    if np.isnan(kappa).any():
        return Limit(np.nan, None, np.nan, False)
    return extrapolated(steps, kappa, tolerance) if name in ("meshes", "displacements_A") else (
        last_change(kappa, tolerance))


def _series(name: str, values: list[Any], steps: np.ndarray, kappa: np.ndarray, limit: Limit) -> dict[str, Quantity]:
    found = {
        "values": Quantity(np.array([str(value) for value in values], dtype="S"), "1", "as in the job"),
        "abscissa": Quantity(steps, "1", AXES[name].replace("Å", "A").replace("²", "^2")),
        "kappa": Quantity(kappa, UNIT, "mean diagonal component"),
        "distance": Quantity(np.array(limit.distance), "1", "of the last value from the limit, or the one before"),
        "converged": Quantity(np.array(limit.converged), "1"),
    }
    if limit.error is not None:
        found["extrapolated"] = Quantity(np.array([limit.value]), UNIT, "at zero")
        found["error"] = Quantity(np.array([limit.error]), UNIT, "of the extrapolated value")
    return {f"convergence/{name}/{key}": quantity for key, quantity in found.items()}


def analyze_convergence(results: Results) -> tuple[Table, Table]:
    """The last and the extrapolated value of each series, and whether it has converged."""
    table: Table = {}
    checks = harmonic_checks(results)
    tolerance = float(results.job["convergence"]["tolerance_percent"])
    method = "lbte" if results.job["bte"]["method"] == "lbte" else "rta"
    for name in AXES:
        found = {key: quantity.values for key, quantity in results.group(f"convergence/{name}").items()}
        if not found:
            continue
        temperature = float(results.attributes[f"convergence/{name}"]["temperature_K"])
        stem = f"kappa_{method}_mean_{temperature:g}K_{NAMES[name]}"
        for value, kappa in zip(found["values"], found["kappa"], strict=True):
            if np.isfinite(kappa):
                table[f"{stem}_{_label(value.decode())}"] = entry(float(kappa), UNIT)
        failures = json.loads(str(results.attributes[f"convergence/{name}"].get("failures", "{}")))
        if failures:
            label, reason = next(iter(failures.items()))
            unsolved = f"no solution of the full equation at {', '.join(failures)} ({label}: {reason})"
            # of one series after the other
            others = f"{checks['lbte_solved']['detail']}; " if "lbte_solved" in checks else ""
            checks["lbte_solved"] = {"passed": False, "detail": others + unsolved}
            checks[f"converged_{NAMES[name]}"] = {"passed": False, "detail": f"not known: {unsolved}"}
            continue
        where = "the value before"
        if "extrapolated" in found:
            table[f"{stem}_extrapolated"] = entry(float(found["extrapolated"][0]), UNIT, float(found["error"][0]))
            where = "the extrapolated one"
        distance = 100.0 * float(found["distance"])
        checks[f"converged_{NAMES[name]}"] = {
            "passed": bool(found["converged"]),
            "detail": f"the last value lies {distance:.2f} % from {where}, tolerance {tolerance:g} %"
                      + ("" if found["converged"] else ": not converged")}
    return table, checks
