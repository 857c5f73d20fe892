"""All pairs of atoms of a frame within a cutoff, periodic images and all, for cells of any size and shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from hpcthermo.datasets.frames import LabelledFrame


@dataclass(frozen=True)
class Pairs:
    """Directed pairs, in the order of the centre.

    Attributes
    ----------
    centre, neighbour : (n,) int
    vectors : (n, 3) float64
        From the centre to the neighbour's image, A.
    """

    centre: np.ndarray
    neighbour: np.ndarray
    vectors: np.ndarray


def pairs_of(frame: LabelledFrame, cutoff: float) -> Pairs:
    """All pairs closer than the cutoff (A); an atom may be its own neighbour."""
    positions = _wrapped(frame)
    images = _image_shifts(frame, positions, cutoff)
    points = (positions[None] + (images @ frame.cell)[:, None]).reshape(-1, 3)
    owner = np.tile(np.arange(frame.n_atoms), len(images))
    # only images that some atom may reach
    near = np.all((points > positions.min(axis=0) - cutoff) & (points < positions.max(axis=0) + cutoff), axis=1)
    points, owner = points[near], owner[near]
    found = cKDTree(positions).sparse_distance_matrix(cKDTree(points), cutoff, output_type="ndarray")
    centre, image = found["i"], found["j"]
    vectors = points[image] - positions[centre]
    squares = np.einsum("ij,ij->i", vectors, vectors)
    # the atom itself is at distance 0; the tree keeps what is at the cutoff
    keep = (squares > 1e-12) & (squares < cutoff**2)
    centre, neighbour, vectors = centre[keep], owner[image[keep]], vectors[keep]
    order = np.lexsort((vectors[:, 2], vectors[:, 1], vectors[:, 0], neighbour, centre))
    return Pairs(centre[order], neighbour[order], vectors[order])


def _wrapped(frame: LabelledFrame) -> np.ndarray:
    """Positions inside the cell along periodic axes."""
    if not frame.periodic.any():
        return frame.positions
    fractions = frame.positions @ np.linalg.inv(_full_cell(frame))
    return np.asarray(frame.positions - np.where(frame.periodic, np.floor(fractions), 0.0) @ frame.cell)


def _full_cell(frame: LabelledFrame) -> np.ndarray:
    """The cell, with unit vectors for axes that are neither periodic nor given."""
    from ase.geometry import complete_cell

    return np.asarray(complete_cell(frame.cell))


def _image_shifts(frame: LabelledFrame, positions: np.ndarray, cutoff: float) -> np.ndarray:
    """Numbers of cells along the three axes of all images that may hold a neighbour."""
    if not frame.periodic.any():
        return np.zeros((1, 3))
    inverse = np.linalg.inv(_full_cell(frame))
    # rows of the inverse's transpose are reciprocal vectors: 1/length is the distance of lattice planes
    reach = cutoff * np.linalg.norm(inverse, axis=0) + np.ptp(positions @ inverse, axis=0)
    most = np.where(frame.periodic, np.floor(reach), 0).astype(int)
    grids = np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij")
    return np.stack(grids, axis=-1).reshape(-1, 3).astype(np.float64)
