"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hpcthermo.results import Quantity


@dataclass(frozen=True)
class Measured:
    """Numbers of one check, by their paths within the group of the check.

    Attributes
    ----------
    quantities : dict of str to Quantity
    attributes : dict of str to dict
        By the path of a group.
    """

    quantities: dict[str, Quantity]
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
