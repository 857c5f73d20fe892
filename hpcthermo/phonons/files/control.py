"""CONTROL of ShengBTE and FourPhonon: a Fortran namelist with the unit cell, charges and supercell.

    variable                        holds
    lattvec(:,i), lfactor           vector i of the unit cell in units of lfactor, which is in nm: 0.1 for A
    elements(:), types(:)           names, and for each atom which of them, from 1
    positions(:,i)                  fractional
    masses(:)                       amu, by element; standard atomic weights if absent
    epsilon(:,a), born(:,a,i)       row a of the dielectric tensor and of the charge of atom i (a is the field)
    scell(:)                        supercell of FORCE_CONSTANTS_2ND, three integers
    ngrid(:), T                     mesh and temperature, written for ShengBTE and not read

The unit cell is taken for the primitive one: third-order blocks name its atoms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.files.cells import require_crystal, standard_mass
from hpcthermo.phonons.files.text import numbers, read_text
from hpcthermo.results import write_text

#: variable (with indices) = everything up to the next one
_NAME = r"([A-Za-z]\w*)\s*(\([^)]*\))?\s*="
_ASSIGNMENT = re.compile(_NAME + r"\s*((?:\"[^\"]*\"|'[^']*'|(?![A-Za-z]\w*\s*(?:\([^)]*\))?\s*=)[^=])*)")


@dataclass(frozen=True)
class Control:
    """What CONTROL says of the crystal.

    Attributes
    ----------
    crystal : Crystal
    scell : (3,) tuple of int
        Supercell of the second order.
    dielectric : DielectricResponse, optional
    """

    crystal: Crystal
    scell: tuple[int, int, int]
    dielectric: DielectricResponse | None


def read_control(path: Path, periodic: tuple[bool, bool, bool] = (True, True, True)) -> Control:
    """Read CONTROL.

    Raises
    ------
    InputError
        If a variable is missing or damaged.
    """
    variables = _namelist(path)

    def get(name: str, shape: tuple[int, ...], default: float | None = None) -> np.ndarray:
        """One variable in Fortran's order: the first index runs fastest."""
        found = variables.get(name)
        if not found:
            if default is not None:
                return np.full(shape, default)
            raise InputError(f"{path}: expected {name}, found none; give CONTROL of ShengBTE")
        return _array(found, shape, f"{path}: {name}")

    n_atoms, n_elements = int(get("natoms", (1,))[0]), int(get("nelements", (1,))[0])
    if not (1 <= n_atoms <= 100_000 and 1 <= n_elements <= n_atoms):
        raise InputError(f"{path}: expected natoms and nelements from 1, got {n_atoms} and {n_elements}; correct them")
    cell = 10.0 * float(get("lfactor", (1,), 1.0)[0]) * get("lattvec", (3, 3)).T
    types = np.rint(get("types", (n_atoms,))).astype(int)
    names = _words(variables.get("elements", []))
    if len(names) != n_elements or types.min() < 1 or types.max() > n_elements:
        raise InputError(f"{path}: expected {n_elements} elements and types 1 to {n_elements}, got {names[:8]} and "
                         f"{types.tolist()[:8]}; correct them")
    symbols = tuple(names[kind - 1] for kind in types)
    masses = (get("masses", (n_elements,))[types - 1] if "masses" in variables
              else np.array([standard_mass(symbol, str(path)) for symbol in symbols]))
    crystal = Crystal(cell, get("positions", (3, n_atoms)).T.copy(), symbols, masses, periodic)
    require_crystal(crystal, f"{path}: lattvec")
    scell = np.rint(get("scell", (3,))).astype(int)
    if scell.min() < 1:
        raise InputError(f"{path}: scell: expected three positive integers, got {scell.tolist()}; correct them")
    dielectric = None
    if "born" in variables or "epsilon" in variables:
        dielectric = DielectricResponse(get("born", (3, 3, n_atoms)).transpose(2, 1, 0).copy(),
                                        get("epsilon", (3, 3)).T.copy())
    return Control(crystal, (int(scell[0]), int(scell[1]), int(scell[2])), dielectric)


