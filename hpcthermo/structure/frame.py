"""A structure with what is known about its making."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpcthermo.domain.snapshot import Snapshot

Facts = dict[str, str | int | float]


@dataclass(frozen=True)
class Frame:
    """One structure of a data set or series.

    Attributes
    ----------
    snapshot : Snapshot
    facts : dict
        Builder, indices, strains, seed, perturbations: written into the comment line of extended XYZ.
    label : str
        Tells the members of a series of structures apart; empty for a single one.
    """

    snapshot: Snapshot
    facts: Facts = field(default_factory=dict)
    label: str = ""
