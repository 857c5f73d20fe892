"""Gradients of the losses of NEP training, against differences of the loss and the engine's own forces."""

import numpy as np
import pytest
from ase import Atoms

from hpcthermo.calculator import Calculator
from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.errors import InputError
from hpcthermo.potentials.nep_file import EXTRA_INVARIANTS, read_nep_file
from hpcthermo.potentials.nep_writer import write_nep_file
from hpcthermo.potentials.zbl import UNIVERSAL_PHI, universal_screening
from hpcthermo.training.crew import Crew
from hpcthermo.training.loss import Loss, LossWeights
from hpcthermo.training.parameters import NepForm, form_of


def form(l_max=4, extra=EXTRA_INVARIANTS, screening=None, neurons=5):
    return NepForm(("Te", "Pb"), (4.6, 5.0), (4.0, 4.4), (3, 2), (5, 4), l_max, extra, neurons, screening)


def frames(seed=0):
    """A cell thinner than the cutoffs, a larger one, and a molecule without a cell."""
    random = np.random.default_rng(seed)
    result = []
    thin, skewed = np.array([[3.1, 0.2, 0.0], [0.4, 3.6, 0.1], [0.0, 0.3, 6.5]]), 9.0 * np.eye(3)
    skewed += 0.3 * random.normal(size=(3, 3))
    for n, cell, periodic in ((3, thin, True), (20, skewed, True), (4, np.zeros((3, 3)), False)):
        place = random.uniform(size=(n, 3)) @ (cell if periodic else 3.0 * np.eye(3))
        symbols = tuple(random.choice(["Te", "Pb"], n))
        virial = random.normal(size=(3, 3))
        labels = {"energy": -3.0 * n + random.normal(), "forces": random.normal(size=(n, 3)),
                  "virial": virial + virial.T if periodic else None, "weight": 0.5 + random.uniform()}
        result.append(LabelledFrame(cell, np.full(3, periodic), symbols, place, **labels))
    return result


WEIGHTS = LossWeights(energy=3.0, force=1.0, virial=2.0, l2=1e-3, types={"Pb": 0.4})


def derivative(function, h):
    """Of a function at 0 by differences, of sixth order."""
    return sum(c * (function(k * h) - function(-k * h)) for k, c in ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))) / h


@pytest.mark.parametrize(("l_max", "extra"), [(4, EXTRA_INVARIANTS), (1, ("1111",)), (5, ("222", "134")), (0, ())])
def test_the_gradient_is_that_of_the_loss(l_max, extra):
    loss = Loss(frames(), form(l_max, extra), WEIGHTS, precision="double")
    theta = loss.with_mean_energy(loss.form.start(1))
    gradient = loss.value_and_gradient(theta)[1]
    random = np.random.default_rng(2)
    parts = [np.arange(loss.form.n_parameters), *loss.form._parts, np.array([loss.form.bias_place])]
    for part in parts:
        direction = np.zeros_like(theta)
        direction[part] = random.normal(size=np.shape(part))
        direction /= np.linalg.norm(direction)
        found = derivative(lambda t, d=direction: loss.value(theta + t * d), 2e-3)
        assert gradient @ direction == pytest.approx(found, rel=1e-7, abs=1e-9 * np.linalg.norm(gradient))


@pytest.mark.parametrize("part", [LossWeights(1, 0, 0), LossWeights(0, 1, 0), LossWeights(0, 0, 1)])
def test_each_part_of_the_loss_has_its_gradient(part):
    loss = Loss(frames(3), form(), part, precision="double")
    theta = loss.form.start(4)
    gradient = loss.value_and_gradient(theta)[1]
    direction = gradient / np.linalg.norm(gradient)
    found = derivative(lambda t: loss.value(theta + t * direction), 1e-3)
    assert np.linalg.norm(gradient) == pytest.approx(found, rel=1e-7)


def test_the_gradient_of_single_parameters_in_both_precisions():
    losses = [Loss(frames(), form(), WEIGHTS, precision=precision) for precision in ("double", "mixed")]
    theta = losses[0].with_mean_energy(losses[0].form.start(5))
    exact, single = (loss.value_and_gradient(theta)[1] for loss in losses)
    scale = np.abs(exact).max()
    for k in np.random.default_rng(6).choice(len(theta), 12, replace=False):
        step = np.zeros_like(theta)
        step[k] = 1.0
        found = derivative(lambda t, s=step: losses[0].value(theta + t * s), 1e-3)
        assert exact[k] == pytest.approx(found, abs=1e-7 * scale)
    assert np.abs(single - exact).max() < 2e-5 * scale


