"""GPU kernels, run by the warp emulator in both lane orders, against the CPU kernels."""

import nep_reference
import numpy as np
import pytest
from emulated_gpu import EmulatedGpuBackend
from one_rank import OneRank
from test_nep import cluster

from hpcthermo.potentials.nep import read_nep

BOTH_ORDERS = pytest.mark.parametrize("from_last", [False, True], ids=["ascending", "descending"])


def compare(case, tolerance, precision="double", from_last=False, **options):
    """Energies, forces and virials of a case (potential, symbols, positions, cell) on both machines."""
    expected = OneRank(*case, precision="double", **options).run()
    found = OneRank(*case, backend=EmulatedGpuBackend(precision, from_last), **options).run()
    scale = max(1.0, np.abs(expected[1]).max())
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * scale)


@BOTH_ORDERS
@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-10), ("mixed", 1e-4)])
def test_nep(precision, tolerance, from_last, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", kind="nep4_zbl", zbl="zbl 0.9 1.8"))
    compare((potential, *cluster(("B", "C", "N"))), tolerance, precision, from_last)
