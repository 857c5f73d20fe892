"""``kind = "train"``: a NEP from labelled frames, with its errors.

nep.txt              the best model on the validation set; GPUMD and this program read it
nep.restart          means and deviations, by SNES
loss.out             loss and errors on the way, in GPUMD's columns
energy_train.out, force_, virial_, stress_, ..._test.out    predictions and labels, in GPUMD's columns
training/state.npz   from which --resume goes on with the same bits
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.stop import Requeue
from hpcthermo.errors import InputError
from hpcthermo.log import get_logger
from hpcthermo.model_checks.run import analyze_checks, prepare_checks, run_checks
from hpcthermo.potentials.nep_writer import write_nep_file
from hpcthermo.results import Quantity, Results, Table, entry, replaced_file, write_text
from hpcthermo.task_run import TaskRun
from hpcthermo.training.beginning import beginning_of
from hpcthermo.training.crew import Crew
from hpcthermo.training.loss import Errors, Loss
from hpcthermo.training.optimisers import OPTIMISERS, TIME_IS_OVER, Look, Search, SnesSearch
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.parity import Parity, parity_of, write_parity_files
from hpcthermo.training.parts import PARTS, read_parts
from hpcthermo.training.snes import write_restart

if TYPE_CHECKING:
    from hpcthermo.config import TrainJob
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.potentials.nep_file import NepModel
    from hpcthermo.run import Stop

MODEL_FILE, RESTART_FILE, LOSS_FILE, STATE_FILE = "nep.txt", "nep.restart", "loss.out", "state.npz"
#: seconds between saved states
_SAVE_INTERVAL = 60.0
#: of the time, after which the search is told to come to its end
_MOST_OF_THE_TIME = 0.85
#: columns of the history: those of loss.out and the validation loss
_HISTORY = {"step": "1", "total": "1", "l1": "1", "l2": "1", "energy_training": "eV/atom", "force_training": "eV/A",
            "virial_training": "eV/atom", "energy_test": "eV/atom", "force_test": "eV/A", "virial_test": "eV/atom",
            "validation": "1", "all_frames": "1"}
#: line of loss.out
_WITH_ALL = "# from here on the frames of the validation set are trained on, too"
#: errors on frames that were held out may be this much larger than those on frames that were trained on
MOST_LARGER_OUTSIDE = 3.0


class TrainRun(TaskRun):
    """See `TaskRun`; the state of the training takes the place of tasks."""

    RECORDS_FOLDER = "training"
    job: TrainJob

    def tell_of_changes(self, text: str) -> None:
        """Refuse to go on with another job."""
        raise InputError(f"{self.folder}: the job has changed since this training began: {text}; take it back, or give "
                         "another --out (fine_tune goes on from a model)")


@dataclass
class _History:
    """Rows of `_HISTORY`, and the time training has taken."""

    rows: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, look: Look, test: Errors | None) -> None:
        tested = (np.nan,) * 3 if test is None else (test.energy, test.force, test.virial)
        train = look.training
        self.rows.append([look.step, look.total, look.l1, look.l2, train.energy, train.force, train.virial, *tested,
                          look.validation, float(look.all_frames)])

    def table(self) -> np.ndarray:
        return np.array(self.rows).reshape(-1, len(_HISTORY))


def run_train(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Train the model of a job, to nep.txt and a report; structures are shared out over all ranks (collective)."""
    table = job.execution
    with Crew(comm, table.device, table.threads, table.memory_GiB) as crew:
        if crew.leads:
            with TrainRun(job, SingleProcess(), folder, resume, stop) as run:
                _lead(run, crew, resume)
        else:
            crew.serve()


