"""Read nep.txt: NEP3, NEP4 and NEP5 models with or without short-range ZBL repulsion.

The header states how many numbers follow; that count is checked against the file before anything
is allocated for it. Format: GPUMD documentation of nep.txt; PRB 104, 104309 (2021).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.potentials.zbl import UNIVERSAL_PHI, flexible_screening, universal_screening

#: invariants beyond the three-body ones, in the order of the l_max line and of the descriptor vector
EXTRA_INVARIANTS = ("222", "1111", "112", "123", "233", "134")
#: largest values a legal file may state (l_max, functions, neurons)
LARGEST_N_MAX, LARGEST_BASIS, LARGEST_DEGREE, LARGEST_NEURONS, LARGEST_CUTOFF = 12, 16, 8, 120, 20.0
#: what GPUMD takes of angular functions (n_max) and angular descriptors; this program reads more
GPUMD_ANGULAR_N_MAX, GPUMD_ANGULAR_DESCRIPTORS = 8, 90
_LARGEST_HEADER_BYTES = 4096
_UNSUPPORTED = ("dipole", "polarizability", "temperature", "charge", "vdw")


@dataclass(frozen=True)
class NepModel:
    """A neuroevolution potential as its file states it.

    Attributes
    ----------
    path : str
    version : int
        3, 4 or 5.
    elements : tuple of str
        Chemical symbols of the T types.
    radial_cutoffs, angular_cutoffs : (T,) float64
        By type, A; a pair uses the mean of its two.
    l_max : int
        Largest degree of the three-body invariants.
    extra_invariants : tuple of str
        Those of `EXTRA_INVARIANTS` that are on.
    input_weights : (T, neurons, D) float64
    neuron_biases, output_weights : (T, neurons) float64
    output_biases : (T,) float64
        Subtracted from the energy, eV.
    radial_coefficients : (n_max_radial + 1, basis_radial + 1, T, T) float64
        c_nk by type of centre and of neighbour.
    angular_coefficients : (n_max_angular + 1, basis_angular + 1, T, T) float64
    scaler : (D,) float64
        Factor of each descriptor.
    screening : (T, T, 12) float64 or None
        Short-range repulsion by type pair (potentials/zbl.py).
    """

    path: str
    version: int
    elements: tuple[str, ...]
    radial_cutoffs: np.ndarray
    angular_cutoffs: np.ndarray
    l_max: int
    extra_invariants: tuple[str, ...]
    input_weights: np.ndarray
    neuron_biases: np.ndarray
    output_weights: np.ndarray
    output_biases: np.ndarray
    radial_coefficients: np.ndarray
    angular_coefficients: np.ndarray
    scaler: np.ndarray
    screening: np.ndarray | None


@dataclass(frozen=True)
class _Header:
    version: int
    elements: tuple[str, ...]
    zbl: tuple[float, ...] | None
    radial_cutoffs: np.ndarray
    angular_cutoffs: np.ndarray
    n_radial: int
    n_angular: int
    k_radial: int
    k_angular: int
    l_max: int
    extra_invariants: tuple[str, ...]
    neurons: int

    @property
    def n_types(self) -> int:
        return len(self.elements)

    @property
    def flexible_zbl(self) -> bool:
        return self.zbl is not None and self.zbl[0] == 0.0 and self.zbl[1] == 0.0

    @property
    def n_descriptors(self) -> int:
        return self.n_radial + self.n_angular * (self.l_max + len(self.extra_invariants))

    @property
    def numbers_per_network(self) -> int:
        return (self.n_descriptors + 2) * self.neurons + (1 if self.version == 5 else 0)

    @property
    def n_numbers(self) -> int:
        """How many numbers follow the header."""
        networks = 1 if self.version == 3 else self.n_types
        coefficients = self.n_types**2 * (self.n_radial * self.k_radial + self.n_angular * self.k_angular)
        zbl = 10 * self.n_types * (self.n_types + 1) // 2 if self.flexible_zbl else 0
        return networks * self.numbers_per_network + 1 + coefficients + self.n_descriptors + zbl


class _HeaderLines:
    """The header of a nep.txt line by line, with errors that name the line."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self._lines = text.split("\n")
        self._next = 0

    def error(self, expected: str, got: object) -> InputError:
        got = str(got)[:60]
        return InputError(f"{self.path}, line {self._next}: expected {expected}, got {got!r}; is this a nep.txt?")

    def words(self, keyword: str, expected: str) -> list[str]:
        line = self._lines[self._next] if self._next < len(self._lines) else ""
        self._next += 1
        words = line.split()
        if not words or words[0].lower() != keyword.lower():
            raise self.error(expected, line)
        return words[1:]

    def first(self) -> list[str]:
        self._next += 1
        return self._lines[0].split()

    def integers(self, keyword: str, low: int, high: int, least: int, most: int) -> list[int]:
        expected = f"'{keyword}' and {least}{'' if most == least else f' to {most}'} integers from {low} to {high}"
        words = self.words(keyword, expected)
        if not least <= len(words) <= most or not all(re.fullmatch(r"\d{1,6}", w) for w in words):
            raise self.error(expected, " ".join(words))
        values = [int(w) for w in words]
        if not all(low <= v <= high for v in values):
            raise self.error(expected, " ".join(words))
        return values

    def numbers(self, keyword: str, expected: str) -> list[float]:
        words = self.words(keyword, expected)
        try:
            values = [float(w) for w in words]
        except ValueError:
            raise self.error(expected, " ".join(words)) from None
        if not all(math.isfinite(v) for v in values):
            raise self.error(expected, " ".join(words))
        return values


