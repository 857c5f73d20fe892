"""What ASE's reader of LAMMPS data files leaves open: which element an atom type is.

A data file numbers its types. Elements come from the job (``species``), or from the file where it names them: an
``Atom Type Labels`` section, or a comment behind each line of ``Masses``. Masses alone do not decide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hpcthermo.errors import InputError

_HEADER_LINES = 2000
_SECTION = re.compile(r"^[A-Z][A-Za-z]+(\s+[A-Z][A-Za-z]+)*$")


def is_lammps_data(path: Path) -> bool:
    """Whether the first lines announce numbers of atoms and atom types and a box."""
    head = _head(path)
    return bool(re.search(r"^\s*\d+\s+atom types\b", head, re.MULTILINE)
                and re.search(r"^\s*\S+\s+\S+\s+xlo\s+xhi\b|\bavec\b", head, re.MULTILINE))


def elements_of_types(path: Path, species: Sequence[str] | None) -> dict[int, str]:
    """Element of each atom type, counted from 1.

    Raises
    ------
    InputError
        If the job does not give as many elements as the file has types, or neither of the two names them.
    """
    from ase.data import atomic_numbers

    head = _head(path)
    match = re.search(r"^\s*(\d+)\s+atom types\b", head, re.MULTILINE)
    n_types = int(match.group(1)) if match else 0
    if species is not None:
        if len(species) != n_types:
            raise InputError(f"structure.species: expected {n_types} elements, one per atom type of {path}, got "
                             f"{len(species)}; correct the list")
        unknown = [name for name in species if atomic_numbers.get(name, 0) < 1]
        if unknown:
            raise InputError(f"structure.species: expected chemical symbols, got {unknown[0]!r}; correct the list")
        return dict(enumerate(species, 1))
    labels, masses = _section(head, "Atom Type Labels"), _section(head, "Masses")
    named = {number: words[1] for number, words in labels.items() if len(words) > 1}
    named |= {number: words[words.index("#") + 1] for number, words in masses.items() if "#" in words[:-1]}
    if sorted(named) == list(range(1, n_types + 1)) and all(atomic_numbers.get(s, 0) > 0 for s in named.values()):
        return named
    guess = _guess({number: words[1] for number, words in masses.items() if len(words) > 1})
    hint = f" (by their masses perhaps {guess})" if guess else ""
    raise InputError(f"structure file {path}: its {n_types} atom types name no elements{hint}; give species = [...] in "
                     "the order of the types")


def _head(path: Path) -> str:
    """Text up to the Atoms section."""
    lines = []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for _ in range(_HEADER_LINES):
            line = stream.readline(1000)
            if not line or re.match(r"\s*Atoms\b", line):
                break
            lines.append(line)
    return "".join(lines)


def _section(head: str, name: str) -> dict[int, list[str]]:
    """Words of the numbered lines of a section, ``#`` as a word of its own."""
    rows: dict[int, list[str]] = {}
    inside = False
    for line in head.splitlines():
        words = line.replace("#", " # ").split()
        if words and _SECTION.match(" ".join(words[:words.index("#")] if "#" in words else words)):
            inside = " ".join(words).startswith(name)
        elif inside and words and words[0].isdigit():
            rows[int(words[0])] = words
    return rows


def _guess(masses: dict[int, str]) -> str:
    """The elements whose masses are nearest, for the message."""
    import numpy as np
    from ase.data import atomic_masses, chemical_symbols

    try:
        values = [float(masses[number]) for number in sorted(masses)]
    except ValueError:
        return ""
    return ", ".join(chemical_symbols[1 + int(np.abs(atomic_masses[1:] - value).argmin())] for value in values)
