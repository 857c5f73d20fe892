"""The frames of a train job: those that are trained on, those that say when to stop, and those that only test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpcthermo.datasets.checks import check_dataset, require_good
from hpcthermo.datasets.files import examine_file, read_dataset
from hpcthermo.datasets.findings import told_together
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.datasets.split import Split, block_split, index_split, random_split
from hpcthermo.errors import InputError
from hpcthermo.log import get_logger

if TYPE_CHECKING:
    from hpcthermo.config import TrainJob

#: names of the parts, in the order of reports
PARTS = ("training", "validation", "test")
#: keys of [dataset] with factors by group, and the weight of a frame that they multiply
GROUP_WEIGHTS = {"group_weights": "weight", "group_energy_weights": "energy_weight"}
#: groups of fewer frames are all trained on
_SMALLEST_VALIDATED = 5
#: eV, between energies of elements
_FAR_APART = 20.0


@dataclass(frozen=True)
class Parts:
    """Frames of each part.

    Attributes
    ----------
    training, validation, test : list of LabelledFrame
        Energies without those of the elements, if the job says so.
    element_energies : dict of str to float
        That were taken off, eV.
    """

    training: list[LabelledFrame]
    validation: list[LabelledFrame]
    test: list[LabelledFrame]
    element_energies: dict[str, float] = field(default_factory=dict)

    def named(self) -> dict[str, list[LabelledFrame]]:
        """Parts that have frames, by name."""
        return {name: getattr(self, name) for name in PARTS if getattr(self, name)}


def read_parts(job: TrainJob) -> Parts:
    """Frames of a job.

    Raises
    ------
    InputError
        If a file cannot be read, a frame cannot be used, or nothing is left to train on.
    """
    section = job.dataset
    frames, validation, test = (_read(names, job) for names in
                                (section.train_files, section.validation_files, section.test_files))
    split = _split(job, frames)
    validation += [frames[k] for k in split.validation]
    test += [frames[k] for k in split.test]
    frames = [frames[k] for k in split.training]
    _require_elements(job, frames)
    for name, part in (("training", frames), ("validation", validation), ("test", test)):
        if part and all(frame.energy is None and frame.forces is None and frame.virial is None for frame in part):
            raise InputError(f"{name}: expected frames with energies, forces or virials, got none; check the files")
    for key, name in GROUP_WEIGHTS.items():
        factors = getattr(section, key)
        unknown = sorted(set(factors) - {frame.group for frame in frames + validation})
        if unknown:
            raise InputError(f"dataset.{key}: expected groups of the frames, got {unknown[0]!r}; correct it")
        frames, validation = (_weighted(part, name, factors) for part in (frames, validation))
    if section.element_energies == "common":
        _warn_of_far_apart(frames)
        return Parts(frames, validation, test)
    energies = element_energies(frames)
    return Parts(_without(frames, energies), _without(validation, energies), _without(test, energies), energies)


def _require_elements(job: TrainJob, frames: Sequence[LabelledFrame]) -> None:
    """Refuse elements of a new model that nothing is trained on: it would give them energies by chance."""
    if job.model is None or job.fine_tune is not None:
        return
    absent = [element for element in job.model.elements
              if not any(element in frame.symbols and frame.weight > 0.0 for frame in frames)]
    if absent:
        raise InputError(f"model.elements: expected elements of the frames that are trained on, got {absent[0]}, which "
                         "none has; remove it, or hold fewer frames out")


def element_energies(frames: Sequence[LabelledFrame]) -> dict[str, float]:
    """Energies c_e (eV) for which E_s = sum_e n_e(s) c_e is best in least squares, per atom; the smallest such ones.

    Frames count with their weights in the loss.

    Raises
    ------
    InputError
        If no frame has an energy that counts.
    """
    known = [(frame, frame.energy) for frame in frames if frame.energy is not None and _energy_counts(frame)]
    if not known:
        raise InputError('element_energies: expected frames with energies that count, got none; set "common"')
    elements = sorted({symbol for frame in frames for symbol in frame.symbols})
    weights = np.array([frame.weight * np.sqrt(frame.energy_weight) for frame, _ in known])
    shares = np.array([[frame.symbols.count(element) / frame.n_atoms for element in elements] for frame, _ in known])
    energies = np.array([energy / frame.n_atoms for frame, energy in known])
    found = np.linalg.lstsq(weights[:, None] * shares, weights * energies, rcond=1e-8)[0]
    return dict(zip(elements, found.tolist(), strict=True))


def _energy_counts(frame: LabelledFrame) -> bool:
    """Whether a frame has an energy that is part of the loss."""
    return frame.energy is not None and frame.weight > 0.0 and frame.energy_weight > 0.0


def _warn_of_far_apart(frames: Sequence[LabelledFrame]) -> None:
    """Say that elements have energies which one bias for all cannot give."""
    if not any(_energy_counts(frame) for frame in frames):
        return
    energies = sorted(element_energies(frames).items(), key=lambda item: item[1])
    (low, least), (high, most) = energies[0], energies[-1]
    if most - least > _FAR_APART:
        get_logger().warning("dataset.element_energies: energies of %s and %s differ by %.0f eV an atom, which one "
                             'bias for all cannot give; set "own"', low, high, most - least)


def _without(frames: Sequence[LabelledFrame], energies: Mapping[str, float]) -> list[LabelledFrame]:
    """Frames with the energies of their elements taken off."""
    return [frame if frame.energy is None else
            replace(frame, energy=frame.energy - sum(energies.get(symbol, 0.0) for symbol in frame.symbols))
            for frame in frames]


def _weighted(frames: Sequence[LabelledFrame], name: str, factors: Mapping[str, float]) -> list[LabelledFrame]:
    """Frames with one of their weights multiplied by the factor of their group."""
    return [replace(frame, **{name: getattr(frame, name) * factors[frame.group]}) if frame.group in factors
            else frame for frame in frames]


def _read(names: Sequence[str], job: TrainJob) -> list[LabelledFrame]:
    """Frames of files, checked unless the job says otherwise."""
    elements = None if job.model is None else job.model.elements
    frames: list[LabelledFrame] = []
    for name in names:
        if job.dataset.check:
            report = check_dataset(examine_file(Path(name)), elements)
            require_good(report, name)
            for line in told_together(report.findings):
                get_logger().warning("%s: %s", name, line)
        frames += read_dataset(Path(name))
    return frames


def _split(job: TrainJob, frames: Sequence[LabelledFrame]) -> Split:
    """Which frames of train_files are held out."""
    section = job.dataset
    if section.block_frames is not None:
        validation = _validation_blocks(job, len(frames), section.block_frames)
        return block_split(len(frames), section.block_frames, validation, section.test_blocks)
    share = 0.0 if section.validation_files else section.validation_share
    n = len(frames)
    split = random_split([frame.group for frame in frames], share, section.test_share, job.seed,
                         smallest_validated=_SMALLEST_VALIDATED)
    if section.test_share and not len(split.test):
        raise InputError("dataset.test_share: expected at least one frame, got less by groups; raise it, or name "
                         "test_files")
    if share == 0.0 or len(split.validation):
        return split
    left = n - len(split.test)
    if left == 1:
        get_logger().warning("validation: there is one frame only: training goes on to its end and fits its noise, too")
        return split
    get_logger().warning("validation: of groups of %d frames or more validation_share is less than a frame; it is "
                         "drawn from all frames together", _SMALLEST_VALIDATED)
    count = max(1, round(share * n))
    drawn = np.random.default_rng(job.seed).permutation(np.setdiff1d(np.arange(n), split.test))
    return index_split(n, drawn[:min(count, left - 1)], split.test)


def _validation_blocks(job: TrainJob, n_frames: int, block: int) -> list[int]:
    """Those of the job, or a share of the blocks that are not for testing."""
    section = job.dataset
    others = np.setdiff1d(np.arange(-(-n_frames // block)), section.test_blocks)
    if section.validation_blocks or section.validation_files or section.validation_share == 0.0:
        return list(section.validation_blocks)
    if len(others) < 2:
        raise InputError("dataset: expected at least two blocks besides test_blocks, one of which says when to stop, "
                         f"got {len(others)}; lower block_frames, name validation_files or set validation_share = 0")
    count = min(max(1, round(section.validation_share * len(others))), len(others) - 1)
    return sorted(np.random.default_rng(job.seed).choice(others, count, replace=False).tolist())
