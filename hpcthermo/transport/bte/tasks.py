r"""Tasks of q-points as a campaign: linewidths and lists of processes on any workers.

    deposits = sum over tasks k of  task(k; problem)          added in the order of the tasks

A `ThreePhononProblem` is all that the tasks need. It reaches each worker once, which makes its tables of strengths and
energy weights once and keeps them; a task itself is a number. Phonons are part of the problem and are not found again
by the workers, for eigenvectors of degenerate modes depend on the library. Instruction sets add in different orders, so
workers use the one of this process; linear algebra of crystals with many bands is the workers' own (strength.py), and
there the last bits may depend on the type of processor.

Tasks are named by the content of the problem, so a store that holds some of them gives those and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.campaign.task import Inputs, TaskFunction
from hpcthermo.errors import ResourceError
from hpcthermo.gpu.backend import Backend, make_backend, supported_instruction_set
from hpcthermo.gpu.compile import instruction_sets
from hpcthermo.heap import return_freed_memory
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte.collisions import LISTED, Collisions, Stars, collect_collisions, joined, listed_task
from hpcthermo.transport.bte.linear_algebra import one_thread
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import PhaseSpace, RateSum, Strength, ThreePhononRates, in_order, sum_in_order
from hpcthermo.transport.bte.smearing import Gaussian
from hpcthermo.transport.bte.strength import CubicStrength

if TYPE_CHECKING:
    from hpcthermo.campaign.run import Records

#: computes the tasks that have no record yet and gives the records of all
Campaign = Callable[[TaskFunction, Sequence[Inputs]], "Records"]


@dataclass(frozen=True)
class ThreePhononProblem:
    """What the linewidths of a mesh depend on.

    Attributes
    ----------
    mesh : Mesh
    phonons : Phonons
        On the whole mesh.
    third : Interactions or None
        None: the phase space, with 1/(f f1 f2) in place of strengths.
    temperatures : (n_T,) ndarray
        K.
    gaussian : Gaussian or None
        None: tetrahedra.
    split : bool
        Normal and Umklapp processes apart.
    symmetrised : bool
        Tetrahedra of all cuts that the point group makes of the first.
    device : {"cpu", "cuda"}
        On a GPU sums have no fixed order, so the last bits vary.
    instruction_set : str
        Of the processor's kernels; that of this process without.
    """

    mesh: Mesh
    phonons: Phonons
    third: Interactions | None
    temperatures: np.ndarray
    gaussian: Gaussian | None = None
    split: bool = False
    symmetrised: bool = True
    device: str = "cpu"
    instruction_set: str = field(default_factory=supported_instruction_set)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("rates", "strength", "sum")}

    @cached_property
    def sum(self) -> RateSum:
        """What is done with the results of tasks, which needs no tables: workers have them."""
        return RateSum(self.mesh, self.phonons.frequencies, self.temperatures, self.split)

    def tabulated(self) -> ThreePhononProblem:
        """The same for threads of this process alone: with strengths, and without the list they were made of."""
        other = replace(self, third=None)
        other.__dict__["strength"] = self.strength
        return other

    def divided(self) -> ThreePhononProblem:
        """The same with normal and Umklapp processes apart, and with the tables that this one has."""
        other = replace(self, split=True)
        if "strength" in self.__dict__:
            other.__dict__["strength"] = self.strength
        if "rates" in self.__dict__:
            other.__dict__["rates"] = self.rates.divided()
        return other

    @cached_property
    def rates(self) -> ThreePhononRates:
        """The sum over triplets, with its tables; made when first needed, and again after a journey."""
        strength = self.strength
        backend = strength.backend if isinstance(strength, CubicStrength) else self._backend()
        return ThreePhononRates(self.mesh, self.phonons, strength, self.temperatures, gaussian=self.gaussian,
                                split=self.split, symmetrised=self.symmetrised, backend=backend)

    @cached_property
    def strength(self) -> Strength:
        """Strengths with their tables; made as `rates` are."""
        return (PhaseSpace(self.phonons) if self.third is None
                else CubicStrength(self.mesh, self.phonons, self.third, self._backend()))

    def _backend(self) -> Backend:
        if self.device != "cpu":
            return make_backend(self.device, "mixed")
        return processor_backend(self.instruction_set, "mixed")

    def inputs(self) -> Inputs:
        """The content, for names of tasks."""
        mesh, crystal = self.mesh, self.mesh.crystal
        arrays = {"cell": crystal.cell, "positions": crystal.positions, "masses": crystal.masses,
                  "mesh": mesh.matrix, "rotations": mesh.rotations, "frequencies": self.phonons.frequencies,
                  "temperatures": self.temperatures}
        if self.third is not None:
            arrays |= {"eigenvectors": self.phonons.eigenvectors, "third_atoms": self.third.atoms,
                       "third_vectors": self.third.vectors, "third_values": self.third.values}
        parameters: dict[str, Any] = {"split": self.split, "symmetrised": self.symmetrised, "device": self.device,
                                      "instruction_set": self.instruction_set}
        if self.gaussian is not None:
            arrays["widths"] = self.gaussian.widths
            parameters |= {"cutoff": self.gaussian.cutoff, "integral": self.gaussian.integral}
        return Inputs(arrays, parameters)


@dataclass(frozen=True)
class RateTasks:
    """Deposits of the tasks of a problem: a function for `hpcthermo.campaign.run`.

    Attributes
    ----------
    problem : ThreePhononProblem
    listed : bool
        Also the processes themselves, for the full equation.

    Notes
    -----
    Records hold ``deposits`` (I, B, n_T), eV^2/THz, and with `listed` the columns of `collisions.LISTED`.
    """

    problem: ThreePhononProblem
    listed: bool = False

    name: str = field(default="three_phonon_rates", init=False)
    #: of this module's and the kernels' arithmetic
    version: int = field(default=1, init=False)

    @property
    def thread_safe(self) -> bool:
        """Threads share tables; on a GPU each thread has a current stream of its own."""
        return self.problem.device == "cpu"

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the arrays of a record."""
        return {"deposits": "eV^2/THz", "amounts": "eV^2/THz"}

    @property
    def shared(self) -> Inputs:
        """The problem."""
        inputs = self.problem.inputs()
        return replace(inputs, parameters={**inputs.parameters, "listed": self.listed})

    def prepare(self) -> tuple[ThreePhononRates, Stars | None]:
        """The tables of the problem.

        Raises
        ------
        ResourceError
            If the kernels do not run here.
        """
        return self.problem.rates, Stars.of(self.problem.mesh) if self.listed else None

    def evaluate(self, state: tuple[ThreePhononRates, Stars | None], tasks: Sequence[Inputs]
                 ) -> list[dict[str, np.ndarray]]:
        """Deposits, and processes, of each task."""
        rates, stars = state
        numbers = [int(task.parameters["task"]) for task in tasks]
        with one_thread():
            if stars is None:
                return [{"deposits": rates.task(number)} for number in numbers]
            found = (listed_task(rates, stars, number) for number in numbers)
            return [{"deposits": deposits, **dict(zip(LISTED, columns, strict=True))} for deposits, columns in found]

    def tasks(self) -> list[Inputs]:
        """All of them."""
        n_tasks = self.problem.sum.n_tasks
        return [Inputs(parameters={"task": number, "of": n_tasks}) for number in range(n_tasks)]


