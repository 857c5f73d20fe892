r"""How many batches a sample of four-phonon processes takes, and the error of what it gives.

Batches are independent (four_phonon.py): their scatter is the error of the mean, and what one batch of a point says of
the conductivity,

    sum_b dkappa/dgamma_b gamma_b        dkappa/dgamma = - k_l / gamma_total        k_l: contribution of the mode

has the correlations between the bands of a batch in it. Rounds: batches are added where they lower the error of kappa
most, until it is below the target. What a round asks for follows from all batches before it, which are the same
whoever computed them; so the sample is the same on any workers, and after any interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.log import get_logger
from hpcthermo.transport.bte.conductivity import Conductivity
from hpcthermo.transport.bte.four_phonon import PAIRS_OF_BATCH

#: batches that come together
BLOCK = 8
#: blocks of a point in the first round; eight batches of four times the size say too little of their scatter, for it is
#: skew: kappa of silicon is one standard error too large then, on the mean
LEAST_BLOCKS = 4
#: (point, number) of blocks -> for each in this order linewidths of its batches (BLOCK, n_T, B) and their mean by
#: channel (3, n_T, B), THz
Blocks = Callable[[Sequence[tuple[int, int]]], Iterable[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class FourPhononLinewidths:
    """Linewidths of four-phonon scattering and what is known of their errors.

    Attributes
    ----------
    gamma : (I, n_T, B) ndarray
        THz.
    errors : (I, n_T, B) ndarray
        Standard errors, THz; zero for the sum over all processes.
    channels : (3, I, n_T, B) ndarray
        By channel (`CHANNELS`), THz; their sum is gamma.
    samples : (I,) ndarray of int
        Pairs (q1, q2) drawn for each point; zero for the sum over all.
    kappa_error : (n_T, 3, 3) ndarray
        Standard errors of the conductivity, W/(m K).
    relative_error : float
        Largest error of the trace of kappa at any temperature, relative.
    reached : bool
        False if the largest sample was not enough for the target.
    """

    gamma: np.ndarray
    errors: np.ndarray
    channels: np.ndarray
    samples: np.ndarray
    kappa_error: np.ndarray
    relative_error: float
    reached: bool


def of_all_processes(channels: np.ndarray) -> FourPhononLinewidths:
    """Linewidths without error, from their channels (3, I, n_T, B)."""
    gamma = channels.sum(axis=0)
    return FourPhononLinewidths(gamma, np.zeros_like(gamma), channels, np.zeros(len(gamma), dtype=int),
                                np.zeros((gamma.shape[1], 3, 3)), 0.0, True)


def sampled(n_points: int, blocks: Blocks, conductivity: Callable[[np.ndarray], tuple[Conductivity, np.ndarray]],
            target_error: float, most_samples: int) -> FourPhononLinewidths:
    """By samples, until the trace of kappa is known to a relative standard error.

    Parameters
    ----------
    n_points : int
        Irreducible points.
    blocks : callable
        Computes blocks of batches.
    conductivity : callable
        From four-phonon linewidths (I, n_T, B) the conductivity with all scattering and the total linewidths.
    target_error : float
        Of the trace of kappa, at all temperatures.
    most_samples : int
        Pairs (q1, q2) of a point at most.
    """
    most = max(LEAST_BLOCKS, most_samples // (BLOCK * PAIRS_OF_BATCH))
    counts, wanted = np.zeros(n_points, dtype=int), np.full(n_points, LEAST_BLOCKS)
    samples: list[list[np.ndarray]] = [[] for _ in range(n_points)]
    by_channel: list[np.ndarray | float] = [0.0] * n_points
    while True:
        asked = [(i, number) for i in range(n_points) for number in range(counts[i], wanted[i])]
        for (i, _), (batches, channels) in zip(asked, blocks(asked), strict=True):
            samples[i].append(batches)
            by_channel[i] = by_channel[i] + channels
        counts = wanted
        of_points = [np.concatenate(batches) for batches in samples]
        n_batches = BLOCK * counts
        gamma = np.array([batches.mean(axis=0) for batches in of_points])
        found, total = conductivity(gamma)
        slopes = -found.shares / np.where(total > 0.0, total, np.inf).transpose(1, 0, 2)[..., None, None]
        # what each batch of a point says of kappa, its scatter, and the error of the mean
        said = [np.einsum("btk,tkij->btij", batches, slopes[:, i]) for i, batches in enumerate(of_points)]
        scatter = np.array([x.var(axis=0, ddof=1) for x in said])
        of_trace = np.array([np.trace(x, axis1=2, axis2=3).var(axis=0, ddof=1) for x in said])
        trace = np.trace(found.kappa, axis1=1, axis2=2)
        errors = np.sqrt((of_trace / n_batches[:, None]).sum(axis=0)) / np.maximum(trace, np.finfo(float).tiny)
        worst = int(errors.argmax())
        enough = bool(errors[worst] <= target_error)
        get_logger().info("four-phonon sample: %d pairs, error %.3g %% of the conductivity, target %.3g %%",
                          PAIRS_OF_BATCH * n_batches.sum(), 100.0 * errors[worst], 100.0 * target_error)
        if enough or (counts >= most).all():
            break
        # least work for the target: batches in proportion to the standard deviation; at most four times as many at once
        deviation = np.sqrt(of_trace[:, worst]) / trace[worst]
        optimal = deviation * deviation.sum() / target_error**2
        grown = np.minimum(np.ceil(1.1 * optimal / BLOCK), 4 * counts).astype(int)
        wanted = np.clip(grown, counts, most)
        if (wanted == counts).all():
            wanted = np.minimum(counts + LEAST_BLOCKS, most)
    spread = np.array([batches.std(axis=0, ddof=1) for batches in of_points]) / np.sqrt(n_batches)[:, None, None]
    means = np.array([sums / count for sums, count in zip(by_channel, counts, strict=True)]).transpose(1, 0, 2, 3)
    return FourPhononLinewidths(gamma, spread, means, n_batches * PAIRS_OF_BATCH,
                                np.sqrt((scatter / n_batches[:, None, None, None]).sum(axis=0)), float(errors[worst]),
                                enough)
