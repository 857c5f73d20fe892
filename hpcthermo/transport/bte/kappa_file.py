"""kappa-m*.hdf5 as phono3py writes it, so that its tools (phono3py-kaccum and others) read our results.

    dataset                     holds
    temperature                 (n_T,), K
    frequency                   (I, B), THz, at irreducible points
    gamma, gamma_isotope        (n_T, I, B), (I, B), half widths at half maximum, THz; gamma of phonons alone, four
                                phonons included
    gamma_three_phonon          (n_T, I, B), THz, the part of three phonons, where there is one of four
    group_velocity              (I, B, 3), THz A
    gv_by_gv                    (I, B, 6), sums of v v over the star, (THz A)^2
    heat_capacity               (n_T, I, B), eV/K
    mode_kappa, kappa           (n_T, I, B, 6), (n_T, 6), W/(m K); kappa is the sum of mode_kappa over N
    kappa_RTA, mode_kappa_RTA   the relaxation-time approximation, where kappa is of the full equation
    qpoint, weight, grid_point  (I, 3), (I,), (I,): fractional, sizes of the stars, indices
    mesh, version, kappa_unit_conversion

Six components are xx, yy, zz, yz, xz, xy. kappa_unit_conversion takes heat_capacity * gv_by_gv / (2 gamma) to
mode_kappa. Everything refers to the volume of the cell, also for sheets: phono3py knows no thickness.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from hpcthermo.results import replaced_file, versions
from hpcthermo.transport.bte.conductivity import COMPONENTS, Conductivity, heat_capacities, star_mean
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.units import CONDUCTIVITY_W_PER_M_K

_ROWS, _COLUMNS = np.array(list(COMPONENTS.values())).T


def kappa_file_name(mesh: Mesh) -> str:
    """kappa-m111111.hdf5, as phono3py calls it."""
    return "kappa-m" + "".join(str(count) for count in _divisions(mesh).ravel()) + ".hdf5"


def _divisions(mesh: Mesh) -> np.ndarray:
    """Three divisions of a plain mesh, or the matrix of another."""
    diagonal = np.diag(mesh.matrix)
    return diagonal if (mesh.matrix == np.diag(diagonal)).all() else mesh.matrix


def write_kappa_file(path: Path, mesh: Mesh, rta: Conductivity, gamma: np.ndarray,
                     gamma_isotope: np.ndarray | None = None, full: Conductivity | None = None,
                     boundary_length_A: float | None = None, gamma_four_phonon: np.ndarray | None = None) -> None:
    """Write kappa-m*.hdf5, whole or not at all.

    Parameters
    ----------
    path : Path
        `kappa_file_name` is the name that phono3py expects.
    rta : Conductivity
        In the relaxation-time approximation.
    gamma : (I, n_T, B) array
        Of scattering between three phonons, THz.
    gamma_isotope : (I, B) array, optional
        THz.
    full : Conductivity, optional
        Of the full Boltzmann equation.
    boundary_length_A : float, optional
        Of boundary scattering.
    gamma_four_phonon : (I, n_T, B) array, optional
        THz.

    Raises
    ------
    ResourceError
        If the disk refuses.
    """
    points, weights = mesh.irreducible
    parts = {} if gamma_four_phonon is None else {"gamma_three_phonon": gamma.transpose(1, 0, 2)}
    gamma = gamma if gamma_four_phonon is None else gamma + gamma_four_phonon
    products = star_mean(mesh, rta.velocities[..., :, None] * rta.velocities[..., None, :])
    with replaced_file(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in {
            "temperature": rta.temperatures, "frequency": rta.frequencies, "gamma": gamma.transpose(1, 0, 2),
            "group_velocity": rta.velocities, "gv_by_gv": weights[:, None, None] * _six(products),
            "heat_capacity": heat_capacities(rta.frequencies, rta.temperatures), "qpoint": mesh.q[points],
            "weight": weights.astype(np.int64), "grid_point": points.astype(np.int64),
            "mesh": _divisions(mesh),
            "kappa_unit_conversion": CONDUCTIVITY_W_PER_M_K / mesh.crystal.volume / (2.0 * np.pi),
            "version": f"hpcthermo {versions()['hpcthermo']}", **_kappa(rta, "_RTA" if full is not None else ""),
            **({} if full is None else _kappa(full, "")), **parts,
            **({} if gamma_isotope is None else {"gamma_isotope": gamma_isotope}),
            **({} if boundary_length_A is None else {"boundary_mfp": boundary_length_A * 1e-4}),
        }.items():
            file[name] = values


def _kappa(found: Conductivity, suffix: str) -> dict[str, np.ndarray]:
    scale = 1.0 if found.thickness is None else found.thickness.scale
    modes = found.weights[:, None, None] * _six(found.modes) / scale
    return {f"kappa{suffix}": _six(found.kappa) / scale, f"mode_kappa{suffix}": modes}


def _six(tensors: np.ndarray) -> np.ndarray:
    return np.asarray(tensors[..., _ROWS, _COLUMNS])
