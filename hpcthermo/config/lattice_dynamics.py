"""Tables of jobs about lattice vibrations: crystals from files, force constants, phonons, the Boltzmann equation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from hpcthermo.bte_rules import broken_rule
from hpcthermo.config.base import Boolean, Element, Kelvin, Section, Text
from hpcthermo.config.relaxation import CrystalRelaxation
from hpcthermo.config.structure import FileName

Count = Annotated[int, Field(ge=1, le=1000, strict=True)]
MatrixElement = Annotated[int, Field(ge=-1000, le=1000, strict=True)]
MatrixRow = tuple[MatrixElement, MatrixElement, MatrixElement]
Displacement = Annotated[float, Field(gt=0.0, le=0.5, strict=True)]
Terahertz = Annotated[float, Field(gt=0.0, le=100.0, strict=True)]
Cutoff = Annotated[float, Field(gt=0.0, le=100.0, strict=True)]


def _three(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 3:
        got = f"{len(value)} values" if isinstance(value, list | tuple) else type(value).__name__
        raise ValueError(f"expected three whole numbers, as [4, 4, 4], or three rows of three, got {got}; correct it")
    return value


def _not_flat(matrix: Any) -> Any:
    if isinstance(matrix[0], tuple):
        (a, b, c), (d, e, f), (g, h, i) = matrix
        if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) == 0:
            raise ValueError("expected a matrix with a determinant other than zero; change it")
    return matrix


def _different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("expected different values; remove the repeated ones")
    return values


def _form(value: Any) -> str:
    rows = isinstance(value, list | tuple) and len(value) and isinstance(value[0], list | tuple)
    return "multiples matrix" if rows else "multiples counts"


_Counts = Annotated[tuple[Count, Count, Count], Tag("multiples counts")]
_Matrix = Annotated[tuple[MatrixRow, MatrixRow, MatrixRow], Tag("multiples matrix")]
#: three counts along the vectors, or a matrix of integers
Multiples = Annotated[_Counts | _Matrix, Discriminator(_form), AfterValidator(_not_flat), BeforeValidator(_three)]
Temperatures = Annotated[tuple[Kelvin, ...], Field(min_length=1, max_length=1000), AfterValidator(_different)]


class CrystalFiles(Section):
    """A crystal with its force constants, from files of phonopy, phono3py, ShengBTE, FourPhonon or TDEP."""

    phonopy_yaml: FileName | None = None
    """phonopy.yaml or phono3py.yaml: cells, masses; also forces, dielectric constants and Born charges if there."""
    shengbte_control: FileName | None = None
    """CONTROL of ShengBTE, instead."""
    tdep_unit_cell: FileName | None = None
    """infile.ucposcar of TDEP, instead."""
    tdep_supercell: FileName | None = None
    """infile.ssposcar of TDEP."""
    fc2: FileName | None = None
    """Second order: fc2.hdf5, FORCE_CONSTANTS, FORCE_CONSTANTS_2ND or TDEP's infile.forceconstant."""
    fc3: FileName | None = None
    """Third order: fc3.hdf5, FORCE_CONSTANTS_3RD or TDEP's infile.forceconstant_thirdorder."""
    fc4: FileName | None = None
    """Fourth order: FORCE_CONSTANTS_4TH or TDEP's infile.forceconstant_fourthorder."""
    force_sets: FileName | None = None
    """FORCE_SETS of phonopy instead of fc2: forces of displaced supercells."""
    forces_fc2: FileName | None = None
    """FORCES_FC2 of phono3py instead of fc2."""
    forces_fc3: FileName | None = None
    """FORCES_FC3 of phono3py instead of fc3 (and of fc2, if that has no file)."""
    born: FileName | None = None
    """BORN of phonopy: dielectric constants and Born charges."""
    periodic: tuple[Boolean, Boolean, Boolean] = (True, True, True)
    """False along the lattice vector that crosses the vacuum of a sheet."""

    @property
    def files(self) -> dict[str, str]:
        """The files that are named, by key."""
        return {key: getattr(self, key) for key in CRYSTAL_FILES if getattr(self, key) is not None}

    @model_validator(mode="after")
    def _one_cell(self) -> CrystalFiles:
        cells = [name for name in ("phonopy_yaml", "shengbte_control", "tdep_unit_cell")
                 if getattr(self, name) is not None]
        if len(cells) != 1:
            raise ValueError("expected one of phonopy_yaml, shengbte_control, tdep_unit_cell; give exactly one of them")
        if self.phonopy_yaml is None and self.fc2 is None:  # phonopy's file may hold forces itself
            raise ValueError("expected second-order force constants; add fc2")
        return self


