"""Lines of GPUMD's input files (run.in, nep.in): a keyword and its values; ``#`` begins a comment."""

from __future__ import annotations

from pathlib import Path

from hpcthermo.errors import InputError

_LARGEST_FILE_BYTES = 256 * 1024


def keyword_lines(path: Path, name: str) -> list[tuple[int, list[str]]]:
    """Number, from 1, and words of each line that has any.

    Parameters
    ----------
    path : Path
    name : str
        What the file is, for errors.

    Raises
    ------
    InputError
        If the file cannot be read, is too large or not UTF-8 text.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise InputError(f"{path}: expected a {name} of at most {_LARGEST_FILE_BYTES} bytes; check the file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text; expected a {name}") from None
    split = ((number, row.split("#", 1)[0].split()) for number, row in enumerate(text.splitlines(), start=1))
    return [(number, words) for number, words in split if words]
