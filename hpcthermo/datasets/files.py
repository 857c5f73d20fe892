"""Data sets in files: the formats, and reading and writing through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcthermo.datasets.deepmd import read_deepmd, system_folders, write_deepmd
from hpcthermo.datasets.dft_outputs import read_outcar, read_pw_output, read_vasprun
from hpcthermo.datasets.extended_xyz import read_extended_xyz, write_extended_xyz
from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.errors import InputError

_HEAD_BYTES = 4096


@dataclass(frozen=True)
class DatasetFormat:
    """A format of labelled frames.

    Attributes
    ----------
    name : str
        As users call it.
    description : str
    recognises : callable
        (path, beginning of the file or "" for a folder) -> bool.
    read : callable
        path -> iterator of frames, in order, bad ones in their places.
    write : callable or None
        (frames, path), whole or not at all; None for formats that are read only.
    """

    name: str
    description: str
    recognises: Callable[[Path, str], bool]
    read: Callable[[Path], Iterator[LabelledFrame | BadFrame]]
    write: Callable[[Sequence[LabelledFrame], Path], None] | None = None


FORMATS: tuple[DatasetFormat, ...] = (
    DatasetFormat("deepmd", "folders of DeePMD-kit (type.raw, npy)",
                  lambda path, head: path.is_dir() and bool(system_folders(path)), read_deepmd, write_deepmd),
    DatasetFormat("vasprun", "vasprun.xml of VASP",
                  lambda path, head: "<modeling>" in head, read_vasprun),
    DatasetFormat("outcar", "OUTCAR of VASP",
                  lambda path, head: head.lstrip().startswith("vasp."), read_outcar),
    DatasetFormat("pwscf", "output of pw.x of Quantum ESPRESSO",
                  lambda path, head: "Program PWSCF" in head, read_pw_output),
    DatasetFormat("xyz", "extended XYZ of GPUMD and ASE",
                  lambda path, head: head.split("\n", 1)[0].strip().isdigit(), read_extended_xyz, write_extended_xyz),
)


def format_named(name: str) -> DatasetFormat:
    """Format of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    for form in FORMATS:
        if form.name == name:
            return form
    raise InputError(f"format: expected {', '.join(form.name for form in FORMATS)}, got {name!r}; correct it")


def format_of_file(path: Path) -> DatasetFormat:
    """Format of a file or folder, by what is in it.

    Raises
    ------
    InputError
        If it cannot be read, or belongs to none.
    """
    head = ""
    if not path.is_dir():
        try:
            with path.open("rb") as stream:
                head = stream.read(_HEAD_BYTES).decode("utf-8", errors="replace")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    for form in FORMATS:
        if form.recognises(path, head):
            return form
    known = "; ".join(form.description for form in FORMATS)
    raise InputError(f"{path}: is no data set that is read ({known}); correct the path, or name the format")


def examine_file(path: Path, format_name: str | None = None) -> list[LabelledFrame | BadFrame]:
    """All frames of a file, those that cannot be used as `BadFrame` in their places.

    Parameters
    ----------
    format_name : str, optional
        Name of a format; by default what is in the file says it.

    Raises
    ------
    InputError
        If the file cannot be read as frames at all, or holds none.
    """
    form = format_of_file(path) if format_name is None else format_named(format_name)
    frames = list(form.read(path))
    if not frames:
        raise InputError(f"{path}: holds no frame; check the file")
    return frames


def read_dataset(path: Path, format_name: str | None = None) -> list[LabelledFrame]:
    """All frames of a file; a file with a bad frame is refused.

    Parameters
    ----------
    format_name : str, optional
        Name of a format; by default what is in the file says it.

    Raises
    ------
    InputError
        If the file cannot be read, or names the first frame that cannot be used, and why.
    """
    found = examine_file(path, format_name)
    bad = [number for number, frame in enumerate(found) if isinstance(frame, BadFrame)]
    for number, frame in enumerate(found):
        if isinstance(frame, BadFrame):
            others = f" (also bad: {', '.join(map(str, bad[1:9]))}{' ...' if len(bad) > 9 else ''})" if bad[1:] else ""
            raise InputError(f"{path}: frame {number}: {frame.reason}{others}")
    return [frame for frame in found if isinstance(frame, LabelledFrame)]


def write_dataset(frames: Sequence[LabelledFrame], path: Path, format_name: str | None = None) -> DatasetFormat:
    """Write frames, whole or not at all.

    Parameters
    ----------
    format_name : str, optional
        By default xyz for names that end in .xyz or .extxyz, deepmd for names without an ending.

    Raises
    ------
    InputError
        If no format that is written goes with the name, or the format cannot hold the frames.
    ResourceError
        If the disk refuses.
    """
    suffixes = {".xyz": "xyz", ".extxyz": "xyz", "": "deepmd"}
    if format_name is None and path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: its name belongs to no format that is written; end it in .xyz, or name a folder")
    form = format_named(format_name or suffixes[path.suffix.lower()])
    if form.write is None:
        raise InputError(f"{path}: {form.description} is read only; write xyz or deepmd")
    form.write(frames, path)
    return form