def _namelist(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Variables in lower case -> assignments: indices (or empty) and values."""
    lines = [re.sub(r"!.*", "", line) for line in read_text(path).splitlines()]
    lines = [line for line in lines if not re.match(r"\s*(&\w*|/)\s*$", line)]
    variables: dict[str, list[tuple[str, str]]] = {}
    for name, indices, values in _ASSIGNMENT.findall("\n".join(lines)):
        variables.setdefault(name.lower(), []).append((" ".join(indices.strip("()").split()), values))
    if not variables:
        raise InputError(f"{path}: expected the namelists of CONTROL, got none; give CONTROL of ShengBTE")
    return variables


def _words(assignments: list[tuple[str, str]]) -> list[str]:
    return [word for _, values in assignments for word in re.findall(r"[A-Za-z]\w*", values)]


def _array(assignments: list[tuple[str, str]], shape: tuple[int, ...], where: str) -> np.ndarray:
    result = np.full(shape, np.nan)
    for indices, values in assignments:
        words: list[str] = []
        for word in re.split(r"[\s,]+", values.strip().rstrip("/").strip().strip(",")):
            repeat, star, value = word.rpartition("*")
            words += [value.lower().replace("d", "e")] * (int(repeat) if star and repeat.isdigit() else 1)
        given = numbers(words, (-1,), where)
        try:
            place = tuple(slice(None) if index.strip() == ":" else int(index) - 1
                          for index in indices.split(",")) if indices.strip() else (slice(None),) * len(shape)
            part = result[place]
            if min([0, *(index for index in place if isinstance(index, int))]) < 0:
                raise IndexError
            result[place] = given[0] if part.ndim == 0 and len(given) == 1 else given.reshape(part.shape, order="F")
        except (ValueError, IndexError):
            raise InputError(f"{where}({indices}): expected values that fill the shape {shape}, got {len(given)}; "
                             "correct them") from None
    if np.isnan(result).any():
        raise InputError(f"{where}: expected {result.size} numbers, {int(np.isnan(result).sum())} are missing; "
                         "complete them")
    return result


def write_control(control: Control, path: Path, mesh: tuple[int, int, int] = (10, 10, 10),
                  temperature: float = 300.0) -> None:
    """Write CONTROL for ShengBTE and FourPhonon; options other than mesh and temperature are ShengBTE's defaults."""
    crystal = control.crystal
    elements = list(dict.fromkeys(crystal.symbols))
    masses = [float(crystal.masses[crystal.symbols.index(element)]) for element in elements]
    by_element = [masses[elements.index(symbol)] for symbol in crystal.symbols]
    if (crystal.masses != by_element).any():
        raise InputError("CONTROL: expected one mass per element, got several; give the atoms names of their own")

    def row(values: np.ndarray) -> str:
        return " ".join(repr(float(value)) for value in values)

    lines = ["&allocations", f"  nelements={len(elements)},", f"  natoms={crystal.n_atoms},",
             "  ngrid(:)=" + " ".join(str(count) for count in mesh), "&end", "&crystal", "  lfactor=0.1,"]
    lines += [f"  lattvec(:,{axis + 1})={row(vector)}," for axis, vector in enumerate(crystal.cell)]
    lines.append("  elements=" + " ".join(f'"{element}"' for element in elements) + ",")
    lines.append("  types=" + " ".join(str(elements.index(symbol) + 1) for symbol in crystal.symbols) + ",")
    lines += [f"  positions(:,{atom + 1})={row(position)}," for atom, position in enumerate(crystal.positions)]
    lines.append(f"  masses={row(np.array(masses))},")
    if control.dielectric is not None:
        lines += [f"  epsilon(:,{a + 1})={row(line)}," for a, line in enumerate(control.dielectric.dielectric)]
        lines += [f"  born(:,{a + 1},{atom + 1})={row(line)}," for atom, charge in enumerate(control.dielectric.born)
                  for a, line in enumerate(charge)]
    lines += ["  scell(:)=" + " ".join(str(count) for count in control.scell), "&end", "&parameters",
              f"  T={temperature:g}", "&end", "&flags",
              f"  nonanalytic={'.true.' if control.dielectric is not None else '.false.'}", "&end"]
    write_text("\n".join(lines) + "\n", path)
