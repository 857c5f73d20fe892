"""YAML files of phonopy and phono3py: cells, masses, charges, displacements, forces, force constants.

Read are phonopy.yaml, phonopy_disp.yaml, phonopy_params.yaml, and the same of phono3py, from version 1 on. Only plain
YAML is read: tags that would make Python objects are refused.

    key                                         holds
    primitive_cell, unit_cell, supercell        lattice (rows), points with symbol, coordinates (fractional), mass
    phonon_supercell                            of the second order, if it has one of its own (phono3py)
    primitive_matrix, supercell_matrix          cells from the unit cell: (a_p b_p c_p) = (a b c) M_p, columns
    nac | born_effective_charge,                Born charges (n, 3, 3) and epsilon of the primitive cell
      dielectric_constant (version 1)
    displacements, phonon_displacements,        see `hpcthermo.phonons.files.yaml_displacements`
      displacement_pairs, dataset
    force_constants                             second order: format, shape, elements
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.files.cells import match_supercell, require_crystal, standard_mass
from hpcthermo.phonons.files.text import numbers, read_text
from hpcthermo.phonons.files.units import force_constant_factor, length_factor
from hpcthermo.phonons.files.yaml_displacements import displacement_lines, read_displacements
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants
from hpcthermo.results import versions, write_text

#: the loader that makes numbers, text, lists and mappings only, written in C where that was built
SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class PhonopyYaml:
    """What a YAML file of phonopy or phono3py holds, in eV, A and amu.

    Attributes
    ----------
    crystal : Crystal
        Primitive cell.
    unit_cell : Crystal
        The cell that the matrices refer to; the primitive one if the file names no other.
    supercell : Supercell
        Of the third order in phono3py's files, of the second in phonopy's.
    phonon_supercell : Supercell
        Of the second order.
    dielectric : DielectricResponse, optional
    force_constants : SupercellForceConstants, optional
        Second order.
    datasets : dict of int to DisplacementDataset
        Displacements by the order they are meant for.
    """

    crystal: Crystal
    unit_cell: Crystal
    supercell: Supercell
    phonon_supercell: Supercell
    dielectric: DielectricResponse | None
    force_constants: SupercellForceConstants | None
    datasets: dict[int, DisplacementDataset]


def read_phonopy_yaml(path: Path, periodic: tuple[bool, bool, bool] = (True, True, True)) -> PhonopyYaml:
    """Read a YAML file of phonopy or phono3py.

    Parameters
    ----------
    path : Path
        May be compressed.
    periodic : three bool
        Directions in which the crystal is periodic, which the file does not say.

    Raises
    ------
    InputError
        If it is not such a file, or its parts do not belong together.
    """
    content = load_yaml(path)
    units = _section(content, "physical_unit")
    scale = length_factor(str(units.get("length", "angstrom")), str(path))
    unit_cell = _cell(content, ("unit_cell", "primitive_cell"), path, scale)
    crystal = _cell(content, ("primitive_cell",), path, scale, periodic) if "primitive_cell" in content else None
    if crystal is None:
        crystal = _primitive_cell(content, unit_cell, path, periodic)
    supercell = _supercell(content, "supercell", crystal, unit_cell, path, scale)
    phonon_supercell = (_supercell(content, "phonon_supercell", crystal, unit_cell, path, scale)
                        if "phonon_supercell" in content or "phonon_supercell_matrix" in content else supercell)
    # phonopy's displacements are of second order, in its only supercell
    supercells = {2: phonon_supercell, 3: supercell} if "phono3py" in content else {2: supercell}
    force_unit = str(units.get("force", "eV/angstrom"))
    return PhonopyYaml(crystal, unit_cell, supercell, phonon_supercell, _dielectric(content, crystal, path, scale),
                       _force_constants(content, phonon_supercell, path),
                       read_displacements(content, supercells, path, scale,
                                          force_constant_factor(force_unit, 1, str(path))))


def load_yaml(path: Path) -> dict[str, Any]:
    """Mapping at the top of a YAML file, of plain data only.

    Raises
    ------
    InputError
        If it is no YAML, or asks for Python objects.
    """
    text = read_text(path)
    try:
        content = yaml.load(text, Loader=SAFE_LOADER)
    except yaml.constructor.ConstructorError as error:
        raise InputError(f"{path}: expected plain YAML, got {str(error.problem)[:120]}; such a file may run code and "
                         "is not read") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark is not None else ""
        raise InputError(f"{path}: expected YAML, got something else{place}; is this the file phonopy wrote?") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected the YAML of phonopy or phono3py, got no mapping; give phonopy.yaml")
    return content


def _section(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _cell(content: Mapping[str, Any], keys: tuple[str, ...], path: Path, scale: float,
          periodic: tuple[bool, bool, bool] = (True, True, True)) -> Crystal:
    key = next((key for key in keys if isinstance(content.get(key), dict)), None)
    if key is None:
        raise InputError(f"{path}: expected {' or '.join(keys)}, found neither; give phonopy.yaml or phono3py.yaml")
    cell, where = content[key], f"{path}: {key}"
    lattice = numbers(cell.get("lattice", []), (3, 3), f"{where}.lattice") * scale
    points = cell.get("points", cell.get("atoms"))
    if not isinstance(points, list) or not points or not all(isinstance(point, dict) for point in points):
        raise InputError(f"{where}.points: expected a list of atoms, got none; give the file phonopy wrote")
    positions = numbers([point.get("coordinates", point.get("position")) for point in points], (len(points), 3),
                        f"{where}.points.coordinates")
    symbols = tuple(str(point.get("symbol", "")) for point in points)
    masses = [point.get("mass") for point in points]
    if any(mass is None for mass in masses):
        masses = [standard_mass(symbol, where) for symbol in symbols]
    crystal = Crystal(lattice, positions, symbols, numbers(masses, (len(points),), f"{where}.points.mass"), periodic)
    require_crystal(crystal, where)
    return crystal


def _phonopy_atoms(cell: Crystal) -> Any:
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(symbols=list(cell.symbols), cell=cell.cell, scaled_positions=cell.positions, masses=cell.masses)


def _primitive_cell(content: Mapping[str, Any], unit_cell: Crystal, path: Path,
                    periodic: tuple[bool, bool, bool]) -> Crystal:
    """From a unit cell and ``primitive_matrix``; the unit cell itself if there is none."""
    from phonopy.structure.cells import get_primitive, guess_primitive_matrix

    matrix = content.get("primitive_matrix")
    if matrix is None:
        return Crystal(unit_cell.cell, unit_cell.positions, unit_cell.symbols, unit_cell.masses, periodic)
    atoms = _phonopy_atoms(unit_cell)
    columns = (guess_primitive_matrix(atoms) if matrix == "auto"
               else numbers(matrix, (3, 3), f"{path}: primitive_matrix"))
    try:
        primitive = get_primitive(atoms, columns)
    except Exception:
        raise InputError(f"{path}: primitive_matrix: expected columns that give a cell of this crystal, got "
                         f"{np.round(columns, 4).tolist()}; correct it or name the primitive cell") from None
    return Crystal(np.array(primitive.cell), np.array(primitive.scaled_positions), tuple(primitive.symbols),
                   np.array(primitive.masses), periodic)


def _supercell(content: Mapping[str, Any], key: str, crystal: Crystal, unit_cell: Crystal, path: Path,
               scale: float) -> Supercell:
    """The cell ``key`` or, without one, that of ``key_matrix`` in phonopy's order of atoms."""
    where = f"{path}: {key}"
    if isinstance(content.get(key), dict):
        cell = _cell(content, (key,), path, scale)
        points = content[key].get("points", content[key].get("atoms"))
        reduced = [point.get("reduced_to") for point in points]
    else:
        from phonopy.structure.cells import get_supercell

        matrix = np.rint(numbers(content.get(f"{key}_matrix", np.eye(3)), (3, 3), f"{where}_matrix")).astype(int)
        if round(np.linalg.det(matrix)) < 1:
            raise InputError(f"{where}_matrix: expected three independent columns, got {matrix.tolist()}; correct it")
        atoms = get_supercell(_phonopy_atoms(unit_cell), matrix)
        cell = Crystal(np.array(atoms.cell), np.array(atoms.scaled_positions), tuple(atoms.symbols),
                       np.array(atoms.masses))
        reduced = [None] * cell.n_atoms
    return match_supercell(crystal, cell, reduced, where)


