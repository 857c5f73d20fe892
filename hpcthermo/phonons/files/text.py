"""Text of a file, compressed or not, and the numbers in it; every complaint names the file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.errors import InputError

#: first bytes of a compressed file -> how to open it
_COMPRESSIONS = {b"\x1f\x8b": gzip.decompress, b"\xfd7zXZ": lzma.decompress, b"BZh": bz2.decompress}


def read_text(path: Path) -> str:
    """Text of a file; gzip, xz and bzip2 are recognised by their first bytes.

    Raises
    ------
    InputError
        If there is no such file or it holds no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a file") from None
    try:
        for magic, decompress in _COMPRESSIONS.items():
            if content.startswith(magic):
                content = decompress(content)
                break
        return content.decode()
    except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise InputError(f"{path}: expected text, plain or compressed, got a damaged or binary file "
                         f"({str(error).splitlines()[0][:80]}); copy it again") from None


def parsed_numbers(text: str, where: str) -> np.ndarray:
    """All numbers of a text that holds nothing else, fast.

    Raises
    ------
    InputError
        If it holds something else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # NumPy's way to say that it stopped early
        try:
            return np.fromstring(text, sep=" ")
        except (DeprecationWarning, ValueError):
            raise InputError(f"{where}: expected numbers, got something else; is the file damaged?") from None


def without_comments(text: str) -> str:
    """Text without the words that follow the numbers of a line."""
    return re.sub(r"(?:^|(?<=\s))[A-Za-z(#!][^\n]*", "", text)


def numbers(words: Iterable[Any], shape: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers of one shape; -1 leaves one axis open.

    Parameters
    ----------
    words : iterable
        Text or (nested) numbers.
    where : str
        File and place, for the message.

    Raises
    ------
    InputError
        If they are not.
    """
    try:
        values = np.array(words if isinstance(words, list | tuple | np.ndarray) else list(words), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected {_wanted(shape)}, got something else; is the file damaged?") from None
    open_axis = int(np.prod([length for length in shape if length >= 0])) if -1 in shape else 0
    fits = values.size % open_axis == 0 if open_axis else values.size == int(np.prod(shape))
    if not fits:
        raise InputError(f"{where}: expected {_wanted(shape)}, got {values.size}; is the file complete?")
    require_finite(values, where)
    return values.reshape(shape)


_LEADING = re.compile(r"\s*((?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?(?:\s+|$))*)")


def leading_numbers(line: str) -> list[str]:
    """Numbers at the start of a line, as text; what follows is comment."""
    found = _LEADING.match(line)
    return (found[1] if found else "").replace("D", "E").replace("d", "e").split()


def require_finite(values: np.ndarray, where: str) -> None:
    """Refuse NaN and infinity."""
    if not np.isfinite(values).all():
        raise InputError(f"{where}: expected finite numbers, got {int((~np.isfinite(values)).sum())} that are NaN or "
                         "infinite; repeat the calculation that wrote them")


def _wanted(shape: tuple[int, ...]) -> str:
    return " x ".join("n" if length < 0 else str(length) for length in shape) + " numbers"
