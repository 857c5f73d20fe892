"""How the Boltzmann equation of a crystal is solved; tables [bte] and [bte.four_phonon] of a job say the same.

Plain data: a program that calls `hpcthermo.transport.bte.solution.solve` needs no job file and none of its models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from hpcthermo.bte_rules import broken_rule
from hpcthermo.errors import InputError

Divisions = tuple[int, int, int]


def _require_valid(settings: Any, table: str) -> None:
    """Refuse unknown words, and what breaks a rule."""
    for name, kind in get_type_hints(type(settings)).items():
        words, got = get_args(kind), getattr(settings, name)
        if words and all(isinstance(word, str) for word in words) and got not in words:
            raise InputError(f"{table}.{name}: expected one of {', '.join(words)}, got {got!r}; change it")
    broken = broken_rule(settings)
    if broken is not None:
        raise InputError(f"{table}: {broken}")


@dataclass(frozen=True)
class FourPhononSettings:
    """Scattering by four phonons.

    Attributes
    ----------
    target_error_percent : float
        Standard error of the conductivity by relaxation times at which the sample is large enough.
    most_samples : int
        Pairs of wave vectors for an irreducible point at most.
    all_processes : bool
        Instead of a sample.
    delta, sigma_THz, smearing_scale
        Gaussians of energy conservation: of the width sigma, or of adaptive widths times a factor.

    Raises
    ------
    InputError
        If a word is unknown or settings do not go together.
    """

    target_error_percent: float = 1.0
    most_samples: int = 1_000_000
    all_processes: bool = False
    delta: Literal["adaptive_gaussian", "gaussian"] = "adaptive_gaussian"
    sigma_THz: float | None = None
    smearing_scale: float = 1.0

    def __post_init__(self) -> None:
        _require_valid(self, "bte.four_phonon")


@dataclass(frozen=True)
class LineShapesSettings:
    """Shifts and line shapes.

    Attributes
    ----------
    q : tuple of three float each
        Points of the mesh, fractional.
    temperatures_K : tuple of float, optional
        Those of the Boltzmann equation without.
    width_THz : float
        Half width of the Lorentzians that stand for denominators and deltas.
    frequencies : int
        How many, up to 1.2 times the highest.
    """

    q: tuple[tuple[float, float, float], ...]
    temperatures_K: tuple[float, ...] | None = None
    width_THz: float = 0.1
    frequencies: int = 1000


@dataclass(frozen=True)
class BteSettings:
    """The phonon Boltzmann equation.

    Attributes
    ----------
    mesh : three int, or three rows of three int
        Divisions, or a matrix of a generalised mesh.
    mesh_length_A : float
        Instead: the length that the mesh resolves; one of both.
    symmetry : bool
        Of the crystal; False: of wave vectors only time reversal.
    temperatures_K : tuple of float
    method : {"rta", "lbte"}
        Relaxation times, or also the full linear equation.
    solver : {"cg", "direct"}
        Of the full equation.
    crossing_bands : {"keep", "average"}
        Group velocities, in the full equation, of bands that cross at the zone boundary.
    delta, sigma_THz
        Energy conservation by tetrahedra, or by Gaussians of adaptive widths or of the width sigma.
    symmetrised_tetrahedra : bool
        Mean over all cuts that symmetry makes of the first.
    shared_weights : bool, optional
        In the full equation, one weight for the three legs of a process; for sheets without.
    isotopes : bool
        Scattering by isotopes.
    mass_variances : dict of str to float
        Of elements, instead of those of the natural mixture.
    boundary_length_um : float, optional
        Scattering at boundaries this far apart.
    coherence : bool
        The coherence (Wigner) part.
    normal_umklapp : bool
        Linewidths of normal and of Umklapp processes apart.
    thickness_A : float, optional
        Of a sheet.
    four_phonon : FourPhononSettings, optional
        Needs force constants of the fourth order.
    line_shapes : LineShapesSettings, optional

    Raises
    ------
    InputError
        If a word is unknown or settings do not go together.
    """

    mesh: Divisions | tuple[Divisions, Divisions, Divisions] | None = None
    mesh_length_A: float | None = None
    symmetry: bool = True
    temperatures_K: tuple[float, ...] = (300.0,)
    method: Literal["rta", "lbte"] = "rta"
    solver: Literal["cg", "direct"] = "cg"
    crossing_bands: Literal["keep", "average"] = "keep"
    delta: Literal["tetrahedron", "adaptive_gaussian", "gaussian"] = "tetrahedron"
    symmetrised_tetrahedra: bool = True
    shared_weights: bool | None = None
    sigma_THz: float | None = None
    isotopes: bool = True
    mass_variances: dict[str, float] = field(default_factory=dict)
    boundary_length_um: float | None = None
    coherence: bool = True
    normal_umklapp: bool = False
    thickness_A: float | None = None
    four_phonon: FourPhononSettings | None = None
    line_shapes: LineShapesSettings | None = None

    def __post_init__(self) -> None:
        _require_valid(self, "bte")
