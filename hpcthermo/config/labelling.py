"""Tables of a label job: recipes of structures, their selection, and the engine that labels them."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from hpcthermo.config.base import Boolean, Element, Kelvin, Picoseconds, Section, Text, Timestep
from hpcthermo.config.potential import Potential
from hpcthermo.config.structure import FileName, Structure

_Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
_Cores = Annotated[int, Field(ge=1, le=4096, strict=True)]
_Rydberg = Annotated[float, Field(ge=1.0, le=10_000.0, strict=True)]
_ElectronVolt = Annotated[float, Field(gt=0.0, le=1e5, strict=True)]
_Width = Annotated[float, Field(gt=0.0, le=5.0, strict=True)]
_Moment = Annotated[float, Field(ge=-20.0, le=20.0, strict=True)]
_Polarisation = Annotated[float, Field(ge=-1.0, le=1.0, strict=True)]
#: distance of neighbouring wave vectors, 1/A with 2 pi
KSpacing = Annotated[float, Field(ge=0.01, le=10.0, strict=True)]
_Steps = Annotated[int, Field(ge=1, le=10_000, strict=True)]
_Keyword = Annotated[str, Field(pattern=r"^[A-Za-z][\w().%]{0,63}$")]
_Value = bool | int | float | Annotated[str, Field(max_length=1024)]


def _is_command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"expected a command as one would type it, got {text!r} ({str(error).lower()})") from None
    if not words:
        raise ValueError("expected a command, got nothing")
    return text


_Command = Annotated[Text, AfterValidator(_is_command)]


def _is_one_line(text: str) -> str:
    """A name that files keep as it is."""
    if text != " ".join(text.split()) or not text.isprintable():
        raise ValueError("expected words with single spaces between them; correct it")
    return text


#: keywords of pw.x that are not free -> what says them
_OWN_KEYWORDS = {
    **dict.fromkeys(("calculation", "restart_mode", "tprnfor", "tstress"),
                    "a label is a single point with forces and stress"),
    "pseudo_dir": "pseudopotential_folder says it", "outdir": "scratch_folder says it",
    "ecutwfc": "cutoff_Ry says it", "ecutrho": "density_cutoff_Ry says it",
    **dict.fromkeys(("occupations", "smearing"), "smearing says it"), "degauss": "smearing_width_eV says it",
    **dict.fromkeys(("vdw_corr", "london", "xdm", "ts_vdw", "dftd3_version", "dftd3_threebody"), "dispersion says it"),
    **dict.fromkeys(("nspin", "starting_magnetization"), "starting_magnetization says it"),
    **dict.fromkeys(("nat", "ntyp", "ibrav", "celldm", "a", "b", "c", "cosab", "cosac", "cosbc"),
                    "the structure says it"),
    "conv_thr": "scf_tolerance_eV says it", "electron_maxstep": "scf_steps says it",
    "scf_must_converge": "labels are of converged calculations",
}


def _free_keywords(namelists: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Keywords in lower case, without those that the program sets itself."""
    found: dict[Any, dict[str, Any]] = {}
    for namelist, keywords in namelists.items():
        found[namelist] = {}
        for keyword, value in keywords.items():
            name = keyword.lower()
            reason = _OWN_KEYWORDS.get(name.partition("(")[0])
            if reason is not None:
                raise ValueError(f"{namelist}.{keyword}: cannot be given here, {reason}; remove it")
            if name in found[namelist]:
                raise ValueError(f"{namelist}.{name} is given twice; remove one")
            found[namelist][name] = value
    return found


#: tags of INCAR that make a single point with stress -> values that are left to the user
_SINGLE_POINT_TAGS = {"NSW": ("0",), "IBRION": ("-1",), "ISIF": tuple("2345678")}
#: tags of INCAR that are refused -> why
_REFUSED_TAGS = {"IMAGES": "a label is a single point", "PSTRESS": "it would be added to the stress",
                 "ML_LMLFF": "forces would not be those of the electrons",
                 "MAGMOM": "starting_moments give it in the order of each POSCAR"}


