"""A linear model fitted to the forces of a data set, and forces that it does not explain.

    min over c of  R_F^2 = sum_f w_f |A_F c - F|^2 / sum_f w_f |F|^2,      w_f = 1/(misfit of f ^2 + typical misfit^2)

iterated, so that bad frames do not decide; symbols in `consistency.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpcthermo.datasets.findings import Severity
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.datasets.label_units import FORCE_UNITS, named_cause

_FORCES_IN = {"in " + unit: value for unit, value in FORCE_UNITS.items()}
#: labels for each coefficient at least, or a fit means nothing
COMPONENTS_PER_COEFFICIENT = 4
#: of the normal equations, relative to their mean diagonal element
_RIDGE = 1e-7
#: directions of coefficients that forces depend on this much less than on another are left open by them
_OPEN = 1e-3
#: of weights of frames
ITERATIONS = 10
#: a frame's forces count as misfit if they are off by so many typical misfits; the least typical one, eV/A (forces of
#: layers far apart are as small as errors of the SCF)
_OUTLYING, _LEAST_FORCE_MISFIT = 3.5, 0.01
#: forces this many times larger or smaller than expected may be right (0.3 of layers pressed together)
_MODERATE = 6.0
#: what is said of single frames needs others like them: at most so many times the usual leverage
UNLIKE = 20.0
#: relative misfit up to which a scale is known
KNOWN = 0.5


@dataclass
class LabelRows:
    """Rows and labels of the frames of a fit; energies and virials per atom, NaN where there are none."""

    numbers: list[int]
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    forces: list[np.ndarray]
    energies: np.ndarray
    virials: np.ndarray
    fractions: np.ndarray
    volumes: np.ndarray
    kinds: list[str]


def typical_misfit(misfits: np.ndarray) -> float:
    """Of the better frames, so that half of them may be bad."""
    return max(float(np.quantile(misfits, 0.3)), 1e-9)


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


class Objection(NamedTuple):
    """What speaks against the forces of a frame.

    Attributes
    ----------
    reason : str
    has_unit : bool
        A unit explains it.
    severity : {"refused", "warning"}
    """

    reason: str
    has_unit: bool
    severity: Severity


class ForceFit:
    """The fit to forces alone: normal equations, coefficients, typical misfits.

    Attributes
    ----------
    scale : (P,) float64
        Root mean square of each column of A_F; coefficients belong to columns divided by it.
    gram, right : (P, P), (P,) float64
        A_F^T w A_F and A_F^T w F, relative to F^T w F.
    coefficients : (P,) float64
        c.
    typical, left : float
        Misfit of forces of well-fitted frames, eV/A, and relative to them.
    of_kind : dict of str to float
        `typical` of each kind of frames.
    least : float
        R_F.
    determined : float
        Share of the directions of coefficients that forces determine: 0.7 to 1 for usual sets, half for rigid layers
        slid over each other.
    """

    def __init__(self, labels: LabelRows) -> None:
        rows = [rows[1] for rows in labels.rows]
        scale = np.sqrt(sum(np.einsum("ap,ap->p", A, A) for A in rows) / sum(len(A) for A in rows))
        self.scale = np.where(scale > 1e-12 * scale.max(), scale, np.inf)
        sizes = np.array([rms(F) for F in labels.forces])
        misfits = sizes
        for _ in range(ITERATIONS):
            weights = 1.0 / (misfits**2 + max(typical_misfit(misfits), _LEAST_FORCE_MISFIT) ** 2)
            total = sum(w * (F @ F) for w, F in zip(weights, labels.forces, strict=True))
            gram = sum(w * (A.T @ A) for w, A in zip(weights, rows, strict=True))
            right = sum(w * (A.T @ F) for w, A, F in zip(weights, rows, labels.forces, strict=True))
            self.gram, self.right = gram / np.outer(self.scale, self.scale) / total, right / self.scale / total
            self.gram += _RIDGE * np.trace(self.gram) / len(self.gram) * np.eye(len(self.gram))
            scaled = np.linalg.solve(self.gram, self.right)
            self.coefficients = scaled / self.scale
            misfits = np.array([rms(F - A @ self.coefficients) for A, F in zip(rows, labels.forces, strict=True)])
        self.typical = max(typical_misfit(misfits), _LEAST_FORCE_MISFIT)
        self.of_kind = {kind: typical_misfit(misfits[[other == kind for other in labels.kinds]])
                        for kind in set(labels.kinds)}
        self.left = typical_misfit(misfits / sizes)
        self.least = self.misfit(scaled)
        lengths = np.linalg.eigvalsh(self.gram)
        self.determined = float(np.mean(lengths > _OPEN**2 * lengths[-1]))
        self.inverse = np.linalg.inv(self.gram)
        self.usual = float(np.median([self.leverage(A) for A in rows]))

    def leverage(self, rows: np.ndarray) -> float:
        """How far a frame's forces depend on coefficients that the other frames leave open: mean of a G^-1 a."""
        scaled = rows / self.scale
        return float(np.mean(np.einsum("ap,ap->a", scaled @ self.inverse, scaled)))

    def misfit(self, coefficients: np.ndarray) -> float:
        """R_F of coefficients of scaled columns."""
        square = 1.0 - 2.0 * coefficients @ self.right + coefficients @ self.gram @ coefficients
        return float(np.sqrt(max(square, 0.0)))

    def objection(self, frame: LabelledFrame, rows: np.ndarray, kind: str) -> Objection | None:
        """What speaks against the forces of a frame, if anything."""
        F = np.ravel(frame.forces)  # type: ignore[arg-type]
        expected = rows @ self.coefficients
        size, expected_size, misfit = rms(F), rms(expected), rms(F - expected)
        typical = max(self.typical, self.of_kind.get(kind, 0.0))
        if max(size, expected_size) < _OUTLYING * typical:
            return None
        cosine = float(F @ expected) / max(float(np.linalg.norm(F) * np.linalg.norm(expected)), 1e-300)
        factor = float(F @ expected) / max(float(expected @ expected), 1e-300)
        if abs(cosine) > 0.7 and not 0.4 < factor < 2.5:
            cause = named_cause(1.0 / factor, _FORCES_IN)
            # of the same direction and size: forces beyond where the other frames say how large they are
            moderate = 1.0 / _MODERATE < factor < _MODERATE and not cause
            severity: Severity = "warning" if moderate else "refused"
            return Objection(f"forces are {factor:.3g} times what those of the other frames say{cause}",
                             bool(cause) and factor > 0.0, severity)
        unusual = misfit > _OUTLYING * max(typical, self.left * size)
        if cosine < 0.3 and unusual:
            return Objection(f"forces have nothing to do with its positions: {misfit:.2g} eV/A from what those of the "
                             f"other frames say, {typical:.2g} is typical (atoms in another order?)", False, "refused")
        return None
