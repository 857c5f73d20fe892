"""Structure files through ASE, behind limits and one-line errors."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.structure.labels import check_virial
from hpcthermo.structure.lammps_data import elements_of_types, is_lammps_data
from hpcthermo.structure.layers import detect_layers
from hpcthermo.structure.limits import MAXIMUM_ATOMS
from hpcthermo.units import TIME_FS

#: longest line of a text structure with room, times the most atoms
MAXIMUM_FILE_BYTES = 1_000_000_000
#: an atom takes at least this many bytes in any text format ("H 0 0 0\n")
_BYTES_PER_ATOM = 7


@dataclass(frozen=True)
class StructureFile:
    """Atoms read from a file.

    Attributes
    ----------
    cell : (3, 3) float64, A
    periodic : (3,) bool
    symbols : list of str
    positions : (N, 3) float64, A
    masses : (N,) float64 or None
        amu, if the file gives them.
    velocities : (N, 3) float64 or None
        sqrt(eV/amu), if the file gives them.
    layers : (N,) int32
        -1 for a solid without layers.
    groups : (N,) int32
        From a `group` array of the file (one grouping method), else -1.
    grouping_methods : int
        Columns of that array.
    """

    cell: np.ndarray
    periodic: np.ndarray
    symbols: list[str]
    positions: np.ndarray
    masses: np.ndarray | None
    velocities: np.ndarray | None
    layers: np.ndarray
    groups: np.ndarray
    grouping_methods: int = 0


def read_structure(path: Path, *, species: Sequence[str] | None = None, grouping_method: int = 0,
                   periodic: Sequence[bool] | None = None) -> StructureFile:
    """Read one structure.

    Extended XYZ, GPUMD's model.xyz, POSCAR/CONTCAR, LAMMPS data, CIF and whatever else ASE knows. An integer array
    named ``layer`` numbers the layers; without it they are found from the positions (`detect_layers`). ``group``
    (GPUMD) labels groups. A ``vel`` column (GPUMD) is in A/fs, ``mass`` in amu.

    Parameters
    ----------
    species : sequence of str, optional
        Elements of the atom types of a LAMMPS data file.
    grouping_method : int
        Column of the ``group`` array.
    periodic : three bool, optional
        Instead of what the file says (POSCAR and LAMMPS data say nothing: periodic everywhere).

    Raises
    ------
    InputError
        If the file is absent, too large, not a structure, holds several frames, names no elements, or its stress
        and virial disagree.
    """
    _check_size(path)
    atoms = _read_with_ase(path, species)
    if periodic is not None:
        atoms.pbc = periodic
    check_virial(atoms, f"structure file {path}")
    symbols = list(atoms.get_chemical_symbols())
    positions = np.array(atoms.positions, dtype=np.float64)
    groups = _labels(atoms, "group", path, grouping_method)
    layers = _labels(atoms, "layer", path)
    if layers is None and symbols and np.all(np.isfinite(positions)) and np.all(np.isfinite(atoms.cell.array)):
        # a cell that is no cell is refused later, with a better message
        with_cell = atoms.pbc & (abs(np.linalg.det(atoms.cell.array)) > 1e-3)
        layers = detect_layers(positions, symbols, cell=atoms.cell.array, periodic=with_cell)
        if layers.max() == 0:
            layers = None
    none = np.full(len(symbols), -1, dtype=np.int32)
    return StructureFile(
        cell=np.array(atoms.cell.array, dtype=np.float64),
        periodic=np.array(atoms.pbc, dtype=bool),
        symbols=symbols,
        positions=positions,
        masses=next((np.array(atoms.arrays[name]) for name in ("masses", "mass") if name in atoms.arrays), None),
        velocities=_velocities(atoms),
        layers=none if layers is None else layers,
        groups=none if groups is None else groups,
        grouping_methods=int(np.prod(atoms.arrays["group"].shape[1:])) if "group" in atoms.arrays else 0,
    )


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            first = stream.readline(200)
    except OSError as error:
        raise InputError(f"structure file {path}: cannot be read ({error.strerror}); check the path") from None
    if size == 0 or size > MAXIMUM_FILE_BYTES:
        raise InputError(f"structure file {path}: {size} bytes, expected 1 ... {MAXIMUM_FILE_BYTES}; check the file")
    try:
        declared = int(first)
    except ValueError:
        return
    if not 0 < declared <= min(MAXIMUM_ATOMS, size // _BYTES_PER_ATOM):
        raise InputError(
            f"structure file {path}: first line declares {declared} atoms, but {size} bytes hold at most "
            f"{min(MAXIMUM_ATOMS, size // _BYTES_PER_ATOM)}; the file is damaged"
        )


def _read_with_ase(path: Path, species: Sequence[str] | None) -> Any:
    import warnings

    lammps = is_lammps_data(path)
    types = elements_of_types(path, species) if lammps else {}
    if species is not None and not lammps:
        raise InputError(f"structure.species: only LAMMPS data files need it, {path} is none; leave it out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = _lammps_frame(path, types) if lammps else _frames(path)
    except MemoryError:
        raise InputError(f"structure file {path}: asks for more memory than there is; the file is damaged") from None
    except Exception as error:  # ASE readers raise anything on bad text
        reason = " ".join(f"{type(error).__name__} {error}".split())[:160]
        raise InputError(
            f"structure file {path}: not readable as a structure ({reason}); expected extended XYZ, POSCAR or "
            "another format of ASE"
        ) from None
    if len(frames) != 1:
        raise InputError(f"structure file {path}: expected one frame, found {len(frames) or 'none'}; keep one")
    atoms = frames[0]
    if "X" in atoms.get_chemical_symbols():
        raise InputError(f"structure file {path}: an atom has no known chemical symbol; correct the species column")
    return atoms


def _frames(path: Path) -> list[Any]:
    """The first two frames; only rank 0 reads, ASE must not hand them out to all ranks by itself."""
    import itertools

    import ase.io

    source: Any = str(path)
    name: str | None = None
    with path.open("rb") as stream:
        count, header = stream.readline(200), stream.readline(100_000).decode("utf-8", errors="replace")
        if count.strip().isdigit() and (common := _common_keys(header)) != header:
            source = io.StringIO(f"{int(count)}\n{common}{stream.read().decode('utf-8')}")
            name = "extxyz"
    return list(itertools.islice(ase.io.iread(source, index=slice(0, 2), format=name, parallel=False), 2))


def _common_keys(header: str) -> str:
    """Second line of an extended XYZ file with its keys as ASE knows them; GPUMD does not mind upper or lower case."""
    for key in ("Lattice", "Properties", "pbc"):
        header = re.sub(rf"(?<![\w]){key}(?=\s*=)", key, header, count=1, flags=re.IGNORECASE)
    columns = re.search(r"Properties\s*=\s*([^\s\"]+)", header)
    if columns is None:
        return header
    words = columns.group(1).split(":")
    words[::3] = [word.lower() for word in words[::3]]
    return header[:columns.start(1)] + ":".join(words) + header[columns.end(1):]


def _lammps_frame(path: Path, types: dict[int, str]) -> list[Any]:
    import ase.io
    from ase.data import atomic_numbers

    numbers = {kind: atomic_numbers[symbol] for kind, symbol in types.items()}
    return [ase.io.read(str(path), format="lammps-data", Z_of_type=numbers, parallel=False)]


def _labels(atoms: Any, name: str, path: Path, column: int = 0) -> np.ndarray | None:
    """(N,) int32 labels from an integer array of the file, or from one of its columns."""
    if name not in atoms.arrays:
        if column:
            raise InputError(f"structure.grouping_method: {path} has no {name} array; leave grouping_method out")
        return None
    values = np.asarray(atoms.arrays[name])
    columns = values.shape[1] if values.ndim == 2 else 1
    if column >= columns:
        raise InputError(f"structure.grouping_method: expected less than {columns}, the number of grouping methods of "
                         f"{path}, got {column}; correct it")
    if values.ndim == 2:
        values = values[:, column]
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"structure file {path}: array {name!r} must hold integers, got {values.dtype}; correct it")
    if values.min() < 0 or values.max() >= len(values):
        raise InputError(
            f"structure file {path}: {name} labels must lie in 0 ... {len(values) - 1}, got {values.min()} ... "
            f"{values.max()}; correct them"
        )
    return values.astype(np.int32)


def _velocities(atoms: Any) -> np.ndarray | None:
    if "momenta" in atoms.arrays:
        return np.array(atoms.get_velocities(), dtype=np.float64)  # ASE's unit is ours, sqrt(eV/amu)
    for name in ("vel", "velocities"):
        if name in atoms.arrays and atoms.arrays[name].shape == (len(atoms), 3):
            return np.array(atoms.arrays[name], dtype=np.float64) * TIME_FS
    return None
