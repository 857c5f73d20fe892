r"""Irreducible triplets of wave vectors.

Three-phonon processes of a mode at q_0 need all triplets with q_0 + q_1 + q_2 = G. Four symmetries make them few:

    the point group with time reversal  only irreducible q_0 are needed
    the little group of q_0             maps (q_1, q_2) onto equivalent pairs
    exchange of q_1 and q_2             the strength and the weights are the same
    exchange of q_0 with q_1 or q_2     the strength is the same; it counts for linewidths at all three legs

So each triplet is kept once, at the leg whose irreducible point comes first, with up to three *deposits*: the
irreducible point that a leg belongs to, and how many triplets of that point are equivalent to this one.

    symbol   is
    T        triplets kept for one q_0
    I        irreducible points of the mesh
    marked   a triplet and one of its points; legs with equivalent marks share one deposit

Multiplicities follow from counting: with |O| unordered triplets in the orbit, k points of each in equivalent marks and
s orders of the other two (1 if they are one point, else 2), the triplets of one irreducible point of a star of |star|
points number m = |O| k s / |star|; so m of each leg follows from that of leg 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.transport.bte.mesh import Mesh


@dataclass(frozen=True)
class Triplets:
    """Irreducible triplets with one first point.

    Attributes
    ----------
    point0 : int
        Index of q_0, an irreducible point.
    point1, point2 : (T,) ndarray of int32
        Indices of q_1 (ascending) and q_2.
    slots : (T, 3) ndarray of int32
        For each leg the irreducible point (0 .. I - 1) that gets the deposit; -1 for none.
    multiplicities : (T, 3) ndarray
        Equivalent triplets of that irreducible point.
    """

    point0: int
    point1: np.ndarray
    point2: np.ndarray
    slots: np.ndarray
    multiplicities: np.ndarray

    def __len__(self) -> int:
        return len(self.point1)

    def part(self, begin: int, end: int) -> Triplets:
        """Triplets [begin, end)."""
        return Triplets(self.point0, self.point1[begin:end], self.point2[begin:end], self.slots[begin:end],
                        self.multiplicities[begin:end])


@dataclass(frozen=True)
class TripletSymmetry:
    """What of a mesh's symmetry the triplets need, found once.

    Attributes
    ----------
    mesh : Mesh
    permute : bool
        Use the exchange of all three legs. Without it each triplet has one deposit, at leg 0.
    """

    mesh: Mesh
    permute: bool = True

    @cached_property
    def _stars(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Irreducible points, sizes of stars, irreducible point of each point, rotation onto it."""
        points, sizes = self.mesh.irreducible
        slot_of = np.searchsorted(points, self.mesh.representative).astype(np.int32)
        return points, sizes, slot_of, self.mesh.to_representative

    @property
    def n_irreducible(self) -> int:
        """I."""
        return len(self._stars[0])

    def partner(self, point0: int) -> np.ndarray:
        """Index of -q_0 - q_1 for every q_1, (N,)."""
        d1, d2, d3 = (int(d) for d in self.mesh.divisions)
        a1, a2, a3 = ((-int(own) - np.arange(d)) % d
                      for own, d in zip(self.mesh.addresses[point0], (d1, d2, d3), strict=True))
        index: np.ndarray = (a1 + d1 * (a2[:, None] + d2 * a3[:, None, None])).ravel()
        return index

    def of(self, slot: int) -> Triplets:
        """Irreducible triplets kept at an irreducible point."""
        points, sizes, slot_of, onto = self._stars
        permutations = self.mesh.permutations
        q0 = int(points[slot])
        partner = self.partner(q0)
        by_little_group = permutations[0].copy()
        for g in np.flatnonzero(permutations[:, q0] == q0):
            np.minimum(by_little_group, permutations[g], out=by_little_group)
        label = np.minimum(by_little_group, by_little_group[partner])
        count = np.bincount(label, minlength=len(label))
        q1 = np.flatnonzero(count)
        if self.permute:
            q1 = q1[(slot_of[q1] >= slot) & (slot_of[partner[q1]] >= slot)]
        q2 = partner[q1]
        if not self.permute:
            slots = np.full((len(q1), 3), -1, dtype=np.int32)
            slots[:, 0] = slot
            shares = count[q1, None] * np.array([1.0, 0.0, 0.0])
            return Triplets(q0, q1.astype(np.int32), q2.astype(np.int32), slots, shares)

        # the marked triplet of legs 1 and 2, where they belong to the star of q_0: rotate them onto q_0
        nowhere = len(label)
        mark1 = np.where(slot_of[q1] == slot, label[permutations[onto[q1], q2]], nowhere)
        mark2 = np.where(slot_of[q2] == slot, label[permutations[onto[q2], q1]], nowhere)
        kept = np.flatnonzero((mark1 >= q1) & (mark2 >= q1))
        q1, q2, mark1, mark2 = q1[kept], q2[kept], mark1[kept], mark2[kept]
        same01, same02 = mark1 == q1, mark2 == q1
        same12 = (slot_of[q1] == slot_of[q2]) & np.where(slot_of[q1] == slot, mark1 == mark2,
                                                          by_little_group[q1] == by_little_group[q2])
        equal01, equal02, equal12 = q1 == q0, q2 == q0, q1 == q2
        # k: different points among the legs of equivalent marks; s: orders of the other two legs
        k0 = 1 + (same01 & ~equal01) + (same02 & ~equal02 & ~(same01 & equal12))
        k1 = 1 + (same01 & ~equal01) + (same12 & ~equal12 & ~(same01 & equal02))
        k2 = 1 + (same02 & ~equal02) + (same12 & ~equal12 & ~(same02 & equal01))
        s0, s1, s2 = 2 - equal12, 2 - equal02, 2 - equal01
        per_star = count[q1] * sizes[slot] / (k0 * s0)
        slots = np.stack([np.full_like(q1, slot), np.where(same01, -1, slot_of[q1]),
                          np.where(same02 | same12, -1, slot_of[q2])], axis=1)
        shares = np.stack([count[q1], per_star * k1 * s1 / sizes[slot_of[q1]],
                           per_star * k2 * s2 / sizes[slot_of[q2]]], axis=1)
        return Triplets(q0, q1.astype(np.int32), q2.astype(np.int32), slots.astype(np.int32),
                        np.where(slots < 0, 0.0, shares))


