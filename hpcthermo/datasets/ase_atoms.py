"""Labelled frames and ``ase.Atoms`` with the results of a calculation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.structure.labels import virial_of


def frame_of_atoms(atoms: Any, *, group: str = "", provenance: Mapping[str, str] | None = None) -> LabelledFrame:
    """Frame of atoms whose calculator holds results; what it does not hold is None.

    The energy is the free energy where there is one: forces and stress are derivatives of it, not of the energy that is
    extrapolated to zero smearing.

    Parameters
    ----------
    atoms : ase.Atoms
    group, provenance
        As in `LabelledFrame`.

    Raises
    ------
    InputError
        For numbers that are not finite, or a stress without a cell.
    """
    results = getattr(atoms.calc, "results", {})
    energy = results.get("free_energy", results.get("energy"))
    return LabelledFrame(
        cell=np.array(atoms.cell.array), periodic=np.array(atoms.pbc), symbols=tuple(atoms.get_chemical_symbols()),
        positions=np.array(atoms.positions), energy=None if energy is None else float(energy),
        forces=results.get("forces"),
        virial=virial_of(None, results.get("stress"), float(abs(np.linalg.det(atoms.cell.array))), "labels"),
        group=group, provenance=provenance or {},
    )


def atoms_of_frame(frame: LabelledFrame) -> Any:
    """ase.Atoms with a ``SinglePointCalculator`` of the labels; weights, group and provenance are in ``info``."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    atoms = Atoms(list(frame.symbols), positions=frame.positions, cell=frame.cell, pbc=frame.periodic)
    labels = {"energy": frame.energy, "free_energy": frame.energy, "forces": frame.forces,
              "stress": None if frame.stress is None else full_3x3_to_voigt_6_stress(frame.stress)}
    atoms.calc = SinglePointCalculator(atoms, **{name: value for name, value in labels.items() if value is not None})
    atoms.info.update(frame.provenance, group=frame.group, weight=frame.weight, energy_weight=frame.energy_weight)
    return atoms
