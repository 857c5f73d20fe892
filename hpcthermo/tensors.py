"""Names of the components of symmetric Cartesian tensors, in Voigt's order."""

from __future__ import annotations

#: component -> Cartesian axes a, b
COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}
VOIGT = tuple(COMPONENTS)
