"""Where records are kept: few HDF5 shards and a journal, both safe against a kill at any moment.

    shard_NNNN.h5    complete files; made beside, synced and renamed, never opened for writing again
    journal.bin      records that are in no shard yet, a block per batch (`hpcthermo.campaign.journal`)

HDF5 files that are being written do not survive a SIGKILL, so none is ever written in place. Records are first appended
to the journal; when it is long, and at the end, they become a shard, and then the journal begins anew. On opening, the
index is made from both; a record that is in the journal and in a shard is the same record.

    shard
      attributes           format, format_version
      failures/keys, failures/reasons
      records_K/keys, records_K/checksums, records_K/arrays/<name>     records whose arrays have equal names, types and
                                                                       shapes, stacked along the first axis, with units
    payload of the journal: length of the head (8 bytes), head (JSON: keys, failures, layout), stacked arrays
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from hpcthermo.campaign.journal import Journal
from hpcthermo.campaign.task import Record
from hpcthermo.errors import InputError, ResourceError
from hpcthermo.results import replaced_file

FORMAT = "hpcthermo-campaign"
FORMAT_VERSION = 1
JOURNAL_FILE = "journal.bin"
#: the journal becomes a shard when it is longer, bytes; the last shard grows until it is that long
_SHARD_BYTES = 128 << 20
#: groups of records that are shorter are read at once, bytes
_READ_BYTES = 256 << 20
#: records written to a shard at once
_BLOCK = 1024

#: name, type and shape of each array of a record
_Layout = tuple[tuple[str, str, tuple[int, ...]], ...]


class _Place(NamedTuple):
    """Where a record is: a row of a group of a shard, or of the entry at an offset of the journal (no shard)."""

    shard: Path | None
    group: str | int
    row: int
    layout: _Layout


@dataclass(frozen=True)
class _Block:
    """Records that were read together."""

    shard: Path | None
    group: str | int
    arrays: Mapping[str, Any]
    checksums: np.ndarray | None = None
    file: Any = None


class Store:
    """Records by key; one process writes.

    Parameters
    ----------
    folder : Path
        Made if absent; a `hpcthermo.dynamics.lock.FolderLock` of the caller keeps other writers out.
    units : dict of str to str
        Unit of each array.

    Raises
    ------
    InputError
        If a shard is damaged or of another format.
    ResourceError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, units: Mapping[str, str]) -> None:
        self._folder, self._units = folder, units
        self._places: dict[str, _Place] = {}
        self._failures: dict[str, str] = {}
        self._block: _Block | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".shard_*.tmp"):
                left.unlink()
            for path in self._shards():
                self._index_shard(path)
            self._journal = Journal(folder / JOURNAL_FILE)
            for offset, payload in self._journal.entries():
                self._index_entry(offset, _head(payload)[0])
        except OSError as error:
            raise ResourceError(f"{folder}: cannot be written ({error.strerror or error})") from None

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._failures

    def __len__(self) -> int:
        """Records with results."""
        return len(self._places)

    @property
    def failures(self) -> Mapping[str, str]:
        """Key -> reason of tasks that failed."""
        return self._failures

    # ---- writing ---------------------------------------------------------------------------------

    def add(self, records: Sequence[Record]) -> None:
        """Keep records; a result replaces a failure of the same key.

        Raises
        ------
        ResourceError
            If the disk refuses.
        """
        groups: dict[_Layout, list[Record]] = {}
        for record in records:
            groups.setdefault(_layout(record.arrays), []).append(record)
        for layout, members in groups.items():
            head = {"keys": [record.key for record in members], "failures": [record.failure for record in members],
                    "layout": layout}
            text = json.dumps(head).encode()
            stacked = [np.stack([record.arrays[name] for record in members]).tobytes() for name, _, _ in layout]
            offset = self._journal.append(b"".join([len(text).to_bytes(8, "little"), text, *stacked]))
            self._index_entry(offset, head)
        if self._journal.length > _SHARD_BYTES:
            self.compact()

    def sync(self) -> None:
        """Make what was added safe against a crash of the machine."""
        self._journal.sync()

    def compact(self) -> None:
        """Turn the journal into a shard; a last shard that is short is written again with it."""
        if self._journal.length == 0:
            return
        shards = self._shards()
        path = self._folder / f"shard_{len(shards):04d}.h5"
        if shards and shards[-1].stat().st_size < _SHARD_BYTES:
            path = shards[-1]
        self._write_shard(path, [key for key, place in self._places.items() if place.shard in (None, path)])
        _sync_folder(self._folder)
        self._forget_block()
        self._index_shard(path)
        self._journal.clear()

    def close(self) -> None:
        """Turn the journal into a shard and let the files go; records can still be read."""
        try:
            self.compact()
        finally:
            self._journal.close()
            self._forget_block()

    def _write_shard(self, path: Path, keys: Iterable[str]) -> None:
        """A whole shard of the records of the keys and of all failures."""
        layouts: dict[_Layout, list[str]] = {}
        for key in keys:
            layouts.setdefault(self._places[key].layout, []).append(key)
        with replaced_file(path) as temporary, h5py.File(temporary, "w") as shard:
            shard.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
            if self._failures:
                group = shard.create_group("failures")
                group["keys"] = np.array(list(self._failures), dtype="S64")
                group.create_dataset("reasons", data=list(self._failures.values()), dtype=h5py.string_dtype())
            for number, (layout, members) in enumerate(layouts.items()):
                self._write_group(shard.create_group(f"records_{number}"), layout, members)

    def _write_group(self, group: h5py.Group, layout: _Layout, keys: Sequence[str]) -> None:
        group["keys"] = np.array(keys, dtype="S64")
        checksums = group.create_dataset("checksums", (len(keys), 32), dtype=np.uint8)
        arrays = group.create_group("arrays")
        for name, kind, shape in layout:
            dataset = arrays.create_dataset(name, (len(keys), *shape), dtype=np.dtype(kind))
            dataset.attrs["unit"] = self._units.get(name, "1")
        row = 0
        for members, block, rows in self._runs(keys):
            here = slice(row, row + len(members))
            pieces = {name: block.arrays[name][rows] for name, _, _ in layout}
            for name, piece in pieces.items():
                arrays[name][here] = piece
            checksums[here] = block.checksums[rows] if block.checksums is not None else _checksums(members, pieces)
            row = here.stop

    def _runs(self, keys: Sequence[str]) -> Iterator[tuple[Sequence[str], _Block, slice]]:
        """The keys in pieces that are rows after one another of one block."""
        begin = 0
        while begin < len(keys):
            first = self._places[keys[begin]]
            end = begin + 1
            while end < len(keys) and end - begin < _BLOCK:
                place = self._places[keys[end]]
                if (place.shard, place.group, place.row) != (first.shard, first.group, first.row + end - begin):
                    break
                end += 1
            yield keys[begin:end], self._read_block(first), slice(first.row, first.row + end - begin)
            begin = end

    # ---- reading ---------------------------------------------------------------------------------

    def read(self, key: str) -> Record:
        """The record of a key; its arrays are not to be changed.

        Raises
        ------
        InputError
            If the shard was damaged since it was written.
        KeyError
            If there is none.
        """
        if key not in self._places:
            return Record(key, failure=self._failures[key])
        place = self._places[key]
        block = self._read_block(place)
        record = Record(key, {name: np.asarray(array[place.row]) for name, array in block.arrays.items()})
        if block.checksums is not None and _checksum(key, record.arrays) != block.checksums[place.row].tobytes():
            raise InputError(f"{place.shard}: damaged (a record does not have its checksum); remove the file and run "
                             "again, its tasks are then computed again")
        return record

    def _read_block(self, place: _Place) -> _Block:
        """The group or the entry of a record; in memory if it is not too long."""
        if self._block is None or (self._block.shard, self._block.group) != (place.shard, place.group):
            self._forget_block()
            if place.shard is None:
                assert isinstance(place.group, int)
                self._block = _Block(None, place.group, _stacked_arrays(self._journal.read(place.group)))
            else:
                file = h5py.File(place.shard, "r")
                arrays = dict(file[place.group]["arrays"].items())
                if sum(dataset.nbytes for dataset in arrays.values()) < _READ_BYTES:
                    arrays = {name: dataset[()] for name, dataset in arrays.items()}
                self._block = _Block(place.shard, place.group, arrays, file[place.group]["checksums"][()], file)
        return self._block

    def _forget_block(self) -> None:
        if self._block is not None and self._block.file is not None:
            self._block.file.close()
        self._block = None

    # ---- the index -------------------------------------------------------------------------------

    def _shards(self) -> list[Path]:
        return sorted(self._folder.glob("shard_*.h5"))

    def _index_entry(self, offset: int, head: Mapping[str, Any]) -> None:
        layout = tuple((name, kind, tuple(shape)) for name, kind, shape in head["layout"])
        for row, (key, failure) in enumerate(zip(head["keys"], head["failures"], strict=True)):
            self._note(key, failure, _Place(None, offset, row, layout))

    def _index_shard(self, path: Path) -> None:
        try:
            with h5py.File(path, "r") as shard:
                if shard.attrs["format"] != FORMAT or int(shard.attrs["format_version"]) > FORMAT_VERSION:
                    raise InputError(f"{path}: expected {FORMAT} up to version {FORMAT_VERSION}; use the hpcthermo "
                                     "that wrote it")
                for name, group in shard.items():
                    keys = group["keys"].asstr()[()]
                    reasons = group["reasons"].asstr()[()] if name == "failures" else [""] * len(keys)
                    layout = tuple((array, dataset.dtype.str, dataset.shape[1:])
                                   for array, dataset in sorted(group.get("arrays", {}).items()))
                    for row, (key, reason) in enumerate(zip(keys, reasons, strict=True)):
                        self._note(key, reason, _Place(path, name, row, layout))
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: not a readable shard of a campaign ({reason}); remove the file and run again, "
                             "its tasks are then computed again") from None

    def _note(self, key: str, failure: str, place: _Place) -> None:
        if not failure:
            self._failures.pop(key, None)
            self._places[key] = place
        elif key not in self._places:
            self._failures[key] = failure


