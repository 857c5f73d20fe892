"""Settings of training."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpcthermo.training.gauss_newton import GaussNewtonSettings


@dataclass(frozen=True)
class TrainingSettings:
    """How theta is sought; lengths are epochs: gradients of the whole training set, so that runs can be repeated.

    Attributes
    ----------
    seed : int
        Of the start, of Adam's order and of the Gauss-Newton rows.
    adam_epochs, adam_steps : int
        Of Adam at the beginning, on parts of the set: epochs, but at least that many steps.
    adam_rate : float
        Largest rate of Adam; it falls to 0 as a cosine.
    rebuild_epochs : int or None
        Epochs between Gauss-Newton matrices; None: from 100 to 400, so that matrices take a smaller part of the time.
    pairs : int
        That L-BFGS keeps.
    most_epochs : int
        The end, if nothing else ends training before.
    refit_epochs : int
        Length of training on all frames after the validation set has chosen (`train.refit`).
    validation_epochs : int
        Epochs between looks at the validation set.
    l2_start : float
        First weight of regularisation, in units of the loss after Adam divided by the number of parameters.
    l2_factor : float
        By which it falls from stage to stage.
    patience : int
        Looks at the validation set without a better one that end a stage.
    noise : float
        Of the loss in mixed precision, relative.
    """

    seed: int = 0
    adam_epochs: int = 40
    adam_steps: int = 400
    adam_rate: float = 1e-2
    rebuild_epochs: int | None = None
    pairs: int = 100
    most_epochs: int = 10000
    refit_epochs: int = 300
    validation_epochs: int = 20
    l2_start: float = 0.1
    l2_factor: float = 0.3
    patience: int = 8
    noise: float = 1e-6
    gauss_newton: GaussNewtonSettings = field(default_factory=GaussNewtonSettings)
