r"""Force constants from the forces in displaced supercells.

With d the displacement of atom a and operation g of its site symmetry (rotation R_g),

    Phi(a al; k ga) (R_g d)_al  = -(R_g F)_(g k) ga                                          second order
    Phi(a al; j be; k ga) (R_g d)_al = [R_g DPhi_d R_g^T](g j be; g k ga)                     third order

for all displacements d and operations g, in the least-squares sense. DPhi_d is the change of the second-order force
constants by the displacement; those of the displaced crystal come in the same way from the change of forces by a second
displacement. Other atoms follow by symmetry.

    symbol      is
    a, j, k     atoms of the supercell
    al, be, ga  Cartesian components
    F           forces (less those of the undisplaced supercell), eV/A
"""

from __future__ import annotations

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Supercell
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.displacements import shortest_distances
from hpcthermo.phonons.supercells import SpaceGroup


def second_force_constants(supercell: Supercell, group: SpaceGroup, dataset: DisplacementDataset) -> np.ndarray:
    """Compact second-order force constants (n, N_s, 3, 3), eV/A^2, from the single displacements of a dataset.

    Raises
    ------
    InputError
        If forces are missing, or the displacements do not suffice.
    """
    return _distributed(supercell, group, _second_of_independent(group, dataset))


def third_force_constants(supercell: Supercell, group: SpaceGroup, dataset: DisplacementDataset,
                          cutoff: float | None = None) -> np.ndarray:
    """Compact third-order force constants (n, N_s, N_s, 3, 3, 3), eV/A^3, from single displacements and pairs.

    Parameters
    ----------
    cutoff : float, optional
        Largest distance between any two of three atoms, A; force constants beyond are zero. That with which the
        displacements were made, or a smaller one.

    Raises
    ------
    InputError
        If forces are missing, or the displacements do not suffice.
    """
    n_super = supercell.n_atoms
    second = _distributed(supercell, group, _second_of_independent(group, dataset), np.arange(n_super))
    blocks = {}
    for atom, singles in _by_first_atom(dataset):
        site = group.fixing(atom)
        normal = np.zeros((3, 3))
        total = np.zeros((3, n_super, n_super, 3, 3))
        near = _near(supercell, atom, cutoff)
        for single in singles:
            change = _change_of_second(group, dataset, single, second, near)
            for operation in site:
                rotation = group.cartesian[operation]
                back = np.argsort(group.permutations[operation])
                step = rotation @ dataset.vectors[single, 0]
                normal += np.outer(step, step)
                turned = rotation @ change[np.ix_(back, back)] @ rotation.T
                for component in range(3):
                    total[component] += step[component] * turned
        solved = np.einsum("ab,bjkcd->jkacd", _inverse(normal, atom), total)
        if cutoff is not None:
            solved[~near] = 0.0
            solved[:, ~near] = 0.0
        blocks[atom] = solved
    third = _distributed(supercell, group, blocks)
    if cutoff is not None:
        for j in range(n_super):
            third[:, j, ~_near(supercell, j, cutoff)] = 0.0
    return third


def _near(supercell: Supercell, atom: int, cutoff: float | None) -> np.ndarray:
    if cutoff is None:
        return np.ones(supercell.n_atoms, dtype=bool)
    return shortest_distances(supercell, atom) <= cutoff


def _by_first_atom(dataset: DisplacementDataset) -> list[tuple[int, np.ndarray]]:
    """Cells with one displaced atom, by that atom."""
    if dataset.forces is None:
        raise InputError("force constants: expected displaced supercells with forces, got none; calculate the forces")
    single = np.flatnonzero((dataset.atoms[:, 1:] < 0).all(axis=1))
    return [(int(atom), single[dataset.atoms[single, 0] == atom]) for atom in np.unique(dataset.atoms[single, 0])]


def _second_of_independent(group: SpaceGroup, dataset: DisplacementDataset) -> dict[int, np.ndarray]:
    """Second-order force constants (N_s, 3, 3) of each displaced atom with all others."""
    blocks = {}
    for atom, singles in _by_first_atom(dataset):
        assert dataset.forces is not None
        normal, total = np.zeros((3, 3)), np.zeros((dataset.forces.shape[1], 3, 3))
        for operation in group.fixing(atom):
            rotation = group.cartesian[operation]
            steps = dataset.vectors[singles, 0] @ rotation.T
            forces = dataset.forces[singles][:, np.argsort(group.permutations[operation])] @ rotation.T
            normal += steps.T @ steps
            total -= np.einsum("sa,skc->kac", steps, forces)
        blocks[atom] = _inverse(normal, atom) @ total
    return blocks


