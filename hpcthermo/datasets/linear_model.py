"""A model of a data set that is linear in its coefficients: what labels of one set say about each other.

    E = sum_i w_t(i) . q_i        F = -dE/dr        W = -dE/d(strain)

    q_i,k(t')  = sum_j f_k(r_ij)                        j of species t'
    q_i,kl     = |sum_j f_k(r_ij) (r_ij / r_ij)^(x l)|^2   square of the l-th moment over all neighbours, l = 0 ... L

    f_k(r) = (1/2) (T_k(x) + 1) f_c(r),   x = 2 (r/r_c - 1)^2 - 1,   f_c(r) = (1/2) (1 + cos(pi r / r_c))

| symbol   | name          | meaning                                       |
|----------|---------------|-----------------------------------------------|
| w        | coefficients  | of pairs of species t t' (k), of species t (k, l) |
| f_k, T_k | radial        | radial functions, Chebyshev polynomials       |
| r_c      | cutoff        | A                                             |

All labels are linear in w, so their rows are computed once and fitted in one least-squares problem. The model is no
potential: it only has to follow a set well enough that labels in another order, sign or unit stand out, which pairs
and angles do (of forces of four sets from DFT and NEP 5 to 16 % remain).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.structure.checks import with_close_images


@dataclass(frozen=True)
class LinearModel:
    """Terms of the model.

    Attributes
    ----------
    species : tuple of str
    cutoff : float
        A.
    n_radial : int
        Radial functions of pairs.
    n_angular : int
        Radial functions of moments, at most `n_radial`.
    maximum_l : int
        Highest moment.
    """

    species: tuple[str, ...]
    cutoff: float = 5.0
    n_radial: int = 8
    n_angular: int = 4
    maximum_l: int = 2

    @property
    def n_coefficients(self) -> int:
        """Number P of coefficients."""
        count = len(self.species)
        return count * (count + 1) // 2 * self.n_radial + count * self.n_angular * (self.maximum_l + 1)

    def coordination(self, energy_row: np.ndarray, n_atoms: int) -> float:
        """Neighbours of an atom within the cutoff, counted by f_c, mean of a frame; from its row of the energy."""
        pairs = energy_row[:-len(self.species) * self.n_angular * (self.maximum_l + 1)]
        return float(pairs[::self.n_radial].sum()) / n_atoms  # f_0 = f_c

    def rows(self, frame: LabelledFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Derivatives of energy, forces and virial of a frame with respect to the coefficients.

        Returns
        -------
        energy : (P,) float64
        forces : (3 N, P) float64
        virial : (9, P) float64
        """
        from scipy import sparse

        i, j, vectors = neighbor_pairs(frame, self.cutoff)
        distances = np.linalg.norm(vectors, axis=1)
        types = np.array([self.species.index(symbol) for symbol in frame.symbols])
        pairs = np.arange(len(i))
        sum_i, sum_j = (sparse.csr_matrix((np.ones(len(i)), (rows, pairs)), shape=(frame.n_atoms, len(i)))
                        for rows in (i, j))
        # energy and its derivatives by r_ij, term by term, in the columns that the frame has
        energy = np.zeros(self.n_coefficients)
        columns, gradients = [], []
        functions, slopes = _radial_functions(distances, self.cutoff, self.n_radial)
        directions = vectors / distances[:, None]
        radial = slopes[:, None, :] * directions[:, :, None]
        pair_kinds = self._pair_kinds()[types[i], types[j]]
        for kind in np.unique(pair_kinds):
            own = np.arange(self.n_radial) + kind * self.n_radial
            energy[own] = functions[pair_kinds == kind].sum(axis=0)
            columns.append(own)
            gradients.append(np.where((pair_kinds == kind)[:, None, None], radial, 0.0))
        squares, moments = self._moments(functions, slopes, vectors, distances, i, sum_i)
        first = len(self.species) * (len(self.species) + 1) // 2 * self.n_radial
        width = squares.shape[1]
        for kind in np.unique(types):
            own = np.arange(width) + first + kind * width
            energy[own] = squares[types == kind].sum(axis=0)
            columns.append(own)
            gradients.append(np.where((types[i] == kind)[:, None, None], moments, 0.0))
        forces = np.zeros((3 * frame.n_atoms, self.n_coefficients))
        virial = np.zeros((9, self.n_coefficients))
        for own, gradient in zip(columns, gradients, strict=True):
            flat = gradient.reshape(len(i), 3 * len(own))
            forces[:, own] = ((sum_i - sum_j) @ flat).reshape(3 * frame.n_atoms, len(own))
            virial[:, own] = -(vectors.T @ flat).reshape(9, len(own))
        return energy, forces, virial

    def _pair_kinds(self) -> np.ndarray:
        """(T, T) number of each unordered pair of species."""
        count = len(self.species)
        kinds = np.zeros((count, count), dtype=int)
        upper = np.triu_indices(count)
        kinds[upper] = np.arange(len(upper[0]))
        return np.maximum(kinds, kinds.T)

    def _moments(self, functions: np.ndarray, slopes: np.ndarray, vectors: np.ndarray, distances: np.ndarray,
                 i: np.ndarray, sum_i: Any) -> tuple[np.ndarray, np.ndarray]:
        """Squared moments (N, K (L + 1)) and their derivatives by r_ij of the centres i (pairs, 3, K (L + 1))."""
        squares, gradients = [], []
        f, df = functions[:, :self.n_angular], slopes[:, :self.n_angular]
        directions = vectors / distances[:, None]
        for order in range(self.maximum_l + 1):
            monomials, slopes_of_monomials, multiplicities = _monomials(vectors, order)
            # f (r/|r|)^l = h monomial
            h = f / distances[:, None] ** order
            dh = df / distances[:, None] ** order - order * f / distances[:, None] ** (order + 1)
            products = h[:, :, None] * monomials[:, None, :]
            terms = products.shape[1:]
            moments = (sum_i @ products.reshape(len(i), math.prod(terms))).reshape(-1, *terms)
            squares.append((moments**2 * multiplicities).sum(axis=2))
            of_pair = 2.0 * (moments * multiplicities)[i]
            along = (of_pair @ monomials[:, :, None])[:, :, 0] * dh
            gradients.append(along[:, None, :] * directions[:, :, None]
                             + np.swapaxes(of_pair @ slopes_of_monomials, 1, 2) * h[:, None, :])
        return np.concatenate(squares, axis=1), np.concatenate(gradients, axis=2)


