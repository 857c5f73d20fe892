"""Parts of a data set: training, validation (stops the training, chooses regularisation) and test (seen by nothing)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError


@dataclass(frozen=True)
class Split:
    """Numbers of the frames of each part, in their order; every frame is in one part.

    Attributes
    ----------
    training, validation, test : (..,) int
    """

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def random_split(groups: Sequence[str], validation: float, test: float, seed: int, *,
                 smallest_validated: int = 1) -> Split:
    """Parts drawn at random, each group with its share of each part as nearly as whole frames allow.

    A group keeps at least one frame for training. Frames of one trajectory are alike: parts of them drawn at random
    know each other; take blocks there.

    Parameters
    ----------
    groups : sequence of str
        Group of each frame.
    validation, test : float
        Shares, 0 or more, together below 1.
    seed : int
    smallest_validated : int
        Frames of the smallest group that gives any for validation. What is trained on tells little of the rest of a
        group of a few, and by its size the error there would decide when to stop.

    Raises
    ------
    InputError
        For other shares.
    """
    if not (validation >= 0.0 and test >= 0.0 and validation + test < 1.0):
        raise InputError(f"split: expected shares of 0 or more with a sum below 1, got validation {validation:g} and "
                         f"test {test:g}; correct them")
    random = np.random.default_rng(seed)
    held: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
    seen = dict.fromkeys(held, 0)  # shares are rounded over the groups together, so that small groups add up
    for name in sorted(set(groups)):
        members = random.permutation(np.flatnonzero(np.array([group == name for group in groups])))
        first = 0
        for part, share, smallest in (("validation", validation, smallest_validated), ("test", test, 1)):
            if len(members) < smallest:
                continue
            count = round((seen[part] + len(members)) * share) - round(seen[part] * share)
            count = min(count, len(members) - 1 - first)
            held[part].append(members[first:first + count])
            first += count
            seen[part] += len(members)
    return index_split(len(groups), np.concatenate([*held["validation"], []]).astype(int),
                       np.concatenate([*held["test"], []]).astype(int))


def block_split(n_frames: int, block: int, validation: Collection[int], test: Collection[int]) -> Split:
    """Parts made of blocks of frames that follow each other, for trajectories.

    Parameters
    ----------
    n_frames : int
    block : int
        Frames of a block; the last block may be shorter.
    validation, test : collection of int
        Numbers of blocks, from 0.

    Raises
    ------
    InputError
        For a block that there is not, or one in two parts.
    """
    blocks = np.arange(n_frames) // block
    absent = sorted((set(validation) | set(test)) - set(blocks.tolist()))
    if absent:
        raise InputError(f"split: expected blocks 0 ... {blocks[-1]}, got {absent[0]}; correct it")
    return index_split(n_frames, np.flatnonzero(np.isin(blocks, list(validation))),
                       np.flatnonzero(np.isin(blocks, list(test))))


def index_split(n_frames: int, validation: Collection[int] | np.ndarray, test: Collection[int] | np.ndarray) -> Split:
    """Parts by the numbers of frames; all others are for training.

    Raises
    ------
    InputError
        For a frame that there is not, one in two parts, or none left for training.
    """
    parts = {name: np.array(sorted({int(k) for k in part}), dtype=int)
             for name, part in (("validation", validation), ("test", test))}
    for name, part in parts.items():
        if len(part) and not 0 <= part[0] <= part[-1] < n_frames:
            raise InputError(f"split: {name}: expected frames 0 ... {n_frames - 1}, got {part[0]} ... {part[-1]}; "
                             "correct it")
    both = np.intersect1d(parts["validation"], parts["test"])
    if len(both):
        raise InputError(f"split: frame {both[0]} is in validation and test; take it out of one")
    training = np.setdiff1d(np.arange(n_frames), np.concatenate(list(parts.values())))
    if not len(training):
        raise InputError("split: no frame is left for training; hold fewer out")
    return Split(training, **parts)
