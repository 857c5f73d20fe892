"""Our side of what phono3py answers: the same force constants, mesh and kind of energy conservation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from phono3py_oracle import lattice
from record import ROOT

from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.nonanalytic import NonAnalytic
from hpcthermo.phonons.velocities import group_velocities, little_group_average, velocity_matrices
from hpcthermo.transport.bte import lbte
from hpcthermo.transport.bte.collisions import collect_collisions, energy_imbalance
from hpcthermo.transport.bte.conductivity import Conductivity
from hpcthermo.transport.bte.isotopes import isotope_linewidths, natural_mass_variances
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.rates import ThreePhononRates, sum_in_order
from hpcthermo.transport.bte.smearing import fixed_gaussian
from hpcthermo.transport.bte.strength import CubicStrength
from hpcthermo.transport.bte.wigner import coherences

#: of the models that this looks at
MODELS = ROOT.parent / "shared" / "data" / "nep"
ROOM = [300.0]
#: force constants as in phono3py's tests; its newest release fits them by default
TRADITIONAL = {"fc_calculator": "traditional"}


def verdict(met: bool, text: str) -> str:
    """A line of the record, shown at once."""
    line = f"{'ok  ' if met else 'MISS'} {text}"
    print(line, file=sys.stderr, flush=True)
    return line


def harmonic_of(found: SimpleNamespace, inputs: SimpleNamespace) -> HarmonicCrystal:
    """With dipoles where phono3py has Born charges."""
    if not hasattr(inputs, "born"):
        harmonic: HarmonicCrystal = found.harmonic
        return harmonic
    response = DielectricResponse(inputs.born, inputs.dielectric, float(inputs.factor))
    return HarmonicCrystal(found.crystal, found.second, NonAnalytic(response, found.supercell, "gonze"))


@dataclass
class Ours:
    """Everything about one crystal, mesh and kind of energy conservation, found when first asked for."""

    harmonic: HarmonicCrystal
    third: Interactions
    mesh: Mesh
    temperatures: list[float]
    sigma: float | None = None
    sigma_cutoff: float | None = None
    precision: str = "mixed"
    threads: int = 1
    #: whose rotations velocities of degenerate bands are averaged over; the mesh without
    symmetry: Mesh | None = None

    def __post_init__(self) -> None:
        mesh, self.backend = self.mesh, make_backend("cpu", self.precision)
        self.phonons = mesh_phonons(self.harmonic, mesh)
        points = mesh.irreducible[0]
        self.there = self.phonons.at(points)
        group = self.symmetry or mesh
        self.velocities = little_group_average(mesh.crystal, self.there.q, group_velocities(self.harmonic, self.there),
                                               group.rotations, group.cartesian_rotations)

    def rates(self, **options: Any) -> ThreePhononRates:
        gaussian = None if self.sigma is None else fixed_gaussian(self.phonons.frequencies.shape, self.sigma,
                                                                  self.sigma_cutoff, keep_integral=False)
        strength = CubicStrength(self.mesh, self.phonons, self.third, self.backend)
        return ThreePhononRates(self.mesh, self.phonons, strength, self.temperatures, gaussian=gaussian,
                                backend=self.backend, **options)

    def gamma(self, **options: Any) -> np.ndarray:
        rates = self.rates(**options)
        return rates.linewidths(sum_in_order(rates, self.threads))

    def isotopes(self) -> np.ndarray:
        variances = natural_mass_variances(self.mesh.crystal.symbols)
        return isotope_linewidths(self.mesh, self.phonons, variances, self.sigma)

    def conductivity(self, gamma: np.ndarray) -> np.ndarray:
        """Tensors (n_T, 3, 3) in the relaxation-time approximation."""
        return Conductivity.relaxation_time(self.mesh, self.there.frequencies, self.velocities, gamma,
                                            np.array(self.temperatures)).kappa

    def full(self, solver: Any = None) -> SimpleNamespace:
        """Linewidths and the solution of the full equation."""
        rates = self.rates()
        gamma, collisions = collect_collisions(rates, self.threads)
        solution = lbte.solve(self.mesh, self.phonons.frequencies, self.velocities, gamma,
                              np.array(self.temperatures), collisions, rates.prefactor, solver=solver)
        imbalance = [energy_imbalance(self.mesh, collisions, self.phonons.frequencies, gamma[:, t], rates.prefactor, at)
                     for t, at in enumerate(self.temperatures)]
        return SimpleNamespace(gamma=gamma, kappa=solution.conductivity.kappa, solution=solution, imbalance=imbalance)

    def coherent(self, gamma: np.ndarray, formula: str) -> Any:
        return coherences(self.mesh, self.there.frequencies, self.velocities,
                          velocity_matrices(self.harmonic, self.there), gamma, np.array(self.temperatures), formula)

    def rows_of(self, q: np.ndarray) -> np.ndarray:
        """Slots of irreducible points that wave vectors (K, 3) of a plain mesh belong to."""
        index = self.mesh.index(np.rint(q @ self.mesh.matrix.T).astype(int))
        return np.searchsorted(self.mesh.irreducible[0], self.mesh.representative[index])


def ours(answers: SimpleNamespace, mesh: Any, temperatures: list[float] = ROOM, symmetric: bool = True,
         nac: bool = False, **options: Any) -> Ours:
    """Our side of phono3py's answers."""
    found = lattice(answers.inputs, average_origins=options.pop("average_origins", True))
    harmonic = harmonic_of(found, answers.inputs) if nac else found.harmonic
    return Ours(harmonic, found.third, Mesh.create(found.crystal, mesh, symmetric), temperatures, **options)


def tensor(voigt: np.ndarray) -> np.ndarray:
    """From xx yy zz yz xz xy."""
    return np.asarray(voigt)[..., [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
