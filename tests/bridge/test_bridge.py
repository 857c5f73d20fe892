"""The bridge with calculators that are always here: two of ASE, and our own as if it were another's."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from emulated_gpu import EmulatedGpuBackend
from same_as_whole import check_same_as_whole, check_strain_derivative, engine_on_ranks, gather
from small_models import boron_nitride

from hpcthermo.calculator import Calculator
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.ase_bridge import bridge
from hpcthermo.potentials.calculators import CALCULATORS
from hpcthermo.potentials.formats import CALCULATOR_STYLES
from hpcthermo.potentials.load import load_potential

EMT_TABLE = {"style": "ase", "calculator": "ase.calculators.emt:EMT", "elements": ["Al", "Cu"],
             "receptive_field_A": 5.88}  # EMT().rc_list is 5.8768
LJ = {"sigma": 2.3, "epsilon": 0.1, "rc": 4.0, "smooth": True, "ro": 3.0}
LJ_TABLE = {"style": "ase", "calculator": "ase.calculators.lj:LennardJones", "elements": ["Al", "Cu"],
            "arguments": LJ, "receptive_field_A": 4.0}
RANKS = [1, pytest.param(2, marks=pytest.mark.parallel(2)),
         pytest.param(4, marks=[pytest.mark.parallel(4), pytest.mark.slow])]


def alloy(repeat=(4, 2, 2), seed=1):
    atoms = bulk("Cu", cubic=True).repeat(repeat)
    rng = np.random.default_rng(seed)
    atoms.numbers[rng.random(len(atoms)) < 0.3] = 13
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0.0, 0.01, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.1, (len(atoms), 3))
    return atoms


@pytest.mark.parametrize("ranks", RANKS)
def test_emt_on_ranks(ranks):
    """A wire of a many-body model, which gives no stress of a cluster."""
    atoms = alloy((3, 1, 1))
    atoms.center(vacuum=2.0, axis=(1, 2))
    atoms.pbc = (True, False, False)
    engine = check_same_as_whole(atoms, load_potential(EMT_TABLE), EMT, 1e-10)
    assert engine.limits.total_virial is not None


@pytest.mark.parametrize("ranks", RANKS)
def test_lennard_jones_on_ranks(ranks):
    check_same_as_whole(alloy((3, 2, 1)), load_potential(LJ_TABLE), lambda: LennardJones(**LJ), 1e-10)


@pytest.mark.parametrize("ranks", RANKS)
def test_own_potential_over_the_bridge(ranks):
    """Also per-atom virials, row by row, against the potential itself."""
    atoms = boron_nitride((2, 2, 1), 0.1, 3)
    native = load_potential("tersoff_bnc")
    across = bridge(Calculator(native), ("B", "N"), receptive_field=2.1)
    engine = check_same_as_whole(atoms, across, lambda: Calculator(native), 1e-9)
    virials = gather(engine, engine.virials)
    if engine.comm.rank == 0:
        moved = engine_on_ranks(atoms, native, comm=SingleProcess())
        moved.system.positions[:] += np.random.default_rng(8).uniform(-0.1, 0.1, (len(atoms), 3))
        moved.compute(virials=True)
        assert np.abs(virials - gather(moved, moved.virials)).max() < 1e-9


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_atoms_on_a_gpu(precision):
    """Rows come from the device and go back to it; calculators compute in double precision whatever the engine does."""
    atoms = boron_nitride((1, 1, 1), 0.1, 4)
    across = bridge(Calculator("tersoff_bnc"), ("B", "N"), receptive_field=2.1)
    values = []
    for backend in (make_backend("cpu", "double"), EmulatedGpuBackend(precision)):
        engine = engine_on_ranks(atoms, across, comm=SingleProcess(), backend=backend)
        for virials in (True, False):
            engine.compute(virials=virials)
            forces = gather(engine, backend.to_host(engine.system.forces)[:len(atoms), :3])
            values.append((forces, engine.potential_energy(), engine.virial_total()))
    for found in values[1:]:
        for a, b in zip(values[0], found, strict=True):
            assert np.abs(a - b).max() < 1e-10


def test_strain_derivative():
    check_strain_derivative(alloy((2, 1, 1)), load_potential(LJ_TABLE), 1e-5)


def test_halo_has_no_more_than_it_needs():
    atoms = alloy((2, 2, 2))
    engine = engine_on_ranks(atoms, load_potential(LJ_TABLE), comm=SingleProcess())
    engine.compute()
    distances = np.linalg.norm(engine.system.positions[:, None] - engine.system.positions[None, :len(atoms)], axis=2)
    expected = (distances.min(axis=1) < 2.0 * LJ["rc"]).sum()
    assert engine.bound.cluster_atoms == expected < engine.system.n_total


@pytest.mark.parametrize(("repeat", "gap", "whole"), [((3, 3, 3), None, True), ((3, 3, 2), None, False),
                                                      ((3, 3, 2), 8.5, True), ((3, 3, 2), 7.5, False)])
def test_one_rank_needs_no_halo_in_a_cell_that_is_large_enough(repeat, gap, whole):
    """Gap: vacuum along an open direction; 8 A are needed there, and between faces along the others."""
    atoms = alloy(repeat)
    if gap is not None:
        flat = atoms.cell.array.copy()
        flat[2] = [0.0, 0.0, np.ptp(atoms.positions[:, 2]) + gap]
        flat[:2, 2] = 0.0
        atoms.set_cell(flat)
        atoms.pbc = (True, True, False)
    engine = check_same_as_whole(atoms, load_potential(LJ_TABLE), lambda: LennardJones(**LJ), 1e-10)
    assert (engine.bound.cluster_atoms == len(atoms)) == whole


class Whole(AseCalculator):
    """Not a sum over atoms: half the square of the sum of squared displacements from a plane."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties, system_changes)
        z = self.atoms.positions[:, 2]
        self.results = {"energy": 0.5 * (z @ z) ** 2, "forces": -2.0 * (z @ z) * z[:, None] * np.eye(3)[2]}


