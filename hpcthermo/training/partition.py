"""How the structures of a training set are dealt out: chunks for a core's caches, parts for threads, ranks and Adam.

Both follow from the sizes of the structures alone. Sums are made part by part and added in the order of the parts, so
results have the same bits on any number of threads and ranks, and whatever is kept in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

#: atoms of a chunk, unless a structure has more: what a core's caches hold
_ATOMS_PER_CHUNK = 256
#: parts at most, so threads and ranks that can work at the same time
_MOST_PARTS = 64
#: on a GPU parts are as large as keeps it busy, but for the sake of Adam not much fewer than this
_ATOMS_OF_GPU_PART, _FEWEST_GPU_PARTS = 10_000, 8


def chunk_starts(sizes: np.ndarray) -> np.ndarray:
    """First structure of each chunk, and the number of structures.

    Parameters
    ----------
    sizes : (S,) int
        Atoms of each structure.
    """
    starts, atoms = [0], 0
    for s, n in enumerate(sizes):
        if atoms and atoms + n > _ATOMS_PER_CHUNK:
            starts.append(s)
            atoms = 0
        atoms += int(n)
    return np.array([*starts, len(sizes)])


@dataclass(frozen=True)
class Partition:
    """Parts of about as many atoms each, of whole chunks.

    Attributes
    ----------
    sizes : (S,) int
        Atoms of each structure.
    parts : (P + 1,) int
        First structure of each part.
    """

    sizes: np.ndarray
    parts: np.ndarray

    @classmethod
    def of(cls, sizes: np.ndarray, device: str) -> Self:
        """For the structures of a set."""
        chunks = chunk_starts(sizes)
        first_atoms = np.concatenate([[0], np.cumsum(sizes)])
        most = _MOST_PARTS
        if device != "cpu":
            most = min(most, max(_FEWEST_GPU_PARTS, int(first_atoms[-1]) // _ATOMS_OF_GPU_PART))
        n = min(most, len(chunks) - 1)
        cuts = np.unique(np.searchsorted(first_atoms[chunks], np.linspace(0.0, first_atoms[-1], n + 1)))
        return cls(np.asarray(sizes), chunks[cuts])

    @property
    def n_parts(self) -> int:
        """P."""
        return len(self.parts) - 1

    @property
    def part_of_structure(self) -> np.ndarray:
        """(S,) int."""
        return np.repeat(np.arange(self.n_parts), np.diff(self.parts))

    def of_rank(self, rank: int, ranks: int) -> range:
        """Parts of a rank."""
        cuts = np.linspace(0, self.n_parts, ranks + 1).astype(int)
        return range(cuts[rank], cuts[rank + 1])
