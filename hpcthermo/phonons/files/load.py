"""From the files that a job names to a crystal with its force constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.consistency import few_operations, require_of_crystal
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.files.born import read_born
from hpcthermo.phonons.files.control import read_control
from hpcthermo.phonons.files.force_constants_text import read_force_constants
from hpcthermo.phonons.files.force_sets import read_force_sets, read_forces
from hpcthermo.phonons.files.hdf5 import is_list, read_hdf5, read_list
from hpcthermo.phonons.files.interaction_blocks import read_blocks
from hpcthermo.phonons.files.phonopy_yaml import read_phonopy_yaml
from hpcthermo.phonons.files.tdep import read_poscar, read_tdep
from hpcthermo.phonons.files.text import leading_numbers, read_text
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants

HDF5_MAGIC = b"\x89HDF"


@dataclass(frozen=True)
class Cells:
    """What the file of the cells gives: the crystal, and perhaps supercells and more.

    Attributes
    ----------
    crystal : Crystal
    supercells : dict of int to Supercell
        By order of the force constants they are for.
    dielectric, force_constants, datasets
        As in `LatticeDynamics`.
    """

    crystal: Crystal
    supercells: dict[int, Supercell]
    dielectric: DielectricResponse | None
    force_constants: SupercellForceConstants | None
    datasets: dict[int, DisplacementDataset]


def load_lattice_dynamics(phonopy_yaml: Path | str | None = None, *, shengbte_control: Path | str | None = None,
                          tdep_unit_cell: Path | str | None = None, tdep_supercell: Path | str | None = None,
                          fc2: Path | str | None = None, fc3: Path | str | None = None, fc4: Path | str | None = None,
                          force_sets: Path | str | None = None, forces_fc2: Path | str | None = None,
                          forces_fc3: Path | str | None = None, born: Path | str | None = None,
                          periodic: tuple[bool, bool, bool] = (True, True, True)) -> LatticeDynamics:
    """Read a crystal and its force constants, and refuse what does not belong together.

    Parameters
    ----------
    phonopy_yaml, shengbte_control, tdep_unit_cell : path
        One of them: where the cells come from.
    tdep_supercell : path, optional
        infile.ssposcar, in which TDEP's second order was found.
    fc2, fc3, fc4 : path, optional
        Force constants by order, in any of the formats of docs/force_constant_files.md.
    force_sets, forces_fc2, forces_fc3 : path, optional
        Forces of displaced supercells, from which missing force constants are made.
    born : path, optional
        BORN, instead of what the file of the cells says.
    periodic : three bool
        Directions in which the crystal is periodic.

    Raises
    ------
    InputError
        If a file cannot be used, with its name.
    """
    cells, origin = _cells(phonopy_yaml, shengbte_control, tdep_unit_cell, tdep_supercell, periodic)
    symmetry = few_operations(cells.crystal)
    found: dict[int, SupercellForceConstants | Interactions] = {}
    sources = {"crystal": origin}
    for order, name in ((2, fc2), (3, fc3), (4, fc4)):
        if name is not None:
            found[order] = read_one(Path(name), order, cells.crystal, cells.supercells)
            sources[f"fc{order}"] = str(name)
    if 2 not in found and cells.force_constants is not None:
        found[2], sources["fc2"] = cells.force_constants, origin
    datasets = _datasets(cells, {"force_sets": force_sets, "forces_fc2": forces_fc2, "forces_fc3": forces_fc3}, sources)
    _add_from_forces(found, datasets, cells.supercells, sources, origin)
    for order, constants in found.items():
        require_of_crystal(constants, symmetry, sources[f"fc{order}"])
    dielectric = cells.dielectric
    if born is not None:
        dielectric, sources["born"] = read_born(Path(born), cells.crystal), str(born)
    return LatticeDynamics(cells.crystal, found, dielectric, datasets, sources, cells.supercells)


def _cells(phonopy_yaml: Path | str | None, control: Path | str | None, poscar: Path | str | None,
           supercell_poscar: Path | str | None, periodic: tuple[bool, bool, bool]) -> tuple[Cells, str]:
    given = [name for name in (phonopy_yaml, control, poscar) if name is not None]
    if len(given) != 1:
        raise InputError(f"crystal: expected one of phonopy_yaml, shengbte_control and tdep_unit_cell, got "
                         f"{len(given)}; give exactly one")
    if phonopy_yaml is not None:
        content = read_phonopy_yaml(Path(phonopy_yaml), periodic)
        supercells = {2: content.phonon_supercell, 3: content.supercell, 4: content.supercell}
        return Cells(content.crystal, supercells, content.dielectric, content.force_constants,
                     content.datasets), str(phonopy_yaml)
    if control is not None:
        from hpcthermo.phonons.supercells import build_supercell

        said = read_control(Path(control), periodic)
        supercells = {2: build_supercell(said.crystal, np.array(said.scell))}
        return Cells(said.crystal, supercells, said.dielectric, None, {}), str(control)
    crystal = read_poscar(Path(str(poscar)), periodic)
    supercells = {}
    if supercell_poscar is not None:
        whole = read_poscar(Path(supercell_poscar))
        try:
            supercells[2] = Supercell.match(crystal, whole.cell, whole.positions, whole.symbols)
        except InputError as error:
            raise InputError(f"{supercell_poscar}: {error}") from None
    return Cells(crystal, supercells, None, None, {}), str(poscar)


def read_one(path: Path, order: int, crystal: Crystal,
             supercells: dict[int, Supercell]) -> SupercellForceConstants | Interactions:
    """Read force constants of one order, in the format the file has.

    Raises
    ------
    InputError
        If it has none that is known, or the cells do not tell the supercell it needs.
    """
    reader, needs_supercell = FORMATS[_format(path, order)]
    if not needs_supercell:
        return reader(path, order, crystal)
    if order not in supercells:
        raise InputError(f"{path}: expected a list of force constants (FORCE_CONSTANTS_{_NAMES[order]} or TDEP's), got "
                         "an array of a supercell that is not known; give phonopy_yaml with its cells")
    return reader(path, order, supercells[order])


_NAMES = {2: "2ND", 3: "3RD", 4: "4TH"}

Reader = Callable[..., SupercellForceConstants | Interactions]

#: format -> how it is read, and whether that takes a supercell (or else the primitive cell)
FORMATS: dict[str, tuple[Reader, bool]] = {
    "HDF5": (read_hdf5, True),
    "list in HDF5": (read_list, False),
    "FORCE_CONSTANTS": (lambda path, _, supercell: read_force_constants(path, supercell), True),
    "blocks": (read_blocks, False),
    "TDEP": (read_tdep, False),
}


def _format(path: Path, order: int) -> str:
    """Which of `FORMATS`, from the first lines."""
    try:
        with path.open("rb") as file:
            if file.read(4) == HDF5_MAGIC:
                return "list in HDF5" if is_list(path) else "HDF5"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the force constants of order "
                         f"{order}") from None
    lines = [line for line in read_text(path)[:4000].splitlines() if line.strip()][:2]
    heads = [leading_numbers(line) for line in lines]
    if len(heads) == 2 and heads[0] and heads[1]:
        if order == 2 and len(heads[1]) == 2:
            return "FORCE_CONSTANTS"
        if len(heads[1]) == 1 and not heads[1][0].isdigit():
            return "TDEP"
        if order > 2 and len(heads[0]) == 1:
            return "blocks"
    raise InputError(f"{path}: expected force constants of order {order} (HDF5, FORCE_CONSTANTS_{_NAMES[order]} or "
                     "TDEP's), got another format or a damaged file; see docs/force_constant_files.md")


def _datasets(cells: Cells, names: dict[str, Path | str | None],
              sources: dict[str, str]) -> dict[int, DisplacementDataset]:
    datasets = dict(cells.datasets)
    for key, order in (("force_sets", 2), ("forces_fc2", 2), ("forces_fc3", 3)):
        name = names[key]
        if name is None:
            continue
        if order not in cells.supercells:
            raise InputError(f"{name}: expected the supercell of the forces, got none; give phonopy_yaml with "
                             "its cells")
        n_super = cells.supercells[order].n_atoms
        if key == "force_sets":
            datasets[order] = read_force_sets(Path(name), n_super)
        elif order in datasets:
            datasets[order] = read_forces(Path(name), datasets[order], n_super)
        else:
            raise InputError(f"{name}: expected its displacements in {sources['crystal']}, found none; give "
                             "phono3py_disp.yaml")
        sources[key] = str(name)
    return datasets


def _same(one: Supercell, other: Supercell) -> bool:
    return one.positions.shape == other.positions.shape and bool(
        np.allclose(one.cell, other.cell) and np.allclose(one.positions, other.positions))


def _add_from_forces(found: dict[int, SupercellForceConstants | Interactions], datasets: dict[int, DisplacementDataset],
                     supercells: dict[int, Supercell], sources: dict[str, str], origin: str) -> None:
    """Make the force constants that no file holds, where there are forces; order 2 also from those for order 3."""
    for order in (3, 2):
        dataset = datasets.get(order)
        if dataset is None or dataset.forces is None:
            continue
        wanted = tuple(each for each in (2, 3) if each <= order and each not in found
                       and (each == order or (each not in datasets and _same(supercells[each], supercells[order]))))
        if not wanted:
            continue
        from hpcthermo.phonons.from_forces import force_constants_of

        source = sources.get("forces_fc3" if order == 3 else "forces_fc2", sources.get("force_sets", origin))
        try:
            made = force_constants_of(dataset, supercells[order], wanted)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        for each, constants in made.items():
            found[each], sources[f"fc{each}"] = constants, source
