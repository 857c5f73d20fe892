"""What is in a file, as a hash; importing it costs nothing, for workers start often."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hpcthermo.errors import InputError

_BLOCK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of the content of a file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    return digest.hexdigest()


def folder_sha256(path: Path) -> str:
    """SHA-256 of the names and contents of all files below a folder.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return hashlib.sha256("".join(f"{file}\n{file_sha256(path / file)}\n" for file in files).encode()).hexdigest()