def _change_of_second(group: SpaceGroup, dataset: DisplacementDataset, single: int, second: np.ndarray,
                      near: np.ndarray) -> np.ndarray:
    """Change (N_s, N_s, 3, 3) of the second-order force constants by a displacement; rows of far atoms are zero."""
    assert dataset.forces is not None
    atom, step = dataset.atoms[single, 0], dataset.vectors[single, 0]
    pairs = np.flatnonzero((dataset.atoms[:, 0] == atom) & (dataset.atoms[:, 1:] >= 0).any(axis=1)
                           & (np.abs(dataset.vectors[:, 0] - step).max(axis=1) < 1e-6))
    others = dataset.atoms[pairs, 1]
    forces = dataset.forces[pairs] - dataset.forces[single]
    site = group.fixing(atom)
    kept = site[np.abs(group.cartesian[site] @ step - step).max(axis=1) < 1e-6 * np.linalg.norm(step)]
    n_super = len(near)
    normal = np.zeros((n_super, 3, 3))
    total = np.zeros((n_super, n_super, 3, 3))
    for operation in kept:
        rotation, permutation = group.cartesian[operation], group.permutations[operation]
        steps = dataset.vectors[pairs, 1] @ rotation.T
        turned = forces[:, np.argsort(permutation)] @ rotation.T
        rows = permutation[others]
        np.add.at(normal, rows, steps[:, :, None] * steps[:, None, :])
        for pair, row in enumerate(rows):
            total[row] -= steps[pair, None, :, None] * turned[pair, :, None, :]
    for row in np.flatnonzero(near):
        total[row] = _inverse(normal[row], int(row)) @ total[row] - second[row]
    total[~near] = 0.0
    return total


def _inverse(normal: np.ndarray, atom: int) -> np.ndarray:
    """Inverse of sum d d^T over displacements, which must span space."""
    if np.linalg.matrix_rank(normal / max(np.trace(normal), 1e-300), tol=1e-6) < 3:
        raise InputError(f"displacements: expected some that span space for atom {atom + 1} of the supercell with its "
                         "symmetry, got too few; generate displacements for this supercell, with a cutoff that is not "
                         "smaller")
    return np.asarray(np.linalg.inv(normal))


def _distributed(supercell: Supercell, group: SpaceGroup, blocks: dict[int, np.ndarray],
                 targets: np.ndarray | None = None) -> np.ndarray:
    """Force constants whose first atom is one of the targets (those of the primitive cell), from others.

    The targets are the atoms of the primitive cell unless given; operations of the space group lead to them.
    """
    targets = supercell.origin_of if targets is None else targets
    known = np.array(sorted(blocks))
    missing = [int(atom) for atom in targets if not (group.permutations[:, known] == atom).any()]
    if missing:
        raise InputError(f"displacements: expected one of an atom equivalent to atom {missing[0] + 1} of the "
                         "supercell, got none; generate displacements for this supercell")
    shape = blocks[int(known[0])].shape
    found = np.empty((len(targets), *shape))
    for index, target in enumerate(targets):
        atom, operation = group.taking(known, int(target))
        found[index] = transformed(blocks[atom], group.cartesian[operation], np.argsort(group.permutations[operation]))
    return found


def transformed(block: np.ndarray, rotation: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Force constants of a given first atom, (N_s, ..., 3, 3, ...) after an operation.

    Parameters
    ----------
    rotation : (3, 3) ndarray
        Cartesian.
    back : (N_s,) ndarray of int
        Atom that the operation brings to each place.
    """
    n_legs = (block.ndim - 1) // 2  # atoms after the first
    turned = block[np.ix_(*[back] * n_legs)]
    for axis in range(n_legs, block.ndim):
        turned = np.moveaxis(np.tensordot(turned, rotation, axes=(axis, 1)), -1, axis)
    return turned
