"""From force constants to the conductivity: the steps of a bte job as one function.

    phonons on the mesh -> group velocities -> linewidths (three and four phonons, isotopes, boundaries)
    -> conductivity by relaxation times -> coherences -> line shapes -> full equation

What fails in the full equation leaves the rest as it is.

Everything that a user can be told about the result, checks included, is in `Solution`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics
from hpcthermo.phonons.modes import degenerate_mean
from hpcthermo.phonons.stability import Correction, harmonic_crystal, require_stable
from hpcthermo.phonons.velocities import group_velocities, little_group_average, velocity_matrices
from hpcthermo.transport.bte import lbte
from hpcthermo.transport.bte.boundary import boundary_linewidths
from hpcthermo.transport.bte.collisions import Collisions, energy_imbalance
from hpcthermo.transport.bte.conductivity import Conductivity, Thickness, require_sound, small_grain_limit
from hpcthermo.transport.bte.direct import pseudo_inverse, require_few_rows
from hpcthermo.transport.bte.isotopes import isotope_linewidths, mass_variances_of
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.rates import require_few_bands
from hpcthermo.transport.bte.settings import BteSettings, FourPhononSettings
from hpcthermo.transport.bte.smearing import CUTOFF_SIGMAS, Gaussian, adaptive_gaussian, fixed_gaussian
from hpcthermo.transport.bte.tasks import Campaign, ThreePhononProblem, linewidths_and_collisions, linewidths_of
from hpcthermo.transport.bte.wigner import Coherences, coherences

if TYPE_CHECKING:
    from hpcthermo.config.lattice_dynamics import BteSection, FourPhononSection
    from hpcthermo.transport.bte.four_phonon_sample import FourPhononLinewidths
    from hpcthermo.transport.bte.four_phonon_tasks import Stage
    from hpcthermo.transport.bte.line_shapes import LineShapes

#: A in a micrometre
MICROMETRE = 1e4
#: phonons with group velocities below stand, A/ps
STANDING_A_PER_PS = 1e-5


@dataclass
class Solution:
    """The conductivity of a crystal and what it came from.

    Attributes
    ----------
    mesh : Mesh
    phonons : Phonons
        On the whole mesh.
    velocities : (I, B, 3) ndarray
        A/ps, at irreducible points.
    linewidths : dict of str to ndarray
        THz: "three_phonon", "four_phonon", "normal" and "umklapp" (I, n_T, B), "isotope" and "boundary" (I, B).
    total_linewidths : (I, n_T, B) ndarray
        Of all together.
    relaxation_time : Conductivity
    small_grains : (n_T, 3, 3) ndarray
        Conductivity by length of small grains, W/(m K) per A.
    full : Conductivity or None
        Of the full equation, not numbers at temperatures where it failed; None if it is not asked for or failed at all.
    full_facts : dict
        How it was solved; "residuals" and "weights_change" by temperature.
    full_failures : dict of int to str
        Why it was not solved, by the index of the temperature.
    coherence : Coherences or None
    line_shapes : LineShapes or None
    phase_space : (I, n_T, B) ndarray or None
        Weighted, 1/THz^4.
    four_phonon : FourPhononLinewidths or None
        With errors.
    without_four_phonon : (n_T, 3, 3) ndarray or None
        Conductivity by relaxation times without them, W/(m K).
    soundness : dict of str to float
        Of the tensors, from `require_sound`; and "frequency_asymmetry", the largest difference of frequencies, THz,
        between points that the symmetry of the crystal maps onto each other.
    seconds : dict of str to float
        By step.
    """

    mesh: Mesh
    phonons: Phonons
    velocities: np.ndarray
    linewidths: dict[str, np.ndarray]
    total_linewidths: np.ndarray
    relaxation_time: Conductivity
    small_grains: np.ndarray
    full: Conductivity | None = None
    full_facts: dict[str, Any] = field(default_factory=dict)
    full_failures: dict[int, str] = field(default_factory=dict)
    coherence: Coherences | None = None
    line_shapes: LineShapes | None = None
    phase_space: np.ndarray | None = None
    four_phonon: FourPhononLinewidths | None = None
    without_four_phonon: np.ndarray | None = None
    soundness: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def mesh_of(crystal: Crystal, mesh: Any, length_A: float | None, symmetric: bool = True) -> Mesh:
    """The mesh of a job: divisions, a matrix, or the length that it resolves.

    Divisions by length are equal where symmetry asks for it.

    Raises
    ------
    InputError
        If a sheet is divided along its vacuum, or the mesh has not the symmetry of the crystal.
    """
    along = np.array(crystal.periodic)
    if mesh is None:
        assert length_A is not None
        divisions = np.maximum(1, np.rint(length_A / np.linalg.norm(crystal.cell, axis=1)).astype(int))
        divisions = np.where(along, divisions, 1)
        try:
            return Mesh.create(crystal, divisions, symmetric)
        except InputError:
            # vectors of centred lattices differ in length and are mixed by symmetry; equal divisions always fit
            return Mesh.create(crystal, np.where(along, divisions.max(), 1), symmetric)
    matrix = np.array(mesh)
    plain = matrix if matrix.ndim == 1 else np.diag(matrix)
    off = np.zeros((3, 3)) if matrix.ndim == 1 else matrix - np.diag(plain)
    if (plain[~along] != 1).any() or off[~along].any() or off[:, ~along].any():
        raise InputError("mesh: expected 1 along the direction in which the sheet is not periodic, got "
                         f"{matrix.tolist()}")
    return Mesh.create(crystal, matrix, symmetric)


@dataclass(frozen=True)
class Given:
    """What the settings of a job are for its crystal.

    Attributes
    ----------
    mesh : Mesh
    thickness : Thickness or None
    mass_variances : (n,) ndarray or None
        None: no scattering by isotopes.
    line_points : (Q,) ndarray of int
        Points of the mesh whose line shapes are wanted.
    """

    mesh: Mesh
    thickness: Thickness | None
    mass_variances: np.ndarray | None
    line_points: np.ndarray

    @classmethod
    def of(cls, crystal: Crystal, settings: BteSettings | BteSection) -> Given:
        """From the settings.

        Raises
        ------
        InputError
            If they do not fit the crystal.
        """
        require_few_bands(crystal.n_bands)
        mesh = mesh_of(crystal, settings.mesh, settings.mesh_length_A, settings.symmetry)
        variances = mass_variances_of(crystal.symbols, settings.mass_variances) if settings.isotopes else None
        if settings.method == "lbte" and settings.solver == "direct":
            require_few_rows(3 * crystal.n_bands * len(mesh.irreducible[0]))
        line_points = np.empty(0, dtype=int)
        if settings.line_shapes is not None:
            from hpcthermo.transport.bte.line_shapes import mesh_points

            line_points = mesh_points(mesh, np.array(settings.line_shapes.q).reshape(-1, 3))
        return cls(mesh, Thickness.of(crystal, settings.thickness_A), variances, line_points)


def solve(dynamics: LatticeDynamics, settings: BteSettings | BteSection, *, nac: Correction = "gonze",
          imaginary_limit_THz: float = 0.05, threads: int = 1, device: str = "cpu",
          stage: Callable[[str, int], Callable[[int], None]] | None = None, phase_space: bool = False,
          campaign: Campaign | None = None, seed: int = 1) -> Solution:
    """Solve the Boltzmann equation of a crystal.

    Parameters
    ----------
    stage : callable, optional
        (name, tasks) -> what is told of the tasks that are done.
    phase_space : bool
        Also the three-phonon phase space.
    campaign : callable, optional
        Computes the tasks of q-points instead of threads of this process (`tasks`).
    seed : int
        Of the sample of four-phonon processes.

    Raises
    ------
    InputError
        If the mesh or the crystal is not usable.
    ResourceError
        If there is no such device.
    PhysicsError
        If the conductivity by relaxation times is no sound tensor.
    """
    backend = make_backend(device, "mixed")  # one that is absent is refused before work is spent
    clock = _Clock(stage)
    clock.begin("phonons")
    crystal, temperatures = dynamics.crystal, np.array(settings.temperatures_K)
    given = Given.of(crystal, settings)
    mesh, thickness = given.mesh, given.thickness
    harmonic = harmonic_crystal(dynamics, nac)
    phonons = mesh_phonons(harmonic, mesh)
    require_stable(phonons.frequencies, mesh.q, imaginary_limit_THz)
    points = mesh.irreducible[0]
    irreducible = phonons.at(points)
    velocities = little_group_average(crystal, irreducible.q, group_velocities(harmonic, irreducible),
                                      mesh.rotations, mesh.cartesian_rotations)
    if np.linalg.norm(velocities, axis=2).max() < STANDING_A_PER_PS:
        raise InputError(f"mesh: expected points at which phonons move, got {mesh.n_points} at which all are standing "
                         "waves; use a finer mesh")
    gaussian = _gaussian(settings, mesh, harmonic, phonons)
    full = settings.method == "lbte"
    # strengths are in the precision of the backend; tables that are made at once need no list of sums
    third = dynamics.interactions(3, backend.real, summed=campaign is not None)
    problem = ThreePhononProblem(mesh, phonons, third, temperatures, gaussian, device=device,
                                 split=settings.normal_umklapp and not full,
                                 symmetrised=settings.symmetrised_tetrahedra)
    del third
    if campaign is None:
        problem = problem.tabulated()
    note = clock.begin("three-phonon linewidths", problem.sum.n_tasks)
    collisions: Collisions | None = None
    if full:
        found, collisions = linewidths_and_collisions(problem, threads, note, campaign)
        linewidths = {"three_phonon": found}
    if settings.normal_umklapp:
        apart = problem if problem.split else problem.divided()
        normal, umklapp = np.split(linewidths_of(apart, threads, note, campaign), 2)
        linewidths = {"three_phonon": normal + umklapp, "normal": normal, "umklapp": umklapp}
    elif not full:
        linewidths = {"three_phonon": linewidths_of(problem, threads, note, campaign)}
    clock.begin("other scattering")
    if given.mass_variances is not None:
        sigma = gaussian.widths if gaussian and settings.delta == "adaptive_gaussian" else settings.sigma_THz
        linewidths["isotope"] = isotope_linewidths(mesh, phonons, given.mass_variances, sigma)
    if settings.boundary_length_um is not None:
        linewidths["boundary"] = boundary_linewidths(velocities, settings.boundary_length_um * MICROMETRE)
    total = sum((linewidths[name][:, None, :] for name in ("isotope", "boundary") if name in linewidths),
                start=linewidths["three_phonon"])

    frequencies = irreducible.frequencies

    others = total

    def with_four_phonon(gamma: np.ndarray | float) -> tuple[Conductivity, np.ndarray]:
        added = others + gamma
        return Conductivity.relaxation_time(mesh, frequencies, velocities, added, temperatures, thickness), added

    conductivity = with_four_phonon(0.0)[0]
    four_phonon, without = None, None
    if settings.four_phonon is not None:
        four_phonon = _four_phonon(settings.four_phonon, mesh, harmonic, phonons, dynamics.fourth, temperatures,
                                   with_four_phonon, seed, threads,
                                   lambda tasks: clock.begin("four-phonon linewidths", tasks), campaign)
        linewidths["four_phonon"], without = four_phonon.gamma, conductivity.kappa
        conductivity, total = with_four_phonon(four_phonon.gamma)
    clock.begin("conductivity")
    grains = small_grain_limit(mesh, frequencies, velocities, temperatures, thickness)
    solution = Solution(mesh, phonons, velocities, linewidths, total, conductivity, grains, four_phonon=four_phonon,
                        without_four_phonon=without, seconds=clock.seconds)
    asymmetry = np.abs(phonons.frequencies - phonons.frequencies[mesh.representative]).max()
    solution.soundness = {"frequency_asymmetry": float(asymmetry),
                          **require_sound(mesh, conductivity.kappa, temperatures)}
    if settings.coherence:
        solution.coherence = coherences(mesh, frequencies, velocities, velocity_matrices(harmonic, irreducible), total,
                                        temperatures, thickness=thickness)
    if phase_space:
        weighted = replace(problem, third=None, split=False)
        note = clock.begin("phase space", weighted.sum.n_tasks)
        solution.phase_space = _phase_space(weighted, threads, note, campaign)
    if settings.line_shapes is not None:
        from hpcthermo.transport.bte.line_shapes import line_shapes

        note = clock.begin("line shapes", len(given.line_points))
        fourth = dynamics.fourth if 4 in dynamics.force_constants else None
        solution.line_shapes = line_shapes(
            harmonic, mesh, phonons, dynamics.third, fourth, given.line_points,
            settings.line_shapes.temperatures_K or settings.temperatures_K, settings.line_shapes.width_THz,
            settings.line_shapes.frequencies, note)
    if collisions is not None:
        clock.begin("full equation")
        _solve_full(solution, collisions, problem.sum.prefactor, settings, thickness, threads)
    clock.end()
    return solution


class _Clock:
    """Announces steps and counts their seconds."""

    def __init__(self, stage: Callable[[str, int], Callable[[int], None]] | None) -> None:
        self._stage, self.seconds = stage, dict[str, float]()
        self._name, self._start = "", 0.0

    def begin(self, name: str, tasks: int = 1) -> Callable[[int], None]:
        self.end()
        self._name, self._start = name, time.perf_counter()
        return (lambda _: None) if self._stage is None else self._stage(name, tasks)

    def end(self) -> None:
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + time.perf_counter() - self._start


def _gaussian(settings: BteSettings | BteSection, mesh: Mesh, harmonic: HarmonicCrystal,
              phonons: Phonons) -> Gaussian | None:
    """Widths of the energy conservation; None for tetrahedra."""
    if settings.delta == "tetrahedron":
        return None
    if settings.delta == "gaussian":
        assert settings.sigma_THz is not None
        return fixed_gaussian(phonons.frequencies.shape, settings.sigma_THz)
    return adaptive_widths(mesh, harmonic, phonons)


def adaptive_widths(mesh: Mesh, harmonic: HarmonicCrystal, phonons: Phonons, scale: float = 1.0) -> Gaussian:
    """Adaptive widths, the same for degenerate and for equivalent modes."""
    points = mesh.irreducible[0]
    irreducible = phonons.at(points)
    slots = np.searchsorted(points, mesh.representative)
    gaussian = adaptive_gaussian(mesh, group_velocities(harmonic, irreducible)[slots], scale)
    return replace(gaussian, widths=degenerate_mean(phonons.frequencies, gaussian.widths[..., None])[..., 0])


def _four_phonon(settings: FourPhononSettings | FourPhononSection, mesh: Mesh, harmonic: HarmonicCrystal,
                 phonons: Phonons, fourth: Interactions, temperatures: np.ndarray,
                 conductivity: Callable[[np.ndarray], tuple[Conductivity, np.ndarray]], seed: int, threads: int,
                 stage: Stage, campaign: Campaign | None) -> FourPhononLinewidths:
    """Four-phonon linewidths as the job wants them."""
    from hpcthermo.transport.bte.four_phonon_tasks import FourPhononProblem, all_processes, by_sample

    if settings.delta == "gaussian":
        assert settings.sigma_THz is not None
        gaussian = fixed_gaussian(phonons.frequencies.shape, settings.sigma_THz, CUTOFF_SIGMAS, modes=4)
    else:
        gaussian = adaptive_widths(mesh, harmonic, phonons, settings.smearing_scale)
    problem = FourPhononProblem(mesh, phonons, fourth, temperatures, gaussian, seed)
    if settings.all_processes:
        return all_processes(problem, threads, stage, campaign)
    return by_sample(problem, conductivity, settings.target_error_percent / 100.0, settings.most_samples, threads,
                     stage, campaign)


def _phase_space(weighted: ThreePhononProblem, threads: int, note: Callable[[int], None],
                 campaign: Campaign | None) -> np.ndarray:
    """Weighted phase space (I, n_T, B) of three-phonon processes, 1/THz^4.

    The sum of a linewidth with 1/(f f1 f2) in place of the strength, by the number of points: 2 (2 pi)^4 times
    W+ + W- of W. Li and N. Mingo, Phys. Rev. B 89, 184304 (2014), which are of angular frequencies and halved.
    """
    found = linewidths_of(weighted, threads, note, campaign)
    return found / (weighted.sum.prefactor * weighted.mesh.n_points)


def _solve_full(solution: Solution, collisions: Collisions, prefactor: float, settings: BteSettings | BteSection,
                thickness: Thickness | None, threads: int) -> None:
    """Solve the full equation and note how well it went."""
    mesh, frequencies = solution.mesh, solution.phonons.frequencies
    temperatures, three = solution.relaxation_time.temperatures, solution.linewidths["three_phonon"]
    shared = settings.shared_weights
    if shared is None:
        shared = not all(mesh.crystal.periodic)
    found = lbte.solve(mesh, frequencies, solution.velocities, solution.total_linewidths, temperatures, collisions,
                       prefactor, thickness, pseudo_inverse if settings.solver == "direct" else None,
                       keep_crossing=settings.crossing_bands == "keep", threads=threads,
                       replaced=three if shared else None)
    failures, sound = dict(found.failures), [solution.soundness]
    for t in range(len(temperatures)):
        if t not in failures:
            try:
                sound.append(require_sound(mesh, found.conductivity.kappa[t:t + 1], temperatures[t:t + 1]))
            except PhysicsError as failure:
                failures[t] = str(failure)
    solution.full_failures = dict(sorted(failures.items()))
    if len(failures) < len(temperatures):
        solution.full = found.conductivity.without(list(failures))
    solution.full_facts = {
        "solver": settings.solver, "shared_weights": shared, "processes": len(collisions),
        "steps": max(one.steps for one in found.solved),
        "residuals": np.array([one.residual for one in found.solved]),
        "energy_imbalance": max(energy_imbalance(mesh, collisions, frequencies, three[:, t], prefactor, float(at))
                                for t, at in enumerate(temperatures)),
    }
    if shared:
        again = Conductivity.relaxation_time(mesh, solution.relaxation_time.frequencies, solution.velocities,
                                             found.linewidths, temperatures, thickness)
        ratio = np.trace(again.kappa, axis1=1, axis2=2) / np.trace(solution.relaxation_time.kappa, axis1=1, axis2=2)
        solution.full_facts["weights_change"] = np.abs(ratio - 1.0)  # nothing on a fine mesh
    name = "lowest_eigenvalue_by_highest"
    solution.soundness |= {"asymmetry": max(one["asymmetry"] for one in sound), name: min(one[name] for one in sound)}
