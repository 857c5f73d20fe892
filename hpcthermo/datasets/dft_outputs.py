"""Labelled frames in outputs of VASP (vasprun.xml, OUTCAR) and Quantum ESPRESSO (output of pw.x), one per ionic step.

Energies are free energies, of which forces and stresses are the derivatives: "free energy TOTEN" and e_fr_energy of
VASP, not "energy(sigma->0)"; "!    total energy" of pw.x, which is free energy with smearing. Steps whose
self-consistency was not reached are bad frames.

| output      | a step is converged if                                                                    |
|-------------|-------------------------------------------------------------------------------------------|
| vasprun.xml | it took fewer electronic steps than NELM, or the last two free energies differ less than EDIFF |
| OUTCAR      | it says "aborting loop because EDIFF is reached"                                           |
| pw.x        | it prints its energy with "!" and not "convergence NOT achieved"                           |
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hpcthermo.datasets.ase_atoms import frame_of_atoms
from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.errors import InputError

_UNCONVERGED = BadFrame("self-consistency was not reached; compute it again with more steps, or leave it out")


def read_vasprun(path: Path) -> Iterator[LabelledFrame | BadFrame]:
    """Ionic steps of a vasprun.xml.

    Raises
    ------
    InputError
        If it is not readable.
    """
    converged, version = _vasprun_convergence(path)
    return _frames(path, path, "vasp-xml", converged, {"engine": "VASP", "version": version})


def _vasprun_convergence(path: Path) -> tuple[list[bool], str]:
    most, tolerance, version = 60, 1e-4, ""
    converged = []
    try:
        for _, element in ElementTree.iterparse(path):
            name = element.get("name")
            if element.tag == "i" and name == "NELM":
                most = int(element.text or most)
            elif element.tag == "i" and name == "EDIFF":
                tolerance = float(element.text or tolerance)
            elif element.tag == "i" and name == "version":
                version = (element.text or "").strip()
            elif element.tag == "calculation" and element.find("energy") is not None:
                energies = [float(found.text or "nan") for found in
                            element.findall("scstep/energy/i[@name='e_fr_energy']")]
                converged.append(len(energies) < most
                                 or (len(energies) > 1 and abs(energies[-1] - energies[-2]) < tolerance))
                element.clear()
    except ElementTree.ParseError:
        pass  # a run that was stopped: what it had finished is there
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as vasprun.xml ({str(error)[:80]}); check the file") from None
    return converged, version


def read_outcar(path: Path) -> Iterator[LabelledFrame | BadFrame]:
    """Ionic steps of an OUTCAR.

    Raises
    ------
    InputError
        If it is not readable.
    """
    text = _text(path)
    steps = re.split(r"FREE ENERGIE OF THE ION-ELECTRON SYSTEM", text)[:-1]
    converged = ["EDIFF is reached" in step for step in steps]
    version = re.search(r"vasp\.(\S+)", text[:2000])
    return _frames(path, path, "vasp-out", converged, {"engine": "VASP", "version": version[1] if version else ""})


def read_pw_output(path: Path) -> Iterator[LabelledFrame | BadFrame]:
    """Ionic steps of an output of pw.x.

    Raises
    ------
    InputError
        If it is not readable.
    """
    text = _text(path)
    # a step whose self-consistency was not reached has no line of the energy
    converged = [bool(energy) for energy in
                 re.findall(r"^(!    total energy)|convergence NOT achieved", text, flags=re.MULTILINE)]
    version = re.search(r"Program PWSCF v\.?(\S+)", text)
    # bands are not needed, and ASE gives up on those of a step without an energy
    without_bands = re.sub(r"End of (self-consistent|band structure) calculation", "", text)
    provenance = {"engine": "Quantum ESPRESSO", "version": version[1] if version else ""}
    return _frames(io.StringIO(without_bands), path, "espresso-out", converged, provenance, False)


def _frames(source: Path | io.StringIO, path: Path, name: str, converged: Sequence[bool], provenance: dict[str, str],
            bad_steps_have_energies: bool = True) -> Iterator[LabelledFrame | BadFrame]:
    images = [atoms for atoms in _images(source, path, name) if "energy" in getattr(atoms.calc, "results", {})]
    expected = len(converged) if bad_steps_have_energies else sum(converged)
    if len(images) != expected:
        raise InputError(f"{path}: {len(images)} structures with energies, but {expected} ends of self-consistency; "
                         "the file is damaged")
    steps = iter(images)
    for good in converged:
        atoms = next(steps) if good or bad_steps_have_energies else None
        if not good:
            yield _UNCONVERGED
            continue
        try:
            yield frame_of_atoms(atoms, provenance=provenance)
        except InputError as error:
            yield BadFrame(str(error))


def _images(source: Path | io.StringIO, path: Path, name: str) -> list[Any]:
    import ase.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(ase.io.iread(source, index=":", format=name, parallel=False))
    except Exception as error:  # readers of ASE raise anything on bad text
        reason = " ".join(f"{type(error).__name__} {error}".split())[:160]
        raise InputError(f"{path}: not readable as {name} ({reason}); check the file") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
