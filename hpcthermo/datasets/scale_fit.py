"""Energies, or virials, against forces: the factor that they need, and single frames whose label does not fit.

The equation and its symbols are those of `consistency.py`.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.datasets.findings import Consistency, Severity
from hpcthermo.datasets.force_fit import (
    COMPONENTS_PER_COEFFICIENT,
    ITERATIONS,
    KNOWN,
    UNLIKE,
    ForceFit,
    LabelRows,
    rms,
    typical_misfit,
)
from hpcthermo.datasets.label_units import BOHR, ENERGY_UNITS, FORCE_UNITS, VIRIAL_UNITS, named_cause

#: fewer energies or virials say nothing of a set
_LEAST_FRAMES = 10
#: weights m of energies, and of virials (`consistency.py`)
_SECONDARY, _TERTIARY = 0.1, 0.01
#: relative misfit from which energies have nothing to do with forces
_UNRELATED = 0.8
#: energies that differ less, eV/atom, do not vary
_NO_VARIATION = 1e-6
#: factors within this ratio of 1 pass: energies may be off by bohr/A only; units of virials differ by more, and frames
#: of one volume know the factor of virials to 30 % (1.3 was found)
_TOLERATED = {"energy": 1.35, "virial": 3.0}
#: forces are spoilt if energies or virials make their misfit so many times the least one
_SPOILT = 2.0
#: labels of a frame are off by so many typical misfits, or by so many relative ones; the least typical one, eV/atom
_FAR_OUT, _FAR_OUT_RELATIVE, _LEAST_MISFIT = 10.0, 6.0, 1e-3
#: by so many if they fit with the other sign
_FLIPPED, _FLIPPED_RELATIVE = 4.0, 2.0
#: fewer others of its kind do not say what is usual of a frame
_LEAST_OF_KIND = 4


class ScaleFit:
    """Energies or virials against forces.

    Attributes
    ----------
    accepted : bool
        They belong to the forces.
    """

    def __init__(self, name: str, values: np.ndarray, good: np.ndarray, labels: LabelRows, force_fit: ForceFit) -> None:
        self.name, self.plural, self.force_fit = name, {"energy": "energies", "virial": "virials"}[name], force_fit
        self.accepted = False
        there = np.flatnonzero(good & np.isfinite(values).all(axis=1))
        self.numbers = [labels.numbers[k] for k in there]
        self.atoms = np.array([labels.rows[k][1].shape[0] // 3 for k in there])
        self.units = ({"energies in " + unit: value for unit, value in ENERGY_UNITS.items()}
                      | {"forces in " + unit: 1.0 / value for unit, value in FORCE_UNITS.items()}
                      | {"energies in hartree or rydberg with forces in the same unit per bohr": BOHR}
                      if name == "energy" else {"in " + unit: value for unit, value in VIRIAL_UNITS.items()})
        if len(there):
            self.units["per atom"] = float(np.median(self.atoms))
        if len(there) and name == "virial":
            self.units["a stress, not times volume"] = float(np.median(labels.volumes[there]))
        index = 0 if name == "energy" else 2
        self.rows = [labels.rows[k][index].reshape(-1, len(force_fit.scale)) / force_fit.scale / n
                     for k, n in zip(there, self.atoms, strict=True)]
        self.values, self.fractions = values[there], labels.fractions[there]
        self.kinds = np.array([labels.kinds[k] for k in there])

    def examine(self, result: Consistency, energies: ScaleFit | None) -> None:
        """Add what is found about the whole set and about single frames."""
        if len(self.values) < _LEAST_FRAMES:
            if len(self.values):
                result.add("note", f"fewer than {_LEAST_FRAMES} {self.plural}: their sign and unit are not examined")
            return
        if self.name == "virial" and (energies is None or not energies.accepted):
            result.add("note", "without energies that follow the forces, sign and unit of virials are not examined")
            return
        self._prepare()
        if rms(self.centered) < _NO_VARIATION:
            result.add("note", f"{self.plural} do not vary: their sign and unit are not examined")
            return
        gram, right, share = self.force_fit.gram, self.force_fit.right, _SECONDARY
        if energies is not None:
            gram, right = gram + _SECONDARY * energies.gram, right + _SECONDARY * energies.right
            share = _TERTIARY
        factor = self._best(gram, right, share)
        # frames that no model fits must not hide a wrong factor: once by sizes of labels, once by misfits with it
        for by_misfit in (False, True):
            if not self._is_wrong(factor):
                break
            if by_misfit:
                self._take_weight_from_misfits(factor, gram, right, share)
                factor = self._best(gram, right, share)
            best, at_one = (self._left(self._solve(s, gram, right, share), s) for s in (factor, 1.0))
            if self._is_wrong(factor) and best < KNOWN and best < 0.5 * at_one:
                result.add("refused", f"{self.plural} do not belong to the forces: {best:.1%} of them are left if they "
                                      f"are multiplied by {factor:.3g}, {at_one:.1%} as they are"
                                      f"{named_cause(factor, self.units)}")
                result.facts[f"{self.name}_factor"] = factor
                return
        self._take_weight_from_misfits(1.0, gram, right, share)
        factor = self._best(gram, right, share)
        best, at_one = (self._left(self._solve(s, gram, right, share), s) for s in (factor, 1.0))
        result.facts[f"{self.plural}_left"], result.facts[f"{self.name}_factor"] = at_one, factor
        if self.name == "energy" and min(best, at_one) > _UNRELATED:
            result.add("refused", f"{self.plural} have nothing to do with forces and positions: {at_one:.0%} of them "
                                  "are left (frames in another order?)")
        elif at_one > KNOWN:
            result.add("warning", f"{self.plural} follow the forces too little to examine their sign and unit: "
                                  f"{at_one:.0%} of them are left")
        else:
            self.accepted = True
            self._outliers(result, gram, right, share)

    def _prepare(self) -> None:
        """Weights of the frames, and energies without what their species explain."""
        basis = self.fractions if self.name == "energy" else np.ones((len(self.values), 1))
        weights = np.ones(len(self.values))
        for _ in range(ITERATIONS):
            root = np.sqrt(weights)[:, None]
            fit = np.linalg.pinv(root * basis) * root.T  # labels -> energies of species
            sizes = np.sqrt(np.mean((self.values - basis @ (fit @ self.values)) ** 2, axis=1))
            weights = 1.0 / (sizes**2 + max(float(np.median(sizes)), 1e-9) ** 2)
        self.size = float(np.median(sizes))
        self.centered, self.design = self.values, np.stack(self.rows)
        if self.name == "energy":
            self.centered = self.centered - basis @ (fit @ self.centered)
            self.design = self.design - np.tensordot(basis, np.tensordot(fit, self.design, axes=1), axes=1)
        if rms(self.centered) >= _NO_VARIATION:
            self._weigh(sizes, max(self.size, 1e-9))

    def _is_wrong(self, factor: float) -> bool:
        """Whether labels that need such a factor have another sign or unit."""
        return factor < 0.0 or abs(np.log(factor)) > np.log(_TOLERATED[self.name])

    def _take_weight_from_misfits(self, factor: float, gram: np.ndarray, right: np.ndarray, share: float) -> None:
        """Frames that do not fit with a factor lose their weight, if there are too many labels to fit all."""
        if self.values.size < COMPONENTS_PER_COEFFICIENT * len(gram):
            return
        for _ in range(ITERATIONS):
            misfits = self._misfits(self._solve(factor, gram, right, share) / factor)
            self._weigh(misfits, max(typical_misfit(misfits), _LEAST_MISFIT))

    def _misfits(self, coefficients: np.ndarray) -> np.ndarray:
        """Root mean square over components, eV per atom, of each frame."""
        return np.sqrt(np.mean((self.centered - self.design @ coefficients) ** 2, axis=1))

    def _weigh(self, misfits: np.ndarray, least: float) -> None:
        """Weights w_f, and A^T w A and A^T w y relative to y^T w y."""
        self.weights = 1.0 / (misfits**2 + least**2)
        total = float(np.einsum("f,fa,fa->", self.weights, self.centered, self.centered))
        flat = (np.sqrt(self.weights)[:, None, None] * self.design).reshape(-1, self.design.shape[2])
        self.gram = flat.T @ flat / total
        self.right = np.einsum("f,fap,fa->p", self.weights, self.design, self.centered) / total

    def _solve(self, factor: float, gram: np.ndarray, right: np.ndarray, share: float) -> np.ndarray:
        """Coefficients for labels times a factor: their A^T w A relative to them goes as 1/s^2, A^T w y as 1/s."""
        return np.linalg.solve(gram + share * self.gram / factor**2, right + share * self.right / factor)

    def _left(self, coefficients: np.ndarray, factor: float) -> float:
        """R_E or R_W."""
        square = 1.0 - 2.0 * coefficients @ self.right / factor + coefficients @ self.gram @ coefficients / factor**2
        return float(np.sqrt(max(square, 0.0)))

    def _best(self, gram: np.ndarray, right: np.ndarray, share: float) -> float:
        """The factor of the least R^2 of these labels and of forces, among those that leave the forces fitted."""
        def total(factor: float) -> float:
            solution = self._solve(factor, gram, right, share)
            forces = self.force_fit.misfit(solution)
            spoilt = forces > _SPOILT * (self.force_fit.least + 0.02)
            return self._left(solution, factor) ** 2 + forces**2 + (1e3 if spoilt else 0.0)

        factors = np.concatenate([sign * np.geomspace(1e-4, 1e4, 81) for sign in (1.0, -1.0)])
        best = min(factors, key=total)
        return float(min(best * np.geomspace(0.88, 1.14, 27), key=total))

    def _outliers(self, result: Consistency, gram: np.ndarray, right: np.ndarray, share: float) -> None:
        """Single frames whose label does not fit."""
        coefficients = self._solve(1.0, gram, right, share)
        expected, misfits = self.design @ coefficients, self._misfits(coefficients)
        inverse = np.linalg.inv(gram + share * self.gram)
        leverages = np.einsum("fap,pq,faq->f", self.design, inverse, self.design, optimize=True)
        typical, of_kind = self._typical_of_others(misfits)
        sizes = np.sqrt(np.mean(expected**2, axis=1))
        left = typical_misfit(misfits / np.maximum(sizes, 1e-9))
        should_be = self.values - self.centered + expected
        factors = np.sum(self.values * should_be, axis=1) / np.maximum(np.sum(self.values**2, axis=1), 1e-300)
        unexplained = np.linalg.norm(factors[:, None] * self.values - should_be, axis=1)
        parallel = unexplained < 0.5 * np.linalg.norm(should_be, axis=1)
        explained = parallel & ((factors < 0.4) | (factors > 2.5))
        flipped = parallel & (factors < -0.4) & (factors > -2.5)
        far = misfits > np.maximum(_FAR_OUT * typical, _FAR_OUT_RELATIVE * left * sizes)
        far |= flipped & (misfits > np.maximum(_FLIPPED * of_kind, _FLIPPED_RELATIVE * left * sizes))
        causes = [named_cause(factor, self.units | {"per atom": float(n)})
                  for factor, n in zip(factors, self.atoms, strict=True)]
        has_unit = explained & (factors > 0.0) & np.array([bool(cause) for cause in causes])
        unlike = far & ~has_unit & (leverages > UNLIKE * np.median(leverages))
        result.add_unlike(self.plural, [self.numbers[k] for k in np.flatnonzero(unlike)])
        for k in np.flatnonzero(far & ~unlike):
            reason = (f"{self.name} is {misfits[k]:.3g} eV/atom from what forces and the other frames say, "
                      f"{typical[k]:.2g} is typical")
            if explained[k]:
                result.add("refused", f"{reason}; it fits if multiplied by {factors[k]:.3g}{causes[k]}",
                           self.numbers[k])
            else:
                severity: Severity = "refused" if misfits[k] > 0.5 + 3.0 * self.size else "warning"
                result.add(severity, reason, self.numbers[k])

    def _typical_of_others(self, misfits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Usual misfit of each frame: the larger median of all and of the others of its kind; of these alone."""
        of_all = max(float(np.median(misfits)), _LEAST_MISFIT)
        typical, of_kind = np.full((2, len(misfits)), of_all)
        for k, kind in enumerate(self.kinds):
            others = self.kinds == kind
            others[k] = False
            if others.any():
                own = max(float(np.median(misfits[others])), _LEAST_MISFIT)
                typical[k] = max(of_all, own)
                of_kind[k] = own if others.sum() >= _LEAST_OF_KIND else typical[k]
        return typical, of_kind
