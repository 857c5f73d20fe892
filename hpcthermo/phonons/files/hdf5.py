"""HDF5 files of force constants of phonopy and phono3py (fc2.hdf5, fc3.hdf5, fc4.hdf5, force_constants.hdf5).

    dataset                       holds
    force_constants | fc2         (n or N_s, N_s, 3, 3), eV/A^2
    fc3                           (n or N_s, N_s, N_s, 3, 3, 3), eV/A^3
    fc4                           (n or N_s, N_s, N_s, N_s, 3, 3, 3, 3), eV/A^4
    p2s_map                       (n,) which atom of the supercell each row of compact ones belongs to, from 0
    physical_unit                 of second order, if it is not eV/A^2
    version                       of the program
    interactions                  group with a list of any order, as this program writes it: atoms (P, n), vectors
                                  (P, n - 1, 3), values (P, 3, ..., 3), and the crystal: cell, positions, symbols

`physical_unit` is of phonopy only; phono3py's are in eV and A.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.files.text import require_finite
from hpcthermo.phonons.files.units import force_constant_factor
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import SupercellForceConstants
from hpcthermo.results import replaced_file, versions

#: order -> names of the dataset
_NAMES = {2: ("force_constants", "fc2"), 3: ("fc3",), 4: ("fc4",)}


def is_list(path: Path) -> bool:
    """Whether an HDF5 file holds a list; False also if it cannot be read, which `read_hdf5` then says."""
    try:
        with h5py.File(path, "r") as file:
            return "interactions" in file
    except (OSError, RuntimeError, KeyError):
        return False


def write_list(interactions: Interactions, crystal: Crystal, path: Path) -> None:
    """Write a list of force constants with the crystal it belongs to, whole or not at all.

    Raises
    ------
    ResourceError
        If the disk refuses.
    """
    with replaced_file(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group("interactions")
        group.attrs["unit"] = f"eV/A^{interactions.order}"
        for name, values in (("atoms", interactions.atoms.astype(np.int32)),
                             ("vectors", interactions.vectors.astype(np.int32)), ("values", interactions.values),
                             ("cell", crystal.cell), ("positions", crystal.positions)):
            group.create_dataset(name, data=values, compression="gzip", compression_opts=1)
        group["symbols"] = list(crystal.symbols)
        file["version"] = f"hpcthermo {versions()['hpcthermo']}"


def read_list(path: Path, order: int, crystal: Crystal) -> Interactions:
    """Read a list of force constants.

    Raises
    ------
    InputError
        If the file is damaged, of another order or of another crystal.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file["interactions"]
            atoms, vectors, values, cell, positions = (
                np.asarray(group[name][()]) for name in ("atoms", "vectors", "values", "cell", "positions"))
            symbols = tuple(symbol.decode() for symbol in group["symbols"][()])
    except (OSError, RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: expected a list of force constants, got a damaged or other file "
                         f"({str(error).splitlines()[0][:80]}); copy it again") from None
    terms = len(atoms)
    if (atoms.shape, vectors.shape, values.shape) != ((terms, order), (terms, order - 1, 3), (terms,) + (3,) * order):
        raise InputError(f"{path}: expected force constants of order {order}, got arrays of shape {atoms.shape}, "
                         f"{vectors.shape} and {values.shape}; give the file of this order")
    if symbols != crystal.symbols or not (np.allclose(cell, crystal.cell, rtol=0.0, atol=1e-4)
                                          and np.allclose(positions, crystal.positions, rtol=0.0, atol=1e-4)):
        raise InputError(f"{path}: expected force constants of the crystal {crystal.symbols[:8]}, got those of "
                         f"{symbols[:8]} or of another cell; give the crystal and force constants of one calculation")
    require_finite(values, f"{path}: values")
    return Interactions(atoms.astype(int), vectors.astype(int), np.asarray(values, dtype=np.float64))


def read_hdf5(path: Path, order: int, supercell: Supercell) -> SupercellForceConstants:
    """Read force constants of one order.

    Raises
    ------
    InputError
        If the file is damaged, holds none, or they are not those of this supercell.
    """
    try:
        # each chunk is read once: no memory for chunks that are read again
        with h5py.File(path, "r", rdcc_nbytes=0) as file:
            name = next((name for name in _NAMES[order] if name in file), None)
            if name is None:
                raise InputError(f"{path}: expected the dataset {_NAMES[order][0]}, got {sorted(file)[:6]}; give the "
                                 f"file of order {order}")
            stored = np.asarray(file[name][()])
            if np.iscomplexobj(stored) and stored.imag.any():
                raise InputError(f"{path}: {name}: expected real numbers, got complex ones; write the real force "
                                 "constants")
            values = np.asarray(stored.real, dtype=np.float64)
            representatives = np.asarray(file["p2s_map"][()]) if "p2s_map" in file else None
            unit = np.ravel(file["physical_unit"][()])[0] if "physical_unit" in file else None
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: expected an HDF5 file of force constants, got a damaged or other file "
                         f"({str(error).splitlines()[0][:80]}); copy it again") from None
    if unit is not None and order == 2:
        text = unit.decode() if isinstance(unit, bytes) else str(unit)
        values *= force_constant_factor(text, order, str(path))
    require_finite(values, f"{path}: {name}")
    if values.ndim != 2 * order:
        raise InputError(f"{path}: {name}: expected an array of {2 * order} dimensions, got one of the shape "
                         f"{values.shape}; give the file of order {order}")
    return SupercellForceConstants.of(supercell, values, representatives, f"{path}: {name}")


def write_hdf5(constants: SupercellForceConstants, path: Path, full: bool = False) -> None:
    """Write fc2.hdf5 (force_constants.hdf5), fc3.hdf5 or fc4.hdf5, compact or full, whole or not at all.

    Raises
    ------
    ResourceError
        If that is not possible.
    """
    with replaced_file(path) as temporary, h5py.File(temporary, "w") as file:
        values = constants.full() if full else constants.values
        file.create_dataset(_NAMES[constants.order][0], data=values, compression="gzip", compression_opts=1)
        if not full:
            file["p2s_map"] = constants.supercell.origin_of
        if constants.order == 2:
            file["physical_unit"] = np.array([b"eV/angstrom^2"])
        file["version"] = f"hpcthermo {versions()['hpcthermo']}"
