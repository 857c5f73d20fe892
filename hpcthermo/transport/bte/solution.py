"""From force constants to the conductivity: the steps of a bte job as one function.

    phonons on the mesh -> group velocities -> linewidths (three and four phonons, isotopes, boundaries)
    -> conductivity by relaxation times -> full equation -> coherences

Everything that a user can be told about the result, checks included, is in `Solution`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.errors import InputError
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
from hpcthermo.transport.bte.conductivity import Conductivity, Thickness, require_sound
from hpcthermo.transport.bte.direct import pseudo_inverse
from hpcthermo.transport.bte.four_phonon import FourPhononLinewidths, FourPhononRates, all_processes, sampled
from hpcthermo.transport.bte.isotopes import isotope_linewidths, natural_mass_variances
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.smearing import CUTOFF_SIGMAS, Gaussian, adaptive_gaussian, fixed_gaussian
from hpcthermo.transport.bte.tasks import Campaign, ThreePhononProblem, linewidths_and_collisions, linewidths_of
from hpcthermo.transport.bte.wigner import Coherences, coherences

if TYPE_CHECKING:
    from hpcthermo.config.lattice_dynamics import BteSection, FourPhononSection

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
    full : Conductivity or None
        Of the full equation.
    full_facts : dict
        How it was solved.
    coherence : Coherences or None
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
    full: Conductivity | None = None
    full_facts: dict[str, Any] = field(default_factory=dict)
    coherence: Coherences | None = None
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


def solve(dynamics: LatticeDynamics, settings: BteSection, *, nac: Correction = "gonze",
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
        If the conductivity is no sound tensor.
    """
    make_backend(device, "mixed")  # one that is absent is refused before work is spent
    clock = _Clock(stage)
    clock.begin("phonons")
    crystal, temperatures = dynamics.crystal, np.array(settings.temperatures_K)
    mesh = mesh_of(crystal, settings.mesh, settings.mesh_length_A, settings.symmetry)
    thickness = Thickness.of(crystal, settings.thickness_A)
    harmonic = harmonic_crystal(dynamics, nac)
    phonons = mesh_phonons(harmonic, mesh)
    require_stable(phonons.frequencies, mesh.q, imaginary_limit_THz)
    points = mesh.irreducible[0]
    irreducible = Phonons(mesh.q[points], phonons.frequencies[points], phonons.eigenvectors[points])
    velocities = little_group_average(crystal, irreducible.q, group_velocities(harmonic, irreducible),
                                      mesh.rotations, mesh.cartesian_rotations)
    if np.linalg.norm(velocities, axis=2).max() < STANDING_A_PER_PS:
        raise InputError(f"mesh: expected points at which phonons move, got {mesh.n_points} at which all are standing "
                         "waves; use a finer mesh")
    variances = natural_mass_variances(crystal.symbols) if settings.isotopes else None

    gaussian = _gaussian(settings, mesh, harmonic, phonons)
    full = settings.method == "lbte"
    problem = ThreePhononProblem(mesh, phonons, dynamics.third, temperatures, gaussian, device=device,
                                 split=settings.normal_umklapp and not full,
                                 symmetrised=settings.symmetrised_tetrahedra)
    note = clock.begin("three-phonon linewidths", problem.rates.n_tasks)
    collisions: Collisions | None = None
    if full:
        found, collisions = linewidths_and_collisions(problem, threads, note, campaign)
        linewidths = {"three_phonon": found}
    if settings.normal_umklapp:
        apart = problem if problem.split else replace(problem, split=True)
        normal, umklapp = np.split(linewidths_of(apart, threads, note, campaign), 2)
        linewidths = {"three_phonon": normal + umklapp, "normal": normal, "umklapp": umklapp}
    elif not full:
        linewidths = {"three_phonon": linewidths_of(problem, threads, note, campaign)}
    clock.begin("other scattering")
    if variances is not None:
        linewidths["isotope"] = isotope_linewidths(mesh, phonons, variances)
    if settings.boundary_length_um is not None:
        linewidths["boundary"] = boundary_linewidths(velocities, settings.boundary_length_um * MICROMETRE)
    total = linewidths["three_phonon"].copy()
    for name in ("isotope", "boundary"):
        if name in linewidths:
            total += linewidths[name][:, None, :]

    frequencies = irreducible.frequencies

    others = total

    def with_four_phonon(gamma: np.ndarray | float) -> tuple[Conductivity, np.ndarray]:
        added = others + gamma
        return Conductivity.relaxation_time(mesh, frequencies, velocities, added, temperatures, thickness), added

    conductivity = with_four_phonon(0.0)[0]
    four_phonon, without = None, None
    if settings.four_phonon is not None:
        note = clock.begin("four-phonon linewidths", len(points))
        four_phonon = _four_phonon(settings.four_phonon, mesh, harmonic, phonons, dynamics.fourth, temperatures,
                                   with_four_phonon, seed, threads, note)
        linewidths["four_phonon"], without = four_phonon.gamma, conductivity.kappa
        conductivity, total = with_four_phonon(four_phonon.gamma)
    clock.begin("conductivity")
    solution = Solution(mesh, phonons, velocities, linewidths, total, conductivity, four_phonon=four_phonon,
                        without_four_phonon=without, seconds=clock.seconds)
    asymmetry = np.abs(phonons.frequencies - phonons.frequencies[mesh.representative]).max()
    solution.soundness = {"frequency_asymmetry": float(asymmetry),
                          **require_sound(mesh, conductivity.kappa, temperatures)}
    if settings.coherence:
        solution.coherence = coherences(mesh, frequencies, velocities, velocity_matrices(harmonic, irreducible), total,
                                        temperatures, thickness=thickness)
    if phase_space:
        weighted = replace(problem, third=None, split=False)
        note = clock.begin("phase space", weighted.rates.n_tasks)
        solution.phase_space = _phase_space(weighted, threads, note, campaign)
    if collisions is not None:
        clock.begin("full equation")
        _solve_full(solution, collisions, problem.rates.prefactor, settings, thickness, threads)
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
            self.seconds[self._name] = time.perf_counter() - self._start


