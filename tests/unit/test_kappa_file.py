"""kappa-m*.hdf5: phono3py's own programs read it and find our conductivity."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from spring_crystal import diamond, springs, supercell_of

from hpcthermo.phonons.files.export import write_phonopy_files
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants
from hpcthermo.transport.bte.conductivity import Conductivity
from hpcthermo.transport.bte.kappa_file import kappa_file_name, write_kappa_file
from hpcthermo.transport.bte.mesh import Mesh

READ = """
import sys, numpy as np
from phono3py.file_IO import read_gamma_from_hdf5
found, name = read_gamma_from_hdf5([3, 3, 3])
np.savez("read.npz", **{key: value for key, value in found.items() if isinstance(value, np.ndarray)})
"""


@pytest.fixture
def written(tmp_path):
    crystal = diamond()
    supercell = supercell_of(crystal, (2, 2, 2))
    lattice = LatticeDynamics(crystal, {order: SupercellForceConstants(supercell, springs(supercell, order))
                                        for order in (2, 3)})
    mesh = Mesh.create(crystal, (3, 3, 3))
    phonons = HarmonicCrystal(crystal, lattice.second).phonons(mesh.q[mesh.irreducible[0]])
    random = np.random.default_rng(7)
    shape = phonons.frequencies.shape
    # springs of one pair potential leave modes soft; any frequencies will do
    frequencies = np.abs(phonons.frequencies) + 0.5
    velocities = random.standard_normal((*shape, 3))
    gamma = 0.01 + 0.1 * random.random((shape[0], 2, shape[1]))
    isotope = 0.01 * random.random(shape)
    temperatures = np.array([200.0, 300.0])
    found = Conductivity.relaxation_time(mesh, frequencies, velocities, gamma + isotope[:, None], temperatures)
    write_phonopy_files(lattice, tmp_path)
    write_kappa_file(tmp_path / kappa_file_name(mesh), mesh, found, gamma, isotope)
    return tmp_path, found, gamma, isotope


@pytest.mark.oracle
def test_programs_of_phono3py_read_it(written):
    folder, found, gamma, isotope = written
    program = Path(sys.executable).with_name("phono3py-kaccum")
    if not program.exists():
        pytest.skip("phono3py is not installed")
    shown = subprocess.run([program, "kappa-m333.hdf5", "--temperature", "300", "--nsp", "20"], cwd=folder, check=True,
                           capture_output=True, text=True).stdout
    rows = [line.split() for line in shown.splitlines() if line.strip() and not line.startswith("#")]
    last = np.array([float(word) for word in rows[-1][1:7]])
    ours = found.kappa[1][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    assert np.abs(last - ours).max() < 2e-6 * np.abs(ours).max()
    subprocess.run([sys.executable, "-c", READ], cwd=folder, check=True, capture_output=True)
    with np.load(folder / "read.npz") as read:
        assert np.array_equal(read["gamma"], gamma.transpose(1, 0, 2))
        assert np.array_equal(read["gamma_isotope"], isotope)


def test_parts_add_up(written):
    import h5py

    folder, _, gamma, isotope = written
    with h5py.File(folder / "kappa-m333.hdf5") as file:
        kappa = file["mode_kappa"][()].sum(axis=(1, 2)) / file["weight"][()].sum()
        assert np.allclose(kappa, file["kappa"][()], rtol=1e-13, atol=1e-15)
        width = gamma.transpose(1, 0, 2) + isotope
        modes = (file["kappa_unit_conversion"][()] * (file["heat_capacity"][()] / (2.0 * width))[..., None]
                 * file["gv_by_gv"][()])
        assert np.allclose(modes, file["mode_kappa"][()], rtol=1e-12, atol=1e-14 * np.abs(modes).max())


def test_gamma_is_that_of_kappa_with_four_phonons_too(written):
    import h5py

    folder, found, gamma, _ = written
    mesh = Mesh.create(diamond(), (3, 3, 3))
    write_kappa_file(folder / "four.hdf5", mesh, found, 0.75 * gamma, gamma_four_phonon=0.25 * gamma)
    with h5py.File(folder / "four.hdf5") as file:
        assert np.allclose(file["gamma"][()], gamma.transpose(1, 0, 2), rtol=1e-14)
        assert np.allclose(file["gamma_three_phonon"][()], 0.75 * gamma.transpose(1, 0, 2), rtol=1e-14)
    with h5py.File(folder / "kappa-m333.hdf5") as file:
        assert "gamma_three_phonon" not in file
