"""Sheets on top of each other in one in-plane cell: heights, gaps, vacuum, periodicity along z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.limits import MAXIMUM_ATOMS, MINIMUM_CLEARANCE
from hpcthermo.structure.sheet import Sheet


@dataclass(frozen=True)
class PlacedSheet:
    """A sheet with its place in the common cell.

    Attributes
    ----------
    sheet : Sheet
    matrix : (2, 2) int
        Its supercell.
    shift : (2,) float64
        In fractions of its own lattice vectors.
    """

    sheet: Sheet
    matrix: np.ndarray
    shift: np.ndarray

    @property
    def natural_cell(self) -> np.ndarray:
        """(2, 2) supercell without strain, A."""
        return self.matrix @ self.sheet.lattice

    @property
    def n_atoms(self) -> int:
        """Atoms in the supercell."""
        return self.sheet.n_atoms * round(abs(float(np.linalg.det(self.matrix))))


@dataclass(frozen=True)
class Pile:
    """Atoms of sheets piled up, bottom sheet first.

    Attributes
    ----------
    cell : (3, 3) float64, rows a, b, c, A
    periodic : (3,) bool
    symbols : (N,) str
    positions : (N, 3) float64, A
    layers : (N,) int32, 0 at the bottom
    """

    cell: np.ndarray
    periodic: np.ndarray
    symbols: np.ndarray
    positions: np.ndarray
    layers: np.ndarray


def check_atom_count(n_atoms: int) -> None:
    """Refuse structures beyond the limit before they are made.

    Raises
    ------
    InputError
        For more than `MAXIMUM_ATOMS` atoms.
    """
    if n_atoms > MAXIMUM_ATOMS:
        raise InputError(f"structure: {n_atoms} atoms asked for, limit {MAXIMUM_ATOMS}; reduce count or repeat")


def choose_spacings(sheets: Sequence[Sheet], spacing: float | Sequence[float] | None, periodic: bool) -> np.ndarray:
    """Distances of the middle planes of neighbouring sheets, A; if periodic, the last leads to the image of the first.

    Parameters
    ----------
    spacing : float, sequence or None
        One for all gaps, one for each, or by default the mean of the bulk spacings of the two sheets.

    Raises
    ------
    InputError
        For a wrong number of spacings, or values out of range.
    """
    n_gaps = len(sheets) if periodic else len(sheets) - 1
    if spacing is None:
        bulk = np.array([sheet.spacing for sheet in sheets])
        return (0.5 * (bulk + np.roll(bulk, -1)))[:n_gaps]
    given = np.asarray(spacing, dtype=np.float64)
    bad = given[~((given >= 0.5) & (given <= 1e5))]
    if len(bad):
        raise InputError(f"structure: spacing_A must lie in 0.5 ... 1e5, got {bad[0]}; correct it")
    gaps = np.full(n_gaps, given) if given.ndim == 0 else given
    if len(gaps) != n_gaps:
        raise InputError(f"structure.spacing_A: expected one length or {n_gaps} (the gaps between {len(sheets)} layers"
                         f"{', and to the next period' if periodic else ''}), got {len(gaps)}; correct the list")
    return gaps


def pile_up(placed: Sequence[PlacedSheet], cell: np.ndarray, spacing: float | Sequence[float] | None,
            vacuum: float, key: str = "structure.spacing_A") -> Pile:
    """Atoms of sheets in one in-plane cell.

    Parameters
    ----------
    placed : sequence of PlacedSheet
        Bottom sheet first.
    cell : (2, 2) float64
        Common in-plane cell, A.
    spacing : float, sequence or None
        See `choose_spacings`.
    vacuum : float
        Empty height in total beyond the outermost atoms, half below and half above, A; z is then not periodic.
        0 makes z periodic.
    key : str
        Of the distance between the sheets in the job file, for messages.

    Raises
    ------
    InputError
        For too many atoms, wrong spacings or vacuum, or sheets that overlap.
    """
    if not 0.0 <= vacuum <= 1e5:
        raise InputError(f"structure: vacuum_A must lie in 0 ... 1e5, got {vacuum}; correct it")
    check_atom_count(sum(p.n_atoms for p in placed))
    sheets = [p.sheet for p in placed]
    gaps = choose_spacings(sheets, spacing, vacuum == 0.0)
    _check_clearance(sheets, gaps, key)
    planes = np.concatenate([[0.0], np.cumsum(gaps)])
    low, high = sheets[0].heights.min(), planes[len(placed) - 1] + sheets[-1].heights.max()
    height = planes[-1] if vacuum == 0.0 else high - low + vacuum
    offset = 0.0 if vacuum == 0.0 else 0.5 * vacuum - low
    symbols, positions, layers = [], [], []
    for k, one in enumerate(placed):
        names, plane, heights = one.sheet.fill(one.matrix, cell, one.shift)
        symbols.append(names)
        positions.append(np.column_stack([plane, planes[k] + offset + heights]))
        layers.append(np.full(len(names), k, dtype=np.int32))
    full_cell = np.zeros((3, 3))
    full_cell[:2, :2] = cell
    full_cell[2, 2] = height
    return Pile(full_cell, np.array([True, True, vacuum == 0.0]), np.concatenate(symbols), np.concatenate(positions),
                np.concatenate(layers))


def _check_clearance(sheets: Sequence[Sheet], gaps: np.ndarray, key: str) -> None:
    for k, gap in enumerate(gaps):
        lower, upper = sheets[k], sheets[(k + 1) % len(sheets)]
        clearance = gap + upper.heights.min() - lower.heights.max()
        if clearance < MINIMUM_CLEARANCE:
            raise InputError(
                f"{key}: parts {k} ({lower.name}) and {(k + 1) % len(sheets)} ({upper.name}) overlap: their outermost "
                f"atoms are {clearance:.2f} A apart in height, expected at least {MINIMUM_CLEARANCE} A; increase it")


def common_cell(natural: Sequence[np.ndarray], rule: str | float | Sequence[float], sheets: Sequence[Sheet],
                key: str = "structure.lattice") -> np.ndarray:
    """The in-plane cell that sheets share, and so who bears the strain.

    Parameters
    ----------
    natural : sequence of (2, 2) float64
        Supercell of each sheet without strain, alike in orientation, A.
    rule : str, float or (a, b)
        "first" or "second": of the first sheet, or of the first one made of another material; "mean" over all sheets;
        "stiffness": mean with the stiffnesses as weights; a number f: (1 - f) first + f second; two lengths (A): given.
    sheets : sequence of Sheet

    Raises
    ------
    InputError
        If the rule is unknown or needs what is not there.
    """
    other = next((k for k, sheet in enumerate(sheets) if sheet is not sheets[0]), 0)
    if not isinstance(rule, str):
        if np.ndim(rule) == 0:
            fraction = float(np.asarray(rule))
            return (1.0 - fraction) * natural[0] + fraction * natural[other]
        return natural[0] * (np.asarray(rule, dtype=np.float64) / np.linalg.norm(natural[0], axis=1))[:, None]
    if rule == "first":
        return natural[0]
    if rule == "second":
        return natural[other]
    if rule == "mean":
        return np.mean(natural, axis=0)
    if rule == "stiffness":
        lacking = [sheet.name for sheet in sheets if sheet.stiffness is None]
        if lacking:
            raise InputError(f"{key}: the stiffness of {lacking[0]} is not known; use first, second, mean or a "
                             "fraction")
        return np.average(natural, axis=0, weights=[float(sheet.stiffness or 0.0) for sheet in sheets])
    raise InputError(f"{key}: expected 'first', 'second', 'mean', 'stiffness', a fraction or [a, b] in A, got "
                     f"{rule!r}; correct it")