def _gaussian(settings: BteSection, mesh: Mesh, harmonic: HarmonicCrystal, phonons: Phonons) -> Gaussian | None:
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
    irreducible = Phonons(mesh.q[points], phonons.frequencies[points], phonons.eigenvectors[points])
    slots = np.searchsorted(points, mesh.representative)
    gaussian = adaptive_gaussian(mesh, group_velocities(harmonic, irreducible)[slots], scale)
    return replace(gaussian, widths=degenerate_mean(phonons.frequencies, gaussian.widths[..., None])[..., 0])


def _four_phonon(settings: FourPhononSection, mesh: Mesh, harmonic: HarmonicCrystal, phonons: Phonons,
                 fourth: Interactions, temperatures: np.ndarray,
                 conductivity: Callable[[np.ndarray], tuple[Conductivity, np.ndarray]], seed: int, threads: int,
                 note: Callable[[int], None]) -> FourPhononLinewidths:
    """Four-phonon linewidths as the job wants them."""
    if settings.delta == "gaussian":
        assert settings.sigma_THz is not None
        gaussian = fixed_gaussian(phonons.frequencies.shape, settings.sigma_THz, CUTOFF_SIGMAS, modes=4)
    else:
        gaussian = adaptive_widths(mesh, harmonic, phonons, settings.smearing_scale)
    rates = FourPhononRates(mesh, phonons, fourth, temperatures, gaussian, seed)
    if settings.all_processes:
        return all_processes(rates, threads, note)
    # how many batches there will be is not known: only whether to go on
    return sampled(rates, conductivity, settings.target_error_percent / 100.0, settings.most_samples, threads,
                   lambda _: note(0))


def _phase_space(weighted: ThreePhononProblem, threads: int, note: Callable[[int], None],
                 campaign: Campaign | None) -> np.ndarray:
    """Weighted phase space (I, n_T, B) of three-phonon processes, 1/THz^4.

    The sum of a linewidth with 1/(f f1 f2) in place of the strength, by the number of points: 2 (2 pi)^4 times
    W+ + W- of W. Li and N. Mingo, Phys. Rev. B 89, 184304 (2014), which are of angular frequencies and halved.
    """
    found = linewidths_of(weighted, threads, note, campaign)
    return found / (weighted.rates.prefactor * weighted.mesh.n_points)


def _solve_full(solution: Solution, collisions: Collisions, prefactor: float, settings: BteSection,
                thickness: Thickness | None, threads: int) -> None:
    """Solve the full equation and note how well it went."""
    mesh, frequencies = solution.mesh, solution.phonons.frequencies
    temperatures = solution.relaxation_time.temperatures
    found = lbte.solve(mesh, frequencies, solution.velocities, solution.total_linewidths, temperatures, collisions,
                       prefactor, thickness, pseudo_inverse if settings.solver == "direct" else None,
                       keep_crossing=settings.crossing_bands == "keep", threads=threads)
    solution.full = found.conductivity
    three = solution.linewidths["three_phonon"]
    solution.full_facts = {
        "solver": settings.solver, "processes": len(collisions), "steps": max(one.steps for one in found.solved),
        "residual": max(one.residual for one in found.solved),
        "energy_imbalance": max(energy_imbalance(mesh, collisions, frequencies, three[:, t], prefactor, float(at))
                                for t, at in enumerate(temperatures)),
    }
    soundness = require_sound(mesh, found.conductivity.kappa, temperatures)
    solution.soundness |= {"asymmetry": max(solution.soundness["asymmetry"], soundness["asymmetry"]),
                           "lowest_eigenvalue_by_highest": min(solution.soundness["lowest_eigenvalue_by_highest"],
                                                               soundness["lowest_eigenvalue_by_highest"])}
