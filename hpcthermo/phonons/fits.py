r"""Force constants fitted to forces in supercells with random displacements.

An alternative to finite differences where these need too many supercells. symfc (Seko and Togo, Phys. Rev. B 110,
214302 (2024)) solves the least-squares problem in a basis that obeys the space group, permutations and acoustic sum
rules. Some cells are held out of the fit, and

    F_J,al = - sum_K Phi(J al; K be) u_K,be - (1/2) sum_KL Phi(J al; K be; L ga) u_K,be u_L,ga - ...

is compared with the forces there.

    symbol   is
    u, F     displacements and forces (less those of the undisplaced supercell) of the supercell
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.projection import Translations
from hpcthermo.phonons.supercells import SpaceGroup, phonopy_atoms


@dataclass(frozen=True)
class Fit:
    """Fitted force constants and how well they predict.

    Attributes
    ----------
    force_constants : dict of int to ndarray
        Compact, by order, eV/A^n.
    fit_error, held_out_error : float
        Root-mean-square error of the forces in the cells of the fit and in those held out, eV/A.
    held_out_force : float
        Root-mean-square force in the cells held out, eV/A; neither is a number if no cell is.
    n_parameters : int
        Free parameters of the fit.
    """

    force_constants: dict[int, np.ndarray]
    fit_error: float
    held_out_error: float
    held_out_force: float
    n_parameters: int


def random_displacements(supercell: Supercell, n_cells: int, distance: float, seed: int) -> DisplacementDataset:
    """Cells in which every atom is displaced by the same distance (A) in a random direction."""
    vectors = np.random.Generator(np.random.Philox(seed)).normal(size=(n_cells, supercell.n_atoms, 3))
    vectors *= distance / np.linalg.norm(vectors, axis=2, keepdims=True)
    return DisplacementDataset(np.tile(np.arange(supercell.n_atoms), (n_cells, 1)), vectors)


def fitted(supercell: Supercell, group: SpaceGroup, dataset: DisplacementDataset, max_order: int = 3,
           cutoffs: dict[int, float] | None = None, held_out: float = 0.1) -> Fit:
    """Fit force constants of orders 2 to 3 or 4.

    Parameters
    ----------
    cutoffs : dict of int to float, optional
        Largest distance (A) of two atoms, by order.
    held_out : float
        Share of the cells, the last ones, kept for the error; at least one, unless it is 0.

    Raises
    ------
    InputError
        If forces are missing, or there are too few cells to fit and to test.
    """
    from symfc import Symfc
    from symfc.utils.utils import SymfcAtoms

    if dataset.forces is None:
        raise InputError("fit: expected displaced supercells with forces, got none; calculate the forces")
    displacements = dataset.dense(supercell.n_atoms)
    n_test = max(1, round(held_out * dataset.n_cells)) if held_out > 0.0 else 0
    n_fit = dataset.n_cells - n_test
    cell = phonopy_atoms(supercell)
    orders = list(range(2, max_order + 1))
    solver = Symfc(SymfcAtoms(numbers=cell.numbers, scaled_positions=supercell.positions, cell=supercell.cell),
                   cutoff=dict(cutoffs) if cutoffs else None)
    solver.displacements, solver.forces = displacements[:n_fit], dataset.forces[:n_fit]
    solver.compute_basis_set(orders=orders)
    n_parameters = sum(int(solver.basis_set[order].basis_set.shape[1]) for order in orders)
    if n_fit * 3 * supercell.n_atoms < n_parameters:
        needed = math.ceil(n_parameters / (3 * supercell.n_atoms)) + n_test
        raise InputError(f"fit: expected at least {needed} cells for {n_parameters} parameters, got {dataset.n_cells}; "
                         "calculate more, or give cutoffs")
    solver.solve(orders=orders, is_compact_fc=True)
    translations = Translations(supercell, group)
    found = {order: _by_our_origins(supercell, translations, solver.force_constants[order], solver.p2s_map)
             for order in orders}
    errors = predicted_forces(supercell, translations, found, displacements) - dataset.forces
    return Fit(found, _rms(errors[:n_fit]), _rms(errors[n_fit:]), _rms(dataset.forces[n_fit:]), n_parameters)


def predicted_forces(supercell: Supercell, translations: Translations, force_constants: dict[int, np.ndarray],
                     displacements: np.ndarray) -> np.ndarray:
    """Forces (C, N_s, 3), eV/A, by the Taylor series at displacements (C, N_s, 3), A."""
    forces = np.zeros_like(displacements)
    for atom in range(supercell.n_atoms):
        # displacements as seen when this atom is moved to the origin
        seen = displacements[:, np.argsort(translations.moved[atom])]
        for order, values in force_constants.items():
            block: Any = values[supercell.atom_of[atom]]
            # the last leg for all cells at once, the others cell by cell
            product = np.einsum(block, [*range(order - 1), *range(10, 10 + order)],
                                seen, [30, order - 2, 9 + order],
                                [30, *range(order - 2), *range(10, 9 + order)])
            for legs in range(order - 2, 0, -1):
                product = np.einsum(product, [30, *range(legs), *range(10, 11 + legs)], seen, [30, legs - 1, 10 + legs],
                                    [30, *range(legs - 1), *range(10, 10 + legs)])
            forces[:, atom] -= product / math.factorial(order - 1)
    return forces


def _by_our_origins(supercell: Supercell, translations: Translations, values: np.ndarray,
                    first_atoms: np.ndarray) -> np.ndarray:
    """Compact force constants whose rows stand for other atoms of the supercell, with our atoms as rows."""
    found = np.empty_like(values)
    for row, atom in zip(values, first_atoms, strict=True):
        back = np.argsort(translations.moved[atom])
        found[supercell.atom_of[atom]] = row[np.ix_(*[back] * (values.ndim // 2 - 1))]
    return found


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else np.nan
