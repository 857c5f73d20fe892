"""``kind = "model_checks"``: whether a potential has the properties that it should have; also the end of a train job.

results.h5 has a group for each check, ``check/<kind>_<name>``, in which paths are those of the job that computes
the same property alone. A check that cannot be computed has failed; what is wrong with the job is refused before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpcthermo.config.model_checks import place_of
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.log import get_logger
from hpcthermo.potentials.load import load_potential
from hpcthermo.results import Quantity, Results, Table
from hpcthermo.task_run import TaskRun

if TYPE_CHECKING:
    from hpcthermo.config.model_checks import Check
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.model_checks.measured import Measured
    from hpcthermo.run import Stop

GROUP = "check"


class Measurement(Protocol):
    """A check that can be computed for any potential.

    Attributes
    ----------
    species : frozenset of str
        Elements that the potential must know.
    """

    species: frozenset[str]

    def measure(self, potential: Any, run: TaskRun) -> Measured:
        """Numbers for a potential as a job has it."""


#: kind of check -> module, what computes it there, what judges the numbers; imported when first needed
_KINDS = {
    "lattice": ("lattice", "LatticeMeasurement", "judge_lattice"),
    "dispersion": ("dispersion", "DispersionMeasurement", "judge_dispersion"),
    "binding_curve": ("binding_curve", "BindingCurveMeasurement", "judge_binding_curve"),
}


def _maker(kind: str) -> Callable[[Check, int], Measurement]:
    module, name, _ = _KINDS[kind]
    found: Callable[[Check, int], Measurement] = getattr(import_module(f"hpcthermo.model_checks.{module}"), name)
    return found


def _judge(kind: str) -> Callable[[Results, Mapping[str, Any]], tuple[Table, Table]]:
    module, _, name = _KINDS[kind]
    found: Callable[[Results, Mapping[str, Any]], tuple[Table, Table]] = getattr(
        import_module(f"hpcthermo.model_checks.{module}"), name)
    return found


def prepare_checks(checks: Sequence[Check], seed: int, elements: Sequence[str]) -> list[tuple[Check, Measurement]]:
    """Checks with their structures and reference frames.

    Parameters
    ----------
    elements : sequence of str
        That the potential knows.

    Raises
    ------
    InputError
        If a structure, a reference or an element is not usable.
    """
    prepared = []
    for check in checks:
        try:
            measurement = _maker(check.kind)(check, seed)
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith("check") else f"check {check.name!r}: {text}") from None
        unknown = sorted(measurement.species - set(elements))
        if unknown:
            raise InputError(f"check {check.name!r}: expected elements of the model ({' '.join(elements)}), got "
                             f"{' '.join(unknown)}; correct its structure")
        prepared.append((check, measurement))
    return prepared


def run_checks(run: TaskRun, prepared: Sequence[tuple[Check, Measurement]],
               potential: Any) -> tuple[dict[str, Quantity], dict[str, dict[str, Any]]]:
    """Numbers of all checks for results.h5.

    Parameters
    ----------
    potential : str, PotentialSpec or tuple of these
        As in a job, with absolute paths.
    """
    quantities: dict[str, Quantity] = {}
    attributes: dict[str, dict[str, Any]] = {}
    for check, measurement in prepared:
        place = group_of(check.kind, check.name)
        run.stage(check.name)
        try:
            found = measurement.measure(potential, run)
        except (InputError, PhysicsError) as error:
            get_logger().warning("check %s: %s", check.name, error)
            attributes[place] = {"failure": str(error)}
            continue
        quantities |= {f"{place}/{path}": quantity for path, quantity in found.quantities.items()}
        attributes |= {f"{place}/{path}": facts for path, facts in found.attributes.items()}
    return quantities, attributes


def group_of(kind: str, name: str) -> str:
    """Of a check in results.h5."""
    return f"{GROUP}/{kind}_{place_of(name)}"


def results_of_check(results: Results, place: str) -> Results:
    """The results of one check as if it were all there is."""
    attributes = {path.removeprefix(f"{place}/"): facts for path, facts in results.attributes.items()
                  if path.startswith(f"{place}/")}
    return Results(results.kind, results.job, results.run, results.group(place), attributes)


def checks_of(results: Results) -> list[tuple[dict[str, Any], str]]:
    """Settings of the checks of a results file, and their groups."""
    return [(settings, group_of(settings["kind"], settings["name"])) for settings in results.job.get("check", ())]


def analyze_checks(results: Results) -> tuple[Table, Table]:
    """Results and verdicts of all checks of a results file, with the name of the check behind each."""
    table: Table = {}
    checks: Table = {}
    for settings, place in checks_of(results):
        name = f": {settings['name']}"
        failure = results.attributes.get(place, {}).get("failure")
        if failure is not None:
            checks[f"{settings['kind']}{name}"] = {"passed": False, "detail": f"could not be computed: {failure}"}
            continue
        found, verdicts = _judge(settings["kind"])(results_of_check(results, place), settings)
        table |= {key + name: value for key, value in found.items()}
        checks |= {key + name: verdict for key, verdict in verdicts.items()}
    return table, checks


def run_model_checks(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """All checks of a job for its potential, to a report."""
    with TaskRun(job, comm, folder, resume, stop) as run:
        potential = load_potential(job.potential_spec, Path.cwd())
        prepared = prepare_checks(job.check, job.seed, potential.elements)
        run.keep_inputs()
        quantities, attributes = run_checks(run, prepared, job.potential)
        run.finish(quantities, attributes, {})