def _lead(run: TrainRun, crew: Crew, resume: bool) -> None:
    """Read, train and report."""
    job = run.job
    run.stage("data")
    parts = read_parts(job)
    form, beginning = beginning_of(job)
    checks = prepare_checks(job.check, job.seed, form.elements)
    options: Any = {"precision": job.execution.precision, "crew": crew}
    search = OPTIMISERS[job.optimiser.name](job, form, parts, beginning, crew)
    test = Loss(parts.test, form, None, search.scaler, **options) if parts.test else None
    history = _History()
    if resume:
        _restore(run.campaign_folder / STATE_FILE, search, history)
    run.keep_inputs()
    own = parts.element_energies if job.dataset.element_energies == "own" else {}
    ended = _train(run, search, lambda theta: trained_model(form, theta, search.scaler, own), test, history)
    run.stage("errors")
    theta, scaler = search.chosen, search.scaler
    # frames of the validation set may have been trained on at last
    parities = {name: parity_of(frames, form, search.validated if name == "validation" else theta, scaler, **options)
                for name, frames in parts.named().items()}
    for name, suffix in (("training", "train"), ("test", "test")):
        if name in parities:
            write_parity_files(parities[name], run.folder, suffix)
    quantities = _loss_quantities(history, search.counts)
    attributes: dict[str, dict[str, Any]] = {"loss": {"counts": search.counts, "ended": ended}}
    for name, parity in parities.items():
        quantities |= _parity_quantities(name, parity)
        attributes[f"parity_{name}"] = {"groups": sorted(set(parity.groups))}
    found = run_checks(run, checks, str((run.folder / MODEL_FILE).absolute()))
    run.finish(quantities | found[0], attributes | found[1], {
        "ranks": crew.size, "threads": crew.threads, "precision": job.execution.precision,
        "optimiser": job.optimiser.name, "ended": ended, "parameters": form.n_parameters,
        "element_energies_eV": parts.element_energies, "training_seconds": history.seconds,
        **{f"frames_{name}": len(getattr(parts, name)) for name in PARTS}})


def trained_model(form: NepForm, theta: np.ndarray, scaler: np.ndarray, energies: Mapping[str, float]) -> NepModel:
    """The potential with energies of the elements (eV) in its biases, which an atom's energy is less by."""
    model = form.model(theta, scaler)
    own = np.array([energies.get(element, 0.0) for element in form.elements])
    return replace(model, version=5, output_biases=model.output_biases - own) if own.any() else model


def _train(run: TrainRun, search: Search, model: Callable[[np.ndarray], NepModel], test: Loss | None,
           history: _History) -> str:
    """Step the search to its end; why it ended."""
    limit = run.job.execution.max_minutes
    before, start = history.seconds, time.monotonic()
    saved, ended = start, ""
    note = run.stage("training", search.length, search.counts)

    def save() -> None:
        run.lock.require()
        history.seconds = before + time.monotonic() - start
        _save(run, search, model(search.chosen), history)

    over = limit is not None and before > 60.0 * limit
    for step, look in () if over else search.steps():
        if look is not None:
            history.add(look, None if test is None else test.errors(look.theta))
            write_text(loss_text(history.table()), run.folder / LOSS_FILE)
        try:
            note(int(step))
        except Requeue:
            save()
            raise
        now = time.monotonic()
        if limit is not None:
            used = (before + now - start) / (60.0 * limit)
            if used > 1.0:
                ended = TIME_IS_OVER
                break
            if used > _MOST_OF_THE_TIME:
                search.hasten()
        if now - saved > _SAVE_INTERVAL:
            save()
            saved = time.monotonic()
    save()
    ended = TIME_IS_OVER if over else ended or search.done
    get_logger().info("training ended: %s", ended)
    return ended


def _save(run: TrainRun, search: Search, model: NepModel, history: _History) -> None:
    """The state, and the best model so far."""
    arrays: dict[str, Any] = {**{f"search/{name}": value for name, value in search.arrays().items()},
              "history": history.table(), "seconds": np.array(history.seconds)}
    with replaced_file(run.campaign_folder / STATE_FILE) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)
    write_nep_file(run.folder / MODEL_FILE, model, search.most_neighbors)
    if isinstance(search, SnesSearch):
        write_restart(run.folder / RESTART_FILE, search.state)


def _restore(path: Path, search: Search, history: _History) -> None:
    """Go on from a saved state, if there is one."""
    if not path.exists():
        return
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        search.restore({name.removeprefix("search/"): value for name, value in arrays.items()
                        if name.startswith("search/")})
        history.rows, history.seconds = arrays["history"].tolist(), float(arrays["seconds"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:100]}); remove it to train anew"
                         ) from None


