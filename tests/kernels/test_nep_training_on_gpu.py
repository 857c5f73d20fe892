"""NEP training on the emulated GPU against the CPU."""

import numpy as np
import pytest
from emulated_gpu import EmulatedGpuBackend

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.gpu.backend import make_backend
from hpcthermo.training.memory import MemoryBudget
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.partition import Partition
from hpcthermo.training.share import Share


@pytest.mark.parametrize(("from_last", "extra"), [(False, ("222", "1111", "112")), (True, ("222",))])
def test_errors_gradient_and_jacobian_are_those_of_the_cpu(from_last, extra):
    random = np.random.default_rng(1)
    form = NepForm(("Te", "Pb"), (4.0, 4.4), (3.2, 3.4), (1, 1), (3, 2), 2, extra, 3)
    frames = [LabelledFrame(np.diag([5.0, 4.0 + n, 6.0]), np.ones(3), tuple(random.choice(["Te", "Pb"], n)),
                            random.uniform(size=(n, 3)) * 5, -2.0 * n, random.normal(size=(n, 3)), np.diag([1.0, 2, 3]))
              for n in (3, 5)]
    weights, atom_weights = random.uniform(size=(2, 3)), random.uniform(size=8)
    theta, scaler = form.start(2), random.uniform(size=form.n_descriptors)
    requests = np.array([[0, 0], [0, 4], [1, 9], [1, -2], [1, -6]], dtype=np.int32)
    partition = Partition.of(np.array([3, 5]), "cpu")
    results = []
    for backend in (make_backend("cpu", "double"), EmulatedGpuBackend("double", from_last)):
        share = Share(frames, partition, form, weights, atom_weights, backend, 1, MemoryBudget(1e9), SingleProcess())
        rows = share.gram(theta, scaler, [{0: (requests, np.ones(len(requests), dtype=np.float32))}])
        results.append((*share.evaluate(theta, scaler, True, True, True, None), *rows, *share.descriptor_range(theta)))
    for here, there in zip(*results, strict=True):
        assert np.abs(here).max() > 0
        assert np.abs(here - there).max() < (1e-6 if here.dtype == np.float32 else 1e-11) * np.abs(here).max()
