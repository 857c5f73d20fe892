"""``kind = "label"``: structures of recipes, their labels as a campaign, the data set, and what it cost.

    structures.xyz   what is labelled, written before the first calculation and read from then on
    campaign/        records of calculations; those of other structures and settings may lie beside
    dataset.xyz      the structures with energy, forces, virial and where they come from
    rejected.csv     calculations without labels, and why
    cost.csv         core hours by class

Records are never removed: a calculation is named by its structure, settings and pseudopotentials, and done once.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from hpcthermo.campaign.workers import ON_THIS_MACHINE, start_workers
from hpcthermo.datasets.extended_xyz import write_extended_xyz
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.labelling.candidates import (
    STRUCTURES_FILE,
    build_candidates,
    read_candidates,
    recipes_hash,
    write_candidates,
)
from hpcthermo.labelling.k_points import mesh_of
from hpcthermo.labelling.task import FACTS, LabelStructures, label_task
from hpcthermo.log import get_logger
from hpcthermo.results import Quantity, Results, Table, entry, write_text
from hpcthermo.task_run import TaskRun
from hpcthermo.units import PRESSURE_GPA

if TYPE_CHECKING:
    from hpcthermo.campaign.run import Records
    from hpcthermo.config.job import LabelJob
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.run import Stop

DATASET_FILE = "dataset.xyz"
REJECTED_FILE = "rejected.csv"
COST_FILE = "cost.csv"
SCRATCH_FOLDER = "scratch"


class LabelRun(TaskRun):
    """See `TaskRun`; records are kept whether the run is resumed or not, for hours went into them."""

    job: LabelJob

    def forget_finished_run(self) -> None:
        """Nothing to remove."""


@dataclass(frozen=True)
class Structures:
    """What is labelled.

    Attributes
    ----------
    groups : list of str
        Class of each.
    atoms : list of ase.Atoms
    """

    groups: Sequence[str]
    atoms: Sequence[Atoms]


def run_label(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Label the structures of a job, to a data set and a report."""
    with LabelRun(job, comm, folder, resume, stop) as run:
        structures = _structures(run)
        function = LabelStructures(_with_scratch(job, folder))
        spacings = {recipe.group: recipe.k_spacing_per_A for recipe in job.recipe}
        tasks = [label_task(atoms.cell.array, atoms.positions, atoms.numbers,
                            mesh_of(job.engine, spacings[group], atoms.cell.array, atoms.positions))
                 for group, atoms in zip(structures.groups, structures.atoms, strict=True)]
        note = run.stage("labels", len(tasks))
        records = _labelled(run, function, tasks)
        note(len(tasks))
        failures = records.failures
        if len(failures) == len(tasks):
            raise PhysicsError(f"{folder}: none of {len(tasks)} structures could be labelled; the first: "
                               f"{next(iter(failures.values()))}")
        _write_rejected(folder / REJECTED_FILE, structures, records)
        frames = labelled_frames(job, structures, records, function.shared.digest())
        write_extended_xyz(frames, folder / DATASET_FILE)
        quantities = _quantities(structures, records, job.engine.cores)
        _write_cost(folder / COST_FILE, structures, quantities)
        programs = sorted({record.arrays["program"].item().decode() for record in records if not record.failure})
        run.finish(quantities, {"labels": {"groups": sorted(set(structures.groups))}},
                   {"engine": job.engine.name, "programs": programs, "computed_now": records.computed})


def _structures(run: LabelRun) -> Structures:
    """Structures as the file says, which is written first if it is not there.

    Raises
    ------
    InputError
        If the recipes have changed since.
    """
    job = run.job
    path = run.folder / STRUCTURES_FILE
    wanted = recipes_hash(job)
    if not path.exists():
        note = run.stage("structures", len(job.recipe))
        candidates = build_candidates(job, note)
        write_candidates(candidates, path, wanted)
        get_logger().info("%s: %d structures, %d atoms", path, len(candidates),
                          sum(candidate.snapshot.n_atoms for candidate in candidates))
    found, written = read_candidates(path)
    if written != wanted:
        raise InputError(f"{path}: was made of other recipes, selection or seed than the job has now; move it away "
                         "to build the structures anew (labels of those that stay the same are kept), or take the job "
                         "back")
    return Structures([group for group, _ in found], [atoms for _, atoms in found])


def _with_scratch(job: LabelJob, folder: Path) -> Any:
    """The table [engine] with a folder for calculations; what killed runs left there is removed."""
    if job.engine.scratch_folder is not None:
        return job.engine
    import shutil

    scratch = (folder / SCRATCH_FOLDER).absolute()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return job.engine.model_copy(update={"scratch_folder": str(scratch)})


