"""``kind = "label"``: structures of recipes, their labels as a campaign, the data set, and what it cost.

    structures.xyz   what is labelled, written before the first calculation and read from then on
    campaign/        records of calculations; those of other structures and settings may lie beside
    dataset.xyz      the structures with energy, forces, virial and where they come from
    rejected.csv     calculations without labels, and why
    cost.csv         core hours by class
    dataset.png      distributions of the labels

Records are never removed: a calculation is named by its structure, settings and pseudopotentials, and done once.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from hpcthermo.campaign.workers import ON_THIS_MACHINE, start_workers
from hpcthermo.datasets.checks import check_dataset
from hpcthermo.datasets.extended_xyz import write_extended_xyz
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.datasets.statistics import dataset_statistics
from hpcthermo.errors import InputError, PhysicsError, ResourceError
from hpcthermo.labelling.candidates import (
    STRUCTURES_FILE,
    build_candidates,
    read_candidates,
    recipes_hash,
    write_candidates,
)
from hpcthermo.labelling.engines import make_engine
from hpcthermo.labelling.k_points import mesh_of
from hpcthermo.labelling.labels import lacking, lacking_elements
from hpcthermo.labelling.task import FACTS, LabelStructures
from hpcthermo.log import get_logger
from hpcthermo.plots import DATASET_FIGURE, draw_dataset
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
_SHOWN_FINDINGS = 10


class NoLabelsError(PhysicsError):
    """None of the structures of a job could be labelled."""


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
        _tell_of_lacking(job, structures)
        with _scratch(job, folder) as engine:
            function = LabelStructures(engine)
            spacings = {recipe.group: recipe.k_spacing_per_A for recipe in job.recipe}
            tasks = [function.task(atoms, mesh_of(job.engine, spacings[group], atoms.cell.array, atoms.positions))
                     for group, atoms in zip(structures.groups, structures.atoms, strict=True)]
            note = run.stage("labels", len(tasks))
            records = _labelled(run, function, tasks)
            note(len(tasks))
        failures = records.failures
        _write_rejected(folder / REJECTED_FILE, structures, records)
        if failures:
            get_logger().warning("%d of %d structures have no labels (%s); the first: %s", len(failures), len(tasks),
                                 REJECTED_FILE, next(iter(failures.values())))
        if len(failures) == len(tasks):
            raise NoLabelsError(f"{folder}: none of {len(tasks)} structures could be labelled; the first: "
                                f"{next(iter(failures.values()))}")
        origin = function.settings_and_files
        frames = labelled_frames(job, structures, records, [task.arrays["mesh"] for task in tasks], origin.digest())
        write_extended_xyz(frames, folder / DATASET_FILE)
        quantities = _quantities(structures, records, job.engine.cores)
        _write_cost(folder / COST_FILE, structures, quantities)
        judged, findings = _judged(frames)
        draw_dataset(dataset_statistics(frames), folder / DATASET_FIGURE)
        programs = sorted({record.arrays["program"].item().decode() for record in records if not record.failure})
        run.finish(quantities | judged, {"labels": {"groups": sorted(set(structures.groups))}, "checks": findings},
                   {"engine": job.engine.name, "programs": programs, "computed_now": records.computed,
                    "settings": origin.parameters["settings"], "settings_files_sha256": dict(origin.files),
                    "settings_sha256": origin.digest()})


def _structures(run: LabelRun) -> Structures:
    """Structures as the file says, which is written first if it is not there.

    Raises
    ------
    InputError
        If the recipes or their files have changed since.
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
        raise InputError(f"{path}: was made of other recipes, selection, seed or files than the job has now; move it "
                         "away to build the structures anew (labels of those that stay the same are kept), or take the "
                         "job back")
    return Structures([group for group, _ in found], [atoms for _, atoms in found])


def _tell_of_lacking(job: LabelJob, structures: Structures) -> None:
    """Warn of structures that will be rejected, before hours are spent on the others.

    Raises
    ------
    InputError
        If that is all of them.
    """
    species, engine = [set(atoms.symbols) for atoms in structures.atoms], make_engine(job.engine)
    reasons = lacking_elements(engine, species)
    if reasons and all(own & reasons.keys() for own in species):
        raise InputError(f"no structure can be labelled: {next(iter(reasons.values()))}")
    for reason, count in lacking(engine, species).items():
        get_logger().warning("%d of %d structures will be rejected: %s", count, len(species), reason)


@contextmanager
def _scratch(job: LabelJob, folder: Path) -> Iterator[Any]:
    """The table [engine] with a folder for the calculations of this job alone, which is removed at the end.

    Its name is that of the results folder's path, so that the next run removes what a killed one left.
    """
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    given = job.engine.scratch_folder
    scratch = (folder / SCRATCH_FOLDER).absolute() if given is None else Path(given) / f"hpcthermo_{name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise ResourceError(f"engine.scratch_folder: {scratch} cannot be made ({error.strerror}); give another"
                            ) from None
    try:
        yield job.engine.model_copy(update={"scratch_folder": str(scratch)})
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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


