"""A potential from what a user writes: a path, an embedded name, a table, or a list of these (an overlay)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcthermo.errors import InputError
from hpcthermo.potentials.base import Potential
from hpcthermo.potentials.embedded import embedded_names, embedded_potential
from hpcthermo.potentials.formats import CALCULATOR_STYLES, CHANGE_EMBEDDED, FORMATS, STYLES, STYLES_WITH, Format
from hpcthermo.potentials.overlay import OverlayPotential
from hpcthermo.potentials.parameter_text import data_lines, read_head
from hpcthermo.potentials.universal_force_field import MIXING_RULES

_KEYS = ("path", "name", "style", "elements", *STYLES_WITH)
_MOST_PARTS = 100

#: path, embedded name, table or list of these
PotentialSpec = Any


def load_potential(spec: PotentialSpec, base_dir: str | Path = ".") -> Potential:
    """Read or look up a potential.

    Parameters
    ----------
    spec : str, Path, mapping or sequence of these
        A path, an embedded name, or a table with ``path`` or ``name`` and, where needed, ``style`` (`formats.STYLES`),
        ``elements`` (symbols by type, or a mapping of labels to symbols) and the options of the style
        (`formats.STYLES_WITH`). A list is an overlay. An object that is a potential already is returned as it is.
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
    if table.get("style") in CALCULATOR_STYLES:
        from hpcthermo.potentials.calculators import load_calculator

        return load_calculator(table["style"], table, base_dir)
    if ("path" in table) == ("name" in table):
        raise InputError("potential: expected either path or name; give exactly one of them")
    if "path" in table:
        return _load_file(base_dir / table["path"], table)
    potential = embedded_potential(str(table["name"]))
    if "elements" in table:
        raise InputError(f"potential.elements: {table['name']} is embedded and knows its elements; leave elements out")
    if table.get("style", potential.style) != potential.style:
        raise InputError(f"potential.style: {table['name']} is of style {potential.style}, got {table['style']!r}")
    _refuse_foreign_options(potential.style, table)
    return CHANGE_EMBEDDED[potential.style](potential, table) if set(table) & set(STYLES_WITH) else potential


def _check_options(table: Mapping[str, Any]) -> None:
    style, elements = table.get("style"), table.get("elements")
    if style is not None and style not in STYLES:
        raise InputError(f"potential.style: expected one of {', '.join(STYLES)}, got {str(style)[:40]!r}")
    if isinstance(elements, str) or not isinstance(elements, list | tuple | Mapping | None):
        raise InputError("potential.elements: expected a list of chemical symbols or a mapping of labels to symbols")
    for key in ("cutoff_A", "coordination_cutoff_A", "receptive_field_A"):
        length = table.get(key, 1.0)
        if not isinstance(length, int | float) or isinstance(length, bool) or not math.isfinite(length):
            raise InputError(f"potential.{key}: expected a length in A, got {length!r}")
    for key in ("path", "method", "trusted_sha256", "calculator"):
        if not isinstance(table.get(key, ""), str | Path):
            raise InputError(f"potential.{key}: expected text, got {type(table[key]).__name__}")
    for key, choices in (("device", ("cpu", "cuda")), ("dtype", ("float64", "float32")),
                         ("mixing", MIXING_RULES)):
        if table.get(key, choices[0]) not in choices:
            raise InputError(f"potential.{key}: expected {' or '.join(choices)}, got {table[key]!r}")
    if not isinstance(table.get("arguments", {}), Mapping):
        raise InputError("potential.arguments: expected a table of the calculator's arguments")
    for key in ("between_layers_only", "shifted"):
        if not isinstance(table.get(key, False), bool):
            raise InputError(f"potential.{key}: expected true or false, got {table[key]!r}")


def _load_file(path: Path, table: Mapping[str, Any]) -> Potential:
    form = _format_of(path, table.get("style"))
    _refuse_foreign_options(form.style, table)
    return form.read(path, table)


def _format_of(path: Path, style: str | None) -> Format:
    """Format of a file, from its first lines; `style`, if given, must agree."""
    head = read_head(path)
    if not data_lines(head):
        raise InputError(f"{path}: expected potential parameters, got an empty file")
    found = [form for form in FORMATS if form.recognises(head)]
    if not found:
        raise InputError(f"{path}: not recognised as one of {'; '.join(form.description for form in FORMATS)}; "
                         f"it begins with {data_lines(head)[0][:60]!r}")
    of_style = [form for form in found if style in (None, form.style)]
    if not of_style:
        raise InputError(f"{path}: style is {style!r}, but the content is that of a {found[0].style} file; "
                         "correct one of them")
    return of_style[0]


def _refuse_foreign_options(style: str, table: Mapping[str, Any]) -> None:
    for key, styles in STYLES_WITH.items():
        if key in table and style not in styles:
            raise InputError(f"potential.{key}: only potentials of style {' or '.join(styles)} have it, this one is of "
                             f"style {style}; leave it out")
