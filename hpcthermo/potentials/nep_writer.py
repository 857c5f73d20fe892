"""Write nep.txt, which GPUMD and `nep_file.read_nep_file` read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcthermo.potentials.nep_file import EXTRA_INVARIANTS, NepModel
from hpcthermo.potentials.zbl import UNIVERSAL_PHI
from hpcthermo.results import write_text

#: what the l_max line says of an invariant that is on; GPUMD writes the degree for the first
_SWITCHED_ON = {"222": "2"}


def write_nep_file(path: str | Path, model: NepModel, most_neighbors: tuple[int, int]) -> None:
    """Write a model; numbers have the digits that give the same float64 back.

    Parameters
    ----------
    path : str or Path
    model : NepModel
        A network of its own for each type (NEP3 models are written so); a bias of its own for each type makes it NEP5.
    most_neighbors : (radial, angular) int
        Largest numbers of neighbours of an atom in the training set, by which GPUMD sizes its lists.

    Raises
    ------
    ResourceError
        If the disk refuses.
    """
    text = "\n".join([*_header(model, most_neighbors), *(repr(number) for number in _numbers(model).tolist())]) + "\n"
    write_text(text, Path(path))


def _own_biases(model: NepModel) -> bool:
    return bool(np.any(model.output_biases != model.output_biases[0]))


def _header(model: NepModel, most_neighbors: tuple[int, int]) -> list[str]:
    kind = ("nep5" if _own_biases(model) else "nep4") + ("" if model.screening is None else "_zbl")
    lines = [f"{kind} {len(model.elements)} {' '.join(model.elements)}"]
    if model.screening is not None:
        common = _common_screening(model.screening)
        lines.append("zbl 0 0" if common is None else f"zbl {common[0]!r} {common[1]!r}")
    pairs = np.stack([model.radial_cutoffs, model.angular_cutoffs], axis=1)
    if np.all(pairs == pairs[0]):
        pairs = pairs[:1]
    n_radial, k_radial = model.radial_coefficients.shape[:2]
    n_angular, k_angular = model.angular_coefficients.shape[:2]
    flags = [_SWITCHED_ON.get(name, "1") if name in model.extra_invariants else "0" for name in EXTRA_INVARIANTS]
    while len(flags) > 2 and flags[-1] == "0":
        flags.pop()
    return [*lines,
            f"cutoff {' '.join(map(repr, pairs.ravel().tolist()))} {most_neighbors[0]} {most_neighbors[1]}",
            f"n_max {n_radial - 1} {n_angular - 1}", f"basis_size {k_radial - 1} {k_angular - 1}",
            f"l_max {model.l_max} {' '.join(flags)}", f"ANN {model.neuron_biases.shape[1]} 0"]


def _common_screening(screening: np.ndarray) -> tuple[float, float] | None:
    """Cutoffs of all pairs if they are the same and the screening is the universal one."""
    same = np.all(screening[..., 2:4] == screening[0, 0, 2:4]) and np.all(screening[..., 4:] == UNIVERSAL_PHI)
    return (float(screening[0, 0, 2]), float(screening[0, 0, 3])) if same else None


def _numbers(model: NepModel) -> np.ndarray:
    parts: list[np.ndarray] = []
    own = _own_biases(model)
    common = float(model.output_biases[0])
    for t in range(len(model.elements)):
        parts += [model.input_weights[t].ravel(), model.neuron_biases[t], model.output_weights[t]]
        if own:
            parts.append(model.output_biases[t : t + 1] - common)
    parts += [np.array([common]), model.radial_coefficients.ravel(), model.angular_coefficients.ravel(), model.scaler]
    if model.screening is not None and _common_screening(model.screening) is None:
        parts += [model.screening[i, j, 2:] for i in range(len(model.elements)) for j in range(i, len(model.elements))]
    return np.concatenate(parts)