def _of_a_single_point(tags: dict[str, Any]) -> dict[str, Any]:
    """Refuse tags with which labels would belong to other positions, or not to the electrons."""
    for tag, value in tags.items():
        if tag in _REFUSED_TAGS:
            raise ValueError(f"{tag}: cannot be given here, {_REFUSED_TAGS[tag]}; remove it")
        allowed = _SINGLE_POINT_TAGS.get(tag)
        if allowed is not None and str(value).strip() not in allowed:
            raise ValueError(f"{tag}: expected {' or '.join(allowed)}, for a label is a single point, got {value!r}; "
                             "remove it")
    return tags


def _as_incar_has_them(tags: dict[str, Any]) -> dict[str, Any]:
    """Tags in upper case, each once and nothing but itself: VASP does not tell n from N, and takes what is first."""
    found: dict[str, Any] = {}
    for tag, value in tags.items():
        if tag.upper() in found:
            raise ValueError(f"tag {tag.upper()} is given twice; remove one")
        if isinstance(value, str) and re.search(r"[;\n\r]", value):
            raise ValueError(f"{tag}: expected the value of one tag, got {value!r}; give each tag a key of its own")
        found[tag.upper()] = value
    return found


GroupName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\"\n=]+$"), AfterValidator(_is_one_line)]


class RampSection(Section):
    """Snapshots of molecular dynamics at constant cell, whose temperature rises from one value to another."""

    temperature_K: tuple[Kelvin, Kelvin]
    """At the beginning and at the end."""
    duration_ps: Picoseconds
    """Of the ramp."""
    snapshots: _Count
    """Frames taken at equal times, the last at the end."""
    timestep_fs: Timestep = 1.0
    """Time step."""
    friction_per_ps: Annotated[float, Field(gt=0.0, le=1000.0, strict=True)] = 10.0
    """Of the Langevin thermostat."""


class DynamicsSection(RampSection):
    """The same with what moves the atoms."""

    potential: Potential
    """Any potential or calculator, its labels are not used."""


class Recipe(Section):
    """Structures of one class."""

    group: GroupName
    """Name of the class, by which costs and errors are reported."""
    structure: Structure
    """A file or a builder, with perturbations that make many frames of it."""
    dynamics: DynamicsSection | None = None
    """Instead of the frames themselves: snapshots of a run that begins from each."""
    keep: _Count | None = None
    """Frames kept, the most different ones ([selection]); without it all."""
    k_spacing_per_A: KSpacing | None = None
    """Instead of that of the engine: larger for classes of insulators only."""
    always: Boolean = False
    """Keep all frames of this recipe whatever [selection] says (reference cells, binding curves)."""


class SelectionSection(Section):
    """Which of the candidates are labelled: the farthest point of descriptor space comes next."""

    descriptor: FileName | None = None
    """NEP model whose descriptors say how different atoms are: a file or an embedded name; without it an untrained
    one."""
    maximum_frames: _Count | None = None
    """Of all recipes together."""
    minimum_distance: Annotated[float, Field(ge=0.0, le=1e6, strict=True)] = 0.0
    """A frame is left out if each of its atoms lies closer than this to an atom of the same element in a frame that was
    taken, in descriptors divided by their standard deviations."""


class KPoints(Section):
    """Wave vectors of the electrons; the mesh contains zero."""

    k_spacing_per_A: KSpacing
    """Largest distance of neighbouring points of the mesh, with 2 pi; one point across a vacuum."""
    vacuum_A: Annotated[float, Field(gt=0.0, le=1000.0, strict=True)] = 8.0
    """An empty gap of this height or more across the cell counts as vacuum."""


class _Engine(Section):
    """What all engines have."""

    cores: _Cores = 1
    """Cores of one calculation; the number of workers is the cores of the machine divided by it."""
    time_limit_h: Annotated[float, Field(gt=0.0, le=1000.0, strict=True)] = 24.0
    """A calculation that takes longer is ended and rejected."""
    scratch_folder: FileName | None = None
    """Where calculations write; by default a folder scratch in the results folder."""


