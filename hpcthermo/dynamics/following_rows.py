"""Per-atom vectors of a caller that follow their atoms from rank to rank and from row to row."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.engine import Engine


class FollowingRows:
    """Vectors (count, n_owned, 3) in the order of the owned rows.

    Atoms change rows and ranks only when the engine rebuilds its lists, which gives the system new arrays; `follow`
    then brings the vectors into the new order. The new owners ask for the tags they have gained, so nothing of the
    decomposition needs to be known.

    Parameters
    ----------
    engine : Engine
    count : int
        Vectors per atom.

    Attributes
    ----------
    values : (count, n_owned, 3) float64, device
    """

    def __init__(self, engine: Engine, count: int) -> None:
        system = engine.system
        self._to_host = engine.backend.to_host
        self.values: Any = engine.backend.xp.zeros((count, system.n_owned, 3))
        self._system_tags = system.tags
        self.tags: np.ndarray = engine.backend.to_host(system.tags[:system.n_owned]).copy()

    def follow(self, engine: Engine) -> None:
        """Bring the vectors into the present order (collective)."""
        system, host = engine.system, engine.backend.to_host
        if self._system_tags is system.tags:
            return
        present = host(system.tags[:system.n_owned]).copy()
        tags, values = self.tags, host(self.values)
        if engine.comm.size > 1:
            arrived_tags, arrived = _fetch(np.setdiff1d(present, tags), tags, values, engine)
            tags, values = np.concatenate([tags, arrived_tags]), np.concatenate([values, arrived], axis=1)
        order = np.argsort(tags)
        rows = order[np.searchsorted(tags, present, sorter=order)]
        self.values = engine.backend.from_host(np.ascontiguousarray(values[:, rows]))
        self.tags, self._system_tags = present, system.tags

    def host(self) -> np.ndarray:
        """The vectors on the host."""
        return self._to_host(self.values)

    def matches(self, engine: Engine, tags: np.ndarray) -> bool:
        """Whether these tags are those of the owned rows on every rank (collective)."""
        system = engine.system
        same = np.array_equal(tags, engine.backend.to_host(system.tags[:system.n_owned]))
        return engine.comm.allreduce_max(float(not same)) == 0.0


def _fetch(gained: np.ndarray, tags: np.ndarray, values: np.ndarray, engine: Engine) -> tuple[np.ndarray, np.ndarray]:
    """Tags (m,) and vectors (count, m, 3) of atoms that other ranks had (collective)."""
    order = np.argsort(tags)
    leaving, counts = [], []
    for wanted in engine.comm.allgather(gained):
        places = np.searchsorted(tags, wanted, sorter=order)
        rows = order[np.minimum(places, len(tags) - 1)] if len(tags) else np.zeros(0, dtype=np.int64)
        rows = rows[tags[rows] == wanted] if len(tags) else rows
        leaving.append(rows)
        counts.append(len(rows))
    rows = np.concatenate(leaving)
    count = len(values)
    records = np.concatenate([tags[rows, None].astype(np.int64).view(np.float64),
                              values[:, rows].transpose(1, 0, 2).reshape(len(rows), 3 * count)], axis=1)
    received, _ = engine.comm.alltoallv(np.ascontiguousarray(records), np.array(counts, dtype=np.int64))
    arrived = np.ascontiguousarray(received[:, 0]).view(np.int64)
    return arrived, received[:, 1:].reshape(len(received), count, 3).transpose(1, 0, 2)
