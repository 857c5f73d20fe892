"""Equal arrays of many tasks or records, stacked: what is hashed, sent to workers, and written at once.

    rows -> one array (n, ...) per name -> n strings of bytes -> n SHA-256

Python's cost per task is that of a few operations on whole blocks; the hashes are those of the tasks one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: name, type and shape of each array of a record
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Block:
    """Records whose arrays have equal names, types and shapes.

    Attributes
    ----------
    keys : list of str
        Content hash of each task.
    arrays : dict of str to (n, ...) ndarray
        Names in order.
    checksums : (n, 32) uint8
        SHA-256 of the key and the arrays of each record, made by the worker.
    """

    keys: Sequence[str]
    arrays: Mapping[str, np.ndarray]
    checksums: np.ndarray

    @property
    def layout(self) -> Layout:
        """Of one record."""
        return tuple((name, array.dtype.str, array.shape[1:]) for name, array in self.arrays.items())


def blocks_of(keys: Sequence[str], results: Sequence[Mapping[str, np.ndarray] | str]) -> tuple[list[Block],
                                                                                               dict[str, str]]:
    """Blocks of the results that are there, and the reasons of the others by key."""
    failures = {key: result for key, result in zip(keys, results, strict=True) if isinstance(result, str)}
    members: dict[Layout, tuple[list[str], list[Mapping[str, np.ndarray]]]] = {}
    for key, result in zip(keys, results, strict=True):
        if not isinstance(result, str):
            layout = tuple((name, array.dtype.str, array.shape) for name, array in sorted(result.items()))
            own_keys, own_records = members.setdefault(layout, ([], []))
            own_keys.append(key)
            own_records.append(result)
    blocks = []
    for layout, (own_keys, own_records) in members.items():
        arrays = {name: np.array([record[name] for record in own_records], dtype=kind).reshape(len(own_keys), *shape)
                  for name, kind, shape in layout}
        blocks.append(Block(own_keys, arrays, checksums(own_keys, arrays)))
    return blocks, failures


def stacked(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray] | None:
    """One array (n, ...) per name, names in order; None if the rows are not alike."""
    names = rows[0].keys()
    if any(row.keys() != names for row in rows):
        return None
    columns = {name: [row[name] for row in rows] for name in sorted(names)}
    if any(len({(array.dtype.str, array.shape) for array in column}) > 1 for column in columns.values()):
        return None
    return {name: np.array(column, dtype=column[0].dtype).reshape(len(rows), *column[0].shape)
            for name, column in columns.items()}


def row_hashes(pieces: Sequence[bytes | np.ndarray], n: int) -> list[bytes]:
    """SHA-256 of each row: texts that all rows share, and rows of arrays (n, ...), one after the other."""
    import hashlib  # loads OpenSSL, which tasks on threads of one process do without

    rows = np.concatenate([np.broadcast_to(np.frombuffer(piece, np.uint8), (n, len(piece))) if isinstance(piece, bytes)
                           else _bytes_of_rows(piece) for piece in pieces], axis=1)
    return [hashlib.sha256(row).digest() for row in rows]


def _bytes_of_rows(array: np.ndarray) -> np.ndarray:
    """(n, bytes of a row) uint8."""
    width = math.prod(array.shape[1:])
    return np.ascontiguousarray(array).reshape(len(array), width).view(np.uint8)


def checksums(keys: Sequence[str], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """SHA-256 of key and arrays of each record, (n, 32) uint8."""
    digests = row_hashes([np.array(keys, dtype="S64"), *(arrays[name] for name in sorted(arrays))], len(keys))
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)
