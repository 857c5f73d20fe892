"""Engines that are ASE calculators: GPAW, CP2K's shell, tblite, and any other.

A calculator lives in the worker and ends with it. Each structure gets a new one, so that labels do not depend on what
was computed before.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from hpcthermo.errors import InputError, PhysicsError, ResourceError
from hpcthermo.file_hash import file_sha256
from hpcthermo.labelling.labels import PLACES, Labels, moments_of
from hpcthermo.labelling.programs import guarded_command, require_program, thread_variables

if TYPE_CHECKING:
    from hpcthermo.config.labelling import Cp2kEngine

#: not part of the settings; wave vectors are named by their mesh
_NOT_SETTINGS = PLACES | {"k_points"}


@dataclass(frozen=True)
class _Calculator:
    """An ASE calculator as an engine.

    Attributes
    ----------
    table : section of `hpcthermo.config.labelling`
    """

    table: Any

    @property
    def settings(self) -> dict[str, Any]:
        """What changes labels."""
        settings: dict[str, Any] = self.table.model_dump(mode="json", exclude=set(_NOT_SETTINGS))
        return settings

    @property
    def elements(self) -> tuple[str, ...]:
        """Files do not depend on elements."""
        return ()

    def lacking(self, element: str) -> str:
        """What calculators can compute is not known beforehand."""
        return ""

    def files(self, elements: Collection[str]) -> dict[str, str]:
        """SHA-256 of files that arguments name."""
        arguments = getattr(self.table, "arguments", {})
        return {name: file_sha256(Path(value)) for name, value in sorted(arguments.items())
                if isinstance(value, str) and Path(value).is_file()}

    def require(self) -> None:
        """See `LabellingEngine.require`."""
        raise NotImplementedError

    def label(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Labels:
        """See `LabellingEngine.label`."""
        atoms = atoms.copy()
        try:
            atoms.calc = self.calculator(atoms, mesh, folder)
            energy = free_energy(atoms)
            forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
        except (InputError, PhysicsError, ResourceError):
            raise
        except Exception as error:  # a calculator raises what it likes
            self.refuse_unconverged(folder)
            raise PhysicsError(f"{self.table.name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
                               ) from None
        finally:
            self.close(atoms.calc)
        self.require_converged(folder)
        facts = {} if self._dispersion == "none" else {"dispersion_energy": self.dispersion_energy(atoms, folder)}
        return Labels(energy, forces, stress, self.version(folder), {**facts, **self.magnetic_facts(atoms)})

    def close(self, calculator: Any) -> None:
        """End what a calculator has started; it may be None."""

    def refuse_unconverged(self, folder: Path) -> None:
        """Raise `PhysicsError` if what is in the folder shows an SCF that did not converge."""

    def require_converged(self, folder: Path) -> None:
        """Raise `PhysicsError` unless the SCF is known to have converged; most calculators raise by themselves."""

    @property
    def _dispersion(self) -> str:
        """Correction that the table asks for."""
        return str(getattr(self.table, "dispersion", "none"))

    def calculator(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Any:
        """A new ASE calculator for the atoms."""
        raise NotImplementedError

    def version(self, folder: Path) -> str:
        """Of the code that has computed in the folder."""
        raise NotImplementedError

    def magnetic_facts(self, atoms: Atoms) -> dict[str, float]:
        """``magnetization`` (Bohr magnetons), where it is known."""
        return {}

    def dispersion_energy(self, atoms: Atoms, folder: Path) -> float:
        """Energy of the correction that was applied, eV.

        Raises
        ------
        PhysicsError
            If the code shows none.
        """
        raise NotImplementedError


def free_energy(atoms: Atoms) -> float:
    """The energy whose derivatives the forces of the calculator of atoms are, eV.

    A sum of calculators (DFT and its dispersion correction) gives it only part by part.
    """
    return sum(_energies_of_parts(atoms))


def _energies_of_parts(atoms: Atoms) -> list[float]:
    """Of the calculators that a sum has, or of the only one, eV."""
    mixer = getattr(atoms.calc, "mixer", None)
    if mixer is None:
        return [_of_calculator(atoms.calc, atoms)]
    return [weight * _of_calculator(part, atoms) for weight, part in zip(mixer.weights, mixer.calcs, strict=True)]


def _of_calculator(calculator: Any, atoms: Atoms) -> float:
    """Codes with one energy only call it energy."""
    try:
        return float(calculator.get_potential_energy(atoms, force_consistent=True))
    except PropertyNotImplementedError:
        return float(calculator.get_potential_energy(atoms))


def _require_package(package: str, module: str, install: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ResourceError(f"engine.name: needs {package}, which cannot be imported ({error}); {install}"
                            ) from None


class Tblite(_Calculator):
    """GFN-xTB at the zone centre."""

    def require(self) -> None:
        """See `LabellingEngine.require`."""
        _require_package("tblite", "tblite.ase", "pip install 'hpcthermo[tblite]'")

    def calculator(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Any:
        """See `_Calculator.calculator`."""
        from tblite.ase import TBLite

        return TBLite(method=self.table.method, verbosity=0)

    def version(self, folder: Path) -> str:
        """See `_Calculator.version`."""
        return f"tblite {importlib.metadata.version('tblite')}"


class Gpaw(_Calculator):
    """GPAW with plane waves; D3(BJ) of the package dftd3 is added where asked for."""

    def require(self) -> None:
        """See `LabellingEngine.require`."""
        _require_package("gpaw", "gpaw", "pip install gpaw")
        if self.table.dispersion != "none":
            _require_package("dftd3", "dftd3.ase", "pip install 'hpcthermo[dftd3]'")

    def calculator(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Any:
        """See `_Calculator.calculator`."""
        from gpaw import GPAW, PW, FermiDirac

        table = self.table
        if table.starting_moments is not None:
            atoms.set_initial_magnetic_moments(moments_of(table.starting_moments, atoms.symbols))
        calculator = GPAW(mode=PW(table.cutoff_eV), xc=table.functional,
                          kpts={"size": mesh, "gamma": True},
                          occupations=FermiDirac(table.smearing_width_eV), maxiter=table.scf_steps,
                          convergence={"energy": table.scf_tolerance_eV}, spinpol=table.starting_moments is not None,
                          txt=str(folder / "gpaw.txt"))
        if table.dispersion == "none":
            return calculator
        from dftd3.ase import DFTD3

        return DFTD3(method=table.functional, damping="d3bj").add_calculator(calculator)

    def version(self, folder: Path) -> str:
        """See `_Calculator.version`."""
        return f"GPAW {importlib.metadata.version('gpaw')}"

    def dispersion_energy(self, atoms: Atoms, folder: Path) -> float:
        """See `_Calculator.dispersion_energy`."""
        dispersion, _ = _energies_of_parts(atoms)
        return dispersion


#: name of its files, and characters of it with its folder that CP2K has room for
_CP2K_LABEL, _LONGEST_CP2K_NAME = "cp2k", 80
#: input of CP2K that ASE has no keywords for
_CP2K_INPUT = """
&FORCE_EVAL
  &DFT
    &KPOINTS
      SCHEME GAMMA {mesh}
      FULL_GRID FALSE
      SYMMETRY FALSE
    &END KPOINTS
    &SCF
      EPS_SCF {tolerance:g}
      {smearing}
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA 0.2
      &END MIXING
    &END SCF
    {dispersion}
  &END DFT
  {moments}
