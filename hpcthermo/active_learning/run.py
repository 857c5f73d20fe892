"""``kind = "active_learning"``: train, explore with the model, label what is new to it, and again.

    iterations/initial/     train.xyz, validation.xyz: the frames of [dataset]
    iterations/NN/
        model_K/            a train job on all frames up to here, the first model_K of several by its random numbers
        explored.csv        snapshots of the dynamics, how new they were, and which were taken
        labels/             a label job of the structures that were taken
        train.xyz, validation.xyz, held_out.xyz    its frames
    iterations.csv          a line for each iteration, written as it ends
    nep.txt                 the last model

Each stage is done when its last file is there, so a loop that was stopped goes on where it was: trainings with the same
bits, labels without those that are there, dynamics (minutes at most) from its beginning with the same random numbers.
Frames that are held out are never trained on, and frames of a validation set always stay in it, so that no model stops
by frames which the one before has learned.
"""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.active_learning.exploration import UNITS, Explored, explore, starts_of
from hpcthermo.calculator import Calculator
from hpcthermo.config.job import LabelJob, TrainJob
from hpcthermo.config.labelling import Recipe
from hpcthermo.datasets.ase_atoms import atoms_of_frame
from hpcthermo.datasets.extended_xyz import write_extended_xyz
from hpcthermo.datasets.files import read_dataset
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.datasets.split import random_split
from hpcthermo.errors import InputError
from hpcthermo.labelling.candidates import STRUCTURES_FILE, recipes_hash, write_candidates
from hpcthermo.labelling.engines import make_engine
from hpcthermo.labelling.labels import PLACES
from hpcthermo.labelling.run import DATASET_FILE, NoLabelsError, run_label
from hpcthermo.log import get_logger, set_up_logging
from hpcthermo.model_checks.run import analyze_checks, prepare_checks, run_checks
from hpcthermo.results import RESULTS_FILE, Quantity, Results, Table, entry, replaced_file, write_text
from hpcthermo.task_run import TaskRun
from hpcthermo.training.parts import GROUP_WEIGHTS, read_parts
from hpcthermo.training.run import MODEL_FILE, run_train

if TYPE_CHECKING:
    from hpcthermo.config import ActiveLearningJob
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.run import Stop

ITERATIONS_FILE, EXPLORED_FILE = "iterations.csv", "explored.csv"
TRAIN_FILE, VALIDATION_FILE, HELD_OUT_FILE = "train.xyz", "validation.xyz", "held_out.xyz"
INITIAL_FOLDER = "initial"
#: columns of iterations.csv and results.h5
_COLUMNS = {"iteration": "1", "training_frames": "1", "runs": "1", "snapshots": "1", "new": "1", "taken": "1",
            "labelled": "1", "held_out": "1", "largest_measure": "", "stable_time": "ps"}
#: the last model's errors on held-out frames are no more than those of the first
_NOT_WORSE = 1.0


class ActiveLearningRun(TaskRun):
    """See `TaskRun`; what labels and trainings have given is never removed."""

    RECORDS_FOLDER = "iterations"
    FREE_KEYS = frozenset({"active_learning.iterations", *(f"engine.{name}" for name in PLACES)})
    job: ActiveLearningJob

    def forget_finished_run(self) -> None:
        """Refuse to throw labels away.

        Raises
        ------
        InputError
            If the folder holds a loop.
        """
        if self.campaign_folder.exists():
            raise InputError(f"{self.folder}: holds a loop of active learning; continue it with --resume (also with "
                             "more iterations), give another --out, or remove the folder")

    def tell_of_changes(self, text: str) -> None:
        """Refuse to go on with another job."""
        raise InputError(f"{self.folder}: the job has changed since this loop began: {text}; only "
                         f"{', '.join(sorted(self.FREE_KEYS))} may; take the rest back, or give another --out")

    def iteration(self, number: int) -> Path:
        """Folder of an iteration."""
        return self.campaign_folder / f"{number:02d}"


