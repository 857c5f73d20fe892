"""``hpcthermo convert``: structure files into each other, GPUMD's run.in into a job file, force constants."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path

from hpcthermo.errors import InputError
from hpcthermo.phonons.files.conversion import convert_force_constants, family_of
from hpcthermo.results import write_text
from hpcthermo.run_in import convert_run_in, is_run_in
from hpcthermo.structure.build import snapshot_of_file, structure_from_file
from hpcthermo.structure.read import read_structure
from hpcthermo.structure.write import format_of, write_structure


def convert(source: Path, target: Path, species: Sequence[str] | None, grouping_method: int,
            periodic: Sequence[bool] | None = None) -> list[str]:
    """Convert a file.

    Parameters
    ----------
    source, target : Path
        A structure file and another, a run.in (its model.xyz beside it) and a job file, or the cells of force
        constants (phonopy.yaml, CONTROL, infile.ucposcar; the force constants beside it) and those of another program.
    species : sequence of str, optional
        Elements of the atom types of a LAMMPS data file.
    grouping_method : int
        Column of the groups of a GPUMD model.xyz.
    periodic : three bool, optional
        Instead of what the source says.

    Returns
    -------
    list of str
        What was written and what has no equivalent.

    Raises
    ------
    InputError
        If the source cannot be used, or the target exists.
    """
    if target.exists():
        raise InputError(f"{target}: is there already; remove it or choose another name")
    if is_run_in(source):
        return _convert_run_in(source, target)
    if family_of(source) is not None and family_of(target) is not None:
        return convert_force_constants(source, target)
    form = format_of(target)
    atoms = read_structure(source, species=species, grouping_method=grouping_method, periodic=periodic)
    snapshot = snapshot_of_file(atoms, source)
    write_structure(snapshot, target)
    lines = [f"wrote {target}: {snapshot.n_atoms} atoms, {form.name}"]
    if periodic is None and not says_periodicity(source):
        lines.append("the source does not say which directions are periodic, taken: all (--periodic TTF for vacuum "
                     "along z)")
    if not form.holds_all and not snapshot.periodic.all():
        flags = ", ".join(str(bool(flag)).lower() for flag in snapshot.periodic)
        lines.append(f"{form.name} does not say which directions are periodic: give structure.periodic = [{flags}]")
    if atoms.grouping_methods > 1:
        lines.append(f"kept grouping method {grouping_method} of {atoms.grouping_methods} (--grouping-method)")
    return lines


def says_periodicity(path: Path) -> bool:
    """Whether a structure file can say which directions are periodic: of the formats written, extended XYZ can."""
    try:
        return format_of(path).holds_all
    except InputError:
        return True


def _convert_run_in(source: Path, target: Path) -> list[str]:
    from hpcthermo.config.load import parse_job

    if target.suffix != ".toml":
        raise InputError(f"{target}: a run.in becomes a job file; expected a name that ends with .toml")
    model = source.with_name("model.xyz")
    snapshot = structure_from_file(model) if model.is_file() else None
    # paths in a job are relative to it
    relative = os.path.relpath(model.resolve(), target.parent.resolve())
    conversion = convert_run_in(source, relative, snapshot)
    text = conversion.text(source.name)
    parse_job(tomllib.loads(text), str(source))
    write_text(text, target)
    missing = [] if snapshot else [f"{model}: not found; needed to run the job"]
    return [f"wrote {target}", *missing, *(str(remark) for remark in conversion.remarks)]