&END FORCE_EVAL
"""
_CP2K_DISPERSION = """&XC
      &VDW_POTENTIAL
        POTENTIAL_TYPE PAIR_POTENTIAL
        &PAIR_POTENTIAL
          TYPE DFTD3(BJ)
          PARAMETER_FILE_NAME dftd3.dat
          REFERENCE_FUNCTIONAL {functional}
        &END PAIR_POTENTIAL
      &END VDW_POTENTIAL
    &END XC"""


def cp2k_input(table: Cp2kEngine, mesh: tuple[int, int, int], symbols: Sequence[str]) -> str:
    """What is added to the input that ASE writes.

    Parameters
    ----------
    symbols : sequence of str
        Element of each atom.
    """
    from ase.units import kB

    moments = ""
    if table.starting_moments is not None:
        # CP2K has more electrons of the first spin, whatever the sign of the sum
        sign = -1.0 if sum(moments_of(table.starting_moments, symbols)) < 0.0 else 1.0
        own = {symbol: sign * moment for symbol, moment in table.starting_moments.items() if symbol in symbols}
        moments = "\n    ".join(["&SUBSYS", *(f"&KIND {symbol}\n      MAGNETIZATION {moment:g}\n    &END KIND"
                                             for symbol, moment in own.items())]) + "\n  &END SUBSYS"
    smearing = ""
    if table.smearing_width_eV is not None:
        smearing = (f"ADDED_MOS {4 * len(symbols)}\n      &SMEAR ON\n        METHOD FERMI_DIRAC\n"
                    f"        ELECTRONIC_TEMPERATURE [K] {table.smearing_width_eV / kB:.6f}\n      &END SMEAR")
    dispersion = "" if table.dispersion == "none" else _CP2K_DISPERSION.format(functional=table.functional)
    return _CP2K_INPUT.format(mesh=" ".join(map(str, mesh)), tolerance=table.scf_tolerance, smearing=smearing,
                              dispersion=dispersion, moments=moments)


def unpaired_electrons(moments: Mapping[str, float], symbols: Sequence[str]) -> int:
    """Electrons of one spin that a neutral cell has more than of the other, nearest to its starting moments.

    Parameters
    ----------
    moments : mapping of str to float
        Of an atom of each element, Bohr magnetons.
    symbols : sequence of str
        Element of each atom.
    """
    from ase.data import atomic_numbers

    # pseudopotentials take away pairs
    odd = sum(atomic_numbers[symbol] for symbol in symbols) % 2
    total = abs(sum(moments_of(moments, symbols)))
    return max(odd, odd + 2 * round((total - odd) / 2.0))


class Cp2k(_Calculator):
    """CP2K through its shell.

    An SCF that does not converge ends new versions; those before 2024 only warn in their output, and go on.
    """

    @property
    def settings(self) -> dict[str, Any]:
        """What changes labels."""
        # labels of the time when warnings were not read have other names, and are computed again
        return {**super().settings, "converged_only": True}

    def require(self) -> None:
        """See `LabellingEngine.require`."""
        require_program(self.table.command)

    def calculator(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Any:
        """See `_Calculator.calculator`."""
        from ase.calculators.cp2k import CP2K
        from ase.units import Rydberg

        table = self.table
        name = str(folder / _CP2K_LABEL)
        if len(name) > _LONGEST_CP2K_NAME:
            raise InputError(f"cp2k: expected a scratch folder whose files have names of at most {_LONGEST_CP2K_NAME} "
                             f"characters, got {len(name)} ({name}); give a shorter engine.scratch_folder")
        words = shlex.split(table.command)
        threads = [f"{name}={value}" for name, value in thread_variables(words, table.cores).items()]
        # ASE starts a shell, which becomes the guardian
        command = "exec " + shlex.join(["env", *threads, *guarded_command(words, 3600.0 * table.time_limit_h)])
        return CP2K(command=command, directory=str(folder), label=_CP2K_LABEL, basis_set=table.basis_set,
                    basis_set_file="BASIS_MOLOPT", pseudo_potential=table.pseudopotential, xc=table.functional,
                    cutoff=table.cutoff_Ry * Rydberg, max_scf=table.scf_steps, stress_tensor=True,
                    inp=cp2k_input(table, mesh, list(atoms.symbols)), print_level="LOW",
                    uks=table.starting_moments is not None, multiplicity=self._multiplicity(atoms))

    def _multiplicity(self, atoms: Atoms) -> int | None:
        """Unpaired electrons and one; None without spin."""
        moments = self.table.starting_moments
        return None if moments is None else 1 + unpaired_electrons(moments, list(atoms.symbols))

    def magnetic_facts(self, atoms: Atoms) -> dict[str, float]:
        """See `_Calculator.magnetic_facts`."""
        multiplicity = self._multiplicity(atoms)
        return {} if multiplicity is None else {"magnetization": float(multiplicity - 1)}

    def version(self, folder: Path) -> str:
        """See `_Calculator.version`."""
        found = re.search(r"CP2K\| version string:\s+(CP2K version )?(\S+)", _output_of_cp2k(folder))
        return "CP2K" if found is None else f"CP2K {found[2]}"

    def close(self, calculator: Any) -> None:
        """See `_Calculator.close`; otherwise shells wait for the garbage collection."""
        if calculator is not None:
            with contextlib.suppress(Exception):  # of a shell that has ended by itself
                calculator.close()

    def refuse_unconverged(self, folder: Path) -> None:
        """See `_Calculator.refuse_unconverged`."""
        if "SCF run NOT converged" in _output_of_cp2k(folder):
            raise PhysicsError(f"SCF did not converge in {self.table.scf_steps} steps (engine.scf_steps, "
                               "engine.scf_tolerance)")

    def require_converged(self, folder: Path) -> None:
        """See `_Calculator.require_converged`."""
        self.refuse_unconverged(folder)
        if "SCF run converged" not in _output_of_cp2k(folder):
            raise PhysicsError("output of CP2K does not say that the SCF converged; choose another version")

    def dispersion_energy(self, atoms: Atoms, folder: Path) -> float:
        """See `_Calculator.dispersion_energy`."""
        from ase.units import Hartree

        found = re.findall(r"Dispersion energy:\s+(\S+)", _output_of_cp2k(folder))
        if not found:
            raise PhysicsError(f"engine.dispersion: {self._dispersion} was not applied: the output of CP2K shows no "
                               "energy of it; choose another version")
        return float(found[-1]) * Hartree


def _output_of_cp2k(folder: Path) -> str:
    """Empty if there is none, as when it could not be started."""
    path = folder / f"{_CP2K_LABEL}.out"
    return path.read_text(errors="replace") if path.exists() else ""


class AnyCalculator(_Calculator):
    """A calculator by its module and class."""

    def require(self) -> None:
        """See `LabellingEngine.require`."""
        self._factory()

    def calculator(self, atoms: Atoms, mesh: tuple[int, int, int], folder: Path) -> Any:
        """See `_Calculator.calculator`."""
        return self._factory()(**self.table.arguments)

    def version(self, folder: Path) -> str:
        """See `_Calculator.version`."""
        package = self.table.calculator.partition(".")[0].partition(":")[0]
        try:
            return f"{self.table.calculator} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            return str(self.table.calculator)

    def _factory(self) -> Callable[..., Any]:
        module, _, name = self.table.calculator.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
            if not callable(found):
                raise ValueError("is no class")
        except (ImportError, AttributeError, ValueError) as error:
            raise ResourceError(f"engine.calculator: expected module:Class of an ASE calculator, got "
                                f"{self.table.calculator!r} ({error})") from None
        return found