def run_active_learning(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """The loop of a job, to its last model and a report."""
    with ActiveLearningRun(job, comm, folder, resume, stop) as run:
        checks = prepare_checks(job.check, job.seed, job.model.elements)
        starts_of(job)
        make_engine(job.engine).require()
        run.keep_inputs()
        _write_initial(run)
        quantities: dict[str, Quantity] = {}
        rows: list[dict[str, float]] = []
        ended = "the number of iterations is reached"
        for number in range(job.active_learning.iterations):
            models = _train(run, number, comm, stop)
            row, found = _explore(run, number, models)
            rows.append(row)
            quantities |= found
            if not row["taken"]:
                ended = _why_nothing(row, job)
                break
            _label(run, number, comm, stop)
            row |= {"labelled": len(_frames(run.iteration(number) / "labels" / DATASET_FILE)),
                    "held_out": len(_frames(run.iteration(number) / HELD_OUT_FILE))}
            _write_table(run.folder / ITERATIONS_FILE, rows)
        _write_table(run.folder / ITERATIONS_FILE, rows)
        last = len(rows) - (not rows[-1]["labelled"])  # an iteration without labels changes nothing
        models = _train(run, last, comm, stop)
        get_logger().info("active learning ended: %s", ended)
        with replaced_file(folder / MODEL_FILE) as temporary:
            shutil.copyfile(models[0], temporary)
        run.stage("held-out frames")
        quantities |= _held_out_errors(run, last) | {
            f"iterations/{name}": Quantity(np.array([row[name] for row in rows]),
                                           unit or UNITS[job.active_learning.criterion])
            for name, unit in _COLUMNS.items()}
        checked = run_checks(run, checks, str((folder / MODEL_FILE).absolute()))
        run.finish(quantities | checked[0], {"iterations": {"ended": ended}, **checked[1]},
                   {"engine": job.engine.name, "criterion": job.active_learning.criterion, "ended": ended})


def _why_nothing(row: dict[str, float], job: ActiveLearningJob) -> str:
    if row["largest_measure"] > job.active_learning.thresholds[1]:
        return ("every run went from what the model knows to what it cannot be asked between two snapshots; raise "
                "snapshots, or the upper threshold")
    return "nothing new was found"


# ---- data ----------------------------------------------------------------------------------------


def _write_initial(run: ActiveLearningRun) -> None:
    """Frames of [dataset], parted once for all iterations."""
    folder = run.campaign_folder / INITIAL_FOLDER
    if (folder / TRAIN_FILE).exists():
        return
    run.stage("data")
    folder.mkdir(parents=True, exist_ok=True)
    job = run.job
    # energies of elements are taken off by each training
    section = job.dataset.model_copy(update={"element_energies": "common", "test_files": (),
                                             **{key: {} for key in GROUP_WEIGHTS}})
    parts = read_parts(TrainJob.model_construct(kind="train", seed=job.seed, dataset=section, model=job.model))
    write_extended_xyz(parts.validation, folder / VALIDATION_FILE)
    write_extended_xyz(parts.training, folder / TRAIN_FILE)


def _files(run: ActiveLearningRun, name: str, number: int) -> list[Path]:
    """Data sets of a part that iterations before a number have left, without empty ones."""
    folders = [run.campaign_folder / INITIAL_FOLDER, *(run.iteration(k) for k in range(number))]
    return [folder / name for folder in folders if (folder / name).exists() and (folder / name).stat().st_size]


def _frames(path: Path) -> list[LabelledFrame]:
    return read_dataset(path) if path.exists() and path.stat().st_size else []


# ---- stages of an iteration ----------------------------------------------------------------------


@contextlib.contextmanager
def _within(run: ActiveLearningRun) -> Iterator[None]:
    """A run of another job within this one: it says nothing on the terminal, and the log goes on here."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        set_up_logging(0, run.folder)


def _train(run: ActiveLearningRun, number: int, comm: Communicator, stop: Stop) -> list[Path]:
    """Models of an iteration."""
    job, section = run.job, run.job.active_learning
    models = []
    for k in range(section.models):
        folder = run.iteration(number) / f"model_{k}"
        models.append(folder / MODEL_FILE)
        if (folder / RESULTS_FILE).exists():
            continue
        run.stage(f"iteration {number}: training {k + 1} of {section.models}")
        before = run.iteration(number - 1) / f"model_{k}" / MODEL_FILE
        names = {part: tuple(str(path.absolute()) for path in _files(run, name, number))
                 for part, name in (("train_files", TRAIN_FILE), ("validation_files", VALIDATION_FILE))}
        held_out = tuple(str(path.absolute()) for path in _files(run, HELD_OUT_FILE, number))
        dataset = job.dataset.model_copy(update={
            **names, "check": False, "test_files": (*job.dataset.test_files, *held_out), "validation_share": 0.0})
        training = TrainJob.model_construct(
            kind="train", title=f"{job.title}, iteration {number}, model {k}", seed=job.seed + k, dataset=dataset,
            model=job.model, optimiser=job.optimiser, execution=job.execution, campaign=job.campaign, check=(),
            fine_tune=str(before.absolute()) if section.fine_tune and number else None)
        folder.mkdir(parents=True, exist_ok=True)
        with _within(run):
            run_train(training, comm, folder, True, stop)
    return models


def _explore(run: ActiveLearningRun, number: int,
             models: Sequence[Path]) -> tuple[dict[str, float], dict[str, Quantity]]:
    """Row of an iteration and what its dynamics met; structures to label are written."""
    job, folder = run.job, run.iteration(number)
    training = [frame for path in _files(run, TRAIN_FILE, number) for frame in _frames(path)]
    table = folder / EXPLORED_FILE
    if not table.exists():
        note = run.stage(f"iteration {number}: exploration", len(starts_of(job)), "runs")
        found = explore(job, number, models, training, note)
        if found.candidates:
            labels = folder / "labels"
            labels.mkdir(exist_ok=True)
            write_candidates(found.candidates, labels / STRUCTURES_FILE, recipes_hash(_label_job(job)))
        _write_explored(table, found)
    rows = np.loadtxt(table, delimiter=",", skiprows=1, ndmin=2)
    runs, times, measures, taken, lasted = rows.T
    lower = job.active_learning.thresholds[0]
    first = np.unique(runs, return_index=True)[1]
    row = {"iteration": float(number), "training_frames": float(len(training)), "runs": float(len(first)),
           "snapshots": float(len(rows)), "new": float((measures > lower).sum()), "taken": float(taken.sum()),
           "labelled": 0.0, "held_out": 0.0, "largest_measure": float(np.nanmax(measures)),
           "stable_time": float(lasted[first].mean())}
    unit = UNITS[job.active_learning.criterion]
    return row, {f"exploration/{number:02d}/{name}": Quantity(values, unit_of) for name, values, unit_of in (
        ("run", runs, "1"), ("time", times, "ps"), ("measure", measures, unit), ("taken", taken, "1"))}


def _write_explored(path: Path, found: Explored) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "time_ps", "measure", "taken", "stable_time_of_run_ps"))
    for row in zip(found.runs.tolist(), found.times.tolist(), found.measures.tolist(), found.taken.astype(int).tolist(),
                   found.stable_times[found.runs].tolist(), strict=True):
        writer.writerow(row)
    write_text(text.getvalue(), path)


def _label_job(job: ActiveLearningJob) -> LabelJob:
    """The label job of an iteration; its structures are written before it begins."""
    recipes = tuple(Recipe.model_construct(group=exploration.group, structure=exploration.structure,
                                           k_spacing_per_A=exploration.k_spacing_per_A)
                    for exploration in job.exploration)
    return LabelJob.model_construct(kind="label", title=job.title, seed=job.seed, recipe=recipes, engine=job.engine,
                                    campaign=job.campaign)


def _label(run: ActiveLearningRun, number: int, comm: Communicator, stop: Stop) -> None:
    """Label the structures of an iteration, and part the frames; if all calculations fail there are none."""
    folder = run.iteration(number)
    labels = folder / "labels"
    if not (labels / RESULTS_FILE).exists():
        if run.iteration(number + 1).exists():  # models were trained without them
            return
        run.stage(f"iteration {number}: labels")
        try:
            with _within(run):
                run_label(_label_job(run.job), comm, labels, True, stop)
        except NoLabelsError as error:
            get_logger().warning("iteration %d is without labels: %s", number, error)
            return
    if (folder / TRAIN_FILE).exists():
        return
    frames = _frames(labels / DATASET_FILE)
    share = run.job.dataset.validation_share if _files(run, VALIDATION_FILE, 0) else 0.0
    split = random_split([""] * len(frames), share, run.job.active_learning.held_out_share,
                         run.job.seed + number)
    for name, rows in ((HELD_OUT_FILE, split.test), (VALIDATION_FILE, split.validation), (TRAIN_FILE, split.training)):
        write_extended_xyz([frames[k] for k in rows], folder / name)


def _write_table(path: Path, rows: Sequence[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([[f"{row[name]:g}" for name in _COLUMNS] for row in rows])
    write_text(text.getvalue(), path)


# ---- errors on what was held out -----------------------------------------------------------------


def _held_out_errors(run: ActiveLearningRun, last: int) -> dict[str, Quantity]:
    """Errors of the first model of each iteration on all frames that were ever held out."""
    frames = [frame for number in range(last) for frame in _frames(run.iteration(number) / HELD_OUT_FILE)]
    if not frames:
        return {}
    forces, energies = [], []
    for number in range(last + 1):
        run.require_going_on()
        calculator = Calculator(str((run.iteration(number) / "model_0" / MODEL_FILE).absolute()))
        squares, offsets = [], []
        for frame in frames:
            atoms = atoms_of_frame(frame)
            atoms.calc = None
            assert frame.energy is not None
            found = calculator.get_forces(atoms)
            squares.append(((found - frame.forces) ** 2).ravel())
            offsets.append((calculator.get_potential_energy(atoms) - frame.energy) / frame.n_atoms)
        forces.append(np.sqrt(np.concatenate(squares).mean()))
        # models may leave out energies of the elements
        energies.append(np.std(offsets))
    return {"held_out/force_rmse": Quantity(np.array(forces), "eV/A", "model of each iteration, all such frames"),
            "held_out/energy_rmse": Quantity(np.array(energies), "eV/atom", "likewise, without the mean difference"),
            "held_out/frames": Quantity(np.array(len(frames)), "1")}


def analyze_active_learning(results: Results) -> tuple[Table, Table]:
    """What the loop found, and whether it helped."""
    rows = {name: quantity.values for name, quantity in results.group("iterations").items()}
    unit = UNITS[str(results.run["criterion"])]
    table: Table = {
        "iterations": entry(len(rows["iteration"]), "1"), "frames_labelled": entry(int(rows["labelled"].sum()), "1"),
        "frames_held_out": entry(int(rows["held_out"].sum()), "1"),
        "largest_measure_first": entry(float(rows["largest_measure"][0]), unit),
        "largest_measure_last": entry(float(rows["largest_measure"][-1]), unit),
        "stable_time_first": entry(float(rows["stable_time"][0]), "ps"),
        "stable_time_last": entry(float(rows["stable_time"][-1]), "ps"),
    }
    checks: Table = {}
    new = rows["taken"] > 0
    if new.any():
        checks["labels_of_each_iteration"] = {
            "passed": bool((rows["labelled"][new] > 0).all()),
            "detail": f"{int(rows['labelled'].sum())} of {int(rows['taken'].sum())} structures were labelled, some in "
                      f"{int((rows['labelled'][new] > 0).sum())} of {int(new.sum())} iterations"}
    forces = results.quantities.get("held_out/force_rmse")
    if forces is not None and len(forces.values) > 1:
        for name in ("force_rmse", "energy_rmse"):
            found = results.quantities[f"held_out/{name}"]
            for which, value in (("first", found.values[0]), ("last", found.values[-1])):
                table[f"{name}_held_out_{which}"] = entry(1e3 * float(value), f"m{found.unit}")
        ratio = float(forces.values[-1] / forces.values[0])
        checks["held_out_forces"] = {"passed": ratio <= _NOT_WORSE,
                                     "detail": f"error of the last model {ratio:.2f} times that of the first"}
    checked, verdicts = analyze_checks(results)
    return table | checked, checks | verdicts
