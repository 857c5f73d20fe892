"""Labels by the real Quantum ESPRESSO, in the coarsest setting that still has the properties asked for.

The engine is that of the Debian packages quantum-espresso and quantum-espresso-data.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import Processes
from hpcthermo.config.labelling import EspressoEngine
from hpcthermo.labelling.task import LabelStructures

PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
NAMES = {"B": "B.pbe-n-kjpaw_psl.0.1.UPF", "N": "N.pbe-n-kjpaw_psl.0.1.UPF"}
HYDROGEN = "H.pbe-kjpaw.UPF"
STEP = 0.02
pytestmark = pytest.mark.skipif(
    shutil.which("pw.x") is None or not all((PSEUDOPOTENTIALS / name).is_file() for name in NAMES.values()),
    reason="pw.x or its pseudopotentials are absent: apt-get install quantum-espresso quantum-espresso-data")


def boron_nitride(shift: float = 0.0) -> Atoms:
    """One layer, its nitrogen out of place."""
    a = 2.51
    return Atoms("BN", positions=[[0.0, 0.0, 3.0], [0.1 + shift, a / np.sqrt(3.0), 3.0]],
                 cell=[[a, 0.0, 0.0], [-a / 2, a * np.sqrt(3.0) / 2, 0.0], [0.0, 0.0, 6.0]], pbc=True)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("espresso")
    engine = EspressoEngine(name="espresso", pseudopotential_folder=str(PSEUDOPOTENTIALS), pseudopotentials=NAMES,
                            cutoff_Ry=16.0, density_cutoff_Ry=100.0, k_points={"k_spacing_per_A": 1.0},
                            smearing="fixed", dispersion="d3bj", scf_tolerance_eV=1e-7, scratch_folder=str(folder))
    function = LabelStructures(engine)
    tasks = [function.task(a, (2, 2, 1)) for a in (boron_nitride(STEP), boron_nitride(-STEP))]
    workers = Processes(2)
    try:
        return list(run_campaign(function, tasks, folder / "campaign", workers))
    finally:
        workers.close()


def test_forces_are_derivatives_of_the_energy(records):
    assert not any(record.failure for record in records)
    energies, forces = ([record.arrays[name] for record in records] for name in ("energy", "forces"))
    slope = -float(energies[0] - energies[1]) / (2.0 * STEP)
    assert abs(slope) > 1.0
    # third derivatives of the force and the grid of the density, which moves against the atom
    assert 0.5 * float(forces[0][1, 0] + forces[1][1, 0]) == pytest.approx(slope, rel=0.01)


def test_virials_are_derivatives_of_the_energy(tmp_path):
    """Along a strain that stretches and shears; the cutoff is high enough for plane waves that come and go with it."""
    if not (PSEUDOPOTENTIALS / HYDROGEN).is_file():
        pytest.skip(f"{HYDROGEN} is absent: apt-get install quantum-espresso-data")
    engine = EspressoEngine(name="espresso", pseudopotential_folder=str(PSEUDOPOTENTIALS),
                            pseudopotentials={"H": HYDROGEN}, cutoff_Ry=60.0, density_cutoff_Ry=240.0,
                            k_points={"k_spacing_per_A": 3.0}, smearing="fixed", dispersion="d3bj",
                            scf_tolerance_eV=1e-8, scratch_folder=str(tmp_path))
    direction = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0]])
    function, tasks = LabelStructures(engine), []
    for step in (0.01, -0.01):
        hydrogen = Atoms("H2", positions=[[0.0, 0.0, 0.0], [0.1, 0.0, 0.75]], cell=[2.2, 2.4, 2.6], pbc=True)
        hydrogen.set_cell(hydrogen.cell.array @ (np.eye(3) + step * direction), scale_atoms=True)
        tasks.append(function.task(hydrogen, (1, 1, 1)))
    records = list(run_campaign(function, tasks))
    assert not any(record.failure for record in records)
    energies = [float(record.arrays["energy"]) for record in records]
    virials = [float((record.arrays["virial"] * direction).sum()) for record in records]
    slope = -(energies[0] - energies[1]) / 0.02
    assert abs(slope) > 1.0
    assert 0.5 * sum(virials) == pytest.approx(slope, rel=5e-3)


def test_the_dispersion_is_that_of_an_independent_code_without_three_body_terms(records):
    interface = pytest.importorskip("dftd3.interface", reason="dftd3 is not installed")
    atoms = boron_nitride(STEP)
    from ase.units import Bohr, Hartree

    model = interface.DispersionModel(atoms.numbers, atoms.positions / Bohr, atoms.cell.array / Bohr, atoms.pbc)
    # PBE: J. Comput. Chem. 32, 1456 (2011), table II; s9 scales the three-body term
    two, three = (model.get_dispersion(interface.RationalDampingParam(s8=0.7875, a1=0.4289, a2=4.4407, s9=s9),
                                       grad=False)["energy"] * Hartree for s9 in (0.0, 1.0))
    found = float(records[0].arrays["dispersion_energy"])
    assert found == pytest.approx(two, rel=2e-3)
    assert abs(found - three) > 5.0 * abs(found - two)
