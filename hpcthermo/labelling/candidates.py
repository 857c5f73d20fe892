"""From recipes to the structures that are labelled: builders, perturbations, dynamics, selection.

Structures are written as extended XYZ before the first label, and labelled as the file says: coordinates in the file,
and so the content hashes of tasks, are the same on every machine that reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from hpcthermo.building import build_frames
from hpcthermo.config.potential import specs_of
from hpcthermo.datasets.files import read_dataset
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.identity import file_hashes, table_sha256
from hpcthermo.labelling.descriptors import site_descriptors, untrained_model
from hpcthermo.labelling.selection import FarthestFrames
from hpcthermo.labelling.snapshots import thermal_snapshots
from hpcthermo.potentials.load import load_potential
from hpcthermo.potentials.nep import NepPotential
from hpcthermo.structure.write import write_frames

if TYPE_CHECKING:
    from hpcthermo.config.job import LabelJob
    from hpcthermo.config.labelling import Recipe, SelectionSection

STRUCTURES_FILE = "structures.xyz"
#: coordinates closer than this belong to one structure, A
_SAME_A = 1e-6


@dataclass(frozen=True)
class Candidate:
    """A structure that may be labelled.

    Attributes
    ----------
    group : str
        Class of the structure.
    snapshot : Snapshot
    always : bool
        Whether selection may not leave it out.
    """

    group: str
    snapshot: Snapshot
    always: bool = False

    @property
    def numbers(self) -> np.ndarray:
        """(N,) atomic numbers."""
        from ase.data import atomic_numbers

        return np.array([atomic_numbers[symbol] for symbol in self.snapshot.species])[self.snapshot.types]


def recipes_hash(job: LabelJob) -> str:
    """SHA-256 of what decides which structures there are.

    Files count by their content, and keys that have their default values do not count: so a folder may be moved, and
    structures outlast keys that are added to recipes later.
    """
    table = job.model_dump(mode="json", include={"recipe", "selection", "seed"}, exclude_defaults=True)
    return table_sha256(table, file_hashes(job))


def build_candidates(job: LabelJob, note: Callable[[int], None] | None = None) -> list[Candidate]:
    """Structures of all recipes, without duplicates, selected.

    Parameters
    ----------
    note : callable, optional
        Told how many recipes are done.

    Raises
    ------
    InputError
        If a recipe gives no usable structure.
    PhysicsError
        If atoms of its dynamics fly apart.
    """
    found: list[Candidate] = []
    wanted: list[tuple[Recipe, list[int]]] = []
    for number, recipe in enumerate(job.recipe):
        first = len(found)
        try:
            found += _distinct(_of_recipe(recipe, job.seed + number), found)
        except (InputError, PhysicsError) as error:
            raise type(error)(f"recipe {recipe.group!r}: {error}") from None
        wanted.append((recipe, list(range(first, len(found)))))
        if note is not None:
            note(number + 1)
    if job.selection is None and all(recipe.keep is None for recipe in job.recipe):
        return found
    return [found[k] for k in _selected(found, wanted, job.selection)]


def write_candidates(candidates: Sequence[Candidate], path: Path, recipes: str) -> None:
    """Structures as extended XYZ, with group and the hash of the recipes."""
    write_frames([(candidate.snapshot, {"group_name": candidate.group, "recipes_sha256": recipes})
                  for candidate in candidates], path)


def read_candidates(path: Path) -> tuple[list[tuple[str, Atoms]], str]:
    """(group, atoms) of each structure that `write_candidates` wrote, and the hash of the recipes.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    try:
        # not ASE's reader, which takes names like 1.10 and T for numbers and flags
        frames = read_dataset(path, "xyz")
        found = [(frame.provenance["group_name"],
                  Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=frame.periodic))
                 for frame in frames]
        return found, frames[0].provenance["recipes_sha256"]
    except (InputError, KeyError) as error:
        raise InputError(f"{path}: expected structures written by `hpcthermo label`, got something else "
                         f"({type(error).__name__}: {error}); remove it to build them anew") from None


