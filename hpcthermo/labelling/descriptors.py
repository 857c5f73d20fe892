"""Descriptors of atoms, by which structures are told apart before there are labels.

Without a model they come from an untrained NEP: expansion coefficients drawn once from a normal distribution, the same
in every run. An untrained descriptor sees all that a trained one sees, it only weighs it otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.nep import BoundNep, NepPotential
from hpcthermo.potentials.nep_file import NepModel

_RADIAL_CUTOFF, _ANGULAR_CUTOFF = 6.0, 4.0
_FUNCTIONS, _BASIS, _DEGREE = 5, 7, 4
_SEED = 1


def untrained_model(elements: Sequence[str]) -> NepModel:
    """A NEP whose descriptors are those of random coefficients; its energies mean nothing."""
    random = np.random.default_rng(_SEED)
    count = len(elements)
    descriptors = _FUNCTIONS * (1 + _DEGREE + 1)
    return NepModel(
        path="untrained", version=4, elements=tuple(elements), radial_cutoffs=np.full(count, _RADIAL_CUTOFF),
        angular_cutoffs=np.full(count, _ANGULAR_CUTOFF), l_max=_DEGREE, extra_invariants=("222",),
        input_weights=np.zeros((count, 1, descriptors)), neuron_biases=np.zeros((count, 1)),
        output_weights=np.zeros((count, 1)), output_biases=np.zeros(count),
        radial_coefficients=random.normal(size=(_FUNCTIONS, _BASIS, count, count)),
        angular_coefficients=random.normal(size=(_FUNCTIONS, _BASIS, count, count)), scaler=np.ones(descriptors),
        screening=None)


def site_descriptors(snapshot: Snapshot, potential: NepPotential) -> np.ndarray:
    """(N, D) descriptors of the atoms of a structure, in their order."""
    engine = make_engine(snapshot, potential, SingleProcess(), make_backend("cpu", "double"), 0.0)
    engine.compute()
    assert isinstance(engine.bound, BoundNep)
    found = engine.bound.descriptors(engine.system, engine.packed)
    return found[np.argsort(engine.system.tags[:engine.system.n_owned])]
