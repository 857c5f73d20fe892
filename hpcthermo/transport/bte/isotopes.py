r"""Scattering by isotopes (S. Tamura, Phys. Rev. B 27, 858 (1983), eq. 23).

    1/tau_s(q) = (pi / 2 N) w^2 sum_q' sum_s' sum_i g_i |e_i(qs)^* . e_i(q's')|^2 delta(w - w')

    g_i = sum_k c_k (1 - m_k/m_i)^2        m_i = sum_k c_k m_k

    symbol   is
    e_i      the three components of an eigenvector on atom i
    c_k, m_k share and mass of isotope k of the element
    g_i      mass variance

The sum over q' s' touches e_i(qs) from outside only. So it is done once per frequency, as the local density of states
of each atom, a 3 x 3 tensor, and not once per pair of modes:

    gamma = (pi/4) f^2 sum_i g_i e_i^dagger G_i(f) e_i
    G_i(f) = (1/N) sum_q' sum_s' Re[e_i e_i^dagger] delta(f - f')

with gamma the half width at half maximum, THz. (G_i is real, as -q has the complex conjugate eigenvectors.) Means over
degenerate bands are taken on both sides, so gamma does not depend on the choice of eigenvectors.

The delta is by linear tetrahedra or a Gaussian, in jobs what the three-phonon processes have. An adaptive Gaussian has
the width of the mode at q' s', whose frequency alone varies under the sum.

Shares of natural isotopes: de Laeter et al., Pure Appl. Chem. 75, 683 (2003), as tabulated by phonopy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.harmonic import Phonons
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, degenerate_mean
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.surfaces import surface_integrals


def natural_mass_variances(symbols: tuple[str, ...]) -> np.ndarray:
    """Mass variances g (n,) of elements with natural isotopes.

    Raises
    ------
    InputError
        If an element has no natural isotopes in the table.
    """
    from phonopy.structure.atomic_data import get_atomic_data

    table = get_atomic_data().isotope_data
    variances = []
    for symbol in symbols:
        isotopes = table.get(symbol)
        if not isotopes:
            raise InputError(f"isotopes: expected an element with natural isotopes, got {symbol}; give "
                             f"bte.mass_variances = {{ {symbol} = ... }}, or isotopes = false")
        masses, shares = np.array(isotopes)[:, 1], np.array(isotopes)[:, 2]
        mean = shares @ masses / shares.sum()
        variances.append(float(shares @ (1.0 - masses / mean) ** 2))
    return np.array(variances)


def mass_variances_of(symbols: tuple[str, ...], given: Mapping[str, float]) -> np.ndarray:
    """Mass variances g (n,) of atoms: those that are given for their elements, natural ones of the others.

    Raises
    ------
    InputError
        If an element is given that is not there, or one that is not given has no natural isotopes.
    """
    absent = sorted(set(given) - set(symbols))
    if absent:
        raise InputError(f"bte.mass_variances: expected elements of the crystal ({', '.join(sorted(set(symbols)))}), "
                         f"got {', '.join(absent)}; remove it")
    natural = {symbol: float(natural_mass_variances((symbol,))[0]) for symbol in set(symbols) - set(given)}
    return np.array([{**natural, **given}[symbol] for symbol in symbols])


def isotope_linewidths(mesh: Mesh, phonons: Phonons, mass_variances: np.ndarray,
                       sigma: float | np.ndarray | None = None) -> np.ndarray:
    """Linewidths gamma (I, B) of the modes at irreducible points, THz.

    Parameters
    ----------
    phonons : Phonons
        On the whole mesh.
    mass_variances : (n,) array
        g of each atom.
    sigma : float or (N, B) array, optional
        Width of a Gaussian, or of one for each mode q' s', THz, in place of tetrahedra.
    """
    frequencies = phonons.frequencies
    n = len(mass_variances)
    components = phonons.eigenvectors.reshape(mesh.n_points, n, 3, -1).transpose(0, 3, 1, 2)
    active = frequencies > CUTOFF_FREQUENCY_THZ
    local = np.einsum("qsia,qsib->qsiab", components, components.conj()).real * active[:, :, None, None, None]
    local = degenerate_mean(frequencies, local.reshape(mesh.n_points, -1, 9 * n))
    points = mesh.irreducible[0]
    targets, which = np.unique(frequencies[points], return_inverse=True)
    density = surface_integrals(mesh, frequencies, local, targets, sigma)[which.ravel()]
    each = (len(points), -1, n, 9)
    seen = np.einsum("isnx,isnx,n->is", local[points].reshape(each), density.reshape(each), mass_variances)
    gamma = 0.25 * np.pi * frequencies[points] ** 2 * seen * active[points]
    return degenerate_mean(frequencies[points], gamma[..., None])[..., 0]
