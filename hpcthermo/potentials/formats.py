"""The parameter files that can be read: one row per format, recognised by the first lines of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.potentials.base import Potential
from hpcthermo.potentials.eam import EamPotential
from hpcthermo.potentials.eam_file import LARGEST_FILE_BYTES, is_funcfl, is_setfl, parse_funcfl, parse_setfl
from hpcthermo.potentials.eam_zhou import ZhouModel
from hpcthermo.potentials.ilp import InterlayerPotential
from hpcthermo.potentials.ilp_file import DEFAULT_CUTOFF_A, parse_gpumd_ilp, parse_lammps_ilp, with_cutoff
from hpcthermo.potentials.lennard_jones import LennardJonesModel, LennardJonesPotential, parse_lennard_jones
from hpcthermo.potentials.meam import MeamPotential
from hpcthermo.potentials.meam_file import is_meam_parameters, parse_meam
from hpcthermo.potentials.parameter_text import data_lines, is_number, read_table, refuse_elements
from hpcthermo.potentials.stillinger_weber import StillingerWeberPotential, parse_stillinger_weber
from hpcthermo.potentials.tersoff import TersoffPotential
from hpcthermo.potentials.tersoff_file import parse_gpumd_tersoff, parse_lammps_tersoff
from hpcthermo.potentials.tersoff_mod import TersoffModPotential, parse_tersoff_mod
from hpcthermo.potentials.universal_force_field import mixed

#: the checked keys of a potential table
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """A kind of parameter file.

    Attributes
    ----------
    style : str
        Of the potential it holds.
    description : str
        For the message that a file is of no known format.
    recognises : callable
        Whether the first lines of a file (comments and empty lines included) are of this format.
    read : callable
        Path and options to potential.
    """

    style: str
    description: str
    recognises: Callable[[str], bool]
    read: Callable[[Path, Options], Potential]


def _read_nep(path: Path, options: Options) -> Potential:
    from hpcthermo.potentials.nep import read_nep

    nep = read_nep(path)
    refuse_elements(options.get("elements"), nep.elements, str(path))
    return nep


def _read_setfl(path: Path, options: Options) -> Potential:
    model = parse_setfl(read_table(path, LARGEST_FILE_BYTES), str(path))
    refuse_elements(options.get("elements"), model.elements, str(path))
    return EamPotential(model)


def _read_funcfl(path: Path, options: Options) -> Potential:
    model = parse_funcfl(read_table(path, LARGEST_FILE_BYTES), str(path))
    refuse_elements(options.get("elements"), model.elements, str(path))
    return EamPotential(model)


def _read_lammps_tersoff(path: Path, options: Options) -> Potential:
    return TersoffPotential(parse_lammps_tersoff(read_table(path), str(path), options.get("elements")))


def _read_gpumd_tersoff(path: Path, options: Options) -> Potential:
    return TersoffPotential(parse_gpumd_tersoff(read_table(path), str(path), options.get("elements")))


def _read_tersoff_mod(path: Path, options: Options) -> Potential:
    return TersoffModPotential(parse_tersoff_mod(read_table(path), str(path), options.get("elements")))


def _read_stillinger_weber(path: Path, options: Options) -> Potential:
    return StillingerWeberPotential(parse_stillinger_weber(read_table(path), str(path), options.get("elements")))


def _read_lennard_jones(path: Path, options: Options) -> Potential:
    if "mixing" in options:
        raise InputError(f"{path}: the file gives all pairs; leave mixing out")
    return parse_lennard_jones(
        read_table(path), str(path), options.get("elements"), cutoff=options.get("cutoff_A"),
        shifted=options.get("shifted", True), between_layers_only=options.get("between_layers_only", False))


def _read_lammps_ilp(path: Path, options: Options) -> Potential:
    return InterlayerPotential(parse_lammps_ilp(read_table(path), str(path), options.get("elements"),
                                                options.get("cutoff_A", DEFAULT_CUTOFF_A)))


def _read_gpumd_ilp(path: Path, options: Options) -> Potential:
    return InterlayerPotential(parse_gpumd_ilp(read_table(path), str(path), options.get("elements"),
                                               options.get("cutoff_A")))


def _read_meam(path: Path, options: Options) -> Potential:
    library, elements = options.get("library"), options.get("elements")
    if library is None or not elements:
        raise InputError(f"{path}: a MEAM parameter file numbers elements of a library; give library = \"FILE\" "
                         "(beside it, or with its path) and elements in the order of these numbers")
    labels = elements if isinstance(elements, Mapping) else {element: element for element in elements}
    return MeamPotential(parse_meam(read_table(path.parent / library), read_table(path), labels, str(path)))


def _first_words(head: str) -> list[str]:
    lines = data_lines(head)
    return lines[0].split() if lines else [""]


def _is_gpumd_tersoff(head: str) -> bool:
    words = _first_words(head)
    return words[0] in ("tersoff_1988", "tersoff_1989") or (len(words) == 14 and all(is_number(word) for word in words))


def _is_entry_file(n_labels: int, numbers_per_entry: int) -> Callable[[str], bool]:
    """Entries of so many labels and numbers, over any number of lines."""
    def recognises(head: str) -> bool:
        words = [word for line in data_lines(head) for word in line.split()]
        labels = next((i for i, word in enumerate(words) if is_number(word)), len(words))
        after = words[n_labels:]
        numbers = next((i for i, word in enumerate(after) if not is_number(word)), len(after))
        return labels == n_labels and numbers == numbers_per_entry

    return recognises


def _is_triplet_file(numbers_per_entry: int) -> Callable[[str], bool]:
    return _is_entry_file(3, numbers_per_entry)


#: tried from the top
FORMATS: tuple[Format, ...] = (
    Format("nep", "nep.txt", lambda head: bool(re.fullmatch(r"nep\d+(_\w+)*", _first_words(head)[0])), _read_nep),
    Format("tersoff", "tersoff_1988 or tersoff_1989 (GPUMD)", _is_gpumd_tersoff, _read_gpumd_tersoff),
    Format("lennard_jones", "lj (GPUMD)", lambda head: _first_words(head)[0] == "lj", _read_lennard_jones),
    Format("ilp", "tersoff_ilp (GPUMD)", lambda head: _first_words(head)[0] == "tersoff_ilp", _read_gpumd_ilp),
    Format("tersoff", "Tersoff triplets (LAMMPS)", _is_triplet_file(14), _read_lammps_tersoff),
    Format("tersoff_mod", "Tersoff/mod triplets (LAMMPS)", _is_triplet_file(17), _read_tersoff_mod),
    Format("stillinger_weber", "Stillinger-Weber triplets (LAMMPS)", _is_triplet_file(11), _read_stillinger_weber),
    Format("ilp", "ILP pairs (LAMMPS)", _is_entry_file(2, 11), _read_lammps_ilp),
    Format("meam", "MEAM parameters (LAMMPS)", is_meam_parameters, _read_meam),
    Format("eam", "setfl (EAM alloy or Finnis-Sinclair)", is_setfl, _read_setfl),
    Format("eam", "funcfl (EAM)", is_funcfl, _read_funcfl),
)


def _change_lennard_jones(potential: Potential, options: Options) -> Potential:
    assert isinstance(potential, LennardJonesPotential)
    model = potential.model
    cutoff = model.cutoff * 0.0 + options["cutoff_A"] if "cutoff_A" in options else model.cutoff
    epsilon, sigma = model.epsilon, model.sigma
    if "mixing" in options:
        epsilon, sigma = mixed(np.diag(epsilon), np.diag(sigma), options["mixing"])
    return LennardJonesPotential(LennardJonesModel(
        model.source, model.elements, epsilon, sigma, cutoff, options.get("shifted", model.shifted),
        options.get("between_layers_only", model.between_layers_only)))


def _change_ilp(potential: Potential, options: Options) -> Potential:
    assert isinstance(potential, InterlayerPotential)
    return InterlayerPotential(with_cutoff(potential.model, options["cutoff_A"]))


def _change_zhou(potential: Potential, options: Options) -> Potential:
    assert isinstance(potential, EamPotential)
    assert isinstance(potential.model, ZhouModel)
    return EamPotential(ZhouModel(potential.model.source, options["cutoff_A"]), potential.style)


#: style -> an embedded potential with the options of its table
CHANGE_EMBEDDED: dict[str, Callable[[Potential, Options], Potential]] = {
    "lennard_jones": _change_lennard_jones,
    "ilp": _change_ilp,
    "eam_zhou": _change_zhou,
}
#: option that not every style has -> the styles that have it
STYLES_WITH: dict[str, tuple[str, ...]] = {
    "cutoff_A": ("lennard_jones", "ilp", "eam_zhou", "dftd3"),
    "between_layers_only": ("lennard_jones",),
    "shifted": ("lennard_jones",),
    "library": ("meam",),
    "coordination_cutoff_A": ("dftd3",),
    "method": ("dftd3", "tblite"),
    "trusted_sha256": ("mace", "deepmd"),
    "receptive_field_A": ("ase", "gap", "deepmd"),
    "calculator": ("ase",),
    "arguments": ("ase",),
    "device": ("mace",),
    "dtype": ("mace",),
    "mixing": ("lennard_jones",),
}
#: styles that other codes compute (`hpcthermo.potentials.calculators`, which imports ASE, so only when one is named)
CALCULATOR_STYLES = ("mace", "gap", "deepmd", "tblite", "dftd3", "ase")
STYLES = tuple(dict.fromkeys([*(form.style for form in FORMATS), *CHANGE_EMBEDDED, *CALCULATOR_STYLES]))
