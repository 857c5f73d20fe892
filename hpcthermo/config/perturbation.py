"""[[structure.perturbation]]: what makes a data set of one structure; each table turns every frame into several."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcthermo.config.base import Angstrom, Component, Element, LayerIndex, Section

Frames = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Share = Annotated[float, Field(gt=0.0, lt=1.0, strict=True)]
Distance = Annotated[float, Field(ge=1.2, le=1e4, strict=True)]
Percent = Annotated[float, Field(ge=-50.0, le=50.0, strict=True)]


class StrainPerturbation(Section):
    """Homogeneous strain of cell and positions, given or random."""

    kind: Literal["strain"]
    """Kind of perturbation."""
    components: tuple[Component, ...] = Field(default=("xx", "yy"), min_length=1)
    """Components of the symmetric strain tensor that change."""
    values_percent: tuple[Percent, ...] = ()
    """A scan: one frame per value, all components alike."""
    maximum_percent: Annotated[float, Field(gt=0.0, le=50.0, strict=True)] | None = None
    """Instead: each component uniform within plus and minus this."""
    frames: Frames = 1
    """Random frames of each frame."""

    @model_validator(mode="after")
    def _one_form(self) -> Any:
        if bool(self.values_percent) == (self.maximum_percent is not None):
            raise ValueError("expected either values_percent (a scan) or maximum_percent (random); give one of them")
        if self.values_percent and self.frames != 1:
            raise ValueError("frames belongs to maximum_percent; a scan has one frame for each of values_percent")
        return self


class RattlePerturbation(Section):
    """Normally distributed displacements of all atoms."""

    kind: Literal["rattle"]
    """Kind of perturbation."""
    deviation_A: Annotated[float, Field(gt=0.0, le=2.0, strict=True)]
    """Standard deviation of each component."""
    frames: Frames = 1
    """Random frames of each frame."""


class _Chosen(Section):
    """How many atoms of an element are changed."""

    count: Count | None = None
    """Number of atoms."""
    fraction: Share | None = None
    """Instead: share of the atoms (of the element)."""
    frames: Frames = 1
    """Random frames of each frame."""

    @model_validator(mode="after")
    def _one_amount(self) -> Any:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("expected either count or fraction; give one of them")
        return self


class VacancyPerturbation(_Chosen):
    """Atoms removed at random places."""

    kind: Literal["vacancies"]
    """Kind of perturbation."""
    element: Element | None = None
    """Only atoms of this element."""


class SubstitutionPerturbation(_Chosen):
    """Atoms of one element replaced by another at random places."""

    kind: Literal["substitution"]
    """Kind of perturbation."""
    element: Element
    """Element that is replaced."""
    by: Element
    """Element that takes its place."""


class StoneWalesPerturbation(Section):
    """Bonds of honeycomb layers turned by 90 degrees: two pentagons and two heptagons each."""

    kind: Literal["stone_wales"]
    """Kind of perturbation."""
    count: Count = 1
    """Number of bonds, far from each other."""
    frames: Frames = 1
    """Random frames of each frame."""


class SlidePerturbation(Section):
    """A grid of rigid shifts of upper layers over lower ones."""

    kind: Literal["slide"]
    """Kind of perturbation."""
    grid: tuple[Annotated[int, Field(ge=1, le=1001, strict=True)], Annotated[int, Field(ge=1, le=1001, strict=True)]]
    """Points along a and b, both ends included: [21, 21] has 20 steps in each period."""
    above_layer: LayerIndex = -2
    """Layers above this one move; negative numbers count from the top."""
    period_A: tuple[Angstrom, Angstrom] | None = None
    """Lengths along a and b that the grid spans; by default those of the cell."""


class SpacingPerturbation(Section):
    """A scan of the distance of two neighbouring layers."""

    kind: Literal["spacing"]
    """Kind of perturbation."""
    distances_A: tuple[Distance, ...] = Field(min_length=1, max_length=10_000)
    """Distances of the mean heights, one frame each."""
    above_layer: LayerIndex = -2
    """The gap above this layer; all layers above it move. Negative numbers count from the top."""


Perturbation = Annotated[
    StrainPerturbation | RattlePerturbation | VacancyPerturbation | SubstitutionPerturbation | StoneWalesPerturbation
    | SlidePerturbation | SpacingPerturbation,
    Field(discriminator="kind"),
]
Perturbations = Annotated[tuple[Perturbation, ...], Field(max_length=20)]
