"""What must hold without any other code: solvers, energy, symmetry, other axes, threads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from phono3py_oracle import lattice, phono3py_answers

from acceptance.sides import ROOM, TRADITIONAL, ours, verdict
from hpcthermo.transport.bte import direct
from hpcthermo.transport.bte.conductivity import tensor_asymmetry
from hpcthermo.transport.bte.mesh import Mesh


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