#: keys of [crystal] that name files
CRYSTAL_FILES = tuple(name for name in CrystalFiles.model_fields if name != "periodic")


class SingleProcessExecution(Section):
    """Where a job computes; one process with threads, and further processes by [campaign]."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Forces of displaced cells and scattering rates on the processor or on a GPU."""
    threads: Annotated[int, Field(ge=0, le=4096, strict=True)] = 0
    """Threads; 0 takes all cores that this process may use."""


class TightRelaxation(CrystalRelaxation):
    """Relaxation before force constants: tighter than for lattice constants."""

    force_tolerance_eV_per_A: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1e-5
    """Largest force on an atom at the end; a structure that stays above is refused."""
    relax: Boolean = True
    """False: atoms and cell are taken as they are, and refused if forces, or the stress of free_cell_components, exceed
    their tolerances; free_cell_components = [] takes a strained cell on purpose."""


class ForceConstantsSection(Section):
    """Force constants from forces of displaced supercells."""

    order: Literal[2, 3, 4] = 3
    """Highest order."""
    supercell: Multiples = (2, 2, 2)
    """Cells of the structure along its vectors, or a matrix (rows: supercell vectors in units of those)."""
    supercell2: Multiples | None = None
    """Of the second order, if larger."""
    displacement_A: Displacement = 0.03
    """Of the third and fourth order."""
    displacement2_A: Displacement = 0.01
    """Of the second order."""
    cutoff3_A: Cutoff | None = None
    """Largest distance between any two of three atoms; without it all of the supercell."""
    cutoff4_A: Cutoff | None = None
    """Largest distance between any two of four atoms."""
    method: Literal["finite_difference", "random"] = "finite_difference"
    """Displacements one by one, reduced by symmetry, or fits to random displacements of all atoms."""
    random_cells: Annotated[int, Field(ge=2, le=100_000, strict=True)] | None = None
    """Number of random cells, of which a tenth is held out to measure the error."""
    rotational_sum_rules: Boolean | None = None
    """Invariance under rotations (Born and Huang), so that a sheet's ZA branch is quadratic; by default for sheets."""
    formats: Annotated[tuple[Literal["phonopy", "shengbte", "tdep"], ...], AfterValidator(_different)] = ("phonopy",)
    """Files to write: phonopy's and phono3py's, ShengBTE's and FourPhonon's, TDEP's."""
    primitive: Boolean = True
    """Reduce the structure to its primitive cell first; supercells remain multiples of the given cell."""

    @model_validator(mode="after")
    def _cutoff4_with_order_4(self) -> ForceConstantsSection:
        if self.order == 4 and self.method == "finite_difference" and self.cutoff4_A is None:
            raise ValueError("expected cutoff4_A with order = 4: without it there are too many cells; add it")
        if (self.method == "random") != (self.random_cells is not None):
            raise ValueError('expected random_cells with method = "random", and only with it; add or remove it')
        if self.method == "random" and self.order == 4:
            raise ValueError('expected order 2 or 3 with method = "random"; use "finite_difference" for order 4')
        return self


