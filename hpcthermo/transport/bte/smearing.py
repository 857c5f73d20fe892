r"""Energy conservation by Gaussians.

    delta(f) -> exp(-f^2 / 2 s^2) / (s sqrt(2 pi) c)        for |f| < cutoff s, else 0        c = erf(cutoff / sqrt 2)

so that a truncated Gaussian keeps its integral; without a cutoff c = 1. The width of a process joins those of its modes
in quadrature, s^2 = s_0^2 + s_1^2 + s_2^2 (and s_3^2 where four phonons meet).

Adaptive: the width of a mode is how much its frequency changes over a cell of the mesh,

    s_l = scale |v_l| h / sqrt(12),        h^d = volume of a cell of the mesh in reciprocal space

of the d dimensions in which the crystal is periodic (the vacuum about a sheet does not matter): the standard deviation
of a linear frequency over a cube or square of edge h. It depends on the speed alone, averaged over degenerate bands, so
that it is the same for equivalent modes and for any choice of eigenvectors.

    symbol   is
    s        standard deviation, THz
    v        group velocity, A/ps
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.transport.bte.mesh import Mesh

#: standard deviations beyond which a truncated Gaussian ends
CUTOFF_SIGMAS = 4.0
#: standard deviations beyond which a Gaussian without cutoff is left out: it is below 1e-15 of its height there
UNTRUNCATED = 8.5


@dataclass(frozen=True)
class Gaussian:
    """Gaussian energy conservation.

    Attributes
    ----------
    widths : (N, B) ndarray
        Standard deviation of each mode, THz; those of the modes of a process join in quadrature.
    cutoff : float
        Standard deviations beyond which a process does not count.
    integral : float
        Integral of the truncated Gaussian by which it is divided.
    """

    widths: np.ndarray
    cutoff: float
    integral: float


def fixed_gaussian(shape: tuple[int, ...], sigma_THz: float, cutoff: float | None = None,
                   keep_integral: bool = True, modes: int = 3) -> Gaussian:
    """One width for all processes.

    Parameters
    ----------
    shape : (N, B)
    sigma_THz : float
        Standard deviation of a process.
    cutoff : float, optional
        Standard deviations beyond which nothing counts.
    keep_integral : bool
        False: truncated without renormalisation, as in phono3py.
    modes : int
        Of a process.
    """
    _require_positive("sigma_THz", sigma_THz)
    reach = _reach(cutoff)
    integral = math.erf(reach / math.sqrt(2.0)) if keep_integral else 1.0
    return Gaussian(np.full(shape, sigma_THz / math.sqrt(modes)), reach, integral)


def adaptive_gaussian(mesh: Mesh, velocities: np.ndarray, scale: float = 1.0, cutoff: float | None = CUTOFF_SIGMAS,
                      least_THz: float = 0.01) -> Gaussian:
    """Widths from the group velocities.

    Parameters
    ----------
    velocities : (N, B, 3) ndarray
        A/ps (of degenerate bands in any basis that makes them the velocities of states).
    scale : float
        Factor of all widths.
    least_THz : float
        Widths are no smaller, so that flat bands find partners.
    """
    _require_positive("scale", scale)
    _require_positive("least_THz", least_THz)
    along = mesh.crystal.cell[list(mesh.crystal.periodic)]
    measure = math.sqrt(np.linalg.det(along @ along.T))  # length, area or volume of the cell
    edge = (1.0 / (measure * mesh.n_points)) ** (1.0 / len(along))
    widths = scale * edge / math.sqrt(12.0) * np.linalg.norm(velocities, axis=2)
    reach = _reach(cutoff)
    return Gaussian(np.maximum(widths, least_THz), reach, math.erf(reach / math.sqrt(2.0)))


def _reach(cutoff: float | None) -> float:
    if cutoff is None:
        return UNTRUNCATED
    _require_positive("cutoff", cutoff)
    return cutoff


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name}: expected a positive number, got {value}")
