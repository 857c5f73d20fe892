"""From the files that a job names to a crystal with its force constants."""

from __future__ import annotations

from pathlib import Path

from hpcthermo.errors import InputError
from hpcthermo.phonons.consistency import few_operations, require_of_crystal
from hpcthermo.phonons.files.hdf5 import is_hdf5, read_hdf5
from hpcthermo.phonons.files.phonopy_yaml import read_phonopy_yaml
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants


def load_lattice_dynamics(phonopy_yaml: Path | str, fc2: Path | str | None = None, fc3: Path | str | None = None,
                          fc4: Path | str | None = None,
                          periodic: tuple[bool, bool, bool] = (True, True, True)) -> LatticeDynamics:
    """Read a crystal and its force constants, and refuse what does not belong together.

    Parameters
    ----------
    phonopy_yaml : path
        phonopy.yaml, phono3py.yaml or one of their kin: cells, masses, charges.
    fc2, fc3, fc4 : path, optional
        Force constants by order. Second-order ones may be inside the YAML file.
    periodic : three bool
        Directions in which the crystal is periodic.

    Raises
    ------
    InputError
        If a file cannot be used, with its name.
    """
    yaml_path = Path(phonopy_yaml)
    content = read_phonopy_yaml(yaml_path, periodic)
    operations = few_operations(content.crystal)
    found: dict[int, SupercellForceConstants | Interactions] = {}
    sources = {"crystal": str(phonopy_yaml)}
    if content.force_constants is not None and fc2 is None:
        require_of_crystal(content.force_constants, operations, f"{phonopy_yaml}: force_constants")
        found[2], sources["fc2"] = content.force_constants, str(phonopy_yaml)
    for order, name in ((2, fc2), (3, fc3), (4, fc4)):
        if name is None:
            continue
        path = Path(name)
        if not path.is_file():
            raise InputError(f"{path}: no such file; give the force constants of order {order}")
        if not is_hdf5(path):
            raise InputError(f"{path}: expected an HDF5 file of force constants, got another format or a damaged file; "
                             f"give fc{order}.hdf5")
        supercell = content.phonon_supercell if order == 2 else content.supercell
        constants = read_hdf5(path, order, supercell)
        if order < 4:
            require_of_crystal(constants, operations, str(path))
        found[order], sources[f"fc{order}"] = constants, str(path)
    return LatticeDynamics(content.crystal, found, content.dielectric, content.datasets, sources)