def count_triplets(mesh: Mesh) -> int:
    r"""How many triplets are kept for all irreducible points together, without finding them.

    They are the orbits of (q_0, q_1, q_2) under the permutations of the legs and the rotations g of the mesh, and
    Burnside's lemma counts orbits by what each operation leaves where it is:

        T = (1 / 6 |G|) sum_g { n(g)^2 + 3 n(g^2) + 2 #[q + g q + g^2 q = 0] }

    with n(g) the points that g leaves where they are: for the identity of the permutations, the three exchanges of two
    legs (q_1 = g q_0, q_0 = g q_1) and the two cyclic ones (q_1 = g q_0, q_2 = g q_1). About N^2 / (6 |G|) on fine
    meshes of bulk crystals, twice that in a plane of reflection.
    """
    here, unmoved = np.arange(mesh.n_points), 0
    for moved in mesh.permutations:
        again = moved[moved]
        round_trip = mesh.index(mesh.addresses + mesh.addresses[moved] + mesh.addresses[again])
        unmoved += int(np.count_nonzero(moved == here) ** 2 + 3 * np.count_nonzero(again == here)
                        + 2 * np.count_nonzero(round_trip == 0))
    return unmoved // (6 * len(mesh.permutations))


def is_normal(mesh: Mesh, triplets: Triplets) -> np.ndarray:
    """Whether each triplet is a normal process, (T,) of bool; the others are Umklapp processes.

    A wave vector of the mesh stands for its images of least length, which lie in the first Brillouin zone or on its
    boundary. A triplet is normal if q_0 + q_1 + q_2 = 0 for one choice of images, so that on the boundary the split
    has the symmetry of the crystal.
    """
    counts, images = _shortest_images(mesh)
    normal = np.zeros(len(triplets), dtype=bool)
    rows = [np.full(len(triplets), triplets.point0), triplets.point1, triplets.point2]
    for first in range(counts[triplets.point0]):
        for second in range(counts[triplets.point1].max(initial=0)):
            for third in range(counts[triplets.point2].max(initial=0)):
                total = images[rows[0], first] + images[rows[1], second] + images[rows[2], third]
                exists = (second < counts[rows[1]]) & (third < counts[rows[2]])
                normal |= exists & (total == 0).all(axis=1)
    return normal


def _shortest_images(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of shortest images of each point, (N,), and the images M q, (N, most, 3) of int."""
    counts, images = mesh.crystal.shortest_wave_vectors(mesh.q)
    return counts, np.rint(images @ mesh.matrix.T).astype(np.int64)