def labelled_frames(job: LabelJob, structures: Structures, records: Records, meshes: Sequence[np.ndarray],
                    settings: str) -> list[LabelledFrame]:
    """The frames that have labels.

    Parameters
    ----------
    meshes : sequence of (3,) ndarray of int
        Wave vectors of each structure.
    settings : str
        SHA-256 of the engine's settings and files (`LabelStructures.settings_and_files`).
    """
    frames = []
    labelled = zip(structures.groups, structures.atoms, records, meshes, strict=True)
    for number, (group, atoms, record, mesh) in enumerate(labelled):
        if record.failure:
            continue
        labels = record.arrays
        provenance = {"engine": job.engine.name, "program": labels["program"].item().decode(),
                      "settings_sha256": settings, "structure": str(number)}
        if hasattr(job.engine, "k_points"):
            provenance["k_points"] = "x".join(map(str, mesh.tolist()))
        frames.append(LabelledFrame(atoms.cell.array, np.ones(3, dtype=bool), tuple(atoms.symbols), atoms.positions,
                                    float(labels["energy"]), labels["forces"], labels["virial"], group=group,
                                    provenance=provenance))
    return frames


def _quantities(structures: Structures, records: Records, cores: int) -> dict[str, Quantity]:
    names = sorted(set(structures.groups))
    rows: dict[str, list[float]] = {name: [] for name in ("group", "rejected", "atoms", "energy", "force", "pressure",
                                                            "core_seconds", "seconds", *FACTS)}
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
        rows["seconds"].append(float(labels["seconds"]) if there else np.nan)
        rows["core_seconds"].append(_core_seconds(labels, cores) if there else np.nan)
        for name in FACTS:
            rows[name].append(float(labels[name]) if there else np.nan)
    units = {"energy": "eV/atom", "force": "eV/A", "pressure": "GPa", "core_seconds": "s", "seconds": "s", **FACTS}
    return {f"labels/{name}": Quantity(np.array(values), units.get(name, "1")) for name, values in rows.items()}


def _core_seconds(labels: Mapping[str, np.ndarray], cores: int) -> float:
    """Processor time, which does not depend on what else the machine does; where it is not known, cores times time."""
    used = float(labels.get("processor_seconds", np.nan))
    return used if np.isfinite(used) else float(labels["seconds"]) * cores


def _judged(frames: Sequence[LabelledFrame]) -> tuple[dict[str, Quantity], dict[str, Any]]:
    """What the checks of data sets say of the labels, as results and their attributes, and in the log.

    Nothing is refused here: hours went into the labels, and it is for the user to judge.
    """
    report = check_dataset(frames)
    lines: dict[str, list[str]] = {"refused": [], "warning": [], "note": []}
    for finding in report.findings:
        where = "all" if finding.frame is None else f"structure {frames[finding.frame].provenance['structure']}"
        lines[finding.severity].append(f"{where}: {finding.reason}")
    for severity, found in lines.items():
        tell = get_logger().info if severity == "note" else get_logger().warning
        for line in found[:_SHOWN_FINDINGS]:
            tell("%s: %s: %s", DATASET_FILE, severity, line)
    numbers = {**{severity: float(len(found)) for severity, found in lines.items()}, **report.facts}
    return ({f"checks/{name}": Quantity(np.array(value), "1") for name, value in numbers.items()},
            {severity: found[:_SHOWN_FINDINGS] for severity, found in lines.items() if found})


def _write_rejected(path: Path, structures: Structures, records: Records) -> None:
    rows = [(number, structures.groups[number], structures.atoms[number].get_chemical_formula(), reason)
            for number, reason in sorted(records.failures.items())]
    _write_csv(path, ("structure", "group", "formula", "reason"), rows)


def _write_cost(path: Path, structures: Structures, quantities: dict[str, Quantity]) -> None:
    """Frames, rejected ones, atoms and core time of each class; wall time is the sum of that of the calculations."""
    groups = np.array(structures.groups)
    wall = quantities["labels/seconds"].values
    seconds, atoms = quantities["labels/core_seconds"].values, quantities["labels/atoms"].values
    rejected = quantities["labels/rejected"].values
    rows = []
    for name in sorted(set(structures.groups)):
        own = groups == name
        known = seconds[own][np.isfinite(seconds[own])]
        mean = f"{known.mean():.1f}" if len(known) else ""
        rows.append((name, int(own.sum()), int(rejected[own].sum()), int(atoms[own].sum()), mean,
                     f"{known.sum() / 3600.0:.3f}", f"{np.nansum(wall[own]) / 3600.0:.3f}"))
    _write_csv(path, ("group", "frames", "rejected", "atoms", "core_seconds_per_frame", "core_hours", "wall_hours"),
               rows)


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
        "wall_hours": entry(float(labels["seconds"][there].sum()) / 3600.0, "h"),
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
    judged = {name: float(quantity.values) for name, quantity in results.group("checks").items()}
    if judged:  # not there in results of earlier versions
        left = ", ".join(f"{100.0 * judged[f'{name}_left']:.2g} % of {name}"
                         for name in ("forces", "energies", "virials") if f"{name}_left" in judged)
        told = [str(line) for line in results.attributes.get("checks", {}).get("refused", [])]
        checks["consistent_labels"] = {
            "passed": judged["refused"] == 0.0,
            "detail": (f"a linear model leaves {left}" if left else "too few labels to compare them with each other")
                      + f"; {judged['refused']:.0f} reasons to refuse, {judged['warning']:.0f} warnings"
                      + f" ({'; '.join(told)})" * bool(told)}
    return table, checks


#: more than this without labels is a fault of the settings
MOST_REJECTED = 0.05


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
