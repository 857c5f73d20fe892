"""A file that grows by whole entries and survives a kill at any moment.

    per entry: "HTJ1", length of the payload (8 bytes, little endian), SHA-256 of the payload, payload

What a kill left of an unfinished entry at the end does not have its checksum, and is cut off when the file is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from hpcthermo.errors import ResourceError
from hpcthermo.log import get_logger

_MAGIC = b"HTJ1"
_HEAD = len(_MAGIC) + 8 + 32


class Journal:
    """Entries of bytes, by their offset; one process writes.

    Parameters
    ----------
    path : Path
        Made if absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO = path.open("a+b", buffering=0)

    @property
    def length(self) -> int:
        """Bytes."""
        return self._file.seek(0, os.SEEK_END)

    def append(self, *pieces: bytes | memoryview) -> int:
        """Add an entry that is made of pieces; it is in the kernel's hands afterwards. Returns its offset.

        Raises
        ------
        ResourceError
            If the disk refuses; the entry is then not there.
        """
        payload = b"".join(pieces)
        head = _MAGIC + len(payload).to_bytes(8, "little") + hashlib.sha256(payload).digest()
        entry = memoryview(head + payload)
        offset = self.length
        try:
            while entry:
                entry = entry[self._file.write(entry):]
        except OSError as error:
            self._file.truncate(offset)
            raise ResourceError(f"{self._path}: cannot be written ({error.strerror})") from None
        return offset

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Offset and payload of all whole entries up to the first that is not; the rest is cut off, with a warning."""
        offset, size = 0, self.length
        while offset + _HEAD <= size:
            self._file.seek(offset)
            head = self._file.read(_HEAD)
            end = offset + _HEAD + int.from_bytes(head[4:12], "little")
            if head[:4] != _MAGIC or end > size:
                break
            payload = self._file.read(end - offset - _HEAD)
            if hashlib.sha256(payload).digest() != head[12:]:
                break
            yield offset, payload
            offset = end
        if offset < size:
            get_logger().warning("%s: an unfinished or damaged entry at byte %d; it and what follows, %d bytes, are "
                                 "computed again", self._path, offset, size - offset)
        self._file.truncate(offset)

    def read(self, offset: int) -> bytes:
        """Payload of the entry at an offset."""
        self._file.seek(offset)
        head = self._file.read(_HEAD)
        return self._file.read(int.from_bytes(head[4:12], "little"))

    def sync(self) -> None:
        """Make all entries safe against a crash of the machine."""
        os.fsync(self._file.fileno())

    def clear(self) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self.sync()

    def close(self) -> None:
        """Let the file go."""
        self._file.close()
