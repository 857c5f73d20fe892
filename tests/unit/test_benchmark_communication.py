"""The model of communication beside counted ghosts, messages and bytes."""

from pathlib import Path

import numpy as np
import pytest

from hpcthermo.performance_model import STEP_REDUCTIONS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_cube_of_eight_bricks():
    from communication import expected

    # edge 10, halo 1, density 1: (12^3 - 10^3) ghosts, none of them an own image, 26 neighbours of which 7 ranks
    model = expected(np.full(3, 20.0), np.array([2, 2, 2]), 1.0, 1.0)
    assert model["ghosts"] == pytest.approx(728.0)
    assert model["messages"] == 14
    assert model["bytes"] == pytest.approx(56 * 728.0)


def test_own_images_are_not_sent():
    from communication import expected

    alone = expected(np.full(3, 20.0), np.array([1, 1, 1]), 1.0, 1.0)
    assert alone["ghosts"] == pytest.approx(22.0**3 - 20.0**3)
    assert alone["bytes"] == alone["messages"] == 0
    # two slabs of 10 x 20 x 20: the two faces of 22 x 22 go to the other rank, in one message each way
    slabs = expected(np.full(3, 20.0), np.array([2, 1, 1]), 1.0, 1.0)
    assert slabs["bytes"] == pytest.approx(56 * 2 * 22.0**2)
    assert slabs["virial_bytes"] == pytest.approx(120 * 2 * 22.0**2)
    assert slabs["messages"] == 2


def test_thin_bricks_reach_beyond_their_neighbours():
    from communication import expected

    # slabs of 2.5 with a halo of 4 reach two slabs on either side
    assert expected(np.array([20.0, 20.0, 20.0]), np.array([8, 1, 1]), 4.0, 1.0)["messages"] == 8


def test_ten_million_atoms_as_estimated():
    from communication import TEN_MILLION, ten_million

    for line, estimate in zip(ten_million()[1:], TEN_MILLION.values(), strict=True):
        assert float(line.split()[2]) == pytest.approx(estimate, rel=0.03)


def test_counted_figures_are_those_of_the_model(tmp_path):
    from communication import counted, expected
    from systems import standard_system

    atoms = standard_system("silicon", 8_000)
    structure = tmp_path / "structure.npz"
    np.savez(structure, symbols=atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell.array)
    answer = counted(4, structure, None)
    rows = answer["rows"]
    model = expected(atoms.cell.lengths(), np.array(answer["parts"]), rows[0]["halo"],
                     len(atoms) / atoms.get_volume())
    assert sum(row["owned"] for row in rows) == 8_000
    assert np.mean([row["ghosts"] for row in rows]) == pytest.approx(model["ghosts"], rel=0.08)
    assert np.mean([row["step"][0] for row in rows]) == model["messages"]
    assert np.mean([row["step"][1] for row in rows]) == pytest.approx(model["bytes"], rel=0.08)
    assert np.mean([row["virial_step"][1] for row in rows]) == pytest.approx(model["virial_bytes"], rel=0.08)
    # virials travel with the forces, and a step reduces once
    assert [row["virial_step"][0] for row in rows] == [row["step"][0] for row in rows]
    assert {row["step"][2] for row in rows} == {STEP_REDUCTIONS}
