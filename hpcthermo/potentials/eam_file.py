"""Tabulated embedded-atom potentials: setfl files (alloy and Finnis-Sinclair) and funcfl files.

    setfl    three lines of comment
             N symbols
             n_rho  d_rho  n_r  d_r  cutoff
             for each element:  Z  mass  lattice constant  lattice
                                F(rho): n_rho values, then rho(r): n_r values; a Finnis-Sinclair file has N of these,
                                the density of this element at the 1st, 2nd, ... element
             r phi(r), n_r values, for the pairs 11, 21, 22, 31, ...
    funcfl   a line of comment;  Z  mass  lattice constant  lattice;  n_rho  d_rho  n_r  d_r  cutoff
             F(rho), Z(r), rho(r);  phi = 27.2 0.529 Z^2 / r

eV and A; arguments begin at 0. Between the points F, rho, r phi and Z^2 are cubics with the slopes at the points that
DYNAMO, where both formats come from, takes from differences: F of some files is so coarse where atoms are that it is
not defined without (`node_slopes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.potentials.cubic_tables import RadialFunction, cubic_rows, equidistant, node_slopes
from hpcthermo.potentials.eam import EmbeddingTable
from hpcthermo.potentials.parameter_text import chemical_symbols, is_number, numbers

#: tables of alloys with many elements are long
LARGEST_FILE_BYTES = 64 * 2**20
_MOST_ELEMENTS, _MOST_POINTS, _LARGEST_CUTOFF_A = 40, 1_000_000, 30.0
#: e^2 in eV A as the format defines it: Hartree times Bohr radius
_COULOMB_EV_A = 27.2 * 0.529


@dataclass(frozen=True)
class TabulatedEam:
    """`hpcthermo.potentials.eam.EamModel` of a file.

    Attributes
    ----------
    source : str
    elements : tuple of str
    cutoff : float
        A.
    density_step, distance_step : float
        Between points; A for distances.
    embeddings : (T, n_rho) float64
        F_a, eV.
    densities : (T, T or 1, n_r) float64
        Of an element at another; one row if it is the same at all.
    pairs : (T, T, n_r) float64
        r phi_ab, eV A; symmetric.
    """

    source: str
    elements: tuple[str, ...]
    cutoff: float
    density_step: float
    distance_step: float
    embeddings: np.ndarray
    densities: np.ndarray
    pairs: np.ndarray

    def pair(self, a: int, b: int) -> RadialFunction:
        """phi_ab, eV."""
        product = self._function(self.pairs[a, b])

        def phi(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, slope = product(r)
            return value / r, (slope - value / r) / r

        return phi

    def density(self, a: int, b: int) -> RadialFunction:
        """rho_ab."""
        return self._function(self.densities[b, a if self._depends_on_both else 0])

    def density_key(self, a: int, b: int) -> tuple[int, int]:
        """The neighbour, and with Finnis-Sinclair densities the atom itself."""
        return (a, b) if self._depends_on_both else (b, b)

    def embedding(self, a: int) -> EmbeddingTable:
        """F_a, eV."""
        values = self.embeddings[a]
        return EmbeddingTable(self.density_step, cubic_rows(values, node_slopes(values)))

    @property
    def _depends_on_both(self) -> bool:
        return self.densities.shape[1] > 1

    def _function(self, values: np.ndarray) -> RadialFunction:
        return equidistant(values, 0.0, self.distance_step)


def is_setfl(head: str) -> bool:
    """Whether the first lines are those of a setfl file."""
    lines = [line.split() for line in head.splitlines()[:6]]
    return (len(lines) == 6 and len(lines[3]) > 1 and lines[3][0] == str(len(lines[3]) - 1)
            and not any(is_number(word) for word in lines[3][1:])
            and _is_grid(lines[4]) and _is_element(lines[5]))


def is_funcfl(head: str) -> bool:
    """Whether the first lines are those of a funcfl file."""
    lines = [line.split() for line in head.splitlines()[:4]]
    return len(lines) == 4 and _is_element(lines[1]) and _is_grid(lines[2]) and is_number((lines[3] or [""])[0])


def _is_grid(words: Sequence[str]) -> bool:
    return len(words) >= 5 and words[0].isdigit() and words[2].isdigit() and all(map(is_number, words[:5]))


def _is_element(words: Sequence[str]) -> bool:
    return len(words) in (3, 4) and words[0].isdigit() and all(map(is_number, words[:3]))


def parse_setfl(text: str, name: str) -> TabulatedEam:
    """Functions from the text of a setfl file; alloy and Finnis-Sinclair files are told apart by their length.

    Raises
    ------
    InputError
        If the file is incomplete or not physical.
    """
    lines = text.splitlines()
    if not is_setfl(text):
        raise InputError(f"{name}: expected three lines of comment, \"N symbols\", \"n_rho d_rho n_r d_r cutoff\" and "
                         "an element's line; the file is no setfl file")
    symbols = chemical_symbols(lines[3].split()[1:], name)
    n = len(symbols)
    if n > _MOST_ELEMENTS:
        raise InputError(f"{name}: expected at most {_MOST_ELEMENTS} elements, got {n}")
    n_rho, d_rho, n_r, d_r, cutoff = _grid(lines[4], name)
    words = [line.split() for line in lines[5:]]
    total = sum(map(len, words))
    n_pairs = n * (n + 1) // 2 * n_r
    for n_densities in (1, n):
        # lines of elements have three or four words
        without = total - n * (n_rho + n_densities * n_r) - n_pairs
        if 3 * n <= without <= 4 * n:
            break
    else:
        raise InputError(f"{name}: expected {n * (n_rho + n_r) + n_pairs} numbers (alloy) or "
                         f"{n * (n_rho + n * n_r) + n_pairs} (Finnis-Sinclair) and {n} lines of elements, got {total} "
                         "numbers and words; the file is damaged")
    reader = _Numbers(words, name)
    embeddings, densities = np.empty((n, n_rho)), np.empty((n, n_densities, n_r))
    for k, symbol in enumerate(symbols):
        reader.skip_element_line(symbol)
        embeddings[k] = reader.take(n_rho, f"F of {symbol}")
        for m in range(n_densities):
            densities[k, m] = reader.take(n_r, f"density of {symbol}")
    pairs = np.empty((n, n, n_r))
    for k in range(n):
        for m in range(k + 1):
            pairs[k, m] = pairs[m, k] = reader.take(n_r, f"pair {symbols[k]}-{symbols[m]}")
    return TabulatedEam(name, symbols, cutoff, d_rho, d_r, embeddings, densities, pairs)


def parse_funcfl(text: str, name: str) -> TabulatedEam:
    """Functions from the text of a funcfl file.

    Raises
    ------
    InputError
        If the file is incomplete or not physical.
    """
    from ase.data import chemical_symbols as symbols

    lines = text.splitlines()
    if not is_funcfl(text):
        raise InputError(f"{name}: expected a line of comment, an element's line and \"n_rho d_rho n_r d_r cutoff\"; "
                         "the file is no funcfl file")
    number = int(lines[1].split()[0])
    if not 1 <= number < len(symbols):
        raise InputError(f"{name}: expected an atomic number, got {number}")
    n_rho, d_rho, n_r, d_r, cutoff = _grid(lines[2], name)
    reader = _Numbers([line.split() for line in lines[3:]], name)
    embedding = reader.take(n_rho, "F")
    charges = reader.take(n_r, "Z")
    density = reader.take(n_r, "density")
    return TabulatedEam(name, (symbols[number],), cutoff, d_rho, d_r, embedding[None], density[None, None],
                        _COULOMB_EV_A * charges[None, None] ** 2)


def _grid(line: str, name: str) -> tuple[int, float, int, float, float]:
    values = numbers(line.split()[:5], f"{name}: line of the grid")
    n_rho, n_r = int(values[0]), int(values[2])
    if not (4 <= n_rho <= _MOST_POINTS and 4 <= n_r <= _MOST_POINTS):
        raise InputError(f"{name}: expected 4 to {_MOST_POINTS} points of density and distance, got {n_rho} and {n_r}")
    if not (values[1] > 0.0 and values[3] > 0.0 and 0.5 <= values[4] <= _LARGEST_CUTOFF_A):
        raise InputError(f"{name}: expected positive steps and a cutoff from 0.5 to {_LARGEST_CUTOFF_A:g} A, got "
                         f"{values[1]:g}, {values[3]:g} and {values[4]:g}")
    if values[4] > (n_r + 1) * values[3]:
        raise InputError(f"{name}: the cutoff is {values[4]:g} A, but the tables end at {(n_r - 1) * values[3]:g} A")
    return n_rho, float(values[1]), n_r, float(values[3]), float(values[4])


class _Numbers:
    """Numbers of a file one after the other, over any number of lines."""

    def __init__(self, lines: list[list[str]], name: str) -> None:
        self._lines, self._name = lines, name
        self._at = 0

    def skip_element_line(self, symbol: str) -> None:
        self._skip_empty()
        if self._at >= len(self._lines) or not _is_element(self._lines[self._at]):
            raise InputError(f"{self._name}: expected \"Z mass lattice-constant lattice\" of {symbol} at line "
                             f"{self._at + 6}; the file is damaged")
        self._at += 1

    def take(self, count: int, what: str) -> np.ndarray:
        words: list[str] = []
        while len(words) < count and self._at < len(self._lines):
            words += self._lines[self._at]
            self._at += 1
        if len(words) != count:
            raise InputError(f"{self._name}: {what}: expected {count} values that end with a line, got {len(words)}; "
                             "the file is damaged")
        return numbers(words, f"{self._name}: {what}")

    def _skip_empty(self) -> None:
        while self._at < len(self._lines) and not self._lines[self._at]:
            self._at += 1
