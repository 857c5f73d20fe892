"""Labelled frames in extended XYZ, as GPUMD (train.xyz) and ASE have it.

A frame is a line with the number of atoms, a line of ``key=value`` pairs and a row for each atom:

    2
    Lattice="2.46 0 0 -1.23 2.13 0 0 0 20" Properties=species:S:1:pos:R:3:forces:R:3 energy=-18.4 pbc="T T F" ...
    C 0.0 0.0 10.0 0.0 0.0 0.0

| key                     | what it is                                                                        |
|-------------------------|-----------------------------------------------------------------------------------|
| Lattice                 | rows of the cell, A; without it the frame is not periodic                          |
| Properties              | name, type and number of columns, in any order; read: species or Z, pos(itions), force(s) |
| energy, free_energy     | eV; the free energy where both are given, for forces are its derivative             |
| virial                  | eV, 9 numbers (or 6: xx yy zz yz xz xy), positive under compression                 |
| stress                  | eV/A^3, positive under tension; must agree with the virial if both are there        |
| pbc                     | periodic directions; GPUMD takes all as periodic whatever it says                   |
| weight, energy_weight   | of the frame, and of its energy, in a loss                                          |
| group, config_type      | class of structures                                                                 |
| any other               | provenance                                                                          |

Keys and column names may be in upper or lower case. Numbers are written with all digits: what is written is read back
with the same bits. Both virial and stress are written, for GPUMD and ASE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.errors import InputError
from hpcthermo.results import write_text
from hpcthermo.structure.labels import virial_of
from hpcthermo.structure.limits import MAXIMUM_ATOMS

_PAIR = re.compile(r"""([^\s="']+)\s*=\s*("(?:\\.|[^"\\])*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|[^\s"]+)""")
_OWN_KEYS = ("lattice", "properties", "energy", "free_energy", "virial", "stress", "pbc", "weight", "energy_weight",
             "group", "config_type")
#: columns that are read -> their names
_COLUMNS = {"species": "species", "z": "z", "numbers": "z", "pos": "pos", "positions": "pos", "force": "forces",
            "forces": "forces"}


def read_extended_xyz(path: Path) -> Iterator[LabelledFrame | BadFrame]:
    """Frames of a file, one after the other.

    Raises
    ------
    InputError
        If the file cannot be read as frames at all.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            for number, (header, rows) in enumerate(_blocks(stream, path)):
                try:
                    yield _frame(header, rows)
                except InputError as error:
                    yield BadFrame(str(error))
                except (ValueError, OverflowError) as error:
                    yield BadFrame(f"a value is not what its key or column says ({error}); correct frame {number}")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text; expected extended XYZ") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None


def _blocks(lines: Iterator[str], path: Path) -> Iterator[tuple[str, list[str]]]:
    """Second line and rows of each frame."""
    frame, number = 0, 0
    for line in lines:
        number += 1
        if not line.strip():
            continue
        try:
            count = int(line)
        except ValueError:
            count = 0
        if not 0 < count <= MAXIMUM_ATOMS:
            raise InputError(f"{path} line {number}: frame {frame}: expected its number of atoms, 1 ... "
                             f"{MAXIMUM_ATOMS}, got {line.strip()[:40]!r}; correct it or the number before")
        header = next(lines, "")
        rows = [row for _, row in zip(range(count), lines, strict=False)]
        if len(rows) < count:
            raise InputError(f"{path}: frame {frame}: expected {count} rows of atoms, the file ends after {len(rows)}; "
                             "it is not whole")
        yield header, rows
        frame += 1
        number += 1 + count


def _frame(header: str, rows: Sequence[str]) -> LabelledFrame:
    names = {key: _unquoted(value) for key, value in _PAIR.findall(header)}
    values = {key.lower(): value for key, value in names.items()}
    columns = _columns(values.get("properties", "species:S:1:pos:R:3"), rows)
    cell = np.zeros((3, 3)) if "lattice" not in values else _numbers(values["lattice"], "Lattice", 9).reshape(3, 3)
    energy = values.get("free_energy", values.get("energy"))
    given = {name: _numbers(values[name], name) for name in ("virial", "stress") if name in values}
    return LabelledFrame(
        cell=cell,
        periodic=_periodic(values.get("pbc"), "lattice" in values),
        symbols=_symbols(columns),
        positions=np.array(columns["pos"], dtype=np.float64),
        energy=None if energy is None else float(energy),
        forces=np.array(columns["forces"], dtype=np.float64) if "forces" in columns else None,
        virial=virial_of(given.get("virial"), given.get("stress"), float(abs(np.linalg.det(cell))), "labels"),
        weight=float(values.get("weight", 1.0)),
        energy_weight=float(values.get("energy_weight", 1.0)),
        group=values.get("group", values.get("config_type", "")),
        provenance={key: value for key, value in names.items() if key.lower() not in _OWN_KEYS},
    )


def _unquoted(value: str) -> str:
    if value[0] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1]).strip()
    return value.strip("'{}[]").strip()