def loss_text(history: np.ndarray) -> str:
    """Text of loss.out: step, loss, its two regularisations, errors of energy, force and virial, training and test.

    A comment says where training on the frames of the validation set, too, begins.
    """
    rows = np.nan_to_num(history[:, :10], nan=0.0, posinf=0.0, neginf=0.0)
    lines = [f"{round(row[0]):<8d}" + "".join(f"{value:<13.6g}" for value in row[1:]).rstrip() for row in rows]
    begin = _first_with_all(history)
    if begin is not None:
        lines.insert(begin, _WITH_ALL)
    return "".join(f"{line}\n" for line in lines)


def _first_with_all(history: np.ndarray) -> int | None:
    """First row of training on all frames, if there is one."""
    found = np.flatnonzero(history[:, list(_HISTORY).index("all_frames")])
    return int(found[0]) if len(found) else None


def _loss_quantities(history: _History, counts: str) -> dict[str, Quantity]:
    columns = history.table().T
    return {f"loss/{name}": Quantity(column, unit, counts if name == "step" else "")
            for (name, unit), column in zip(_HISTORY.items(), columns, strict=True)}


def _parity_quantities(part: str, parity: Parity) -> dict[str, Quantity]:
    names = sorted(set(parity.groups))
    axes = "last axis: prediction, label"
    return {
        f"parity_{part}/energy": Quantity(parity.energies, "eV/atom", axes),
        f"parity_{part}/force": Quantity(parity.forces, "eV/A", axes),
        f"parity_{part}/virial": Quantity(parity.virials, "eV/atom", f"xx, yy, zz, xy, yz, zx; {axes}"),
        f"parity_{part}/atoms": Quantity(parity.atoms, "1"),
        f"parity_{part}/group": Quantity(np.array([names.index(group) for group in parity.groups]), "1"),
    }


def analyze_training(results: Results) -> tuple[Table, Table]:
    """Errors of each part and of its classes of structures, and whether those outside are like those inside."""
    table: Table = {}
    for part in reversed(PARTS):
        found = {name: quantity.values for name, quantity in results.group(f"parity_{part}").items()}
        if not found:
            continue
        table |= _errors(part, found, np.ones(len(found["atoms"]), dtype=bool))
        names = [str(name) for name in results.attributes[f"parity_{part}"]["groups"]]
        if len(names) > 1:
            for number, name in enumerate(names):
                table |= _errors(f"{part}: {name or 'without group'}", found, found["group"] == number)
    run = results.run
    step = results.quantities["loss/step"].values
    if len(step):
        table[str(results.attributes["loss"]["counts"])] = entry(float(step[-1]), "1")
    table["training_time"] = entry(float(run["training_seconds"]), "s")
    checked, verdicts = analyze_checks(results)
    return table | checked, _checks(table) | verdicts


def _errors(name: str, found: dict[str, np.ndarray], chosen: np.ndarray) -> Table:
    """Root mean square errors of some structures; what has no label is left out."""
    atoms = np.repeat(chosen, found["atoms"])
    parts = {"energy": (found["energy"][chosen], "meV/atom"), "force": (found["force"][atoms], "meV/A"),
             "virial": (found["virial"][chosen], "meV/atom")}
    table: Table = {}
    for quantity, (values, unit) in parts.items():
        difference = values[..., 0] - values[..., 1]
        known = difference[~np.isnan(difference)]
        if len(known):
            table[f"{quantity}_rmse_{name}"] = entry(1e3 * float(np.sqrt((known**2).mean())), unit)
    return table


def _checks(table: Table) -> Table:
    checks: Table = {}
    for part in ("validation", "test"):
        outside, inside = table.get(f"force_rmse_{part}"), table.get("force_rmse_training")
        if outside and inside:
            ratio = outside["value"] / max(inside["value"], 1e-12)
            checks[f"forces_{part}"] = {
                "passed": ratio <= MOST_LARGER_OUTSIDE,
                "detail": f"force error {ratio:.2f} times that of the training frames, limit {MOST_LARGER_OUTSIDE:g}"}
    return checks