def _dielectric(content: Mapping[str, Any], crystal: Crystal, path: Path, scale: float) -> DielectricResponse | None:
    nac = _section(content, "nac") or content
    charges, dielectric = nac.get("born_effective_charge"), nac.get("dielectric_constant")
    if charges is None and dielectric is None:
        return None
    factor = nac.get("unit_conversion_factor", (_section(content, "phono3py") or _section(content, "phonopy")).get(
        "nac_unit_conversion_factor"))
    where = f"{path}: "
    response = (numbers(charges if charges is not None else [], (crystal.n_atoms, 3, 3),
                        f"{where}born_effective_charge"),
                numbers(dielectric if dielectric is not None else [], (3, 3), f"{where}dielectric_constant"))
    if factor is None or scale != 1.0:
        # other units of length come with other factors; charges and epsilon have none
        return DielectricResponse(*response)
    return DielectricResponse(*response, float(numbers([factor], (1,), f"{where}unit_conversion_factor")[0]))


def _force_constants(content: Mapping[str, Any], supercell: Supercell, path: Path) -> SupercellForceConstants | None:
    stored = content.get("force_constants")
    if not isinstance(stored, dict):
        return None
    where = f"{path}: force_constants"
    unit = str(_section(content, "physical_unit").get("force_constants", "eV/angstrom^2"))
    shape = numbers(stored.get("shape", []), (2,), f"{where}.shape").astype(int)
    values = numbers(stored.get("elements", []), (int(shape[0]), int(shape[1]), 3, 3), f"{where}.elements")
    return SupercellForceConstants.of(supercell, values * force_constant_factor(unit, 2, where), None, where)


