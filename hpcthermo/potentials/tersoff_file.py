"""Read Tersoff parameters: LAMMPS triplet files and GPUMD's tersoff_1989 and tersoff_1988.

All become one row of numbers per ordered triplet (i, j, k), in the order of a LAMMPS entry: row (i, j, j) serves the
bond ij, row (i, j, k) the term of k in zeta_ij. Formats: LAMMPS documentation of pair_style tersoff; GPUMD
documentation of tersoff_1988 and tersoff_1989.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.potentials.parameter_text import Elements, chemical_symbols, data_lines, numbers
from hpcthermo.potentials.triplets import LARGEST_CUTOFF_A, MOST_ELEMENTS, TripletModel, parse_triplets, refuse

#: the numbers of a triplet, in file order; lambda in 1/A, R and D in A, A and B in eV
COLUMNS = ("m", "gamma", "lambda3", "c", "d", "costheta0", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
_GPUMD_1988_COLUMNS = 14
_GPUMD_1989_COLUMNS = 11


def parse_lammps_tersoff(text: str, name: str, elements: Elements = None) -> TripletModel:
    """Parameters from the text of a LAMMPS file of 14 numbers by triplet (`triplets.parse_triplets`)."""
    return parse_triplets(text, name, elements, COLUMNS, _check_row)


def parse_gpumd_tersoff(text: str, name: str, elements: Elements = None) -> TripletModel:
    """Parameters from the text of a GPUMD file, ``tersoff_1989``, ``tersoff_1988`` or rows without a header.

    Parameters
    ----------
    elements : sequence of str, optional
        Symbols of the types 0, 1, ...; needed where the file has no header, and must agree with it where it has one.

    Raises
    ------
    InputError
        If the file is incomplete or not physical, or does not say which element is which.
    """
    lines = data_lines(text)
    if isinstance(elements, Mapping):
        raise InputError(f"{name}: expected elements as a list of symbols in the order of the file, got a mapping")
    given = None if elements is None else chemical_symbols(list(elements), name)
    header = lines[0].split() if lines else []
    if header and header[0] in ("tersoff_1988", "tersoff_1989"):
        symbols = _header_symbols(header, name)
        if given is not None and given != symbols:
            raise InputError(f"{name}: elements is {', '.join(given)}, but the header says {', '.join(symbols)}; "
                             "leave elements out")
        build = _rows_1989 if header[0] == "tersoff_1989" else _rows_1988
        parameters = build(lines[1:], len(symbols), name)
    elif given is None:
        raise InputError(f"{name}: the file does not name its elements; "
                         "give elements = [...] in the order of its types")
    else:
        symbols = given
        parameters = _rows_1988(lines, len(symbols), name)
    for index in np.ndindex(*parameters.shape[:3]):
        _check_row(parameters[index], tuple(symbols[i] for i in index), name)
    return TripletModel(name, symbols, parameters)


def _header_symbols(header: Sequence[str], name: str) -> tuple[str, ...]:
    style = header[0]
    most = 2 if style == "tersoff_1989" else MOST_ELEMENTS
    if len(header) < 2 or not header[1].isascii() or not header[1].isdigit() or not 1 <= int(header[1]) <= most:
        got = header[1] if len(header) > 1 else "nothing"
        raise InputError(f"{name}: expected \"{style} N\" with 1 to {most} elements, got {got!r}")
    if len(header) != 2 + int(header[1]):
        raise InputError(f"{name}: the header announces {header[1]} elements but names {len(header) - 2}; "
                         "correct the header")
    return chemical_symbols(list(header[2:]), name)


def _rows_1988(lines: Sequence[str], n: int, name: str) -> np.ndarray:
    """N^3 rows A B lambda mu beta n c d h R S m alpha gamma; k runs fastest. alpha = lambda3^m."""
    if len(lines) != n**3:
        raise InputError(f"{name}: expected {n**3} rows (N^3 for {n} elements), got {len(lines)}; "
                         "correct the file or elements")
    table = np.stack([_row(line, _GPUMD_1988_COLUMNS, name, i) for i, line in enumerate(lines)])
    a, b, lambda_1, lambda_2, beta, order, c, d, h, inner, outer, m, alpha, gamma = table.T
    lambda_3 = np.where(m == 3.0, np.cbrt(alpha), alpha)
    rows = np.stack([m, gamma, lambda_3, c, d, h, order, beta, lambda_2, b,
                     0.5 * (inner + outer), 0.5 * (outer - inner), lambda_1, a], axis=-1)
    return rows.reshape(n, n, n, len(COLUMNS))


def _rows_1989(lines: Sequence[str], n: int, name: str) -> np.ndarray:
    """One row A B lambda mu beta n c d h R S per element, then chi for two; mixed as in PRB 39, 5566."""
    if len(lines) != n + (n == 2):
        raise InputError(f"{name}: expected {n} parameter rows{' and chi' if n == 2 else ''}, got {len(lines)} rows")
    table = np.stack([_row(line, _GPUMD_1989_COLUMNS, name, i) for i, line in enumerate(lines[:n])])
    if (table[:, [0, 1, 9, 10]] < 0.0).any():
        raise InputError(f"{name}: expected A, B, R and S of at least 0 (mixed as geometric means), got a negative one")
    chi = float(_row(lines[n], 1, name, n)[0]) if n == 2 else 1.0
    rows = np.empty((n, n, n, len(COLUMNS)))
    for i, j, k in np.ndindex(n, n, n):
        beta, order, c, d, h = table[i, 4:9]
        a, b = np.sqrt(table[i, :2] * table[j, :2])
        lambda_1, lambda_2 = 0.5 * (table[i, 2:4] + table[j, 2:4])
        inner, outer = np.sqrt(table[i, 9:] * table[k, 9:])  # the row's cutoff is that of ik
        rows[i, j, k] = (3.0, 1.0, 0.0, c, d, h, order, beta, lambda_2, b * (chi if i != j else 1.0),
                         0.5 * (inner + outer), 0.5 * (outer - inner), lambda_1, a)
    return rows


def _row(line: str, count: int, name: str, index: int) -> np.ndarray:
    words = line.split()
    if len(words) != count:
        raise InputError(f"{name}: parameter row {index + 1}: expected {count} numbers, got {len(words)}")
    return numbers(words, f"{name}: parameter row {index + 1}")


def _check_row(row: np.ndarray, triplet: Sequence[str], name: str) -> None:
    """Refuse numbers for which the potential is not defined."""
    p = dict(zip(COLUMNS, (float(v) for v in row), strict=True))
    bond = triplet[1] == triplet[2]
    not_negative = all(p[key] >= 0.0 for key in ("c", "d", "n", "beta", "B", "R", "D", "A", "gamma"))
    refuse({
        "m = 1 or 3": p["m"] in (1.0, 3.0),
        "c, d, n, beta, gamma, A, B, R and D of at least 0": not_negative,
        "lambda1 and lambda2 of at least 0": p["lambda1"] >= 0.0 and p["lambda2"] >= 0.0,
        "n > 0": p["n"] > 0.0 or not bond,
        "d > 0": p["d"] > 1e-6 or p["c"] == 0.0,
        "cos(theta0) within [-2, 2]": abs(p["costheta0"]) <= 2.0,
        "D <= R": p["D"] <= p["R"],
        f"0 < R + D <= {LARGEST_CUTOFF_A:g} A": 0.0 < p["R"] + p["D"] <= LARGEST_CUTOFF_A,
        "lambda3 within [-10, 10]": math.fabs(p["lambda3"]) <= 10.0,
    }, row, triplet, name)