def _layout(arrays: Mapping[str, np.ndarray]) -> _Layout:
    return tuple((name, array.dtype.str, array.shape) for name, array in sorted(arrays.items()))


def _checksum(key: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    return hashlib.sha256(b"".join([key.encode(), *(arrays[name].tobytes() for name in sorted(arrays))])).digest()


def _checksums(keys: Sequence[str], stacked: Mapping[str, np.ndarray]) -> np.ndarray:
    """Checksum of each row, (n, 32) uint8."""
    digests = [_checksum(key, {name: array[row] for name, array in stacked.items()}) for row, key in enumerate(keys)]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


def _head(payload: bytes) -> tuple[dict[str, Any], int]:
    """Head of an entry of the journal, and where its arrays begin."""
    start = 8 + int.from_bytes(payload[:8], "little")
    return json.loads(payload[8:start]), start


def _stacked_arrays(payload: bytes) -> dict[str, np.ndarray]:
    head, start = _head(payload)
    arrays, rows = {}, len(head["keys"])
    for name, kind, shape in head["layout"]:
        dtype, count = np.dtype(kind), rows * math.prod(shape)
        arrays[name] = np.frombuffer(payload, dtype, count, start).reshape(rows, *shape)
        start += count * dtype.itemsize
    return arrays


def _sync_folder(folder: Path) -> None:
    """Make names of files safe against a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Memory:
    """Records of a campaign that needs no folder."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self.failures: dict[str, str] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Sequence[Record]) -> None:
        """Keep records."""
        for record in records:
            self._records[record.key] = record
            if record.failure:
                self.failures[record.key] = record.failure

    def read(self, key: str) -> Record:
        """The record of a key."""
        return self._records[key]

    def sync(self) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Nothing to let go."""
