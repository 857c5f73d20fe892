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

What cannot be decided: sets with fewer force components than four per coefficient, or forces that leave many of them
open (perfect layers slid over each other); energies if they do not vary beyond the composition; the sign of virials if
neither volume nor shape nor forces of the frames vary enough. This is said, not guessed.
All labels in one other system of units (hartree, bohr, positions too) are consistent; distances are looked at for that
(`checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hpcthermo.datasets.findings import Consistency
from hpcthermo.datasets.force_fit import COMPONENTS_PER_COEFFICIENT, KNOWN, UNLIKE, ForceFit, LabelRows
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.datasets.linear_model import LinearModel
from hpcthermo.datasets.scale_fit import ScaleFit
from hpcthermo.datasets.statistics import composition

#: models from rich to poor; the first that the set can carry is taken
_MODELS: tuple[dict[str, int], ...] = (
    {}, {"n_radial": 6, "n_angular": 2, "maximum_l": 1}, {"n_radial": 5, "n_angular": 1, "maximum_l": 0})
#: numbers in the rows that are kept for the fit (0.3 GB)
_KEPT_NUMBERS = 40_000_000
#: relative misfit from which forces have nothing to do with positions (0.95 to 0.99 if each frame's forces are in
#: random order, 0.74 of small cells in which all are moved on by one atom)
_UNRELATED = 0.7
#: share of the coefficients that forces determine, below which they say nothing of energies and virials
_DETERMINED = 0.6
#: nothing is said of frames with less than such a part of the usual number of neighbours (molecules among crystals)
_SPARSE = 0.25


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
    force_fit = ForceFit(labels)
    left = force_fit.left
    result.facts["forces_left"] = left
    if left > _UNRELATED:
        result.add("refused", f"forces have nothing to do with the positions: a model fitted to them leaves {left:.0%} "
                              "(atoms or frames in another order?)")
        return result
    usual = np.median([model.coordination(rows[0], len(F) // 3)
                       for rows, F in zip(labels.rows, labels.forces, strict=True)])
    outliers, unlike = {}, []
    for number, rows in _all_rows(frames, usable, labels, model):
        objection = force_fit.objection(frames[number], rows[1], _kind(frames[number]))
        sparse = model.coordination(rows[0], frames[number].n_atoms) < _SPARSE * usual
        unit = objection is not None and objection.has_unit
        if sparse or (objection and not unit and force_fit.leverage(rows[1]) > UNLIKE * force_fit.usual):
            unlike.append(number)
        elif objection:
            outliers[number] = objection
    for number, objection in outliers.items():
        result.add(objection.severity, objection.reason, number)
    result.add_unlike("forces", unlike)
    if left > KNOWN:
        result.add("warning", f"a model fitted to the forces leaves {left:.0%} of them: units and signs of energies "
                              "and virials are not examined")
        return result
    if force_fit.determined < _DETERMINED:
        result.add("note", "forces of these frames are too much alike to say what energies and virials should be: "
                           "their signs and units are not examined")
        return result
    good = np.array([number not in outliers and number not in unlike for number in labels.numbers])
    energies = ScaleFit("energy", labels.energies[:, None], good, labels, force_fit)
    energies.examine(result, None)
    virials = ScaleFit("virial", labels.virials, good, labels, force_fit)
    virials.examine(result, energies)
    return result


def _model(frames: Mapping[int, LabelledFrame], usable: Sequence[int]) -> LinearModel | None:
    species = tuple(sorted({symbol for k in usable for symbol in frames[k].symbols}))
    components = 3 * sum(frames[k].n_atoms - 1 for k in usable)  # forces add up to zero
    for terms in _MODELS:
        model = LinearModel(species, **terms)
        if usable and components >= COMPONENTS_PER_COEFFICIENT * model.n_coefficients:
            return model
    return None


def _labels(frames: Mapping[int, LabelledFrame], usable: Sequence[int], model: LinearModel) -> LabelRows:
    """Of all usable frames, or of as many at equal distances as may be kept."""
    numbers = 3 * sum(frames[k].n_atoms for k in usable) * model.n_coefficients
    chosen = list(usable[::max(1, -(-numbers // _KEPT_NUMBERS))])
    nothing = np.full(9, np.nan)
    return LabelRows(
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


def _all_rows(frames: Mapping[int, LabelledFrame], usable: Sequence[int], labels: LabelRows, model: LinearModel
              ) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    kept = dict(zip(labels.numbers, labels.rows, strict=True))
    for number in usable:
        yield number, kept[number] if number in kept else model.rows(frames[number])
