"""Numbers of others to compare with: text tables and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError

_LARGEST_FILE_BYTES = 64 * 2**20


def read_columns(name: str | None, count: int) -> np.ndarray | None:
    """The last `count` columns of a text table, (rows, count); None without a name.

    Raises
    ------
    InputError
        If the file is absent or holds no such table.
    """
    if name is None:
        return None
    table = np.atleast_2d(_load(Path(name)))
    if table.shape[1] < count:
        raise InputError(f"reference_file: expected at least {count} columns in {name}, got {table.shape[1]}; "
                         "correct it")
    return table[:, -count:]


def read_grid(name: str | None, shape: tuple[int, int]) -> np.ndarray | None:
    """Numbers of a text table or .npy as (rows, columns); None without a name.

    Raises
    ------
    InputError
        If the file is absent or holds another number of values.
    """
    if name is None:
        return None
    values = _load(Path(name))
    if values.size != shape[0] * shape[1]:
        raise InputError(f"reference_file: expected {shape[0]} x {shape[1]} values in {name}, got {values.size}; give "
                         "as many points as the reference has")
    return values.reshape(shape)


def _load(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise InputError(f"reference_file: {path} is larger than {_LARGEST_FILE_BYTES >> 20} MiB; check the path")
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, ndmin=2)
        values = np.asarray(values, dtype=np.float64)
    except OSError as error:
        raise InputError(f"reference_file: {path} cannot be read ({error.strerror}); check the path") from None
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"reference_file: expected numbers in {path} ({reason}); correct it") from None
    if not np.all(np.isfinite(values)):
        raise InputError(f"reference_file: {path} holds numbers that are not finite; correct it")
    return values
