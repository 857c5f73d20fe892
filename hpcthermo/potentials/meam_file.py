"""Parameters of modified embedded-atom potentials: a library of elements and a file of pairs and switches.

Library: entries of 19 words over any number of lines, labels and lattices perhaps in quotes,

    label lattice Z number mass alpha b0 b1 b2 b3 lattice-constant E_c A t0 t1 t2 t3 rho0 G-form

Parameter file: lines ``keyword = value``, ``keyword(i) = value``, ``keyword(i,j) = value``, ``keyword(i,j,k) = value``,
indices from 1 in the order in which the elements were chosen. eV and A.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.potentials.meam_reference import ALLOY_LATTICES, LATTICES
from hpcthermo.potentials.parameter_text import chemical_symbols, data_lines, numbers

MEANS_OF_T = ("by_density", "by_squares", "own")
_ENTRY_WORDS = 19
_MOST_ELEMENTS = 12
#: keyword -> number of indices
_KEYWORDS = {
    "rc": 0, "delr": 0, "rho0": 1, "Ec": 2, "delta": 2, "alpha": 2, "re": 2, "Cmax": 3, "Cmin": 3, "lattce": 2,
    "nn2": 2, "attrac": 2, "repuls": 2, "zbl": 2, "gsmooth_factor": 0, "augt1": 0, "ialloy": 0, "mixture_ref_t": 0,
    "erose_form": 0, "emb_lin_neg": 0, "bkgd_dyn": 0,
}
_LINE = re.compile(r"(\w+)\s*(?:\(([\d\s,]*)\))?\s*=\s*(\S+)$")


@dataclass
class MeamParameters:
    """Parameters of T elements, in the symbols of meam.h and meam_reference.

    Attributes
    ----------
    source : str
    elements : tuple of str
        Chemical symbols.
    numbers : (T,) float64
        Atomic numbers.
    beta : (T, 4), t : (T, 3), rho0, embedding : (T,) float64
        beta_h, t_h, density scale, A.
    g_form : (T,) int
        0, 1, 3, 4 or -5.
    lattice : T lists of T str
        Reference structures by pair.
    cohesive, alpha, r_e, attraction, repulsion : (T, T) float64
        E_c (eV), alpha, r_e (A), cubic terms; symmetric.
    second_neighbors, zbl : (T, T) bool
    c_min, c_max : (T, T, T) float64
        For the pair of the first two, screened by the third.
    cutoff, smoothing : float
        r_c and delta_r, A.
    mean_of_t : str
        One of `MEANS_OF_T`.
    rose_form : int
    linear_if_negative, background_from_neighbors : bool
    smooth_g : float
        Exponent of the smooth end of G forms 0 and 4.
    """

    source: str
    elements: tuple[str, ...]
    numbers: np.ndarray
    beta: np.ndarray
    t: np.ndarray
    rho0: np.ndarray
    embedding: np.ndarray
    g_form: np.ndarray
    lattice: list[list[str]]
    cohesive: np.ndarray
    alpha: np.ndarray
    r_e: np.ndarray
    attraction: np.ndarray
    repulsion: np.ndarray
    second_neighbors: np.ndarray
    zbl: np.ndarray
    c_min: np.ndarray
    c_max: np.ndarray
    cutoff: float = 4.0
    smoothing: float = 0.1
    mean_of_t: str = "by_density"
    rose_form: int = 0
    linear_if_negative: bool = False
    background_from_neighbors: bool = False
    smooth_g: float = 99.0


def is_meam_parameters(head: str) -> bool:
    """Whether the first lines are those of a parameter file."""
    lines = data_lines(head)
    match = _LINE.match(lines[0]) if lines else None
    return bool(match and match[1] in _KEYWORDS)


def parse_meam(library: str, parameters: str, labels: Mapping[str, str], source: str) -> MeamParameters:
    """Parameters of chosen elements.

    Parameters
    ----------
    library : str
        Text of the library.
    parameters : str
        Text of the parameter file, may be empty for one element.
    labels : mapping of str to str
        Label in the library to chemical symbol, in the order of the indices of the parameter file.

    Raises
    ------
    InputError
        If a label, a number or a pair is missing, or an option is not known here.
    """
    symbols = chemical_symbols(list(labels.values()), source)
    if not 1 <= len(symbols) <= _MOST_ELEMENTS:
        raise InputError(f"{source}: expected 1 to {_MOST_ELEMENTS} elements, got {len(symbols)}")
    entries = [_entry(library, label, source) for label in labels]
    settings = _settings(parameters, len(symbols), source)
    return _assemble(symbols, entries, settings, source)


def _entry(library: str, label: str, source: str) -> list[str]:
    """The first entry with this label."""
    words = [word.strip("'\"") for line in data_lines(library) for word in line.split()]
    if len(words) % _ENTRY_WORDS:
        raise InputError(f"{source}: expected a library with {_ENTRY_WORDS} words by entry, got {len(words)} words; "
                         "correct the library")
    for start in range(0, len(words), _ENTRY_WORDS):
        if words[start] == label:
            return words[start + 1:start + _ENTRY_WORDS]
    known = ", ".join(dict.fromkeys(words[::_ENTRY_WORDS]))
    raise InputError(f"{source}: no element {label!r} in the library; it has {known[:300]}")


Settings = dict[str, dict[tuple[int, ...], str]]


def _settings(text: str, n: int, source: str) -> Settings:
    """Values by keyword and indices from 0."""
    found: Settings = {}
    for line in data_lines(text):
        match = _LINE.match(line)
        if not match:
            raise InputError(f"{source}: expected \"keyword = value\" with indices in brackets, got {line[:60]!r}")
        keyword, value = match[1], match[3].strip("'\"")
        if keyword not in _KEYWORDS:
            raise InputError(f"{source}: unknown keyword {keyword[:40]!r}; expected one of {', '.join(_KEYWORDS)}")
        index = tuple(int(word) - 1 for word in match[2].replace(",", " ").split()) if match[2] else ()
        if len(index) != _KEYWORDS[keyword] or any(not 0 <= k < n for k in index):
            raise InputError(f"{source}: {line[:60]}: expected {_KEYWORDS[keyword]} indices from 1 to {n}")
        found.setdefault(keyword, {})[index] = value
    return found


def _value(text: str, where: str) -> float:
    return float(numbers([text.lower().replace("d", "e")], where)[0])


def _switch(settings: Settings, keyword: str, default: int, allowed: tuple[int, ...], source: str) -> int:
    text = settings.get(keyword, {}).get((), str(default))
    if text not in map(str, allowed):
        raise InputError(f"{source}: {keyword}: expected one of {', '.join(map(str, allowed))}, got {text!r}")
    return int(text)


def _assemble(symbols: tuple[str, ...], entries: list[list[str]], settings: Settings, source: str) -> MeamParameters:
    n = len(symbols)
    lattices = [entry[0] for entry in entries]
    table = np.stack([numbers(entry[1:], f"{source}: {symbol}")
                      for entry, symbol in zip(entries, symbols, strict=True)])
    for symbol, lattice, row in zip(symbols, lattices, table, strict=True):
        _check_element(symbol, lattice, row, source)
    alpha, edge, cohesive = table[:, 3], table[:, 8], table[:, 9]

    def scalar(keyword: str, default: float) -> float:
        return _value(settings.get(keyword, {}).get((), str(default)), f"{source}: {keyword}")

    def by_pair(keyword: str, values: np.ndarray) -> np.ndarray:
        for index, text in settings.get(keyword, {}).items():
            i, j = index
            values[i, j] = values[j, i] = _value(text, f"{source}: {keyword}{index}")
        return values

    def by_triplet(keyword: str, default: float) -> np.ndarray:
        values = np.full((n, n, n), default)
        for (i, j, k), text in settings.get(keyword, {}).items():
            values[i, j, k] = values[j, i, k] = _value(text, f"{source}: {keyword}")
        return values

    structures = [[lattices[i] if i == j else "" for j in range(n)] for i in range(n)]
    for (i, j), text in settings.get("lattce", {}).items():
        structures[i][j] = structures[j][i] = text
    energies = 0.5 * np.add.outer(cohesive, cohesive) - by_pair("delta", np.zeros((n, n)))
    given = by_pair("Ec", np.zeros((n, n)))
    r_e = by_pair("re", np.diag([edge[k] * LATTICES[lattices[k]].edge for k in range(n)]))
    alphas = by_pair("alpha", np.diag(alpha))
    for i in range(n):
        for j in range(i):
            if structures[i][j] not in ALLOY_LATTICES or not (r_e[i, j] > 0.0 and alphas[i, j] > 0.0):
                raise InputError(
                    f"{source}: {symbols[j]}-{symbols[i]}: expected re, alpha and lattce as one of "
                    f"{', '.join(ALLOY_LATTICES)}, got re {r_e[i, j]:g}, alpha {alphas[i, j]:g}, lattce "
                    f"{structures[i][j] or 'none'}; give them in the parameter file")
    _switch(settings, "mixture_ref_t", 0, (0,), source)
    t = table[:, 12:15].copy()
    if _switch(settings, "augt1", 1, (0, 1), source):
        t[:, 0] += 0.6 * t[:, 2]
    rho0 = table[:, 15].copy()
    for (i,), text in settings.get("rho0", {}).items():
        rho0[i] = _value(text, f"{source}: rho0")
    parameters = MeamParameters(
        source, symbols, table[:, 1].copy(), table[:, 4:8].copy(), t, rho0, table[:, 10].copy(),
        table[:, 16].astype(np.int64), structures, np.where(given > 0.0, given, energies), alphas, r_e,
        by_pair("attrac", np.zeros((n, n))), by_pair("repuls", np.zeros((n, n))),
        by_pair("nn2", np.zeros((n, n))) != 0.0, by_pair("zbl", np.ones((n, n))) != 0.0,
        by_triplet("Cmin", 2.0), by_triplet("Cmax", 2.8), scalar("rc", 4.0), scalar("delr", 0.1),
        MEANS_OF_T[_switch(settings, "ialloy", 0, (0, 1, 2), source)],
        _switch(settings, "erose_form", 0, (0, 1, 2), source),
        bool(_switch(settings, "emb_lin_neg", 0, (0, 1), source)),
        bool(_switch(settings, "bkgd_dyn", 0, (0, 1), source)), scalar("gsmooth_factor", 99.0))
    if not (1.0 <= parameters.cutoff <= 20.0 and 0.0 < parameters.smoothing <= parameters.cutoff):
        raise InputError(f"{source}: expected rc from 1 to 20 A and 0 < delr <= rc, got {parameters.cutoff:g} and "
                         f"{parameters.smoothing:g}")
    if not (parameters.c_max > np.maximum(parameters.c_min, 1.0)).all():
        raise InputError(f"{source}: expected Cmax above Cmin and above 1 for all triplets")
    return parameters


def _check_element(symbol: str, lattice: str, row: np.ndarray, source: str) -> None:
    if lattice not in LATTICES:
        raise InputError(f"{source}: {symbol}: expected a reference lattice of {', '.join(LATTICES)}, "
                         f"got {lattice[:20]!r}")
    problems = {
        f"Z = {LATTICES[lattice].neighbors} of {lattice}": row[0] == LATTICES[lattice].neighbors,
        "alpha, lattice constant, E_c and rho0 above 0": bool((row[[3, 8, 9, 15]] > 0.0).all()),
        "t0 = 1": row[11] == 1.0,
        "a form of G of 0, 1, 3, 4 or -5": row[16] in (0.0, 1.0, 3.0, 4.0, -5.0),
    }
    for expected, good in problems.items():
        if not good:
            raise InputError(f"{source}: {symbol}: expected {expected}, got " + " ".join(f"{v:g}" for v in row))
