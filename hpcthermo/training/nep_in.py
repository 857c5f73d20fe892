"""GPUMD's nep.in as the table of a train job; train.xyz and test.xyz lie beside it.

Keywords as in the documentation of GPUMD's nep; a line is a keyword and its values, # begins a comment. What has no
equivalent is refused with its line. Weights keep their meaning for "snes"; for "gradient", whose loss has mean squares
instead of their roots, its own weights are multiplied by what nep.in says relative to GPUMD's defaults.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcthermo.config.training import GradientOptimiser, SnesOptimiser
from hpcthermo.errors import InputError
from hpcthermo.gpumd_keywords import keyword_lines
from hpcthermo.potentials.nep_file import EXTRA_INVARIANTS, GPUMD_ANGULAR_N_MAX, LARGEST_N_MAX

TRAIN_FILE, TEST_FILE = "train.xyz", "test.xyz"
#: keywords that may have one value only, since the rest is not trained here
_ONLY = {
    "version": (4, "NEP4 models"),
    "model_type": (0, "potentials"),
    "charge_mode": (0, "potentials without charges"),
    "prediction": (0, "new models"),
    "atomic_v": (0, "virials of whole structures"),
    "use_typewise_cutoff": (0, "cutoffs that the cutoff line gives"),
    "import_q_scaler": (0, "models with factors of their own data or of fine_tune"),
    "loss_mode": (0, "losses of root mean square errors"),
    "lambda_d": (0, "energies, not their differences,"),
}
#: keywords about output that a job always writes or never needs, and of models with charges
_WITHOUT_EFFECT = ("save_potential", "checkpoint", "output_descriptor", "lambda_q", "lambda_z")
#: of use_typewise_cutoff_zbl without a number
_TYPEWISE_FACTOR = 0.65


@dataclass
class NepInput:
    """What nep.in says; None where it is silent.

    Attributes
    ----------
    elements : list of str
    weights : dict of str to float
        lambda_1, lambda_2, lambda_e, lambda_f, lambda_v, lambda_shear.
    """

    elements: list[str] = field(default_factory=list)
    repulsion: float | None = None
    repulsion_factor: float | None = None
    cutoffs: list[float] = field(default_factory=lambda: [8.0, 4.0])
    n_max: list[int] = field(default_factory=lambda: [6, 6])
    basis_size: list[int] = field(default_factory=lambda: [6, 6])
    l_max: list[int] = field(default_factory=lambda: [4, 1])
    neurons: int = 30
    weights: dict[str, float] = field(default_factory=dict)
    force_delta: float = 0.0
    type_weights: list[float] = field(default_factory=list)
    batch: int | None = None
    population: int | None = None
    generations: int | None = None
    interval: int | None = None
    seed: int | None = None
    fine_tune: list[str] = field(default_factory=list)


class _Line:
    """One line: its keyword and values, and how to refuse it."""

    def __init__(self, source: str, number: int, words: list[str]) -> None:
        self._source, self._number, self.keyword, self.values = source, number, words[0], words[1:]

    def error(self, expected: str) -> InputError:
        got = " ".join(self.values)[:60] or "nothing"
        return InputError(f"{self._source} line {self._number}: {self.keyword}: expected {expected}, got {got}; "
                          "correct it")

    def unknown(self, known: list[str]) -> InputError:
        close = difflib.get_close_matches(self.keyword, known, n=1)
        guess = f", did you mean {close[0]}?" if close else "; remove the line"
        return InputError(f"{self._source} line {self._number}: expected a keyword that has an equivalent here, got "
                          f"{self.keyword[:40]}{guess}")

    def numbers(self, low: float, high: float, counts: tuple[int, ...], what: str) -> list[float]:
        """As many numbers as one of `counts`, all within bounds."""
        try:
            found = [float(word) for word in self.values]
        except ValueError:
            raise self.error(what) from None
        if len(found) not in counts or not all(math.isfinite(x) and low <= x <= high for x in found):
            raise self.error(what)
        return found

    def integers(self, low: int, high: int, counts: tuple[int, ...], what: str) -> list[int]:
        """As many integers as one of `counts`, all within bounds."""
        found = self.numbers(low, high, counts, what)
        if any(x != int(x) for x in found):
            raise self.error(what)
        return [int(x) for x in found]


def _type(found: NepInput, line: _Line) -> None:
    from ase.data import atomic_numbers

    names = line.values[1:]
    what = "the number of elements and as many symbols"
    if not line.values or not line.values[0].isdecimal() or int(line.values[0]) != len(names) or not names:
        raise line.error(what)
    if len(set(names)) < len(names) or not all(atomic_numbers.get(name, 0) for name in names):
        raise line.error(f"{what}, each a chemical element and once")
    found.elements = names


def _zbl(found: NepInput, line: _Line) -> None:
    found.repulsion = line.numbers(1.0, 3.0, (1,), "one cutoff of 1 to 3 A (zbl.in is not read)")[0]


def _zbl_factor(found: NepInput, line: _Line) -> None:
    found.repulsion_factor = next(iter(line.numbers(0.1, 5.0, (0, 1), "one factor of 0.1 to 5, or none")),
                                  _TYPEWISE_FACTOR)


def _cutoff(found: NepInput, line: _Line) -> None:
    what = "radial and angular cutoff, 3 <= angular <= radial <= 10 A, once or for each element"
    numbers = line.numbers(3.0, 10.0, tuple(range(2, 189, 2)), what)
    if any(r < a for r, a in zip(numbers[::2], numbers[1::2], strict=True)):
        raise line.error(what)
    found.cutoffs = numbers


def _n_max(found: NepInput, line: _Line) -> None:
    what = f"two integers, at most {LARGEST_N_MAX} and {GPUMD_ANGULAR_N_MAX}"
    found.n_max = line.integers(0, LARGEST_N_MAX, (2,), what)
    if found.n_max[1] > GPUMD_ANGULAR_N_MAX:
        raise line.error(what)


def _l_max(found: NepInput, line: _Line) -> None:
    what = "a degree of 0 to 8 and up to six switches of four- and five-body terms (0, 1; 2 for the first)"
    found.l_max = line.integers(0, 8, tuple(range(1, 8)), what)
    if any(flag > 2 for flag in found.l_max[1:]):
        raise line.error(what)


def _one(name: str, low: int, high: int) -> Callable[[NepInput, _Line], None]:
    def take(found: NepInput, line: _Line) -> None:
        setattr(found, name, line.integers(low, high, (1,), f"an integer of {low} to {high}")[0])

    return take


def _weight(found: NepInput, line: _Line) -> None:
    found.weights[line.keyword] = line.numbers(0.0, 1e6, (1,), "a number of 0 or more")[0]


def _force_delta(found: NepInput, line: _Line) -> None:
    found.force_delta = line.numbers(0.0, 1e6, (1,), "a number of 0 or more")[0]


def _type_weight(found: NepInput, line: _Line) -> None:
    found.type_weights = line.numbers(0.0, 1e6, tuple(range(1, 95)), "a number of 0 or more for each element")


def _fine_tune(found: NepInput, line: _Line) -> None:
    if len(line.values) not in (1, 2):
        raise line.error("nep.txt of the model to begin from, and perhaps its nep.restart")
    found.fine_tune = line.values


def _basis_size(found: NepInput, line: _Line) -> None:
    found.basis_size = line.integers(0, 16, (2,), "two integers of 0 to 16")


_KEYWORDS: dict[str, Callable[[NepInput, _Line], None]] = {
    "type": _type, "zbl": _zbl, "use_typewise_cutoff_zbl": _zbl_factor, "cutoff": _cutoff, "n_max": _n_max,
    "basis_size": _basis_size, "l_max": _l_max, "neuron": _one("neurons", 1, 120),
    **dict.fromkeys(("lambda_1", "lambda_2", "lambda_e", "lambda_f", "lambda_v", "lambda_shear"), _weight),
    "force_delta": _force_delta, "type_weight": _type_weight, "batch": _one("batch", 1, 10_000_000),
    "population": _one("population", 10, 1000), "generation": _one("generations", 1, 10_000_000),
    "output_interval": _one("interval", 1, 1_000_000), "seed": _one("seed", 0, 2**31 - 1), "fine_tune": _fine_tune,
}


def read_nep_in(path: Path) -> NepInput:
    """Read nep.in.

    Raises
    ------
    InputError
        If it cannot be read, or names the first line that has no equivalent.
    """
    found, seen = NepInput(), set()
    for number, words in keyword_lines(path, "nep.in"):
        line = _Line(str(path), number, words)
        if line.keyword in seen:
            raise InputError(f"{path} line {number}: {line.keyword} is given twice; remove one")
        seen.add(line.keyword)
        _take(found, line)
    _require_whole(found, path)
    return found


def _take(found: NepInput, line: _Line) -> None:
    """Note what a line says, or refuse it."""
    if line.keyword in _ONLY:
        value, what = _ONLY[line.keyword]
        if line.values != [str(value)]:
            raise line.error(f"{value}, for only {what} are trained here")
    elif line.keyword in _KEYWORDS:
        _KEYWORDS[line.keyword](found, line)
    elif line.keyword not in _WITHOUT_EFFECT:
        raise line.unknown([*_KEYWORDS, *_ONLY])


def _require_whole(found: NepInput, path: Path) -> None:
    """Refuse what lacks elements or numbers for some of them."""
    if not found.elements:
        raise InputError(f"{path}: expected a line such as 'type 2 Te Pb'; add it")
    counts = {"cutoff": (len(found.cutoffs), (2, 2 * len(found.elements))),
              "type_weight": (len(found.type_weights), (0, len(found.elements)))}
    for name, (count, allowed) in counts.items():
        if count not in allowed:
            raise InputError(f"{path}: {name}: expected {allowed[-1]} numbers for {len(found.elements)} elements, got "
                             f"{count}; correct it")


def job_of_nep_in(path: Path, optimiser: str) -> dict[str, Any]:
    """Table of the train job that a nep.in means.

    Parameters
    ----------
    path : Path
    optimiser : {"gradient", "snes"}

    Raises
    ------
    InputError
        If it cannot be read, train.xyz is not beside it, or it asks for what the optimiser does not have.
    """
    found, folder = read_nep_in(path), path.absolute().parent
    if not (folder / TRAIN_FILE).is_file():
        raise InputError(f"{path}: expected {TRAIN_FILE} beside it, got none; put the training set there")
    dataset: dict[str, Any] = {"train_files": [str(folder / TRAIN_FILE)]}
    if (folder / TEST_FILE).is_file():
        dataset["test_files"] = [str(folder / TEST_FILE)]
    if optimiser == "snes":
        dataset["validation_share"] = 0.0  # as GPUMD: all frames are trained on
    job: dict[str, Any] = {"kind": "train", "title": f"{path.name}: {' '.join(found.elements)}", "dataset": dataset,
                           "model": _model(found)}
    if found.seed is not None:
        job["seed"] = found.seed
    if found.fine_tune:
        job["fine_tune"] = str(folder / found.fine_tune[0])
    job["optimiser"] = _snes(found, folder) if optimiser == "snes" else _gradient(found, path)
    if found.interval is not None and optimiser == "snes":
        job["execution"] = {"look_interval": found.interval}
    return job


def _model(found: NepInput) -> dict[str, Any]:
    common = len(found.cutoffs) == 2
    flags = dict(zip(EXTRA_INVARIANTS, found.l_max[1:], strict=False))
    model: dict[str, Any] = {
        "elements": found.elements,
        "radial_cutoff_A": found.cutoffs[0] if common else found.cutoffs[::2],
        "angular_cutoff_A": found.cutoffs[1] if common else found.cutoffs[1::2],
        "n_max": found.n_max, "basis_size": found.basis_size, "l_max": found.l_max[0],
        "extra_invariants": [name for name, flag in flags.items() if flag], "neurons": found.neurons,
    }
    if found.repulsion is not None:
        model["repulsion_cutoff_A"] = found.repulsion
        if found.repulsion_factor is not None:
            model["repulsion_radius_factor"] = found.repulsion_factor
    return model


def _common(found: NepInput) -> dict[str, Any]:
    return {"element_weights": dict(zip(found.elements, found.type_weights, strict=False))}


def _snes(found: NepInput, folder: Path) -> dict[str, Any]:
    names = {"lambda_1": "l1", "lambda_2": "l2", "lambda_e": "energy_weight", "lambda_f": "force_weight",
             "lambda_v": "virial_weight", "lambda_shear": "shear_weight"}
    table = {"name": "snes", "force_delta_eV_per_A": found.force_delta, **_common(found),
             **{names[name]: value for name, value in found.weights.items()}}
    for name in ("generations", "population", "batch"):
        if getattr(found, name) is not None:
            table[name] = getattr(found, name)
    if len(found.fine_tune) == 2:
        table["restart_file"] = str(folder / found.fine_tune[1])
    return table


def _gradient(found: NepInput, path: Path) -> dict[str, Any]:
    """Weights relative to GPUMD's defaults; its population, generations, batches and regularisation do not apply."""
    if found.force_delta > 0.0 or found.weights.get("lambda_shear", 1.0) != 1.0:
        raise InputError(f"{path}: force_delta and lambda_shear belong to SNES; remove them, or train with "
                         "--optimiser snes")
    own, peer = GradientOptimiser(name="gradient"), SnesOptimiser(name="snes")
    names = {"lambda_e": "energy_weight", "lambda_f": "force_weight", "lambda_v": "virial_weight"}
    weights = {name: getattr(own, name) * found.weights[keyword] / getattr(peer, name)
               for keyword, name in names.items() if keyword in found.weights}
    return {"name": "gradient", **weights, **_common(found)}
