"""Copies of a structure along its cell vectors."""

from __future__ import annotations

import itertools

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.structure.limits import MAXIMUM_ATOMS


def repeat_snapshot(snapshot: Snapshot, repeat: tuple[int, int, int]) -> Snapshot:
    """The structure copied ``repeat`` times along a, b and c.

    Layers keep their numbers along a and b; along c the copies of a layered structure continue the count.

    Raises
    ------
    InputError
        For more than `MAXIMUM_ATOMS` atoms, or copies along an axis without a cell vector.
    """
    if repeat == (1, 1, 1):
        return snapshot
    copies = int(np.prod(repeat, dtype=np.int64))
    if copies * snapshot.n_atoms > MAXIMUM_ATOMS:
        raise InputError(f"structure.repeat: {copies * snapshot.n_atoms} atoms asked for, limit {MAXIMUM_ATOMS}; "
                         "reduce repeat")
    for axis, count in enumerate(repeat):
        if count > 1 and not snapshot.cell[axis].any():
            raise InputError(f"structure.repeat: {count} copies along {'abc'[axis]}, but the structure has no cell "
                             "vector there; give one or use 1")
    shifts = np.array(list(itertools.product(*(range(count) for count in repeat))))
    layers = snapshot.layers
    if layers.min() >= 0:
        layers = (layers + shifts[:, 2:] * (int(layers.max()) + 1)).ravel()
    else:
        layers = np.tile(layers, copies)
    return Snapshot.create(
        snapshot.cell * np.array(repeat)[:, None], snapshot.periodic, snapshot.species, snapshot.masses,
        (snapshot.positions + (shifts @ snapshot.cell)[:, None, :]).reshape(-1, 3),
        np.tile(snapshot.types, copies), layers=layers, groups=np.tile(snapshot.groups, copies),
        velocities=np.tile(snapshot.velocities, (copies, 1)),
    )
