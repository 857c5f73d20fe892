r"""Grueneisen parameters: how frequencies change with strain.

A strain eps moves the atom k at r_k by sum_b eps_ab r_k^b, and within the cell by what forces relax,

    u_k^c = eps_ab (delta_ca r_k^b + X_k^c,ab)        X = - Phi2(q = 0)^-1 sum_j Phi2(i, j) delta_a r_j^b

which changes the second-order force constants, so that

    gamma_s^ab = - 1/(2 w_s^2) <e_s| D^ab |e_s>
    D_ij^ab(q) = (m_i m_j)^(-1/2) sum Phi3(0 i, R j, R' k) u_k^ab exp(2 pi i q . R)

    symbol      is
    gamma^ab    - d ln w / d eps_ab of a mode
    gamma       its trace / 3, - d ln w / d ln V in a cubic crystal
    X           internal strain, zero with clamped ions
    D^ab        derivative of the dynamical matrix by strain, at fixed fractional q

Within groups of degenerate bands all bands get the mean of the group, which does not depend on the eigenvectors chosen.
Born charges are taken as unchanged by strain, and so is their interaction.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import FREQUENCY_THZ, HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean

#: eigenvalues of Phi2(q = 0) below this part of the largest cost nothing
_SOFT = 1e-6
#: of changes of dynamical matrices made at a time
_CHUNK_BYTES = 2**25


def gruneisen_tensors(harmonic: HarmonicCrystal, third: Interactions, phonons: Phonons,
                      clamped: bool = False) -> np.ndarray:
    """Tensors gamma_s^ab from third-order force constants.

    Parameters
    ----------
    third : Interactions
        Of order 3.
    clamped : bool
        Ions keep their fractional positions.

    Returns
    -------
    (N, B, 3, 3) ndarray
        Zero for modes below the cutoff frequency.
    """
    crystal = harmonic.crystal
    response = np.zeros((crystal.n_atoms, 3, 3, 3)) if clamped else internal_strain(crystal, harmonic.second)
    i, j, k = third.atoms.T
    place = ((crystal.positions[k] - crystal.positions[i] + third.vectors[:, 1]) @ crystal.cell)
    moved = response[k].copy()
    for a in range(3):
        moved[:, a, a, :] += place
    n, n_bands = crystal.n_atoms, crystal.n_bands
    values = np.einsum("pxyc,pcs->pxys", third.values, moved.reshape(-1, 3, 9))
    values /= np.sqrt(crystal.masses[i] * crystal.masses[j])[:, None, None, None]
    vectors, which = np.unique(third.vectors[:, 0], axis=0, return_inverse=True)
    blocks = np.zeros((9, len(vectors), n, 3, n, 3))
    np.add.at(blocks.transpose(1, 2, 4, 3, 5, 0), (which.ravel(), i, j), values)
    # force constants from a supercell leave a rest of the sum rule at q = 0, which small w would blow up
    home = int(np.flatnonzero((vectors == 0).all(axis=1))[0])
    atom = np.arange(n)
    blocks[:, home, atom, :, atom] -= blocks.sum(axis=(1, 4)).transpose(1, 0, 2, 3)
    flat = blocks.reshape(9, len(vectors), -1)
    tensors = np.empty((len(phonons.q), n_bands, 3, 3))
    step = max(1, _CHUNK_BYTES // (16 * (n_bands**2 + len(vectors))))
    for start in range(0, len(phonons.q), step):
        some = slice(start, start + step)
        part = phonons.at(some)
        phase = np.exp(2j * np.pi * (part.q @ vectors.T))
        changes = np.stack([_mean_over_groups(part, (phase @ block).reshape(-1, n_bands, n_bands)) for block in flat])
        tensors[some] = _relative(part, changes).transpose(1, 2, 0).reshape(-1, n_bands, 3, 3)
    return tensors


def internal_strain(crystal: Crystal, second: Interactions) -> np.ndarray:
    """X_k^c,ab, how atoms of the cell move with homogeneous strain so that no forces act, (n, 3, 3, 3), A.

    Raises
    ------
    InputError
        If the crystal has other soft directions than translations.
    """
    n = crystal.n_atoms
    i, j = second.atoms.T
    springs, pushes = np.zeros((n, 3, n, 3)), np.zeros((n, 3, 3, 3))
    np.add.at(springs.transpose(0, 2, 1, 3), (i, j), second.values)
    place = (crystal.positions[j] - crystal.positions[i] + second.vectors[:, 0]) @ crystal.cell
    np.add.at(pushes, i, second.values[..., None] * place[:, None, None, :])
    # translations cost nothing, whatever force constants leave of the sum rule
    still = np.eye(3 * n) - np.tile(np.eye(3), (n, n)) / n
    symmetric = springs.reshape(3 * n, -1) + springs.reshape(3 * n, -1).T
    stiffness, directions = np.linalg.eigh(0.5 * still @ symmetric @ still)
    firm = np.abs(stiffness) > _SOFT * np.abs(stiffness).max() if n > 1 else np.zeros(3, dtype=bool)
    if (~firm).sum() != 3:
        raise InputError(f"internal strain: expected three soft directions (translations), got {int((~firm).sum())}; "
                         "relax the crystal")
    inverse = (directions[:, firm] / stiffness[firm]) @ directions[:, firm].T
    return -(inverse @ pushes.reshape(3 * n, 9)).reshape(n, 3, 3, 3)


def gruneisen_from_volumes(phonons: Phonons, smaller: HarmonicCrystal, larger: HarmonicCrystal) -> np.ndarray:
    """Parameters gamma = - d ln w / d ln V from crystals of two volumes around that of the phonons, (N, B).

    The ions of the two crystals are relaxed or not as they were made.
    """
    change = larger.dynamical_matrices(phonons.q) - smaller.dynamical_matrices(phonons.q)
    step = float(np.log(larger.crystal.volume / smaller.crystal.volume))
    parameters: np.ndarray = _relative(phonons, _mean_over_groups(phonons, change / step)[None])[0]
    return parameters


def of_volume(tensors: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Parameters - d ln w / d ln V (of a sheet: d ln A) at unchanged shape, from tensors (..., 3, 3)."""
    across = np.linalg.svd(crystal.cell[list(crystal.periodic)])[2][sum(crystal.periodic):]
    along = np.eye(3) - across.T @ across
    parameters: np.ndarray = np.einsum("...ab,ab->...", tensors, along) / sum(crystal.periodic)
    return parameters


