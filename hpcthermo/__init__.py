"""Heat transport with machine-learned potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcthermo.calculator import Calculator

__all__ = ["Calculator"]


def __getattr__(name: str) -> Any:
    """Import `Calculator` on first use, so that ``import hpcthermo`` stays light."""
    if name == "Calculator":
        from hpcthermo.calculator import Calculator

        return Calculator
    raise AttributeError(f"module 'hpcthermo' has no attribute {name!r}")
