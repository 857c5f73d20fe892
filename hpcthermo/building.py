"""From a [structure] table to frames: the builder, its series, the perturbations, and what is said about each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.config.perturbation import (
    Perturbation,
    RattlePerturbation,
    SlidePerturbation,
    SpacingPerturbation,
    StoneWalesPerturbation,
    StrainPerturbation,
    SubstitutionPerturbation,
    VacancyPerturbation,
)
from hpcthermo.config.structure import (
    CrystalStructure,
    FileStructure,
    Heterobilayer,
    InterfaceStructure,
    LateralHeterostructure,
    LayeredStack,
    Structure,
    TwistedBilayer,
)
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError, ResourceError
from hpcthermo.structure import perturb
from hpcthermo.structure.build import crystal_snapshot, pile_snapshot, structure_from_file
from hpcthermo.structure.cell_file import crystal_from_file, sheet_from_file
from hpcthermo.structure.checks import check_structure
from hpcthermo.structure.crystals import UnitCell, find_crystal
from hpcthermo.structure.frame import Facts, Frame
from hpcthermo.structure.heterobilayer import build_heterobilayer
from hpcthermo.structure.interface import CrystalSide, build_interface
from hpcthermo.structure.lateral import Domain, build_lateral
from hpcthermo.structure.layered_stack import LayerBlock, build_layered_stack
from hpcthermo.structure.limits import MAXIMUM_ATOMS
from hpcthermo.structure.materials import find_material
from hpcthermo.structure.repeat import repeat_snapshot
from hpcthermo.structure.sheet import Sheet
from hpcthermo.structure.surface import MillerBasis
from hpcthermo.structure.twist import build_twisted_bilayer, find_twist, make_twist

#: frames of a data set; their atoms together are bounded like those of one structure
_MOST_FRAMES = 100_000


def build_frames(structure: Structure, seed: int) -> list[Frame]:
    """All frames of a [structure] table.

    Parameters
    ----------
    structure : Structure
    seed : int
        Of the perturbations; recorded in each frame that needed it.

    Raises
    ------
    InputError
        If the parameters or the file give no usable structure.
    ResourceError
        If it does not fit into memory.
    """
    try:
        frames = list(_BUILDERS[type(structure)](structure))
        for frame in frames:
            _check_periodicity(structure, frame.snapshot)
        for number, perturbation in enumerate(structure.perturbation):
            frames = _bounded(new for k, frame in enumerate(frames) for new in _perturbed(
                frame, perturbation, np.random.default_rng([seed, number, k]), seed))
        if structure.perturbation:
            for k, frame in enumerate(frames):
                check_structure(frame.snapshot.cell, frame.snapshot.periodic, frame.snapshot.positions,
                                f"structure.perturbation (frame {k})")
        return frames
    except MemoryError:
        raise ResourceError("structure: does not fit into memory; reduce repeat or use a larger machine") from None


def _bounded(frames: Iterator[Frame]) -> list[Frame]:
    """The frames as a list, unless they are too many."""
    kept: list[Frame] = []
    atoms = 0
    for frame in frames:
        kept.append(frame)
        atoms += frame.snapshot.n_atoms
        if len(kept) > _MOST_FRAMES or atoms > MAXIMUM_ATOMS:
            raise InputError(f"structure.perturbation: more than {_MOST_FRAMES} frames or {MAXIMUM_ATOMS} atoms in all "
                             "of them; ask for fewer")
    return kept


def _check_periodicity(structure: Any, snapshot: Snapshot) -> None:
    wanted = getattr(structure, "pbc", None)
    if wanted is None:
        return
    for axis, (asked, made) in enumerate(zip(wanted, snapshot.periodic.tolist(), strict=True)):
        if asked != made:
            reason = "vacuum_A separates the images there, which makes it open; use vacuum_A = 0" if asked else \
                "the builder joins it to its image there; use vacuum_A (along z), or leave pbc out"
            raise InputError(f"structure.pbc: {'xyz'[axis]} is to be {'periodic' if asked else 'open'}, but {reason}")


# ---- builders --------------------------------------------------------------------------------------


def _from_file(table: FileStructure) -> Iterator[Frame]:
    snapshot = structure_from_file(Path(table.file), species=table.species, periodic=table.periodic,
                                   grouping_method=table.grouping_method)
    yield Frame(repeat_snapshot(snapshot, table.repeat), {"file": Path(table.file).name})


def _layered_stack(table: LayeredStack) -> Iterator[Frame]:
    blocks = [LayerBlock(_sheet(block), block.count, block.repeat, block.stacking, block.offset, block.registry)
              for block in table.layers]
    spacing = list(table.spacing_A) if isinstance(table.spacing_A, tuple) else table.spacing_A
    stack = build_layered_stack(blocks, spacing, table.vacuum_A, table.lattice, _shape(table.cell),
                                table.maximum_mismatch_percent / 100.0)
    names = [block.sheet.name for block in blocks]
    facts: Facts = {
        "builder": table.builder,
        "repeats": ", ".join(f"{name} {n[0]}x{n[1]}" for name, n in zip(names, stack.repeats, strict=True)),
        "strain_percent": ", ".join(f"{name} {100 * e[0]:z.4f} {100 * e[1]:z.4f}"
                                    for name, e in zip(names, stack.strains, strict=True)),
    }
    yield Frame(pile_snapshot(stack, table.builder), facts)


def _twisted_bilayer(table: TwistedBilayer) -> Iterator[Frame]:
    if table.indices is not None:
        twist = make_twist(*table.indices)
    else:
        assert table.angle_deg is not None
        twist = find_twist(table.angle_deg, table.angle_tolerance_deg, table.maximum_atoms)
    sheets = [_sheet(choice) for choice in table.materials]
    bilayer = build_twisted_bilayer(sheets[0], sheets[-1], twist, table.registry, table.lattice, _shape(table.cell),
                                    table.repeat, table.spacing_A, table.vacuum_A)
    facts: Facts = {"builder": table.builder, "m": twist.m, "n": twist.n, "angle_deg": round(twist.angle, 6),
                    "strain_percent": ", ".join(f"{sheet.name} {100 * e[0]:z.4f} {100 * e[1]:z.4f}" for sheet, e in
                                                zip((sheets[0], sheets[-1]), bilayer.strains, strict=True))}
    yield Frame(pile_snapshot(bilayer, table.builder), facts)


def _heterobilayer(table: Heterobilayer) -> Iterator[Frame]:
    sheets = [_sheet(choice) for choice in table.materials]
    bilayer = build_heterobilayer(sheets[0], sheets[1], table.maximum_strain_percent / 100.0, table.maximum_area_A2,
                                  _angle(table.angle_deg), table.registry, table.lattice, table.repeat, table.spacing_A,
                                  table.vacuum_A)
    facts = {"builder": table.builder, **_match_facts(bilayer.match, [s.name for s in sheets], bilayer.strains)}
    yield Frame(pile_snapshot(bilayer, table.builder), facts)


def _lateral(table: LateralHeterostructure) -> Iterator[Frame]:
    domains = [Domain(_sheet(domain), domain.cells) for domain in table.domains]
    sheet = build_lateral(domains, table.width, table.seam, table.lattice, table.periodic, table.vacuum_A)
    names = [domain.material.name for domain in domains if isinstance(domain.material, Sheet)]
    facts: Facts = {
        "builder": table.builder, "seam": table.seam,
        "lengths_A": ", ".join(f"{name} {length:.4f}" for name, length in zip(names, sheet.lengths, strict=True)),
        "strain_percent": ", ".join(f"{name} {100 * e:z.4f}" for name, e in zip(names, sheet.strains, strict=True)),
    }
    yield Frame(pile_snapshot(sheet, table.builder, sheet.groups), facts)


def _crystal(table: CrystalStructure) -> Iterator[Frame]:
    cell, _ = _unit_cell(table, "structure")
    yield Frame(repeat_snapshot(crystal_snapshot(cell), table.repeat), {"builder": table.builder, "crystal": cell.name})


def _interface(table: InterfaceStructure) -> Iterator[Frame]:
    lengths = [side.length_A if isinstance(side.length_A, tuple) else (side.length_A,)
               for side in (table.lower, table.upper)]
    if len(lengths[0]) != len(lengths[1]) and min(map(len, lengths)) != 1:
        raise InputError(f"structure.lower.length_A and structure.upper.length_A: expected lists of one length, got "
                         f"{len(lengths[0])} and {len(lengths[1])} lengths; correct them")
    count = max(map(len, lengths))
    cells = [_unit_cell(table.lower, "structure.lower"), _unit_cell(table.upper, "structure.upper")]
    seen: dict[str, int] = {}
    for k in range(count):
        sides = [CrystalSide(cell, basis.indices(side.miller), own[k % len(own)])
                 for side, (cell, basis), own in zip((table.lower, table.upper), cells, lengths, strict=True)]
        made = build_interface(sides[0], sides[1], table.gap_A, table.vacuum_A, table.maximum_strain_percent / 100.0,
                               table.maximum_area_A2, _angle(table.angle_deg), table.lattice, table.repeat,
                               table.frozen_A, table.bath_A)
        names = [side.crystal.name for side in sides]
        facts: Facts = {"builder": table.builder, **_match_facts(made.match, names, made.strains),
                        "lengths_A": f"{names[0]} {made.lengths[0]:.4f}, {names[1]} {made.lengths[1]:.4f}",
                        "gap_A": round(made.gap, 6)}
        label = f"{made.lengths[0] + made.lengths[1]:.0f}A" if count > 1 else ""
        if label in seen:
            raise InputError(f"structure.lower.length_A and structure.upper.length_A: numbers {seen[label]} and {k} of "
                             f"the lists (counted from 0) both give whole cells of {label.removesuffix('A')} A in "
                             "all; leave one out")
        seen[label] = k
        yield Frame(pile_snapshot(made, table.builder, made.groups), facts, label)


_BUILDERS: dict[type, Callable[[Any], Iterator[Frame]]] = {
    FileStructure: _from_file, LayeredStack: _layered_stack, TwistedBilayer: _twisted_bilayer,
    Heterobilayer: _heterobilayer, LateralHeterostructure: _lateral, CrystalStructure: _crystal,
    InterfaceStructure: _interface,
}


def _sheet(choice: Any) -> Sheet:
    """A two-dimensional crystal of a job file: a name, or a table with material or file."""
    if isinstance(choice, str):
        return find_material(choice)
    sheet = sheet_from_file(Path(choice.file)) if choice.file is not None else find_material(choice.material)
    return sheet if choice.lattice_constant_A is None else sheet.with_lattice_constant(choice.lattice_constant_A)


def _unit_cell(table: Any, key: str) -> tuple[UnitCell, MillerBasis]:
    """A crystal of a job file, and what turns its Miller indices into those of its cell."""
    if table.file is not None:
        return crystal_from_file(Path(table.file)), MillerBasis(np.eye(3))
    crystal = find_crystal(table.crystal, f"{key}.crystal")
    rows = crystal.primitive_rows if table.cell == "primitive" else np.eye(3)
    return crystal.unit_cell(table.crystal, table.cell, table.lattice_constant_A), MillerBasis(rows)


def _shape(cell: str) -> str:
    return "primitive" if cell == "hexagonal" else cell


def _angle(angle: Any) -> Any:
    return None if angle == "any" else angle


def _match_facts(match: Any, names: list[str], strains: np.ndarray) -> Facts:
    return {
        "cells": ", ".join(f"{name} {matrix.tolist()}" for name, matrix in
                           zip(names, (match.first, match.second), strict=True)),
        "angle_deg": round(match.rotation, 6),
        "strain_percent": ", ".join(f"{name} {100 * e[0, 0]:z.4f} {100 * e[1, 1]:z.4f} {100 * e[0, 1]:z.4f}"
                                    for name, e in zip(names, strains, strict=True)),
    }


# ---- perturbations ---------------------------------------------------------------------------------


def _perturbed(frame: Frame, table: Perturbation, random: np.random.Generator, seed: int) -> Iterator[Frame]:
    """The frames that a perturbation makes of one."""
    before = str(frame.facts["perturbation"]) + "; " if "perturbation" in frame.facts else ""
    for snapshot, text, needs_seed in _variants(frame.snapshot, table, random):
        facts: Facts = {**frame.facts, "perturbation": before + text}
        if needs_seed:
            facts["seed"] = seed
        yield Frame(snapshot, facts, frame.label)


def _variants(snapshot: Snapshot, table: Perturbation, random: np.random.Generator
              ) -> Iterator[tuple[Snapshot, str, bool]]:
    """Snapshot, description, and whether random numbers were drawn."""
    if isinstance(table, StrainPerturbation) and table.maximum_percent is None:
        for value in table.values_percent:
            yield (perturb.strained(snapshot, dict.fromkeys(table.components, value / 100.0)),
                   f"strain {' '.join(table.components)} {value:g} %", False)
    elif isinstance(table, SpacingPerturbation):
        _, below = perturb.moved_layers(snapshot, table.above_layer, "spacing")
        for distance in table.distances_A:
            yield (perturb.spaced(snapshot, table.above_layer, distance),
                   f"spacing above layer {below} {distance:g} A", False)
    elif isinstance(table, SlidePerturbation):
        _, below = perturb.moved_layers(snapshot, table.above_layer, "slide")
        for i, j in itertools.product(range(table.grid[0]), range(table.grid[1])):
            shift = _grid_point(snapshot, table, i, j)
            yield (perturb.slid(snapshot, table.above_layer, shift),
                   f"slide above layer {below} by {shift[0]:.6f} {shift[1]:.6f} A (grid point {i} {j})", False)
    else:
        for k in range(table.frames):
            made, text = _random_variant(snapshot, table, random)
            yield made, f"{text} (variant {k})", True


def _random_variant(snapshot: Snapshot, table: Any, random: np.random.Generator) -> tuple[Snapshot, str]:
    if isinstance(table, StrainPerturbation):
        assert table.maximum_percent is not None
        values = random.uniform(-table.maximum_percent, table.maximum_percent, len(table.components))
        strain = dict(zip(table.components, values.tolist(), strict=True))
        text = " ".join(f"{name} {value:.4f}" for name, value in strain.items())
        return perturb.strained(snapshot, {name: value / 100.0 for name, value in strain.items()}), f"strain {text} %"
    if isinstance(table, RattlePerturbation):
        return perturb.rattled(snapshot, table.deviation_A, random), f"rattle {table.deviation_A:g} A"
    if isinstance(table, VacancyPerturbation):
        made = perturb.with_vacancies(snapshot, table.count, table.fraction, table.element, random)
        return made, f"vacancies {snapshot.n_atoms - made.n_atoms}{f' of {table.element}' if table.element else ''}"
    if isinstance(table, SubstitutionPerturbation):
        made = perturb.with_substitutions(snapshot, table.count, table.fraction, table.element, table.by, random)
        return made, f"substitution {table.element} by {table.by}"
    assert isinstance(table, StoneWalesPerturbation)
    return perturb.with_turned_bonds(snapshot, table.count, random), f"stone_wales {table.count}"


def _grid_point(snapshot: Snapshot, table: SlidePerturbation, i: int, j: int) -> np.ndarray:
    """(3,) shift of a point of a sliding grid, A; the last point is one period after the first."""
    edges = snapshot.cell[:2]
    if table.period_A is not None:
        edges = edges * (np.array(table.period_A) / np.linalg.norm(edges, axis=1))[:, None]
    parts = [k / (n - 1) if n > 1 else 0.0 for k, n in zip((i, j), table.grid, strict=True)]
    return parts[0] * edges[0] + parts[1] * edges[1]
