"""A potential from what a user writes: a path, an embedded name, a table, or a list of these (an overlay)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcthermo.errors import InputError
from hpcthermo.potentials.base import Potential
from hpcthermo.potentials.embedded import embedded_names, embedded_potential
from hpcthermo.potentials.lennard_jones import LennardJonesModel, LennardJonesPotential, parse_lennard_jones
from hpcthermo.potentials.overlay import OverlayPotential
from hpcthermo.potentials.parameter_text import Elements, data_lines, is_number, read_head, read_table
from hpcthermo.potentials.tersoff import TersoffPotential
from hpcthermo.potentials.tersoff_file import parse_gpumd_tersoff, parse_lammps_tersoff

STYLES = ("nep", "tersoff", "lennard_jones")
#: options that only Lennard-Jones potentials have
_PAIR_OPTIONS = ("cutoff_A", "between_layers_only", "shifted")
_KEYS = ("path", "name", "style", "elements", *_PAIR_OPTIONS)
_MOST_PARTS = 100

#: path, embedded name, table or list of these
PotentialSpec = Any


@dataclass(frozen=True)
class _Content:
    """What the first lines of a file say: a style of `STYLES` and which of its formats."""

    style: str
    form: str


def load_potential(spec: PotentialSpec, base_dir: str | Path = ".") -> Potential:
    """Read or look up a potential.

    Parameters
    ----------
    spec : str, Path, mapping or sequence of these
        A path, an embedded name, or a table with ``path`` or ``name`` and, where needed, ``style`` ("nep", "tersoff",
        "lennard_jones"), ``elements`` (symbols by type, or a mapping of labels to symbols) and for Lennard-Jones
        ``cutoff_A``, ``between_layers_only`` and ``shifted``. A list is an overlay. An object that is a potential
        already is returned as it is.
    base_dir : str or Path
        Folder that relative paths start from.

    Raises
    ------
    InputError
        If the potential cannot be found, is ambiguous, or is not what it claims to be.
    """
    if isinstance(spec, list | tuple):
        if len(spec) > _MOST_PARTS:
            raise InputError(f"potential: expected at most {_MOST_PARTS} potentials in an overlay, got {len(spec)}")
        if any(isinstance(part, list | tuple) for part in spec):
            raise InputError("potential: expected a flat list of potentials, got a list within a list")
        parts = [load_potential(part, base_dir) for part in spec]
        return parts[0] if len(parts) == 1 else OverlayPotential(parts)
    if hasattr(spec, "bind") and hasattr(spec, "elements"):
        return spec
    if isinstance(spec, Mapping):
        return _load_table(dict(spec), Path(base_dir))
    if isinstance(spec, str | Path):
        return _load_text(spec, Path(base_dir))
    raise InputError("potential: expected a path, an embedded name, a table or a list of these, "
                     f"got {type(spec).__name__}")


def _load_text(text: str | Path, base_dir: Path) -> Potential:
    """A path or an embedded name; a name that is also a file is ambiguous."""
    path = base_dir / text
    embedded = str(text) in embedded_names()
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"potential: {str(text)[:80]!r} is no usable path: {error}") from error
    if embedded and exists:
        raise InputError(f"potential: {text} is an embedded potential and a file; "
                         f"say name = \"{text}\" or path = \"{text}\"")
    if embedded:
        return embedded_potential(str(text))
    if not exists:
        raise InputError(f"potential: {str(text)[:200]!r} is neither a file in {base_dir} nor an embedded potential "
                         f"({', '.join(embedded_names())})")
    return _load_file(path, {})


def _load_table(table: dict[str, Any], base_dir: Path) -> Potential:
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise InputError(f"potential: unknown key {unknown[0]!r}; expected {', '.join(_KEYS)}")
    table = {key: value for key, value in table.items() if value is not None}
    _check_options(table)
    if ("path" in table) == ("name" in table):
        raise InputError("potential: expected either path or name; give exactly one of them")
    if "path" in table:
        if not isinstance(table["path"], str | Path):
            raise InputError(f"potential.path: expected text, got {type(table['path']).__name__}")
        return _load_file(base_dir / table["path"], table)
    potential = embedded_potential(str(table["name"]))
    if "elements" in table:
        raise InputError(f"potential.elements: {table['name']} is embedded and knows its elements; leave elements out")
    if table.get("style", potential.style) != potential.style:
        raise InputError(f"potential.style: {table['name']} is of style {potential.style}, got {table['style']!r}")
    return _with_pair_options(potential, table)


def _check_options(table: Mapping[str, Any]) -> None:
    style, elements, cutoff = table.get("style"), table.get("elements"), table.get("cutoff_A")
    if style is not None and style not in STYLES:
        raise InputError(f"potential.style: expected one of {', '.join(STYLES)}, got {str(style)[:40]!r}")
    if isinstance(elements, str) or not isinstance(elements, list | tuple | Mapping | None):
        raise InputError("potential.elements: expected a list of chemical symbols or a mapping of labels to symbols")
    is_length = isinstance(cutoff, int | float) and not isinstance(cutoff, bool) and math.isfinite(cutoff)
    if cutoff is not None and not is_length:
        raise InputError(f"potential.cutoff_A: expected a length in A, got {cutoff!r}")
    for key in ("between_layers_only", "shifted"):
        if not isinstance(table.get(key, False), bool):
            raise InputError(f"potential.{key}: expected true or false, got {table[key]!r}")


def _load_file(path: Path, table: Mapping[str, Any]) -> Potential:
    name = str(path)
    content = _content_of(path, table.get("style"))
    elements: Elements = table.get("elements")
    if content.style != "lennard_jones":
        _refuse_pair_options(content.style, table)
    if content.style == "nep":
        from hpcthermo.potentials.nep import read_nep

        nep = read_nep(path)
        if elements is not None and (isinstance(elements, Mapping) or tuple(elements) != nep.elements):
            raise InputError(f"{name}: the header names the elements {', '.join(nep.elements)}; leave elements out")
        return nep
    text = read_table(path)
    if content.style == "lennard_jones":
        return parse_lennard_jones(
            text, name, elements, cutoff=table.get("cutoff_A"), shifted=table.get("shifted", True),
            between_layers_only=table.get("between_layers_only", False))
    parse = parse_lammps_tersoff if content.form == "lammps" else parse_gpumd_tersoff
    return TersoffPotential(parse(text, name, elements))


def _content_of(path: Path, style: str | None) -> _Content:
    """Style and format of a file, from its first lines; `style`, if given, must agree."""
    found = _recognise(read_head(path), path)
    if style is not None and style != found.style:
        raise InputError(f"{path}: style is {style!r}, but the content is that of a {found.style} file; "
                         "correct one of them")
    return found


def _recognise(head: str, path: Path) -> _Content:
    lines = data_lines(head)
    if not lines:
        raise InputError(f"{path}: expected potential parameters, got an empty file")
    words = lines[0].split()
    if re.fullmatch(r"nep\d+(_\w+)*", words[0]):
        return _Content("nep", "nep")
    if words[0] in ("tersoff_1988", "tersoff_1989"):
        return _Content("tersoff", "gpumd")
    if words[0] == "lj":
        return _Content("lennard_jones", "gpumd")
    if len(words) == 14 and all(is_number(word) for word in words):
        return _Content("tersoff", "gpumd")
    labels = next((i for i, word in enumerate(words) if is_number(word)), len(words))
    if labels == 3 and _numbers_of_first_entry(lines) == 14:
        return _Content("tersoff", "lammps")
    raise InputError(f"{path}: not recognised as nep.txt, a Tersoff file (LAMMPS triplets, tersoff_1988, tersoff_1989) "
                     f"or lj; it begins with {lines[0][:60]!r}")


def _numbers_of_first_entry(lines: list[str]) -> int:
    """Numbers between the first label triplet and the next; 14 in a Tersoff entry, 11 in a Stillinger-Weber one."""
    words = [word for line in lines for word in line.split()][3:]
    return next((i for i, word in enumerate(words) if not is_number(word)), len(words))


def _refuse_pair_options(style: str, table: Mapping[str, Any]) -> None:
    for key in _PAIR_OPTIONS:
        if key in table:
            raise InputError(f"potential.{key}: only Lennard-Jones potentials have it, this one is of style {style}; "
                             "leave it out")


def _with_pair_options(potential: Potential, table: Mapping[str, Any]) -> Potential:
    """An embedded potential with the options of its table."""
    if not isinstance(potential, LennardJonesPotential):
        _refuse_pair_options(potential.style, table)
        return potential
    model = potential.model
    cutoff = model.cutoff * 0.0 + table["cutoff_A"] if "cutoff_A" in table else model.cutoff
    return LennardJonesPotential(LennardJonesModel(
        model.source, model.elements, model.epsilon, model.sigma, cutoff, table.get("shifted", model.shifted),
        table.get("between_layers_only", model.between_layers_only)))
