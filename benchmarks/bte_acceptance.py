"""Acceptance of phonons and of the Boltzmann equation: phono3py, stored values, exact properties, literature.

    python benchmarks/bte_acceptance.py modes silicon_table settings_table salt_table self_energy_table
    python benchmarks/bte_acceptance.py physics differences gruneisen diamond graphene silicon --record

Sections are independent. Inputs are those of ../shared (forces of silicon and rock salt, NEP models). phono3py runs in
processes of its own (tests/kernels/phono3py_oracle.py) from the same force constants and meshes; "gauge-free" are its
weights averaged over degenerate bands, its default depends on the eigenvectors that LAPACK chose among them. Stored
values are those of phono3py's tests (default weights); "apart" is ours against gauge-free. A line that misses what is
asked for begins with MISS.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from record import ROOT, write_record

sys.path[:0] = [str(ROOT / "tests" / "kernels"), str(ROOT / "tests" / "unit"), str(ROOT / "tests" / "physics")]

from phono3py_oracle import lattice, lattice_data, phono3py_answers  # noqa: E402

from hpcthermo.gpu.backend import make_backend  # noqa: E402
from hpcthermo.phonons.crystal import Crystal, Supercell  # noqa: E402
from hpcthermo.phonons.dielectric import DielectricResponse  # noqa: E402
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons  # noqa: E402
from hpcthermo.phonons.interactions import Interactions  # noqa: E402
from hpcthermo.phonons.nonanalytic import NonAnalytic  # noqa: E402
from hpcthermo.phonons.velocities import group_velocities, little_group_average, velocity_matrices  # noqa: E402
from hpcthermo.transport.bte import direct, lbte  # noqa: E402
from hpcthermo.transport.bte.collisions import collect_collisions, energy_imbalance  # noqa: E402
from hpcthermo.transport.bte.conductivity import Conductivity, tensor_asymmetry  # noqa: E402
from hpcthermo.transport.bte.isotopes import isotope_linewidths, natural_mass_variances  # noqa: E402
from hpcthermo.transport.bte.mesh import Mesh  # noqa: E402
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons  # noqa: E402
from hpcthermo.transport.bte.rates import ThreePhononRates, sum_in_order  # noqa: E402
from hpcthermo.transport.bte.self_energy import at_bands  # noqa: E402
from hpcthermo.transport.bte.smearing import fixed_gaussian  # noqa: E402
from hpcthermo.transport.bte.strength import CubicStrength  # noqa: E402
from hpcthermo.transport.bte.triplets import TripletSymmetry  # noqa: E402
from hpcthermo.transport.bte.wigner import coherences  # noqa: E402

MODELS = ROOT.parent / "shared" / "data" / "nep"
ROOM = [300.0]
#: what is asked for against phono3py: of kappa, and of each linewidth (relative, THz)
KAPPA, LINEWIDTH, LINEWIDTH_THZ = 1e-4, 1e-5, 1e-7


#: force constants as in phono3py's tests; its newest release fits them by default
TRADITIONAL = {"fc_calculator": "traditional"}


def verdict(met: bool, text: str) -> str:
    """A line of the record, shown at once."""
    line = f"{'ok  ' if met else 'MISS'} {text}"
    print(line, file=sys.stderr, flush=True)
    return line


# ---- our side -----------------------------------------------------------------------------------------


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
        self.there = Phonons(mesh.q[points], self.phonons.frequencies[points], self.phonons.eigenvectors[points])
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


# ---- 1: phono3py, mode by mode --------------------------------------------------------------------------


def modes() -> list[str]:
    """Conductivities and every linewidth on the meshes that are asked for."""
    lines = []
    for material, divisions, nac in (("si", 11, False), ("nacl", 9, True)):
        mesh = (divisions,) * 3
        answers = phono3py_answers(material, TRADITIONAL, full={"mesh": list(mesh), "temperatures": ROOM,
                                                                "is_LBTE": True, "nac": nac})
        name = f"{material} {divisions}^3{', dipoles' if nac else ''}"
        for precision in ("mixed", "double"):
            case = ours(answers, mesh, nac=nac, precision=precision)
            full = case.full()
            for method, own, peer in (("RTA", case.conductivity(full.gamma)[0], answers.full.kappa_RTA[0, 0]),
                                      ("LBTE", full.kappa[0], answers.full.kappa[0, 0])):
                apart = np.abs(own - tensor(peer)).max() / own[0, 0]
                lines.append(verdict(apart < KAPPA, f"{name} {precision}: {method} kappa_xx own {own[0, 0]:.6f}, "
                                     f"phono3py {peer[0]:.6f}, apart {apart:.1e}"))
            lines += _linewidths(f"{name} {precision}", case, full.gamma[:, 0], answers.full.q,
                                 np.asarray(answers.full.gamma)[0, 0])
    return lines


def _linewidths(name: str, case: Ours, gamma: np.ndarray, q: np.ndarray, peer: np.ndarray) -> list[str]:
    rows = case.rows_of(q)
    own = gamma[rows]
    counted = np.ones_like(own, dtype=bool)
    counted[np.abs(q).max(axis=1) == 0.0, :3] = False
    apart = np.abs(own - peer)
    relative = (apart / np.where(peer > 0.0, peer, 1.0))[counted]
    missed = np.argwhere((apart > LINEWIDTH * peer + LINEWIDTH_THZ) & counted)
    lines = [verdict(len(missed) == 0, f"{name}: {counted.sum()} linewidths, relative difference median "
                     f"{np.median(relative):.1e}, largest {relative.max():.1e}, largest "
                     f"{apart[counted].max():.1e} THz; {len(missed)} beyond {LINEWIDTH:g} + {LINEWIDTH_THZ:g} THz")]
    return lines + [f"     q = {np.round(q[i], 4)}, band {b + 1}, {case.there.frequencies[rows[i], b]:.4f} THz: own "
                    f"{own[i, b]:.8f}, phono3py {peer[i, b]:.8f} THz" for i, b in missed[:20]]


# ---- 2: the table of stored values ----------------------------------------------------------------------


def _row(name: str, stored: float | None, tolerance: float, peer: float, own: float, default: float | None = None,
         allowed: float = KAPPA) -> str:
    apart = abs(own / peer - 1.0)
    away = stored is not None and abs(own - stored) > tolerance
    others = stored is not None and min(abs(x - stored) for x in (peer, default or peer)) > tolerance
    met = apart < allowed and (not away or others)
    at_rest = "" if default is None else f", default weights {default:.5f}"
    beside = "stored -" if stored is None else f"stored {stored:.3f} (+-{tolerance:g})"
    beside += ", which phono3py itself does not meet with these forces" if away and others else ""
    return verdict(met, f"{name:<44} {beside}, phono3py gauge-free {peer:.5f}{at_rest}, own {own:.5f}, apart "
                   f"{apart:.1e}")


def _both(settings: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {name: settings, f"{name}_default": {**settings, "gauge_free": False}}


def silicon_table() -> list[str]:
    """Silicon on 9^3 and smaller meshes."""
    nine, five = [9, 9, 9], [5, 5, 5]
    three = [200.0, 300.0, 400.0]
    plain = {"mesh": nine, "temperatures": ROOM}
    answers = phono3py_answers(
        "si", TRADITIONAL, **_both({**plain, "is_isotope": True}, "isotope"), **_both(plain, "rta"),
        sigma={**plain, "sigma": 0.1}, sigma_isotope={**plain, "sigma": 0.1, "is_isotope": True},
        **_both({"mesh": nine, "temperatures": three, "is_LBTE": True, "transport_type": "SMM19"}, "lbte"),
        five={"mesh": five, "temperatures": ROOM, "is_LBTE": True, "is_reducible_collision_matrix": True},
        five_reduced={"mesh": five, "temperatures": ROOM, "is_LBTE": True},
        smm={**plain, "transport_type": "SMM19"}, njc={**plain, "transport_type": "NJC23"},
        split={"mesh": [4, 4, 4], "temperatures": ROOM, "is_N_U": True})
    case = ours(answers, nine, three)
    full = case.full()
    gamma = full.gamma[:, 1:2]
    case.temperatures = ROOM
    rta = case.conductivity(gamma)[0, 0, 0]
    peer = {name: float(np.ravel(getattr(answers, name).kappa)[0]) for name in vars(answers)
            if hasattr(getattr(answers, name), "kappa")}
    lines = [_row("Si 9^3 RTA, compact force constants", 107.794, 0.5, peer["rta"], rta, peer["rta_default"]),
             _row("Si 9^3 RTA with isotopes", 97.296, 0.5, peer["isotope"],
                  case.conductivity(gamma + case.isotopes()[:, None])[0, 0, 0], peer["isotope_default"], allowed=5e-3),
             "     (isotopes: phono3py's weights follow rounding where corners of a tetrahedron are equivalent points)"]
    smeared = ours(answers, nine, ROOM, sigma=0.1)
    wide = smeared.gamma()
    lines += [_row("Si 9^3 RTA, sigma 0.1 THz", 109.999, 0.5, peer["sigma"], smeared.conductivity(wide)[0, 0, 0]),
              _row("Si 9^3 RTA, sigma 0.1 THz, isotopes", 96.368, 0.5, peer["sigma_isotope"],
                   smeared.conductivity(wide + smeared.isotopes()[:, None])[0, 0, 0])]
    particle, default = np.asarray(answers.lbte.kappa)[0, :, 0], np.asarray(answers.lbte_default.kappa)[0, :, 0]
    between = np.asarray(answers.lbte.kappa_inter)[0, :, 0]
    case.temperatures = three
    coherent = {name: case.coherent(full.gamma, name).kappa[:, 0, 0] for name in ("smm19", "njc23")}
    for t, (at, kappa, inter) in enumerate(zip(three, (193.1, 110.8, 79.0), (0.800, 0.537, 0.472), strict=True)):
        lines += [_row(f"Si 9^3 LBTE {at:g} K, particles", kappa, 0.3, particle[t], full.kappa[t, 0, 0], default[t]),
                  _row(f"Si 9^3 LBTE {at:g} K, coherences smm19", inter, 0.02, between[t], coherent["smm19"][t])]
    for name, stored, inter, answer in (("smm19", 108.330, 0.537, answers.smm), ("njc23", 108.325, 0.531, answers.njc)):
        theirs = float(np.ravel(answer.kappa_inter)[0])
        lines += [_row(f"Si 9^3 RTA + {name}", stored, 0.25, peer["rta"] + theirs, rta + coherent[name][1]),
                  _row(f"Si 9^3 {name} alone", inter, 0.02, theirs, coherent[name][1])]
    small = ours(answers, five).full().kappa[0, 0, 0]
    lines += [_row("Si 5^3 LBTE, whole collision matrix", 62.415, 0.3, peer["five"], small),
              _row("Si 5^3 LBTE, reduced collision matrix", None, 0.3, peer["five_reduced"], small)]
    four = ours(answers, [4, 4, 4])
    rates = four.rates(split=True)
    parts = np.split(rates.linewidths(sum_in_order(rates)), 2)
    rows = four.rows_of(answers.split.q)
    for name, part, theirs in zip(("normal", "Umklapp"), parts, (answers.split.normal, answers.split.umklapp),
                                  strict=True):
        apart = np.abs(part[rows, 0] - theirs[0, 0])
        apart[rows == 0, :3] = 0.0
        beyond = (apart > LINEWIDTH * np.abs(theirs[0, 0]) + LINEWIDTH_THZ).sum()
        lines.append(verdict(beyond == 0, f"Si 4^3 {name} linewidths: largest difference {apart.max():.1e} THz"))
    symmetry = TripletSymmetry(four.mesh, permute=False)
    lists = [sorted(symmetry.of(slot).multiplicities[:, 0].tolist()) for slot in range(symmetry.n_irreducible)]
    lines.append(verdict([2, 2, 6, 6, 6, 6, 6, 6, 12, 12] in lists, "Si 4^3: triplets with weights 2 2 6 6 6 6 6 6 12 "
                         "12"))
    return lines


def settings_table() -> list[str]:
    """Silicon with other settings of phono3py and on larger meshes."""
    lines = []
    plain = {"mesh": [9, 9, 9], "temperatures": ROOM}
    for name, setup, averaged, stored in (
            ("Si 9^3 RTA, full force constants", {"is_compact_fc": False}, True, 107.694),
            ("Si 9^3 RTA, no origin averaging", {"is_compact_fc": False, "make_r0_average": False}, False, 107.844)):
        answers = phono3py_answers("si", {**TRADITIONAL, **setup}, **_both(plain, "rta"))
        case = ours(answers, [9, 9, 9], average_origins=averaged)
        gamma = case.gamma(permute=averaged)  # without the mean over origins the legs of a triplet are not equal
        lines.append(_row(name, stored, 0.5, answers.rta.kappa[0, 0, 0], case.conductivity(gamma)[0, 0, 0],
                          answers.rta_default.kappa[0, 0, 0]))
    answers = phono3py_answers("si", {**TRADITIONAL, "is_compact_fc": False, "unsymmetric": True},
                               **_both({"mesh": [4, 4, 4], "temperatures": ROOM}, "rta"))
    case = ours(answers, [4, 4, 4], symmetric=False)
    own, peer = case.conductivity(case.gamma())[0], tensor(answers.rta.kappa[0, 0])
    apart = np.abs(own - peer).max() / peer[0, 0]
    lines.append(verdict(apart < KAPPA, f"Si 4^3 without any symmetry: stored xx 38.315, 38.616, 39.093, yz 0.221, "
                         f"0.166, 0.284 (+-0.5); default weights "
                         f"{np.round(answers.rta_default.kappa[0, 0], 3)}; gauge-free "
                         f"{np.round(answers.rta.kappa[0, 0], 5)}; own xx yy zz yz xz xy "
                         f"{np.round(own[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], 5)}; apart {apart:.1e}"))
    answers = phono3py_answers("si", {**TRADITIONAL, "is_mesh_symmetry": False},
                               **_both({"mesh": [7, 7, 7], "temperatures": ROOM}, "rta"))
    whole = Mesh.create(lattice(answers.inputs).crystal, (7, 7, 7))
    case = ours(answers, [7, 7, 7], symmetric=False, symmetry=whole)
    lines.append(_row("Si 7^3 RTA, no symmetry of the mesh", 81.147, 0.5, answers.rta.kappa[0, 0, 0],
                      case.conductivity(case.gamma())[0, 0, 0], answers.rta_default.kappa[0, 0, 0]))
    matrix = [[-6, 6, 6], [6, -6, 6], [6, 6, -6]]
    common = {"mesh": 30.0, "temperatures": ROOM}
    answers = phono3py_answers("si", {**TRADITIONAL, "use_grg": True}, rta=common,
                               isotope={**common, "is_isotope": True}, even={**common, "symmetrised": True},
                               wide={**common, "sigma": 0.1, "is_isotope": True})
    case, wide = ours(answers, matrix), ours(answers, matrix, sigma=0.1)
    gamma = case.gamma()
    values = {"rta": case.conductivity(gamma), "even": case.conductivity(case.gamma(symmetrised=True)),
              "isotope": case.conductivity(gamma + case.isotopes()[:, None]),
              "wide": wide.conductivity(wide.gamma() + wide.isotopes()[:, None])}
    # the steps of this mesh are a cube's: which of its diagonals tetrahedra have is a choice, but for their mean
    for name, stored, allowed, text in (("rta", 110.891, 5e-3, "RTA"), ("isotope", 104.290, 1e-2, "isotopes"),
                                        ("even", None, KAPPA, "RTA, mean over cuts into tetrahedra"),
                                        ("wide", 107.264, KAPPA, "sigma 0.1 THz, isotopes")):
        peer = getattr(answers, name).kappa[0, 0, 0]
        lines.append(_row(f"Si generalised mesh of 30 A, {text}", stored, 0.5, peer, values[name][0, 0, 0],
                          allowed=allowed))
    eleven = {"mesh": [11, 11, 11], "temperatures": ROOM}
    answers = phono3py_answers("si", {**TRADITIONAL, "pair_cutoff": 5.0}, **_both(eleven, "rta"))
    case = ours(answers, [11, 11, 11])
    lines.append(_row("Si 11^3 RTA, pairs within 5 A", 108.051, 0.5, answers.rta.kappa[0, 0, 0],
                      case.conductivity(case.gamma())[0, 0, 0], answers.rta_default.kappa[0, 0, 0]))
    answers = phono3py_answers("si", TRADITIONAL, **_both({**eleven, "is_LBTE": True}, "full"))
    case = ours(answers, [11, 11, 11])
    full = case.full()
    lines += [_row("Si 11^3 RTA", 108.98, 0.5, answers.full.kappa_RTA[0, 0, 0], case.conductivity(full.gamma)[0, 0, 0],
                   answers.full_default.kappa_RTA[0, 0, 0]),
              _row("Si 11^3 LBTE", 113.14, 0.3, answers.full.kappa[0, 0, 0], full.kappa[0, 0, 0],
                   answers.full_default.kappa[0, 0, 0])]
    case = ours(answers, [19, 19, 19])
    lines.append(_row("Si 19^3 RTA (gauge-free value of an earlier run)", 124.4, 0.5, 124.41665,
                      case.conductivity(case.gamma())[0, 0, 0]))
    return lines


def salt_table() -> list[str]:
    """Rock salt."""
    plain = {"mesh": [9, 9, 9], "temperatures": ROOM, "nac": True}
    answers = phono3py_answers("nacl", TRADITIONAL, **_both(plain, "rta"),
                               wide={**plain, "sigma": 0.1, "sigma_cutoff": 3})
    case, wide = ours(answers, [9, 9, 9], nac=True), ours(answers, [9, 9, 9], nac=True, sigma=0.1, sigma_cutoff=3.0)
    lines = [_row("NaCl 9^3 RTA", 7.881, 0.5, answers.rta.kappa[0, 0, 0], case.conductivity(case.gamma())[0, 0, 0],
                  answers.rta_default.kappa[0, 0, 0]),
             _row("NaCl 9^3 RTA, sigma 0.1 THz up to 3 sigma", 7.895, 0.5, answers.wide.kappa[0, 0, 0],
                  wide.conductivity(wide.gamma())[0, 0, 0])]
    for compact in (True, False):
        setup = {**TRADITIONAL, "make_r0_average": False, "is_compact_fc": compact}
        answers = phono3py_answers("nacl", setup, rta=plain)
        case = ours(answers, [9, 9, 9], nac=True, average_origins=False)
        lines.append(_row(f"NaCl 9^3 RTA, no origin averaging, {'compact' if compact else 'full'}",
                          None if compact else 7.741, 0.5, answers.rta.kappa[0, 0, 0],
                          case.conductivity(case.gamma(permute=False))[0, 0, 0]))
    return lines


#: imaginary and real parts of the self-energy of silicon at points 1 and 103 of 9^3, THz, as phono3py's tests have them
IMAGINARY = np.array([[0.00021545, 0.00021545, 0.00084089, 0.04680453, 0.04391903, 0.04391903],
                      [0.00382068, 0.00496605, 0.02735089, 0.01380481, 0.04135883, 0.029786]])
REAL = np.array([[-0.0057326, -0.0057326, -0.01633157, -0.14797815, -0.15086179, -0.15086179],
                 [-0.0208, -0.02104, -0.06575, -0.11440, -0.13667, -0.14372]])


def self_energy_table() -> list[str]:
    """Real and imaginary parts, isotopes."""
    points = {"mesh": [9, 9, 9], "points": [1, 103], "regular": True, "temperatures": ROOM}
    fine = {"mesh": [21, 21, 21], "isotope_points": [23, 103]}
    answers = phono3py_answers("si", {**TRADITIONAL, "is_compact_fc": False}, parts=points,
                               isotopes=fine, smeared={**fine, "sigma": 0.1})
    case = ours(answers, [9, 9, 9], precision="double")
    rows = case.rows_of(answers.parts.q)
    lines = []
    gammas = np.asarray(answers.parts.gammas).reshape(len(rows), -1)
    own = case.gamma()[rows, 0]
    apart = np.abs(own - gammas)
    same = (apart < LINEWIDTH * gammas + LINEWIDTH_THZ).all()
    lines.append(verdict(bool(np.abs(own - IMAGINARY).max() < 0.01 and same), f"Si 9^3 imaginary parts at points "
                         f"1, 103: from stored ones at most "
                         f"{np.abs(own - IMAGINARY).max():.1e} THz, from phono3py gauge-free {apart.max():.1e} THz"))
    strength = CubicStrength(case.mesh, case.phonons, case.third, case.backend)
    shifts = np.array([at_bands(case.mesh, case.phonons, strength, int(case.mesh.irreducible[0][row]), np.array(ROOM),
                                0.05)[0][0] for row in rows])
    theirs = np.asarray(answers.parts.shifts).reshape(len(rows), -1)
    apart = np.abs(shifts - theirs).max()
    lines.append(verdict(bool(np.abs(shifts - REAL).max() < 0.01 and apart < 1e-5),
                         f"Si 9^3 real parts at points 1, 103: from stored ones at most "
                         f"{np.abs(shifts - REAL).max():.1e} THz, from phono3py {apart:.1e} THz"))
    for name, sigma in (("isotopes", None), ("smeared", 0.1)):
        case = ours(answers, [21, 21, 21], sigma=sigma)
        answer = getattr(answers, name)
        own = case.isotopes()[case.rows_of(answer.q)]
        theirs = np.asarray(answer.gammas).reshape(own.shape)
        apart = np.abs(own - theirs)
        lines.append(verdict(bool(apart.max() < 3e-4), f"Si 21^3 linewidths by isotopes at points 23, 103, "
                             f"{'tetrahedra' if sigma is None else 'sigma 0.1 THz'}: largest {theirs.max():.5f} THz, "
                             f"apart {apart.max():.1e} THz"))
    return lines


# ---- 3: what must hold ------------------------------------------------------------------------------------


def physics() -> list[str]:
    """Properties that need no other code."""
    nothing = {"mesh": [2, 2, 2], "temperatures": ROOM}
    silicon, salt = (phono3py_answers(name, TRADITIONAL, inputs_only=nothing) for name in ("si", "nacl"))
    lines = []
    for name, answers, divisions, nac in (("Si", silicon, 7, False), ("NaCl", salt, 5, True)):
        case = ours(answers, (divisions,) * 3, [100.0, 300.0], nac=nac)
        by_steps, at_once = case.full(), case.full(direct.pseudo_inverse)
        apart = (np.abs(by_steps.kappa - at_once.kappa).max(axis=(1, 2)) / at_once.kappa[:, 0, 0]).max()
        lines.append(verdict(apart < 1e-6, f"{name} {divisions}^3: conjugate gradients against the direct solution, "
                             f"100 and 300 K: {apart:.1e} of kappa in {max(s.steps for s in by_steps.solution.solved)} "
                             "steps"))
    return lines + _energy(silicon) + _symmetry(silicon, salt) + _other_axes(silicon, salt) + _threads(silicon)


def _energy(silicon: SimpleNamespace) -> list[str]:
    """Norm of (gamma + M) f/sinh(x) by that of gamma f/sinh(x)."""
    lines, imbalance = [], {}
    for sigma in (None, 0.4, 0.2, 0.1, 0.05):
        for divisions in (5, 9, 13) if sigma is None else (9,):
            found = ours(silicon, (divisions,) * 3, sigma=sigma).full().imbalance[0]
            imbalance[sigma or divisions] = found
            how = "tetrahedra" if sigma is None else f"sigma {sigma:g} THz"
            lines.append(f"     Si {divisions}^3, {how}: f/sinh is a null vector to {found:.1e}")
    return [*lines, verdict(imbalance[0.05] < imbalance[0.1] < imbalance[0.2] < imbalance[0.4]
                            and imbalance[13] < imbalance[9] < imbalance[5] < 0.1,
                            "what is left falls with the width of the delta and with the mesh")]


def _symmetry(silicon: SimpleNamespace, salt: SimpleNamespace) -> list[str]:
    """Sums over all points without rotations, seen by the rotations of the crystal."""
    lines = []
    for name, answers, nac in (("Si", silicon, False), ("NaCl", salt, True)):
        whole = Mesh.create(lattice(answers.inputs).crystal, (5, 5, 5))
        free = ours(answers, (5, 5, 5), symmetric=False, nac=nac, precision="double")
        led = ours(answers, (5, 5, 5), symmetric=False, nac=nac, precision="double", symmetry=whole)
        forced = ours(answers, (5, 5, 5), nac=nac, precision="double")
        gamma, by_stars = free.gamma(), forced.gamma()
        rows = np.searchsorted(whole.irreducible[0], whole.representative)[free.mesh.irreducible[0]]
        of_star = np.abs(gamma - by_stars[rows])
        away = (free.there.frequencies > 0.5)[:, None, :]
        spread = (of_star * away).max() / gamma.max()
        lines.append(verdict(spread < ROUNDING, f"{name} 5^3: linewidths within a star, found one by one, differ by "
                             f"{spread:.1e} of the largest"))
        coherent = free.coherent(gamma, "smm19")
        tensors = {"averaged over little groups": led.conductivity(gamma), "by direction (1, 2, 3)":
                   free.conductivity(gamma), "(1, 2, 3), with coherences within degenerate bands":
                   free.conductivity(gamma) + coherent.within + coherent.left_out}
        for how, kappa in tensors.items():
            asymmetry = tensor_asymmetry(whole, kappa)[0]
            text = f"{name} 5^3 kappa by a sum over all points, velocities {how}: asymmetry {asymmetry:.1e}"
            lines.append(f"     {text}" if how.startswith("by") else verdict(asymmetry < ROUNDING, text))
        apart = np.abs(np.diagonal(led.conductivity(gamma)[0] - forced.conductivity(by_stars)[0])).max()
        apart /= forced.conductivity(by_stars)[0, 0, 0]
        lines.append(verdict(apart < ROUNDING, f"{name} 5^3 kappa with and without symmetry of the mesh: {apart:.1e}"))
    return lines


#: what is the same but for rounding agrees to this: force constants have their symmetries to about 1e-10, dipole sums
#: to 1e-8 of the largest
ROUNDING = 1e-7
#: other axes (rows in units of the vectors) and orders of the atoms
AXES = {"a b c -> b c a": ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], [0, 1]),
        "atoms exchanged": ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [1, 0]),
        "c -> c + a": ([[1, 0, 0], [0, 1, 0], [1, 0, 1]], [0, 1]),
        "b -> b - a, c -> c + 2 b, atoms exchanged": ([[1, 0, 0], [-1, 1, 0], [0, 2, 1]], [1, 0])}


def _turned(answers: SimpleNamespace, rows: Any, order: list[int]) -> SimpleNamespace:
    """The same crystal in other axes, its atoms in another order."""
    inputs = SimpleNamespace(**vars(answers.inputs))
    change = np.array(rows)
    inputs.cell = change @ inputs.cell
    inputs.positions = (inputs.positions @ np.linalg.inv(change))[order]
    inputs.symbols = [inputs.symbols[i] for i in order]
    for name in ("masses", "origin_of", "fc2", "fc3", "born"):
        if hasattr(inputs, name):
            setattr(inputs, name, np.asarray(getattr(inputs, name))[order])
    return SimpleNamespace(inputs=inputs)


def _other_axes(silicon: SimpleNamespace, salt: SimpleNamespace) -> list[str]:
    lines = []
    for name, answers, nac in (("Si", silicon, False), ("NaCl", salt, True)):
        def kappa(given: SimpleNamespace, nac: bool = nac) -> tuple[np.ndarray, np.ndarray]:
            case = ours(given, (5, 5, 5), nac=nac, precision="double")
            full = case.full()
            return case.conductivity(full.gamma)[0], full.kappa[0]
        first = kappa(answers)
        for how, (rows, order) in AXES.items():
            apart = [np.abs(a - b).max() / a[0, 0] for a, b in zip(first, kappa(_turned(answers, rows, order)),
                                                                   strict=True)]
            lines.append(verdict(max(apart) < ROUNDING, f"{name} 5^3 {how}: kappa changes by {apart[0]:.1e} (RTA), "
                                 f"{apart[1]:.1e} (LBTE)"))
    return lines


def _threads(silicon: SimpleNamespace) -> list[str]:
    found = [ours(silicon, (7, 7, 7), threads=threads).full() for threads in (1, 2, 3)]
    same = all((f.gamma == found[0].gamma).all() and (f.kappa == found[0].kappa).all() for f in found)
    return [verdict(same, "Si 7^3 on 1, 2 and 3 threads: linewidths and kappa (LBTE) are the same bits")]


# ---- 4: finite differences --------------------------------------------------------------------------------


def differences() -> list[str]:
    """Displacements, forces and force constants of our own against phono3py driving the same models."""
    from ase.build import bulk, graphene
    from phono3py_differences import phono3py_responses

    from hpcthermo.phonons.displacements import third_order_displacements
    from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
    from hpcthermo.phonons.forces import SupercellForces, displacement_task
    from hpcthermo.phonons.projection import largest_sum, projected
    from hpcthermo.phonons.sum_rules import with_sum_rules
    from hpcthermo.phonons.supercells import SpaceGroup

    def sheet(formula: str, a: float) -> Any:
        atoms = graphene(formula, a=a, size=(1, 1, 1), vacuum=10.0)
        atoms.cell[2] = [0.0, 0.0, 20.0]
        atoms.center(axis=2)
        atoms.wrap()
        return atoms

    primitive = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    flat, gr_hbn = (True, True, False), "gr_hbn_liang2025.nep.txt"
    cases = {"Si NEP4, 64 atoms": (bulk("Si", "diamond", a=5.434, cubic=True), [2, 2, 2], primitive,
                                   "Si_2022_NEP4_4body.txt", (True, True, True)),
             "h-BN, Gr/h-BN NEP4, 32 atoms": (sheet("BN", 2.5066104275163403), [4, 4, 1], np.eye(3), gr_hbn, flat),
             "graphene, Gr/h-BN NEP4, 32 atoms": (sheet("C2", 2.4642), [4, 4, 1], np.eye(3), gr_hbn, flat)}
    requests = [{"cell": atoms.cell.array, "positions": atoms.get_scaled_positions(),
                 "symbols": atoms.get_chemical_symbols(), "matrix": np.diag(matrix), "primitive": cell,
                 "potential": str(MODELS / model), "periodic": periodic}
                for atoms, matrix, cell, model, periodic in cases.values()]
    lines = []
    for (name, case), peer in zip(cases.items(), phono3py_responses(requests), strict=True):
        crystal = Crystal(peer["primitive_cell"], peer["primitive_positions"], tuple(peer["primitive_symbols"]),
                          peer["masses"], case[4])
        supercell = Supercell.match(crystal, peer["cell"], peer["positions"], peer["symbols"], peer["origin_of"])
        group = SpaceGroup.of(supercell)
        dataset = third_order_displacements(supercell, group)
        same = dataset.n_cells == len(peer["displacements"]) and bool(
            np.abs(dataset.dense(supercell.n_atoms) - peer["displacements"]).max() < 1e-12)
        forces = SupercellForces(supercell.cell, supercell.positions @ supercell.cell, tuple(peer["symbols"]),
                                 str(MODELS / case[3]), case[4])
        tasks = [displacement_task([], np.zeros((0, 3)))]
        for moved, steps in zip(dataset.atoms, dataset.vectors, strict=True):
            there = moved >= 0
            rows = np.unique(moved[there])
            tasks.append(displacement_task(rows, np.array([steps[there & (moved == row)].sum(axis=0) for row in rows])))
        residual, *found = [record["forces"] for record in forces.evaluate(forces.prepare(), tasks)]
        own = dataset.with_forces(np.array(found) - residual)
        apart = np.abs(own.forces - peer["forces"]).max()
        lines.append(verdict(same and apart < 1e-9, f"{name}: {dataset.n_cells} displaced cells, the same as "
                             f"phono3py's; forces apart {apart:.1e} eV/A"))
        solved = {2: second_force_constants(supercell, group, own), 3: third_force_constants(supercell, group, own)}
        for order, values in solved.items():
            theirs = peer[f"fc{order}"]
            relative = np.abs(values - theirs).max() / np.abs(theirs).max()
            even = projected(supercell, group, values)
            from_list = with_sum_rules(crystal, Interactions.second(supercell, even) if order == 2
                                       else Interactions.third(supercell, even))
            lines.append(verdict(relative < 1e-6 and max(largest_sum(even), from_list.after) < 1e-10,
                                 f"{name}: fc{order} apart {relative:.1e} of its largest element "
                                 f"({np.abs(theirs).max():.3f} eV/A^{order}); sums over a leg "
                                 f"{largest_sum(values):.1e} before, {largest_sum(even):.1e} after projection, "
                                 f"{from_list.after:.1e} on the lattice eV/A^{order}"))
    return lines


# ---- 5: Grueneisen ----------------------------------------------------------------------------------------


def gruneisen() -> list[str]:
    """Mode tensors against phono3py, and against volumes."""
    import test_gruneisen
    from test_harmonic import harmonic_of as harmonic_there
    from test_harmonic import supercell_of

    from hpcthermo.phonons.displacements import third_order_displacements
    from hpcthermo.phonons.finite_differences import third_force_constants
    from hpcthermo.phonons.gruneisen import gruneisen_from_volumes, gruneisen_tensors
    from hpcthermo.phonons.velocities import degenerate_groups

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "oracle.npz"
        subprocess.run([sys.executable, str(ROOT / "tests" / "physics" / "phonopy_oracle.py"), str(lattice_data()),
                        str(output)], check=True, capture_output=True)
        peer = dict(np.load(output))
    harmonic, supercell = harmonic_there(peer, "Si", "none"), supercell_of(peer, "Si")
    third = Interactions.third(supercell, peer["Si.fc3"], average_origins=False)
    points = np.linalg.norm(peer["points"], axis=1) > 0.01
    found = harmonic.phonons(peer["points"][points])
    groups = degenerate_groups(found.frequencies)
    same = groups[:, :, None] == groups[:, None, :]
    for clamped in (False, True):
        theirs = np.einsum("nst,ntab->nsab", same / same.sum(axis=2, keepdims=True),
                           peer[f"Si.gruneisen.{clamped}"][points])
        own = gruneisen_tensors(harmonic, third, found, clamped)
        apart = np.abs(own - theirs).max()
        lines.append(verdict(apart < 1e-4, f"Si (PBEsol) mode tensors at {points.sum()} wave vectors, "
                             f"{'clamped' if clamped else 'relaxed'} ions: apart {apart:.1e}, largest "
                             f"{np.abs(own).max():.3f}"))
    crystal, cell, group, evaluated = test_gruneisen.silicon(1.0)
    dataset = evaluated(third_order_displacements(cell, group, 5e-3, cutoff=4.0))
    third = Interactions.third(cell, third_force_constants(cell, group, dataset, cutoff=4.0))
    mesh = mesh_phonons(crystal, Mesh.create(crystal.crystal, (5, 5, 5)))
    scalar = np.trace(gruneisen_tensors(crystal, third, mesh), axis1=2, axis2=3) / 3.0
    by_volume = gruneisen_from_volumes(mesh, test_gruneisen.silicon(0.998)[0], test_gruneisen.silicon(1.002)[0])
    apart = np.abs(scalar - by_volume)[mesh.frequencies > 0.1].max() / np.abs(scalar).max()
    lines.append(verdict(apart < 1e-2, f"Si (Tersoff) 5^3: from third order and from volumes apart {apart:.1e} of the "
                         f"largest, {np.abs(scalar).max():.3f}"))
    return lines


# ---- literature -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """A model, and what is known of the material, W/(m K) at 300 K."""

    potential: str
    structure: str
    supercell: tuple[int, int, int]
    cutoff3_A: float
    meshes: tuple[tuple[int, int, int], ...]
    known: str
    thickness_A: float | None = None


MATERIALS = {
    "diamond": Material("C_2024_NEP4.txt", 'builder = "crystal"\ncrystal = "diamond"', (3, 3, 3), 4.0,
                        ((11, 11, 11), (15, 15, 15), (19, 19, 19)), "experiment 12C about 3300, natural 2200"),
    "silicon": Material("Si_2022_NEP4_4body.txt", 'builder = "crystal"\ncrystal = "Si"', (3, 3, 3), 5.0,
                        ((11, 11, 11), (15, 15, 15), (19, 19, 19)), "experiment natural 142-148, 28Si about 160"),
    "graphene": Material("gr_hbn_liang2025.nep.txt", 'builder = "layered_stack"\ncell = "hexagonal"\nvacuum_A = 20.0\n'
                         'layers = [{ material = "graphene", count = 1, repeat = [1, 1] }]', (7, 7, 1), 5.0,
                         ((24, 24, 1), (36, 36, 1), (48, 48, 1)),
                         "three-phonon theory 3000-4000 and growing with size; thickness 3.35 A", 3.35),
}


def literature(name: str) -> list[str]:
    """Conductivities of a NEP model by relaxation times and by the full equation, with and without isotopes."""
    from hpcthermo.phonons.files.load import load_lattice_dynamics
    from hpcthermo.transport.bte.settings import BteSettings
    from hpcthermo.transport.bte.solution import solve

    material = MATERIALS[name]
    lines = [f"{name}: {material.potential}, relaxed; supercell {material.supercell} of the cell of the structure, "
             f"triplets within {material.cutoff3_A:g} A; 300 K; {material.known}"]
    with tempfile.TemporaryDirectory() as folder:
        job, results = Path(folder) / "job.toml", Path(folder) / "results"
        job.write_text(f'kind = "fc"\npotential = "{MODELS / material.potential}"\n\n[structure]\n'
                       f"{material.structure}\n\n[force_constants]\nsupercell = {list(material.supercell)}\n"
                       f"cutoff3_A = {material.cutoff3_A}\n")
        done = subprocess.run([sys.executable, "-m", "hpcthermo", "fc", str(job), "--out", str(results)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return [*lines, verdict(False, f"{done.stderr.strip().splitlines()[-1:]}")]
        flat = material.thickness_A is not None
        fc2, fc3 = (next(results.glob(f"fc{order}*.hdf5")) for order in (2, 3))
        dynamics = load_lattice_dynamics(results / "phono3py.yaml", fc2=fc2, fc3=fc3,
                                         periodic=(True, True, not flat))
    for mesh in material.meshes:
        for isotopes in (False, True):
            settings = BteSettings(mesh=mesh, temperatures_K=(300.0,), method="lbte", isotopes=isotopes,
                                  thickness_A=material.thickness_A, coherence=False)
            solution = solve(dynamics, settings, threads=2)
            assert solution.full is not None
            rta, full = solution.relaxation_time.kappa[0, 0, 0], solution.full.kappa[0, 0, 0]
            lines.append(verdict(rta < full, f"{mesh}, {'natural' if isotopes else 'pure'}: kappa_xx RTA {rta:.1f}, "
                                 f"LBTE {full:.1f} W/(m K), LBTE / RTA {full / rta:.3f}, lowest frequency "
                                 f"{solution.phonons.frequencies.min():.4f} THz"))
    return lines


SECTIONS = {"modes": modes, "silicon_table": silicon_table, "settings_table": settings_table,
            "salt_table": salt_table, "self_energy_table": self_energy_table, "physics": physics,
            "differences": differences, "gruneisen": gruneisen,
            **{name: (lambda name=name: literature(name)) for name in MATERIALS}}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="+", choices=list(SECTIONS))
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    lattice_data()
    for name in arguments.sections:
        start = time.perf_counter()
        lines = SECTIONS[name]()
        lines.append(f"{time.perf_counter() - start:.0f} s")
        write_record("bte_acceptance" if arguments.record else None, f"Boltzmann equation, acceptance: {name}", lines)


if __name__ == "__main__":
    main()
