r"""Density of states by linear tetrahedra.

In each tetrahedron of the mesh, with frequencies f_1 <= ... <= f_4 at its corners, the part below a frequency and the
shares of the corners in it are known in closed form (P. E. Bloechl, O. Jepsen, O. K. Andersen, Phys. Rev. B 49, 16223
(1994), appendix B). The density in a bin is what is below its upper edge less what is below its lower one, over its
width, so that every mode is counted once however flat its band is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.modes import degenerate_mean


@dataclass(frozen=True)
class DensityOfStates:
    """Density of states of a cell.

    Attributes
    ----------
    frequencies : (F,) ndarray
        Middles of bins, THz.
    total : (F,) ndarray
        1/THz; its integral is the number of bands.
    projected : (K, F) ndarray
        Parts of it, by the shares of the modes.
    """

    frequencies: np.ndarray
    total: np.ndarray
    projected: np.ndarray


def density_of_states(frequencies: np.ndarray, tetrahedra: np.ndarray, bins: int = 200,
                      shares: np.ndarray | None = None) -> DensityOfStates:
    """Density of states, with projections.

    Parameters
    ----------
    frequencies : (N, B) array
        THz, at all points of a mesh.
    tetrahedra : (T, 4) array of int
        Points at the corners of tetrahedra of equal size (`mesh_tetrahedra`).
    bins : int
        Between the lowest and the highest frequency.
    shares : (N, B, K) array, optional
        Of each mode in what is projected on, as from `shares_of_atoms`.

    Raises
    ------
    InputError
        If there is no bin.
    """
    if bins < 1:
        raise InputError(f"density of states: expected at least one bin, got {bins}")
    low, high = float(frequencies.min()), float(frequencies.max())
    width = max(high - low, 1e-6) / bins
    edges = low + width * np.arange(bins + 1)
    kinds = 0 if shares is None else shares.shape[2]
    counts = np.zeros((1 + kinds, bins))
    for band in range(frequencies.shape[1]):
        values = frequencies[tetrahedra, band]
        order = np.argsort(values, axis=1)
        values = np.take_along_axis(values, order, axis=1)
        corners = np.take_along_axis(tetrahedra, order, axis=1)
        # edges from the first above f_1 to the first not below f_4, where all is counted
        first = np.searchsorted(edges, values[:, 0], side="right").clip(1, bins)
        last = np.searchsorted(edges, values[:, 3], side="left").clip(first, bins)
        inside = last - first + 1
        which = np.repeat(np.arange(len(values)), inside)
        starts = np.cumsum(inside) - inside
        edge = np.arange(len(which)) - np.repeat(starts - first, inside)
        below = _shares_below(edges[edge], values[which])
        below[starts + inside - 1] = 0.25
        rise = np.diff(below, axis=0, prepend=0.0)
        rise[starts] = below[starts]
        counts[0] += np.bincount(edge - 1, rise.sum(axis=1), bins)
        if shares is not None:
            parts = np.einsum("ec,eck->ke", rise, shares[corners[which], band])
            counts[1:] += [np.bincount(edge - 1, part, bins) for part in parts]
    counts /= len(tetrahedra) * width
    return DensityOfStates(0.5 * (edges[1:] + edges[:-1]), counts[0], counts[1:])


def shares_of_atoms(phonons: Phonons) -> np.ndarray:
    """Shares of atoms and directions in modes, |e|^2, (N, B, 3 n); x, y, z of atom 1, of atom 2, ...

    Degenerate bands have their mean.
    """
    shares = np.ascontiguousarray((np.abs(phonons.eigenvectors)**2).transpose(0, 2, 1))
    return degenerate_mean(phonons.frequencies, shares)


def _shares_below(at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weights of the four corners in the part of tetrahedra of volume one below frequencies, (E, 4)."""
    _, f2, f3, f4 = values.T
    low, middle = at < f2, (at >= f2) & (at < f3)
    weights = np.empty((len(at), 4))

    x, (a, b, c, d) = at[low], values[low].T
    part = 0.25 * (x - a)**3 / ((b - a) * (c - a) * (d - a))
    rest = np.stack([(x - a) / (other - a) for other in (b, c, d)], axis=1)
    weights[low, 1:] = part[:, None] * rest
    weights[low, 0] = part * (4.0 - rest.sum(axis=1))

    x, (a, b, c, d) = at[middle], values[middle].T
    one = 0.25 * (x - a)**2 / ((d - a) * (c - a))
    two = 0.25 * (x - a) * (x - b) * (c - x) / ((d - a) * (c - b) * (c - a))
    three = 0.25 * (x - b)**2 * (d - x) / ((d - b) * (c - b) * (d - a))
    weights[middle] = np.stack([
        one + (one + two) * (c - x) / (c - a) + (one + two + three) * (d - x) / (d - a),
        one + two + three + (two + three) * (c - x) / (c - b) + three * (d - x) / (d - b),
        (one + two) * (x - a) / (c - a) + (two + three) * (x - b) / (c - b),
        (one + two + three) * (x - a) / (d - a) + three * (x - b) / (d - b)], axis=1)

    high = ~low & ~middle & (at < f4)
    x, (a, b, c, d) = at[high], values[high].T
    part = 0.25 * (d - x)**3 / ((d - a) * (d - b) * (d - c))
    rest = np.stack([(d - x) / (d - other) for other in (a, b, c)], axis=1)
    weights[high, :3] = 0.25 - part[:, None] * rest
    weights[high, 3] = 0.25 - part * (4.0 - rest.sum(axis=1))

    weights[at >= f4] = 0.25
    return weights