def processor_backend(instruction_set: str, precision: str) -> Backend:
    """The kernels of a campaign, on any of its workers.

    Raises
    ------
    ResourceError
        If this processor has lesser ones only.
    """
    best, known = supported_instruction_set(), list(instruction_sets())  # the best first
    if instruction_set not in known[known.index(best):]:
        raise ResourceError(f"phonon rates: this worker's processor has {best} kernels at best, and the campaign's "
                            f"are {instruction_set}; set HPCTHERMO_INSTRUCTION_SET={best} where the job is started")
    return make_backend("cpu", precision, instruction_set=instruction_set)


def linewidths_of(problem: ThreePhononProblem, threads: int = 1, note: Callable[[int], None] | None = None,
                  campaign: Campaign | None = None) -> np.ndarray:
    """Linewidths (I, n_T, B) of a problem, THz (or (2 I, n_T, B), normal and Umklapp).

    Parameters
    ----------
    threads : int
        Of this process; on a GPU one gives it all its work.
    note : callable, optional
        Told of the number of tasks that are done; what it raises ends the work.
    campaign : callable, optional
        Computes the tasks instead of threads, and tells of them itself.

    Raises
    ------
    PhysicsError
        If a task of the campaign failed.
    """
    if campaign is None:
        with _rates_alone(problem) as rates:
            return rates.linewidths(sum_in_order(rates, threads if problem.device == "cpu" else 1, note))
    function = RateTasks(problem)
    records = by_campaign(campaign, function, function.tasks())
    return problem.sum.linewidths(in_order(found["deposits"] for found in records))


def linewidths_and_collisions(problem: ThreePhononProblem, threads: int = 1, note: Callable[[int], None] | None = None,
                              campaign: Campaign | None = None) -> tuple[np.ndarray, Collisions]:
    """Linewidths and the list of processes in one pass; arguments are those of `linewidths_of`."""
    if campaign is None:
        with _rates_alone(problem) as rates:
            return collect_collisions(rates, threads if problem.device == "cpu" else 1, note)
    function = RateTasks(problem, listed=True)
    records = by_campaign(campaign, function, function.tasks())
    return joined(problem.sum, ((found["deposits"], tuple(found[name] for name in LISTED)) for found in records))


@contextmanager
def _rates_alone(problem: ThreePhononProblem) -> Iterator[ThreePhononRates]:
    """The sum with its tables; what making them and the threads leave behind in memory goes back to the system."""
    rates = problem.rates
    return_freed_memory()
    try:
        yield rates
    finally:
        return_freed_memory()


def by_campaign(campaign: Campaign, function: TaskFunction,
                tasks: Sequence[Inputs]) -> Iterator[Mapping[str, np.ndarray]]:
    """Records of tasks in their order.

    Raises
    ------
    PhysicsError
        If a task failed.
    """
    with one_thread():
        records = campaign(function, tasks)
    records.require_all()
    yield from (record.arrays for record in records)
