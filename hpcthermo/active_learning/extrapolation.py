"""How far atoms lie outside a training set: the extrapolation grade of D-optimality.

An atom i has the vector b_i = (1, q_i1/s_1, ..., q_iD/s_D) of its descriptors. Of all atoms of its element in the
training set those D + 1 are taken whose vectors span the largest volume, the rows of the active set A (MaxVol). Then

    b_i = sum_k gamma_ik A_k        gamma_i = max_k |gamma_ik|

is at most about 1 within the training set; a model that is linear in b would extrapolate where it is larger.

    symbol     is
    s_d        standard deviation of descriptor d over the training atoms of the element
    e          length of the rows e x_d that stand for directions which the training set does not have: an atom that
               moves by e (in units of s, or of the descriptor itself where s is 0) along such a direction has grade 1

E. V. Podryabinkin and A. V. Shapeev, Comput. Mater. Sci. 140, 171 (2017), eq. 6 to 8; for invariants of atoms that
enter a nonlinear model: Y. Lysogorskiy et al., Phys. Rev. Materials 7, 043801 (2023). MaxVol: S. A. Goreinov et al., in
Matrix Methods (World Scientific, 2010), p. 247.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcthermo.calculator import snapshot_of
from hpcthermo.datasets.ase_atoms import atoms_of_frame
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.labelling.descriptors import site_descriptors
from hpcthermo.potentials.load import load_potential
from hpcthermo.potentials.nep import NepPotential

#: exchanges end when none makes the volume larger by more than this part
_TOLERANCE = 0.01
_MOST_EXCHANGES = 10_000
#: length e of the rows of directions that the training set does not have
_ABSENT = 0.1
#: deviations that are rounding
_CONSTANT = 1e-9


def maxvol(rows: np.ndarray) -> np.ndarray:
    """Places of the D rows of an (n, D) array of rank D that span nearly the largest volume.

    Returns
    -------
    (D,) int
        All rows are combinations of these with coefficients up to 1.01.
    """
    from scipy.linalg import qr

    chosen = np.array(qr(rows.T, mode="r", pivoting=True)[1][:rows.shape[1]])
    coefficients = np.linalg.solve(rows[chosen].T, rows.T).T
    for _ in range(_MOST_EXCHANGES):
        i, j = np.unravel_index(np.abs(coefficients).argmax(), coefficients.shape)
        pivot = coefficients[i, j]
        if abs(pivot) <= 1.0 + _TOLERANCE:
            break
        change = coefficients[i].copy()
        change[j] -= 1.0
        coefficients -= np.outer(coefficients[:, j], change) / pivot
        chosen[j] = i
    return chosen


class ActiveSet:
    """Atoms of one element that span its training set.

    Parameters
    ----------
    descriptors : (n, D) float64
        Of the atoms of the element.
    """

    def __init__(self, descriptors: np.ndarray) -> None:
        deviation = descriptors.std(axis=0)
        self._scale = np.where(deviation > _CONSTANT * np.abs(descriptors).max(initial=1.0), deviation, 1.0)
        self._centre = descriptors.mean(axis=0)
        known = self._vectors(descriptors)
        absent = np.zeros((descriptors.shape[1], known.shape[1]))
        absent[:, 1:] = _ABSENT * np.eye(descriptors.shape[1])
        candidates = np.concatenate([known, absent])
        self._inverse = np.linalg.inv(candidates[maxvol(candidates)])

    def _vectors(self, descriptors: np.ndarray) -> np.ndarray:
        # a shift of the descriptors changes neither volumes nor coefficients, for b holds 1
        return np.hstack([np.ones((len(descriptors), 1)), (descriptors - self._centre) / self._scale])

    def grades(self, descriptors: np.ndarray) -> np.ndarray:
        """(n,) gamma of atoms."""
        found: np.ndarray = np.abs(self._vectors(descriptors) @ self._inverse).max(axis=1)
        return found


class ExtrapolationGrade:
    """Grade of structures: the largest of their atoms.

    Parameters
    ----------
    models : sequence of Path
        The first one's descriptors count.
    frames : sequence of LabelledFrame
        Training set.
    """

    unit = "1"

    def __init__(self, models: Sequence[Path], frames: Sequence[LabelledFrame]) -> None:
        self._potential = load_nep(models[0])
        by_element: dict[str, list[np.ndarray]] = {}
        for frame in frames:
            snapshot = training_snapshot(frame)
            for element, descriptors in self._by_element(snapshot).items():
                by_element.setdefault(element, []).append(descriptors)
        self._sets = {element: ActiveSet(np.concatenate(parts)) for element, parts in by_element.items()}

    def _by_element(self, snapshot: Snapshot) -> dict[str, np.ndarray]:
        descriptors = site_descriptors(snapshot, self._potential)
        return {element: descriptors[snapshot.types == kind] for kind, element in enumerate(snapshot.species)
                if np.any(snapshot.types == kind)}

    def measure(self, snapshot: Snapshot) -> float:
        """Largest grade of an atom; infinite for elements without training atoms."""
        return max(float(self._sets[element].grades(descriptors).max()) if element in self._sets else np.inf
                   for element, descriptors in self._by_element(snapshot).items())


def load_nep(path: Path) -> NepPotential:
    """The model of a file that a training has written."""
    potential = load_potential(str(path))
    assert isinstance(potential, NepPotential)
    return potential


def training_snapshot(frame: LabelledFrame) -> Snapshot:
    """A labelled frame as the engine takes it."""
    atoms = atoms_of_frame(frame)
    return snapshot_of(atoms, np.full(len(atoms), -1, dtype=np.int32))
