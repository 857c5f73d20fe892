"""What ``hpcthermo check`` says of a job of tasks whose time is not estimated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskEstimate:
    """What `check` found.

    Attributes
    ----------
    lines : list of (str, str)
        What and how much.
    """

    lines: list[tuple[str, str]]

    def text(self) -> str:
        """The estimate for people."""
        return "\n".join(f"{name:<16}{value}" for name, value in self.lines)
