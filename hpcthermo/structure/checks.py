"""Sanity of a structure before anything is allocated for it: one clear sentence instead of a crash at step 40."""

from __future__ import annotations

import numpy as np

from hpcthermo.domain.grid import frame_cell
from hpcthermo.errors import InputError

#: no two nuclei of a usable structure are closer than this, A
MINIMUM_DISTANCE = 0.4
#: edges longer than this with all coordinates below one mean fractional coordinates, A
_FRACTIONAL_EDGE = 2.0


def check_structure(cell: np.ndarray, periodic: np.ndarray, positions: np.ndarray, source: str) -> None:
    """Refuse structures no simulation can start from.

    Parameters
    ----------
    cell : (3, 3) float64
        Rows a, b, c, A; zero rows only along axes without periodicity.
    periodic : (3,) bool
    positions : (N, 3) float64, A
    source : str
        File or builder, named in the message.

    Raises
    ------
    InputError
        For no atoms, values that are not finite, a flat or missing cell, coordinates that look fractional, or
        atoms on top of each other.
    """
    if len(positions) == 0:
        raise InputError(f"{source}: no atoms; give a structure with at least one")
    for name, values in (("position", positions), ("cell", cell)):
        if not np.all(np.isfinite(values)):
            raise InputError(f"{source}: a {name} component is not a finite number; correct the structure")
    if np.abs(positions).max() > 1e7 or np.abs(cell).max() > 1e7:
        raise InputError(f"{source}: lengths beyond 1e7 A; coordinates must be in A")
    _check_cell(cell, periodic, source)
    _check_fractional(cell, periodic, positions, source)
    _check_overlap(cell, periodic, positions, source)


def _check_cell(cell: np.ndarray, periodic: np.ndarray, source: str) -> None:
    edges = np.linalg.norm(cell, axis=1)
    for k, name in enumerate("abc"):
        if periodic[k] and edges[k] < 0.1:
            raise InputError(
                f"{source}: axis {name} is periodic but its cell vector is {cell[k].tolist()}; "
                "give a cell (Lattice=...) or set pbc to F there"
            )
    if np.any(edges < 0.1):
        return
    volume = abs(np.linalg.det(cell))
    if volume < 1e-3 * np.prod(edges):
        raise InputError(f"{source}: cell vectors are (nearly) coplanar, volume {volume:.3g} A^3; correct the cell")


def _check_fractional(cell: np.ndarray, periodic: np.ndarray, positions: np.ndarray, source: str) -> None:
    edges = np.linalg.norm(cell, axis=1)
    inside = np.all((positions > -0.01) & (positions < 1.01))
    if len(positions) >= 4 and inside and edges.max() > _FRACTIONAL_EDGE:
        raise InputError(
            f"{source}: all coordinates lie between 0 and 1 in a cell with edges up to {edges.max():.2f} A, so they "
            "look fractional; expected Cartesian in A, multiply them by the cell"
        )


def _check_overlap(cell: np.ndarray, periodic: np.ndarray, positions: np.ndarray, source: str) -> None:
    """Closest pair over all periodic images; only atoms near a face can be close to an image."""
    from scipy.spatial import cKDTree

    wrapped, padded, owners = with_close_images(cell, periodic, positions, MINIMUM_DISTANCE)
    distance, neighbor = cKDTree(padded).query(wrapped, k=2, distance_upper_bound=MINIMUM_DISTANCE)
    close = np.flatnonzero(np.isfinite(distance[:, 1]))
    if len(close):
        i = int(close[np.argmin(distance[close, 1])])
        j = int(owners[neighbor[i, 1]]) if int(owners[neighbor[i, 1]]) != i else int(owners[neighbor[i, 0]])
        raise InputError(
            f"{source}: atoms {i} and {j} (counted from 0) are {distance[i, 1]:.3f} A apart, closer than "
            f"{MINIMUM_DISTANCE} A; remove duplicates or correct the cell"
        )


def with_close_images(
    cell: np.ndarray, periodic: np.ndarray, positions: np.ndarray, distance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wrapped positions, the same with all images within a distance (A) of a face, and the owner of each row."""
    if not periodic.any():
        return positions, positions, np.arange(len(positions))
    frame = frame_cell(np.where(np.linalg.norm(cell, axis=1)[:, None] < 0.1, 0.0, cell))
    fractional = positions @ np.linalg.inv(frame)
    fractional[:, periodic] %= 1.0
    wrapped = fractional @ frame
    heights = abs(np.linalg.det(frame)) / np.linalg.norm(np.cross(frame[[1, 2, 0]], frame[[2, 0, 1]]), axis=1)
    margin = distance / heights
    count, owners, shifts = len(wrapped), np.arange(len(wrapped)), np.zeros(len(wrapped), dtype=int)
    # axis by axis: images of what is there so far
    for axis in np.flatnonzero(periodic):
        reach = int(np.ceil(margin[axis]))
        shifts *= 2 * reach + 1
        rows, row_owners, row_shifts = [fractional], [owners], [shifts]
        for step in (*range(-reach, 0), *range(1, reach + 1)):
            place = fractional[:, axis] + step
            near = (place > -margin[axis]) & (place < 1.0 + margin[axis])
            moved = fractional[near]
            moved[:, axis] += step
            rows.append(moved)
            row_owners.append(owners[near])
            row_shifts.append(shifts[near] + step)
        fractional, owners, shifts = (np.concatenate(parts) for parts in (rows, row_owners, row_shifts))
    order = count + np.argsort(shifts[count:], kind="stable")  # image by image
    images = np.concatenate([wrapped, fractional[order] @ frame])
    return wrapped, images, np.concatenate([owners[:count], owners[order]])