class Broken(EMT):
    """Stops, or gives site energies that do not add up."""

    def __init__(self, failure="stops"):
        super().__init__()
        self.failure = failure

    def calculate(self, *arguments):
        if self.failure == "stops":
            raise ValueError("out of ideas")
        super().calculate(*arguments)
        self.results["energies"] = self.results["energies"] + 0.1


def test_not_local_on_one_rank():
    atoms = alloy((1, 1, 1))
    potential = bridge(Whole(), ("Al", "Cu"))
    engine = engine_on_ranks(atoms, potential, comm=SingleProcess())
    engine.compute()
    z = gather(engine, engine.system.positions[:4, 2])
    assert engine.potential_energy() == pytest.approx(0.5 * (z @ z) ** 2, rel=1e-14)
    for ask, words in ((engine.virial_total, "gives no stress"),
                       (lambda: engine.compute(virials=True), "per-atom virials")):
        with pytest.raises(InputError, match=words):
            ask()
    calculator = Calculator(potential)
    assert "stress" not in calculator.implemented_properties
    atoms.wrap()
    atoms.calc = calculator
    assert atoms.get_potential_energy() == pytest.approx(engine.potential_energy(), rel=1e-14)


@pytest.mark.parallel(2)
def test_not_local_is_refused_on_ranks():
    world_communicator()
    with pytest.raises(InputError, match=r"^2 ranks: Whole is not decomposed.*run on one rank"):
        engine_on_ranks(alloy(), bridge(Whole(), ("Al", "Cu")))


def test_overlay_adds_and_joins_limits():
    atoms = boron_nitride((2, 1, 1), 0.1, 5)
    twice = load_potential(["tersoff_bnc", bridge(Calculator("tersoff_bnc"), ("B", "N"), receptive_field=2.1)])
    once, both = Calculator("tersoff_bnc"), Calculator(twice)
    for name in ("energy", "forces", "virials", "stress"):
        assert np.abs(both.get_property(name, atoms) - 2.0 * once.get_property(name, atoms)).max() < 1e-9, name
    limited = load_potential(["tersoff_bnc", bridge(Whole(), ("B", "N"))])
    assert "not decomposed" in limited.limits.decomposition
    assert limited.limits.total_virial


