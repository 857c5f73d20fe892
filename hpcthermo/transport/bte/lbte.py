r"""The linearised Boltzmann equation, by conjugate gradients.

    (Gamma + M) X = B        B = f v / sinh(x)        kappa = (h^2 / 16 pi k_B T^2 N V) sum B X        x = h f / 2 k_B T

    symbol   is
    Gamma    linewidths of all scattering on the diagonal, THz
    M        collision matrix (`collisions`), THz: what other modes gain when a mode loses
    B, X     fields of vectors at irreducible points, (I, B, 3)

M = 0 is the relaxation-time approximation. X says how far a mode carries heat: with exactly C the heat capacity,

    kappa = (1/N V) sum C v L^T        L = (sinh(x) / 4 pi f) X

and L = v tau without M. The three directions of a field turn into each other, so one solution gives the whole tensor.

Gamma + M is symmetric. With *shared weights* (`collisions`) it is positive too; without them a mesh has to be fine
enough for that. Conjugate gradients with the diagonal as preconditioner always end then, unlike iterating
X = (B - M X)/Gamma, which can diverge where normal processes dominate.
The functional 2 (B, X) - (X, (Gamma + M) X) is no more than (B, X_exact), grows with every step, and its error is the
square of that of X.

Isotopes and boundaries are on the diagonal only: phonons scattered by them are lost to the flow.

Where bands cross at the zone boundary, each has a velocity although the sum over the bands has the symmetry of the
point. Collisions see the sum only, so the rest flows as in the relaxation-time approximation. phono3py leaves that
rest out of the full equation (not out of the approximation); `keep_crossing=False` (`bte.crossing_bands` of a job) does
the same. It matters on coarse meshes with even divisions: silicon, 4 x 4 x 4, 200 K: 12 %; nothing on meshes with odd
divisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import PhysicsError
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean
from hpcthermo.transport.bte.collisions import CollisionMatrix, Collisions, Stars, inverse_sinh
from hpcthermo.transport.bte.conductivity import Conductivity, Thickness
from hpcthermo.transport.bte.mesh import Mesh

#: residuals are brought down to this, relative to the right-hand side
TOLERANCE = 1e-9
#: steps at most
MOST_STEPS = 500

Solver = Callable[[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray, np.ndarray], "Solved"]


@dataclass(frozen=True)
class Solved:
    """A solution at one temperature.

    Attributes
    ----------
    field : (I, B, 3) ndarray
        X.
    steps : int
    residual : float
        Norm of B - (Gamma + M) X by that of B.
    variational : tuple of float
        The functional by its value in the relaxation-time approximation, at each step.
    """

    field: np.ndarray
    steps: int
    residual: float
    variational: tuple[float, ...]


@dataclass(frozen=True)
class FullSolution:
    """Conductivity by the full equation, and how each temperature was solved.

    Attributes
    ----------
    conductivity : Conductivity
        Not numbers at temperatures without a solution.
    solved : tuple of Solved
        By temperature.
    failures : dict of int to str
        Why there is no solution, by the index of the temperature.
    linewidths : (I, n_T, B) ndarray
        Gamma, THz.
    """

    conductivity: Conductivity
    solved: tuple[Solved, ...]
    failures: dict[int, str]
    linewidths: np.ndarray


def solve(mesh: Mesh, frequencies: np.ndarray, velocities: np.ndarray, gamma: np.ndarray, temperatures: np.ndarray,
          collisions: Collisions, prefactor: float, thickness: Thickness | None = None,
          solver: Solver | None = None, keep_crossing: bool = True,
          threads: int = 1, replaced: np.ndarray | None = None) -> FullSolution:
    """Conductivity by the full equation.

    Parameters
    ----------
    frequencies : (N, B) array
        On the whole mesh, THz.
    velocities : (I, B, 3) array
        At irreducible points, A/ps.
    gamma : (I, n_T, B) array
        Of all scattering, THz.
    collisions, prefactor
        Of three-phonon processes; `ThreePhononRates.prefactor`.
    solver : callable, optional
        (matrix, diagonal (I, B), right-hand side (I, B, 3), sizes of stars (I,)) -> Solved; conjugate gradients
        without.
    keep_crossing : bool
        Keep what flows in bands that cross at the zone boundary.
    threads : int
        Of this process; the result does not depend on how many.
    replaced : (I, n_T, B) array, optional
        The part of `gamma` of the listed processes. If given, these have shared weights, in their linewidths too.

    Notes
    -----
    A temperature at which the matrix is not positive, or the steps do not end, is told in `FullSolution.failures`
    and takes nothing from the others.
    """
    stars = Stars.of(mesh)
    points = mesh.irreducible[0]
    f = frequencies[points]
    if not keep_crossing:
        velocities = degenerate_mean(f, velocities @ stars.projections.transpose(0, 2, 1))
    displacements, solved, linewidths, failures = [], [], [], dict[int, str]()
    for t, temperature in enumerate(np.asarray(temperatures, dtype=np.float64)):
        matrix = CollisionMatrix(collisions, stars, frequencies, prefactor, float(temperature), threads,
                                 shared=replaced is not None)
        total = gamma[:, t]
        if replaced is not None and matrix.linewidths is not None:
            total = total - replaced[:, t] + matrix.linewidths
        active = (f > CUTOFF_FREQUENCY_THZ) & (total > 0.0)
        diagonal = np.where(active, total, 1.0)
        weight = np.where(active, f * inverse_sinh(f, float(temperature)), 0.0)
        right = weight[..., None] * velocities
        try:
            found = (solver or conjugate_gradients)(matrix, diagonal, right, stars.sizes)
        except PhysicsError as failure:
            failures[t] = str(failure)
            found = Solved(np.full_like(right, np.nan), 0, np.nan, ())
        excited = weight > np.finfo(float).tiny
        by_field = np.where(excited, 0.25 / np.pi, 0.0) / np.where(excited, weight, 1.0)
        displacements.append(by_field[..., None] * found.field)
        solved.append(found)
        linewidths.append(total)
    conductivity = Conductivity.of_displacements(mesh, f, velocities, np.array(displacements), temperatures, thickness)
    return FullSolution(conductivity, tuple(solved), failures, np.stack(linewidths, axis=1))


def conjugate_gradients(matrix: Callable[[np.ndarray], np.ndarray], diagonal: np.ndarray, right: np.ndarray,
                        sizes: np.ndarray) -> Solved:
    """Solve (Gamma + M) X = B with Gamma as preconditioner, from the relaxation-time approximation on.

    Raises
    ------
    PhysicsError
        If the matrix is not positive, or the residual does not come down.
    """
    weights = sizes[:, None, None]

    def product(one: np.ndarray, other: np.ndarray) -> float:
        return float((weights * one * other).sum())

    inverse = 1.0 / diagonal[..., None]
    x = inverse * right
    residual = -matrix(x)
    goal = TOLERANCE * np.sqrt(product(right, right))
    first = product(right, x)
    if first == 0.0:
        return Solved(x, 0, 0.0, (1.0,))  # so cold that no mode is excited
    # (B, X) + (r, X) is the functional: 2 (B, X) - (X, A X) with A X = B - r
    history = [(first + product(residual, x)) / first]
    preconditioned = inverse * residual
    direction, rz = preconditioned, product(residual, preconditioned)
    for step in range(MOST_STEPS):
        norm = np.sqrt(product(residual, residual))
        if norm <= goal:
            return Solved(x, step, TOLERANCE * norm / goal, tuple(history))
        applied = matrix(direction) + diagonal[..., None] * direction
        curvature = product(direction, applied)
        if not curvature > 0.0:
            raise PhysicsError("collision matrix: expected positive eigenvalues, got a direction with "
                               f"{curvature / product(direction, direction):.1e} THz; use shared weights or a finer "
                               "mesh")
        length = rz / curvature
        x = x + length * direction
        residual = residual - length * applied
        preconditioned = inverse * residual
        before, rz = rz, product(residual, preconditioned)
        direction = preconditioned + rz / before * direction
        history.append((product(right, x) + product(residual, x)) / first)
    raise PhysicsError(f"full Boltzmann equation: expected convergence within {MOST_STEPS} steps, got a residual of "
                       f"{TOLERANCE * norm / goal:.1e}")
