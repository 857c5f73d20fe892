"""A crystal that is periodic in two directions, and how it fills a supercell.

Rows of matrices are vectors throughout. A sheet has the lattice L (2 x 2). Its supercell with the integer matrix M is
spanned by the rows of M L; a common cell C of several sheets, nearly equal to all their supercells, strains each by the
affine map x -> x (M L)^-1 C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpcthermo.errors import InputError

#: of a supercell edge; a coordinate so close below 1 is 0
_ROUNDING = 1e-9
#: rectangular cell (a1, 2 a2 - a1) of a hexagonal lattice
_RECTANGULAR = np.array([[1, 0], [-1, 2]])


@dataclass(frozen=True, eq=False)
class Sheet:
    """A two-dimensional crystal: a monolayer of any number of atomic planes, or a slab of a crystal.

    Attributes
    ----------
    name : str
    lattice : (2, 2) float64
        Rows a1 and a2, A.
    species : tuple of str
        Chemical symbol of each atom of the cell.
    fractional : (n, 2) float64
        In fractions of a1 and a2.
    heights : (n,) float64
        Above the middle plane, A.
    spacing : float
        Distance of the middle planes of two layers in the bulk, A.
    stiffness : float or None
        In-plane stiffness, N/m.
    source : str
        Where the numbers come from.
    """

    name: str
    lattice: np.ndarray
    species: tuple[str, ...]
    fractional: np.ndarray
    heights: np.ndarray
    spacing: float
    stiffness: float | None
    source: str

    @classmethod
    def create(cls, name: str, lattice: Any, species: Sequence[str], fractional: Any, heights: Any, spacing: float,
               stiffness: float | None, source: str) -> Sheet:
        """A sheet from anything that can be made into arrays."""
        return cls(name, np.array(lattice, dtype=np.float64), tuple(species), np.array(fractional, dtype=np.float64),
                   np.array(heights, dtype=np.float64), float(spacing), stiffness, source)

    @property
    def n_atoms(self) -> int:
        """Atoms of the cell."""
        return len(self.species)

    @property
    def area(self) -> float:
        """Of the cell, A^2."""
        return abs(float(np.linalg.det(self.lattice)))

    @property
    def is_hexagonal(self) -> bool:
        """Whether a1 and a2 are of one length and 60 degrees apart."""
        metric = self.lattice @ self.lattice.T
        return bool(np.allclose([metric[1, 1], metric[0, 1]], [metric[0, 0], 0.5 * metric[0, 0]], rtol=1e-4))

    @property
    def is_elemental(self) -> bool:
        """Whether all atoms are of one species."""
        return len(set(self.species)) == 1

    def with_lattice_constant(self, a: float) -> Sheet:
        """The same crystal with |a1| = a (A); heights are kept."""
        return replace(self, lattice=self.lattice * (a / np.linalg.norm(self.lattice[0])))

    def turned(self) -> Sheet:
        """Turned by 180 degrees in its plane so that sites 0 and 1 of a hexagonal lattice change places."""
        return replace(self, fractional=(1.0 / 3.0 - self.fractional) % 1.0)

    def cell_matrix(self, shape: str, key: str = "structure.cell") -> np.ndarray:
        """(2, 2) int, the repeated cell in terms of the primitive one.

        Parameters
        ----------
        shape : "orthogonal" or "primitive"

        Raises
        ------
        InputError
            If the lattice has no small orthogonal cell.
        """
        if shape == "primitive" or abs(float(self.lattice[0] @ self.lattice[1])) < 1e-6 * self.area:
            return np.eye(2, dtype=np.int64)
        if self.is_hexagonal:
            return _RECTANGULAR
        raise InputError(f'{key}: {self.name} is neither hexagonal nor rectangular; use cell = "primitive"')

    def fill(self, matrix: np.ndarray, cell: np.ndarray, shift: Sequence[float] | np.ndarray = (0.0, 0.0)
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Atoms of a supercell, mapped into a common cell.

        Parameters
        ----------
        matrix : (2, 2) int
            Rows span the supercell in terms of a1 and a2; positive determinant.
        cell : (2, 2) float64
            The common cell, A.
        shift : (float, float)
            Of the whole sheet, in fractions of a1 and a2.

        Returns
        -------
        symbols : (N,) str
        plane : (N, 2) float64
            x and y, A.
        heights : (N,) float64
            Above the middle plane, A.
        """
        corners = lattice_points(matrix)
        primitive = (corners[:, None, :] + self.fractional + np.asarray(shift)).reshape(-1, 2)
        fractional = primitive @ np.linalg.inv(matrix)
        fractional = np.maximum(fractional - np.floor(fractional + _ROUNDING), 0.0)
        return np.tile(np.array(self.species), len(corners)), fractional @ cell, np.tile(self.heights, len(corners))


def lattice_points(matrix: np.ndarray) -> np.ndarray:
    """One integer point (i, j) of each primitive cell in a supercell.

    The sublattice spanned by the rows of M has the basis (p, q), (0, r) with p = gcd(M00, M10) and p r = det M, so
    0 <= i < p, 0 <= j < r meets every class once.
    """
    determinant = round(float(np.linalg.det(matrix)))
    if determinant <= 0:
        raise ValueError(f"a supercell needs a positive determinant, got {determinant}")
    p = math.gcd(int(matrix[0, 0]), int(matrix[1, 0]))
    return np.stack(np.meshgrid(np.arange(p), np.arange(determinant // p), indexing="ij"), axis=-1).reshape(-1, 2)


def strain_and_rotation(natural: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the map F of a natural supercell onto a common cell does: x -> x F = (x R)(1 + e), F = natural^-1 cell.

    In two dimensions the rotation of the polar decomposition is tan(phi) = (F_01 - F_10) / (F_00 + F_11).

    Parameters
    ----------
    natural, cell : (..., 2, 2) float64

    Returns
    -------
    strain : (..., 2, 2) float64
        Symmetric e in the frame of the common cell.
    rotation : (...) float64
        Angle phi of R, counted counter-clockwise, degrees.
    """
    gradient = np.linalg.inv(natural) @ cell
    phi = np.arctan2(gradient[..., 0, 1] - gradient[..., 1, 0], gradient[..., 0, 0] + gradient[..., 1, 1])
    cosine, sine = np.cos(phi), np.sin(phi)
    back = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)
    return back @ gradient - np.eye(2), np.degrees(phi)


def upright(cell: np.ndarray) -> np.ndarray:
    """The cell (2 x 2) turned so that its first vector lies along x."""
    x, y = cell[0] / np.linalg.norm(cell[0])
    return cell @ np.array([[x, -y], [y, x]])
