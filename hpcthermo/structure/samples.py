"""Crystals by name, about 10,000 atoms each, for `hpcthermo bench` and first tries."""

from __future__ import annotations

from collections.abc import Callable

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.structure.build import crystal_snapshot, layered_stack_snapshot
from hpcthermo.structure.crystals import CRYSTALS
from hpcthermo.structure.layered_stack import LayerBlock
from hpcthermo.structure.repeat import repeat_snapshot

_LAYERS, _CELLS_IN_PLANE = 8, (23, 14)
_CUBIC_CELLS = 11


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


def _crystal(name: str) -> Snapshot:
    return repeat_snapshot(crystal_snapshot(CRYSTALS[name].unit_cell(name)), (_CUBIC_CELLS,) * 3)


_TABLE: dict[str, Callable[[], Snapshot]] = {
    "graphite": lambda: _stack(("graphene", "AB")),
    "hbn": lambda: _stack(("h-BN", "AA'")),
    "gr_hbn": lambda: _stack(("graphene", "AB"), ("h-BN", "AA'")),
    "silicon": lambda: _crystal("Si"),
    "diamond": lambda: _crystal("diamond"),
}
