"""Units in which labels are found by mistake, and the naming of a factor that labels need."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: eV, A in the unit named
HARTREE, BOHR = 27.211386, 0.52917721
ENERGY_UNITS = {"hartree": HARTREE, "rydberg": HARTREE / 2.0, "kcal/mol": 0.0433641, "kJ/mol": 0.01036427,
                "meV": 1e-3}
FORCE_UNITS = {"hartree/bohr": HARTREE / BOHR, "rydberg/bohr": HARTREE / 2.0 / BOHR, "hartree/A": HARTREE,
               "rydberg/A": HARTREE / 2.0, "kcal/mol/A": 0.0433641, "kJ/mol/A": 0.01036427,
               "meV/A": 1e-3}
#: what a virial is that was made of a pressure in another unit, in eV
VIRIAL_UNITS = {**ENERGY_UNITS, "volume x GPa": 1.0 / 160.21766, "volume x kbar": 1.0 / 1602.1766,
                "volume x hartree/bohr^3": HARTREE / BOHR**3, "volume x rydberg/bohr^3": HARTREE / 2.0 / BOHR**3}
#: a factor within this ratio of a unit names it
_SAME_UNIT = 1.15


def named_cause(factor: float, units: Mapping[str, float]) -> str:
    """What a factor that labels need may come from."""
    close = [name for name, value in units.items() if abs(np.log(abs(factor) / value)) < np.log(_SAME_UNIT)]
    causes = [*(["the other sign"] if factor < 0.0 else []), *([" or ".join(close)] if close else [])]
    return f" ({' and '.join(causes)}?)" if causes else ""
