"""[[check]]: properties of crystals that a potential has to reproduce."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from hpcthermo.config.base import Angstrom, Boolean, Section, Text
from hpcthermo.config.labelling import GroupName
from hpcthermo.config.lattice_dynamics import ForceConstantsSection, Multiples, PhononSection, TightRelaxation
from hpcthermo.config.relaxation import CellCount, CrystalRelaxation
from hpcthermo.config.structure import FileName, Structure

_Length = Annotated[float, Field(gt=0.0, le=10.0, strict=True)]
_Percent = Annotated[float, Field(gt=0.0, le=100.0, strict=True)]
#: one group of a data set, or several whose frames belong together
_Groups = GroupName | Annotated[tuple[GroupName, ...], Field(min_length=1, max_length=100)]
_Files = Annotated[tuple[FileName, ...], Field(max_length=10_000)]


def place_of(name: str) -> str:
    """The name of a check as figures and results.h5 have it: small letters, digits and underscores."""
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")


class _Check(Section):
    """What all checks have."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\"\n]*[A-Za-z0-9][^\"\n]*$")]
    """What is checked, as reports call it."""


class LatticeCheck(_Check):
    """Lattice constants and interlayer spacing of the relaxed crystal."""

    kind: Literal["lattice"]
    """Kind of check."""
    structure: Structure
    """The crystal, one structure."""
    relaxation: CrystalRelaxation = CrystalRelaxation()
    """How atoms and cell are relaxed."""
    unit_cells: tuple[CellCount, CellCount, CellCount] = (1, 1, 1)
    """Unit cells along the cell vectors; lattice constants are those of one."""
    lattice_constant_A: Angstrom | None = None
    """Reference of the first lattice constant."""
    interlayer_spacing_A: Angstrom | None = None
    """Reference of the mean distance of neighbouring layers."""
    reference_files: _Files = ()
    """Instead of numbers: data sets with the labelled frames of the groups below."""
    equation_of_state_group: _Groups | None = None
    """Frames of the crystal with its first cell vector stretched, all else alike: the reference is the minimum of their
    energies. Of several groups those frames count whose third cell vector is the same as that of most."""
    interlayer_spacing_group: _Groups | None = None
    """Frames with two layers at several distances: the reference is the minimum of their energies. Of several groups
    those frames count whose first cell vector is the same as that of most."""
    lattice_constant_tolerance_A: _Length = 0.01
    """Largest deviation from the reference."""
    interlayer_spacing_tolerance_A: _Length = 0.05
    """Likewise."""

    @model_validator(mode="after")
    def _one_reference(self) -> LatticeCheck:
        for number, group in (("lattice_constant_A", "equation_of_state_group"),
                              ("interlayer_spacing_A", "interlayer_spacing_group")):
            if getattr(self, number) is not None and getattr(self, group) is not None:
                raise ValueError(f"expected either {number} or {group}; remove one")
        wanted = self.equation_of_state_group is not None or self.interlayer_spacing_group is not None
        if wanted != bool(self.reference_files):
            raise ValueError("expected reference_files with equation_of_state_group or interlayer_spacing_group; add "
                             "or remove it")
        return self


class DispersionCheck(_Check):
    """Phonon dispersion of the relaxed crystal, which must be stable."""

    kind: Literal["dispersion"]
    """Kind of check."""
    structure: Structure
    """The crystal, one structure."""
    relaxation: TightRelaxation = TightRelaxation()
    """How atoms and cell are relaxed."""
    supercell: Multiples
    """Cells of the structure along its vectors, or a matrix."""
    displacement_A: Annotated[float, Field(ge=1e-4, le=0.5, strict=True)] = 0.01
    """Of each atom in turn."""
    rotational_sum_rules: Boolean | None = None
    """As in [force_constants]: by default for sheets."""
    path: Text = "auto"
    """"auto" is the standard path of the crystal; or names of its points, as "GAMMA-M-K-GAMMA"."""
    points_per_line: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 51
    """Wave vectors on each line of the path, its ends included."""
    imaginary_limit_THz: Annotated[float, Field(ge=0.0, le=10.0, strict=True)] = 0.05
    """A frequency below minus this, after the sum rules, is an instability."""

    @property
    def force_constants(self) -> ForceConstantsSection:
        """The same as tables of a job of kind phonon: force constants."""
        return ForceConstantsSection(order=2, supercell=self.supercell, displacement2_A=self.displacement_A,
                                     rotational_sum_rules=self.rotational_sum_rules)

    @property
    def phonon(self) -> PhononSection:
        """And what is made of them."""
        return PhononSection(path=self.path, points_per_line=self.points_per_line, dos=False, grueneisen=False,
                             imaginary_limit_THz=self.imaginary_limit_THz)


class BindingCurveCheck(_Check):
    """Energy against the distance of two layers."""

    kind: Literal["binding_curve"]
    """Kind of check."""
    structure: Structure | None = None
    """Two layers with a perturbation of kind spacing, where there are no labelled frames."""
    reference_files: _Files = ()
    """Instead: data sets with the labelled frames that are compared with."""
    group: _Groups | None = None
    """Group of these frames, or several."""
    rms_tolerance_meV_per_atom: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] = 2.0
    """Root mean square difference of the curves, both zero at the largest distance."""
    distance_tolerance_A: _Length = 0.05
    """Difference of the places of the minima."""
    depth_tolerance_percent: _Percent = 10.0
    """Difference of the depths of the minima, below the energy at the largest distance."""

    @model_validator(mode="after")
    def _one_source(self) -> BindingCurveCheck:
        if (self.structure is None) != bool(self.reference_files) or (self.group is not None) != bool(
                self.reference_files):
            raise ValueError("expected either reference_files with group, or structure with a perturbation of kind "
                             "spacing; give one of them")
        return self


def _different_names(checks: tuple[Any, ...]) -> tuple[Any, ...]:
    places = [(check.kind, place_of(check.name)) for check in checks]
    repeated = [check.name for k, check in enumerate(checks) if places[k] in places[:k]]
    if repeated:
        raise ValueError(f"name {repeated[0]!r}: expected different names (letters and digits count) of checks of one "
                         "kind; change it")
    return checks


Check = Annotated[LatticeCheck | DispersionCheck | BindingCurveCheck, Field(discriminator="kind")]
Checks = Annotated[tuple[Check, ...], Field(max_length=1000), AfterValidator(_different_names)]
