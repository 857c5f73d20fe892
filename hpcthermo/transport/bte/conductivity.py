r"""Thermal conductivity from linewidths, and where it comes from.

In the relaxation-time approximation every mode carries

    k_s(q) = C_s(q) tau_s(q) < v_s(q) v_s(q)^T >_star / V          kappa = (1/N) sum_q sum_s k_s(q)

    C = k_B x^2 n (n + 1)        x = h f / k_B T        n = 1 / (e^x - 1)        tau = 1 / (4 pi gamma)

    symbol   is
    C        heat capacity of a mode, eV/K
    v        group velocity, A/ps
    tau      lifetime, ps; gamma the half width at half maximum of the line, THz
    V, N     volume of the primitive cell, number of points of the mesh
    <>_star  mean over the rotations of the crystal, so that a sum over irreducible points with the sizes of their
             stars is the sum over the mesh

Modes below the cutoff frequency, and modes without any scattering (gamma = 0: the acoustic ones at Gamma), carry
nothing.

The full equation gives each mode a vector F, how far it carries heat (W. Li, J. Carrete, N. A. Katcho, N. Mingo,
Comput. Phys. Commun. 185, 1747 (2014)), in place of v tau: k = C (v F^T + F v^T) / 2 V. Its mean free path is that
along v,

    path = F . v / |v|        trace k = C |v| path / V

as for relaxation times, where it is |v| tau. It is negative where the others drag a mode against its own velocity.

In small grains every path ends after one length L, tau = L / |v|: kappa / L is `small_grain_limit`.

A sheet has no volume of its own. Its conductivity is that of the cell times height/thickness, where the height is the
extent of the cell along its normal; `Thickness` holds both, and results say which was used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.density_of_states import density_of_states
from hpcthermo.phonons.modes import degenerate_mean, heat_capacities
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.tetrahedron import mesh_tetrahedra
from hpcthermo.units import CONDUCTIVITY_W_PER_M_K

#: components of kappa as users see them, and where they lie in the tensor
COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


@dataclass(frozen=True)
class Thickness:
    """How the conductivity of a sheet is referred to a volume.

    Attributes
    ----------
    thickness_A : float
        What the sheet is said to be thick.
    height_A : float
        Extent of the cell along the normal of the sheet: its volume by the area.
    """

    thickness_A: float
    height_A: float

    @classmethod
    def of(cls, crystal: Crystal, thickness_A: float | None) -> Thickness | None:
        """None for a bulk crystal; without a thickness, a sheet's is the height of its cell.

        Raises
        ------
        InputError
            If a bulk crystal is given a thickness, if the thickness is not positive, or if the crystal is a wire.
        """
        normal = [axis for axis in range(3) if not crystal.periodic[axis]]
        if not normal:
            if thickness_A is not None:
                raise InputError(f"thickness_A: expected none for a crystal that is periodic in three directions, got "
                                 f"{thickness_A}; a sheet names the direction in which it is not periodic")
            return None
        if len(normal) > 1:
            raise InputError(f"crystal: expected at most one direction that is not periodic, got {len(normal)}")
        a, b = (crystal.cell[axis] for axis in range(3) if axis != normal[0])
        height = crystal.volume / float(np.linalg.norm(np.cross(a, b)))
        if thickness_A is not None and not thickness_A > 0.0:
            raise InputError(f"thickness_A: expected a positive length, got {thickness_A}")
        return cls(height if thickness_A is None else float(thickness_A), height)

    @property
    def scale(self) -> float:
        """Factor on the conductivity of the cell."""
        return self.height_A / self.thickness_A

    def __str__(self) -> str:
        return (f"sheet of thickness {self.thickness_A:.4f} A in a cell of height {self.height_A:.4f} A: conductivity "
                f"of the cell times {self.scale:.6f}")


def lifetimes(gamma: np.ndarray) -> np.ndarray:
    """Lifetimes (ps) of linewidths (THz); zero where there is no scattering."""
    scattered = gamma > 0.0
    tau: np.ndarray = np.where(scattered, 1.0 / (4.0 * np.pi * np.where(scattered, gamma, 1.0)), 0.0)
    return tau


def star_mean(mesh: Mesh, tensors: np.ndarray) -> np.ndarray:
    """Means of tensors (..., 3, 3) over the rotations of the crystal."""
    rotations = mesh.cartesian_rotations
    # of tensors with nine components, as one 9 x 9 matrix
    matrix = np.einsum("gab,gcd->acbd", rotations, rotations).reshape(9, 9) / len(rotations)
    mean: np.ndarray = (tensors.reshape(-1, 9) @ matrix.T).reshape(tensors.shape)
    return mean


@dataclass(frozen=True)
class Conductivity:
    """Conductivity and what it is the sum of.

    Attributes
    ----------
    temperatures : (n_T,) ndarray
        K.
    frequencies : (I, B) ndarray
        Of the irreducible points, THz.
    velocities : (I, B, 3) ndarray
        A/ps.
    weights : (I,) ndarray
        Points of the mesh that each irreducible point stands for.
    modes : (n_T, I, B, 3, 3) ndarray
        Contribution of each mode, mean over its star, W/(m K).
    mean_free_paths : (n_T, I, B) ndarray
        F . v / |v|, A; |v| tau in the relaxation-time approximation. Zero for standing modes.
    thickness : Thickness or None
        Of a sheet.
    """

    temperatures: np.ndarray
    frequencies: np.ndarray
    velocities: np.ndarray
    weights: np.ndarray
    modes: np.ndarray
    mean_free_paths: np.ndarray
    thickness: Thickness | None = None

    @classmethod
    def relaxation_time(cls, mesh: Mesh, frequencies: np.ndarray, velocities: np.ndarray, gamma: np.ndarray,
                        temperatures: np.ndarray, thickness: Thickness | None = None) -> Conductivity:
        """In the relaxation-time approximation.

        Parameters
        ----------
        frequencies, velocities : (I, B), (I, B, 3) arrays
            At the irreducible points, THz and A/ps.
        gamma : (I, n_T, B) array
            All scattering together, half widths at half maximum, THz.
        """
        tau = lifetimes(gamma).transpose(1, 0, 2)
        return cls.of_displacements(mesh, frequencies, velocities, velocities * tau[..., None], temperatures,
                                    thickness)

    @classmethod
    def of_displacements(cls, mesh: Mesh, frequencies: np.ndarray, velocities: np.ndarray, displacements: np.ndarray,
                         temperatures: np.ndarray, thickness: Thickness | None = None) -> Conductivity:
        """From how far each mode carries heat, F (n_T, I, B, 3), A; not numbers at temperatures without a solution."""
        products = velocities[..., :, None] * displacements[..., None, :]
        capacity = heat_capacities(frequencies, temperatures)
        scale = CONDUCTIVITY_W_PER_M_K / mesh.crystal.volume * (thickness.scale if thickness else 1.0)
        modes = star_mean(mesh, 0.5 * scale * capacity[..., None, None] * (products + products.swapaxes(-1, -2)))
        paths = (directions(velocities) * displacements).sum(axis=3)
        return cls(np.asarray(temperatures, dtype=np.float64), frequencies, velocities, mesh.irreducible[1], modes,
                   paths, thickness)

    @property
    def shares(self) -> np.ndarray:
        """Contributions times weights over N, (n_T, I, B, 3, 3): their sum is kappa."""
        shares: np.ndarray = self.modes * (self.weights / self.weights.sum())[:, None, None, None]
        return shares

    @cached_property
    def kappa(self) -> np.ndarray:
        """Conductivity tensors (n_T, 3, 3), W/(m K)."""
        total: np.ndarray = self.shares.sum(axis=(1, 2))
        return total

    @property
    def solved(self) -> np.ndarray:
        """Whether there is a solution at each temperature, (n_T,)."""
        there: np.ndarray = np.isfinite(self.kappa).all(axis=(1, 2))
        return there

    def without(self, temperatures: list[int]) -> Conductivity:
        """The same with no solution at temperatures given by index."""
        modes, paths = self.modes.copy(), self.mean_free_paths.copy()
        modes[temperatures] = paths[temperatures] = np.nan
        return replace(self, modes=modes, mean_free_paths=paths)

    @property
    def by_branch(self) -> np.ndarray:
        """Conductivity of each band, bands counted by frequency at each point, (n_T, B, 3, 3)."""
        branches: np.ndarray = self.shares.sum(axis=1)
        return branches

    def cumulative_by_path(self, lengths: np.ndarray) -> np.ndarray:
        """Conductivity of modes with mean free paths up to `lengths` (L,), A: (n_T, L, 3, 3)."""
        return self._cumulative(self.mean_free_paths, lengths)

    def cumulative_by_frequency(self, frequencies: np.ndarray) -> np.ndarray:
        """Conductivity of modes up to `frequencies` (W,), THz, without interpolation: (n_T, W, 3, 3)."""
        everywhere = np.broadcast_to(self.frequencies, self.mean_free_paths.shape)
        return self._cumulative(everywhere, frequencies)

    def spectral(self, mesh: Mesh, bins: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """Conductivity by frequency, with linear tetrahedra, in bins whose sum times their width is kappa.

        Returns
        -------
        frequencies : (F,) ndarray
            Middles of bins, THz.
        spectrum : (n_T, F, 3, 3) ndarray
            W/(m K THz).
        """
        slots = np.searchsorted(mesh.irreducible[0], mesh.representative)
        tetrahedra = mesh_tetrahedra(mesh)
        spectra = []
        for t, modes in enumerate(self.modes):
            shares = degenerate_mean(self.frequencies, modes.reshape(*self.frequencies.shape, 9))
            density = density_of_states(self.frequencies[slots], tetrahedra, bins, shares[slots])
            spectrum = density.projected.T.reshape(bins, 3, 3)
            spectra.append(spectrum if self.solved[t] else np.full_like(spectrum, np.nan))
        return density.frequencies, np.array(spectra)

    def _cumulative(self, keys: np.ndarray, limits: np.ndarray) -> np.ndarray:
        result = np.full((len(self.temperatures), len(limits), 3, 3), np.nan)
        shares = self.shares
        for t in np.flatnonzero(self.solved):
            key, share = keys[t], shares[t]
            order = np.argsort(key, axis=None)
            sums = np.concatenate([np.zeros((1, 3, 3)), np.cumsum(share.reshape(-1, 3, 3)[order], axis=0)])
            result[t] = sums[np.searchsorted(key.ravel()[order], limits, side="right")]
        return result


def directions(velocities: np.ndarray) -> np.ndarray:
    """Unit vectors v / |v| of velocities (..., 3); zero for standing modes."""
    speeds = np.linalg.norm(velocities, axis=-1, keepdims=True)
    units: np.ndarray = velocities / np.where(speeds > 0.0, speeds, 1.0)
    return units


def small_grain_limit(mesh: Mesh, frequencies: np.ndarray, velocities: np.ndarray, temperatures: np.ndarray,
                      thickness: Thickness | None = None) -> np.ndarray:
    """Conductivity by length where grains of one size L end all paths, tau = L/|v|: (n_T, 3, 3), W/(m K) per A.

    The limit of kappa by the length of boundary scattering, as this length tends to zero; the scattering of phonons
    by each other and by isotopes does not matter then.

    Parameters
    ----------
    frequencies, velocities : (I, B), (I, B, 3) arrays
        At the irreducible points, THz and A/ps.
    temperatures : (n_T,) array
        K.
    """
    everywhere = np.broadcast_to(directions(velocities), (len(temperatures), *velocities.shape))
    return Conductivity.of_displacements(mesh, frequencies, velocities, everywhere, temperatures, thickness).kappa


def tensor_asymmetry(mesh: Mesh, kappa: np.ndarray) -> np.ndarray:
    """Largest change of tensors (n_T, 3, 3) under rotations of the crystal or transposition, by norm, (n_T,)."""
    rotations = mesh.cartesian_rotations
    turned = np.einsum("gab,tbc,gdc->gtad", rotations, kappa, rotations)
    norm = np.maximum(np.linalg.norm(kappa, axis=(1, 2)), np.finfo(float).tiny)
    change = np.abs(turned - kappa).max(axis=(0, 2, 3)) + np.abs(kappa - kappa.transpose(0, 2, 1)).max(axis=(1, 2))
    asymmetry: np.ndarray = change / norm
    return asymmetry


def require_sound(mesh: Mesh, kappa: np.ndarray, temperatures: np.ndarray, tolerance: float = 1e-6) -> dict[str, float]:
    """Check tensors (n_T, 3, 3) before anyone sees them.

    Returns
    -------
    dict
        Largest asymmetry, smallest eigenvalue over largest.

    Raises
    ------
    PhysicsError
        If a tensor is not finite, has not the symmetry of the crystal, or has a negative eigenvalue.
    """
    if not np.isfinite(kappa).all():
        raise PhysicsError("conductivity: expected finite tensors, got NaN or infinite ones")
    asymmetry = tensor_asymmetry(mesh, kappa)
    if asymmetry.max() > tolerance:
        worst = int(asymmetry.argmax())
        raise PhysicsError(f"conductivity at {temperatures[worst]:g} K: expected a tensor with the symmetry of the "
                           f"crystal, got one that rotations change by {asymmetry[worst]:.1e}")
    values = np.linalg.eigvalsh(0.5 * (kappa + kappa.transpose(0, 2, 1)))
    lowest = (values[:, 0] / np.maximum(values[:, -1], np.finfo(float).tiny)).min()
    if lowest < -tolerance:
        worst = int((values[:, 0] / values[:, -1]).argmin())
        raise PhysicsError(f"conductivity at {temperatures[worst]:g} K: expected a positive tensor, got eigenvalues "
                           f"{np.round(values[worst], 6).tolist()} W/(m K)")
    return {"asymmetry": float(asymmetry.max()), "lowest_eigenvalue_by_highest": float(lowest)}
