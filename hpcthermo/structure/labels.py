"""Stress and virial of a frame: one sign, one unit.

The virial is W = -V sigma in eV, sigma the stress in eV/A^3, positive under tension (ASE's convention). Files in which
the two disagree have one of them in another sign or unit, and nothing says which.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.units import PRESSURE_GPA

_TOLERANCE = 1e-3


def check_virial(atoms: Any, source: str) -> None:
    """Refuse a frame whose ``virial`` is not minus volume times its ``stress``; frames with one of them pass.

    Parameters
    ----------
    atoms : ase.Atoms
        As read from extended XYZ: ``virial`` in ``info`` (9 or 6 numbers), ``stress`` in ``info`` or its calculator.

    Raises
    ------
    InputError
        Naming the factor between the two.
    """
    stress = atoms.info.get("stress", getattr(atoms.calc, "results", {}).get("stress"))
    virial = atoms.info.get("virial")
    if stress is not None and virial is not None:
        virial_of(virial, stress, atoms.get_volume(), source)


def virial_of(virial: Any, stress: Any, volume: float, source: str) -> np.ndarray | None:
    """Virial of a frame that gives its virial, its stress or both.

    Parameters
    ----------
    virial, stress : 9 numbers, or 6 in the order xx yy zz yz xz xy, or None
        eV; eV/A^3, positive under tension.
    volume : float
        Of the cell, A^3.
    source : str
        Named by errors.

    Returns
    -------
    (3, 3) float64 or None
        eV; the virial as given, else -volume x stress.

    Raises
    ------
    InputError
        If both are given and differ, naming the factor between them.
    """
    if stress is None:
        return None if virial is None else _matrix(virial, "virial", source)
    if not volume > 0.0:
        raise InputError(f"{source}: a stress needs a cell of three vectors; give the cell, or remove the stress")
    expected = -_matrix(stress, "stress", source) * volume
    if virial is None:
        return expected
    given = _matrix(virial, "virial", source)
    size = float(np.abs(expected).max())
    if float(np.abs(given - expected).max()) <= _TOLERANCE * max(size, 1e-3):
        return given
    factor = float((given * expected).sum() / max((expected**2).sum(), 1e-300))
    hints = {-1.0: " (opposite sign)", PRESSURE_GPA: " (stress in GPa?)", 1.0 / PRESSURE_GPA: " (GPa?)",
             -PRESSURE_GPA: " (opposite sign and GPa?)"}
    hint = next((text for value, text in hints.items() if abs(factor - value) < 0.01 * abs(value)), "")
    raise InputError(f"{source}: virial is {factor:.4g} times -volume x stress{hint}; expected virial in eV and stress "
                     "in eV/A^3, positive under tension; correct or remove one of them")


def _matrix(values: Any, name: str, source: str) -> np.ndarray:
    """(3, 3) from 9 numbers or 6 in the order xx yy zz yz xz xy."""
    try:
        array = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.size == 9:
        return array.reshape(3, 3)
    if array.size == 6:
        xx, yy, zz, yz, xz, xy = array
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    raise InputError(f"{source}: {name} must hold 9 numbers, or 6 (xx yy zz yz xz xy), got {array.size}; correct it")
