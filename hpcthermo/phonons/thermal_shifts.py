r"""How thermal motion changes frequencies, in first order of the fourth and second order of the third force constants.

Atoms that move by <u u> see springs that differ by

    loop      dPhi(0 i, R j) = 1/2 sum_(k m R' R'') Phi4(0 i, R j, R' k, R'' m) : <u_k(R') u_m(R'')>
    tadpole   dPhi(0 i, R j) = sum_(k R') Phi3(0 i, R j, R' k) . x_k,        sum_j Phi2_ij(q = 0) x_j = f_i
              f_i = - 1/2 sum_(j k R R') Phi3(0 i, R j, R' k) : <u_j(R) u_k(R')>

where x is the mean displacement of the atoms against each other at a fixed cell (thermal expansion is not in it), and

    df_l = <e_l| dD |e_l> / 2 f_l        <u_i(0) u_j(R)> = 1/N sum_(q s) (2 n + 1) U_i* U_j exp(2 pi i q . R)

In reciprocal space the loop is dw_l = 1/(2 hbar) sum_l' Phi4(l, -l, l', -l') (2 n' + 1), a sum over all pairs of modes;
here it costs no more than the list of force constants and a dynamical matrix. The third contribution of the same order,
the bubble, is no change of springs: it depends on frequency.

    symbol   is
    U_i      (hbar / 2 m_i w)^(1/2) e_i, A
    n        Bose-Einstein occupations
    x        mean displacement, A; the centre of mass at rest

Reference: A. A. Maradudin, A. E. Fein, Phys. Rev. 128, 2589 (1962), equations 5.3 ff.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import FREQUENCY_THZ, HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean, occupations
from hpcthermo.units import REDUCED_PLANCK, TIME_FS


def thermal_covariance(crystal: Crystal, phonons: Phonons, temperature: float, atoms: np.ndarray,
                       vectors: np.ndarray) -> np.ndarray:
    """<u_i(0) u_j(R)> of pairs of atoms, A^2.

    Parameters
    ----------
    phonons : Phonons
        On all points of a mesh that holds -q for every q.
    temperature : float
        K; zero for zero-point motion.
    atoms : (P, 2) array of int
        i, j.
    vectors : (P, 3) array of int
        R.

    Returns
    -------
    (P, 3, 3) ndarray
        Modes below the cutoff frequency left out.
    """
    f = phonons.frequencies
    active = f > CUTOFF_FREQUENCY_THZ
    n = occupations(f, np.array([temperature]))[0] if temperature > 0.0 else np.zeros_like(f)
    omega = 2.0 * np.pi * np.where(active, f, 1.0) * (1e-3 * TIME_FS)
    squares = np.where(active, (2.0 * n + 1.0) * 0.5 * REDUCED_PLANCK / omega, 0.0) / len(f)
    e = phonons.eigenvectors
    at_q = ((e.conj() * squares[:, None, :]) @ e.transpose(0, 2, 1)).reshape(len(f), -1)
    distinct, which = np.unique(vectors, axis=0, return_inverse=True)
    angle = 2.0 * np.pi * (distinct @ phonons.q.T)
    in_space = np.cos(angle) @ at_q.real - np.sin(angle) @ at_q.imag
    in_space = in_space.reshape(-1, crystal.n_atoms, 3, crystal.n_atoms, 3)
    weight = 1.0 / np.sqrt(crystal.masses[atoms[:, 0]] * crystal.masses[atoms[:, 1]])
    covariance: np.ndarray = in_space[which.ravel(), atoms[:, 0], :, atoms[:, 1]] * weight[:, None, None]
    return covariance


def loop_springs(crystal: Crystal, phonons: Phonons, fourth: Interactions, temperature: float) -> Interactions:
    """Change of the second-order force constants by Phi4 : <u u> / 2, eV/A^2; arguments as of `thermal_covariance`."""
    covariance = thermal_covariance(crystal, phonons, temperature, fourth.atoms[:, 2:],
                                    fourth.vectors[:, 2] - fourth.vectors[:, 1])
    values = 0.5 * np.einsum("pabcd,pcd->pab", fourth.values, covariance)
    return Interactions.merged(fourth.atoms[:, :2], fourth.vectors[:, :1], values)


def mean_displacements(harmonic: HarmonicCrystal, phonons: Phonons, third: Interactions,
                       temperature: float) -> np.ndarray:
    """Mean displacements x of the atoms of the primitive cell at a fixed cell, (n, 3), A."""
    crystal = harmonic.crystal
    covariance = thermal_covariance(crystal, phonons, temperature, third.atoms[:, 1:],
                                    third.vectors[:, 1] - third.vectors[:, 0])
    force = np.zeros((crystal.n_atoms, 3))
    np.add.at(force, third.atoms[:, 0], -0.5 * np.einsum("pabc,pbc->pa", third.values, covariance))
    root = np.sqrt(np.repeat(crystal.masses, 3))
    # motions against each other: those orthogonal to the three translations, with masses
    translations = np.tile(np.eye(3), (crystal.n_atoms, 1)) * root[:, None]
    inner = np.linalg.qr(translations, mode="complete")[0][:, 3:]
    matrix = harmonic.dynamical_matrices(np.zeros((1, 3)))[0].real
    values, motions = np.linalg.eigh(inner.T @ matrix @ inner)
    stiff = FREQUENCY_THZ**2 * values > CUTOFF_FREQUENCY_THZ**2  # parts that do not feel each other stay where they are
    motions = inner @ motions[:, stiff]
    solved = motions @ (motions.T @ (force.ravel() / root) / values[stiff])
    displaced: np.ndarray = (solved / root).reshape(-1, 3)
    return displaced


def tadpole_springs(harmonic: HarmonicCrystal, phonons: Phonons, third: Interactions,
                    temperature: float) -> Interactions:
    """Change of the second-order force constants by the mean displacements, eV/A^2."""
    moved = mean_displacements(harmonic, phonons, third, temperature)
    values = np.einsum("pabc,pc->pab", third.values, moved[third.atoms[:, 2]])
    return Interactions.merged(third.atoms[:, :2], third.vectors[:, :1], values)


def frequency_changes(crystal: Crystal, phonons: Phonons, springs: Interactions) -> np.ndarray:
    """Changes of frequencies in first order of a change of the second-order force constants.

    Parameters
    ----------
    phonons : Phonons
        At any wave vectors (N, 3).
    springs : Interactions
        Of order 2, eV/A^2.

    Returns
    -------
    (N, B) ndarray
        THz; means over degenerate bands, zero below the cutoff frequency.
    """
    f, e = phonons.frequencies, phonons.eigenvectors
    matrices = HarmonicCrystal(crystal, springs).dynamical_matrices(phonons.q)
    squares = FREQUENCY_THZ**2 * np.einsum("qas,qab,qbs->qs", e.conj(), matrices, e, optimize=True).real
    squares = degenerate_mean(f, squares[..., None])[..., 0]
    active = f > CUTOFF_FREQUENCY_THZ
    changes: np.ndarray = np.where(active, squares / (2.0 * np.where(active, f, 1.0)), 0.0)
    return changes
