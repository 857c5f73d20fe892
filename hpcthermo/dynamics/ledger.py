"""Sums that stay exact over millions of steps."""

from __future__ import annotations

import numpy as np

from hpcthermo.domain.comm import Communicator


class Ledger:
    """Running sum of energies with the rounding error carried along (Neumaier, ZAMM 54, 39, 1974).

    Each rank books what it does to its own atoms; `total` adds the ranks.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._error = 0.0

    def add(self, amount: float) -> None:
        """Book an amount, eV."""
        total = self._sum + amount
        if abs(self._sum) >= abs(amount):
            self._error += (self._sum - total) + amount
        else:
            self._error += (amount - total) + self._sum
        self._sum = total

    def total(self, comm: Communicator) -> float:
        """Sum over all ranks, eV (collective)."""
        return comm.allreduce_sum(self._sum + self._error)

    @property
    def share(self) -> np.ndarray:
        """(2,) float64 state of this rank; shares of several ranks may be added."""
        return np.array([self._sum, self._error])

    @share.setter
    def share(self, value: np.ndarray) -> None:
        self._sum, self._error = (float(v) for v in value)
