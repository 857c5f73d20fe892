"""[binding_curve], [sliding_surface] and [moire_map]: how layers hold together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from hpcthermo.config.base import Angstrom, Section, Text
from hpcthermo.config.relaxation import Relaxation

Gap = Annotated[int, Field(ge=0, le=100_000, strict=True)]
Fraction = Annotated[float, Field(ge=-100.0, le=100.0, strict=True)]
Count = Annotated[int, Field(ge=3, le=10_000, strict=True)]
MOST_POINTS = 100_000


class BindingCurve(Section):
    """Energy against the distance of two neighbouring layers, all layers rigid."""

    gap: Gap = 0
    """The gap that opens, between this layer and the next; layers above it move."""
    distances_A: tuple[Angstrom, ...] | None = Field(default=None, min_length=5, max_length=MOST_POINTS)
    """Distances of the mean heights of the two layers."""
    range_A: tuple[Angstrom, Angstrom, Angstrom] | None = None
    """Instead: first, last and step."""
    reference_file: Text | None = None
    """Text with the distance (A) and the energy (eV/atom) in its last two columns, to compare with."""

    @model_validator(mode="after")
    def _one_way(self) -> Any:
        if (self.distances_A is None) == (self.range_A is None):
            raise ValueError("expected either distances_A or range_A; give exactly one of them")
        if self.range_A is not None and (
                4.0 * self.range_A[2] > (self.range_A[1] - self.range_A[0]) * (1.0 + 1e-9)):
            raise ValueError(f"range_A: expected [first, last, step] with at least five points, got "
                             f"{list(self.range_A)}; correct it")
        if len(self.distances) > MOST_POINTS or np.any(np.diff(self.distances) <= 0.0):
            raise ValueError(f"distances_A: expected up to {MOST_POINTS} numbers that grow; sort them")
        return self

    @property
    def distances(self) -> np.ndarray:
        """(P,) distances, A."""
        if self.distances_A is not None:
            return np.array(self.distances_A)
        first, last, step = self.range_A or (0.0, 0.0, 1.0)
        return first + step * np.arange(round((last - first) / step) + 1)


class SlidingSurface(Section):
    """Energy of shifting the layers above a gap over those below."""

    gap: Gap = 0
    """The gap, between this layer and the next; layers above it move."""
    points: tuple[Count, Count] = (21, 21)
    """Grid points along the two edges, both ends included."""
    edges: tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]] = ((1.0, 0.0), (0.0, 1.0))
    """Edges of the grid in multiples of the cell vectors a and b; ends must be the same stacking."""
    relax: Literal["none", "distance", "z"] = "z"
    """What relaxes at each point: nothing, the distance of the two rigid parts, or every atom along z."""
    force_tolerance_eV_per_A: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 1e-4
    """Of that relaxation."""
    reference_file: Text | None = None
    """Text or .npy with the energies (meV/atom, first edge slowest), to compare with."""

    @model_validator(mode="after")
    def _in_the_plane(self) -> Any:
        (ax, ay), (bx, by) = self.edges
        if abs(ax * by - ay * bx) < 1e-6:
            raise ValueError(f"edges: expected two edges that span a cell, got {[list(edge) for edge in self.edges]}")
        if self.points[0] * self.points[1] > MOST_POINTS:
            raise ValueError(f"points: expected at most {MOST_POINTS} in all, got {self.points[0] * self.points[1]}")
        return self

    @property
    def fractions(self) -> np.ndarray:
        """(P, 2) shifts in multiples of a and b, the first edge slowest."""
        steps = [np.linspace(0.0, 1.0, count) for count in self.points]
        grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)
        return grid @ np.array(self.edges)


class MoireMap(Relaxation):
    """Local stacking, distance and interlayer energy of two honeycomb layers."""

    interface: tuple[Gap, Gap] = (0, 1)
    """Lower and upper layer."""
    core_radius_A: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 0.15
    """Atoms whose registry departs less from that of a stacking stand for it in the table of distances and energies."""

    @model_validator(mode="after")
    def _neighbours(self) -> Any:
        if self.interface[1] != self.interface[0] + 1:
            raise ValueError(f"interface: expected two neighbouring layers, lower first, got {list(self.interface)}")
        return self