def _of_recipe(recipe: Recipe, seed: int) -> Iterator[Candidate]:
    frames = build_frames(recipe.structure, seed)
    if recipe.dynamics is None:
        for frame in frames:
            yield Candidate(recipe.group, with_volume(frame.snapshot), recipe.always)
        return
    potential = load_potential(specs_of(recipe.dynamics.potential), Path.cwd())
    for number, frame in enumerate(frames):
        random = np.random.default_rng([seed, number])
        for _, snapshot in thermal_snapshots(frame.snapshot, recipe.dynamics, potential, random):
            yield Candidate(recipe.group, with_volume(snapshot), recipe.always)


def with_volume(snapshot: Snapshot) -> Snapshot:
    """The structure as plane-wave codes see it: periodic along all three cell vectors.

    Raises
    ------
    InputError
        If it has no cell along an open direction.
    """
    from hpcthermo.structure.perturb import replaced

    if abs(np.linalg.det(snapshot.cell)) < 1e-6:
        raise InputError("structure: expected a cell with a volume, got none along an open direction; give "
                         "vacuum_A, or a file with a cell")
    periodic = replaced(snapshot)
    periodic.periodic = np.ones(3, dtype=bool)
    return periodic


def _distinct(candidates: Iterator[Candidate], before: Sequence[Candidate]) -> list[Candidate]:
    """Those that are no copies of each other or of earlier ones."""
    seen = {_fingerprint(candidate) for candidate in before}
    kept = []
    for candidate in candidates:
        fingerprint = _fingerprint(candidate)
        if fingerprint not in seen:
            seen.add(fingerprint)
            kept.append(candidate)
    return kept


def _fingerprint(candidate: Candidate) -> bytes:
    """Of cell, species and positions relative to the first atom, in steps of `_SAME_A`."""
    snapshot = candidate.snapshot
    relative = snapshot.positions - snapshot.positions[0]
    steps = np.rint(np.concatenate([snapshot.cell.ravel(), relative.ravel()]) / _SAME_A).astype(np.int64)
    return hashlib.sha256(candidate.numbers.astype(np.int64).tobytes() + steps.tobytes()).digest()


def _selected(found: Sequence[Candidate], wanted: Sequence[tuple[Recipe, list[int]]],
              selection: SelectionSection | None) -> list[int]:
    """Rows of the frames that are kept, those first that must be kept, then the most different ones in turns.

    A campaign that is stopped early then has something of every class.
    """
    elements = sorted({symbol for candidate in found for symbol in candidate.snapshot.species})
    potential = NepPotential(untrained_model(elements))
    if selection is not None and selection.descriptor is not None:
        loaded = load_potential(selection.descriptor, Path.cwd())
        if not isinstance(loaded, NepPotential):
            raise InputError(f"selection.descriptor: expected a NEP model, got a potential of style {loaded.style}; "
                             "name a nep.txt, or leave it out")
        potential = loaded
    sampler = FarthestFrames([site_descriptors(candidate.snapshot, potential) for candidate in found],
                             [candidate.numbers for candidate in found])
    least = 0.0 if selection is None else selection.minimum_distance
    limit = None if selection is None else selection.maximum_frames
    most = len(found) if limit is None else limit
    kept = [k for recipe, rows in wanted if recipe.always for k in rows]
    for row in kept:
        sampler.take(row)
    # recipes take turns, so that a limit for all of them together cuts none off
    rest = [(len(rows) if recipe.keep is None else recipe.keep, rows) for recipe, rows in wanted if not recipe.always]
    turns = [sampler.take_farthest(rows, count, least) for count, rows in rest]
    while turns and len(kept) < most:
        for turn in list(turns):
            frame = next(turn, None)
            if frame is None:
                turns.remove(turn)
            elif len(kept) < most:
                kept.append(frame)
    return kept