def _is_one(cores: int) -> int:
    if cores != 1:
        raise ValueError("expected 1, for this code computes within its worker, which has one core; give more workers")
    return cores


class _WithinWorker(_Engine):
    """What codes without a program of their own have."""

    cores: Annotated[_Cores, AfterValidator(_is_one)] = 1
    """One: calculations run beside each other instead."""


class EspressoEngine(_Engine):
    """Quantum ESPRESSO (pw.x)."""

    name: Literal["espresso"]
    """Name of the engine."""
    command: _Command = "pw.x"
    """How pw.x is started; with several cores for example "mpirun -np 4 pw.x -nk 4"."""
    pseudopotential_folder: FileName
    """Folder of the UPF files."""
    pseudopotentials: Annotated[dict[Element, FileName], Field(min_length=1)]
    """File of each element."""
    cutoff_Ry: _Rydberg
    """Of the wave functions."""
    density_cutoff_Ry: _Rydberg
    """Of the density: four times the other with norm-conserving, eight times or more with augmented ones."""
    k_points: KPoints
    """Wave vectors of the electrons."""
    smearing: Literal["marzari_vanderbilt", "methfessel_paxton", "gaussian", "fermi_dirac", "fixed"] = \
        "marzari_vanderbilt"
    """Occupations; "fixed" is for insulators."""
    smearing_width_eV: _Width | None = None
    """Width of the smearing."""
    dispersion: Literal["none", "d2", "d3", "d3bj", "xdm"] = "none"
    """Dispersion correction; the output has to show that it was applied."""
    starting_magnetization: dict[Element, _Polarisation] | None = None
    """Spin-polarised from these, from -1 to 1: (up - down)/(up + down) of each element's valence electrons; without it
    without spin."""
    scf_tolerance_eV: _ElectronVolt = 1e-7
    """Estimated error of the energy of the cell at which the density has converged."""
    scf_steps: _Steps = 100
    """More make a calculation unconverged, which is rejected."""
    keywords: Annotated[dict[Literal["control", "system", "electrons"], dict[_Keyword, _Value]],
                        AfterValidator(_free_keywords)] = Field(default={})
    """Further keywords of the input, by namelist; none that the keys of this table, or a single point, say."""

    @model_validator(mode="after")
    def _width_with_smearing(self) -> EspressoEngine:
        if (self.smearing == "fixed") != (self.smearing_width_eV is None):
            raise ValueError('expected smearing_width_eV, except with smearing = "fixed"; add or remove it')
        if self.density_cutoff_Ry < 4.0 * self.cutoff_Ry:
            raise ValueError(f"density_cutoff_Ry: expected at least four times cutoff_Ry ({4 * self.cutoff_Ry:g}), got "
                             f"{self.density_cutoff_Ry:g}; raise it")
        return self


class VaspEngine(_Engine):
    """VASP, where the user has it: INCAR as written here, KPOINTS, POSCAR, POTCAR of the user's files."""

    name: Literal["vasp"]
    """Name of the engine."""
    command: _Command = "vasp_std"
    """How VASP is started."""
    potcar_folder: FileName
    """Folder with a folder for each name below, which holds its POTCAR."""
    potcars: Annotated[dict[Element, FileName], Field(min_length=1)]
    """Name of each element's POTCAR ("C", "N_h")."""
    incar: Annotated[dict[_Keyword, _Value], Field(min_length=1), AfterValidator(_as_incar_has_them),
                     AfterValidator(_of_a_single_point)]
    """Tags of INCAR with their values as they are written there; NSW, IBRION, ISIF of a single point are added where
    absent."""
    k_points: KPoints
    """Wave vectors of the electrons."""
    starting_moments: dict[Element, _Moment] | None = None
    """Spin-polarised (ISPIN = 2) from these magnetic moments (Bohr magnetons), collinear; elements without one begin
    from 0."""

    @model_validator(mode="after")
    def _moments_go_with_tags(self) -> VaspEngine:
        foreign = sorted({"ISPIN", "LNONCOLLINEAR", "LSORBIT"} & set(self.incar))
        if self.starting_moments is not None and foreign:
            raise ValueError(f"incar.{foreign[0]}: cannot be given beside starting_moments, which set ISPIN = 2; "
                             "remove one of them")
        return self

    @model_validator(mode="after")
    def _dispersion_is_a_number(self) -> VaspEngine:
        if type(self.incar.get("IVDW", 0)) is not int:
            raise ValueError(f"incar.IVDW: expected a whole number, got {self.incar['IVDW']!r}; correct it")
        return self


