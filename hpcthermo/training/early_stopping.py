"""When to lower the regularisation and when to stop, by a validation set that is not trained on.

Regularisation begins strong and falls by a factor at the end of each stage; a stage ends when the validation loss has
not improved for some looks. Training ends when a whole stage brought nothing. What is kept is the best theta of all
looks, so the model never is one that has begun to fit noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

#: relative improvement of the validation loss that counts
_COUNTS = 1e-2
#: and that which a weaker regularisation has to bring: frames of a validation set are few
_WORTH = 3e-2


class Verdict(Enum):
    """What to do after a look at the validation set."""

    GO_ON = "go on"
    LOWER = "lower the regularisation"
    STOP = "stop"


@dataclass
class EarlyStopping:
    """The best theta so far.

    Attributes
    ----------
    patience : int
        Looks without improvement that end a stage.
    best : float
        Validation loss.
    theta : (n,) float64 or None
        That has it.
    epoch : float
        When it was found.
    l2 : float
        Regularisation then.
    looks : int
        Since the last improvement that counts, or since the stage began.
    improved : bool
        Whether this stage has brought an improvement that counts.
    mark : float
        Validation loss at the last improvement that counts.
    """

    patience: int
    best: float = np.inf
    theta: np.ndarray | None = field(default=None)
    epoch: float = 0.0
    looks: int = 0
    improved: bool = False
    mark: float = np.inf
    l2: float = 0.0

    def look(self, value: float, theta: np.ndarray, epoch: float, l2: float = 0.0) -> Verdict:
        """Tell it the validation loss of a theta."""
        if value < self.best * (1.0 - _WORTH if l2 < self.l2 else 1.0):
            self.best, self.theta, self.epoch, self.l2 = value, theta.copy(), epoch, l2
        if value < self.mark * (1.0 - _COUNTS):
            self.mark, self.looks, self.improved = value, 0, True
            return Verdict.GO_ON
        self.looks += 1
        return Verdict.GO_ON if self.looks < self.patience else self.end_stage()

    def end_stage(self) -> Verdict:
        """Lower the regularisation if this stage has brought anything, else stop."""
        if not self.improved:
            return Verdict.STOP
        self.looks, self.improved = 0, False
        return Verdict.LOWER
