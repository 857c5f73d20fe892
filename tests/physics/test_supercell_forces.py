"""Forces of displaced supercells: a campaign's engine against one that is made anew."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from hpcthermo.calculator import Calculator
from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.task import task_keys
from hpcthermo.errors import InputError
from hpcthermo.phonons.forces import SupercellForces, campaign_bytes, displacement_task

SI = bulk("Si", "diamond", 5.43, cubic=True).repeat(2)


def forces_in(atoms, potential, **options):
    return SupercellForces(atoms.cell.array, atoms.positions, tuple(atoms.get_chemical_symbols()), potential, **options)


def displaced(atoms, task):
    moved = atoms.copy()
    moved.positions[task.arrays["atoms"]] += task.arrays["vectors"]
    return moved


def displacements(n_atoms, count, seed=1):
    random = np.random.default_rng(seed)
    pairs = [displacement_task(random.choice(n_atoms, 2, replace=False), 0.03 * random.normal(size=(2, 3)))
             for _ in range(count)]
    everywhere = displacement_task(np.arange(n_atoms), 0.01 * random.normal(size=(n_atoms, 3)))
    far = displacement_task([5, 2], [[0.4, 0.0, -0.1], [0.0, 0.1, 0.0]])
    return [*pairs, displacement_task([], []), everywhere, far]


@pytest.mark.parametrize("atoms", [SI, bulk("Si", "diamond", 5.43)], ids=["64 atoms", "thinner than the cutoff"])
def test_forces_are_those_of_a_new_engine(atoms):
    tasks = displacements(len(atoms), 5) if len(atoms) > 5 else [displacement_task([1], [[0.03, 0.0, 0.01]])]
    records = run_campaign(forces_in(atoms, "tersoff_si"), tasks)
    for task, record in zip(tasks, records, strict=True):
        expected = displaced(atoms, task)
        expected.calc = Calculator("tersoff_si")
        np.testing.assert_allclose(record.arrays["forces"], expected.get_forces(), atol=1e-12)
        np.testing.assert_allclose(record.arrays["energy"], expected.get_potential_energy(), atol=1e-11)


def test_forces_are_the_same_bits_in_any_order():
    function, tasks = forces_in(SI, "tersoff_si"), displacements(64, 6)
    forward, state = function.evaluate(function.prepare(), tasks), function.prepare()
    for task, record in zip(tasks[::-1], forward[::-1], strict=True):
        np.testing.assert_array_equal(function.evaluate(state, [task])[0]["forces"], record["forces"])


def test_other_codes_take_part():
    copper = bulk("Cu", cubic=True).repeat(2)
    copper.positions[3] += 0.05
    table = {"style": "ase", "calculator": "ase.calculators.emt:EMT", "elements": ["Cu"]}
    tasks = displacements(len(copper), 3)
    for task, record in zip(tasks, run_campaign(forces_in(copper, table), tasks), strict=True):
        expected = displaced(copper, task)
        expected.calc = EMT()
        np.testing.assert_allclose(record.arrays["forces"], expected.get_forces(), atol=1e-10)


def test_the_order_of_displaced_atoms_does_not_matter_and_the_content_of_the_potential_does(tmp_path):
    first = displacement_task([7, 2], [[0.1, 0, 0], [0, 0.2, 0]])
    assert first.digest() == displacement_task([2, 7], [[0, 0.2, 0], [0.1, 0, 0]]).digest()
    path, other = tmp_path / "a.txt", tmp_path / "moved.txt"
    path.write_text("parameters")
    other.write_text("parameters")
    key = task_keys(forces_in(SI, str(path)), [first])
    assert task_keys(forces_in(SI, {"path": str(path), "style": "nep"}), [first]) != key
    assert task_keys(forces_in(SI, str(other)), [first]) == key
    other.write_text("parameterS")
    assert task_keys(forces_in(SI, str(other)), [first]) != key
    assert task_keys(forces_in(SI.repeat(2), str(path)), [first]) != key


def test_bad_displacements_and_atoms_on_top_of_each_other_fail_with_a_reason():
    bond = SI.get_distance(0, 1, mic=True, vector=True)
    tasks = [displacement_task([64], [[0.1, 0, 0]]), displacement_task([1, 1], np.zeros((2, 3))),
             displacement_task([0], [bond]), displacement_task([0], [[0.1, 0, 0]])]
    records = run_campaign(forces_in(SI, "tersoff_si"), tasks)
    assert set(records.failures) == {0, 1, 2}
    assert "atoms from 0 to 63" in records.failures[0]
    assert "not" in records.failures[2] or "finite" in records.failures[2]
    with pytest.raises(InputError, match="Ge"):
        run_campaign(forces_in(bulk("Ge", cubic=True), "tersoff_si"), tasks)


def test_memory_grows_with_what_is_kept():
    few, many = campaign_bytes(252, 100, 2), campaign_bytes(252, 100_000, 2)
    assert 24 * 252 * 99_900 <= many - few <= 2 * 24 * 252 * 99_900
    assert 1e8 < few < 1e9
