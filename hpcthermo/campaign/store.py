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
    payload of the journal: length of the head (8 bytes), head (JSON: keys, layout, failures), checksums, stacked arrays
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from hpcthermo.campaign.block import Block, Layout, checksums
from hpcthermo.campaign.journal import Journal
from hpcthermo.campaign.task import Record
from hpcthermo.errors import InputError, ResourceError
from hpcthermo.results import replaced_file, sync_folder

FORMAT = "hpcthermo-campaign"
FORMAT_VERSION = 1
JOURNAL_FILE = "journal.bin"
#: the journal becomes a shard when it is longer, bytes; the last shard grows until it is that long
_SHARD_BYTES = 128 << 20
#: groups of records that are shorter are read at once, bytes
_READ_BYTES = 256 << 20
#: records, and bytes, written to a shard at once; records checked at once
_BLOCK = 1024
_WRITE_BYTES = 32 << 20


class _Group(NamedTuple):
    """Records that lie together: a group of a shard, or the entry at an offset of the journal (no shard)."""

    shard: Path | None
    place: str | int
    layout: Layout


@dataclass(frozen=True)
class _Read:
    """A group that was read."""

    group: _Group
    arrays: Mapping[str, Any]
    checksums: np.ndarray
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
        self._places: dict[str, tuple[_Group, int]] = {}  # group and row
        self._failures: dict[str, str] = {}
        self._read: _Read | None = None
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

    def add(self, blocks: Sequence[Block], failures: Mapping[str, str]) -> None:
        """Keep records, and the reasons of tasks that failed by key; a result replaces a failure of the same key.

        Raises
        ------
        ResourceError
            If the disk refuses.
        """
        for block in blocks:
            self._append({"keys": block.keys, "layout": block.layout, "failures": {}},
                         [block.checksums, *block.arrays.values()])
        if failures:
            self._append({"keys": [], "layout": [], "failures": failures}, [])
        if self._journal.length > _SHARD_BYTES:
            self.compact()

    def _append(self, head: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
        text = json.dumps(head).encode()
        pieces = [np.ascontiguousarray(array).data for array in arrays]
        self._index_entry(self._journal.append(len(text).to_bytes(8, "little"), text, *pieces), head)

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
        self._write_shard(path, [key for key, (group, _) in self._places.items() if group.shard in (None, path)])
        sync_folder(self._folder)
        self._forget()
        self._index_shard(path)
        self._journal.clear()

    def close(self) -> None:
        """Turn the journal into a shard and let the files go; records can still be read."""
        try:
            self.compact()
        finally:
            self._journal.close()
            self._forget()

    def _write_shard(self, path: Path, keys: Iterable[str]) -> None:
        """A whole shard of the records of the keys and of all failures."""
        layouts: dict[Layout, list[str]] = {}
        for key in keys:
            layouts.setdefault(self._places[key][0].layout, []).append(key)
        with replaced_file(path) as temporary, h5py.File(temporary, "w") as shard:
            shard.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
            if self._failures:
                group = shard.create_group("failures")
                group["keys"] = np.array(list(self._failures), dtype="S64")
                group.create_dataset("reasons", data=list(self._failures.values()), dtype=h5py.string_dtype())
            for number, (layout, members) in enumerate(layouts.items()):
                self._write_group(shard.create_group(f"records_{number}"), layout, members)

    def _write_group(self, group: h5py.Group, layout: Layout, keys: Sequence[str]) -> None:
        group["keys"] = np.array(keys, dtype="S64")
        sums = group.create_dataset("checksums", (len(keys), 32), dtype=np.uint8)
        folder, datasets = group.create_group("arrays"), {}
        for name, kind, shape in layout:
            datasets[name] = folder.create_dataset(name, (len(keys), *shape), dtype=np.dtype(kind))
            datasets[name].attrs["unit"] = self._units.get(name, "1")
        width = sum(np.dtype(kind).itemsize * math.prod(shape) for _, kind, shape in layout)
        step = max(1, min(_BLOCK, _WRITE_BYTES // max(width, 1)))
        for first in range(0, len(keys), step):
            here = slice(first, min(first + step, len(keys)))
            # taken at once: the file of a group is closed when the next is read
            pieces = [({name: read.arrays[name][rows] for name in datasets}, read.checksums[rows])
                      for _, read, rows in self._runs(keys[here])]
            for name, dataset in datasets.items():
                dataset[here] = np.concatenate([arrays[name] for arrays, _ in pieces])
            sums[here] = np.concatenate([found for _, found in pieces])

    def _runs(self, keys: Sequence[str]) -> Iterator[tuple[Sequence[str], _Read, slice]]:
        """The keys in pieces that are rows after one another of one group."""
        begin = 0
        while begin < len(keys):
            group, first = self._places[keys[begin]]
            end = begin + 1
            while end < len(keys) and end - begin < _BLOCK:
                other, row = self._places[keys[end]]
                if other is not group or row != first + end - begin:
                    break
                end += 1
            yield keys[begin:end], self._read_group(group), slice(first, first + end - begin)
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
        group, row = self._places[key]
        arrays = self._checked([key], self._read_group(group), slice(row, row + 1))
        return Record(key, {name: array[0, ...] for name, array in arrays.items()})

    def stack(self, keys: Sequence[str], name: str) -> np.ndarray:
        """An array of the records of the keys, (n, ...), all of one shape.

        Raises
        ------
        InputError
            If a shard was damaged since it was written.
        KeyError
            If there is no such record.
        """
        found, row = np.empty(0), 0
        for members, read, rows in self._runs(keys):
            piece = self._checked(members, read, rows)[name]
            if row == 0:
                found = np.empty((len(keys), *piece.shape[1:]), piece.dtype)
            found[row:row + len(members)] = piece
            row += len(members)
        return found

    def _checked(self, keys: Sequence[str], read: _Read, rows: slice) -> dict[str, np.ndarray]:
        """Rows of a group, which have their checksums."""
        arrays = {name: array[rows] for name, array in read.arrays.items()}
        if not np.array_equal(checksums(keys, arrays), read.checksums[rows]):
            raise InputError(f"{read.group.shard or self._folder / JOURNAL_FILE}: damaged (a record does not have its "
                             "checksum); remove the file and run again, its tasks are then computed again")
        return arrays

    def _read_group(self, group: _Group) -> _Read:
        """A group; in memory if it is not too long."""
        if self._read is None or self._read.group is not group:
            self._forget()
            if group.shard is None:
                assert isinstance(group.place, int)
                self._read = _Read(group, *_stacked_arrays(self._journal.read(group.place)))
            else:
                file = h5py.File(group.shard, "r")
                arrays = dict(file[group.place]["arrays"].items())
                if sum(dataset.nbytes for dataset in arrays.values()) < _READ_BYTES:
                    arrays = {name: dataset[()] for name, dataset in arrays.items()}
                self._read = _Read(group, arrays, file[group.place]["checksums"][()], file)
        return self._read

    def _forget(self) -> None:
        if self._read is not None and self._read.file is not None:
            self._read.file.close()
        self._read = None

    # ---- the index -------------------------------------------------------------------------------

    def _shards(self) -> list[Path]:
        return sorted(self._folder.glob("shard_*.h5"))

    def _index_entry(self, offset: int, head: Mapping[str, Any]) -> None:
        layout = tuple((name, kind, tuple(shape)) for name, kind, shape in head["layout"])
        self._note(head["keys"], _Group(None, offset, layout))
        self._note_failures(head["failures"])

    def _index_shard(self, path: Path) -> None:
        try:
            with h5py.File(path, "r") as shard:
                if shard.attrs["format"] != FORMAT or int(shard.attrs["format_version"]) > FORMAT_VERSION:
                    raise InputError(f"{path}: expected {FORMAT} up to version {FORMAT_VERSION}; use the hpcthermo "
                                     "that wrote it")
                for name, group in shard.items():
                    keys = group["keys"].asstr()[()].tolist()
                    if name == "failures":
                        self._note_failures(dict(zip(keys, group["reasons"].asstr()[()], strict=True)))
                        continue
                    layout = tuple((array, dataset.dtype.str, dataset.shape[1:])
                                   for array, dataset in sorted(group["arrays"].items()))
                    self._note(keys, _Group(path, name, layout))
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: not a readable shard of a campaign ({reason}); remove the file and run again, "
                             "its tasks are then computed again") from None

    def _note(self, keys: Sequence[str], group: _Group) -> None:
        """Records that are rows of a group."""
        self._places.update(zip(keys, zip(itertools.repeat(group), range(len(keys)), strict=False), strict=True))
        for key in self._failures.keys() & set(keys):
            del self._failures[key]

    def _note_failures(self, failures: Mapping[str, str]) -> None:
        self._failures.update((key, reason) for key, reason in failures.items() if key not in self._places)


def _head(payload: bytes) -> tuple[dict[str, Any], int]:
    """Head of an entry of the journal, and where its arrays begin."""
    start = 8 + int.from_bytes(payload[:8], "little")
    return json.loads(payload[8:start]), start


def _stacked_arrays(payload: bytes) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays (n, ...) of an entry of the journal and their checksums (n, 32)."""
    head, start = _head(payload)
    arrays, rows = {}, len(head["keys"])
    sums = np.frombuffer(payload, np.uint8, 32 * rows, start).reshape(rows, 32)
    start += sums.size
    for name, kind, shape in head["layout"]:
        dtype, count = np.dtype(kind), rows * math.prod(shape)
        arrays[name] = np.frombuffer(payload, dtype, count, start).reshape(rows, *shape)
        start += count * dtype.itemsize
    return arrays, sums


class Memory:
    """Records of a campaign that needs no folder."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Block, int]] = {}
        self.failures: dict[str, str] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self.failures

    def __len__(self) -> int:
        return len(self._places)

    def add(self, blocks: Sequence[Block], failures: Mapping[str, str]) -> None:
        """Keep records, and the reasons of tasks that failed by key."""
        for block in blocks:
            self._places.update((key, (block, row)) for row, key in enumerate(block.keys))
        self.failures.update(failures)

    def read(self, key: str) -> Record:
        """The record of a key."""
        if key not in self._places:
            return Record(key, failure=self.failures[key])
        block, row = self._places[key]
        return Record(key, {name: array[row, ...] for name, array in block.arrays.items()})

    def stack(self, keys: Sequence[str], name: str) -> np.ndarray:
        """An array of the records of the keys, (n, ...), all of one shape."""
        return np.array([self.read(key).arrays[name] for key in keys])

    def sync(self) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Nothing to let go."""