class PhononSection(Section):
    """Dispersion, densities of states and Grueneisen parameters."""

    path: Text = "auto"
    """"auto" is the standard path of the crystal; or names of its points, as "GAMMA-X-U|K-GAMMA-L"."""
    points_per_line: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 51
    """Wave vectors on each line of the path, its ends included."""
    mesh: Multiples | None = None
    """Mesh of the densities of states and thermal properties; without it by mesh_length_A."""
    mesh_length_A: Annotated[float, Field(ge=1.0, le=1e4, strict=True)] = 80.0
    """Length that the mesh resolves: divisions N_k with N_k |a_k| of about this."""
    temperatures_K: Temperatures = (300.0,)
    """Of heat capacities and thermal Grueneisen parameters."""
    dos: Boolean = True
    """Densities of states."""
    grueneisen: Boolean = True
    """Mode Grueneisen parameters, where third-order force constants are at hand."""
    grueneisen_volume_change_percent: Annotated[float, Field(gt=0.0, le=5.0, strict=True)] | None = None
    """Also from force constants at volumes (of a sheet: areas) changed by this both ways, ions relaxed; from a
    structure and a potential only."""
    nac: Literal["gonze", "wang", "none"] = "gonze"
    """Non-analytic correction, where dielectric constants and Born charges are known."""
    imaginary_limit_THz: Annotated[float, Field(ge=0.0, le=10.0, strict=True)] = 0.05
    """A mode below minus this is an instability: a check that fails in a phonon job, and refused in a bte job."""


def _require_rules(section: Section) -> None:
    """Refuse what settings that say the same refuse."""
    broken = broken_rule(section)
    if broken is not None:
        raise ValueError(broken)


class FourPhononSection(Section):
    """Scattering by four phonons, from a sample of processes or from all."""

    target_error_percent: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1.0
    """Standard error of the conductivity by relaxation times at which the sample is large enough."""
    most_samples: Annotated[int, Field(ge=1, le=10**12, strict=True)] = 1_000_000
    """Pairs of wave vectors drawn at most for each irreducible point (not for the whole mesh); a target that is missed
    is a failed check."""
    all_processes: Boolean = False
    """All processes instead of a sample; for small meshes."""
    delta: Literal["adaptive_gaussian", "gaussian"] = "adaptive_gaussian"
    """How energy conservation is integrated."""
    sigma_THz: Terahertz | None = None
    """Standard deviation of delta = "gaussian"."""
    smearing_scale: Annotated[float, Field(gt=0.0, le=10.0, strict=True)] = 1.0
    """Factor of the widths of delta = "adaptive_gaussian"."""

    @model_validator(mode="after")
    def _consistent(self) -> FourPhononSection:
        _require_rules(self)
        return self


Fraction = Annotated[float, Field(ge=-100.0, le=100.0, strict=True)]
WaveVector = tuple[Fraction, Fraction, Fraction]


class LineShapesSection(Section):
    """Shifts and line shapes at some wave vectors: bubble, tadpole, and loop from fourth-order force constants."""

    q: Annotated[tuple[WaveVector, ...], Field(min_length=1, max_length=1000), AfterValidator(_different)]
    """Points of bte.mesh, in units of the reciprocal lattice vectors."""
    temperatures_K: Temperatures | None = None
    """Those of [bte] without."""
    width_THz: Terahertz = 0.1
    """Half width of the Lorentzians that stand for energy denominators and deltas."""
    frequencies: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 1000
    """Frequencies at which lines are computed, up to 1.2 times the highest of the mesh."""


