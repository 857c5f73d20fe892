"""Binding curve: energy against the distance of two layers, beside labelled frames.

Both curves are zero at the largest distance, so energies that differ by a constant for each element (the labels' and a
model's) can be compared. Minima are those of cubic splines through the same points. Between the points the model is
followed on a fine grid: it must not have a second minimum there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.building import build_frames
from hpcthermo.calculator import Calculator
from hpcthermo.config.potential import specs_of
from hpcthermo.datasets.ase_atoms import atoms_of_frame
from hpcthermo.model_checks.curves import energies_per_atom, frames_of_group, require_different, two_layers
from hpcthermo.model_checks.measured import Measured
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.statics.binding_curve import spline_minimum
from hpcthermo.structure.write import snapshot_atoms

if TYPE_CHECKING:
    from hpcthermo.config.model_checks import BindingCurveCheck
    from hpcthermo.task_run import TaskRun

#: of the fine grid
_FINE_POINTS = 121


class BindingCurveMeasurement:
    """Of one [[check]] of kind binding_curve; made before a model is there, to refuse what cannot be done.

    Raises
    ------
    InputError
        If frames are missing or are not two layers at different distances.
    """

    def __init__(self, section: BindingCurveCheck, seed: int) -> None:
        what = f"check {section.name!r}"
        self._name = section.name
        reference = None
        if section.structure is not None:
            atoms = [snapshot_atoms(frame.snapshot) for frame in build_frames(section.structure, seed)]
        else:
            assert section.group is not None
            frames = frames_of_group(section.reference_files, section.group, what, 0)
            atoms, reference = [atoms_of_frame(frame) for frame in frames], energies_per_atom(frames)
        found = [two_layers(image.cell.array, image.positions, what) for image in atoms]
        for image, (layers, _) in zip(atoms, found, strict=True):
            image.set_array("layer", layers)
        distances = np.array([distance for _, distance in found])
        order = np.argsort(distances)
        self._distances, self._atoms = distances[order], [atoms[k] for k in order]
        self._reference = None if reference is None else reference[order]
        require_different(self._distances, what)
        self.species = frozenset(self._atoms[0].get_chemical_symbols())

    def measure(self, potential: Any, run: TaskRun) -> Measured:
        """Energies of the model at the points, and between them."""
        calculator = Calculator(specs_of(potential), device=run.job.device)

        def energy(atoms: Any) -> float:
            calculator.calculate(atoms, ["energy"])
            return float(calculator.results["energy"]) / len(atoms)

        fine, moved = np.linspace(self._distances[0], self._distances[-1], _FINE_POINTS), []
        normal = np.cross(*self._atoms[0].cell.array[:2])
        normal /= np.linalg.norm(normal)
        for distance in fine:
            # the nearest frame below, its upper layer lifted: frames have room for their own distance
            k = int(np.searchsorted(self._distances, distance, side="right")) - 1
            atoms = self._atoms[k].copy()
            atoms.positions[atoms.arrays["layer"] == 1] += (distance - self._distances[k]) * normal
            moved.append(energy(atoms))
        run.require_going_on()
        found = {"distance": Quantity(self._distances, "A"),
                 "energy": Quantity(np.array([energy(atoms) for atoms in self._atoms]), "eV", "per atom"),
                 "fine_distance": Quantity(fine, "A"), "fine_energy": Quantity(np.array(moved), "eV", "per atom"),
                 "area": Quantity(np.array(np.linalg.norm(np.cross(*self._atoms[0].cell.array[:2]))), "A^2"),
                 "atoms": Quantity(np.array(len(self._atoms[0])), "1")}
        if self._reference is not None:
            found["reference_energy"] = Quantity(self._reference, "eV", "per atom, of the labels")
        return Measured({f"binding_curve/{name}": quantity for name, quantity in found.items()})


def judge_binding_curve(results: Results, settings: Mapping[str, Any]) -> tuple[Table, Table]:
    """Minima of both curves, their difference, and whether the model has one minimum."""
    found = {name: quantity.values for name, quantity in results.group("binding_curve").items()}
    distance = found["distance"]
    fine = found["fine_energy"]
    count = int(np.sum((fine[1:-1] < fine[:-2]) & (fine[1:-1] < fine[2:])))
    table: Table = {}
    checks: Table = {"one_minimum": {"passed": count == 1, "detail": f"{count} minima of the model between "
                                     f"{distance[0]:.3f} and {distance[-1]:.3f} A, expected one"}}
    curves = {name: found[f"{name}energy"] - found[f"{name}energy"][-1] for name in ("", "reference_")
              if f"{name}energy" in found}
    minima = {name: spline_minimum(distance, curve) for name, curve in curves.items()}
    per_area = float(found["atoms"]) / float(found["area"])
    for name, best in minima.items():
        if best is not None:
            suffix = "_of_reference" if name else ""
            table[f"equilibrium_distance{suffix}"] = entry(best[0], "A")
            table[f"depth{suffix}"] = entry(-1e3 * best[1], "meV/atom")
            table[f"depth_per_area{suffix}"] = entry(-1e3 * best[1] * per_area, "meV/A^2")
    if "reference_" not in curves:
        return table, checks
    rms = 1e3 * float(np.sqrt(((curves[""] - curves["reference_"]) ** 2).mean()))
    table["rms_difference"] = entry(rms, "meV/atom")
    limit = float(settings["rms_tolerance_meV_per_atom"])
    checks["rms_difference"] = {"passed": rms <= limit, "detail": f"{rms:.3f} meV/atom, limit {limit:g}"}
    ours, theirs = minima[""], minima["reference_"]
    if ours is None or theirs is None:
        whose = "the model" if ours is None else "the labels"
        checks["equilibrium_distance"] = {"passed": False, "detail": f"the energies of {whose} have no minimum between "
                                                                     "the first and the last distance"}
        return table, checks
    limit = float(settings["distance_tolerance_A"])
    checks["equilibrium_distance"] = {
        "passed": abs(ours[0] - theirs[0]) <= limit,
        "detail": f"{ours[0]:.4f} A, reference {theirs[0]:.4f} A, limit {limit:g} A"}
    limit = float(settings["depth_tolerance_percent"])
    off = 100.0 * abs(ours[1] / theirs[1] - 1.0)
    checks["depth"] = {"passed": off <= limit,
                       "detail": f"{-1e3 * ours[1]:.2f} meV/atom, reference {-1e3 * theirs[1]:.2f}, off by "
                                 f"{off:.1f} %, limit {limit:g} %"}
    return table, checks