class GpawEngine(_WithinWorker):
    """GPAW with plane waves."""

    name: Literal["gpaw"]
    """Name of the engine."""
    cutoff_eV: _ElectronVolt
    """Of the plane waves."""
    functional: Text = "PBE"
    """Exchange and correlation."""
    k_points: KPoints
    """Wave vectors of the electrons."""
    smearing_width_eV: _Width
    """Of the Fermi-Dirac occupations."""
    dispersion: Literal["none", "d3bj"] = "none"
    """Added to the energies, forces and stresses by the package dftd3."""
    scf_tolerance_eV: _ElectronVolt = 1e-6
    """Change of the energy per valence electron at which the density has converged."""
    scf_steps: _Steps = 200
    """More make a calculation unconverged, which is rejected."""
    starting_moments: dict[Element, _Moment] | None = None
    """Spin-polarised from these magnetic moments (Bohr magnetons); without it without spin."""


class Cp2kEngine(_Engine):
    """CP2K with Gaussians and plane waves (cp2k_shell)."""

    name: Literal["cp2k"]
    """Name of the engine."""
    command: _Command = "cp2k_shell"
    """How the shell of CP2K is started."""
    basis_set: Text = "DZVP-MOLOPT-SR-GTH"
    """Of all elements."""
    pseudopotential: Text = "GTH-PBE"
    """Of all elements."""
    functional: Text = "PBE"
    """Exchange and correlation."""
    cutoff_Ry: _Rydberg
    """Of the finest grid."""
    k_points: KPoints
    """Wave vectors of the electrons."""
    smearing_width_eV: _Width | None = None
    """Fermi-Dirac occupations of this width, with some empty bands; for metals."""
    dispersion: Literal["none", "d3bj"] = "none"
    """Dispersion correction."""
    scf_tolerance: Annotated[float, Field(gt=0.0, le=1e-2, strict=True)] = 1e-7
    """EPS_SCF."""
    scf_steps: _Steps = 100
    """More make a calculation unconverged, which is rejected."""
    starting_moments: dict[Element, _Moment] | None = None
    """Spin-polarised from these magnetic moments (Bohr magnetons); CP2K keeps their sum over the cell, rounded to the
    nearest number that its electrons can have; without it without spin."""


class TbliteEngine(_WithinWorker):
    """Semi-empirical tight binding at the zone centre: quick, and no DFT."""

    name: Literal["tblite"]
    """Name of the engine."""
    method: Literal["GFN1-xTB", "GFN2-xTB"] = "GFN1-xTB"
    """Parametrisation."""


class AseEngine(_Engine):
    """Any ASE calculator with energies, forces and stresses."""

    name: Literal["ase"]
    """Name of the engine."""
    cores: _Cores = 1
    """Cores that are kept free for the programs which the calculator starts; itself it has one."""
    calculator: Text
    """"module:Class"."""
    arguments: dict[Annotated[str, Field(max_length=64)], Any] = Field(default={})
    """Keyword arguments of the calculator."""


Engine = Annotated[EspressoEngine | VaspEngine | GpawEngine | Cp2kEngine | TbliteEngine | AseEngine,
                   Field(discriminator="name")]


def different_groups(recipes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse tables of which two have the same group."""
    names = [recipe.group for recipe in recipes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"group {repeated[0]!r} is given twice; give each table a name of its own")
    return recipes


Recipes = Annotated[tuple[Recipe, ...], Field(min_length=1, max_length=10_000), AfterValidator(different_groups)]
