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