def _numbers(text: str, name: str, count: int | None = None) -> np.ndarray:
    numbers = np.array(text.replace(",", " ").split(), dtype=np.float64)
    if count is not None and numbers.size != count:
        raise InputError(f"{name}: expected {count} numbers, got {numbers.size}; correct the frame")
    return numbers


def _columns(properties: str, rows: Sequence[str]) -> dict[str, list[list[str]]]:
    """Texts of each property that is read, a list for each atom."""
    words = properties.split(":")
    if len(words) % 3:
        raise InputError(f"Properties: expected name:type:columns repeated, got {properties[:60]!r}; correct the frame")
    spans, start = {}, 0
    for name, width in zip(words[::3], words[2::3], strict=True):
        if name.lower() in _COLUMNS:
            spans[_COLUMNS[name.lower()]] = slice(start, start + int(width))
        start += int(width)
    if "pos" not in spans or not {"species", "z"} & set(spans):
        raise InputError(f"Properties: expected species and pos, got {properties[:60]!r}; correct the frame")
    table = [row.split() for row in rows]
    for atom, row in enumerate(table):
        if len(row) != start:
            raise InputError(f"atom {atom}: expected {start} columns as Properties say, got {len(row)}; correct it")
    return {name: [row[span] for row in table] for name, span in spans.items()}


def _symbols(columns: Mapping[str, list[list[str]]]) -> tuple[str, ...]:
    from ase.data import chemical_symbols

    if "species" in columns:
        symbols = tuple(row[0] for row in columns["species"])
    else:
        symbols = tuple(chemical_symbols[int(row[0])] for row in columns["z"] if 0 < int(row[0]) < 119)
    if len(symbols) < len(columns["pos"]):
        raise InputError("species: expected atomic numbers, 1 ... 118, got others; correct the frame")
    return symbols


def _periodic(text: str | None, with_cell: bool) -> np.ndarray:
    flags = ["T" if with_cell else "F"] * 3 if text is None else text.replace(",", " ").split()
    known = {"T": True, "TRUE": True, "1": True, "F": False, "FALSE": False, "0": False}
    if len(flags) != 3 or not all(flag.upper() in known for flag in flags):
        raise InputError(f"pbc: expected three of T and F, got {text!r}; correct the frame")
    return np.array([known[flag.upper()] for flag in flags])


def write_extended_xyz(frames: Sequence[LabelledFrame], path: Path) -> None:
    """Write frames, whole or not at all.

    Raises
    ------
    InputError
        If a key of the provenance cannot be a key of the file.
    ResourceError
        If the file cannot be written.
    """
    write_text("".join(extended_xyz_text(frame) for frame in frames), path)


def extended_xyz_text(frame: LabelledFrame) -> str:
    """One frame; equal frames give equal text, and no digit of it is lost.

    Raises
    ------
    InputError
        If a key of the provenance cannot be a key of the file.
    """
    pairs: dict[str, str] = {}
    if frame.cell.any():
        pairs["Lattice"] = _row(frame.cell)
    pairs["Properties"] = "species:S:1:pos:R:3" + (":forces:R:3" if frame.forces is not None else "")
    pairs["pbc"] = " ".join("T" if flag else "F" for flag in frame.periodic)
    if frame.energy is not None:
        pairs["energy"] = repr(float(frame.energy))
    if frame.virial is not None:
        pairs["virial"] = _row(frame.virial)
        if frame.stress is not None:
            pairs["stress"] = _row(frame.stress)
    for name, weight in (("weight", frame.weight), ("energy_weight", frame.energy_weight)):
        if weight != 1.0:
            pairs[name] = repr(float(weight))
    if frame.group:
        pairs["group"] = frame.group
    for key, value in frame.provenance.items():
        if key.lower() in _OWN_KEYS or not re.fullmatch(r"[A-Za-z_][\w.-]*", key):
            raise InputError(f"provenance: expected a name that is none of {', '.join(_OWN_KEYS)}, got {key!r}; "
                             "rename it")
        pairs[key] = value
    header = " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())
    table = frame.positions if frame.forces is None else np.concatenate([frame.positions, frame.forces], axis=1)
    rows = [f"{symbol} {' '.join(map(repr, row))}" for symbol, row in zip(frame.symbols, table.tolist(), strict=True)]
    return "\n".join([str(frame.n_atoms), header, *rows]) + "\n"


def _row(matrix: np.ndarray) -> str:
    return " ".join(map(repr, matrix.ravel().tolist()))


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w.:+-]+", value):
        return value
    return '"' + " ".join(value.split()).replace("\\", "\\\\").replace('"', '\\"') + '"'
