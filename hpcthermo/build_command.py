"""``hpcthermo build``: frames into a file, a picture beside each file, jobs of a series."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcthermo.building import build_frames
from hpcthermo.config.load import load_structure, read_job_text
from hpcthermo.config.structure import InterfaceStructure, StructureJob
from hpcthermo.errors import InputError
from hpcthermo.results import write_text
from hpcthermo.structure.frame import Frame
from hpcthermo.structure.write import format_of, write_frames

#: angles that a list shows have cells of honeycombs of at most so many atoms
LISTED_ATOMS = 20_000
_LENGTHS = re.compile(r"\b(length_A\s*=\s*)\[([^\]]*)\]")


def build_command(job: Path, output: Path) -> list[str]:
    """Build the [structure] of a file and write it.

    Parameters
    ----------
    job : Path
        Job file of any kind, or a TOML file with a [structure] table alone.
    output : Path
        Its name says the format; several frames go into one extended XYZ, members of a series into files of their own,
        with the length before the suffix.

    Returns
    -------
    list of str
        Lines that say what was made.

    Raises
    ------
    InputError
        If the table gives no usable structure.
    ResourceError
        If a file cannot be written.
    """
    from hpcthermo.plots import draw_structure

    table = load_structure(job)
    form = format_of(output)
    source = getattr(table.structure, "file", None)
    if source is not None and output.exists() and output.samefile(source):
        raise InputError(f"{output}: the structure is read from this file; write to another one with -o")
    frames = build_frames(table.structure, table.seed)
    # all that can be refused is refused before anything is written
    labels = list(dict.fromkeys(frame.label for frame in frames))
    if len(frames) > len(labels) and not form.holds_all:
        raise InputError(f"{output}: {form.name} holds one structure, there are {len(frames)}; use a name that ends in "
                         ".xyz")
    members_of_series = len(labels) > 1 and "kind" in tomllib.loads(read_job_text(job))
    jobs = series_jobs(job, labels) if members_of_series else {}
    lines = []
    for label, group in itertools.groupby(frames, key=lambda frame: frame.label):
        members = list(group)
        path = output.with_stem(f"{output.stem}-{label}") if label else output
        write_frames([(frame.snapshot, frame.facts) for frame in members], path)
        picture = draw_structure(members[0].snapshot, path.with_suffix(".png"))
        lines += [f"wrote {path} ({len(members)} frame{'s' if len(members) > 1 else ''}) and {picture.name}",
                  *describe(members)]
    for path, text in jobs.items():
        write_text(text, path)
        lines.append(f"wrote {path}")
    return lines


def describe(frames: Sequence[Frame]) -> list[str]:
    """What a user checks first: atoms, species, cell, and the facts of the first frame."""
    snapshot = frames[0].snapshot
    counts = np.bincount(snapshot.types, minlength=len(snapshot.species))
    atoms = ", ".join(f"{name} {count}" for name, count in zip(snapshot.species, counts, strict=True))
    edges = " ".join(f"{length:.4f}" for length in np.linalg.norm(snapshot.cell, axis=1))
    periodic = " ".join("T" if p else "F" for p in snapshot.periodic)
    lines = [f"  atoms {snapshot.n_atoms} ({atoms})", f"  cell {edges} A, pbc {periodic}"]
    if snapshot.groups.min() >= 0:
        lines.append(f"  groups {np.bincount(snapshot.groups).tolist()} atoms")
    lines += [f"  {name} {value}" for name, value in frames[0].facts.items() if name != "perturbation"]
    if len(frames) > 1 or "perturbation" in frames[0].facts:
        lines.append(f"  perturbation of frame 0: {frames[0].facts.get('perturbation', 'none')}")
    return lines


def series_jobs(job: Path, labels: Sequence[str]) -> dict[Path, str]:
    """A job file for each member of a series: its path and its text, with its lengths in place of the lists.

    Raises
    ------
    InputError
        If the lists cannot be found in the text of the job.
    """
    text = read_job_text(job)
    jobs = {}
    for k, label in enumerate(labels):
        member = _LENGTHS.sub(lambda found, k=k: f"{found[1]}{_length(found[2], k)}", text)  # type: ignore[misc]
        structure = StructureJob.model_validate({"structure": tomllib.loads(member)["structure"]}).structure
        if not isinstance(structure, InterfaceStructure) or isinstance(structure.lower.length_A, tuple) \
                or isinstance(structure.upper.length_A, tuple):
            raise InputError(f"{job}: the lists of length_A were not found; write each as length_A = [50, 100]")
        jobs[job.with_stem(f"{job.stem}-{label}")] = member
    return jobs


def _length(values: str, k: int) -> str:
    """Number k of a list, or its only one."""
    numbers = [value.strip() for value in values.split(",") if value.strip()]
    return numbers[k % len(numbers)]


def angle_lines(low: float, high: float) -> list[str]:
    """The commensurate angles between two, as a table."""
    from hpcthermo.structure.twist import twists_between

    twists = sorted(twists_between(low, high, LISTED_ATOMS), key=lambda twist: twist.angle)
    if not twists:
        return [f"no commensurate angle between {low:g} and {high:g} degrees with up to {LISTED_ATOMS} atoms"]
    return ["angle_deg      m    n  atoms of two honeycomb layers",
            *(f"{t.angle:9.5f} {t.m:6d} {t.n:4d}  {t.atoms}" for t in twists)]
