"""What a check of a data set finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["refused", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One line about a frame, or about the whole set.

    Attributes
    ----------
    frame : int or None
        Number of the frame, from 0; None for the set.
    severity : str
        "refused": no potential can be trained on it; "warning": look at it; "note": what could not be examined.
    reason : str
    """

    frame: int | None
    severity: Severity
    reason: str

    def __str__(self) -> str:
        return f"{'data set' if self.frame is None else f'frame {self.frame}'}: {self.reason}"
