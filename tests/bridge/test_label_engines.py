"""Labels by calculators of other codes: forces and stress are derivatives of the energy, and the version is known."""

import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa

from hpcthermo.campaign.run import run_campaign
from hpcthermo.config.labelling import Cp2kEngine, GpawEngine, TbliteEngine
from hpcthermo.labelling.task import LabelStructures

STEP = 0.01


def boron_nitride(shift: float = 0.0, strain: float = 0.0) -> Atoms:
    """One layer, its nitrogen out of place."""
    a = 2.51
    atoms = Atoms("BN", positions=[[0.0, 0.0, 4.0], [0.1, a / np.sqrt(3.0), 4.0]],
                  cell=[[a, 0.0, 0.0], [-a / 2, a * np.sqrt(3.0) / 2, 0.0], [0.0, 0.0, 8.0]], pbc=True)
    stretch = np.diag([1.0 + strain, 1.0, 1.0])
    atoms.set_cell(atoms.cell.array @ stretch, scale_atoms=True)
    atoms.positions[1, 0] += shift
    return atoms


def check(engine, mesh, program, relative, virial_tolerance):
    structures = [boron_nitride(), boron_nitride(STEP), boron_nitride(-STEP), boron_nitride(0.0, STEP),
                  boron_nitride(0.0, -STEP)]
    function = LabelStructures(engine)
    records = run_campaign(function, [function.task(a, mesh) for a in structures])
    assert not records.failures, records.failures
    energies = [float(record.arrays["energy"]) for record in records]
    first = records[0].arrays
    assert abs(first["forces"][1, 0]) > 1.0
    assert first["forces"][1, 0] == pytest.approx(-(energies[1] - energies[2]) / (2 * STEP), rel=relative)
    assert first["virial"][0, 0] == pytest.approx(-(energies[3] - energies[4]) / (2 * STEP), abs=virial_tolerance)
    assert first["program"].item().decode().startswith(program)


def test_tblite():
    pytest.importorskip("tblite.ase", reason="tblite is not installed")
    check(TbliteEngine(name="tblite"), (1, 1, 1), "tblite ", 1e-3, 0.05)


@pytest.mark.slow
def test_cp2k():
    if shutil.which("cp2k_shell") is None:
        pytest.skip("cp2k_shell is absent: apt-get install cp2k cp2k-data")
    engine = Cp2kEngine(name="cp2k", cutoff_Ry=500.0, k_points={"k_spacing_per_A": 1.0}, dispersion="d3bj")
    check(engine, (3, 3, 1), "CP2K ", 0.01, 20.0 * GPa * boron_nitride().get_volume())


@pytest.mark.slow
def test_gpaw():
    pytest.importorskip("gpaw", reason="gpaw is not installed")
    engine = GpawEngine(name="gpaw", cutoff_eV=500.0, k_points={"k_spacing_per_A": 1.0}, smearing_width_eV=0.1)
    check(engine, (3, 3, 1), "GPAW ", 0.01, 20.0 * GPa * boron_nitride().get_volume())
