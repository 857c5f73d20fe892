"""What several files of tests share."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

LATTICE = Path(__file__).parents[2].parent / "shared" / "data" / "lattice"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """One process has all files of the oracle, so that it runs once."""
    asking = {item.path for item in items if "phonopy_oracle" in item.fixturenames}
    for item in items:
        if item.path in asking and item.get_closest_marker("parallel") is None:
            item.add_marker(pytest.mark.xdist_group("phonopy"))


@pytest.fixture(scope="session")
def phonopy_oracle(tmp_path_factory):
    """Force constants, frequencies, velocities, Grueneisen tensors of silicon and rock salt by phonopy and phono3py."""
    if not LATTICE.exists():
        pytest.skip("no forces of silicon and rock salt in ../shared beside this checkout")
    pytest.importorskip("phono3py")
    output = tmp_path_factory.mktemp("phonopy") / "oracle.npz"
    script = Path(__file__).with_name("phonopy_oracle.py")
    done = subprocess.run([sys.executable, str(script), str(LATTICE), str(output)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return dict(np.load(output))