def total_gruneisen(parameters: np.ndarray, heat_capacities: np.ndarray) -> np.ndarray:
    """Mean over modes with their heat capacities, sum C gamma / sum C.

    Parameters
    ----------
    parameters : (N, B) or (N, B, 3, 3) array
    heat_capacities : (T, N, B) array
        Times the weights of the wave vectors, at each temperature; some are not zero.

    Returns
    -------
    (T,) or (T, 3, 3) ndarray
    """
    total = np.tensordot(heat_capacities, parameters, axes=2)
    share: np.ndarray = heat_capacities.sum(axis=(1, 2)).reshape((-1,) + (1,) * (total.ndim - 1))
    return total / share


def thermal_expansion(tensors: np.ndarray, heat_capacities: np.ndarray, volume: float,
                      stiffness: np.ndarray) -> np.ndarray:
    """Linear thermal expansion in the quasi-harmonic approximation, alpha_ab = S_abcd sum C gamma^cd / V.

    Parameters
    ----------
    tensors : (N, B, 3, 3) array
        gamma^ab.
    heat_capacities : (T, N, B) array
        eV/K per cell: times the weights of the wave vectors, of sum one.
    volume : float
        Of the cell, A^3.
    stiffness : (6, 6) array
        Elastic constants in Voigt's order, eV/A^3.

    Returns
    -------
    (T, 3, 3) ndarray
        1/K.
    """
    stress = np.tensordot(heat_capacities, tensors, axes=2) / volume
    first, second = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
    strain = np.linalg.solve(stiffness, (0.5 * (stress + stress.transpose(0, 2, 1)))[:, first, second].T).T
    strain[:, 3:] *= 0.5
    expansion = np.empty((len(strain), 3, 3))
    expansion[:, first, second] = expansion[:, second, first] = strain
    return expansion


def _mean_over_groups(phonons: Phonons, matrices: np.ndarray) -> np.ndarray:
    """<e_s| M |e_s> for matrices (N, B, B), the mean over degenerate bands, (N, B)."""
    e = phonons.eigenvectors
    values = np.einsum("nas,nas->ns", e.conj(), matrices @ e).real
    return degenerate_mean(phonons.frequencies, values[..., None])[..., 0]


def _relative(phonons: Phonons, changes: np.ndarray) -> np.ndarray:
    """- changes of w^2 (C, N, B) over 2 w^2."""
    moving = np.abs(phonons.frequencies) > CUTOFF_FREQUENCY_THZ
    squares = np.where(moving, np.sign(phonons.frequencies) * (phonons.frequencies / FREQUENCY_THZ)**2, 1.0)
    relative: np.ndarray = np.where(moving, -0.5 * changes / squares, 0.0)
    return relative
