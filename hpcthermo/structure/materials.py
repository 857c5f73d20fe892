"""Two-dimensional crystals by name, each by its primitive cell.

All are hexagonal with a1 = (a, 0), a2 = (a/2, sqrt(3) a/2), so that x runs along zigzag. In fractions of a1 and a2 the
three high-symmetry sites of a layer are

    site 0: (0, 0)        site 1: (1/3, 1/3)        hollow: (2/3, 2/3)

A honeycomb has one atom on site 0 and one on site 1. A dichalcogenide MX2 has M on site 0 and an X above and below
site 1. Going from site to site along y is one bond length a / sqrt(3) in projection.
"""

from __future__ import annotations

import math

from hpcthermo.errors import InputError
from hpcthermo.structure.sheet import Sheet

_SITE_0, _SITE_1 = (0.0, 0.0), (1.0 / 3.0, 1.0 / 3.0)


def hexagonal_lattice(lattice_constant: float) -> list[list[float]]:
    """Rows a1 = (a, 0) and a2 = (a/2, sqrt(3) a/2), A."""
    return [[lattice_constant, 0.0], [0.5 * lattice_constant, 0.5 * math.sqrt(3.0) * lattice_constant]]


def _honeycomb(name: str, species: tuple[str, str], a: float, spacing: float, stiffness: float, source: str) -> Sheet:
    return Sheet.create(name, hexagonal_lattice(a), species, [_SITE_0, _SITE_1], [0.0, 0.0], spacing, stiffness, source)


def _dichalcogenide(metal: str, chalcogen: str, a: float, c: float, z: float, stiffness: float, source: str) -> Sheet:
    """MX2 from the 2H crystal (P6_3/mmc): M on (1/3, 2/3, 1/4), X on (1/3, 2/3, z), layers c/2 apart."""
    height = (0.75 - z) * c
    return Sheet.create(f"{metal}{chalcogen}2", hexagonal_lattice(a), (metal, chalcogen, chalcogen),
                        [_SITE_0, _SITE_1, _SITE_1], [0.0, -height, height], 0.5 * c, stiffness, source)


#: Lattice constants and layer spacings are experimental. NEP and PBE+MBD give the same two digits of a for graphene and
#: h-BN (Liang et al. 2025, Table S1). The last number is the in-plane stiffness (two-dimensional Young's modulus, N/m),
#: which decides who yields when strain is shared by stiffness; measurements of it scatter by a third. The cells of WS2
#: and MoSe2 could not be compared with a second listing; their bonds come out as 2.405 and 2.527 A.
MATERIALS: dict[str, Sheet] = {sheet.name: sheet for sheet in (
    _honeycomb("graphene", ("C", "C"), 2.46, 3.35, 340.0,
               "Liang et al. 2025, Table S1, column Expt. (spacings 3.34 and 3.36 A); stiffness: Lee et al., Science "
               "321, 385 (2008)"),
    _honeycomb("h-BN", ("B", "N"), 2.50, 3.33, 289.0,
               "Liang et al. 2025, Table S1, column Expt.; stiffness: Falin et al., Nat. Commun. 8, 15815 (2017)"),
    _dichalcogenide("Mo", "S", 3.160, 12.294, 0.621, 180.0,
                    "Bronsema et al., Z. anorg. allg. Chem. 540, 15 (1986); z: Dickinson and Pauling, J. Am. Chem. "
                    "Soc. 45, 1466 (1923); stiffness: Bertolazzi et al., ACS Nano 5, 9703 (2011)"),
    _dichalcogenide("W", "S", 3.1532, 12.323, 0.6225, 177.0,
                    "Schutte et al., J. Solid State Chem. 70, 207 (1987); stiffness: Liu et al., Nano Lett. 14, 5097 "
                    "(2014)"),
    _dichalcogenide("W", "Se", 3.282, 12.960, 0.6211, 168.0,
                    "Schutte et al., J. Solid State Chem. 70, 207 (1987); stiffness: 259 GPa (one layer) times the "
                    "layer spacing, Falin et al., ACS Nano 15, 2600 (2021); in multilayers 167 GPa, Zhang et al., "
                    "Appl. Phys. Lett. 108, 042104 (2016)"),
    _dichalcogenide("Mo", "Se", 3.289, 12.927, 0.621, 115.0,
                    "Bronsema et al., Z. anorg. allg. Chem. 540, 15 (1986); stiffness: 177 GPa times the layer "
                    "spacing, Yang et al., Adv. Mater. 29, 1604201 (2017)"),
)}


def find_material(material: str | Sheet, key: str = "structure.layers") -> Sheet:
    """A two-dimensional crystal by name; a `Sheet` is returned as it is.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if isinstance(material, Sheet):
        return material
    if material not in MATERIALS:
        raise InputError(f"{key}: material must be one of {', '.join(MATERIALS)}, got {material!r}; correct it, or "
                         "give a file with the cell of a layer")
    return MATERIALS[material]
