"""Which atom of a layer sits on which atom of the layer below: the names of stackings, written out.

Sites are those of `hpcthermo.structure.materials`. A registry says whether the upper layer is turned by 180 degrees
relative to the lower one, and by how many bonds it is shifted along y.

=====  ======  =====  ==========================  ==========================  ==================
name   turned  bonds  on site 0 below (B, M)      on site 1 below (N, X)      above the hollow
=====  ======  =====  ==========================  ==========================  ==================
AA     no      0      site 0 (B on B)             site 1 (N on N)             hollow
AA'    yes     0      site 1 (N on B)             site 0 (B on N)             hollow
AB     no      +1     site 1 (N on B)             hollow                      site 0 (B)
BA     no      -1     hollow                      site 0 (B on N)             site 1 (N)
AB'    yes     +1     site 0 (B on B)             hollow                      site 1 (N)
A'B    yes     -1     hollow                      site 1 (N on N)             site 0 (B)
DW     no      3/2    halfway from AB to BA over the saddle (domain wall)
DW'    yes     3/2    halfway from AB' to A'B over the saddle
=====  ======  =====  ==========================  ==========================  ==================

Between unlike layers the same table holds, with one exception: for an elemental layer on a binary one (graphene on
h-BN), where AB and AB' would be the same, AB is C on N, as in Liang et al. 2025, whose ABp is AB': C on B.
If the lower layer is itself turned, shifts change sign, so that the table stays true for its atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.sheet import Sheet

#: one bond along +y, in fractions of a1 and a2
_BOND = np.array([-1.0 / 3.0, 2.0 / 3.0])


@dataclass(frozen=True)
class Registry:
    """Placement of a layer on the one below.

    Attributes
    ----------
    turned : bool
        By 180 degrees relative to the layer below.
    bonds : float
        Shift along y, bond lengths.
    """

    turned: bool
    bonds: float

    @property
    def shift(self) -> np.ndarray:
        """(2,) shift in fractions of a1 and a2."""
        return self.bonds * _BOND


REGISTRIES = {
    "AA": Registry(False, 0.0), "AA'": Registry(True, 0.0),
    "AB": Registry(False, 1.0), "BA": Registry(False, -1.0),
    "AB'": Registry(True, 1.0), "A'B": Registry(True, -1.0),
    "DW": Registry(False, 1.5), "DW'": Registry(True, 1.5),
}
#: placement of layer k of a material relative to its first layer: entry k modulo the length
SEQUENCES: dict[str, tuple[Registry, ...]] = {
    **{name: (Registry(False, 0.0), registry) for name, registry in REGISTRIES.items()},
    "AA": (Registry(False, 0.0),),
    "ABC": (Registry(False, 0.0), Registry(False, 1.0), Registry(False, 2.0)),
}


def find_registry(name: str, lower: Sheet, upper: Sheet) -> Registry:
    """How a layer lies on the one below, by name.

    Raises
    ------
    InputError
        For an unknown name, or a name that means nothing for lattices that are not hexagonal.
    """
    if name not in REGISTRIES:
        raise InputError(f"structure: registry must be one of {', '.join(REGISTRIES)}, got {name!r}; correct it")
    if name != "AA" and not (lower.is_hexagonal and upper.is_hexagonal):
        raise InputError(f"structure: registry {name} is defined for hexagonal layers, {lower.name} on {upper.name} "
                         "are not both; use AA and an offset")
    if name == "AB" and upper.is_elemental and not lower.is_elemental:
        return REGISTRIES["BA"]
    return REGISTRIES[name]


def find_sequence(name: str, sheet: Sheet) -> tuple[Registry, ...]:
    """Placements of the layers of one material.

    Raises
    ------
    InputError
        For an unknown name, or a name that means nothing for a lattice that is not hexagonal.
    """
    if name not in SEQUENCES:
        raise InputError(f"structure.layers: stacking must be one of {', '.join(SEQUENCES)}, got {name!r}; correct it")
    if name != "AA" and not sheet.is_hexagonal:
        raise InputError(f"structure.layers: stacking {name} is defined for hexagonal layers, {sheet.name} is not; use "
                         "AA and offsets")
    return SEQUENCES[name]
