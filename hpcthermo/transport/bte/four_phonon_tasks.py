r"""Four-phonon linewidths as tasks of a campaign: any workers, the same bits.

    all processes     task (point, part): those of every n-th q1; added up in the order of the tasks
    sample            task (point, number): a block of batches, which depends on seed, point and number alone

As in tasks.py a problem reaches each worker once and a task is two numbers. A sample goes on in rounds
(four_phonon_sample.py); a round is one campaign, and what it asks for follows from the records of those before. A job
that goes on with another target, or with more samples, takes the blocks that it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hpcthermo.campaign.task import Inputs
from hpcthermo.gpu.backend import supported_instruction_set
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte.conductivity import Conductivity
from hpcthermo.transport.bte.four_phonon import FourPhononRates
from hpcthermo.transport.bte.four_phonon_sample import BLOCK, FourPhononLinewidths, of_all_processes, sampled
from hpcthermo.transport.bte.linear_algebra import one_thread
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import by_threads
from hpcthermo.transport.bte.smearing import Gaussian
from hpcthermo.transport.bte.tasks import Campaign, by_campaign, processor_backend

#: of all processes there are at least so many tasks, and more where one would have more quadruples of modes than this
_LEAST_TASKS, _QUADRUPLES_OF_TASK = 128, 5e8
#: (number of tasks of a round) -> what is told of those that are done
Stage = Callable[[int], Callable[[int], None]]


@dataclass(frozen=True)
class FourPhononProblem:
    """What four-phonon linewidths of a mesh depend on.

    Attributes
    ----------
    mesh : Mesh
    phonons : Phonons
        On the whole mesh.
    fourth : Interactions
    temperatures : (n_T,) ndarray
        K.
    gaussian : Gaussian
    seed : int
        Of the sample.
    instruction_set : str
        Of the processor's kernels; that of this process without.
    """

    mesh: Mesh
    phonons: Phonons
    fourth: Interactions
    temperatures: np.ndarray
    gaussian: Gaussian
    seed: int = 1
    instruction_set: str = field(default_factory=supported_instruction_set)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "rates"}

    @cached_property
    def rates(self) -> FourPhononRates:
        """The sum over processes, with its tables; made when first needed, and again after a journey."""
        return FourPhononRates(self.mesh, self.phonons, self.fourth, self.temperatures, self.gaussian, self.seed,
                               processor_backend(self.instruction_set, "double"))

    def inputs(self) -> Inputs:
        """The content without the seed, for names of tasks."""
        mesh, crystal, fourth = self.mesh, self.mesh.crystal, self.fourth
        return Inputs({"cell": crystal.cell, "positions": crystal.positions, "masses": crystal.masses,
                       "mesh": mesh.matrix, "rotations": mesh.rotations, "frequencies": self.phonons.frequencies,
                       "eigenvectors": self.phonons.eigenvectors, "fourth_atoms": fourth.atoms,
                       "fourth_vectors": fourth.vectors, "fourth_values": fourth.values,
                       "temperatures": self.temperatures, "widths": self.gaussian.widths},
                      {"cutoff": self.gaussian.cutoff, "integral": self.gaussian.integral,
                       "instruction_set": self.instruction_set})


@dataclass(frozen=True)
class FourPhononTasks:
    """Linewidths of parts of the processes: a function for `hpcthermo.campaign.run`.

    Notes
    -----
    Records hold ``channels`` (3, n_T, B), THz, and of a block of batches their ``linewidths`` (BLOCK, n_T, B) too.
    """

    problem: FourPhononProblem

    name: str = field(default="four_phonon_rates", init=False)
    #: of this module's, four_phonon's and the kernels' arithmetic
    version: int = field(default=2, init=False)
    thread_safe: bool = field(default=True, init=False)

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the arrays of a record."""
        return {"channels": "THz", "linewidths": "THz"}

    @property
    def shared(self) -> Inputs:
        """The problem."""
        return self.problem.inputs()

    def prepare(self) -> FourPhononRates:
        """The tables of the problem.

        Raises
        ------
        ResourceError
            If the kernels do not run here.
        """
        return self.problem.rates

    def evaluate(self, state: FourPhononRates, tasks: Sequence[Inputs]) -> list[dict[str, np.ndarray]]:
        """Linewidths of each task."""
        with one_thread():
            return [self._task(state, task.parameters) for task in tasks]

    @staticmethod
    def _task(rates: FourPhononRates, task: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if "block" not in task:
            return {"channels": rates.exact(task["point"], task["part"], task["of"])}
        batches = rates.batches(task["point"], BLOCK * task["block"], BLOCK * (task["block"] + 1))
        return {"channels": batches.mean(axis=0), "linewidths": batches.sum(axis=1)}

    def all_processes(self) -> list[Inputs]:
        """Tasks that have all processes, those of one point after the other."""
        n_points, parts = self.problem.mesh.n_points, parts_of_point(self.problem.mesh)
        parts = min(parts, n_points)
        return [Inputs(parameters={"point": point, "part": part, "of": parts})
                for point in range(len(self.problem.mesh.irreducible[0])) for part in range(parts)]

    def blocks(self, asked: Sequence[tuple[int, int]]) -> list[Inputs]:
        """Tasks of blocks of batches: (point, number) each."""
        return [Inputs(parameters={"point": point, "block": number, "seed": self.problem.seed})
                for point, number in asked]


def parts_of_point(mesh: Mesh) -> int:
    """Tasks into which all processes of an irreducible point are divided."""
    quadruples = mesh.n_points**2 / 6.0 * mesh.crystal.n_bands**4
    least = math.ceil(_LEAST_TASKS / len(mesh.irreducible[0]))
    return min(mesh.n_points, max(least, math.ceil(quadruples / _QUADRUPLES_OF_TASK)))


def all_processes(problem: FourPhononProblem, threads: int = 1, stage: Stage | None = None,
                  campaign: Campaign | None = None) -> FourPhononLinewidths:
    """By all processes: for small meshes, for the work goes as N^2 for each irreducible point.

    Parameters
    ----------
    threads : int
        Of this process.
    stage : callable, optional
        Told of the number of tasks; gives what is told of the number that are done. What that raises ends the work.
    campaign : callable, optional
        Computes the tasks instead of threads.

    Raises
    ------
    PhysicsError
        If a task of the campaign failed.
    """
    function = FourPhononTasks(problem)
    tasks = function.all_processes()
    n_points = len(problem.mesh.irreducible[0])
    channels = np.zeros((n_points, 3, len(problem.temperatures), problem.mesh.crystal.n_bands))
    for task, record in zip(tasks, _records(function, tasks, threads, stage, campaign), strict=True):
        channels[task.parameters["point"]] += record["channels"]
    return of_all_processes(channels.transpose(1, 0, 2, 3))


def by_sample(problem: FourPhononProblem, conductivity: Callable[[np.ndarray], tuple[Conductivity, np.ndarray]],
              target_error: float, most_samples: int, threads: int = 1, stage: Stage | None = None,
              campaign: Campaign | None = None) -> FourPhononLinewidths:
    """By a sample; see `hpcthermo.transport.bte.four_phonon_sample.sampled`, other parameters are of `all_processes`.

    Raises
    ------
    PhysicsError
        If a task of the campaign failed.
    """
    function = FourPhononTasks(problem)

    def blocks(asked: Sequence[tuple[int, int]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for record in _records(function, function.blocks(asked), threads, stage, campaign):
            yield record["linewidths"], record["channels"]

    return sampled(len(problem.mesh.irreducible[0]), blocks, conductivity, target_error, most_samples)


def _records(function: FourPhononTasks, tasks: list[Inputs], threads: int, stage: Stage | None,
             campaign: Campaign | None) -> Iterator[Mapping[str, np.ndarray]]:
    note = None if stage is None else stage(len(tasks))
    if campaign is not None:
        yield from by_campaign(campaign, function, tasks)
        return
    rates = function.prepare()
    results = by_threads(lambda task: function.evaluate(rates, [task])[0], tasks, threads)
    with one_thread(), closing(results):
        for done, record in enumerate(results, start=1):
            yield record
            if note is not None:
                note(done)
