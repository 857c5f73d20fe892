"""D3(BJ) dispersion through the library of PyPI's ``dftd3`` (LGPL-3), to be added to any potential in an overlay.

E = -1/2 sum_ij [s6 C6_ij / (r^6 + f^6) + s8 C8_ij / (r^8 + f^8)] with f = a1 sqrt(C8/C6) + a2; C6_ij depends on the
coordination numbers of i and j (S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 132, 154104 (2010);
S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011)). No three-body term.

========= ============================================= ==========================
symbol    meaning                                       here
========= ============================================= ==========================
r_p       cutoff of pairs                               ``cutoff_A``
r_c       cutoff of coordination numbers                ``coordination_cutoff_A``
          pairs fade out over the last 2 A before r_p   ``FADE_A``
========= ============================================= ==========================

The library's cutoffs (60 and 40 bohr) are longer than most bricks, so the whole system is computed on one rank unless
cutoffs are stated. Then an atom's force knows pairs (i, k) whose coordination numbers it changes: it is within r_c of
i, k within r_p of i, and k's neighbours within r_c of k, which makes a halo of r_p + 2 r_c.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree
from scipy.spatial import cKDTree

from hpcthermo.errors import InputError
from hpcthermo.potentials.base import Limits
from hpcthermo.potentials.site_model import SiteResult, calculator_failures

#: the library's own cutoffs, A
LIBRARY_CUTOFFS = (60.0 * Bohr, 40.0 * Bohr)
#: width over which pairs fade out before a stated cutoff, so that energy is conserved, A
FADE_A = 2.0
#: largest system whose truncation error is computed; beyond, it is bounded
_MOST_COMPARED = 1000
#: distance at which C6 is read off a pair of free atoms: damping and C8 no longer count, A
_FAR_APART = 25.0
_HEAVIEST = 94


class DispersionModel:
    """D3(BJ) as a `hpcthermo.potentials.site_model.SiteModel`.

    Parameters
    ----------
    method : str
        Functional whose damping parameters are taken.
    cutoff, coordination_cutoff : float, optional
        r_p and r_c, A; None for the library's own, without decomposition.

    Raises
    ------
    InputError
        If the method is unknown or only one cutoff is given.
    """

    partial_forces = False
    smallest_height = 0.0
    elements = tuple(chemical_symbols[1:_HEAVIEST + 1])

    def __init__(self, method: str, cutoff: float | None = None, coordination_cutoff: float | None = None) -> None:
        from dftd3.interface import RationalDampingParam

        self.source = f"D3(BJ)-{method}"
        try:
            self._damping = RationalDampingParam(method=method, atm=False)
        except Exception as error:  # the library raises its own kinds
            raise InputError(f"potential.method: no D3(BJ) parameters for {method!r} ({' '.join(str(error).split())}); "
                             "give a functional such as pbe, revpbe or b3lyp") from error
        self.halo: float | None = None
        self._cutoffs: tuple[float, float] | None = None
        if (cutoff is None) != (coordination_cutoff is None):
            raise InputError("potential: D3 is truncated by cutoff_A (pairs) and coordination_cutoff_A (coordination "
                             "numbers); give both, or neither for the whole system on one rank")
        if cutoff is not None and coordination_cutoff is not None:
            self._cutoffs = (cutoff, coordination_cutoff)
            self.halo = cutoff + 2.0 * coordination_cutoff
        self.limits = self._limits()

    def _limits(self) -> Limits:
        sites = (f"{self.source}: the library gives no per-atom virials; use a method without heat currents "
                 "(differences of bath energies)")
        if self.halo is None:
            return Limits(f"{self.source} with the library's cutoffs ({LIBRARY_CUTOFFS[0]:.1f} A) is not decomposed; "
                          "run on one rank, or state cutoff_A and coordination_cutoff_A", None, sites)
        return Limits(None, f"{self.source}: the library gives the virial of a whole cell, not the share of a rank; "
                      "leave cutoff_A and coordination_cutoff_A out (one rank), or keep the cell fixed", sites)

    def evaluate(self, atoms: Atoms, n_owned: int, virials: bool) -> SiteResult:
        """As in `SiteModel`; site energies are half of the pair energies."""
        with calculator_failures(self.source, len(atoms)):
            model = self._model(atoms, self._cutoffs)
            result = model.get_dispersion(self._damping, grad=True)
            pairs = model.get_pairwise_dispersion(self._damping)["additive pairwise energy"]
        # the library's matrix holds each pair twice, so that it adds up to the energy
        energies = np.asarray(pairs)[:n_owned].sum(axis=1) * Hartree
        forces = -np.asarray(result["gradient"])[:n_owned] * (Hartree / Bohr)
        virial = None if self.halo is not None else -np.asarray(result["virial"]) * Hartree
        return SiteResult(energies, forces, None, virial)

    def _model(self, atoms: Atoms, cutoffs: tuple[float, float] | None) -> Any:
        from dftd3.interface import DispersionModel as Library

        periodic = atoms.pbc if atoms.pbc.any() else None
        lattice = None if periodic is None else atoms.cell.complete().array / Bohr
        model = Library(atoms.numbers, atoms.positions / Bohr, lattice, periodic)
        if cutoffs is not None:
            # the three-body cutoff has no effect without that term
            model.set_realspace_cutoff(cutoffs[0] / Bohr, cutoffs[0] / Bohr, cutoffs[1] / Bohr, FADE_A / Bohr)
        return model

    def describe_truncation(self, atoms: Atoms) -> str | None:
        """One line about what the stated cutoffs leave out in this structure; None without them.

        Small systems are computed with the library's cutoffs too. For others the energy is bounded by the tail of a
        solid as dense as the densest place of the structure, with the largest C6 of its free atoms:
        |dE| / N < 2 pi n s6 C6 / (3 r^3), r where pairs begin to fade out.
        """
        if self._cutoffs is None:
            return None
        stated = f"{self.source} with cutoffs {self._cutoffs[0]:g} A (pairs), {self._cutoffs[1]:g} A (coordination)"
        if len(atoms) > _MOST_COMPARED:
            bound = 1e3 * self._tail_bound(atoms)
            return f"{stated} leaves out less than {bound:.3g} meV/atom (bound of the pair tail)"
        cut, full = (self._model(atoms, cutoffs).get_dispersion(self._damping, grad=True)
                     for cutoffs in (self._cutoffs, None))
        energy = (float(cut["energy"]) - float(full["energy"])) * Hartree / len(atoms)
        force = float(np.abs(np.asarray(cut["gradient"]) - np.asarray(full["gradient"])).max()) * Hartree / Bohr
        return (f"{stated} differs from the library's cutoffs in this structure by {1e3 * energy:.3g} meV/atom and at "
                f"most {force:.3g} eV/A")

    def _tail_bound(self, atoms: Atoms) -> float:
        assert self._cutoffs is not None
        radius = 5.0
        tree = cKDTree(atoms.positions)
        most = max(len(near) for near in tree.query_ball_point(atoms.positions, radius))
        density = most / (4.0 / 3.0 * np.pi * radius**3)
        species = np.unique(atoms.numbers)
        largest = 0.0
        for a in species:
            for b in species:
                pair = Atoms([a, b], [[0.0, 0.0, 0.0], [_FAR_APART, 0.0, 0.0]])
                energy = float(self._model(pair, None).get_dispersion(self._damping, grad=False)["energy"]) * Hartree
                largest = max(largest, -energy * _FAR_APART**6)
        return float(2.0 * np.pi * density * largest / (3.0 * (self._cutoffs[0] - FADE_A) ** 3))
