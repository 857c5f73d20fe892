"""phono3py, in a process of its own, finds in our files what it finds in its own: NaCl with charges, from forces on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpcthermo.phonons.files.export import in_phonopy_order, write_phonopy_files
from hpcthermo.phonons.files.load import load_lattice_dynamics

SALT = Path(__file__).parents[3] / "shared" / "data" / "lattice" / "phono3py_params_NaCl222.yaml.xz"

SCRIPT = """
import sys, numpy as np, phono3py
theirs = phono3py.load(sys.argv[1], produce_fc=True, is_compact_fc=True, log_level=0)
ours = phono3py.load("ours/phono3py.yaml", fc2_filename="ours/fc2.hdf5", fc3_filename="ours/fc3.hdf5", log_level=0)
result = {}
for name, found in (("theirs", theirs), ("ours", ours)):
    found.mesh_numbers = [3, 3, 3]
    found.init_phph_interaction(average_degenerate_weights=True)
    found.run_thermal_conductivity(temperatures=[300], write_kappa=False)
    result[f"{name}_kappa"] = found.thermal_conductivity.kappa
    result[f"{name}_fc2"], result[f"{name}_fc3"] = found.fc2, found.fc3
    result[f"{name}_born"], result[f"{name}_factor"] = found.nac_params["born"], found.nac_params["factor"]
np.savez("found.npz", **result)
"""


@pytest.mark.slow
@pytest.mark.oracle
def test_phono3py_finds_the_same_in_our_files(tmp_path):
    pytest.importorskip("phono3py", reason="phono3py is not installed")
    if not SALT.is_file():
        pytest.skip("the NaCl example is not beside this checkout")
    lattice = load_lattice_dynamics(SALT)
    # not where phono3py runs: it would take force constants that lie there for its own
    (tmp_path / "ours").mkdir()
    write_phonopy_files(lattice, tmp_path / "ours")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(SALT)], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ordered = in_phonopy_order(lattice)
    with np.load(tmp_path / "found.npz") as found:
        assert np.array_equal(found["ours_fc2"], ordered.force_constants[2].values)
        assert np.array_equal(found["ours_fc3"], ordered.force_constants[3].values)
        assert np.array_equal(found["ours_born"], lattice.dielectric.born)
        assert found["ours_factor"] == lattice.dielectric.factor
        # forces became the same force constants, in the order of the file
        for order in (2, 3):
            theirs = found[f"theirs_fc{order}"]
            assert np.abs(lattice.force_constants[order].values - theirs).max() < 1e-10 * np.abs(theirs).max()
        assert np.abs(found["ours_kappa"] / found["theirs_kappa"] - 1.0)[..., :3].max() < 1e-6
