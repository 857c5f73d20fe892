"""Molecular dynamics by a model, and which of its snapshots are new to it.

A run is watched at its snapshots. Above the lower threshold a snapshot is new; above the upper one it is left out, for
the model has lost its way, and the run ends. The structure that a run begins from is new whenever it is above the lower
one: a builder made it, not the model. Of all that is new the most different frames are taken (`labelling.selection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hpcthermo.active_learning.committee import Committee
from hpcthermo.active_learning.extrapolation import ExtrapolationGrade, load_nep, training_snapshot
from hpcthermo.building import build_frames
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.labelling.candidates import Candidate, with_volume
from hpcthermo.labelling.descriptors import site_descriptors
from hpcthermo.labelling.selection import FarthestFrames
from hpcthermo.labelling.snapshots import thermal_snapshots
from hpcthermo.potentials.nep import NepPotential

if TYPE_CHECKING:
    from collections.abc import Callable

    from hpcthermo.config import ActiveLearningJob


class Criterion(Protocol):
    """What says how new a structure is."""

    def measure(self, snapshot: Snapshot) -> float:
        """Grade or disagreement."""


#: name in the job file -> what is made of models and training set
CRITERIA: dict[str, Callable[[Sequence[Path], Sequence[LabelledFrame]], Criterion]] = {
    "committee": Committee, "extrapolation_grade": ExtrapolationGrade,
}
#: unit of each
UNITS = {"committee": "eV/A", "extrapolation_grade": "1"}


@dataclass(frozen=True)
class Explored:
    """What the runs of an iteration have met.

    Attributes
    ----------
    candidates : list of Candidate
        What is labelled.
    runs : (n,) ndarray of int
        Run of each snapshot.
    times : (n,) ndarray
        ps.
    measures : (n,) ndarray
        Grade or disagreement.
    taken : (n,) ndarray of bool
        Snapshots that are candidates.
    stable_times : (runs,) ndarray
        Until a run lost its way, or its whole duration, ps.
    """

    candidates: list[Candidate]
    runs: np.ndarray
    times: np.ndarray
    measures: np.ndarray
    taken: np.ndarray
    stable_times: np.ndarray


def starts_of(job: ActiveLearningJob) -> list[tuple[int, Snapshot]]:
    """Number of the exploration and structure where each run begins.

    Raises
    ------
    InputError
        If a structure is not usable, or has an element that the model does not know.
    """
    starts = []
    for number, exploration in enumerate(job.exploration):
        try:
            found = [with_volume(frame.snapshot) for frame in build_frames(exploration.structure, job.seed + number)]
        except InputError as error:
            raise InputError(f"exploration {exploration.group!r}: {error}") from None
        unknown = sorted({symbol for snapshot in found for symbol in snapshot.species} - set(job.model.elements))
        if unknown:
            raise InputError(f"exploration {exploration.group!r}: expected elements of the model "
                             f"({' '.join(job.model.elements)}), got {' '.join(unknown)}; correct its structure")
        starts += [(number, snapshot) for snapshot in found]
    return starts


def explore(job: ActiveLearningJob, iteration: int, models: Sequence[Path], frames: Sequence[LabelledFrame],
            note: Callable[[int], None]) -> Explored:
    """Run the dynamics of an iteration, and choose.

    Parameters
    ----------
    models : sequence of Path
        The first one moves the atoms.
    frames : sequence of LabelledFrame
        Training set.
    note : callable
        Told of runs that are over.
    """
    section = job.active_learning
    lower, upper = section.thresholds
    criterion = CRITERIA[section.criterion](models, frames)
    potential = load_nep(models[0])
    runs: list[int] = []
    times: list[float] = []
    measures: list[float] = []
    new: list[tuple[int, Candidate]] = []
    stable: list[float] = []
    for run, (number, start) in enumerate(starts_of(job)):
        exploration = job.exploration[number]
        random = np.random.default_rng([job.seed, iteration, run])

        def look(time: float, snapshot: Snapshot, run: int = run, group: str = exploration.group) -> float:
            runs.append(run)
            times.append(time)
            measures.append(criterion.measure(snapshot))
            if measures[-1] > lower and (measures[-1] <= upper or time == 0.0):
                new.append((len(runs) - 1, Candidate(group, snapshot)))
            return measures[-1]

        look(0.0, start)
        lasted = 0.0
        try:
            for time, snapshot in thermal_snapshots(start, exploration.dynamics, potential, random):
                if not look(time, snapshot) <= upper:
                    break
                lasted = time
        except (InputError, PhysicsError):  # atoms flew apart, or are where no potential can be asked
            pass
        stable.append(lasted)
        note(run + 1)
    chosen = _most_different([candidate for _, candidate in new], frames, potential, section.frames_per_iteration,
                             section.minimum_distance)
    taken = np.zeros(len(runs), dtype=bool)
    taken[[new[k][0] for k in chosen]] = True
    return Explored([new[k][1] for k in chosen], np.array(runs), np.array(times), np.array(measures), taken,
                    np.array(stable))


def _most_different(candidates: Sequence[Candidate], frames: Sequence[LabelledFrame], potential: NepPotential,
                    count: int, least: float) -> list[int]:
    """Places of the candidates that are farthest from the training set and from each other."""
    if not candidates:
        return []
    known = [Candidate(frame.group, training_snapshot(frame)) for frame in frames]
    everything = [*known, *candidates]
    sampler = FarthestFrames([site_descriptors(one.snapshot, potential) for one in everything],
                             [one.numbers for one in everything])
    for row in range(len(known)):
        sampler.take(row)
    return [row - len(known) for row in sampler.take_farthest(range(len(known), len(everything)), count, least)]
