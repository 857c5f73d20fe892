"""Which keys of a job name files: made absolute when a job is read, looked for, and hashed.

| key                        | names                                            |
|----------------------------|--------------------------------------------------|
| file in [structure]        | a structure file                                 |
| potential, descriptor, fine_tune | a parameter file, or an embedded potential |
| path in [potential]        | a parameter file                                 |
| `FILE_KEYS`, `FOLDER_KEYS` | a file, a folder                                 |
| `DATASET_KEYS`             | a file or a folder                               |

They mean this wherever they stand, except in tables of other codes (`FOREIGN_TABLES`), whose keys are not ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hpcthermo.config.lattice_dynamics import CRYSTAL_FILES

FILE_KEYS = frozenset({*CRYSTAL_FILES, "reference_file", "restart_file"})
FOLDER_KEYS = frozenset({"pseudopotential_folder", "potcar_folder", "scratch_folder"})
DATASET_KEYS = frozenset({"train_files", "validation_files", "test_files", "reference_files"})
FOREIGN_TABLES = frozenset({"arguments", "keywords", "incar"})
_POTENTIALS = frozenset({"potential", "descriptor", "fine_tune"})


class NamedFile(NamedTuple):
    """A value of a job that names a file.

    Attributes
    ----------
    place : str
        TOML path of the key.
    name : str
        What it says.
    kind : {"file", "folder", "file or folder", "potential"}
        A potential may be an embedded one instead of a file.
    """

    place: str
    name: str
    kind: str


def with_absolute_paths(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table of a job with the files it names relative to `folder` made absolute; a runner then needs no folder."""
    def absolute(found: NamedFile) -> str:
        path = str((folder / found.name).absolute()) if found.name and "\0" not in found.name else found.name
        return path if found.kind != "potential" or is_file(path) else found.name

    resolved: dict[str, Any] = _mapped(data, "", "", False, absolute)
    return resolved


def named_files(data: Any) -> list[NamedFile]:
    """Every file that a job (as values of JSON) names."""
    found: list[NamedFile] = []

    def note(file: NamedFile) -> str:
        found.append(file)
        return file.name

    _mapped(data, "", "", False, note)
    return found


def missing_files(data: Any) -> list[NamedFile]:
    """Files and folders that a job (as values of JSON) names and that are not there."""
    tests = {"file": is_file, "folder": is_folder, "file or folder": lambda name: is_file(name) or is_folder(name)}
    return [found for found in named_files(data) if found.kind in tests and not tests[found.kind](found.name)]


def is_file(name: str) -> bool:
    """Whether a text is the name of a file."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def is_folder(name: str) -> bool:
    """Whether a text is the name of a folder."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def _mapped(value: Any, place: str, key: str, in_structure: bool, change: Callable[[NamedFile], str]) -> Any:
    """A value with every name of a file in it replaced."""
    if isinstance(value, dict):
        if key in FOREIGN_TABLES:
            return value
        inside = in_structure or key == "structure"
        return {name: _mapped(item, f"{place}.{name}" if place else name, name, inside, change)
                for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, f"{place}[{number}]", key, in_structure, change) for number, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    kind = _kind(key, place, in_structure)
    return value if kind is None else change(NamedFile(place, value, kind))


def _kind(key: str, place: str, in_structure: bool) -> str | None:
    if key in _POTENTIALS:
        return "potential"
    if key in FOLDER_KEYS:
        return "folder"
    if key in DATASET_KEYS:
        return "file or folder"
    if key in FILE_KEYS or (in_structure and key == "file") or (key == "path" and "potential" in place):
        return "file"
    return None

