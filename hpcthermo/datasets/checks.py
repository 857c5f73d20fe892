"""What is wrong with a data set, frame by frame, before a potential learns it.

| check        | refused                                                          | warning                           |
|--------------|------------------------------------------------------------------|-----------------------------------|
| reading      | NaN, infinity, wrong shapes, unknown symbols, no self-consistency|                                   |
| species      | one that was not declared                                        |                                   |
| structure    | no usable cell, atoms on top of each other, fractional positions | distances as if in bohr           |
| labels       | neither energy nor forces                                        | some frames lack some             |
| sum of F     | above 0.3 sqrt(sum F^2), its size if it were not conserved       | above 0.05 of that                |
| all F zero   | where the symmetry of the sites allows others                    | where it does not                 |
| virial       | not symmetric                                                    | without a cell                    |
| duplicates   | same atoms with other labels                                     | same atoms and labels             |
| consistency  | order, sign, unit (`consistency.py`)                             | energies, virials a little off    |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.datasets.consistency import examine_consistency
from hpcthermo.datasets.findings import Finding, Severity
from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.datasets.statistics import nearest_distance
from hpcthermo.errors import InputError
from hpcthermo.structure.checks import check_structure

#: sum of forces relative to sqrt(sum F^2), and the least that counts, eV/A
_NET_FORCE_REFUSED, _NET_FORCE_WARNED, _LEAST_NET_FORCE = 0.3, 0.05, 0.05
#: largest antisymmetric part of a virial, relative
_ASYMMETRY = 1e-3
#: positions and cells that agree to so many digits (A) are the same, labels up to these differences (eV/atom, eV/A)
_SAME_DIGITS, _SAME_ENERGY, _SAME_FORCE = 5, 1e-4, 1e-3
#: nearest distances in sums of covalent radii that condensed matter has (bohr: 1.9 times more)
_USUAL_DISTANCES = (0.6, 1.6)
#: A, for the symmetry of a structure whose forces are zero
_SYMMETRY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class DatasetReport:
    """What was found in a data set.

    Attributes
    ----------
    findings : tuple of Finding
        In the order of the frames, those about the whole set first.
    facts : dict of str to float
        How well labels belong to each other (`Consistency.facts`).
    duplicates : dict of int to int
        Frame -> earlier frame with the same atoms and labels.
    """

    findings: tuple[Finding, ...]
    facts: dict[str, float]
    duplicates: dict[int, int]

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Findings for which the set is refused."""
        return tuple(finding for finding in self.findings if finding.severity == "refused")


def check_dataset(frames: Sequence[LabelledFrame | BadFrame], species: Collection[str] | None = None) -> DatasetReport:
    """Check a data set.

    Parameters
    ----------
    frames : sequence of LabelledFrame or BadFrame
        As `examine_file` gives them.
    species : collection of str, optional
        The declared ones; by default any.
    """
    findings: list[Finding] = []
    good: dict[int, LabelledFrame] = {}
    for number, frame in enumerate(frames):
        found = ([Finding(number, "refused", frame.reason)] if isinstance(frame, BadFrame)
                 else [Finding(number, severity, reason) for severity, reason in _frame_findings(frame, species)])
        findings += found
        if isinstance(frame, LabelledFrame) and not any(finding.severity == "refused" for finding in found):
            good[number] = frame
    findings += _missing_labels(good) + _distances(good)
    duplicates, of_duplicates = _duplicates(good)
    consistency = examine_consistency({number: frame for number, frame in good.items() if number not in duplicates})
    findings += of_duplicates + consistency.findings
    findings.sort(key=lambda finding: -1 if finding.frame is None else finding.frame)
    return DatasetReport(tuple(findings), consistency.facts, duplicates)


def require_good(report: DatasetReport, source: str) -> None:
    """Refuse a data set with the first reason.

    Parameters
    ----------
    source : str
        File, named in the message.

    Raises
    ------
    InputError
        If anything in the report is refused.
    """
    if report.refused:
        more = f" ({len(report.refused) - 1} more; `hpcthermo dataset` lists them)" if len(report.refused) > 1 else ""
        raise InputError(f"{source}: {report.refused[0]}{more}; correct or remove it")


def _frame_findings(frame: LabelledFrame, species: Collection[str] | None) -> list[tuple[Severity, str]]:
    found: list[tuple[Severity, str]] = []
    unknown = sorted(set(frame.symbols) - set(species)) if species is not None else []
    if unknown:
        declared = ", ".join(sorted(species or ()))
        found.append(("refused", f"species {', '.join(unknown)} not declared; declared are {declared}"))
    try:
        check_structure(frame.cell, frame.periodic, frame.positions, "structure")
    except InputError as error:
        found.append(("refused", str(error)))
        return found
    if frame.energy is None and frame.forces is None:
        found.append(("refused", "has neither energy nor forces"))
    if frame.forces is not None:
        found += _force_findings(frame, frame.forces)
    if frame.virial is not None:
        asymmetry, size = np.abs(frame.virial - frame.virial.T).max(), np.abs(frame.virial).max()
        if asymmetry > _ASYMMETRY * max(size, 1.0):
            found.append(("refused", f"virial is not symmetric: off-diagonal elements differ by {asymmetry:.3g} eV"))
        if frame.stress is None:
            found.append(("warning", "has a virial, but no cell; ASE's stress cannot hold it"))
    return found


