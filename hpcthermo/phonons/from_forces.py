"""Force constants of displaced supercells whose forces are at hand, by the way the displacements were made.

One or two atoms displaced in each supercell: finite differences and the nearest array that obeys the exact symmetries.
All atoms displaced: least squares in a basis that obeys them (symfc; Seko and Togo, Phys. Rev. B 110, 214302 (2024)).
"""

from __future__ import annotations

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.lattice_dynamics import SupercellForceConstants

#: displacements of this many atoms at most are finite differences
FEW = 2


def force_constants_of(dataset: DisplacementDataset, supercell: Supercell,
                       orders: tuple[int, ...]) -> dict[int, SupercellForceConstants]:
    """Compact force constants of the orders that are asked for, 2 and 3.

    Raises
    ------
    InputError
        If forces are missing or the displacements do not suffice.
    """
    if dataset.forces is None:
        raise InputError("forces: expected those of the displaced supercells, got displacements only; compute them")
    if dataset.atoms.shape[1] > FEW:
        return _fitted(dataset, supercell, orders)
    from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
    from hpcthermo.phonons.projection import projected
    from hpcthermo.phonons.supercells import SpaceGroup

    group = SpaceGroup.of(supercell)
    solve = {2: second_force_constants, 3: third_force_constants}
    solved = {order: solve[order](supercell, group, dataset) for order in orders}
    return {order: SupercellForceConstants(supercell, projected(supercell, group, values))
            for order, values in solved.items()}


def _fitted(dataset: DisplacementDataset, supercell: Supercell,
            orders: tuple[int, ...]) -> dict[int, SupercellForceConstants]:
    from hpcthermo.phonons.fits import fitted
    from hpcthermo.phonons.supercells import SpaceGroup

    try:
        fit = fitted(supercell, SpaceGroup.of(supercell), dataset, max(orders), held_out=0.0)
    except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"forces: expected enough displaced supercells for order {max(orders)}, got {dataset.n_cells} "
                         f"({str(error).splitlines()[0][:80]}); add more") from None
    return {order: SupercellForceConstants(supercell, fit.force_constants[order]) for order in orders}
