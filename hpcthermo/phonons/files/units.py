"""Units that files of phonopy name, in eV and A."""

from __future__ import annotations

import re

from hpcthermo.errors import InputError

#: CODATA 2018
BOHR_A = 0.529177210903
HARTREE_EV = 27.211386245988

_LENGTHS = {"angstrom": 1.0, "au": BOHR_A, "bohr": BOHR_A}
_ENERGIES = {"ev": 1.0, "ry": HARTREE_EV / 2.0, "mry": HARTREE_EV / 2000.0, "hartree": HARTREE_EV}


def length_factor(unit: str, where: str) -> float:
    """What a length in this unit is multiplied with to be in A."""
    if unit.lower() not in _LENGTHS:
        raise InputError(f"{where}: physical_unit.length: expected one of {sorted(_LENGTHS)}, got {unit[:30]!r}; "
                         "convert the file")
    return _LENGTHS[unit.lower()]


def force_constant_factor(unit: str, order: int, where: str) -> float:
    """What force constants in a unit such as eV/angstrom^2, Ry/au^2 or eV/angstrom.au are multiplied with.

    Parameters
    ----------
    order : int
        Powers of length that are expected.
    """
    energy, _, lengths = unit.lower().partition("/")
    factor, powers = _ENERGIES.get(energy.strip()), 0
    for part in lengths.split("."):
        match = re.fullmatch(r"\s*([a-z]+)(?:\^(\d))?\s*", part)
        if match is None or match[1] not in _LENGTHS or factor is None:
            factor = None
            break
        power = int(match[2] or 1)
        factor /= _LENGTHS[match[1]] ** power
        powers += power
    if factor is None or powers != order:
        raise InputError(f"{where}: expected force constants in eV/angstrom^{order} or a unit like Ry/au^{order}, got "
                         f"{unit[:30]!r}; convert the file")
    return factor
