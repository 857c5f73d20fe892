"""The cell as something that changes: its free components, its volume, and deformations of cell and atoms together.

A deformation M acts on row vectors, C <- C M and r <- r M. Component (a, b) of a strain e, M = exp(e), stands at e_ba
(a <= b): off-diagonal components shear along a as b grows, so a lower-triangular cell stays one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.domain.grid import frame_cell
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.tensors import COMPONENTS


def periodic_components(cell: np.ndarray, periodic: np.ndarray) -> tuple[str, ...]:
    """Components whose axes lie in the span of the periodic cell vectors."""
    vectors = cell[periodic]
    projector = np.linalg.pinv(vectors) @ vectors if len(vectors) else np.zeros((3, 3))
    inside = np.linalg.norm(np.eye(3) - projector, axis=1) < 1e-6
    return tuple(name for name, axes in COMPONENTS.items() if all(inside[a] for a in axes))


def free_to_change(wanted: tuple[str, ...], cell: np.ndarray, periodic: np.ndarray, isotropic: bool) -> tuple[str, ...]:
    """Components out of those wanted that lie along periodic directions.

    Raises
    ------
    InputError
        If there is none, or a name is unknown.
    """
    unknown = [name for name in wanted if name not in COMPONENTS]
    if unknown:
        raise InputError(f"npt: free_components: expected names out of {', '.join(COMPONENTS)}, got {unknown[0]!r}")
    free = tuple(name for name in periodic_components(cell, periodic) if name in wanted)
    if isotropic:
        free = tuple(name for name in free if name[0] == name[1])
    if not free:
        raise InputError("npt: free_components: expected one along a periodic direction, got "
                         f"{', '.join(wanted) or 'none'}; use a constant-volume ensemble")
    return free


def open_length(engine: Engine) -> float:
    """Product of the extents of the atoms along directions without a cell vector, A, or 1 (collective)."""
    missing = np.linalg.norm(engine.system.cell, axis=1) == 0.0
    length = 1.0
    for direction in frame_cell(engine.system.cell)[missing]:
        n = engine.system.n_owned
        heights = engine.backend.to_host(engine.system.positions[:n] @ engine.backend.xp.asarray(direction))
        bounds = np.array([heights.max(), -heights.min()]) if n else np.full(2, -np.inf)
        length *= max(float(engine.comm.allreduce_max(bounds).sum()), 1.0)
    return length


def volume(engine: Engine) -> float:
    """Volume of the frame cell, A^3; multiply by `open_length` where directions have no cell vector."""
    return float(abs(np.linalg.det(frame_cell(engine.system.cell))))


def deform(engine: Engine, deformation: np.ndarray) -> None:
    """C <- C M, r <- r M with M (3, 3); forces are then those of the `compute` to come."""
    system, backend = engine.system, engine.backend
    matrix = np.ascontiguousarray(deformation)
    system.cell = system.cell @ matrix
    backend.launch("integrate", "deform_positions", 0, system.n_owned, backend.xp.asarray(matrix), system.positions,
                   per="thread")


def exponential(strain: np.ndarray) -> Any:
    """Exponential of a small matrix, to rounding."""
    result, term, order = np.eye(3) + strain, strain, 1
    while np.abs(term).max() > 1e-18:
        order += 1
        term = term @ strain / order
        result = result + term
    return np.ascontiguousarray(result)
