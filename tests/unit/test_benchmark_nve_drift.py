"""The drift benchmark: the fit finds a slope, the shadow energy is conserved far better than the energy."""

from pathlib import Path

import numpy as np
import pytest

from hpcthermo.potentials.load import load_potential

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_slope_is_within_its_error():
    from nve_drift import drift

    times = np.linspace(0.0, 0.01, 2000)
    slope, error = drift(times, 3.0 + 0.5 * times + np.random.default_rng(0).normal(0.0, 1e-3, times.size))
    assert abs(slope - 0.5) < 3.0 * error
    assert 0.0 < error < 0.05


def test_a_random_walk_is_no_drift():
    from nve_drift import drift

    times, generator = np.linspace(0.0, 0.01, 1000), np.random.default_rng(1)
    walks = [drift(times, np.cumsum(generator.normal(size=times.size))) for _ in range(200)]
    # four quarters know their scatter to a third, so two errors hold less often than 95 of 100 times
    assert np.mean([abs(slope) < 2.0 * error for slope, error in walks]) > 0.75
    assert np.std([slope for slope, _ in walks]) == pytest.approx(np.median([error for _, error in walks]), rel=0.4)


@pytest.mark.parametrize(("slope", "error", "word"), [(0.01, 0.004, "below"), (-0.01, 0.006, "undecided"),
                                                      (-0.05, 0.01, "ABOVE"), (0.0, 0.03, "undecided")])
def test_a_verdict_counts_two_errors(slope, error, word):
    from nve_drift import verdict

    assert verdict(slope, error, 0.02) == word


def test_atoms_of_several_masses_keep_their_shadow_energy():
    """Rows change places at rebuilds, masses with them."""
    from nve_drift import Case, equilibrated, measure

    case, potential = Case("heavy boron", heavy_boron, "", 0.1, 0.02), load_potential("tersoff_bnc")
    start = equilibrated(case, potential, case.equilibration_ps)
    found = measure(start, potential, "double", case.timestep_fs, case.picoseconds)
    assert found["std_shadow"] < 0.02 * found["std_total"]


def heavy_boron():
    from systems import standard_system

    atoms = standard_system("bnc_layers", 96)
    atoms.set_masses([60.0 if symbol == "B" else mass
                      for symbol, mass in zip(atoms.symbols, atoms.get_masses(), strict=True)])
    return atoms
