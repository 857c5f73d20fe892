"""Other codes on 1, 2 and 4 ranks against themselves on the whole system; each is skipped where it is not installed.

Models are trained by `small_models` when first asked for (MACE and DeePMD-kit: a minute each).
"""

import hashlib
import importlib.util

import numpy as np
import pytest
from ase.build import bulk
from same_as_whole import check_same_as_whole, check_site_virials, check_strain_derivative, engine_on_ranks
from small_models import boron_nitride, model_file

from hpcthermo.calculator import Calculator
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.errors import InputError
from hpcthermo.potentials.calculators import CALCULATORS
from hpcthermo.potentials.load import load_potential

RANKS = [1, pytest.param(2, marks=pytest.mark.parallel(2)),
         pytest.param(4, marks=[pytest.mark.parallel(4), pytest.mark.slow])]
LOCAL = [pytest.param("mace", marks=pytest.mark.slow), pytest.param("deepmd", marks=pytest.mark.slow), "gap"]
#: largest difference from the calculator on the whole system, eV/A and eV per atom
BOUNDS = {"mace": 1e-11, "gap": 1e-9, "deepmd": 1e-11}


def need(style):
    module = CALCULATORS[style].module.split(".", maxsplit=1)[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{CALCULATORS[style].package} is not installed: {CALCULATORS[style].install}")


def table_of(style, **options):
    need(style)
    comm = world_communicator()
    path = model_file(style) if comm.rank == 0 else None
    path = comm.bcast(path)
    trust = {} if style == "gap" else {"trusted_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {"style": style, "path": path, **trust, **options}


def own_calculator(style, path):
    if style == "mace":
        from mace.calculators import MACECalculator

        return MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")
    if style == "gap":
        from quippy.potential import Potential

        return Potential(param_filename=str(path))
    from deepmd.calculator import DP

    return DP(str(path))


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("style", LOCAL)
def test_same_as_the_calculator(style, ranks):
    table = table_of(style)
    check_same_as_whole(boron_nitride((2, 2, 1), 0.08, 40), load_potential(table),
                        lambda: own_calculator(style, table["path"]), BOUNDS[style])


@pytest.mark.parametrize("style", LOCAL)
def test_virials(style):
    """Of the system by strain; per atom by the site energies' derivatives, position first and force second."""
    potential = load_potential(table_of(style))
    check_strain_derivative(boron_nitride((1, 1, 1), 0.08, 41), potential, 1e-5)
    check_site_virials(boron_nitride((1, 1, 1), 0.08, 42), potential.model, 2e-5)


@pytest.mark.slow
def test_mace_in_single_precision():
    table = table_of("mace")
    atoms = boron_nitride((1, 1, 1), 0.08, 43)
    double, single = (Calculator(load_potential({**table, "dtype": name})).get_property("forces", atoms)
                      for name in ("float64", "float32"))
    assert 0.0 < np.abs(single - double).max() < 1e-4 * np.abs(double).max()


def test_trust():
    table = table_of("mace") if importlib.util.find_spec("mace") else table_of("deepmd")
    right = table.pop("trusted_sha256")
    with pytest.raises(InputError, match=f'can run any code.*trusted_sha256 = "{right}"'):
        load_potential(table)
    with pytest.raises(InputError, match="not the file that you trusted"):
        load_potential({**table, "trusted_sha256": "0" * 64})


def silicon(repeat=(2, 1, 1)):
    atoms = bulk("Si", cubic=True).repeat(repeat)
    atoms.rattle(0.1, seed=3)
    return atoms


def test_tblite_whole():
    need("tblite")
    from tblite.ase import TBLite

    potential = load_potential({"style": "tblite", "method": "GFN1-xTB"})
    check_same_as_whole(silicon(1), potential, lambda: TBLite(method="GFN1-xTB", verbosity=0), 1e-6)


def test_tblite_strain_derivative():
    need("tblite")
    check_strain_derivative(silicon(1), load_potential({"style": "tblite", "method": "GFN1-xTB"}), 2e-3, step=1e-3)


@pytest.mark.parallel(2)
def test_tblite_is_refused_on_ranks():
    need("tblite")
    with pytest.raises(InputError, match=r"^2 ranks: GFN1-xTB is not decomposed"):
        engine_on_ranks(silicon(), load_potential({"style": "tblite", "method": "GFN1-xTB"}))


DISPERSION = {"style": "dftd3", "method": "pbe"}
CUT = {**DISPERSION, "cutoff_A": 8.0, "coordination_cutoff_A": 5.0}


def test_dispersion_is_the_library():
    """Added to Tersoff, on the whole system; the stress as far as the library's cutoff has none."""
    need("dftd3")
    from dftd3.ase import DFTD3

    atoms = silicon(1)
    both, tersoff = Calculator(["tersoff_si", DISPERSION]), Calculator("tersoff_si")
    for name, bound in (("energy", 1e-10), ("forces", 1e-10)):
        own = DFTD3(method="PBE", damping="d3bj", params_tweaks={"s6": 1.0, "s8": 0.7875, "a1": 0.4289, "a2": 4.4407,
                                                                "s9": 0.0}).get_property(name, atoms)
        assert np.abs(both.get_property(name, atoms) - tersoff.get_property(name, atoms) - own).max() < bound
    potential = load_potential(["tersoff_si", DISPERSION])
    check_strain_derivative(atoms, potential, 2e-3)


@pytest.mark.parametrize("ranks", RANKS)
def test_dispersion_with_cutoffs_on_ranks(ranks):
    """Against the same cutoffs on the periodic system."""
    need("dftd3")
    potential = load_potential(CUT)
    atoms = silicon()
    engine = engine_on_ranks(atoms, potential)
    engine.compute()
    energy = engine.potential_energy()
    forces = engine.domain.gather(engine.system, ("forces",))
    if engine.comm.rank == 0:
        model = potential.model
        whole = model._model(atoms, model._cutoffs).get_dispersion(model._damping, grad=True)
        from ase.units import Bohr, Hartree

        assert abs(energy - whole["energy"] * Hartree) < 1e-10
        assert np.abs(forces.forces[:, :3] + whole["gradient"] * Hartree / Bohr).max() < 1e-10
        assert np.abs(whole["gradient"]).max() * Hartree / Bohr > 1e-4


def test_dispersion_cutoffs_and_their_error():
    need("dftd3")
    atoms = silicon(1)
    line = load_potential(CUT).model.describe_truncation(atoms)
    cut, full = (Calculator(load_potential(table)).get_property("energy", atoms) for table in (CUT, DISPERSION))
    assert f"by {1e3 * (cut - full) / len(atoms):.3g} meV/atom" in line
    bound = load_potential(CUT).model.describe_truncation(silicon(6))
    assert "leaves out less than" in bound
    assert float(bound.split("less than ")[1].split()[0]) > 1e3 * (cut - full) / len(atoms)
    for table, words in (({**DISPERSION, "cutoff_A": 8.0}, "give both"), ({**DISPERSION, "method": "pbx"}, "pbx")):
        with pytest.raises(InputError, match=words):
            load_potential(table)
    engine = engine_on_ranks(atoms, load_potential(CUT), comm=SingleProcess())
    with pytest.raises(InputError, match="virial of a whole cell"):
        engine.virial_total()


@pytest.mark.parallel(2)
def test_dispersion_without_cutoffs_is_refused_on_ranks():
    need("dftd3")
    with pytest.raises(InputError, match=r"library's cutoffs \(31.8 A\) is not decomposed"):
        engine_on_ranks(silicon(), load_potential(["tersoff_si", DISPERSION]))
