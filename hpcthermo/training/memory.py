"""How much memory the cached geometry of training sets may take in one process."""

from __future__ import annotations

#: of what is free when a crew starts
_SHARE_OF_FREE = 0.6


class MemoryBudget:
    """Bytes that are left.

    Parameters
    ----------
    limit : float
    """

    def __init__(self, limit: float) -> None:
        self.left = limit

    def take(self, n_bytes: int) -> bool:
        """Whether that much may be kept; if so it is taken."""
        if n_bytes > self.left:
            return False
        self.left -= n_bytes
        return True

    def give(self, n_bytes: int) -> None:
        """Give back what was taken."""
        self.left += n_bytes


def automatic_limit(free: float, processes: int) -> float:
    """Bytes for one of the processes that share free memory."""
    return _SHARE_OF_FREE * free / processes
