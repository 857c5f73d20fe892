"""Do energies, forces and virials of a data set belong to each other? Order, sign and unit of labels.

Forces fix the scale. A linear model (`linear_model.py`) is fitted to the forces and to energies and virials that are
multiplied by a factor s, together:

    min over c, e of  R_F^2 + m R_E(s)^2,     R_E(s)^2 = sum_f w_f |A_E c + n.e - s E|^2 / sum_f w_f |s E|^2

and so for s W, with energies as they are. With labels that belong together R_E has a sharp minimum at s = 1, for what
forces say of the energy cannot be scaled without misfitting them; with energies in hartree it is at 27.2, with energies
in hartree and forces in hartree/bohr at 0.53, with the other sign at -1. No unit is assumed: the factor is found and
then named.

| symbol   | meaning                                                                                     |
|----------|---------------------------------------------------------------------------------------------|
| A_F, A_E, A_W | rows of the linear model; energies per atom                                            |
| c        | coefficients                                                                                |
| n, e     | numbers of atoms of each species of a frame, per atom; their energies                        |
| w_f      | weight of a frame, 1/(its own misfit^2 + the median one^2), iterated: bad frames do not decide |
| R        | root mean square of what is not explained, relative to the label                            |
| m        | small, so that energies and virials move only what forces leave open                        |

What cannot be decided: sets with fewer force components than four per coefficient; energies if they do not vary beyond
the composition; the sign of virials if neither volume nor shape nor forces of the frames vary enough. This is
said, not guessed.
All labels in one other system of units (hartree, bohr, positions too) are consistent; distances are looked at for that
(`checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpcthermo.datasets.findings import Finding, Severity
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.datasets.linear_model import LinearModel
from hpcthermo.datasets.statistics import composition

#: eV, A in the unit named
_HARTREE, _BOHR = 27.211386, 0.52917721
_ENERGY_UNITS = {"hartree": _HARTREE, "rydberg": _HARTREE / 2.0, "kcal/mol": 0.0433641, "kJ/mol": 0.01036427,
                 "meV": 1e-3}
_FORCE_UNITS = {"hartree/bohr": _HARTREE / _BOHR, "rydberg/bohr": _HARTREE / 2.0 / _BOHR, "hartree/A": _HARTREE,
                "rydberg/A": _HARTREE / 2.0, "kcal/mol/A": 0.0433641, "meV/A": 1e-3}
#: what a virial is that was made of a pressure in another unit, in eV
_VIRIAL_UNITS = {**_ENERGY_UNITS, "volume x GPa": 1.0 / 160.21766, "volume x kbar": 1.0 / 1602.1766,
                 "volume x hartree/bohr^3": _HARTREE / _BOHR**3, "volume x rydberg/bohr^3": _HARTREE / 2.0 / _BOHR**3}
_FORCES_IN = {"in " + unit: value for unit, value in _FORCE_UNITS.items()}
#: models from rich to poor; the first that the set can carry is taken
_MODELS: tuple[dict[str, int], ...] = (
    {}, {"n_radial": 6, "n_angular": 2, "maximum_l": 1}, {"n_radial": 5, "n_angular": 1, "maximum_l": 0})
_COMPONENTS_PER_COEFFICIENT = 4
#: fewer energies or virials say nothing of a set
_LEAST_FRAMES = 10
#: numbers in the rows that are kept for the fit (0.3 GB)
_KEPT_NUMBERS = 40_000_000
#: m of energies, and of virials
_SECONDARY, _TERTIARY = 0.1, 0.01
_RIDGE = 1e-7
#: relative misfit from which labels have nothing to do with each other (0.95 to 0.99 if each frame's forces are in
#: random order, 0.74 of small cells in which all are moved on by one atom), and up to which a scale is known
_UNRELATED, _KNOWN = {"forces": 0.7, "energy": 0.8}, 0.5
#: energies that differ less, eV/atom, do not vary
_NO_VARIATION = 1e-6
#: factors within this ratio of 1 pass: energies may be off by bohr/A only; units of virials differ by more, and frames
#: of one volume know the factor of virials to 30 % (1.3 was found)
_TOLERATED = {"energy": 1.35, "virial": 3.0}
#: forces are spoilt if energies or virials make their misfit so many times the least one
_SPOILT = 2.0
#: of weights of frames
_ITERATIONS = 10
#: a factor within this ratio of a unit names it
_SAME_UNIT = 1.15
#: a frame's forces count as misfit if they are off by so many typical misfits; the least typical one, eV/A (forces of
#: layers far apart are as small as errors of the SCF)
_OUTLYING, _LEAST_FORCE_MISFIT = 3.5, 0.01
#: what is said of single frames needs others like them: at most so many times the usual leverage, and at least such a
#: part of the usual number of neighbours (molecules among crystals have less)
_UNLIKE, _SPARSE = 20.0, 0.25
#: and energies or virials by so many, or by so many relative ones; the least typical one, eV/atom
_FAR_OUT, _FAR_OUT_RELATIVE, _LEAST_MISFIT = 10.0, 6.0, 1e-3
#: by so many if they fit with the other sign
_FLIPPED, _FLIPPED_RELATIVE = 4.0, 2.0
#: fewer others of its kind do not say what is usual of a frame
_LEAST_OF_KIND = 4


@dataclass
class Consistency:
    """What was found.

    Attributes
    ----------
    findings : list of Finding
    facts : dict of str to float
        ``forces_left``, ``energies_left``, ``virials_left``: relative misfit; ``energy_factor``, ``virial_factor``: the
        s that fits best.
    """

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    def add(self, severity: Severity, reason: str, frame: int | None = None) -> None:
        """Add a finding."""
        self.findings.append(Finding(frame, severity, reason))

    def add_unlike(self, plural: str, numbers: Sequence[int]) -> None:
        """Note frames of which nothing can be said."""
        if numbers:
            named = ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")
            self.add("note", f"{plural} of {len(numbers)} frames that are unlike the others are not examined (frames "
                             f"{named})")


@dataclass
class _Labels:
    """Rows and labels of the frames of a fit; energies and virials per atom, NaN where there are none."""

    numbers: list[int]
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    forces: list[np.ndarray]
    energies: np.ndarray
    virials: np.ndarray
    fractions: np.ndarray
    volumes: np.ndarray
    kinds: list[str]


def examine_consistency(frames: Mapping[int, LabelledFrame]) -> Consistency:
    """Compare the labels of a set with each other.

    Parameters
    ----------
    frames : mapping of int to LabelledFrame
        By their numbers; those that are known to be bad left out.
    """
    result = Consistency()
    usable = [k for k, frame in frames.items() if frame.forces is not None and frame.forces.any()]
    model = _model(frames, usable)
    if model is None:
        result.add("note", "too few forces to compare labels with each other: order, sign and units are not examined")
        return result
    labels = _labels(frames, usable, model)
    force_fit = _ForceFit(labels)
    left = force_fit.left
    result.facts["forces_left"] = left
    if left > _UNRELATED["forces"]:
        result.add("refused", f"forces have nothing to do with the positions: a model fitted to them leaves {left:.0%} "
                              "(atoms or frames in another order?)")
        return result
    usual = np.median([model.coordination(rows[0], len(F) // 3)
                       for rows, F in zip(labels.rows, labels.forces, strict=True)])
    outliers, unlike = {}, []
    for number, rows in _all_rows(frames, usable, labels, model):
        reason, has_unit = force_fit.objection(frames[number], rows[1], _kind(frames[number]))
        sparse = model.coordination(rows[0], frames[number].n_atoms) < _SPARSE * usual
        if sparse or (reason and not has_unit and force_fit.leverage(rows[1]) > _UNLIKE * force_fit.usual):
            unlike.append(number)
        elif reason:
            outliers[number] = reason
    for number, reason in outliers.items():
        result.add("refused", reason, number)
    result.add_unlike("forces", unlike)
    if left > _KNOWN:
        result.add("warning", f"a model fitted to the forces leaves {left:.0%} of them: units and signs of energies "
                              "and virials are not examined")
        return result
    good = np.array([number not in outliers and number not in unlike for number in labels.numbers])
    energies = _Secondary("energy", labels.energies[:, None], good, labels, force_fit)
    energies.examine(result, None)
    virials = _Secondary("virial", labels.virials, good, labels, force_fit)
    virials.examine(result, energies)
    return result


def _model(frames: Mapping[int, LabelledFrame], usable: Sequence[int]) -> LinearModel | None:
    species = tuple(sorted({symbol for k in usable for symbol in frames[k].symbols}))
    components = 3 * sum(frames[k].n_atoms - 1 for k in usable)  # forces add up to zero
    for terms in _MODELS:
        model = LinearModel(species, **terms)
        if usable and components >= _COMPONENTS_PER_COEFFICIENT * model.n_coefficients:
            return model
    return None


def _labels(frames: Mapping[int, LabelledFrame], usable: Sequence[int], model: LinearModel) -> _Labels:
    """Of all usable frames, or of as many at equal distances as may be kept."""
    numbers = 3 * sum(frames[k].n_atoms for k in usable) * model.n_coefficients
    chosen = list(usable[::max(1, -(-numbers // _KEPT_NUMBERS))])
    nothing = np.full(9, np.nan)
    return _Labels(
        chosen, [model.rows(frames[k]) for k in chosen], [np.ravel(frames[k].forces) for k in chosen],  # type: ignore[arg-type]
        np.array([np.nan if (e := frames[k].energy) is None else e / frames[k].n_atoms for k in chosen]),
        np.array([nothing if (w := frames[k].virial) is None else w.ravel() / frames[k].n_atoms for k in chosen]),
        np.array([[frames[k].symbols.count(symbol) / frames[k].n_atoms for symbol in model.species] for k in chosen]),
        np.array([frames[k].volume for k in chosen]),
        [_kind(frames[k]) for k in chosen],
    )


def _kind(frame: LabelledFrame) -> str:
    """Frames of one kind are fitted about equally well."""
    return frame.group or composition(frame)


def _all_rows(frames: Mapping[int, LabelledFrame], usable: Sequence[int], labels: _Labels, model: LinearModel
              ) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    kept = dict(zip(labels.numbers, labels.rows, strict=True))
    for number in usable:
        yield number, kept[number] if number in kept else model.rows(frames[number])


def _typical(misfits: np.ndarray) -> float:
    """Of the better frames, so that half of them may be bad."""
    return max(float(np.quantile(misfits, 0.3)), 1e-9)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


class _ForceFit:
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
    """

    def __init__(self, labels: _Labels) -> None:
        rows = [rows[1] for rows in labels.rows]
        scale = np.sqrt(sum(np.einsum("ap,ap->p", A, A) for A in rows) / sum(len(A) for A in rows))
        self.scale = np.where(scale > 1e-12 * scale.max(), scale, np.inf)
        sizes = np.array([_rms(F) for F in labels.forces])
        misfits = sizes
        for _ in range(_ITERATIONS):
            weights = 1.0 / (misfits**2 + max(_typical(misfits), _LEAST_FORCE_MISFIT) ** 2)
            total = sum(w * (F @ F) for w, F in zip(weights, labels.forces, strict=True))
            gram = sum(w * (A.T @ A) for w, A in zip(weights, rows, strict=True))
            right = sum(w * (A.T @ F) for w, A, F in zip(weights, rows, labels.forces, strict=True))
            self.gram, self.right = gram / np.outer(self.scale, self.scale) / total, right / self.scale / total
            self.gram += _RIDGE * np.trace(self.gram) / len(self.gram) * np.eye(len(self.gram))
            scaled = np.linalg.solve(self.gram, self.right)
            self.coefficients = scaled / self.scale
            misfits = np.array([_rms(F - A @ self.coefficients) for A, F in zip(rows, labels.forces, strict=True)])
        self.typical = max(_typical(misfits), _LEAST_FORCE_MISFIT)
        self.of_kind = {kind: _typical(misfits[[other == kind for other in labels.kinds]])
                        for kind in set(labels.kinds)}
        self.left = _typical(misfits / sizes)
        self.least = self.misfit(scaled)
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

    def objection(self, frame: LabelledFrame, rows: np.ndarray, kind: str) -> tuple[str, bool]:
        """What speaks against the forces of a frame, if anything, and whether a unit explains it."""
        F = np.ravel(frame.forces)  # type: ignore[arg-type]
        expected = rows @ self.coefficients
        size, expected_size, misfit = _rms(F), _rms(expected), _rms(F - expected)
        typical = max(self.typical, self.of_kind.get(kind, 0.0))
        if max(size, expected_size) < _OUTLYING * typical:
            return "", False
        cosine = float(F @ expected) / max(float(np.linalg.norm(F) * np.linalg.norm(expected)), 1e-300)
        factor = float(F @ expected) / max(float(expected @ expected), 1e-300)
        if abs(cosine) > 0.7 and not 0.4 < factor < 2.5:
            cause = _named(1.0 / factor, _FORCES_IN)
            return (f"forces are {factor:.3g} times what those of the other frames say{cause}",
                    bool(cause) and factor > 0.0)
        unusual = misfit > _OUTLYING * max(typical, self.left * size)
        if cosine < 0.3 and unusual:
            return (f"forces have nothing to do with its positions: {misfit:.2g} eV/A from what those of the other "
                    f"frames say, {typical:.2g} is typical (atoms in another order?)"), False
        return "", False


