"""Potentials whose parameters stand by triplets of elements: LAMMPS files, their model, and the base of the potentials.

Format: the LAMMPS documentation of pair_style tersoff, tersoff/mod and sw, which share it: three labels (the centre i,
then j and k) and the numbers of the style, over any number of lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.potentials.base import BoundPotential, require_species
from hpcthermo.potentials.parameter_text import Elements, chemical_symbols, data_lines, numbers

#: more element labels than this in one file are refused
MOST_ELEMENTS = 16
LARGEST_CUTOFF_A = 20.0
_LARGEST_NUMBER = 1e12

#: refuses the numbers of one triplet (row, labels, name of the file) with InputError
CheckRow = Callable[[np.ndarray, Sequence[str], str], None]


@dataclass(frozen=True)
class TripletModel:
    """Parameters by triplet as a file states them.

    Attributes
    ----------
    source : str
        File or literature reference.
    elements : tuple of str
        Chemical symbols of the T types.
    parameters : (T, T, T, C) float64
        The C numbers of the style by types of i, j and k; NaN for triplets that the file lacks.
    """

    source: str
    elements: tuple[str, ...]
    parameters: np.ndarray


class TripletPotential(ABC):
    """A parametrisation by triplets, independent of device and system.

    Attributes
    ----------
    style : str
    elements : tuple of str
    model : TripletModel
    """

    style: str
    sums_in_order = False

    def __init__(self, model: TripletModel) -> None:
        self.model = model
        self.elements = model.elements

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundPotential:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If a species or one of its triplets has no parameters.
        """
        types = require_species(self.style, self.elements, species)
        parameters = self.model.parameters[np.ix_(types, types, types)]
        missing = np.argwhere(np.isnan(parameters[..., 0]))
        if len(missing):
            first = " ".join(species[t] for t in missing[0])
            raise InputError(f"{self.model.source}: no parameters for the triplet {first} ({len(missing)} missing); "
                             "files by triplets are not mixed, every triplet must be there")
        return self._bind(parameters, backend)

    @abstractmethod
    def _bind(self, parameters: np.ndarray, backend: Backend) -> BoundPotential:
        """The bound potential of complete parameters (T, T, T, C)."""


def parse_triplets(text: str, name: str, elements: Elements, columns: Sequence[str],
                   check_row: CheckRow) -> TripletModel:
    """Parameters from the text of a LAMMPS file.

    Parameters
    ----------
    text : str
        Entries of three labels and as many numbers as there are columns; ``#`` begins a comment.
    name : str
        For messages.
    elements : mapping of label to symbol, optional
        Needed where a label is no chemical symbol (``Si(B)``); labels left out are not read.
    columns : sequence of str
        Names of the numbers in file order.
    check_row : callable
        Refuses numbers for which the potential is not defined.

    Raises
    ------
    InputError
        If an entry is incomplete, repeated or not physical, or a label is ambiguous.
    """
    entries = _entries([t for line in data_lines(text) for t in line.split()], name, len(columns))
    labels = list(dict.fromkeys(entry[0][0] for entry in entries))
    symbols = _symbols_of_labels(labels, elements, name)
    known = tuple(dict.fromkeys(symbols.values()))
    parameters = np.full((len(known),) * 3 + (len(columns),), np.nan)
    for triplet, row in entries:
        if not all(label in symbols for label in triplet):
            continue
        index = tuple(known.index(symbols[label]) for label in triplet)
        if not np.isnan(parameters[index]).all():
            raise InputError(f"{name}: triplet {' '.join(triplet)} appears twice; remove one of its entries")
        check_row(row, triplet, name)
        parameters[index] = row
    return TripletModel(name, known, parameters)


def refuse(problems: Mapping[str, bool], row: np.ndarray, triplet: Sequence[str], name: str) -> None:
    """Refuse a row if one of the expectations does not hold, or a number is out of all bounds.

    Parameters
    ----------
    problems : mapping of str to bool
        What is expected, and whether it is so.

    Raises
    ------
    InputError
    """
    for expected, good in {"numbers below 1e12": bool((np.abs(row) < _LARGEST_NUMBER).all()), **problems}.items():
        if not good:
            raise InputError(f"{name}: triplet {' '.join(triplet)}: expected {expected}, got "
                             + " ".join(f"{v:g}" for v in row) + "; correct the file")


def _entries(tokens: list[str], name: str, n_columns: int) -> list[tuple[tuple[str, str, str], np.ndarray]]:
    width = 3 + n_columns
    if not tokens or len(tokens) % width:
        raise InputError(f"{name}: expected entries of 3 labels and {n_columns} numbers, got {len(tokens)} words, "
                         f"which is no multiple of {width}; the file is damaged or of another style")
    entries = []
    for start in range(0, len(tokens), width):
        first, second, third = tokens[start:start + 3]
        where = f"entry {start // width + 1} ({first} {second} {third})"
        row = numbers(tokens[start + 3:start + width], f"{name}: {where}")
        entries.append(((first, second, third), row))
    return entries


def _symbols_of_labels(labels: list[str], elements: Elements, name: str) -> dict[str, str]:
    """Chemical symbol of each label that is read."""
    if isinstance(elements, Mapping):
        missing = [label for label in elements if label not in labels]
        if missing:
            raise InputError(f"{name}: elements names the label {str(missing[0])[:40]!r}, "
                             f"but the file has {', '.join(labels[:20])}")
        symbols = dict(zip(elements, chemical_symbols(list(elements.values()), name), strict=True))
        if len(set(symbols.values())) < len(symbols):
            raise InputError(f"{name}: elements maps two labels to one symbol; choose one label for each element")
    else:
        chemical_symbols(labels, name, "give elements = {label = \"symbol\"} in the potential")
        symbols = {label: label for label in labels}
        if elements is not None and set(elements) != set(labels):
            raise InputError(f"{name}: elements is {', '.join(elements)}, but the file names {', '.join(labels)}; "
                             "leave elements out, or map labels to symbols")
    if len(symbols) > MOST_ELEMENTS:
        raise InputError(f"{name}: expected at most {MOST_ELEMENTS} elements, got {len(symbols)}; "
                         "name those you need in elements")
    return symbols
