"""Crystals with their force constants from the files of one program into those of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcthermo.errors import InputError
from hpcthermo.phonons.files.export import write_phonopy_files, write_shengbte_files, write_tdep_files
from hpcthermo.phonons.files.load import load_lattice_dynamics
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics


@dataclass(frozen=True)
class Family:
    """Files of one program, known by the one that holds the cells.

    Attributes
    ----------
    key : str
        Of `load_lattice_dynamics` for the cells.
    beside : dict of str to tuple of str
        Its other keys, and the names that are looked for in the same folder; the first that is there is taken.
    write : callable
        (lattice dynamics, folder) -> what was written.
    makes : tuple of str
        Names that may be written.
    """

    key: str
    beside: dict[str, tuple[str, ...]]
    write: Callable[[LatticeDynamics, Path], list[Path]]
    makes: tuple[str, ...]


FAMILIES = {
    "phonopy": Family("phonopy_yaml", {
        "fc2": ("fc2.hdf5", "force_constants.hdf5", "FORCE_CONSTANTS"), "fc3": ("fc3.hdf5", "fc3_list.hdf5"),
        "fc4": ("fc4.hdf5", "fc4_list.hdf5"), "force_sets": ("FORCE_SETS",), "forces_fc2": ("FORCES_FC2",),
        "forces_fc3": ("FORCES_FC3",), "born": ("BORN",)}, write_phonopy_files,
        ("phonopy.yaml", "phono3py.yaml", *(f"fc{order}{kind}.hdf5" for order in (2, 3, 4) for kind in ("", "_list")))),
    "shengbte": Family("shengbte_control", {
        "fc2": ("FORCE_CONSTANTS_2ND",), "fc3": ("FORCE_CONSTANTS_3RD",), "fc4": ("FORCE_CONSTANTS_4TH",)},
        write_shengbte_files,
        ("CONTROL", "FORCE_CONSTANTS_2ND", "FORCE_CONSTANTS_3RD", "FORCE_CONSTANTS_4TH")),
    "tdep": Family("tdep_unit_cell", {
        "tdep_supercell": ("infile.ssposcar",), "fc2": ("infile.forceconstant",),
        "fc3": ("infile.forceconstant_thirdorder",), "fc4": ("infile.forceconstant_fourthorder",)}, write_tdep_files,
        ("infile.ucposcar", "infile.forceconstant", "infile.forceconstant_thirdorder",
         "infile.forceconstant_fourthorder")),
}


def family_of(path: Path) -> Family | None:
    """The program whose file of cells has this name, or None."""
    name = path.name
    for suffix in (".gz", ".xz", ".bz2"):
        name = name.removesuffix(suffix)
    if name.endswith((".yaml", ".yml")):
        return FAMILIES["phonopy"]
    if name == "CONTROL":
        return FAMILIES["shengbte"]
    return FAMILIES["tdep"] if name.endswith("file.ucposcar") else None


def convert_force_constants(source: Path, target: Path) -> list[str]:
    """Convert the cells in ``source`` and the force constants beside it.

    Parameters
    ----------
    source, target : Path
        phonopy.yaml or phono3py.yaml, CONTROL, or infile.ucposcar; other files lie in the same folders.

    Returns
    -------
    list of str
        What was read and written.

    Raises
    ------
    InputError
        If the source cannot be used, or a file that would be written is there already.
    """
    here, there = family_of(source), family_of(target)
    if here is None or there is None:
        raise InputError(f"{target if there is None else source}: expected phonopy.yaml, CONTROL or infile.ucposcar, "
                         "by which the other files of force constants are found; give one of them")
    folder = target.parent
    in_the_way = [folder / name for name in there.makes if (folder / name).exists()]
    if in_the_way:
        raise InputError(f"{in_the_way[0]}: is there already; remove it or choose another folder")
    files = {here.key: source}
    for key, names in here.beside.items():
        found = next((source.with_name(name) for name in names if source.with_name(name).is_file()), None)
        if found is not None:
            files[key] = found
    lattice = load_lattice_dynamics(**files)  # type: ignore[arg-type]
    if 2 not in lattice.force_constants:
        raise InputError(f"{source}: expected force constants in it or beside it ({', '.join(here.beside['fc2'])}), "
                         "found none; put them there")
    folder.mkdir(parents=True, exist_ok=True)
    written = there.write(lattice, folder)
    read = [f"read {what} from {name}" for what, name in lattice.sources.items()]
    return read + [f"wrote {path}" for path in written]
