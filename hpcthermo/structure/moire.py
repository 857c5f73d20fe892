"""Repeats of aligned lattices found from their lattice constants.

Layers of lattice constants a_1, a_2, ... fit into one cell if integers n_i exist with n_1 a_1 = n_2 a_2 = ... up to a
small strain. For two nearly equal constants this is the moire period: n_1 = n_2 + 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcthermo.errors import InputError

#: mismatch that the search accepts: 2.46 A and 2.504 A meet as 56:55 with 0.029 %
DEFAULT_MISMATCH = 5e-4
_MOST_CELLS = 5000


def moire_repeats(lattice_constants: Sequence[float], maximum_mismatch: float = DEFAULT_MISMATCH) -> tuple[int, ...]:
    """Smallest repeats of aligned lattices whose lengths agree.

    Parameters
    ----------
    lattice_constants : sequence of float
        A.
    maximum_mismatch : float
        Largest relative difference of the longest and the shortest repeated length.

    Returns
    -------
    tuple of int
        One for each lattice.

    Raises
    ------
    InputError
        If no cell of up to 5000 repeats is that good; names the best one.
    """
    constants = np.asarray(lattice_constants, dtype=np.float64)
    first = np.arange(1, _MOST_CELLS + 1)
    repeats = np.maximum(1, np.rint(first[:, None] * constants[0] / constants)).astype(np.int64)
    lengths = repeats * constants
    mismatch = lengths.max(axis=1) / lengths.min(axis=1) - 1.0
    good = np.flatnonzero(mismatch <= maximum_mismatch)
    if not len(good):
        best = int(np.argmin(mismatch))
        raise InputError(
            f"structure.maximum_mismatch_percent: no repeats up to {_MOST_CELLS} of the lattice constants "
            f"{', '.join(f'{a:g}' for a in constants)} A agree to {100 * maximum_mismatch:g} %; the best are "
            f"{':'.join(map(str, repeats[best]))} with {100 * mismatch[best]:.2g} %; allow that, or give repeat")
    return tuple(int(n) for n in repeats[good[0]])
