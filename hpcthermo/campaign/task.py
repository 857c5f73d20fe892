"""The one shape of a campaign: frozen inputs -> pure function -> record of arrays.

A task is named by a hash of its content,

    key = SHA-256(name and version of the function, inputs that all tasks share, inputs of the task)

so equal tasks are one task, and a result that is in the store belongs to this task and to no other.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hpcthermo.campaign.block import Block, blocks_of, row_hashes, stacked
from hpcthermo.errors import InputError

_LONGEST_REASON = 400
#: tasks that are hashed at once
_HASHED_TASKS = 1024


@dataclass(frozen=True)
class Inputs:
    """What a function is given; nothing may change it afterwards.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Numbers, booleans or fixed-length bytes.
    parameters : dict
        Values of JSON.
    files : dict of str to str
        SHA-256 of the content of files, by what they are for.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of the content, the same on every machine.

        Raises
        ------
        InputError
            If a parameter is no value of JSON or an array holds objects or NaN.
        """
        import hashlib  # loads OpenSSL, which tasks on threads of one process do without

        text = _EMPTY
        if self.parameters or self.files:
            try:
                text = json.dumps([self.parameters, self.files], sort_keys=True, allow_nan=False).encode()
            except (TypeError, ValueError) as error:
                raise InputError(f"campaign: parameters of a task are no values of JSON ({error})") from None
        digest = hashlib.sha256(text)
        for name in sorted(self.arrays):
            array = _canonical(name, self.arrays[name])
            digest.update(f"|{name} {array.dtype.str} {array.shape}|".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


#: no parameters and no files, as JSON
_EMPTY = b"[{}, {}]"


def _canonical(name: str, array: np.ndarray) -> np.ndarray:
    """Little endian, zeros without sign."""
    array = np.asarray(array)
    kind = array.dtype.kind
    if kind not in "biufcS":
        raise InputError(f"campaign: expected numbers in the array {name!r} of a task, got {array.dtype}")
    if kind in "fc":
        if not np.isfinite(array).all():
            raise InputError(f"campaign: expected finite numbers in the array {name!r} of a task, got NaN or infinity")
        array = array + 0.0
    return array if array.dtype.isnative and _LITTLE else array.astype(array.dtype.newbyteorder("<"))


_LITTLE = sys.byteorder == "little"


class Named(Protocol):
    """What of a function is in the keys of its tasks."""

    @property
    def name(self) -> str:
        """What it computes."""

    @property
    def version(self) -> int:
        """Raised whenever results would change."""

    @property
    def shared(self) -> Inputs:
        """Inputs that all tasks share."""


class TaskFunction(Named, Protocol):
    """A pure function of a task; an object that can be pickled and is sent to each worker once."""

    @property
    def units(self) -> Mapping[str, str]:
        """Unit of each array of a record ("1" for pure numbers)."""

    @property
    def thread_safe(self) -> bool:
        """Whether threads may share one state; otherwise each prepares its own."""

    def prepare(self) -> Any:
        """What is made once per worker and used by all its tasks (a potential with its engine)."""

    def evaluate(self, state: Any, tasks: Sequence[Inputs]) -> Sequence[Mapping[str, np.ndarray]]:
        """Records of the tasks, in their order; bit by bit the same however tasks are grouped.

        An exception fails the tasks; the others of the group are then evaluated alone.
        """


@dataclass(frozen=True)
class Record:
    """What became of a task.

    Attributes
    ----------
    key : str
        Content hash of the task.
    arrays : dict of str to ndarray
        Its results; empty if it failed.
    failure : str
        Why it failed, one line; empty if it did not.
    """

    key: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    failure: str = ""


def task_keys(function: Named, tasks: Sequence[Inputs]) -> list[str]:
    """Content hashes of tasks of a function."""
    import hashlib

    head = f"{function.name} {function.version} {function.shared.digest()} ".encode()
    digests = [digest for first in range(0, len(tasks), _HASHED_TASKS)
               for digest in _digests(tasks[first:first + _HASHED_TASKS])]
    return [hashlib.sha256(head + digest.encode()).hexdigest() for digest in digests]


def _digests(tasks: Sequence[Inputs]) -> list[str]:
    """`Inputs.digest` of each task; of tasks that are alike, at once."""
    columns = _columns(tasks)
    if columns is None:
        return [task.digest() for task in tasks]
    pieces: list[bytes | np.ndarray] = [_EMPTY]
    for name, column in columns.items():
        array = _canonical(name, column)
        pieces += [f"|{name} {array.dtype.str} {array.shape[1:]}|".encode(), array]
    return [digest.hex() for digest in row_hashes(pieces, len(tasks))]


def _columns(tasks: Sequence[Inputs]) -> dict[str, np.ndarray] | None:
    """The arrays of tasks that have nothing else and are alike, stacked."""
    if any(task.parameters or task.files for task in tasks):
        return None
    return stacked([task.arrays for task in tasks])


#: tasks on their way to a worker: their stacked arrays, or themselves if they are not alike
Parcel = Mapping[str, np.ndarray] | Sequence[Inputs]


def pack(tasks: Sequence[Inputs]) -> Parcel:
    """Tasks in the form that takes least time to send."""
    return _columns(tasks) or list(tasks)


def unpack(parcel: Parcel) -> Sequence[Inputs]:
    """The tasks again."""
    if not isinstance(parcel, Mapping):
        return parcel
    count = len(next(iter(parcel.values())))
    return [Inputs({name: column[row, ...] for name, column in parcel.items()}) for row in range(count)]


#: arrays of a record, or the reason why there are none
Result = Mapping[str, np.ndarray] | str


def evaluate_batch(function: TaskFunction, state: Any, tasks: Sequence[Inputs]) -> list[Result]:
    """Results of a batch; a task that fails says why and takes no other with it."""
    try:
        records = function.evaluate(state, tasks)
        if len(records) != len(tasks):
            raise RuntimeError(f"{function.name} gave {len(records)} records for {len(tasks)} tasks")
        return [{name: np.asarray(array) for name, array in record.items()} for record in records]
    except Exception as error:
        if len(tasks) == 1:
            return [reason_of(error)]
    return [evaluate_batch(function, state, [task])[0] for task in tasks]


def timed_batch(function: TaskFunction, state: Any, keys: Sequence[str],
                parcel: Parcel) -> tuple[list[Block], dict[str, str], float]:
    """Records of a batch in blocks, reasons of its failures by key, and the seconds they took."""
    start = time.perf_counter()
    blocks, failures = blocks_of(keys, evaluate_batch(function, state, unpack(parcel)))
    return blocks, failures, time.perf_counter() - start


def reason_of(error: BaseException) -> str:
    """An exception as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST_REASON]