def neighbor_pairs(frame: LabelledFrame, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ordered pairs of atoms closer than a cutoff (A), over all images.

    Returns
    -------
    i, j : (pairs,) int
    vectors : (pairs, 3) float64
        From atom i to an image of atom j, A.
    """
    from scipy.spatial import cKDTree

    wrapped, padded, owners = with_close_images(frame.cell, frame.periodic, frame.positions, cutoff)
    found = cKDTree(wrapped).sparse_distance_matrix(cKDTree(padded), cutoff, output_type="ndarray")
    other = found["i"] != found["j"]  # the first rows of `padded` are the atoms themselves
    i, row = found["i"][other], found["j"][other]
    return i, owners[row], padded[row] - wrapped[i]


def _radial_functions(r: np.ndarray, cutoff: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """f_k (pairs, count) and their derivatives."""
    x, dx = 2.0 * (r / cutoff - 1.0) ** 2 - 1.0, 4.0 * (r / cutoff - 1.0) / cutoff
    polynomials = np.polynomial.chebyshev.chebvander(x, count - 1)
    # T_k' = k U_(k-1)
    second_kind = [np.zeros_like(x), np.ones_like(x)]
    for _ in range(2, count):
        second_kind.append(2.0 * x * second_kind[-1] - second_kind[-2])
    slopes = np.stack(second_kind[:count], axis=1) * np.arange(count) * dx[:, None]
    smooth = 0.5 * (1.0 + np.cos(np.pi * r / cutoff))[:, None]
    smooth_slope = -0.5 * np.pi / cutoff * np.sin(np.pi * r / cutoff)[:, None]
    half = 0.5 * (polynomials + 1.0)
    return half * smooth, 0.5 * slopes * smooth + half * smooth_slope


def _monomials(vectors: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Monomials x^a y^b z^c of an order (pairs, M), their gradients (pairs, M, 3), how often each is in the tensor."""
    exponents = [(a, b, order - a - b) for a in range(order + 1) for b in range(order + 1 - a)]
    powers = np.stack([vectors**n for n in range(order + 1)])

    def product(exponent: Sequence[int]) -> np.ndarray:
        return powers[exponent[0], :, 0] * powers[exponent[1], :, 1] * powers[exponent[2], :, 2]

    values = np.stack([product(exponent) for exponent in exponents], axis=1)
    gradients = np.zeros((*values.shape, 3))
    for term, exponent in enumerate(exponents):
        for axis in range(3):
            if exponent[axis]:
                lowered = [n - (axis == other) for other, n in enumerate(exponent)]
                gradients[:, term, axis] = exponent[axis] * product(lowered)
    multiplicities = [math.factorial(order) / math.prod(map(math.factorial, exponent)) for exponent in exponents]
    return values, gradients, np.array(multiplicities)