def _named(factor: float, units: dict[str, float]) -> str:
    """What a factor that labels need may come from."""
    close = [name for name, value in units.items() if abs(np.log(abs(factor) / value)) < np.log(_SAME_UNIT)]
    causes = [*(["the other sign"] if factor < 0.0 else []), *([" or ".join(close)] if close else [])]
    return f" ({' and '.join(causes)}?)" if causes else ""


class _Secondary:
    """Energies or virials against forces.

    Attributes
    ----------
    accepted : bool
        They belong to the forces.
    """

    def __init__(self, name: str, values: np.ndarray, good: np.ndarray, labels: _Labels, force_fit: _ForceFit) -> None:
        self.name, self.plural, self.force_fit = name, {"energy": "energies", "virial": "virials"}[name], force_fit
        self.accepted = False
        there = np.flatnonzero(good & np.isfinite(values).all(axis=1))
        self.numbers = [labels.numbers[k] for k in there]
        self.atoms = np.array([labels.rows[k][1].shape[0] // 3 for k in there])
        self.units = ({"energies in " + unit: value for unit, value in _ENERGY_UNITS.items()}
                      | {"forces in " + unit: 1.0 / value for unit, value in _FORCE_UNITS.items()}
                      | {"energies in hartree or rydberg with forces in the same unit per bohr": _BOHR}
                      if name == "energy" else {"in " + unit: value for unit, value in _VIRIAL_UNITS.items()})
        if len(there):
            self.units["per atom"] = float(np.median(self.atoms))
        if len(there) and name == "virial":
            self.units["a stress, not times volume"] = float(np.median(labels.volumes[there]))
        index = 0 if name == "energy" else 2
        self.rows = [labels.rows[k][index].reshape(-1, len(force_fit.scale)) / force_fit.scale / n
                     for k, n in zip(there, self.atoms, strict=True)]
        self.values, self.fractions = values[there], labels.fractions[there]
        self.kinds = np.array([labels.kinds[k] for k in there])

    def examine(self, result: Consistency, energies: _Secondary | None) -> None:
        """Add what is found about the whole set and about single frames."""
        if len(self.values) < _LEAST_FRAMES:
            if len(self.values):
                result.add("note", f"fewer than {_LEAST_FRAMES} {self.plural}: their sign and unit are not examined")
            return
        if self.name == "virial" and (energies is None or not energies.accepted):
            result.add("note", "without energies that follow the forces, sign and unit of virials are not examined")
            return
        self._prepare()
        if _rms(self.centered) < _NO_VARIATION:
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
            if self._is_wrong(factor) and best < _KNOWN and best < 0.5 * at_one:
                result.add("refused", f"{self.plural} do not belong to the forces: {best:.1%} of them are left if they "
                                      f"are multiplied by {factor:.3g}, {at_one:.1%} as they are"
                                      f"{_named(factor, self.units)}")
                result.facts[f"{self.name}_factor"] = factor
                return
        self._take_weight_from_misfits(1.0, gram, right, share)
        factor = self._best(gram, right, share)
        best, at_one = (self._left(self._solve(s, gram, right, share), s) for s in (factor, 1.0))
        result.facts[f"{self.plural}_left"], result.facts[f"{self.name}_factor"] = at_one, factor
        if self.name == "energy" and min(best, at_one) > _UNRELATED["energy"]:
            result.add("refused", f"{self.plural} have nothing to do with forces and positions: {at_one:.0%} of them "
                                  "are left (frames in another order?)")
        elif at_one > _KNOWN:
            result.add("warning", f"{self.plural} follow the forces too little to examine their sign and unit: "
                                  f"{at_one:.0%} of them are left")
        else:
            self.accepted = True
            self._outliers(result, gram, right, share)

    def _prepare(self) -> None:
        """Weights of the frames, and energies without what their species explain."""
        basis = self.fractions if self.name == "energy" else np.ones((len(self.values), 1))
        weights = np.ones(len(self.values))
        for _ in range(_ITERATIONS):
            root = np.sqrt(weights)[:, None]
            fit = np.linalg.pinv(root * basis) * root.T  # labels -> energies of species
            sizes = np.sqrt(np.mean((self.values - basis @ (fit @ self.values)) ** 2, axis=1))
            weights = 1.0 / (sizes**2 + max(float(np.median(sizes)), 1e-9) ** 2)
        self.size = float(np.median(sizes))
        self.centered, self.design = self.values, np.stack(self.rows)
        if self.name == "energy":
            self.centered = self.centered - basis @ (fit @ self.centered)
            self.design = self.design - np.tensordot(basis, np.tensordot(fit, self.design, axes=1), axes=1)
        if _rms(self.centered) >= _NO_VARIATION:
            self._weigh(sizes, max(self.size, 1e-9))

    def _is_wrong(self, factor: float) -> bool:
        """Whether labels that need such a factor have another sign or unit."""
        return factor < 0.0 or abs(np.log(factor)) > np.log(_TOLERATED[self.name])

    def _take_weight_from_misfits(self, factor: float, gram: np.ndarray, right: np.ndarray, share: float) -> None:
        """Frames that do not fit with a factor lose their weight, if there are too many labels to fit all."""
        if self.values.size < _COMPONENTS_PER_COEFFICIENT * len(gram):
            return
        for _ in range(_ITERATIONS):
            misfits = self._misfits(self._solve(factor, gram, right, share) / factor)
            self._weigh(misfits, max(_typical(misfits), _LEAST_MISFIT))

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
        left = _typical(misfits / np.maximum(sizes, 1e-9))
        should_be = self.values - self.centered + expected
        factors = np.sum(self.values * should_be, axis=1) / np.maximum(np.sum(self.values**2, axis=1), 1e-300)
        unexplained = np.linalg.norm(factors[:, None] * self.values - should_be, axis=1)
        parallel = unexplained < 0.5 * np.linalg.norm(should_be, axis=1)
        explained = parallel & ((factors < 0.4) | (factors > 2.5))
        flipped = parallel & (factors < -0.4) & (factors > -2.5)
        far = misfits > np.maximum(_FAR_OUT * typical, _FAR_OUT_RELATIVE * left * sizes)
        far |= flipped & (misfits > np.maximum(_FLIPPED * of_kind, _FLIPPED_RELATIVE * left * sizes))
        causes = [_named(factor, self.units | {"per atom": float(n)})
                  for factor, n in zip(factors, self.atoms, strict=True)]
        has_unit = explained & (factors > 0.0) & np.array([bool(cause) for cause in causes])
        unlike = far & ~has_unit & (leverages > _UNLIKE * np.median(leverages))
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