@pytest.mark.parametrize("screening", [None, "universal", "flexible"])
@pytest.mark.parametrize("l_max", [3, 6])
def test_energies_forces_and_virials_are_those_of_the_engine(tmp_path, screening, l_max):
    if screening is not None:
        screening = universal_screening(("Te", "Pb"), 1.2, 2.6, 0.6 if screening == "flexible" else None, UNIVERSAL_PHI)
    # with labels of 0 errors are the values, and labels are those of the repulsion with the sign changed
    structures = [LabelledFrame(f.cell, f.periodic, f.symbols, f.positions, 0.0, 0.0 * f.positions, np.zeros((3, 3)))
                  for f in frames(7)]
    loss = Loss(structures, form(l_max, screening=screening), LossWeights(), precision="double")
    theta = loss.form.start(8)
    theta[loss.form.bias_place] = 0.7
    found = loss.predict(theta)
    labels = loss.structures.labels
    write_nep_file(tmp_path / "nep.txt", loss.form.model(theta, loss.scaler), loss.set.most_neighbors)
    first = loss.structures.first_atoms
    for s, f in enumerate(structures):
        atoms = Atoms(f.symbols, f.positions, cell=f.cell if f.periodic.any() else None, pbc=f.periodic)
        atoms.calc = Calculator(tmp_path / "nep.txt")
        forces = (found.forces - labels.forces)[first[s] : first[s + 1]]
        energy = atoms.get_potential_energy()
        assert found.energies[s] - labels.energies[s] == pytest.approx(energy, rel=1e-11, abs=1e-10)
        assert np.abs(forces - atoms.get_forces()).max() < 1e-10 * max(1.0, np.abs(forces).max())
        virial = atoms.calc.results["virials"].sum(axis=0)
        components = [virial[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))]
        assert np.abs((found.virials - labels.virials)[s] - components).max() < 1e-9 * max(1.0, np.abs(virial).max())
        assert found.errors[s, 0] == pytest.approx(energy / f.n_atoms, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("screening", [None, "universal", "flexible"])
def test_a_model_written_and_read_back_is_the_same(tmp_path, screening):
    if screening is not None:
        screening = universal_screening(("Te", "Pb"), 1.2, 2.6, 0.6 if screening == "flexible" else None, UNIVERSAL_PHI)
    stated = form(extra=("222", "1111", "123"), screening=screening)
    theta, scaler = stated.start(9), np.random.default_rng(9).uniform(size=stated.n_descriptors)
    theta[stated.bias_place] = 1.0 / 3.0
    write_nep_file(tmp_path / "nep.txt", stated.model(theta, scaler), (61, 12))
    text = (tmp_path / "nep.txt").read_text().split("\n")
    lines = [line for line in text if line.startswith(("cutoff", "l_max"))]
    assert lines == ["cutoff 4.6 4.0 5.0 4.4 61 12", "l_max 4 2 1 0 1"]
    model = read_nep_file(tmp_path / "nep.txt")
    again = form_of(model)
    assert np.array_equal(again.parameters(model), theta)
    assert np.array_equal(model.scaler, scaler)
    assert screening is None or np.allclose(again.screening, screening, rtol=1e-15)
    for name in ("n_max", "basis_size", "l_max", "extra_invariants", "neurons"):
        assert getattr(again, name) == getattr(stated, name)


def test_bits_do_not_depend_on_the_number_of_threads():
    many = [f for seed in range(30) for f in frames(seed)]
    results = []
    for threads in (1, 3):
        loss = Loss(many, form(), WEIGHTS, crew=Crew(threads=threads))
        results.append(loss.value_and_gradient(loss.form.start(0)))
    assert loss.set.partition.n_parts > 2
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_descriptors_that_are_the_same_for_all_atoms_have_factors_without_rounding_errors(precision):
    """Simple cubic crystals: by symmetry odd degrees and products with them are 0, and one of them has equal atoms."""
    def crystal(a):
        grid = a * np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
        return LabelledFrame(2.0 * a * np.eye(3), np.ones(3), ("Te",) * 8, grid, energy=0.0)

    several, one = (Loss([crystal(a) for a in lattice], form(), precision=precision).scaler
                    for lattice in ((2.9, 3.0, 3.1), (3.0,)))
    assert np.all(several > 0.0)
    assert several.max() < 1e6
    # 1/max: by one crystal alone
    assert one[:4] == pytest.approx(one[0])
    assert 0.0 < one[0] < 1.0
    assert one.max() < 1e6


def test_missing_labels_count_for_nothing():
    some = frames()
    bare = [LabelledFrame(f.cell, f.periodic, f.symbols, f.positions, energy=f.energy) for f in some]
    loss = Loss(bare, form(), LossWeights(), precision="double")
    errors = loss.errors(loss.form.start(0))
    assert np.isnan(errors.force)
    assert np.isnan(errors.virial)
    alone = Loss(bare, form(), LossWeights(force=0.0, virial=0.0), loss.scaler, precision="double")
    theta = loss.form.start(0)
    assert np.array_equal(loss.value_and_gradient(theta)[1], alone.value_and_gradient(theta)[1])


def test_an_unknown_element_is_named():
    odd = LabelledFrame(np.eye(3) * 9, np.ones(3), ("Te", "Xe"), np.array([[0.0, 0, 0], [3, 3, 3]]), energy=0.0)
    with pytest.raises(InputError, match="structure 0: expected the elements Te Pb, got Xe"):
        Loss([odd], form())