def read_nep_file(path: str | Path) -> NepModel:
    """Read and check a nep.txt.

    Raises
    ------
    InputError
        If the file is missing, of an unsupported family, or not what its header claims.
    """
    name = str(path)
    try:
        size = Path(path).stat().st_size
        with open(path, "rb") as file:
            start = file.read(_LARGEST_HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{name}: cannot read the potential file ({error.strerror}); correct the path") from None
    header = _read_header(name, start.decode("ascii", errors="replace"))
    # a number takes at least two bytes (digit, newline) and never as many as 64
    if not 2 * header.n_numbers - 1 <= size <= 64 * header.n_numbers + _LARGEST_HEADER_BYTES:
        raise InputError(
            f"{name}: its header asks for {header.n_numbers} numbers, which a file of {size} bytes cannot be; "
            "the file is truncated or damaged"
        )
    return _model(name, header, _read_numbers(name, header))


def _read_header(name: str, text: str) -> _Header:
    lines = _HeaderLines(name, text)
    version, zbl_in_kind, elements = _kind_and_elements(lines)
    zbl = None
    if zbl_in_kind:
        zbl = _zbl_line(lines)
    radial_cutoffs, angular_cutoffs = _cutoff_line(lines, len(elements))
    n_radial, n_angular = lines.integers("n_max", 0, LARGEST_N_MAX, 2, 2)
    k_radial, k_angular = lines.integers("basis_size", 0, LARGEST_BASIS, 2, 2)
    l_max, *flags = lines.integers("l_max", 0, LARGEST_DEGREE, 1, 1 + len(EXTRA_INVARIANTS))
    neurons = lines.integers("ANN", 0, LARGEST_NEURONS, 1, 2)[0]
    if neurons < 1:
        raise lines.error("at least one neuron", neurons)
    extra = tuple(e for e, on in zip(EXTRA_INVARIANTS, flags, strict=False) if on)
    return _Header(version, elements, zbl, radial_cutoffs, angular_cutoffs, n_radial + 1, n_angular + 1,
                   k_radial + 1, k_angular + 1, l_max, extra, neurons)


def _kind_and_elements(lines: _HeaderLines) -> tuple[int, bool, tuple[str, ...]]:
    from ase.data import atomic_numbers

    words = lines.first()
    kind = words[0].lower() if words else ""
    match = re.fullmatch(r"nep(\d+)((?:_[a-z]+\d?)*)", kind)
    if match is None:
        raise lines.error("a kind such as nep4 or nep4_zbl and the elements", " ".join(words))
    suffixes = [s for s in match.group(2).split("_") if s]
    family = next((s for s in suffixes if s.rstrip("0123456789") in _UNSUPPORTED), None)
    if family is not None:
        raise InputError(
            f"{lines.path}: expected a nep3, nep4 or nep5 model of the energy, got the family {kind[:60]!r}, "
            "which is not supported; use another model"
        )
    if match.group(1) not in ("3", "4", "5") or suffixes not in ([], ["zbl"]):
        raise lines.error("nep3, nep4 or nep5, with or without _zbl", kind)
    elements = tuple(words[2:])
    if len(words) < 3 or not re.fullmatch(r"\d{1,3}", words[1]) or int(words[1]) != len(elements):
        raise lines.error("the number of elements and as many symbols", " ".join(words[1:]))
    unknown = [e for e in elements if atomic_numbers.get(e, 0) < 1]
    if unknown or len(set(elements)) != len(elements):
        raise lines.error("different chemical symbols", " ".join(elements))
    return int(match.group(1)), bool(suffixes), elements


def _zbl_line(lines: _HeaderLines) -> tuple[float, ...]:
    expected = "'zbl', inner and outer cutoff in A and perhaps a factor"
    zbl = tuple(lines.numbers("zbl", expected))
    if len(zbl) not in (2, 3) or (len(zbl) == 3 and zbl[2] <= 0.0):
        raise lines.error(expected, zbl)
    if zbl[:2] != (0.0, 0.0) and not 0.0 <= zbl[0] < zbl[1] <= LARGEST_CUTOFF:
        raise lines.error(expected, zbl)
    return zbl


def _cutoff_line(lines: _HeaderLines, n_types: int) -> tuple[np.ndarray, np.ndarray]:
    expected = f"'cutoff' and 2, 4 or {2 * n_types + 2} numbers, cutoffs above 0 and up to {LARGEST_CUTOFF:g} A"
    numbers = lines.numbers("cutoff", expected)
    # two cutoffs, or a pair by type; then, except in old files, the largest neighbour counts of the training set
    if len(numbers) in (2, 4):
        pairs = np.tile(numbers[:2], (n_types, 1))
    elif len(numbers) == 2 * n_types + 2:
        pairs = np.array(numbers[:-2]).reshape(n_types, 2)
    else:
        raise lines.error(expected, f"{len(numbers)} numbers")
    if not np.all((pairs > 0.0) & (pairs <= LARGEST_CUTOFF)):
        raise lines.error(expected, " ".join(map(str, numbers)))
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def _read_numbers(name: str, header: _Header) -> np.ndarray:
    with open(name, "rb") as file:
        for _ in range(6 + (header.zbl is not None)):
            file.readline()
        words = file.read(64 * header.n_numbers + _LARGEST_HEADER_BYTES).split()
    if len(words) != header.n_numbers:
        raise InputError(
            f"{name}: its header asks for {header.n_numbers} numbers, but {len(words)} follow; "
            "the file is truncated, damaged or of another NEP version"
        )
    try:
        numbers = np.array(words, dtype=np.bytes_).astype(np.float64)
    except ValueError as error:
        raise InputError(f"{name}: not a number among the parameters ({error}); the file is damaged") from None
    bad = np.flatnonzero(~np.isfinite(numbers) | (np.abs(numbers) > 1e30))
    if bad.size:
        raise InputError(
            f"{name}: parameter {bad[0] + 1}: expected a finite number, got {numbers[bad[0]]}; the file is damaged"
        )
    return numbers


def _model(name: str, header: _Header, numbers: np.ndarray) -> NepModel:
    position = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal position
        count = math.prod(shape)
        part = numbers[position : position + count].reshape(shape)
        position += count
        return part

    t, d, neurons = header.n_types, header.n_descriptors, header.neurons
    input_weights, neuron_biases = np.empty((t, neurons, d)), np.empty((t, neurons))
    output_weights, output_biases = np.empty((t, neurons)), np.zeros(t)
    for k in range(1 if header.version == 3 else t):
        types = slice(None) if header.version == 3 else k
        input_weights[types] = take(neurons, d)
        neuron_biases[types] = take(neurons)
        output_weights[types] = take(neurons)
        if header.version == 5:
            output_biases[types] = take(1)[0]
    output_biases += take(1)
    radial = take(header.n_radial, header.k_radial, t, t)
    angular = take(header.n_angular, header.k_angular, t, t)
    scaler = take(d)
    screening = None
    if header.flexible_zbl:
        screening = flexible_screening(name, header.elements, take(t * (t + 1) // 2, 10))
    elif header.zbl is not None:
        factor = header.zbl[2] if len(header.zbl) == 3 else None
        screening = universal_screening(header.elements, header.zbl[0], header.zbl[1], factor, UNIVERSAL_PHI)
    return NepModel(name, header.version, header.elements, header.radial_cutoffs, header.angular_cutoffs, header.l_max,
                    header.extra_invariants, input_weights, neuron_biases, output_weights, output_biases,
                    radial, angular, scaler, screening)
