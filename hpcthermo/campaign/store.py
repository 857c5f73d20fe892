"""Where records are kept: few HDF5 shards and a journal, both safe against a kill at any moment.

    shard_NNNN.h5    complete files; made beside, synced and renamed, never opened for writing again
    journal.bin      records that are in no shard yet, appended one by one, each with its checksum

HDF5 files that are being written do not survive a SIGKILL, so none is ever written in place. A record is first appended
to the journal; when the journal is long, and at the end, its records become a shard, and then a journal begins anew. On
opening, the index is made from both: what a kill left half-written at the end of the journal is cut off (its tasks are
computed again), and a record that is in the journal and in a shard is the same record.

    shard
      attributes           format, format_version
      failures/keys, failures/reasons
      records_K/keys, records_K/checksums, records_K/arrays/<name>     records whose arrays have equal names, types and
                                                                       shapes, stacked along the first axis, with units
    journal, per record
      "HTJ1", length (8 bytes), SHA-256 of the payload, payload: length of the head (8 bytes), head (JSON), arrays
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcthermo.campaign.task import Record
from hpcthermo.errors import InputError, ResourceError
from hpcthermo.results import replaced_file

FORMAT = "hpcthermo-campaign"
FORMAT_VERSION = 1
JOURNAL_FILE = "journal.bin"
_MAGIC = b"HTJ1"
_HEAD = len(_MAGIC) + 8 + 32
#: the journal becomes a shard when it is longer, bytes; the last shard grows until it is that long
_SHARD_BYTES = 128 << 20

#: groups of records that are shorter are read at once, bytes
_READ_BYTES = 256 << 20

#: shard (None: the journal), then group and row, or offset
_Place = tuple[Path | None, str, int]


@dataclass(frozen=True)
class _OpenGroup:
    path: Path
    group: str
    file: h5py.File
    arrays: dict[str, Any]
    checksums: np.ndarray


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
        self._open: _OpenGroup | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".shard_*.tmp"):
                left.unlink()
            for path in self._shards():
                self._index_shard(path)
            self._journal: FileIO = (folder / JOURNAL_FILE).open("a+b", buffering=0)
            self._index_journal()
        except OSError as error:
            raise ResourceError(f"{folder}: cannot be written ({error.strerror or error})") from None

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._failures

    @property
    def finished(self) -> int:
        """Records with results."""
        return len(self._places)

    @property
    def failures(self) -> Mapping[str, str]:
        """Key -> reason of tasks that failed."""
        return self._failures

    # ---- writing ---------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """Keep a record; a later one for the same key replaces a failure.

        Raises
        ------
        ResourceError
            If the disk refuses.
        """
        payload = _encoded(record)
        entry = memoryview(_MAGIC + len(payload).to_bytes(8, "little") + hashlib.sha256(payload).digest() + payload)
        offset = self._journal.seek(0, os.SEEK_END)
        try:
            while entry:  # in the kernel's hands afterwards: safe against a kill of this process
                entry = entry[self._journal.write(entry):]
        except OSError as error:
            self._journal.truncate(offset)
            raise ResourceError(f"{self._folder / JOURNAL_FILE}: cannot be written ({error.strerror})") from None
        self._note(record, (None, "", offset))
        if offset + len(payload) > _SHARD_BYTES:
            self.compact()

    def sync(self) -> None:
        """Make what was added safe against a crash of the machine."""
        os.fsync(self._journal.fileno())

    def compact(self) -> None:
        """Turn the journal into a shard; a last shard that is short is written again with it."""
        if self._journal.seek(0, os.SEEK_END) == 0:
            return
        shards = self._shards()
        path = self._folder / f"shard_{len(shards):04d}.h5"
        if shards and shards[-1].stat().st_size < _SHARD_BYTES:
            path = shards[-1]
        self._write_shard(path, [key for key, place in self._places.items() if place[0] in (None, path)])
        _sync_folder(self._folder)
        self._forget_read()
        self._index_shard(path)
        self._journal.truncate(0)
        self.sync()

    def close(self) -> None:
        """Turn the journal into a shard and let the files go."""
        try:
            self.compact()
        finally:
            self._journal.close()
            self._forget_read()

    # ---- reading ---------------------------------------------------------------------------------

    def read(self, key: str) -> Record:
        """The record of a key.

        Raises
        ------
        InputError
            If the shard was damaged since it was written.
        KeyError
            If there is none.
        """
        if key not in self._places:
            return Record(key, failure=self._failures[key])
        shard, group, row = self._places[key]
        if shard is None:
            return self._journal_record(row)
        arrays, checksums = self._opened(shard, group)
        record = Record(key, {name: np.asarray(array[row]) for name, array in arrays.items()})
        if hashlib.sha256(_encoded(record)).digest() != bytes(checksums[row]):
            raise InputError(f"{shard}: damaged (a record does not have its checksum); remove the file and run again, "
                             "its tasks are then computed again")
        return record

    def _opened(self, shard: Path, group: str) -> tuple[dict[str, Any], Any]:
        """Stacked arrays and checksums of a group of records; in memory if they are not too many."""
        if self._open is None or (self._open.path, self._open.group) != (shard, group):
            self._forget_read()
            file = h5py.File(shard, "r")
            arrays = dict(file[group]["arrays"].items())
            if sum(dataset.nbytes for dataset in arrays.values()) < _READ_BYTES:
                arrays = {name: dataset[()] for name, dataset in arrays.items()}
            self._open = _OpenGroup(shard, group, file, arrays, file[group]["checksums"][()])
        return self._open.arrays, self._open.checksums

    def _forget_read(self) -> None:
        if self._open is not None:
            self._open.file.close()
            self._open = None

    # ---- the index -------------------------------------------------------------------------------

    def _shards(self) -> list[Path]:
        return sorted(self._folder.glob("shard_*.h5"))

    def _note(self, record: Record, place: _Place) -> None:
        if record.failure:
            self._failures[record.key] = record.failure
        else:
            self._failures.pop(record.key, None)
            self._places[record.key] = place

    def _index_shard(self, path: Path) -> None:
        try:
            with h5py.File(path, "r") as shard:
                if shard.attrs["format"] != FORMAT or int(shard.attrs["format_version"]) > FORMAT_VERSION:
                    raise InputError(f"{path}: expected {FORMAT} up to version {FORMAT_VERSION}; use the hpcthermo "
                                     "that wrote it")
                for name, group in shard.items():
                    keys = group["keys"].asstr()[()]
                    if name == "failures":
                        reasons = group["reasons"].asstr()[()]
                        records = [Record(key, failure=reason) for key, reason in zip(keys, reasons, strict=True)]
                    else:
                        records = [Record(key) for key in keys]
                    for row, record in enumerate(records):
                        if not (record.failure and record.key in self._places):
                            self._note(record, (path, name, row))
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: not a readable shard of a campaign ({reason}); remove the file and run again, "
                             "its tasks are then computed again") from None

    def _index_journal(self) -> None:
        """Note every whole record; cut off what follows the last one."""
        whole = 0
        for offset, end, record in self._journal_records():
            if not (record.failure and record.key in self._places):
                self._note(Record(record.key, failure=record.failure), (None, "", offset))
            whole = end
        self._journal.truncate(whole)

    def _journal_records(self) -> Iterator[tuple[int, int, Record]]:
        offset, size = 0, self._journal.seek(0, os.SEEK_END)
        while offset + _HEAD <= size:
            self._journal.seek(offset)
            head = self._journal.read(_HEAD)
            length = int.from_bytes(head[4:12], "little")
            if head[:4] != _MAGIC or offset + _HEAD + length > size:
                return
            payload = self._journal.read(length)
            if hashlib.sha256(payload).digest() != head[12:]:
                return
            yield offset, offset + _HEAD + length, _decoded(payload)
            offset += _HEAD + length

    def _journal_record(self, offset: int) -> Record:
        self._journal.seek(offset)
        head = self._journal.read(_HEAD)
        return _decoded(self._journal.read(int.from_bytes(head[4:12], "little")))

    # ---- shards ----------------------------------------------------------------------------------

    def _write_shard(self, path: Path, keys: Sequence[str]) -> None:
        """A whole shard of the records of the keys and of all failures."""
        layouts: dict[str, list[str]] = {}
        for key in keys:
            layouts.setdefault(_layout(self.read(key)), []).append(key)
        with replaced_file(path) as temporary, h5py.File(temporary, "w") as shard:
            shard.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
            if self._failures:
                group = shard.create_group("failures")
                group["keys"] = np.array(list(self._failures), dtype="S64")
                group.create_dataset("reasons", data=list(self._failures.values()), dtype=h5py.string_dtype())
            for number, members in enumerate(layouts.values()):
                self._write_layout(shard.create_group(f"records_{number}"), members)

    def _write_layout(self, group: h5py.Group, keys: Sequence[str]) -> None:
        group["keys"] = np.array(keys, dtype="S64")
        checksums = group.create_dataset("checksums", (len(keys), 32), dtype=np.uint8)
        datasets: dict[str, Any] = {}
        for row, key in enumerate(keys):
            record = self.read(key)
            for name, array in record.arrays.items():
                if row == 0:
                    shape = (len(keys), *array.shape)
                    datasets[name] = group.create_dataset(f"arrays/{name}", shape, dtype=array.dtype)
                    datasets[name].attrs["unit"] = self._units.get(name, "1")
                datasets[name][row] = array
            checksums[row] = np.frombuffer(hashlib.sha256(_encoded(record)).digest(), dtype=np.uint8)
        group.require_group("arrays")


def _layout(record: Record) -> str:
    return json.dumps(_shape_of(record))


def _shape_of(record: Record) -> list[list[Any]]:
    return [[name, array.dtype.str, list(array.shape)] for name, array in sorted(record.arrays.items())]


def _encoded(record: Record) -> bytes:
    head = json.dumps({"key": record.key, "failure": record.failure, "arrays": _shape_of(record)}).encode()
    arrays = [np.ascontiguousarray(array).tobytes() for _, array in sorted(record.arrays.items())]
    return b"".join([len(head).to_bytes(8, "little"), head, *arrays])


def _decoded(payload: bytes) -> Record:
    start = 8 + int.from_bytes(payload[:8], "little")
    head = json.loads(payload[8:start])
    arrays = {}
    for name, kind, shape in head["arrays"]:
        count = int(np.prod(shape))
        dtype = np.dtype(kind)
        arrays[name] = np.frombuffer(payload, dtype, count, start).reshape(shape).copy()
        start += count * dtype.itemsize
    return Record(head["key"], arrays, head["failure"])


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

    def add(self, record: Record) -> None:
        """Keep a record."""
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
