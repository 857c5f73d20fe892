r"""Seconds per step on many ranks, from figures of one: pure functions of geometry and a few numbers.

    t = (n + n_half) / R + (m + s ceil(log2 P)) latency + bytes / bandwidth

    n        atoms of a rank              R          atom-step/s of a rank that is full
    n_half   atoms at which a rank works at half its speed: kernels that do not fill a GPU, Python, launches
    m        message pairs of a step, positions out and forces back
    P        ranks; a reduction goes up a tree and back down it, one message pair for each of its ceil(log2 P) levels
    s        reductions of a step: 1 for displacement and flag; with virials every K steps 1 + SAMPLE_REDUCTIONS / K
    bytes    (OUT_BYTES + BACK_BYTES) ghosts; with virials every K steps (VIRIAL_BYTES - BACK_BYTES) / K more for each

What virials cost in kernels is in R, if it was measured with them.
Nothing overlaps and all ranks hold the same number of atoms; rebuilds are in R as measured. So the model leaves out the
overlap that the engine has, and the waiting for the slowest rank that it also has.

Ghosts of a brick with sides s_k in a halo of depth h, from other ranks only (images of its own atoms are not sent):

    n_ghost = rho [ prod_k (s_k + w_k h) - prod_k (s_k + w_k h, but s_k along axes that are cut) ]

    w_k = 2 along an axis that is periodic or cut, 0 along an open axis that is not; an end brick of an open axis has
    one face less, the formula is for bricks in the middle
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hpcthermo.domain.grid import choose_layout

#: float64 coordinates of a ghost out; its force row of four columns back
OUT_BYTES, BACK_BYTES = 24, 32
#: on sampling steps its row of twelve columns, virial and force, takes that one's place
VIRIAL_BYTES = 96
#: reductions of every step, and of a sampling step besides: kinetic energy, potential energy, virial
STEP_REDUCTIONS, SAMPLE_REDUCTIONS = 1, 3
#: seconds of a message out and back, and bytes per second, of a cluster's network
LATENCY, BANDWIDTH = 30e-6, 20e9
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Network:
    """Cost of messages.

    Attributes
    ----------
    latency : float
        Seconds per message pair.
    bandwidth : float
        Bytes per second of a rank.
    """

    latency: float = LATENCY
    bandwidth: float = BANDWIDTH


@dataclass(frozen=True)
class Rank:
    """Speed of one rank.

    Attributes
    ----------
    rate : float
        R, atom-step/s.
    half_atoms : float
        n_half.
    """

    rate: float
    half_atoms: float


@dataclass(frozen=True)
class Box:
    """Geometry of the whole system.

    Attributes
    ----------
    lengths : (3,) tuple of float
        Extent of the atoms perpendicular to the cell faces, A.
    periodic : (3,) tuple of bool
    n_atoms : int
    depth : float
        Halo: cutoff and skin, A.
    """

    lengths: tuple[float, float, float]
    periodic: tuple[bool, bool, bool]
    n_atoms: float
    depth: float

    @property
    def density(self) -> float:
        """Atoms per A^3."""
        return self.n_atoms / math.prod(self.lengths)

    def repeated(self, parts: Sequence[int]) -> Box:
        """The system copied along its axes."""
        lengths = [length * count for length, count in zip(self.lengths, parts, strict=True)]
        return Box((lengths[0], lengths[1], lengths[2]), self.periodic, self.n_atoms * math.prod(parts), self.depth)


@dataclass(frozen=True)
class Prediction:
    """One line of a table.

    Attributes
    ----------
    ranks : int
    parts : (3,) tuple of int
        Bricks along a, b, c.
    atoms : float
        Per rank.
    ghosts : float
        Per rank, from other ranks.
    message_pairs : int
        Per rank and step.
    reduction_pairs : float
        Message pairs of reductions, one after the other, per step.
    bytes : float
        Sent by a rank in a step.
    seconds_per_step : float
    efficiency : float
        Speed over that of one rank, per rank.
    """

    ranks: int
    parts: tuple[int, int, int]
    atoms: float
    ghosts: float
    message_pairs: int
    reduction_pairs: float
    bytes: float
    seconds_per_step: float
    efficiency: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "parts": list(self.parts), "steps_per_second": 1.0 / self.seconds_per_step}


def remote_ghosts(box: Box, parts: Sequence[int]) -> float:
    """Ghosts of a rank that come from others."""
    with_halo, own_images = 1.0, 1.0
    for length, count, periodic in zip(box.lengths, parts, box.periodic, strict=True):
        side = length / count
        wide = side + (2.0 * box.depth if periodic or count > 1 else 0.0)
        with_halo *= wide
        own_images *= side if count > 1 else wide
    return box.density * (with_halo - own_images)


def all_ghosts(box: Box, parts: Sequence[int]) -> float:
    """Ghost rows of a rank, images of its own atoms included."""
    with_halo, inside = 1.0, 1.0
    for length, count, periodic in zip(box.lengths, parts, box.periodic, strict=True):
        side = length / count
        with_halo *= side + (2.0 * box.depth if periodic or count > 1 else 0.0)
        inside *= side
    return box.density * (with_halo - inside)


def peers(box: Box, parts: Sequence[int]) -> int:
    """Ranks that a rank exchanges messages with: the engine sends straight to each, also across edges and corners."""
    within_reach = 1
    for length, count, periodic in zip(box.lengths, parts, box.periodic, strict=True):
        reach = math.ceil(box.depth * count / length)  # bricks on each side that the halo touches
        within_reach *= min(count, 2 * reach + 1) if periodic or count > 2 else count
    return within_reach - 1


def message_bytes(ghosts: float, virials_every: int = 0) -> float:
    """Bytes that a rank sends in a step on average: as many ghosts leave a rank as come to it."""
    per_ghost = OUT_BYTES + BACK_BYTES + ((VIRIAL_BYTES - BACK_BYTES) / virials_every if virials_every else 0.0)
    return ghosts * per_ghost


def reduction_pairs(n_ranks: int, virials_every: int = 0) -> float:
    """Message pairs that the reductions of a step wait for, one after the other, on average."""
    levels = (n_ranks - 1).bit_length()  # ceil(log2 P)
    return levels * (STEP_REDUCTIONS + (SAMPLE_REDUCTIONS / virials_every if virials_every else 0.0))


def seconds_per_step(rank: Rank, network: Network, atoms: float, message_pairs: float, n_bytes: float) -> float:
    """The model; `message_pairs` are those of the halo and of reductions."""
    return (atoms + rank.half_atoms) / rank.rate + message_pairs * network.latency + n_bytes / network.bandwidth


def strong_scaling(box: Box, rank: Rank, network: Network, virials_every: int = 0,
                   ranks: Iterable[int] = RANKS) -> list[Prediction]:
    """The same system on more and more ranks, cut as the engine cuts it."""
    table = []
    for n in ranks:
        parts = choose_layout(n, "auto", np.array(box.lengths), np.array(box.periodic), box.depth)
        alone = seconds_per_step(rank, network, box.n_atoms, 0, 0.0)
        table.append(_predict(box, parts, rank, network, virials_every, alone / n))
    return table


def weak_scaling(box: Box, rank: Rank, network: Network, virials_every: int = 0,
                 ranks: Iterable[int] = RANKS) -> list[Prediction]:
    """A system copied along its periodic axes, one copy per rank, so that it stays compact."""
    alone = seconds_per_step(rank, network, box.n_atoms, 0, 0.0)
    table = []
    for n in ranks:
        candidates = [parts for parts in _factorisations(n)
                      if all(count == 1 or periodic for count, periodic in zip(parts, box.periodic, strict=True))]
        if not candidates:
            continue
        compact = min(candidates, key=lambda parts: max(box.repeated(parts).lengths))
        table.append(_predict(box.repeated(compact), compact, rank, network, virials_every, alone))
    return table


def _predict(box: Box, parts: tuple[int, int, int], rank: Rank, network: Network, virials_every: int,
             ideal: float) -> Prediction:
    """A line of a table; `ideal` are the seconds per step without losses."""
    n_ranks = math.prod(parts)
    ghosts, pairs, reductions = remote_ghosts(box, parts), peers(box, parts), reduction_pairs(n_ranks, virials_every)
    n_bytes, atoms = message_bytes(ghosts, virials_every), box.n_atoms / n_ranks
    seconds = seconds_per_step(rank, network, atoms, pairs + reductions, n_bytes)
    return Prediction(n_ranks, parts, atoms, ghosts, pairs, reductions, n_bytes, seconds, ideal / seconds)


def _factorisations(n: int) -> list[tuple[int, int, int]]:
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    return [(a, b, n // (a * b)) for a in divisors for b in divisors if n % (a * b) == 0]


def fit_rank(atoms: np.ndarray, seconds: np.ndarray) -> Rank:
    """R and n_half of the line seconds = (atoms + n_half) / R that is nearest in relative terms.

    Parameters
    ----------
    atoms, seconds : (m,) float64
        Sizes and measured times; m = 1 gives n_half = 0.
    """
    if len(atoms) < 2:
        return Rank(float(atoms[0] / seconds[0]), 0.0)
    columns = np.stack([atoms, np.ones(len(atoms))], axis=1) / seconds[:, None]
    (slope, offset), *_ = np.linalg.lstsq(columns, np.ones(len(atoms)), rcond=None)
    if offset <= 0.0 or slope <= 0.0:  # below what the clock resolves
        largest = int(np.argmax(atoms))
        return Rank(float(atoms[largest] / seconds[largest]), 0.0)
    return Rank(float(1.0 / slope), float(offset / slope))