class BteSection(Section):
    """The phonon Boltzmann equation."""

    mesh: Multiples | None = None
    """Divisions of the mesh of wave vectors, or a matrix of a generalised mesh."""
    mesh_length_A: Annotated[float, Field(ge=1.0, le=1e4, strict=True)] | None = None
    """Instead: the length that the mesh resolves, N_k |a_k|."""
    symmetry: Boolean = True
    """Use the crystal's symmetry; false: of wave vectors only time reversal."""
    temperatures_K: Temperatures = (300.0,)
    """All are computed in one pass."""
    method: Literal["rta", "lbte"] = "rta"
    """Relaxation times, or also the full linear equation."""
    solver: Literal["cg", "direct"] = "cg"
    """Of the full equation: conjugate gradients, or pseudo-inverse of the whole matrix (small meshes)."""
    crossing_bands: Literal["keep", "average"] = "keep"
    """Of the full equation: group velocities of bands that cross at the zone boundary are kept, or averaged over
    them (phono3py's convention); they differ on coarse meshes with even divisions."""
    shared_weights: Boolean | None = None
    """Of the full equation: one weight for the three legs of a process, so that the collision matrix is positive on any
    mesh; else each leg has its own, as in phono3py. Without it: true for sheets, false for other crystals."""
    delta: Literal["tetrahedron", "adaptive_gaussian", "gaussian"] = "tetrahedron"
    """How energy conservation is integrated."""
    symmetrised_tetrahedra: Boolean = True
    """The mean over all cuts of the mesh into tetrahedra that symmetry makes of the first. False: the first alone, as
    phono3py does; the same for face-centred cubic meshes, on others linewidths then lack the crystal's symmetry."""
    sigma_THz: Terahertz | None = None
    """Standard deviation of delta = "gaussian"."""
    isotopes: Boolean = True
    """Scattering by isotopes: the natural mixture, or mass_variances; its deltas are those of delta."""
    mass_variances: dict[Element, Annotated[float, Field(ge=0.0, le=100.0, strict=True)]] = (
        Field(default_factory=dict))
    """Mass variances of elements, g = sum of c (1 - m/mean)^2, instead of those of the natural mixture."""
    boundary_length_um: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] | None = None
    """Scattering at boundaries this far apart, |v| / L."""
    coherence: Boolean = True
    """The coherence (Wigner) part of the conductivity."""
    normal_umklapp: Boolean = False
    """Linewidths of normal and of Umklapp processes apart."""
    thickness_A: Annotated[float, Field(gt=0.0, le=1e4, strict=True)] | None = None
    """Thickness of a sheet, whose conductivity is that of its cell times (cell height / thickness)."""
    four_phonon: FourPhononSection | None = None
    """Scattering by four phonons, where the table is given; needs force constants of the fourth order."""
    line_shapes: LineShapesSection | None = None
    """Shifts and line shapes at some wave vectors, where the table is given."""

    @model_validator(mode="after")
    def _consistent(self) -> BteSection:
        _require_rules(self)
        return self


Meshes = Annotated[tuple[Multiples, ...], Field(min_length=3, max_length=50), AfterValidator(_different)]


class ConvergenceSection(Section):
    """What the conductivity is watched against, one at a time; [bte] and [force_constants] have the other values."""

    meshes: Meshes | None = None
    """At least three, from coarse to fine."""
    cutoffs3_A: Annotated[tuple[Cutoff, ...], Field(min_length=2, max_length=50), AfterValidator(_different)] | None = (
        None)
    """Cutoffs of the third order."""
    supercells: Annotated[tuple[Multiples, ...], Field(min_length=2, max_length=20),
                          AfterValidator(_different)] | None = None
    """Supercells of the force constants."""
    displacements_A: Annotated[tuple[Displacement, ...], Field(min_length=2, max_length=20),
                               AfterValidator(_different)] | None = None
    """Displacements of the third order."""
    tolerance_percent: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 2.0
    """Converged: the last value lies this close to the extrapolated one, or to the one before."""

    @model_validator(mode="after")
    def _something(self) -> ConvergenceSection:
        if all(getattr(self, name) is None for name in ("meshes", "cutoffs3_A", "supercells", "displacements_A")):
            raise ValueError("expected one of meshes, cutoffs3_A, supercells, displacements_A; add one")
        return self
