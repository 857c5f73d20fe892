"""[potential], or several [[potential]] for an overlay."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from hpcthermo.config.base import Angstrom, Boolean, Element, Section, Text
from hpcthermo.potentials.formats import CALCULATOR_STYLES


class PotentialSpec(Section):
    """One interatomic potential, from a file or embedded by name."""

    path: Text | None = None
    """Parameter file, relative to the job file."""
    name: Text | None = None
    """Name of an embedded potential (`hpcthermo doctor` lists them)."""
    style: Text | None = None
    """"nep", "tersoff", "tersoff_mod", "stillinger_weber", "lennard_jones", "ilp", "eam", "eam_zhou" or "meam", if it
    cannot be seen from the content; "mace", "gap", "deepmd", "tblite", "dftd3" or "ase" for another code."""
    elements: tuple[Element, ...] | dict[Annotated[str, Field(max_length=32)], Element] | None = None
    """Chemical symbols of the file's types, where the file has none."""
    cutoff_A: Angstrom | None = None
    """Cutoff of a Lennard-Jones or interlayer (ILP) potential, of the EAM of Zhou et al., or of the pairs of dftd3."""
    between_layers_only: Boolean | None = None
    """Leave out pairs within one layer."""
    library: Text | None = None
    """Library of elements of a MEAM parameter file, relative to that file."""
    shifted: Boolean | None = None
    """Shift the energy of a Lennard-Jones potential to zero at the cutoff."""
    coordination_cutoff_A: Angstrom | None = None
    """Cutoff of the coordination numbers of dftd3; with cutoff_A it can be decomposed."""
    method: Text | None = None
    """Functional of dftd3 ("pbe"), or method of tblite ("GFN2-xTB")."""
    trusted_sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = None
    """Hash of a model file that can run code when it is read (mace, deepmd), to say that it is trusted."""
    receptive_field_A: Angstrom | None = None
    """Largest distance at which an atom changes the site energy of another (ase; gap and deepmd where unusual)."""
    calculator: Text | None = None
    """ASE calculator as "module:Class" (style ase)."""
    arguments: dict[Annotated[str, Field(max_length=64)], Any] | None = None
    """Keyword arguments of the ASE calculator."""
    device: Literal["cpu", "cuda"] | None = None
    """Where a mace model computes (cpu)."""
    dtype: Literal["float64", "float32"] | None = None
    """Precision of a mace model (float64)."""
    mixing: Text | None = None
    """How an embedded Lennard-Jones potential mixes elements: "geometric" or "lorentz_berthelot"."""

    @model_validator(mode="after")
    def _one_source(self) -> PotentialSpec:
        if self.style in CALCULATOR_STYLES:  # which know their keys
            return self
        if (self.path is None) == (self.name is None):
            raise ValueError("expected either path (a file) or name (an embedded potential); give exactly one of them")
        return self

    def as_dict(self) -> dict[str, Any]:
        """The keys that are set, as `potentials.load.load_potential` takes them."""
        return self.model_dump(mode="json", exclude_none=True)


def spec_of(potential: str | PotentialSpec) -> str | dict[str, Any]:
    """One potential as `load_potential` takes it."""
    return potential if isinstance(potential, str) else potential.as_dict()


def _form(value: Any) -> str:
    if isinstance(value, str):
        return "potential name"
    return "potential list" if isinstance(value, list | tuple) else "potential table"


def _single_form(value: Any) -> str:
    return "potential name" if isinstance(value, str) else "potential table"


_Name = Annotated[Text, Field(min_length=1), Tag("potential name")]
_Table = Annotated[PotentialSpec, Tag("potential table")]
_Single = Annotated[_Name | _Table, Discriminator(_single_form)]
_List = Annotated[tuple[_Single, ...], Field(min_length=1, max_length=100), Tag("potential list")]

#: a path or an embedded name, a table, or a list of these for an overlay
Potential = Annotated[_Name | _Table | _List, Discriminator(_form)]


def specs_of(potential: Any) -> Any:
    """The potential as `potentials.load.load_potential` takes it: text, dict, or a list of these."""
    return [spec_of(single) for single in potential] if isinstance(potential, tuple) else spec_of(potential)
