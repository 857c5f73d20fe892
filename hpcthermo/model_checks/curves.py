"""Minima of labelled energies: equations of state, and energies of two layers against their distance.

    E(a) / N = c_0 + c_1 (a - a_m) + c_2 (a - a_m)^2 + c_3 (a - a_m)^3      least squares; a_m the mean of all a

Distances of layers are those of their mean heights along a x b. Two layers in a periodic cell have two gaps; the
smaller one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcthermo.datasets.files import read_dataset
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.errors import InputError
from hpcthermo.statics.binding_curve import spline_minimum

#: points of a curve at least
LEAST_POINTS = 5
#: atoms farther apart in height than this belong to different layers, A: MoS2 is 1.6 thick on each side of its metal
_LAYER_GAP_A = 2.2
#: energies farther than this from a smooth curve are of structures that differ in more than their length, eV/atom
_SMOOTH_EV = 1e-3


def frames_of_group(files: Sequence[str], group: str | Sequence[str], what: str, held: int) -> list[LabelledFrame]:
    """Frames of a group of data sets that have energies and the same atoms.

    Parameters
    ----------
    group : str or sequence of str
        Of several groups those frames are taken that agree with most in the cell vector `held`.
    held : int
        0, 1 or 2.

    Raises
    ------
    InputError
        If they are fewer than `LEAST_POINTS`.
    """
    groups = (group,) if isinstance(group, str) else tuple(group)
    frames = [frame for name in files for frame in read_dataset(Path(name))
              if frame.group in groups and frame.energy is not None]
    if len(groups) > 1 and frames:
        vectors = np.round([frame.cell[held] for frame in frames], 4)
        kinds = np.unique(vectors, axis=0, return_inverse=True)[1].ravel()
        frames = [frame for frame, kind in zip(frames, kinds, strict=True) if kind == np.bincount(kinds).argmax()]
    name = " and ".join(map(repr, groups))
    if len(frames) < LEAST_POINTS:
        raise InputError(f"{what}: expected at least {LEAST_POINTS} frames of group {name} with energies in "
                         f"{', '.join(files)}, got {len(frames)}; correct the group or the files")
    if len({frame.symbols for frame in frames}) > 1:
        raise InputError(f"{what}: expected frames of the same atoms in group {name}, got "
                         f"{len({frame.symbols for frame in frames})} different ones; correct the group")
    return frames


def energies_per_atom(frames: Sequence[LabelledFrame]) -> np.ndarray:
    """(P,) labelled energies, eV/atom."""
    return np.array([np.nan if frame.energy is None else frame.energy / frame.n_atoms for frame in frames])


def two_layers(cell: np.ndarray, positions: np.ndarray, what: str) -> tuple[np.ndarray, float]:
    """Layer (0 or 1, the upper one) of each atom, and the distance of the layers, A.

    Parameters
    ----------
    cell, positions : (3, 3) and (N, 3) float64
        A.

    Raises
    ------
    InputError
        If the atoms do not lie in two layers.
    """
    normal = np.cross(cell[0], cell[1])
    normal /= np.linalg.norm(normal)
    height = abs(float(cell[2] @ normal))
    z = positions @ normal
    order = np.argsort(z % height)
    gaps = np.diff(z[order] % height, append=z[order[0]] % height + height)
    wide = np.flatnonzero(gaps > _LAYER_GAP_A)
    if len(wide) != 2:
        raise InputError(f"{what}: expected atoms in two layers, got {len(wide)}; correct the group or the structure")
    # heights from the wider gap upwards
    top = int(wide[gaps[wide].argmax()])
    upward = np.roll(order, -(top + 1))
    heights = (z[upward] - z[upward[0]]) % height
    upper = np.cumsum(np.diff(heights, prepend=0.0) > _LAYER_GAP_A)
    layers = np.empty(len(z), dtype=np.int32)
    layers[upward] = upper
    distance = float(heights[upper == 1].mean() - heights[upper == 0].mean())
    return layers, min(distance, height - distance)


def equation_of_state_minimum(frames: Sequence[LabelledFrame], unit_cells: int, what: str) -> float:
    """Lattice constant with the lowest energy, A.

    Parameters
    ----------
    unit_cells : int
        Along the first cell vector.

    Raises
    ------
    InputError
        If the energies are no smooth function of it with a minimum between the first and the last.
    """
    lengths = np.array([np.linalg.norm(frame.cell[0]) for frame in frames]) / unit_cells
    energies = energies_per_atom(frames)
    middle = lengths.mean()
    if len(np.unique(np.round(lengths, 6))) < LEAST_POINTS:
        raise InputError(f"{what}: expected at least {LEAST_POINTS} different lattice constants; correct the group")
    fit = np.polynomial.Polynomial.fit(lengths - middle, energies, 3, domain=[-1.0, 1.0])
    worst = float(np.abs(fit(lengths - middle) - energies).max())
    if worst > _SMOOTH_EV:
        raise InputError(f"{what}: expected energies that depend on the lattice constant alone, got some that are "
                         f"{1e3 * worst:.2g} meV/atom off a cubic; give frames that are stretched and nothing else")
    roots = [float(root.real) for root in fit.deriv().roots() if abs(root.imag) < 1e-12]
    inside = [middle + root for root in roots
              if fit.deriv(2)(root) > 0.0 and lengths.min() <= middle + root <= lengths.max()]
    if not inside:
        raise InputError(f"{what}: expected a minimum of the energy between {lengths.min():.4f} and "
                         f"{lengths.max():.4f} A, got none; extend the frames")
    return inside[0]


def spacing_minimum(frames: Sequence[LabelledFrame], what: str) -> float:
    """Distance of two layers with the lowest energy, A.

    Raises
    ------
    InputError
        If there are not two layers, or the lowest energy is at an end.
    """
    distances, energies = binding_points(frames, what)
    best = spline_minimum(distances, energies)
    if best is None:
        raise InputError(f"{what}: expected a minimum of the energy between {distances[0]:.3f} and {distances[-1]:.3f} "
                         "A, got none; extend the frames")
    return best[0]


def binding_points(frames: Sequence[LabelledFrame], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Distances (A) and energies (eV/atom), in order of distance.

    Raises
    ------
    InputError
        If there are not two layers, or two frames have the same distance.
    """
    distances = np.array([two_layers(frame.cell, frame.positions, what)[1] for frame in frames])
    order = np.argsort(distances)
    require_different(distances[order], what)
    return distances[order], energies_per_atom(frames)[order]


def require_different(distances: np.ndarray, what: str) -> None:
    """Refuse a curve that has two energies for one distance, or too few.

    Raises
    ------
    InputError
        Naming the distance.
    """
    same = np.flatnonzero(np.diff(distances) < 1e-4)
    if len(same):
        raise InputError(f"{what}: expected different distances of the layers, got {distances[same[0]]:.4f} A twice; "
                         "correct the group or the structure")
    if len(distances) < LEAST_POINTS:
        raise InputError(f"{what}: expected at least {LEAST_POINTS} distances, got {len(distances)}; add some")