def _force_findings(frame: LabelledFrame, forces: np.ndarray) -> list[tuple[Severity, str]]:
    total, size = float(np.linalg.norm(forces.sum(axis=0))), float(np.sqrt((forces**2).sum()))
    if size == 0.0 and frame.n_atoms > 1:
        if _symmetry_forbids_forces(frame):
            return [("warning", "forces are all zero, as the symmetry of the structure demands")]
        return [("refused", "forces are all zero, although the symmetry of the structure allows others (not there?)")]
    if total <= max(_NET_FORCE_WARNED * size, _LEAST_NET_FORCE):
        return []
    return [("refused" if total > _NET_FORCE_REFUSED * size else "warning",
             f"forces add up to {total:.3g} eV/A instead of 0, {total / size:.0%} of sqrt(sum F^2) (atoms missing or "
             "held fixed?)")]


def _symmetry_forbids_forces(frame: LabelledFrame) -> bool:
    """Whether no site has a direction that all its symmetries keep."""
    import spglib
    from ase.data import atomic_numbers

    if abs(np.linalg.det(frame.cell)) < 1e-6:
        return False
    fractional = frame.positions @ np.linalg.inv(frame.cell)
    numbers = [atomic_numbers[symbol] for symbol in frame.symbols]
    crystal: Any = (frame.cell, fractional, numbers)
    symmetry = spglib.get_symmetry(crystal, symprec=_SYMMETRY_TOLERANCE)
    if symmetry is None:
        return False
    kept = np.zeros((frame.n_atoms, 3, 3))
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        moved = fractional @ rotation.T + translation - fractional
        moved -= np.rint(moved)
        kept[np.linalg.norm(moved @ frame.cell, axis=1) < 10.0 * _SYMMETRY_TOLERANCE] += rotation
    return bool(np.all(np.abs(kept) < 1e-9))


def _missing_labels(frames: dict[int, LabelledFrame]) -> list[Finding]:
    found = []
    for name in ("energy", "forces", "virial"):
        without = [number for number, frame in frames.items() if getattr(frame, name) is None]
        if without and (len(without) < len(frames) or name != "virial"):
            found.append(Finding(None, "warning", f"{len(without)} of {len(frames)} frames have no {name} (the first: "
                                                  f"{without[0]})"))
    return found


def _distances(frames: dict[int, LabelledFrame]) -> list[Finding]:
    from ase.data import atomic_numbers, covalent_radii

    ratios = []
    for frame in frames.values():
        nearest = nearest_distance(frame)
        if nearest is not None:
            distance, i, j = nearest
            ratios.append(distance / sum(covalent_radii[atomic_numbers[frame.symbols[k]]] for k in (i, j)))
    usual = float(np.median(ratios)) if ratios else 1.0
    if _USUAL_DISTANCES[0] < usual < _USUAL_DISTANCES[1]:
        return []
    unit = " (positions in bohr?)" if usual > 1.0 else ""
    return [Finding(None, "warning", f"nearest atoms are at {usual:.2f} times the sum of their covalent radii in most "
                    f"frames{unit}")]


def _duplicates(frames: dict[int, LabelledFrame]) -> tuple[dict[int, int], list[Finding]]:
    first: dict[object, int] = {}
    duplicates, found = {}, []
    for number, frame in frames.items():
        numbers = np.round(np.concatenate([frame.cell, frame.positions]), _SAME_DIGITS) + 0.0  # no -0.0
        key = (frame.symbols, tuple(frame.periodic.tolist()), numbers.tobytes())
        earlier = first.setdefault(key, number)
        if earlier == number:
            continue
        difference = _label_difference(frames[earlier], frame)
        if difference:
            found.append(Finding(number, "refused", f"has the atoms of frame {earlier}, but {difference}"))
        else:
            duplicates[number] = earlier
            found.append(Finding(number, "warning", f"is a duplicate of frame {earlier}"))
    return duplicates, found


def _label_difference(a: LabelledFrame, b: LabelledFrame) -> str:
    if a.energy is not None and b.energy is not None and abs(a.energy - b.energy) > _SAME_ENERGY * a.n_atoms:
        return f"an energy that differs by {b.energy - a.energy:.4g} eV"
    if a.forces is not None and b.forces is not None and np.abs(a.forces - b.forces).max() > _SAME_FORCE:
        return f"forces that differ by up to {np.abs(a.forces - b.forces).max():.3g} eV/A"
    return ""
