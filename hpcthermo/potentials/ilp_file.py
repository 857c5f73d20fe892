"""Read parameters of the registry-dependent interlayer potential: LAMMPS pair files (BNCH.ILP) and GPUMD's tersoff_ilp.

Formats: LAMMPS documentation of pair_style ilp/graphene/hbn; GPUMD documentation of the Tersoff+ILP potential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.potentials.parameter_text import Elements, chemical_symbols, data_lines, numbers, refuse_elements

#: the numbers of a pair, in file order: beta, gamma, R_eff and rcut in A, epsilon and C in meV, C6 in meV A^6; S scales
#: the three energies
COLUMNS = ("beta", "alpha", "gamma", "epsilon", "C", "d", "sR", "reff", "C6", "S", "rcut")
#: cutoff of the taper where a file has none, A (the value of the fit)
DEFAULT_CUTOFF_A = 16.0
LARGEST_CUTOFF_A = 50.0
LARGEST_BOND_A = 5.0
MOST_ELEMENTS = 16
_MEV = 1e-3
#: a file's rows i j and j i may differ by rounding
_ROUNDING = 1e-6


@dataclass(frozen=True)
class InterlayerModel:
    """Parameters by type pair; a pair that a file lacks is NaN.

    Attributes
    ----------
    source : str
        File or literature reference.
    elements : tuple of str
        Chemical symbols of the T types.
    parameters : (T, T, 9) float64
        `PAIR_COLUMNS`, symmetric; energies in eV.
    bond_cutoff : (T, T) float64
        How far an atom of the first type looks for neighbours of the second that make its normal, A; not symmetric.
    cutoff : float
        R of the taper, A.
    """

    source: str
    elements: tuple[str, ...]
    parameters: np.ndarray
    bond_cutoff: np.ndarray
    cutoff: float = DEFAULT_CUTOFF_A


#: the numbers of a pair in `InterlayerModel`: those of a file without S and rcut, energies in eV
PAIR_COLUMNS = COLUMNS[:9]


def parse_lammps_ilp(text: str, name: str, elements: Elements = None,
                     cutoff: float = DEFAULT_CUTOFF_A) -> InterlayerModel:
    """Parameters from the text of a LAMMPS file: two symbols and 11 numbers in each line, both orders of a pair.

    Parameters
    ----------
    elements : sequence of str, optional
        The symbols that are read; all if left out.
    cutoff : float
        R of the taper, A, which the file does not name.

    Raises
    ------
    InputError
        If a line is incomplete, repeated or not physical, or the two orders of a pair disagree.
    """
    rows: dict[tuple[str, str], np.ndarray] = {}
    width = 2 + len(COLUMNS)
    for line in data_lines(text):
        words = line.split()
        if len(words) != width:
            raise InputError(f"{name}: expected lines of 2 symbols and {len(COLUMNS)} numbers, got {line[:60]!r}")
        pair = (words[0], words[1])
        if pair in rows:
            raise InputError(f"{name}: pair {' '.join(pair)} appears twice; remove one of its lines")
        rows[pair] = numbers(words[2:], f"{name}: pair {' '.join(pair)}")
    known = chemical_symbols(list(dict.fromkeys(label for pair in rows for label in pair)), name)
    symbols = known if elements is None else _chosen(elements, known, name)
    table = np.full((len(symbols), len(symbols), len(COLUMNS)), np.nan)
    for (i, j), row in rows.items():
        if i in symbols and j in symbols:
            table[symbols.index(i), symbols.index(j)] = row
    return _model(name, symbols, table, cutoff)


def parse_gpumd_ilp(text: str, name: str, elements: Elements = None, cutoff: float | None = None) -> InterlayerModel:
    """Parameters from the text of a GPUMD file: ``tersoff_ilp N symbols``, the grouping method, N^2 rows of 12 numbers.

    The last number of a row is R of the taper, one for all; layers are those of the structure, not GPUMD's groups.

    Parameters
    ----------
    cutoff : float, optional
        Replaces the R of the file, A.

    Raises
    ------
    InputError
        If the file is incomplete or not physical.
    """
    lines = data_lines(text)
    header = lines[0].split() if lines else []
    if len(header) < 3 or header[0] != "tersoff_ilp" or header[1] != str(len(header) - 2):
        raise InputError(f"{name}: expected the header \"tersoff_ilp N symbols\" with N symbols, "
                         f"got {' '.join(header)[:60]!r}")
    symbols, n = chemical_symbols(header[2:], name), len(header) - 2
    refuse_elements(elements, symbols, name)
    width = len(COLUMNS) + 1
    if n > MOST_ELEMENTS or len(lines) != 2 + n * n or any(len(line.split()) != width for line in lines[2:]):
        raise InputError(f"{name}: expected at most {MOST_ELEMENTS} elements, a line with the grouping method and "
                         f"{n * n} rows of {width} numbers, got {len(lines)} lines; correct the file")
    table = np.stack([numbers(line.split(), f"{name}: row {i + 1}") for i, line in enumerate(lines[2:])])
    if (table[:, -1] != table[0, -1]).any():
        raise InputError(f"{name}: expected one cutoff of the taper, got {table[:, -1].min():g} to "
                         f"{table[:, -1].max():g} A; write the same last number into all rows")
    return _model(name, symbols, table[:, :-1].reshape(n, n, -1), float(table[0, -1]) if cutoff is None else cutoff)


def _chosen(elements: Elements, known: tuple[str, ...], name: str) -> tuple[str, ...]:
    if isinstance(elements, Mapping) or elements is None:
        raise InputError(f"{name}: expected elements as a list of symbols, got a mapping")
    missing = [symbol for symbol in elements if symbol not in known]
    if missing:
        raise InputError(f"{name}: elements names {str(missing[0])[:40]!r}, but the file has {', '.join(known)}")
    return chemical_symbols(list(elements), name)


def _model(name: str, symbols: tuple[str, ...], table: np.ndarray, cutoff: float) -> InterlayerModel:
    """Checked parameters; rows i j and j i, equal up to rounding, become their mean."""
    if len(symbols) > MOST_ELEMENTS:
        raise InputError(f"{name}: expected at most {MOST_ELEMENTS} elements, got {len(symbols)}; "
                         "name those you need in elements")
    _check_cutoff(cutoff, name)
    for i, j in np.argwhere(~np.isnan(table[..., 0])):
        _check_row(table[i, j], f"{name}: pair {symbols[i]} {symbols[j]}")
    symmetric, mirrored = table[..., :-1], table[..., :-1].swapaxes(0, 1)
    differing = np.argwhere(~np.isclose(symmetric, mirrored, rtol=_ROUNDING, atol=0.0, equal_nan=True).all(axis=-1))
    if len(differing):
        i, j = differing[0]
        raise InputError(f"{name}: the rows {symbols[i]} {symbols[j]} and {symbols[j]} {symbols[i]} differ or one is "
                         "missing; only the last number of a pair may depend on the order")
    mean = dict(zip(COLUMNS, np.moveaxis(0.5 * (symmetric + mirrored), -1, 0), strict=False))
    for energy in ("epsilon", "C", "C6"):
        mean[energy] = mean[energy] * mean["S"] * _MEV
    parameters = np.stack([mean[key] for key in PAIR_COLUMNS], axis=-1)
    return InterlayerModel(name, symbols, parameters, table[..., -1], cutoff)


def with_cutoff(model: InterlayerModel, cutoff: float) -> InterlayerModel:
    """The model with another R of the taper, A."""
    _check_cutoff(cutoff, model.source)
    return replace(model, cutoff=cutoff)


def _check_cutoff(cutoff: float, name: str) -> None:
    if not 0.0 < cutoff <= LARGEST_CUTOFF_A:
        raise InputError(f"{name}: expected a cutoff above 0 and up to {LARGEST_CUTOFF_A:g} A, got {cutoff:g}")


def _check_row(row: np.ndarray, where: str) -> None:
    p = dict(zip(COLUMNS, row.tolist(), strict=True))
    not_negative = ("alpha", "d", "C", "epsilon", "C6", "S")
    problems = {
        "beta, gamma, sR and reff above 0": min(p["beta"], p["gamma"], p["sR"], p["reff"]) > 1e-3,
        "alpha, d, C, epsilon, C6 and S of at least 0": min(p[k] for k in not_negative) >= 0.0,
        "alpha and d up to 60": max(p["alpha"], p["d"]) <= 60.0,
        "numbers below 1e9": bool((np.abs(row) < 1e9).all()),
        f"rcut between 0 and {LARGEST_BOND_A:g} A": 0.0 <= p["rcut"] <= LARGEST_BOND_A,
    }
    for expected, good in problems.items():
        if not good:
            raise InputError(f"{where}: expected {expected}, got {' '.join(f'{v:g}' for v in row)}; correct the file")
