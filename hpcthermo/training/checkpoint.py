"""The state of gradient training as plain arrays, for files."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from hpcthermo.training.lbfgs import Pairs
from hpcthermo.training.train import TrainingState


def state_arrays(state: TrainingState) -> dict[str, np.ndarray]:
    """Every field by its dotted name; those that are None are left out."""
    return _arrays(state, "")


def _arrays(state: Any, path: str) -> dict[str, np.ndarray]:
    if isinstance(state, Pairs):
        steps, changes = state.arrays()
        return {f"{path}steps": steps, f"{path}changes": changes}
    found: dict[str, np.ndarray] = {}
    for single in fields(state):
        value = getattr(state, single.name)
        if is_dataclass(value):
            found |= _arrays(value, f"{path}{single.name}.")
        elif value is not None:
            found[f"{path}{single.name}"] = np.array(value)
    return found


def restored_state(template: TrainingState, arrays: dict[str, np.ndarray]) -> TrainingState:
    """The state that `state_arrays` was given.

    Parameters
    ----------
    template : TrainingState
        Of the same training, at its beginning.
    arrays : dict
    """
    restored: TrainingState = _restored(template, arrays, "")
    return restored


def _restored(template: Any, arrays: dict[str, np.ndarray], path: str) -> Any:
    if isinstance(template, Pairs):
        return Pairs(template.most, arrays[f"{path}steps"], arrays[f"{path}changes"])
    values: dict[str, Any] = {}
    for single in fields(template):
        name, before = f"{path}{single.name}", getattr(template, single.name)
        if is_dataclass(before):
            values[single.name] = _restored(before, arrays, f"{name}.")
        elif name not in arrays:
            values[single.name] = None
        elif isinstance(before, tuple):
            values[single.name] = tuple(arrays[name].tolist())
        else:
            found = arrays[name]
            values[single.name] = found.item() if found.ndim == 0 else found
    return replace(template, **values)
