"""phono3py: linewidths mode by mode, and the values that its tests have stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from phono3py_oracle import lattice, phono3py_answers

from acceptance.sides import ROOM, TRADITIONAL, Ours, ours, tensor, verdict
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import sum_in_order
from hpcthermo.transport.bte.self_energy import at_bands
from hpcthermo.transport.bte.strength import CubicStrength
from hpcthermo.transport.bte.triplets import TripletSymmetry

#: what is asked for of kappa, and of each linewidth (relative, THz)
KAPPA, LINEWIDTH, LINEWIDTH_THZ = 1e-4, 1e-5, 1e-7


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