def write_phonopy_yaml(lattice: LatticeDynamics, path: Path) -> None:
    """Write phono3py.yaml, or phonopy.yaml if there is nothing of third order: cells, masses, charges, displacements.

    The unit cell of the file is the primitive cell, so that supercells must be in phonopy's order of atoms for it: see
    `hpcthermo.phonons.files.export.in_phonopy_order`.

    Raises
    ------
    InputError
        If no supercell is known.
    """
    orders = [order for order in (3, 2) if lattice.supercell(order) is not None]
    if not orders:
        raise InputError("phonopy.yaml: expected force constants of a supercell, got lists; give a supercell")
    program = "phono3py" if orders[0] == 3 else "phonopy"
    crystal, supercell, second = lattice.crystal, lattice.supercell(orders[0]), lattice.supercell(2)
    assert supercell is not None
    lines = [f"{program}:", f'  version: "hpcthermo {versions()["hpcthermo"]}"', "", "physical_unit:",
             '  atomic_mass: "AMU"', '  length: "angstrom"', '  force: "eV/angstrom"', "", "primitive_matrix:"]
    lines += [f"- {_row(row)}" for row in np.eye(3)]
    lines += ["", "supercell_matrix:", *_matrix(supercell)]
    if program == "phono3py" and second is not None and second.n_atoms != supercell.n_atoms:
        lines += ["", "phonon_supercell_matrix:", *_matrix(second)]
    lines += ["", "primitive_cell:", *_cell_lines(crystal), "", "unit_cell:", *_cell_lines(crystal), "", "supercell:",
              *_cell_lines(_atoms_of(supercell), supercell.origin_of[supercell.atom_of])]
    if program == "phono3py" and second is not None and second.n_atoms != supercell.n_atoms:
        lines += ["", "phonon_primitive_cell:", *_cell_lines(crystal), "", "phonon_supercell:",
                  *_cell_lines(_atoms_of(second), second.origin_of[second.atom_of])]
    if lattice.dielectric is not None:
        lines += ["", "nac:", "  born_effective_charge:"]
        for charge in lattice.dielectric.born:
            lines += [head + _row(row) for head, row in zip(("  - - ", "    - ", "    - "), charge, strict=True)]
        lines += ["  dielectric_constant:", *(f"    - {_row(row)}" for row in lattice.dielectric.dielectric),
                  f"  unit_conversion_factor: {lattice.dielectric.factor!r}"]
    lines += displacement_lines(lattice.datasets, program)
    write_text("\n".join(lines) + "\n", path)


def _atoms_of(supercell: Supercell) -> Crystal:
    crystal = supercell.crystal
    return Crystal(supercell.cell, supercell.positions, tuple(crystal.symbols[i] for i in supercell.atom_of),
                   crystal.masses[supercell.atom_of])


def _matrix(supercell: Supercell) -> list[str]:
    columns = np.rint(supercell.cell @ np.linalg.inv(supercell.crystal.cell)).astype(int).T
    return ["- [ " + ", ".join(str(value) for value in row) + " ]" for row in columns]


def _cell_lines(cell: Crystal, reduced: np.ndarray | None = None) -> list[str]:
    lines = ["  lattice:", *(f"  - {_row(row)}" for row in cell.cell), "  points:"]
    for atom, (symbol, position, mass) in enumerate(zip(cell.symbols, cell.positions, cell.masses, strict=True)):
        lines += [f"  - symbol: {symbol} # {atom + 1}", f"    coordinates: {_row(position)}",
                  f"    mass: {float(mass)!r}"]
        if reduced is not None:
            lines.append(f"    reduced_to: {reduced[atom] + 1}")
    return lines


def _row(values: np.ndarray) -> str:
    return "[ " + ", ".join(f"{value:.17e}" for value in values) + " ]"
