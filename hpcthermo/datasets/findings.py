"""What checks of a data set find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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


def told_together(findings: Sequence[Finding]) -> list[str]:
    """A line for each reason, with the first of its frames and their number."""
    frames: dict[str, list[Finding]] = {}
    for finding in findings:
        frames.setdefault(finding.reason, []).append(finding)
    return [str(same[0]) + (f" ({len(same)} such frames)" if len(same) > 1 else "") for same in frames.values()]


@dataclass
class Consistency:
    """What a comparison of labels with each other finds.

    Attributes
    ----------
    findings : list of Finding
    facts : dict of str to float
        ``forces_left``, ``energies_left``, ``virials_left``: relative misfit; ``energy_factor``, ``virial_factor``: the
        s that fits best.
    """

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    def add(self, severity: Severity, reason: str, frame: int | None = None) -> None:
        """Add a finding."""
        self.findings.append(Finding(frame, severity, reason))

    def add_unlike(self, plural: str, numbers: Sequence[int]) -> None:
        """Note frames of which nothing can be said."""
        if numbers:
            named = ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
            self.add("note", f"{plural} of {len(numbers)} frames that are unlike the others are not examined (frames "
                             f"{named})")
