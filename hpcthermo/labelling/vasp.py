"""VASP where the user has it: INCAR as the job file says, KPOINTS, POSCAR, and POTCAR made of the user's files.

Corrections and functionals are INCAR's business, written as given; tags that would make it no single point are
refused. The energy is the free energy TOTEN, of which forces and stress are derivatives. Atoms are sorted by element in
POSCAR and put back into their order afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from hpcthermo.errors import PhysicsError
from hpcthermo.file_hash import file_sha256
from hpcthermo.labelling.labels import PLACES, Labels, moments_of, require_elements, require_same_structure
from hpcthermo.labelling.programs import complaint, require_program, require_space, run_program

if TYPE_CHECKING:
    from hpcthermo.config.labelling import VaspEngine

_OUTPUT = "vasp.out"
#: what makes it a single point with stress
_SINGLE_POINT = {"NSW": 0, "IBRION": -1, "ISIF": 2, "LWAVE": False, "LCHARG": False}
#: words of OUTCAR that show that a correction (IVDW) was computed
_DISPERSION_WORDS = r"vdW|dispersion|DFTD"
#: not part of the settings; wave vectors are named by their mesh, POTCAR files by their content
_NOT_SETTINGS = PLACES | {"potcar_folder", "potcars", "k_points"}


@dataclass(frozen=True)
class Vasp:
    """VASP with its settings.

    Attributes
    ----------
    table : VaspEngine
    """

    table: VaspEngine

    @property
    def settings(self) -> dict[str, Any]:
        """What changes labels; POTCAR files count by their content."""
        kept = self.table.model_dump(mode="json", exclude=set(_NOT_SETTINGS))
        if kept["starting_moments"] is None:  # labels that are older than this key keep their names
            del kept["starting_moments"]
        return kept

    @property
    def elements(self) -> tuple[str, ...]:
        """Those with a POTCAR."""
        return tuple(sorted(self.table.potcars))

    def files(self, elements: Collection[str]) -> dict[str, str]:
        """SHA-256 of the POTCAR files that are there, by element."""
        return {element: found for element, found in self._hashes.items() if element in elements}

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {element: file_sha256(self._potcar(element)) for element in self.elements
                if self._potcar(element).is_file()}

    def lacking(self, element: str) -> str:
        """See `LabellingEngine.lacking`."""
        if element not in self.table.potcars:
            return f"no POTCAR for {element}: add it to engine.potcars"
        if not self._potcar(element).is_file():
            return (f"POTCAR for {element} is missing: {self.table.potcars[element]}/POTCAR is not in "
                    "engine.potcar_folder")
        return ""

    def require(self) -> None:
        """See `LabellingEngine.require`."""
        require_program(self.table.command)

    def label(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Labels:
        """See `LabellingEngine.label`."""
        order = np.argsort(atoms.numbers, kind="stable")
        self.write_input(atoms[order], mesh, folder)
        seconds = run_program(self.table.command, folder, _OUTPUT, 3600.0 * self.table.time_limit_h,
                              cores=self.table.cores)
        return self.read(folder, atoms, order, seconds)

    def write_input(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> None:
        """INCAR, KPOINTS, POSCAR and POTCAR of atoms that are sorted by element.

        Raises
        ------
        InputError
            If an element has no POTCAR.
        """
        from ase.io.vasp import write_vasp

        elements = list(dict.fromkeys(atoms.symbols))
        require_elements(self, atoms)
        (folder / "POTCAR").write_bytes(b"".join(self._potcar(element).read_bytes() for element in elements))
        incar = {**_SINGLE_POINT, **self._moments(atoms), **self.table.incar}
        (folder / "INCAR").write_text("".join(f"{tag} = {_incar_value(value)}\n" for tag, value in incar.items()))
        (folder / "KPOINTS").write_text("Gamma-centred\n0\nGamma\n" + " ".join(map(str, mesh)) + "\n0 0 0\n")
        write_vasp(folder / "POSCAR", atoms, direct=True, vasp5=True)

    def _moments(self, atoms: Atoms) -> dict[str, Any]:
        """Tags of the starting moments, in the order of the atoms."""
        moments = self.table.starting_moments
        if moments is None:
            return {}
        return {"ISPIN": 2, "MAGMOM": " ".join(f"{moment:g}" for moment in moments_of(moments, atoms.symbols))}

    def read(self, folder: Path, atoms: Atoms, order: np.ndarray, seconds: float) -> Labels:
        """Labels of a calculation that has ended.

        Parameters
        ----------
        atoms : ase.Atoms
            That it is asked about.
        order : (N,) int
            Row of the structure that each row of POSCAR was.
        seconds : float
            Processor time that it took.

        Raises
        ------
        PhysicsError
            If it did not converge, its output is damaged or of another structure, or a dispersion correction is not
            in it.
        """
        from ase.io import read

        try:
            outcar = (folder / "OUTCAR").read_text(errors="replace")
            found = read(folder / "vasprun.xml", format="vasp-xml")
            assert isinstance(found, Atoms)
            results = found.calc.results
            energy, forces, stress = float(results["free_energy"]), results["forces"], found.get_stress(voigt=False)
        except Exception as error:  # a reader of another code raises what it likes about a damaged file
            require_space(folder)
            raise PhysicsError(f"output of VASP cannot be read ({type(error).__name__}: {error}; "
                               f"{complaint(folder, _OUTPUT)})") from None
        if "aborting loop because EDIFF is reached" not in outcar:
            raise PhysicsError("SCF did not converge (NELM, EDIFF)")
        if self.table.incar.get("IVDW", 0) and not re.search(_DISPERSION_WORDS, outcar):
            raise PhysicsError(f"INCAR asks for IVDW = {self.table.incar['IVDW']}, but OUTCAR shows no dispersion "
                               "correction")
        require_same_structure(found, atoms[order], "VASP")
        version = re.search(r"vasp\.(\S+)", outcar)
        steps = len(re.findall(r"Iteration\s+1\(", outcar))
        restored = np.empty_like(forces)
        restored[order] = forces
        facts = {"scf_steps": float(steps), "processor_seconds": seconds}
        if self.table.starting_moments is not None:
            facts["magnetization"] = _magnetization(outcar)
        return Labels(energy, restored, stress, f"VASP {version.group(1) if version else 'of unknown version'}", facts)

    def _potcar(self, element: str) -> Path:
        return Path(self.table.potcar_folder) / self.table.potcars[element] / "POTCAR"


def _magnetization(outcar: str) -> float:
    """Of the cell in the end, Bohr magnetons."""
    found = re.findall(r"number of electron\s+\S+\s+magnetization\s+(-?[\d.]+)", outcar)
    if not found:
        raise PhysicsError("OUTCAR states no magnetization, although engine.starting_moments ask for one")
    return float(found[-1])


def _incar_value(value: Any) -> str:
    """A value as INCAR has it."""
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    return str(value)
