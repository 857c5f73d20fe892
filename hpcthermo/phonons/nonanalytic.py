r"""Dipole-dipole interactions of an insulator: what they add to the dynamical matrix.

Atoms that move carry dipoles, whose interaction reaches beyond any supercell. In reciprocal space it is a sum over
K = q + G,

    D_ia,jb(q) = (m_i m_j)^(-1/2) A sum_G (K Z_i)_a (K Z_j)_b h(K) exp(2 pi i K . (tau_i - tau_j)) - delta_ij drift_i,ab

    crystal      A = 4 pi k_e / V      h(K) = exp(-K eps K / 4 Lambda^2) / (K eps K)
    sheet        A = 2 pi k_e / S      h(K) = 2 pi exp(-K^2 / 4 Lambda^2) / (|K| + 2 pi K r K)

of which the part that the supercell's force constants hold already is taken out of them: "gonze", after X. Gonze and
C. Lee, Phys. Rev. B 55, 10355 (1997), with the cutoffs that phonopy uses, so that frequencies are the same. In a
crystal the term K = 0 depends on the direction from which q comes to zero. In a sheet it vanishes, and LO and TO split
linearly in |q|: T. Sohier et al., Nano Lett. 17, 3758 (2017). r = (eps - 1) c / 2 is the screening length of a sheet
whose cell has the height c; K lies in the plane; the environment is vacuum.

"wang": Y. Wang et al., J. Phys.: Condens. Matter 22, 202201 (2010), spreads the limit q -> 0 evenly over the supercell,

    D_ia,jb(q) = (m_i m_j)^(-1/2) A (q Z_i)_a (q Z_j)_b / (q eps q) s_ij(q)        s_ij = mean of exp(2 pi i q . R)

    symbol    is
    Z_i       Born effective charges; rows field, columns displacement; e
    eps       dielectric tensor without the part of the ions
    K         wave vector without 2 pi, 1/A
    Lambda    range of the sum, 1/A
    k_e       e^2/(4 pi eps_0), eV A
    V, S      volume of the cell; area of a sheet's
    drift     what makes the acoustic sum rule hold, sum over j of D_ij(0)
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.interactions import Interactions

#: number of reciprocal lattice vectors in the sum; sets the sphere |G| < G_max together with the cell
N_TERMS = 300
#: the same for sheets, in the disc
N_TERMS_SHEET = 60
#: the damping factor at the edge of the sphere
DAMPING = 1e-10
#: wave vectors at a time, so that the terms stay in the cache
_CHUNK = 64
#: shorter wave vectors count as zero, 1/A
GAMMA_TOLERANCE = 1e-5
#: elements xx, yy, zz, yz, xz, xy
_ROW, _COLUMN = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])


@dataclass(frozen=True)
class NonAnalytic:
    """What the non-analytic correction needs.

    Attributes
    ----------
    response : DielectricResponse
        Born charges, dielectric tensor; that of a sheet as found for its cell with the vacuum in it.
    supercell : Supercell
        In which the force constants were found.
    method : "gonze" or "wang"
    """

    response: DielectricResponse
    supercell: Supercell
    method: Literal["gonze", "wang"] = "gonze"

    def __post_init__(self) -> None:
        n = self.supercell.crystal.n_atoms
        born, dielectric = self.response.born, self.response.dielectric
        if born.shape != (n, 3, 3) or dielectric.shape != (3, 3):
            raise InputError(f"non-analytic correction: expected Born charges of the shape {(n, 3, 3)} and a "
                             f"dielectric tensor of (3, 3), got {born.shape} and {dielectric.shape}; give one "
                             "tensor for each atom of the primitive cell")
        if not np.isfinite(born).all() or not np.linalg.eigvalsh(dielectric + dielectric.T).min() > 0:
            raise InputError("non-analytic correction: expected finite Born charges and a positive definite dielectric "
                             f"tensor, got {born.tolist()} and {dielectric.tolist()}")

    def dipoles(self) -> Dipoles:
        """The interaction of the dipoles by the method asked for."""
        return SpreadLimit(self) if self.method == "wang" else DipoleDipole(self)


class Dipoles(ABC):
    """An interaction of dipoles, beside force constants.

    Parameters
    ----------
    nonanalytic : NonAnalytic
    """

    def __init__(self, nonanalytic: NonAnalytic) -> None:
        self.supercell, self.response = nonanalytic.supercell, nonanalytic.response
        self.crystal = nonanalytic.supercell.crystal

    @abstractmethod
    def short_range(self, second: Interactions) -> Interactions:
        """Force constants without what this interaction contributes to them in the supercell."""

    @abstractmethod
    def dynamical_matrices(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """What is added to D(q), (N, B, B), eV/(A^2 amu); `direction` (3,) fractional is that of q -> 0."""

    @abstractmethod
    def slopes(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """Slopes of that in the gauge of `HarmonicCrystal.slopes`, (3, N, B, B), eV/(A amu)."""


class _Kernel(Protocol):
    """h(K) of a crystal or of a sheet."""

    points: np.ndarray
    prefactor: float

    def values(self, k: np.ndarray) -> np.ndarray:
        """The values at wave vectors (..., 3), none of them zero."""

    def slopes(self, k: np.ndarray, h: np.ndarray) -> np.ndarray:
        """dh/dK, (..., 3), where the values are h."""

    def limit(self, direction: np.ndarray) -> np.ndarray:
        """K_a K_b h(K) for K -> 0 along directions (N, 3): (N, 3, 3)."""


class _Bulk:
    def __init__(self, crystal: Crystal, response: DielectricResponse) -> None:
        self.dielectric = response.dielectric
        self.prefactor = 4.0 * np.pi * response.factor / crystal.volume
        radius = (3.0 * N_TERMS / (4.0 * np.pi * crystal.volume)) ** (1.0 / 3.0)
        self.points = _lattice_points(crystal.reciprocal, radius)
        self.inverse_width = -np.log(DAMPING) / (radius**2 * np.trace(response.dielectric) / 3.0)

    def values(self, k: np.ndarray) -> np.ndarray:
        s = np.einsum("...a,...a->...", k @ self.dielectric, k)
        damped: np.ndarray = np.exp(-s * self.inverse_width) / s
        return damped

    def slopes(self, k: np.ndarray, h: np.ndarray) -> np.ndarray:
        screened = k @ self.dielectric
        s = np.einsum("...a,...a->...", screened, k)
        slopes: np.ndarray = -2.0 * (h * (1.0 / s + self.inverse_width))[..., None] * screened
        return slopes

    def limit(self, direction: np.ndarray) -> np.ndarray:
        s = np.einsum("na,ab,nb->n", direction, self.dielectric, direction)
        tensor: np.ndarray = direction[:, :, None] * direction[:, None, :] / s[:, None, None]
        return tensor


class _Sheet:
    def __init__(self, crystal: Crystal, response: DielectricResponse) -> None:
        along = [a for a in range(3) if crystal.periodic[a]]
        normal = crystal.cell[crystal.periodic.index(False)]
        if len(along) != 2 or np.abs(crystal.cell[along] @ normal).max() > 1e-6 * np.linalg.norm(normal):
            raise InputError("non-analytic correction: expected a crystal, or a sheet with the lattice vector of its "
                             f"vacuum along its normal, got periodic = {crystal.periodic} and the cell "
                             f"{crystal.cell.tolist()}")
        height = float(np.linalg.norm(normal))
        area = crystal.volume / height
        plane = np.eye(3) - np.outer(normal, normal) / height**2
        self.screening = plane @ (response.dielectric - np.eye(3)) @ plane * height / 2.0
        self.prefactor = 2.0 * np.pi * response.factor / area
        radius = (N_TERMS_SHEET / (np.pi * area)) ** 0.5
        self.points = _lattice_points(crystal.reciprocal[along], radius)
        self.inverse_width = -np.log(DAMPING) / radius**2

    def values(self, k: np.ndarray) -> np.ndarray:
        square = np.einsum("...a,...a->...", k, k)
        screened = np.sqrt(square) + 2.0 * np.pi * np.einsum("...a,...a->...", k @ self.screening, k)
        damped: np.ndarray = 2.0 * np.pi * np.exp(-square * self.inverse_width) / screened
        return damped

    def slopes(self, k: np.ndarray, h: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(k, axis=-1)[..., None]
        along = k @ self.screening
        screened = length + 2.0 * np.pi * np.einsum("...a,...a->...", along, k)[..., None]
        slopes: np.ndarray = -h[..., None] * ((k / length + 4.0 * np.pi * along) / screened
                                              + 2.0 * self.inverse_width * k)
        return slopes

    def limit(self, direction: np.ndarray) -> np.ndarray:
        return np.zeros((len(direction), 3, 3))


class DipoleDipole(Dipoles):
    """The sum over reciprocal lattice vectors, for crystals and for sheets."""

    def __init__(self, nonanalytic: NonAnalytic) -> None:
        super().__init__(nonanalytic)
        crystal = self.crystal
        kind = _Bulk if all(crystal.periodic) else _Sheet
        self._kernel: _Kernel = kind(crystal, self.response)
        self._first, self._second = np.triu_indices(crystal.n_atoms)
        self._apart = crystal.positions[self._first] - crystal.positions[self._second]
        phase = np.exp(2j * np.pi * (self._kernel.points @ crystal.cell.T @ self._apart.T))
        self._phase = np.concatenate([phase.real, phase.imag], axis=1)
        # (Z_i)_ax (Z_j)_by for the six elements ab, by pair: (pairs, 6, 9)
        weight = self._kernel.prefactor / np.sqrt(crystal.masses[self._first] * crystal.masses[self._second])
        born = self.response.born
        both = np.einsum("pax,pby,p->pabxy", born[self._first], born[self._second], weight)
        both = (both + both.transpose(0, 2, 1, 3, 4))[:, _ROW, _COLUMN]
        both[:, :3] *= 0.5
        self._charges = both.reshape(-1, 6, 9)
        self._drift = np.zeros((crystal.n_bands, crystal.n_bands))
        at_zero = self.dynamical_matrices(np.zeros((1, 3)))[0].reshape(crystal.n_atoms, 3, crystal.n_atoms, 3)
        root = np.sqrt(crystal.masses)
        total = np.einsum("iajb,j->iab", at_zero.real, root) / root[:, None, None]
        for i, tensor in enumerate(total):
            self._drift[3 * i:3 * i + 3, 3 * i:3 * i + 3] = 0.5 * (tensor + tensor.T)

    def short_range(self, second: Interactions) -> Interactions:
        """Without its values at the wave vectors that the supercell holds."""
        crystal, supercell = self.crystal, self.supercell
        q = commensurate_points(supercell)
        root = np.sqrt(np.repeat(crystal.masses, 3))
        matrices = self.dynamical_matrices(q) * root[:, None] * root
        blocks = matrices.reshape(len(q), crystal.n_atoms, 3, crystal.n_atoms, 3).transpose(1, 3, 0, 2, 4)
        _, vectors = supercell.images
        values = np.empty((crystal.n_atoms, supercell.n_atoms, 3, 3))
        for i in range(crystal.n_atoms):
            phase = np.exp(-2j * np.pi * (vectors[i, :, 0] @ q.T)) / len(q)
            for j in range(crystal.n_atoms):
                members = supercell.atom_of == j
                values[i, members] = np.einsum("Jq,qab->Jab", phase[members], blocks[i, j]).real
        ours = Interactions.second(supercell, values)
        return Interactions.merged(np.concatenate([second.atoms, ours.atoms]),
                                   np.concatenate([second.vectors, ours.vectors]),
                                   np.concatenate([second.values, -ours.values]))

    def dynamical_matrices(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """The sum less its drift."""
        return np.concatenate([self._dynamical_matrices(q[i:i + _CHUNK], direction) for i in range(0, len(q), _CHUNK)])

    def slopes(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """Those of the sum; the term K = 0, which has none, is left out."""
        return np.concatenate([self._slopes(q[i:i + _CHUNK]) for i in range(0, len(q), _CHUNK)], axis=1)

    def _dynamical_matrices(self, q: np.ndarray, direction: np.ndarray | None) -> np.ndarray:
        q, k, zero = self._wave_vectors(q)
        h = self._kernel.values(k)
        h[:, 0][zero] = 0.0
        terms = np.empty((6, *h.shape))
        for ab, (a, b) in enumerate(zip(_ROW, _COLUMN, strict=True)):
            np.multiply(k[..., a], h, out=terms[ab])
            terms[ab] *= k[..., b]
        sums = (terms.reshape(-1, h.shape[1]) @ self._phase).reshape(6, len(q), -1)
        if direction is not None and zero.any():
            along = np.broadcast_to(direction @ self.crystal.reciprocal, (int(zero.sum()), 3))
            sums[:, zero, :len(self._first)] += self._kernel.limit(along)[:, _ROW, _COLUMN].T[..., None]
        matrices: np.ndarray = self._assemble(q, sums[None])[0] - self._drift
        return matrices

    def _slopes(self, q: np.ndarray) -> np.ndarray:
        q, k, zero = self._wave_vectors(q)
        h = self._kernel.values(k)
        gradient = self._kernel.slopes(k, h)
        h[:, 0][zero] = 0.0
        gradient[:, 0][zero] = 0.0
        terms = np.empty((3, 6, *h.shape))
        for c in range(3):
            for ab, (a, b) in enumerate(zip(_ROW, _COLUMN, strict=True)):
                np.multiply(k[..., a] * k[..., b], gradient[..., c], out=terms[c, ab])
                if a == c:
                    terms[c, ab] += k[..., b] * h
                if b == c:
                    terms[c, ab] += k[..., a] * h
        sums = (terms.reshape(-1, h.shape[1]) @ self._phase).reshape(3, 6, len(q), -1)
        return self._assemble(q, sums) / (2.0 * np.pi)

    def _wave_vectors(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First-zone q, K (N, G, 3) with G = 0 first, and which q are zero; their K = 0 is replaced."""
        q = _nearest_to_zero(q, self.crystal)
        k = (q @ self.crystal.reciprocal)[:, None, :] + self._kernel.points
        if not all(self.crystal.periodic):
            k -= (q * np.logical_not(self.crystal.periodic) @ self.crystal.reciprocal)[:, None, :]
        zero = np.linalg.norm(k[:, 0], axis=1) < GAMMA_TOLERANCE
        k[:, 0][zero] = 1.0
        return q, k, zero

    def _assemble(self, q: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Matrices (C, N, B, B) from sums over G (C, 6, N, real and imaginary parts of pairs)."""
        n, pairs = self.crystal.n_atoms, len(self._first)
        components, _, points, _ = sums.shape
        phase = np.exp(2j * np.pi * (q @ self._apart.T))
        values = (sums[..., :pairs] + 1j * sums[..., pairs:]) * phase
        blocks = np.matmul(values.transpose(3, 0, 2, 1).reshape(pairs, -1, 6), self._charges)
        blocks = blocks.reshape(pairs, components, points, 3, 3)
        matrices = np.empty((components, points, n, 3, n, 3), dtype=complex)
        matrices.transpose(2, 4, 0, 1, 3, 5)[self._first, self._second] = blocks
        off = self._first != self._second
        matrices.transpose(2, 4, 0, 1, 3, 5)[self._second[off], self._first[off]] = (
            blocks[off].conj().transpose(0, 1, 2, 4, 3))
        return matrices.reshape(components, points, 3 * n, 3 * n)


class SpreadLimit(Dipoles):
    """The limit q -> 0 spread over the supercell."""

    def __init__(self, nonanalytic: NonAnalytic) -> None:
        super().__init__(nonanalytic)
        crystal = self.crystal
        if not all(crystal.periodic):
            raise InputError('non-analytic correction: expected method "gonze" for a sheet, got "wang"')
        root = np.sqrt(crystal.masses)
        prefactor = 4.0 * np.pi * self.response.factor / crystal.volume
        self._charges = self.response.born * (np.sqrt(prefactor) / root)[:, None, None]
        counts, images = self.supercell.images
        first, other, image = np.nonzero(np.arange(images.shape[2]) < counts[:, :, None])
        self._vectors, which = np.unique(images[first, other, image], axis=0, return_inverse=True)
        n = crystal.n_atoms
        self._shares = np.zeros((len(self._vectors), n, n))
        copies = self.supercell.n_atoms / n
        np.add.at(self._shares, (which.ravel(), first, self.supercell.atom_of[other]),
                  1.0 / (copies * counts[first, other]))

    def short_range(self, second: Interactions) -> Interactions:
        """Nothing is taken out."""
        return second

    def dynamical_matrices(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """The limit along q, by the mean phase of each pair."""
        q, polar, _, _ = self._polarization(q, direction)
        shares = np.repeat(np.repeat(self._mean_phase(q), 3, axis=1), 3, axis=2)
        matrices: np.ndarray = polar[:, :, None] * polar[:, None, :] * shares
        return matrices

    def slopes(self, q: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """Those of the spread limit; at q = 0, where it has none, they are left out."""
        crystal = self.crystal
        q, polar, k, zero = self._polarization(q, direction)
        square = np.einsum("na,ab,nb->n", k, self.response.dielectric, k)
        # d/dK_c of (K Z_i)_a / (K eps K)^(1/2)
        bent = (self._charges.transpose(1, 0, 2).reshape(3, 1, -1) / np.sqrt(square)[:, None]
                - ((k @ self.response.dielectric).T / square)[:, :, None] * polar) / (2.0 * np.pi)
        bent[:, zero] = 0.0
        outer = bent[..., :, None] * polar[:, None, :] + polar[:, :, None] * bent[..., None, :]
        shares = np.repeat(np.repeat(self._mean_phase(q), 3, axis=1), 3, axis=2)
        apart = (crystal.positions[None, :] - crystal.positions[:, None]) @ crystal.cell
        moved = np.stack([1j * self._mean_phase(q, self._shares * (
            (self._vectors @ crystal.cell)[:, None, None, c] + apart[..., c])) for c in range(3)])
        moved = np.repeat(np.repeat(moved, 3, axis=2), 3, axis=3)
        slopes: np.ndarray = outer * shares + polar[:, :, None] * polar[:, None, :] * moved
        return slopes

    def _polarization(self, q: np.ndarray, direction: np.ndarray | None,
                      ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First-zone q, (K Z_i)_a / (K eps K)^(1/2) with weights (N, B), K, and which q are zero."""
        q = _nearest_to_zero(q, self.crystal)
        k = q @ self.crystal.reciprocal
        zero = np.linalg.norm(k, axis=1) < GAMMA_TOLERANCE
        k[zero] = 1.0 if direction is None else direction @ self.crystal.reciprocal
        square = np.einsum("na,ab,nb->n", k, self.response.dielectric, k)
        polar = np.einsum("nc,ica->nia", k, self._charges).reshape(len(q), -1) / np.sqrt(square)[:, None]
        if direction is None:
            polar[zero] = 0.0
        return q, polar, k, zero

    def _mean_phase(self, q: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        n = self.crystal.n_atoms
        weights = (self._shares if weights is None else weights).reshape(-1, n * n)
        angle = 2.0 * np.pi * (q @ self._vectors.T)
        return (np.cos(angle) @ weights + 1j * (np.sin(angle) @ weights)).reshape(-1, n, n)


def commensurate_points(supercell: Supercell) -> np.ndarray:
    """Wave vectors that a supercell holds, (N_c, 3) fractional."""
    ratio = np.rint(supercell.cell @ np.linalg.inv(supercell.crystal.cell)).astype(int)
    size = abs(round(float(np.linalg.det(ratio))))
    # columns of size * ratio^-1 are integers and generate the points, modulo size
    steps = np.rint(size * np.linalg.inv(ratio)).astype(int).T % size
    points = np.zeros((1, 3), dtype=int)
    for step in steps:
        order = size // int(np.gcd.reduce([size, *step]))
        points = np.unique(((points[:, None] + np.arange(order)[:, None] * step) % size).reshape(-1, 3), axis=0)
    return points / size


def _lattice_points(vectors: np.ndarray, radius: float) -> np.ndarray:
    """Integer combinations of rows that are shorter than the radius; zero first."""
    dual = np.linalg.pinv(vectors)
    reach = np.ceil(radius * np.linalg.norm(dual, axis=0)).astype(int)
    whole = np.array(list(itertools.product(*(range(-m, m + 1) for m in reach))))
    points = whole @ vectors
    length = np.linalg.norm(points, axis=1)
    chosen: np.ndarray = points[np.argsort(length, kind="stable")][:int((length < radius).sum())]
    return chosen


def _nearest_to_zero(q: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Equivalent wave vectors in the first Brillouin zone."""
    q = q - np.rint(q)
    shifts = np.array([(0, 0, 0), *(s for s in itertools.product((-1, 0, 1), repeat=3) if any(s))])
    square = np.stack([np.square((q + shift) @ crystal.reciprocal).sum(axis=1) for shift in shifts])
    # at the zone boundary the first of equals, so that rounding does not decide
    best = np.argmax(square < square.min(axis=0) + 1e-9, axis=0)
    nearest: np.ndarray = q + shifts[best]
    # in skew cells a nearer one lies farther off in units of the given vectors
    shortest = crystal.shortest_wave_vectors(nearest)[1][:, 0]
    nearer = np.square(shortest @ crystal.reciprocal).sum(axis=1) < square.min(axis=0) - 1e-9
    nearest[nearer] = shortest[nearer]
    return nearest
