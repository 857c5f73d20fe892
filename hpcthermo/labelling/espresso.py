"""Quantum ESPRESSO (pw.x): input through ASE, output through ASE after it was seen to be whole and converged.

pw.x takes dispersion corrections that it does not know without a word and computes without them, so a correction is
believed when the output shows its energy. Its D3 has a three-body term unless that is switched off, which the usual
D3(BJ) (J. Comput. Chem. 32, 1456 (2011)) does not have: it is off here. The energy is the free energy F = E - TS.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.units import Rydberg

from hpcthermo.errors import PhysicsError
from hpcthermo.file_hash import file_sha256
from hpcthermo.labelling.labels import PLACES, Labels, moments_of, require_elements, require_same_structure
from hpcthermo.labelling.programs import complaint, require_program, require_space, run_program

if TYPE_CHECKING:
    from hpcthermo.config.labelling import EspressoEngine

_OUTPUT = "pw.out"
_SMEARINGS = {"marzari_vanderbilt": "mv", "methfessel_paxton": "mp", "gaussian": "gauss", "fermi_dirac": "fd"}
#: keywords of a correction, and how the output names its energy
_DISPERSIONS: dict[str, tuple[dict[str, Any], str]] = {
    "d2": ({"vdw_corr": "dft-d"}, r"Dispersion Correction\s*="),
    "d3": ({"vdw_corr": "dft-d3", "dftd3_version": 3, "dftd3_threebody": False}, r"DFT-D3 Dispersion\s*="),
    "d3bj": ({"vdw_corr": "dft-d3", "dftd3_version": 4, "dftd3_threebody": False}, r"DFT-D3 Dispersion\s*="),
    "xdm": ({"vdw_corr": "xdm"}, r"Dispersion XDM Correction\s*="),
}
#: not part of the settings; wave vectors are named by their mesh, pseudopotentials by their content
_NOT_SETTINGS = PLACES | {"pseudopotential_folder", "pseudopotentials", "k_points"}


@dataclass(frozen=True)
class Espresso:
    """pw.x with its settings.

    Attributes
    ----------
    table : EspressoEngine
    """

    table: EspressoEngine

    @property
    def settings(self) -> dict[str, Any]:
        """What changes labels; pseudopotentials count by their content."""
        kept = self.table.model_dump(mode="json", exclude=set(_NOT_SETTINGS))
        return {**kept, "threebody_dispersion": False}

    @property
    def elements(self) -> tuple[str, ...]:
        """Those with a pseudopotential."""
        return tuple(sorted(self.table.pseudopotentials))

    def files(self, elements: Collection[str]) -> dict[str, str]:
        """SHA-256 of the pseudopotentials that are there, by element."""
        return {element: found for element, found in self._hashes.items() if element in elements}

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {element: file_sha256(self._pseudopotential(element)) for element in self.elements
                if self._pseudopotential(element).is_file()}

    def lacking(self, element: str) -> str:
        """See `LabellingEngine.lacking`."""
        if element not in self.table.pseudopotentials:
            return f"no pseudopotential for {element}: add it to engine.pseudopotentials"
        if not self._pseudopotential(element).is_file():
            return (f"pseudopotential for {element} is missing: {self.table.pseudopotentials[element]} is not in "
                    "engine.pseudopotential_folder")
        found = _element_of(self._pseudopotential(element))
        if found and found != element:
            return (f"pseudopotential for {element}: expected a file of {element}, got "
                    f"{self.table.pseudopotentials[element]}, which is of {found}; correct engine.pseudopotentials")
        return ""

    def require(self) -> None:
        """See `LabellingEngine.require`."""
        require_program(self.table.command)

    def label(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Labels:
        """See `LabellingEngine.label`."""
        from ase.io.espresso import write_espresso_in

        require_elements(self, atoms)
        with (folder / "pw.in").open("w") as file:
            write_espresso_in(file, self._with_moments(atoms), input_data=self._input(folder), kpts=mesh,
                              koffset=(0, 0, 0), pseudopotentials=dict(self.table.pseudopotentials))
        try:
            seconds = run_program(self.table.command, folder, _OUTPUT, 3600.0 * self.table.time_limit_h,
                                  ("-in", "pw.in"), cores=self.table.cores)
        except PhysicsError:  # an SCF that does not converge ends with code 2
            self._refuse_unconverged((folder / _OUTPUT).read_text(errors="replace"))
            raise
        text = (folder / _OUTPUT).read_text(errors="replace")
        self._require_converged(text, folder)
        facts = {"scf_steps": _number(text, r"convergence has been achieved in\s+(\d+)", "number of SCF steps"),
                 "dispersion_energy": self._dispersion(text), "processor_seconds": seconds}
        if self.table.starting_magnetization is not None:
            facts["magnetization"] = _number(text, r"total magnetization\s+=\s+(\S+)", "magnetization")
        return self._read(folder, atoms, text, facts)

    def _pseudopotential(self, element: str) -> Path:
        return Path(self.table.pseudopotential_folder) / self.table.pseudopotentials[element]

    def _input(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Namelists; keywords of the user come last."""
        table = self.table
        system: dict[str, Any] = {"ecutwfc": table.cutoff_Ry, "ecutrho": table.density_cutoff_Ry}
        if table.smearing == "fixed":
            system["occupations"] = "fixed"
        else:
            assert table.smearing_width_eV is not None
            system |= {"occupations": "smearing", "smearing": _SMEARINGS[table.smearing],
                       "degauss": table.smearing_width_eV / Rydberg}
        if table.dispersion != "none":
            system |= _DISPERSIONS[table.dispersion][0]
        if table.starting_magnetization is not None:
            system["nspin"] = 2
        control = {"calculation": "scf", "tprnfor": True, "tstress": True, "disk_io": "none", "outdir": "./",
                   "pseudo_dir": str(Path(table.pseudopotential_folder))}
        electrons = {"conv_thr": table.scf_tolerance_eV / Rydberg, "electron_maxstep": table.scf_steps}
        found: dict[str, dict[str, Any]] = {"control": control, "system": system, "electrons": electrons}
        for name, keywords in table.keywords.items():
            found[name] = {**found[name], **keywords}
        return found

    def _with_moments(self, atoms: Atoms) -> Atoms:
        """Atoms as ASE's writer wants them: magnetic moments make its starting magnetisations."""
        moments = self.table.starting_magnetization
        if moments is None:
            return Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
        return Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True,
                     magmoms=moments_of(moments, atoms.symbols))

    def _refuse_unconverged(self, text: str) -> None:
        if "convergence NOT achieved" in text:
            accuracy = re.findall(r"estimated scf accuracy\s+<\s+(\S+) Ry", text)
            left = f", estimated error {float(accuracy[-1]) * Rydberg:.2g} eV" if accuracy else ""
            raise PhysicsError(f"SCF did not converge in {self.table.scf_steps} steps{left} (engine.scf_steps, "
                               "engine.scf_tolerance_eV)")

    def _require_converged(self, text: str, folder: Path) -> None:
        self._refuse_unconverged(text)
        if "JOB DONE" not in text or "convergence has been achieved" not in text:
            require_space(folder)
            raise PhysicsError(f"output of pw.x is not complete ({complaint(folder, _OUTPUT)})")

    def _dispersion(self, text: str) -> float:
        """Energy of the dispersion correction that was applied, eV."""
        if self.table.dispersion == "none":
            return 0.0
        label = _DISPERSIONS[self.table.dispersion][1]
        found = re.findall(label + r"\s*(-?[\d.]+)\s+Ry", text)
        if not found or float(found[-1]) == 0.0:
            raise PhysicsError(f"engine.dispersion: {self.table.dispersion} was not applied: this version of pw.x "
                               "shows no energy of it; choose another")
        return float(found[-1]) * Rydberg

    def _read(self, folder: Path, atoms: Atoms, text: str, facts: dict[str, float]) -> Labels:
        from ase.io import read

        try:
            found = read(folder / _OUTPUT, format="espresso-out")
            assert isinstance(found, Atoms)
            results = found.calc.results
            forces, stress = results["forces"], found.get_stress(voigt=False)
            energy = float(results.get("free_energy", results["energy"]))
        except Exception as error:  # a reader of another code raises what it likes about a damaged file
            raise PhysicsError(f"output of pw.x cannot be read ({type(error).__name__}: {error})") from None
        require_same_structure(found, atoms, "pw.x")
        version = re.search(r"Program PWSCF v\.(\S+)", text)
        return Labels(energy, forces, stress, f"pw.x {version.group(1) if version else 'of unknown version'}", facts)


def _number(text: str, pattern: str, what: str) -> float:
    """Last number in the output after some words."""
    found = re.findall(pattern, text)
    if not found:
        raise PhysicsError(f"output of pw.x does not state the {what}")
    return float(found[-1])


def _element_of(pseudopotential: Path) -> str:
    """Element that a UPF file (version 2, or the table of version 1) says it is of; empty if it says none."""
    text = pseudopotential.read_text(errors="replace")
    found = re.search(r"""\belement\s*=\s*["']\s*([A-Za-z]{1,2})\s*["']""", text) or re.search(
        r"^\s*([A-Z][a-z]?)\s+Element\s*$", text, re.MULTILINE)
    return found.group(1).capitalize() if found else ""
