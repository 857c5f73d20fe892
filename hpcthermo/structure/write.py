"""Structures to files; the name of the file says the format (`FORMATS`).

Extended XYZ is also GPUMD's model.xyz: layer, group, vel (A/fs), mass (amu). POSCAR is sorted by species. LAMMPS data
are in units metal with a restricted triclinic cell, the element behind each mass, and layers as molecules (style full).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.results import write_text
from hpcthermo.units import TIME_FS


@dataclass(frozen=True)
class StructureFormat:
    """A format that structures are written in.

    Attributes
    ----------
    name : str
    stems, suffixes : tuple of str
        Lower-case beginnings and ends of file names.
    text : callable
        (snapshot, metadata) -> content.
    holds_all : bool
        Several structures, periodicity, layers, groups and metadata; else one structure with its cell.
    """

    name: str
    stems: tuple[str, ...]
    suffixes: tuple[str, ...]
    text: Callable[[Snapshot, Mapping[str, Any]], str]
    holds_all: bool = False


def write_structure(snapshot: Snapshot, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a structure, whole or not at all.

    Parameters
    ----------
    metadata : mapping, optional
        Numbers, text and lists for the second line of extended XYZ; other formats do not hold them.

    Raises
    ------
    InputError
        If the name belongs to no format, or the format cannot hold the structure.
    ResourceError
        If the file cannot be written.
    """
    write_text(format_of(path).text(snapshot, metadata or {}), path)


def write_frames(frames: Sequence[tuple[Snapshot, Mapping[str, Any]]], path: Path) -> None:
    """Write structures with their metadata into one file, whole or not at all.

    Raises
    ------
    InputError
        If the format of that name holds one structure and there are several.
    ResourceError
        If the file cannot be written.
    """
    form = format_of(path)
    if len(frames) > 1 and not form.holds_all:
        raise InputError(f"{path}: {form.name} holds one structure, there are {len(frames)}; use a name that ends in "
                         ".xyz")
    write_text("".join(form.text(snapshot, metadata) for snapshot, metadata in frames), path)


def format_of(path: Path) -> StructureFormat:
    """Format of a file name.

    Raises
    ------
    InputError
        If it belongs to none.
    """
    name = path.name.lower()
    for form in FORMATS:
        if name.startswith(form.stems) or name.endswith(form.suffixes):
            return form
    known = "; ".join(f"{form.name}: {', '.join((*(f'{stem}*' for stem in form.stems), *form.suffixes))}"
                      for form in FORMATS)
    raise InputError(f"{path}: its name belongs to no format that is written ({known}); rename it")


def extended_xyz(snapshot: Snapshot, metadata: Mapping[str, Any]) -> str:
    """One frame in extended XYZ; positions unwrapped in A, velocities in A/fs.

    Left out: fields that the snapshot lacks, velocities that are all zero, layers and groups that not all atoms have.
    """
    names = np.array(snapshot.species)[snapshot.types]
    reals, pattern = [snapshot.positions + snapshot.images @ snapshot.cell], ["%.8f"] * 3
    properties = "species:S:1:pos:R:3"
    velocities = snapshot.fields.get("velocities")
    if velocities is not None and velocities.any():
        reals.append(velocities / TIME_FS)
        pattern += ["%.9g"] * 3
        properties += ":vel:R:3"
    if not np.allclose(snapshot.masses, _standard_masses(snapshot), rtol=1e-6):
        reals.append(snapshot.masses[snapshot.types][:, None])
        pattern.append("%.9g")
        properties += ":mass:R:1"
    rows = np.concatenate(reals, axis=1).tolist()
    line = "%s " + " ".join(pattern)
    lines = [line % (name, *row) for name, row in zip(names, rows, strict=True)]
    for name in ("layer", "group"):
        values = snapshot.fields.get(f"{name}s")
        if values is not None and values.min() >= 0:
            properties += f":{name}:I:1"
            lines = [f"{line} {value}" for line, value in zip(lines, values.tolist(), strict=True)]
    cell = " ".join(f"{value:.10g}" for value in snapshot.cell.ravel())
    periodic = " ".join("T" if p else "F" for p in snapshot.periodic)
    units = ' vel_unit="A/fs"' if ":vel:" in properties else ""
    more = "".join(f" {key}={_value(value)}" for key, value in metadata.items())
    header = f'Lattice="{cell}" Properties={properties} pbc="{periodic}"{units}{more}'
    return "\n".join([str(snapshot.n_atoms), header, *lines]) + "\n"


def _standard_masses(snapshot: Snapshot) -> np.ndarray:
    from ase.data import atomic_masses, atomic_numbers

    return np.array([atomic_masses[atomic_numbers[symbol]] for symbol in snapshot.species])


def _value(value: Any) -> str:
    """A metadata value as extended XYZ has it."""
    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    if isinstance(value, int | float | np.number):
        return f"{value:.10g}"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
    return '"' + " ".join(_value(item).strip('"') for item in np.asarray(value).ravel().tolist()) + '"'


def _poscar(snapshot: Snapshot, metadata: Mapping[str, Any]) -> str:
    return _through_ase(snapshot, "vasp", direct=True, sort=True)


def _lammps_data(snapshot: Snapshot, metadata: Mapping[str, Any]) -> str:
    layered = snapshot.layers.min() >= 0
    return _through_ase(snapshot, "lammps-data", specorder=list(snapshot.species), masses=True,
                        velocities=bool(snapshot.velocities.any()), atom_style="full" if layered else "atomic")


def _cif(snapshot: Snapshot, metadata: Mapping[str, Any]) -> str:
    return _through_ase(snapshot, "cif")


def _through_ase(snapshot: Snapshot, name: str, **options: Any) -> str:
    import ase.io

    atoms = snapshot_atoms(snapshot)
    if abs(atoms.cell.volume) < 1e-6:
        raise InputError(f"{name} files need three cell vectors, but the structure has {snapshot.cell.tolist()}; give "
                         "it a cell, or write extended XYZ")
    stream: Any = io.BytesIO() if name == "cif" else io.StringIO()
    ase.io.write(stream, atoms, format=name, **options)
    content = stream.getvalue()
    return content.decode() if isinstance(content, bytes) else content


def snapshot_atoms(snapshot: Snapshot) -> Any:
    """ase.Atoms of a snapshot, with layers as ``layer`` and ``mol-id`` (from 1), groups, velocities and masses."""
    from ase import Atoms

    atoms = Atoms([snapshot.species[t] for t in snapshot.types], cell=snapshot.cell, pbc=snapshot.periodic,
                  positions=snapshot.positions + snapshot.images @ snapshot.cell,
                  masses=snapshot.masses[snapshot.types])
    if snapshot.velocities.any():
        atoms.set_velocities(snapshot.velocities)  # ASE's unit is ours, sqrt(eV/amu)
    if snapshot.layers.min() >= 0:
        atoms.set_array("layer", snapshot.layers)
        atoms.set_array("mol-id", snapshot.layers + 1)
    if snapshot.groups.min() >= 0:
        atoms.set_array("group", snapshot.groups)
    return atoms


FORMATS: tuple[StructureFormat, ...] = (
    StructureFormat("extended XYZ", (), (".xyz", ".extxyz"), extended_xyz, holds_all=True),
    StructureFormat("POSCAR", ("poscar", "contcar"), (".vasp", ".poscar"), _poscar),
    StructureFormat("LAMMPS data", (), (".data", ".lmp"), _lammps_data),
    StructureFormat("CIF", (), (".cif",), _cif),
)
