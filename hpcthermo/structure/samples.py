"""Crystals by name, about 10,000 atoms each, for `hpcthermo bench` and first tries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.structure.build import layered_stack_snapshot, make_snapshot
from hpcthermo.structure.layered_stack import LayerBlock

_LAYERS, _CELLS_IN_PLANE = 8, (23, 14)
_CUBIC_CELLS = 11
#: lattice constants at room temperature, A
_SILICON_A, _DIAMOND_A = 5.431, 3.567
#: place of the eight atoms of the cubic diamond cell, in quarters of its edge
_DIAMOND_QUARTERS = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]])


def sample_names() -> tuple[str, ...]:
    """Names that `sample_structure` knows."""
    return tuple(_TABLE)


def sample_structure(name: str) -> Snapshot:
    """A periodic crystal by name.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in _TABLE:
        raise InputError(f"structure: no crystal is called {name!r}; expected one of {', '.join(_TABLE)}")
    return _TABLE[name]()


def _stack(*materials: tuple[str, str]) -> Snapshot:
    """Layers of materials with their stackings, `_LAYERS` in total."""
    count = _LAYERS // len(materials)
    blocks = [LayerBlock(material, count, _CELLS_IN_PLANE, stacking) for material, stacking in materials]
    return layered_stack_snapshot(blocks, spacing=3.35, vacuum=0.0)


def _diamond_lattice(symbol: str, edge: float) -> Snapshot:
    corners = np.indices((_CUBIC_CELLS,) * 3).reshape(3, -1).T
    positions = edge * (corners[:, None, :] + 0.25 * _DIAMOND_QUARTERS).reshape(-1, 3)
    cell = np.eye(3) * edge * _CUBIC_CELLS
    return make_snapshot(cell, np.array([True, True, True]), [symbol] * len(positions), positions)


_TABLE: dict[str, Callable[[], Snapshot]] = {
    "graphite": lambda: _stack(("graphene", "AB")),
    "hbn": lambda: _stack(("h-BN", "AA'")),
    "gr_hbn": lambda: _stack(("graphene", "AB"), ("h-BN", "AA'")),
    "silicon": lambda: _diamond_lattice("Si", _SILICON_A),
    "diamond": lambda: _diamond_lattice("C", _DIAMOND_A),
}
