"""Several potentials added: each sees all atoms, energies, forces and virials are summed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import PackedPositions
from hpcthermo.potentials.base import BoundPotential, FieldExchange, ForceArrays, Limits, Potential, limits_of
from hpcthermo.system import System


class OverlayPotential:
    """The sum of potentials.

    Attributes
    ----------
    style : str
        ``"overlay"``.
    elements : tuple of str
        Those that all parts know.
    parts : tuple of Potential
    sums_in_order : bool
        Whether all parts say so.
    limits : Limits
        Those of the parts; of several reasons the first.

    Raises
    ------
    InputError
        If there are no parts or no element is known to all.
    """

    style = "overlay"

    def __init__(self, parts: Sequence[Potential]) -> None:
        if not parts:
            raise InputError("potential: expected at least one potential in the list, got none")
        self.parts = tuple(parts)
        self.sums_in_order = all(part.sums_in_order for part in parts)
        self.elements = tuple(e for e in parts[0].elements if all(e in part.elements for part in parts))
        limits = [limits_of(part) for part in parts]
        self.limits = Limits(**{ability.name: next(filter(None, (getattr(part, ability.name) for part in limits)), None)
                                for ability in fields(Limits)})
        if not self.elements:
            known = "; ".join(f"{part.style}: {', '.join(part.elements)}" for part in parts)
            raise InputError(f"potential: the parts of an overlay have no element in common ({known})")

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundOverlay:
        """Put the parameters of all parts on the device for this species table.

        Raises
        ------
        InputError
            If a part lacks a species.
        """
        return BoundOverlay([part.bind(species, backend) for part in self.parts])


class BoundOverlay:
    """The parts on a device.

    Attributes
    ----------
    cutoff, ghost_depth : float
        The largest of the parts, A.
    exchanges_fields : bool
        Whether any part exchanges fields.
    parts : list of BoundPotential
    """

    def __init__(self, parts: list[BoundPotential]) -> None:
        self.parts = parts
        self.cutoff = max(part.cutoff for part in parts)
        self.ghost_depth = max(part.ghost_depth for part in parts)
        self.exchanges_fields = any(part.exchanges_fields for part in parts)

    def build_lists(self, system: System, skin: float) -> None:
        """Build the neighbour lists of all parts."""
        for part in self.parts:
            part.build_lists(system, skin)

    def compute(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays,
                exchange: FieldExchange | None = None) -> None:
        """Add energies, forces and, if asked for, virials of all parts for the owned atoms [begin, end)."""
        for part in self.parts:
            part.compute(system, packed, begin, end, output, exchange)