def _labelled(run: LabelRun, function: LabelStructures, tasks: Sequence[Any]) -> Records:
    """Records, on as many workers as calculations fit on the machine unless [campaign] says otherwise."""
    section = run.job.campaign
    if section.where not in ON_THIS_MACHINE or section.workers != "auto":
        return run.records(function, tasks)
    count = max(1, len(os.sched_getaffinity(0)) // function.engine.cores)
    workers = start_workers(section.model_copy(update={"workers": count}), function, run.campaign_folder)
    try:
        return run.records(function, tasks, workers=workers)
    finally:
        workers.close()


def labelled_frames(job: LabelJob, structures: Structures, records: Records, settings: str) -> list[LabelledFrame]:
    """The frames that have labels.

    Parameters
    ----------
    settings : str
        SHA-256 of the engine's settings and files.
    """
    frames = []
    for number, (group, atoms, record) in enumerate(zip(structures.groups, structures.atoms, records, strict=True)):
        if record.failure:
            continue
        labels = record.arrays
        provenance = {"engine": job.engine.name, "program": labels["program"].item().decode(),
                      "settings_sha256": settings, "structure": str(number)}
        frames.append(LabelledFrame(atoms.cell.array, np.ones(3, dtype=bool), tuple(atoms.symbols), atoms.positions,
                                    float(labels["energy"]), labels["forces"], labels["virial"], group=group,
                                    provenance=provenance))
    return frames


def _quantities(structures: Structures, records: Records, cores: int) -> dict[str, Quantity]:
    names = sorted(set(structures.groups))
    rows: dict[str, list[float]] = {name: [] for name in ("group", "rejected", "atoms", "energy", "force", "pressure",
                                                            "core_seconds", *FACTS)}
    for group, atoms, record in zip(structures.groups, structures.atoms, records, strict=True):
        rows["group"].append(names.index(group))
        rows["rejected"].append(bool(record.failure))
        rows["atoms"].append(len(atoms))
        labels = record.arrays
        there = not record.failure
        rows["energy"].append(float(labels["energy"]) / len(atoms) if there else np.nan)
        rows["force"].append(float(np.sqrt((labels["forces"]**2).sum(axis=1).max())) if there else np.nan)
        rows["pressure"].append(float(np.trace(labels["virial"])) / 3.0 / atoms.get_volume() * PRESSURE_GPA
                                if there else np.nan)
        rows["core_seconds"].append(float(labels["seconds"]) * cores if there else np.nan)
        for name in FACTS:
            rows[name].append(float(labels[name]) if there else np.nan)
    units = {"energy": "eV/atom", "force": "eV/A", "pressure": "GPa", "core_seconds": "s", **FACTS}
    return {f"labels/{name}": Quantity(np.array(values), units.get(name, "1")) for name, values in rows.items()}


def _write_rejected(path: Path, structures: Structures, records: Records) -> None:
    rows = [(number, structures.groups[number], structures.atoms[number].get_chemical_formula(), reason)
            for number, reason in sorted(records.failures.items())]
    _write_csv(path, ("structure", "group", "formula", "reason"), rows)


def _write_cost(path: Path, structures: Structures, quantities: dict[str, Quantity]) -> None:
    """Frames, rejected ones, atoms and core time of each class."""
    groups = np.array(structures.groups)
    seconds, atoms = quantities["labels/core_seconds"].values, quantities["labels/atoms"].values
    rejected = quantities["labels/rejected"].values
    rows = []
    for name in sorted(set(structures.groups)):
        own = groups == name
        known = seconds[own][np.isfinite(seconds[own])]
        mean = f"{known.mean():.1f}" if len(known) else ""
        rows.append((name, int(own.sum()), int(rejected[own].sum()), int(atoms[own].sum()), mean,
                     f"{known.sum() / 3600.0:.3f}"))
    _write_csv(path, ("group", "frames", "rejected", "atoms", "core_seconds_per_frame", "core_hours"), rows)


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    write_text(text.getvalue(), path)


def analyze_labels(results: Results) -> tuple[Table, Table]:
    """Results and checks of a label job."""
    labels = {name: quantity.values for name, quantity in results.group("labels").items()}
    there = labels["rejected"] == 0
    seconds = labels["core_seconds"][there]
    table: Table = {
        "labelled_frames": entry(int(there.sum()), "1"),
        "rejected_frames": entry(int((~there).sum()), "1"),
        "labelled_atoms": entry(int(labels["atoms"][there].sum()), "1"),
        "core_hours": entry(float(seconds.sum()) / 3600.0, "h"),
        "core_seconds_per_frame": entry(float(seconds.mean()), "s", _standard_error(seconds)),
        "core_seconds_per_atom": entry(float(seconds.sum() / labels["atoms"][there].sum()), "s"),
        "largest_force": entry(float(labels["force"][there].max()), "eV/A"),
        "lowest_energy": entry(float(labels["energy"][there].min()), "eV/atom"),
        "highest_energy": entry(float(labels["energy"][there].max()), "eV/atom"),
        "lowest_pressure": entry(float(labels["pressure"][there].min()), "GPa"),
        "highest_pressure": entry(float(labels["pressure"][there].max()), "GPa"),
        "scf_steps_per_frame": entry(float(labels["scf_steps"][there].mean()), "1"),
    }
    share = float((~there).mean())
    checks: Table = {"rejected": {"passed": share <= MOST_REJECTED,
                                  "detail": f"{int((~there).sum())} of {len(there)} structures have no labels "
                                            f"({REJECTED_FILE}), limit {100.0 * MOST_REJECTED:g} %"}}
    return table, checks


#: more than this without labels is a fault of the settings
MOST_REJECTED = 0.05


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
