"""Text of parameter files: bounded reading, comment stripping, numbers, chemical symbols."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError

#: chemical symbols in the order of the file's types, or symbol by label of the file
Elements = Sequence[str] | Mapping[str, str] | None

#: larger parameter tables are refused
LARGEST_TABLE_BYTES = 4 * 2**20


def read_head(path: Path, n_bytes: int = 4096) -> str:
    """The first bytes of a file as text.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read as text.
    """
    try:
        if not path.is_file():
            raise InputError(f"potential: no file {path}; correct the path (embedded names: hpcthermo doctor)")
        with path.open("rb") as file:
            head = file.read(n_bytes)
    except (OSError, ValueError) as error:
        raise InputError(f"potential: cannot read {path}: {error}") from error
    if b"\0" in head:
        raise InputError(f"{path}: expected a text file with potential parameters, got binary data")
    return head.decode("utf-8", errors="replace")


def read_table(path: Path, most_bytes: int = LARGEST_TABLE_BYTES) -> str:
    """The text of a parameter table of bounded size.

    Raises
    ------
    InputError
        If it is too large or no UTF-8 text.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise InputError(f"{path}: expected a parameter table of at most {most_bytes} bytes, got {size}")
        with path.open("rb") as file:
            return file.read(most_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, got other bytes at {error.start}") from error
    except OSError as error:
        raise InputError(f"potential: cannot read {path}: {error}") from error


def data_lines(text: str) -> list[str]:
    """Lines without comments (``#``) and without empty ones."""
    stripped = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in stripped if line]


def is_number(word: str) -> bool:
    """Whether a word reads as a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def numbers(words: Sequence[str], where: str) -> np.ndarray:
    """Words as finite float64.

    Raises
    ------
    InputError
        Naming the first word that is no finite number.
    """
    values = np.empty(len(words))
    for i, word in enumerate(words):
        try:
            values[i] = float(word)
        except ValueError:
            values[i] = math.nan
        if not math.isfinite(values[i]):
            raise InputError(f"{where}: expected a finite number, got {word[:40]!r}")
    return values


def refuse_elements(elements: Elements, symbols: tuple[str, ...], name: str) -> None:
    """Refuse a list of elements that says something else than the header of a file.

    Raises
    ------
    InputError
    """
    if elements is not None and (isinstance(elements, Mapping) or tuple(elements) != symbols):
        raise InputError(f"{name}: the header names the elements {', '.join(symbols)}; leave elements out")


def chemical_symbols(labels: Sequence[str], name: str, fix: str = "use chemical symbols") -> tuple[str, ...]:
    """The labels, if all are chemical symbols and none appears twice.

    Raises
    ------
    InputError
        Naming the first that is not.
    """
    from ase.data import atomic_numbers

    for label in labels:
        if not isinstance(label, str) or atomic_numbers.get(label, 0) < 1:
            raise InputError(f"{name}: {str(label)[:40]!r} is no chemical symbol; {fix}")
    if len(set(labels)) < len(labels):
        raise InputError(f"{name}: an element is named twice in {', '.join(labels)}")
    return tuple(labels)
