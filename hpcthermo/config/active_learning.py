"""Tables of an active_learning job: what is explored, what counts as new, and how often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from hpcthermo.config.base import Boolean, Section
from hpcthermo.config.labelling import GroupName, KSpacing, RampSection, different_groups
from hpcthermo.config.structure import Structure

_Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
_Share = Annotated[float, Field(ge=0.0, le=0.9, strict=True)]
_Threshold = Annotated[float, Field(gt=0.0, le=1e6, strict=True)]


class ExplorationSection(Section):
    """Molecular dynamics by the model that is trained, in which it meets what it does not know."""

    group: GroupName
    """Name of the class, by which errors are reported."""
    structure: Structure
    """Where runs begin: a file or a builder; perturbations make several."""
    dynamics: RampSection
    """Temperatures, duration and snapshots of each run; its random numbers differ from iteration to iteration."""
    k_spacing_per_A: KSpacing | None = None
    """Of the labels, instead of that of the engine."""


def _in_order(thresholds: tuple[float, float]) -> tuple[float, float]:
    if thresholds[0] >= thresholds[1]:
        raise ValueError("expected a list [low, high] with low < high")
    return thresholds


class ActiveLearningSection(Section):
    """The loop."""

    iterations: Annotated[int, Field(ge=1, le=1000, strict=True)] = 5
    """Of exploring, labelling and training; fewer if nothing new is found."""
    criterion: Literal["committee", "extrapolation_grade"] = "extrapolation_grade"
    """What says that a structure is new: models that disagree about forces, or descriptors outside those of the
    training set."""
    committee: Annotated[int, Field(ge=2, le=32, strict=True)] = 4
    """Models of criterion = "committee", which differ in their first random numbers; the first one moves the atoms."""
    force_disagreement_eV_per_A: Annotated[tuple[_Threshold, _Threshold], AfterValidator(_in_order)] = (0.1, 1.0)
    """A snapshot is new above the first; above the second it is no structure to learn from, and its run ends."""
    extrapolation_grade: Annotated[tuple[_Threshold, _Threshold], AfterValidator(_in_order)] = (2.0, 10.0)
    """The same of criterion = "extrapolation_grade"; 1 is the edge of the training set."""
    frames_per_iteration: _Count = 20
    """Labelled at most: the most different ones of what is new."""
    minimum_distance: Annotated[float, Field(ge=0.0, le=1e6, strict=True)] = 0.0
    """As in [selection] of a label job, with the descriptors of the model: closer frames count as known."""
    held_out_share: _Share = 0.2
    """Of the new frames: never trained on, to see whether the loop helps."""
    fine_tune: Boolean = True
    """Each training begins from the model before; false: from random numbers."""

    @property
    def thresholds(self) -> tuple[float, float]:
        """Of the criterion."""
        return self.force_disagreement_eV_per_A if self.criterion == "committee" else self.extrapolation_grade

    @property
    def models(self) -> int:
        """Trained in each iteration."""
        return self.committee if self.criterion == "committee" else 1

    @model_validator(mode="after")
    def _only_of_the_criterion(self) -> ActiveLearningSection:
        foreign = {"committee": ("extrapolation_grade",),
                   "extrapolation_grade": ("committee", "force_disagreement_eV_per_A")}[self.criterion]
        given = [name for name in foreign if name in self.model_fields_set]
        if given:
            raise ValueError(f'expected no {given[0]} with criterion = "{self.criterion}"; remove it')
        return self


Explorations = Annotated[tuple[ExplorationSection, ...], Field(min_length=1, max_length=1000),
                         AfterValidator(different_groups)]
