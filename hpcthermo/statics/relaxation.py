"""The relaxation that every static job begins with: its phase, its series, what it leaves in results.h5."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.dynamics.minimize import Minimizer
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.tensors import COMPONENTS, VOIGT
from hpcthermo.trajectory import TrajectoryObserver
from hpcthermo.transport.observers import Column, SeriesObserver, thermodynamic_columns
from hpcthermo.units import PRESSURE_GPA

if TYPE_CHECKING:
    from hpcthermo.simulation import Phase, Simulation

RELAXED_FILE = "relaxed.xyz"
_ROWS, _COLUMNS = (list(axes) for axes in zip(*COMPONENTS.values(), strict=True))


def convergence_series(simulation: Simulation) -> SeriesObserver:
    """Energy, forces, stress and cell of a relaxation over all its steps."""
    kept = [column for column in thermodynamic_columns() if column.name not in ("temperature", "kinetic_energy")]

    def replicated(name: str, unit: str, measure: Any) -> Column:
        return Column(name, unit, 1, measure, averaged=False, replicated=True)

    columns = [
        replicated("time", "ps", lambda _: 0.0),
        replicated("stage", "1", lambda _: float(simulation.phase)),
        *kept,
        replicated("largest_force", "eV/A", lambda sample: sample.integrator.largest_force),
        replicated("largest_stress", "GPa", lambda sample: sample.integrator.largest_stress),
    ]
    return SeriesObserver("series", simulation.job.output.series_interval_steps, 1, columns)


class Outcome:
    """The minimiser of the phase that has just ended."""

    def __init__(self, phase: Phase) -> None:
        self.minimizer: Minimizer | None = None
        rest = phase.finish
        assert rest is not None

        def finish(engine: Engine, minimizer: Minimizer) -> None:
            rest(engine, minimizer)
            self.minimizer = minimizer

        phase.finish = finish

    def quantities(self, engine: Engine, tolerances: Any, steps: int) -> dict[str, Quantity]:
        """What the relaxation has reached, for results.h5 (collective).

        Parameters
        ----------
        tolerances : hpcthermo.config.relaxation.Relaxation
        steps : int
            Force calls.
        """
        minimizer, system = self.minimizer, engine.system
        assert minimizer is not None
        table: dict[str, tuple[Any, str]] = {
            "energy": (engine.potential_energy(), "eV"), "largest_force": (minimizer.largest_force, "eV/A"),
            "tolerance": (tolerances.force_tolerance_eV_per_A, "eV/A"), "steps": (steps, "1"),
            "cell": (system.cell, "A"), "periodic": (system.periodic.astype(np.int64), "1"),
        }
        if system.volume > 0.0 and engine.limits.total_virial is None:
            table["stress"] = (stress_GPa(engine), "GPa")
        if minimizer.cell is not None and minimizer.cell.count:
            table["largest_stress"] = (minimizer.largest_stress, "GPa")
            table["stress_tolerance"] = (minimizer.cell.tolerance, "GPa")
        return {f"minimize/{name}": Quantity(np.array(value), unit) for name, (value, unit) in table.items()}


def stress_GPa(engine: Engine) -> np.ndarray:
    """(6,) stress -W / V of the cell, xx, yy, zz, yz, xz, xy, GPa; tension is positive (collective)."""
    virial = engine.virial_total()
    return -(0.5 * (virial + virial.T) * PRESSURE_GPA / engine.system.volume)[_ROWS, _COLUMNS]


def write_relaxed(simulation: Simulation, folder: Path) -> None:
    """Write the structure as it is now, with its cell, to relaxed.xyz (collective)."""
    frame = TrajectoryObserver(folder, simulation.lock, 1.0, velocities=False, file_name=RELAXED_FILE)
    frame.sample(simulation.step, simulation.engine, None)


def relaxation_tables(results: Results) -> tuple[Table, Table]:
    """Energy, largest force, stress and cell of the relaxed structure, and whether it has converged.

    Raises
    ------
    InputError
        If the results hold no relaxation.
    """
    final = {name: quantity.values for name, quantity in results.group("minimize").items()}
    if not {"energy", "largest_force", "steps"} <= set(final):
        raise InputError("results file: no minimisation in it; run the job to its end")
    atoms = max(1, int(results.run["atoms"]))
    force, tolerance, steps = float(final["largest_force"]), float(final["tolerance"]), int(final["steps"])
    table: Table = {}

    def enter(name: str, value: float, unit: str) -> None:
        table[name] = entry(value, unit)

    enter("potential_energy", float(final["energy"]), "eV")
    enter("potential_energy_per_atom", float(final["energy"]) / atoms, "eV")
    enter("largest_force", force, "eV/A")
    enter("steps", steps, "1")
    detail = f"largest force {force:.3g} eV/A after {steps} step{'s' * (steps != 1)}, tolerance {tolerance:.3g}"
    passed = force <= tolerance
    if "largest_stress" in final:
        stress, limit = float(final["largest_stress"]), float(final["stress_tolerance"])
        enter("largest_stress", stress, "GPa")
        detail += f"; largest deviation of a free stress component {stress:.3g} GPa, tolerance {limit:.3g}"
        passed = passed and stress <= limit
    if "stress" in final:
        for name, value in zip(VOIGT, final["stress"], strict=True):
            enter(f"stress_{name}", float(value), "GPa")
    if "cell" in final:
        _enter_cell(enter, final["cell"])
    return table, {"converged": {"passed": passed, "detail": detail}}


def _enter_cell(enter: Any, cell: np.ndarray) -> None:
    lengths = np.linalg.norm(cell, axis=1)
    for k, name in enumerate("abc"):
        if lengths[k] > 0.0:
            enter(f"cell_{name}", float(lengths[k]), "A")
    for k, name in enumerate(("alpha", "beta", "gamma")):
        i, j = (k + 1) % 3, (k + 2) % 3
        if lengths[i] > 0.0 and lengths[j] > 0.0:
            cosine = float(cell[i] @ cell[j]) / float(lengths[i] * lengths[j])
            enter(f"cell_{name}", float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))), "degree")