def test_refusals():
    tables = {
        r"calculator: style ase needs it": {"style": "ase", "elements": ["Al"]},
        r"path: not a key of style ase": {**EMT_TABLE, "path": "x"},
        r"method: not a key of style ase": {**EMT_TABLE, "method": "pbe"},
        r"expected module:Class": {**EMT_TABLE, "calculator": "ase.calculators.emt.EMT"},
        r"is no class of ASE calculators": {**EMT_TABLE, "calculator": "subprocess:Popen"},
        r"potential.arguments: .* refuses them": {**EMT_TABLE, "calculator": "hpcthermo.calculator:Calculator",
                                                   "arguments": {"potential": "nonsense"}},
        r"receptive_field_A: expected a length": {**EMT_TABLE, "receptive_field_A": "far"},
        r"receptive_field_A: only potentials of style ase": {"name": "tersoff_bnc", "receptive_field_A": 3.0},
    }
    for words, table in tables.items():
        with pytest.raises(InputError, match=words):
            load_potential(table)
    with pytest.raises(InputError, match="no site energies"):
        bridge(Whole(), ("Al",), receptive_field=3.0)
    with pytest.raises(InputError, match="no parameters for B, N"):
        Calculator(load_potential(EMT_TABLE)).get_property("energy", boron_nitride((1, 1, 1), 0.0, 1))
    for failure, error, words in (("stops", PhysicsError, "failed on .* atoms: ValueError: out of ideas"),
                                  ("sums", InputError, "cannot be decomposed")):
        with pytest.raises(error, match=words):
            Calculator(bridge(Broken(failure), ("Al", "Cu"), receptive_field=5.88)).get_property("energy", alloy(1))


JOB = """
kind = "{kind}"
[structure]
file = "wire.xyz"
[potential]
style = "ase"
calculator = "ase.calculators.emt:EMT"
elements = ["Al", "Cu"]
receptive_field_A = 5.88
[execution]
precision = "double"
skin_A = 0.5
[output]
series_interval_steps = 1
{section}
"""


STAGE = "[[stage]]\ntemperature_K = 300.0\ntimestep_fs = 2.0\nsteps = 3\n"


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(("kind", "section", "words"), [
    ("minimize", "[minimize]\nfree_cell_components = ['xx']", "changes the cell: EMT: the calculator gives no"),
    ("md", STAGE + "ensemble = 'npt'", "'npt' changes the cell: EMT"),
    ("md", STAGE + "ensemble = 'langevin'", None),
])
def test_jobs(tmp_path, capsys, monkeypatch, kind, section, words):
    from ase.io import write

    from hpcthermo.cli import main

    atoms = alloy((1, 1, 1))
    atoms.center(vacuum=2.0, axis=(1, 2))
    write(tmp_path / "wire.xyz", atoms)
    (tmp_path / "job.toml").write_text(JOB.format(kind=kind, section=section))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", "job.toml", "--out", "out"])
    said = capsys.readouterr()
    assert ended.value.code == (2 if words else 0), said
    if words:
        assert words in said.err
        assert len(said.err.splitlines()) == 1
        return
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["results"]["temperature"]["value"] > 0.0
    assert not any(name.startswith("pressure") for name in summary["results"])


def test_relaxation():
    from hpcthermo.dynamics.relax import relax

    atoms = alloy((2, 1, 1))
    atoms.center(vacuum=2.0, axis=(1, 2))
    engine = engine_on_ranks(atoms, load_potential(EMT_TABLE), comm=SingleProcess())
    engine.compute()
    start = engine.potential_energy()
    relaxed = relax(engine, force_tolerance_eV_per_A=0.05)
    assert relaxed.converged
    assert relaxed.energy < start
    assert relaxed.virial is None


def test_heat_current_and_bench_are_refused(tmp_path, monkeypatch, capsys):
    from hpcthermo.cli import main
    from hpcthermo.templates import write_template

    monkeypatch.chdir(tmp_path)
    write_template("nemd", tmp_path / "job.toml")
    text = (tmp_path / "job.toml").read_text().replace("[nemd]", "[nemd]\nheat_current = true")
    lennard_jones = '[[potential]]\nstyle = "ase"\ncalculator = "ase.calculators.lj:LennardJones"\n' \
                    'elements = ["B", "C", "N"]\nreceptive_field_A = 4.0\n'
    (tmp_path / "job.toml").write_text(text + lennard_jones)
    for command, words in (("check", "nemd.heat_current: LennardJones: the calculator gives no neighbour-centred"),
                           ("run", "nemd.heat_current: LennardJones: the calculator gives no neighbour-centred"),
                           ("bench", "bench: the operations of style ase are not known")):
        with pytest.raises(SystemExit, match="2"):
            main([command, "job.toml"])
        said = capsys.readouterr().err
        assert words in said
        assert len(said.splitlines()) == 1


def test_styles_are_those_of_the_table():
    assert tuple(CALCULATORS) == CALCULATOR_STYLES
