"""Labelled frames in folders of DeePMD-kit: a system is a folder whose frames have the same atoms.

    system/type.raw          type of each of the N atoms, from 0
    system/type_map.raw      chemical symbol of each type
    system/nopbc             if it is there: not periodic
    system/set.000/coord.npy (frames, 3 N), A     box.npy (frames, 9), A, rows are cell vectors
                   energy.npy (frames,), eV       force.npy (frames, 3 N), eV/A       virial.npy (frames, 9), eV
                   real_atom_types.npy (frames, N): types of each frame, -1 for none, in the layout of mixed types

The arrays may also lie beside type.raw, without ``set.*``. The virial is positive under compression, as ours is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.errors import InputError, ResourceError
from hpcthermo.results import sync_folder

_LABELS = ("energy", "force", "virial")


def system_folders(path: Path) -> list[Path]:
    """Folders of systems in a folder, itself included, in the order of their names."""
    return sorted(file.parent for file in path.rglob("type.raw"))


def read_deepmd(path: Path) -> Iterator[LabelledFrame | BadFrame]:
    """Frames of all systems in a folder; several systems are groups by the names of their folders.

    Raises
    ------
    InputError
        If files are absent, damaged or do not fit each other.
    """
    systems = system_folders(path)
    for system in systems:
        group = str(system.relative_to(path)) if len(systems) > 1 else ""
        for folder in sorted(system.glob("set.*")) or [system]:
            yield from _set_frames(system, folder, group)


def _set_frames(system: Path, folder: Path, group: str) -> Iterator[LabelledFrame | BadFrame]:
    symbols_of_types = np.array(_text(system / "type_map.raw", "chemical symbols of the types"))
    types = np.array([int(word) for word in _text(system / "type.raw", "a type of each atom")
                      if re.fullmatch(r"\d+", word)])
    coordinates = _array(folder / "coord.npy", 3 * len(types))
    if coordinates is None:
        raise InputError(f"{folder}: has no coord.npy; a system needs it")
    frames = len(coordinates)
    periodic = not (system / "nopbc").exists()
    boxes = _array(folder / "box.npy", 9, frames) if periodic else np.zeros((frames, 9))
    if boxes is None:
        raise InputError(f"{folder}: has no box.npy; a periodic system needs it (or a file nopbc)")
    widths = {"energy": 1, "force": 3 * len(types), "virial": 9}
    labels = {name: _array(folder / f"{name}.npy", widths[name], frames) for name in _LABELS}
    real = _array(folder / "real_atom_types.npy", len(types), frames)
    for k in range(frames):
        of_frame = types if real is None else real[k].astype(int)
        if of_frame.size and not -1 <= of_frame.min() <= of_frame.max() < len(symbols_of_types):
            yield BadFrame(f"types: expected 0 ... {len(symbols_of_types) - 1} as type_map.raw has, got "
                           f"{of_frame.min()} ... {of_frame.max()}; correct {folder.name}")
            continue
        there = of_frame >= 0
        energy, force, virial = (None if labels[name] is None else labels[name][k] for name in _LABELS)  # type: ignore[index]
        try:
            yield LabelledFrame(
                cell=boxes[k].reshape(3, 3), periodic=np.full(3, periodic),
                symbols=tuple(symbols_of_types[of_frame[there]].tolist()),
                positions=coordinates[k].reshape(-1, 3)[there], energy=None if energy is None else float(energy[0]),
                forces=None if force is None else force.reshape(-1, 3)[there],
                virial=None if virial is None else virial.reshape(3, 3), group=group)
        except InputError as error:
            yield BadFrame(str(error))


def _text(path: Path, what: str) -> list[str]:
    try:
        words = path.read_text().split()
    except (OSError, UnicodeDecodeError):
        words = []
    if not words:
        raise InputError(f"{path}: expected {what}, cannot be read or is empty; add it")
    return words


def _array(path: Path, width: int, frames: int | None = None) -> np.ndarray | None:
    """(frames, width) float64; None if there is no such file."""
    if not path.exists():
        return None
    try:
        array = np.load(path, allow_pickle=False)
        array = np.asarray(array, dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not readable as an array of numbers ({str(error)[:80]}); replace it") from None
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if array.ndim > 2:
        array = array.reshape(len(array), -1)
    if array.ndim != 2 or array.shape[1] != width or (frames is not None and len(array) != frames):
        raise InputError(f"{path}: expected shape ({frames if frames is not None else 'frames'}, {width}), got "
                         f"{array.shape}; it does not belong to the other files of the system")
    return array


def write_deepmd(frames: Sequence[LabelledFrame], path: Path) -> None:
    """Write frames into a new folder, a system for each group and sequence of species; whole or not at all.

    The map of types is common to all systems. Weights and provenance are not held, nor is the order of frames of
    different systems.

    Raises
    ------
    InputError
        If the folder exists, or frames are periodic in some directions only.
    ResourceError
        If it cannot be written.
    """
    if path.exists():
        raise InputError(f"{path}: exists; give the name of a new folder")
    type_map = list(dict.fromkeys(symbol for frame in frames for symbol in frame.symbols))
    systems: dict[tuple[object, ...], list[LabelledFrame]] = {}
    for number, frame in enumerate(frames):
        if frame.periodic.any() and not frame.periodic.all():
            raise InputError(f"frame {number}: DeePMD's format knows frames that are periodic in all directions or in "
                             "none, this one is so in some; set its pbc, with vacuum in the cell")
        labels = (frame.energy is None, frame.forces is None, frame.virial is None)
        systems.setdefault((frame.group, frame.symbols, bool(frame.periodic.all()), labels), []).append(frame)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        names: set[str] = set()
        for members in systems.values():
            name = _system_name(members[0], names)
            names.add(name)
            _write_system(members, type_map, part / name)
        sync_folder(part)
        part.rename(path)
    except OSError as error:
        raise ResourceError(f"{path}: cannot be written ({error.strerror or error}); check space and permissions"
                            ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _system_name(frame: LabelledFrame, taken: set[str]) -> str:
    counts = {symbol: frame.symbols.count(symbol) for symbol in sorted(set(frame.symbols))}
    formula = "".join(f"{symbol}{count}" for symbol, count in counts.items())
    name = re.sub(r"[^\w.-]+", "_", f"{frame.group}-{formula}".strip("-"))
    return next(tried for k in range(len(taken) + 1) if (tried := f"{name}-{k}" if k else name) not in taken)


def _write_system(frames: Sequence[LabelledFrame], type_map: list[str], folder: Path) -> None:
    data = folder / "set.000"
    data.mkdir(parents=True)
    first = frames[0]
    (folder / "type.raw").write_text("".join(f"{type_map.index(symbol)}\n" for symbol in first.symbols))
    (folder / "type_map.raw").write_text("".join(f"{symbol}\n" for symbol in type_map))
    np.save(data / "coord.npy", np.array([frame.positions.ravel() for frame in frames]))
    if first.periodic.all():
        np.save(data / "box.npy", np.array([frame.cell.ravel() for frame in frames]))
    else:
        (folder / "nopbc").touch()
    if first.energy is not None:
        np.save(data / "energy.npy", np.array([frame.energy for frame in frames]))
    if first.forces is not None:
        np.save(data / "force.npy", np.array([np.ravel(frame.forces) for frame in frames]))  # type: ignore[arg-type]
    if first.virial is not None:
        np.save(data / "virial.npy", np.array([np.ravel(frame.virial) for frame in frames]))  # type: ignore[arg-type]
