"""Lattice constants and interlayer spacing of a relaxed crystal against references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.config.potential import specs_of
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.relax import relax
from hpcthermo.engine import make_engine
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.model_checks.curves import equation_of_state_minimum, frames_of_group, spacing_minimum
from hpcthermo.model_checks.measured import Measured
from hpcthermo.potentials.load import load_potential
from hpcthermo.preparation import build_structure
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.statics.lattice import layer_spacings

if TYPE_CHECKING:
    from hpcthermo.config.model_checks import LatticeCheck
    from hpcthermo.task_run import TaskRun

#: what is compared: name in results, keys of the job
_COMPARED = (("lattice_constant_a", "lattice_constant_tolerance_A"),
             ("interlayer_spacing", "interlayer_spacing_tolerance_A"))


class LatticeMeasurement:
    """Of one [[check]] of kind lattice; made before a model is there, to refuse what cannot be done.

    Raises
    ------
    InputError
        If the structure or the reference frames are not usable.
    """

    def __init__(self, section: LatticeCheck, seed: int) -> None:
        self._section = section
        self.snapshot = build_structure(section.structure, seed)
        self.species = frozenset(self.snapshot.species)
        what = f"check {section.name!r}"
        files = section.reference_files
        self._references = {"lattice_constant_a": section.lattice_constant_A,
                            "interlayer_spacing": section.interlayer_spacing_A}
        wanted = section.interlayer_spacing_A is not None or section.interlayer_spacing_group is not None
        if wanted and not len(layer_spacings(self.snapshot)[1]):
            raise InputError(f"{what}: expected a structure of two layers or more for an interlayer spacing; give one "
                             "of a builder of layers, or remove the reference")
        if section.equation_of_state_group is not None:
            frames = frames_of_group(files, section.equation_of_state_group, what, 2)
            self._references["lattice_constant_a"] = equation_of_state_minimum(frames, section.unit_cells[0], what)
        if section.interlayer_spacing_group is not None:
            frames = frames_of_group(files, section.interlayer_spacing_group, what, 0)
            self._references["interlayer_spacing"] = spacing_minimum(frames, what)

    def measure(self, potential: Any, run: TaskRun) -> Measured:
        """Relax the crystal; lengths and references."""
        section = self._section
        engine = make_engine(self.snapshot, load_potential(specs_of(potential)), SingleProcess(),
                             make_backend(run.job.device, "double"))
        done = relax(engine, steps=section.relaxation.steps, **section.relaxation.minimizer_options)
        relaxed = engine.domain.gather(engine.system)
        assert relaxed is not None
        lengths = np.linalg.norm(relaxed.cell, axis=1) / np.array(section.unit_cells)
        found = {"lattice_constants": Quantity(np.where(relaxed.periodic, lengths, np.nan), "A", "a, b, c"),
                 "interlayer_spacings": Quantity(layer_spacings(relaxed)[1], "A", "from each layer to the next above"),
                 "largest_force": Quantity(np.array(done.largest_force), "eV/A"),
                 "largest_stress": Quantity(np.array(done.largest_stress), "GPa"),
                 "energy": Quantity(np.array(done.energy / engine.n_atoms), "eV", "per atom")}
        found |= {f"reference/{name}": Quantity(np.array(value), "A") for name, value in self._references.items()
                  if value is not None}
        return Measured({f"lattice/{name}": quantity for name, quantity in found.items()})


def judge_lattice(results: Results, settings: Mapping[str, Any]) -> tuple[Table, Table]:
    """Lengths, references, and whether they agree."""
    found = {name: quantity.values for name, quantity in results.group("lattice").items()}
    relaxation = settings["relaxation"]
    lengths: dict[str, float] = {f"lattice_constant_{name}": float(value) for name, value in
                                 zip("abc", found["lattice_constants"], strict=True) if np.isfinite(value)}
    if len(found["interlayer_spacings"]):
        lengths["interlayer_spacing"] = float(found["interlayer_spacings"].mean())
    table: Table = {name: entry(value, "A") for name, value in lengths.items()}
    force, stress = float(found["largest_force"]), float(found["largest_stress"])
    checks: Table = {"relaxed": {
        "passed": force <= relaxation["force_tolerance_eV_per_A"] and stress <= relaxation["stress_tolerance_GPa"],
        "detail": f"largest force {force:.3g} eV/A, limit {relaxation['force_tolerance_eV_per_A']:g}; largest "
                  f"deviation of a free stress component {stress:.3g} GPa, limit "
                  f"{relaxation['stress_tolerance_GPa']:g}"}}
    for name, key in _COMPARED:
        if f"reference/{name}" not in found:
            continue
        reference, limit = float(found[f"reference/{name}"]), float(settings[key])
        table[f"{name}_of_reference"] = entry(reference, "A")
        value = lengths.get(name, np.nan)
        checks[name] = {"passed": abs(value - reference) <= limit,
                        "detail": f"{value:.4f} A, reference {reference:.4f} A, limit {limit:g} A"}
    return table, checks
