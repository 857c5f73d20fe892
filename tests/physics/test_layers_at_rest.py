"""Binding curves, sliding surfaces and moire maps: analytic cases, symmetry, sum rules, published curves, refusals."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcthermo import plots
from hpcthermo.calculator import Calculator
from hpcthermo.cli import main
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.load import load_potential
from hpcthermo.run import run_job
from hpcthermo.statics.layer_sweep import LayerSweep
from hpcthermo.statics.sliding_surface import Surface, sliding_barrier
from hpcthermo.structure import LayerBlock, layered_stack_snapshot

SHARED = Path(__file__).parents[2].parent / "shared"
NEP = SHARED / "data" / "nep" / "gr_hbn_liang2025.nep.txt"
GR_HBN = SHARED / "data" / "gr_hbn"
needs_data = pytest.mark.skipif(not (NEP.exists() and GR_HBN.exists()), reason="no reference data beside this checkout")

BILAYER = """
kind = "{kind}"
potential = ["tersoff_graphene", "lj_gr_hbn"]
structure.builder = "layered_stack"
structure.vacuum_A = 30.0
structure.spacing_A = 3.4
execution.skin_A = 1.0
{rest}
[[structure.layers]]
material = "graphene"
count = 2
repeat = [1, 1]
stacking = "AB"
"""


def run(folder, text, *options):
    (folder / "job.toml").write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["run", str(folder / "job.toml"), "--out", str(folder / "out"), *options])
    return end.value.code


def results_of(folder, group):
    with h5py.File(folder / "out" / "results.h5") as store:
        found = {name: store[group][name][()] for name in store[group]}
    return found, json.loads((folder / "out" / "summary.json").read_text())["results"]


# ---- binding curves -----------------------------------------------------------------------------------

def test_binding_curve_of_two_square_lattices_is_the_lattice_sum(tmp_path):
    """Lennard-Jones between two square lattices: E(d) = sum over the lattice of phi(sqrt(d^2 + R^2)) / 2 per atom."""
    edge, cutoff, epsilon, sigma = 3.0, 12.0, 0.01, 3.0
    (tmp_path / "lj.txt").write_text(f"lj 1 Ar\n{epsilon} {sigma} {cutoff}\n")
    (tmp_path / "a.xyz").write_text(
        f'2\nLattice="{edge} 0 0 0 {edge} 0 0 0 60" Properties=species:S:1:pos:R:3:layer:I:1 pbc="T T F"\n'
        f"Ar 0 0 20 0\nAr 0 0 23 1\n")
    text = """
kind = "binding_curve"
structure.file = "a.xyz"
binding_curve.range_A = [2.6, 3.6, 0.05]
[potential]
path = "lj.txt"
between_layers_only = true
"""
    assert run(tmp_path, text) == 0
    found, table = results_of(tmp_path, "binding_curve")
    steps = edge * np.arange(-5, 6)
    squares = (steps[:, None] ** 2 + steps**2).ravel()

    def energy(distance):
        r2 = squares + distance**2
        ratio, end = (sigma**2 / r2) ** 3, (sigma / cutoff) ** 6
        return float((4 * epsilon * ((ratio**2 - ratio) - (end**2 - end)) * (r2 < cutoff**2)).sum()) / 2

    assert found["energy"] == pytest.approx([energy(d) for d in found["distance"]], abs=1e-12)
    assert float(found["energy_apart"]) == 0.0
    fine = np.linspace(2.6, 3.6, 20001)
    exact = np.array([energy(d) for d in fine])
    place = table["equilibrium_distance"]
    assert place["value"] == pytest.approx(fine[exact.argmin()], abs=max(2 * place["error"], 2e-4))
    assert table["binding_energy"]["value"] == pytest.approx(1e3 * exact.min(), rel=1e-4)


@needs_data
@pytest.mark.usefixtures("without_figures")
def test_published_exfoliation_curve(tmp_path):
    """The 50 values of the NEP model of Liang et al. 2025; their d counts from one carbon atom, ours from the mean."""
    published = np.loadtxt(GR_HBN / "exfoliation_AB.nep.dat")
    carbon = np.loadtxt((GR_HBN / "exfoliation_AB.POSCAR").read_text().splitlines()[8:10])[:, 2]
    distances = (published[:, 0] + 24.2550311798 - carbon.mean()).tolist()
    text = f"""
kind = "binding_curve"
structure.file = "{GR_HBN / 'exfoliation_AB.POSCAR'}"
potential = "{NEP}"
[binding_curve]
distances_A = {distances}
reference_file = "{GR_HBN / 'exfoliation_AB.dft.dat'}"
"""
    assert run(tmp_path, text) == 0
    found, table = results_of(tmp_path, "binding_curve")
    assert np.abs(found["energy"] - published[:, 1]).max() < 1e-9
    assert table["rms_deviation_from_reference"]["value"] < 1.0  # meV/atom, from PBE+MBD


# ---- sliding surfaces ---------------------------------------------------------------------------------

def test_barrier_and_symmetry_of_known_surfaces():
    x = 2.0 * np.pi * np.arange(40) / 40
    square = 2.0 - np.cos(x)[:, None] - np.cos(x)[None, :]  # minimum 0, saddles 2, maximum 4
    assert sliding_barrier(square) == pytest.approx(2.0)
    assert sliding_barrier(5.0 * square) == pytest.approx(10.0)
    threefold = -np.cos(x)[:, None] - np.cos(x)[None, :] - np.cos(x[:, None] + x[None, :])
    # vectors at 60 degrees have reciprocal ones at 120: the three cosines turn into each other
    edges = np.array([[2.46, 0.0], [1.23, 2.46 * 0.75**0.5]])
    assert Surface(threefold, edges).asymmetry() < 1e-4
    assert Surface(square, edges).asymmetry() > 0.1
    places = np.random.default_rng(1).random((20, 2))
    u, v = 2.0 * np.pi * places.T
    expected = -np.cos(u) - np.cos(v) - np.cos(u + v)
    assert Surface(threefold, edges).at(places) == pytest.approx(expected)


SLIDING = """
[sliding_surface]
edges = [[0.5, 0.5], [-0.5, 0.5]]
points = [7, 7]
relax = "{relax}"
"""


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory, plain_figures):
    """Bilayer graphene over its hexagonal cell, with the three ways to relax; one of them draws its figures."""
    found = {}
    for relax in ("none", "distance", "z"):
        folder = tmp_path_factory.mktemp(relax)
        with pytest.MonkeyPatch.context() as patch:
            if relax != "z":
                patch.setattr(plots, "draw_figures", lambda folder: [])
            assert run(folder, BILAYER.format(kind="sliding_surface", rest=SLIDING.format(relax=relax))) == 0
        found[relax] = (*results_of(folder, "sliding_surface"), folder)
    return found


def test_sliding_surface_has_the_symmetry_of_the_lattice(surfaces):
    for name, (found, table, _) in surfaces.items():
        energy, close = found["energy"], 1e-8 if name == "none" else 1e-4  # meV/atom
        assert energy[0] == pytest.approx(energy[-1], abs=close)
        assert energy[:, 0] == pytest.approx(energy[:, -1], abs=close)
        # AB and BA are mirror images: turning the bilayer over takes s to -s about AA
        places = np.unravel_index(energy.argmax(), energy.shape)
        rolled = np.roll(energy[:-1, :-1], (-places[0], -places[1]), (0, 1))
        assert rolled == pytest.approx(np.roll(rolled[::-1, ::-1], (1, 1), (0, 1)), abs=close)
        assert rolled == pytest.approx(rolled.T, abs=close)
        assert table["sliding_barrier"]["value"] < table["corrugation"]["value"]
        assert table["threefold_asymmetry"]["value"] < max(close, 1e-6)


def test_more_freedom_lowers_the_surface(surfaces):
    none, distance, z = (surfaces[name][0] for name in ("none", "distance", "z"))
    energies = [found["energy"] + 1e3 * float(found["lowest_energy"]) for found in (none, distance, z)]
    assert np.ptp(none["distance"]) < 1e-12
    assert np.ptp(distance["distance"]) > 0.01
    assert np.all(energies[1] < energies[0])
    assert np.all(energies[2] < energies[1] + 1e-6)
    assert z["distance"] == pytest.approx(distance["distance"], abs=2e-3)


def test_both_maps_are_drawn(surfaces):
    for name in ("sliding_surface", "sliding_distance"):
        assert (surfaces["z"][2] / "out" / f"{name}.png").stat().st_size > 10_000


def test_a_point_is_what_the_calculator_says(surfaces):
    found, _, _ = surfaces["none"]
    snapshot = layered_stack_snapshot([LayerBlock("graphene", 2, (1, 1), "AB")], 3.4, 30.0)
    from hpcthermo.structure.write import snapshot_atoms

    energies = []
    for shift in (found["shift"][0, 0], found["shift"][2, 5]):
        atoms = snapshot_atoms(snapshot)
        atoms.positions[snapshot.layers == 1, :2] += shift
        atoms.calc = Calculator(["tersoff_graphene", "lj_gr_hbn"])
        energies.append(atoms.get_potential_energy() / len(atoms) * 1e3)
    assert found["energy"][2, 5] - found["energy"][0, 0] == pytest.approx(energies[1] - energies[0], abs=1e-6)


@pytest.mark.parallel(2)
@pytest.mark.usefixtures("without_figures")
def test_two_ranks_find_the_same_surface(tmp_path):
    """A whole job on two ranks, against the sweep in one process."""
    comm = world_communicator()
    folder = Path(comm.bcast(str(tmp_path)))
    text = BILAYER.format(kind="sliding_surface", rest=SLIDING.format(relax="distance")).replace("[7, 7]", "[3, 4]")
    if comm.rank == 0:
        (folder / "job.toml").write_text(text)
    comm.barrier()
    assert run_job(folder / "job.toml", folder / "out", resume=False) == 0
    if comm.rank > 0:
        return
    found, _ = results_of(folder, "sliding_surface")
    snapshot = layered_stack_snapshot([LayerBlock("graphene", 2, (1, 1), "AB")], 3.4, 30.0)
    potential = load_potential(["tersoff_graphene", "lj_gr_hbn"])
    engine = make_engine(snapshot, potential, SingleProcess(), make_backend("cpu", "double"))
    sweep = LayerSweep(engine, 0, found["shift"].reshape(-1, 2), relaxation="distance")
    for k in range(found["energy"].size):
        sweep.step(engine, k)
    energies = 1e3 * (sweep.energies - sweep.energies.min()).reshape(found["energy"].shape) / snapshot.n_atoms
    assert found["energy"] == pytest.approx(energies, abs=1e-5)
    assert np.ptp(energies) > 0.1


def test_a_sweep_goes_on_where_it_stood():
    snapshot = layered_stack_snapshot([LayerBlock("graphene", 2, (1, 1), "AB")], 3.4, 30.0)
    shifts = np.array([[0.0, 0.0], [0.4, 0.1], [0.9, 0.3], [1.1, 0.8]])
    potential, backend = load_potential(["tersoff_graphene", "lj_gr_hbn"]), make_backend("cpu", "double")

    def begin():
        engine = make_engine(snapshot, potential, SingleProcess(), backend)
        return engine, LayerSweep(engine, 0, shifts, relaxation="distance")

    engine, whole = begin()
    for k in range(4):
        whole.step(engine, k)
        if k == 1:
            state = {name: value.copy() for name, value in whole.state().items()}
            half_way = engine.domain.gather(engine.system)
    engine = make_engine(half_way, potential, SingleProcess(), backend)
    rest = LayerSweep(engine, 0, shifts, relaxation="distance")
    rest.restore(state)
    for k in (2, 3):
        rest.step(engine, k)
    assert rest.energies == pytest.approx(whole.energies, abs=1e-10)
    assert rest.distances == pytest.approx(whole.distances, abs=1e-6)


# ---- moire maps ---------------------------------------------------------------------------------------

MOIRE = """
kind = "moire_map"
potential = ["tersoff_bnc", "lj_gr_hbn"]
structure.builder = "layered_stack"
structure.vacuum_A = 30.0
structure.spacing_A = 3.4
execution.skin_A = 1.0
{rest}
[[structure.layers]]
material = "h-BN"
count = 1
repeat = [{lower}, {lower}]
[[structure.layers]]
material = "graphene"
count = 1
repeat = [{upper}, {upper}]
"""


def test_moire_map_and_its_sum_rule(tmp_path):
    rest = 'moire_map = { force_tolerance_eV_per_A = 0.02, atom_axes = ["z"] }'
    assert run(tmp_path, MOIRE.format(rest=rest, lower=9, upper=10)) == 0
    found, table = results_of(tmp_path, "moire_map")
    upper = found["upper"].astype(bool)
    assert upper.sum() == 4 * 10**2
    # every pair is counted once from each side, so both layers hold the whole interlayer energy
    sums = [found["interlayer_energy"][side].sum() for side in (upper, ~upper)]
    assert sums[0] == pytest.approx(sums[1], rel=5e-3)
    relaxed = (tmp_path / "out" / "relaxed.xyz").read_text()
    from ase.io import read

    atoms = read(tmp_path / "out" / "relaxed.xyz")
    assert relaxed.count("\n") == len(atoms) + 2

    def energy(chosen):
        part = atoms[chosen]
        part.calc = Calculator(["tersoff_bnc", "lj_gr_hbn"])
        return part.get_potential_energy()

    layers = atoms.arrays["layer"]
    binding = energy(layers >= 0) - energy(layers == 0) - energy(layers == 1)
    assert sums[0] == pytest.approx(binding, rel=5e-3)
    assert table["moire_period_upper"]["value"] == pytest.approx(0.1 * atoms.cell[0, 0], rel=1e-3)
    # UFF prefers hollow over eclipsed sites
    assert table["distance_AB'"]["value"] < table["distance_AA"]["value"]
    assert (tmp_path / "out" / "moire_map.png").stat().st_size > 10_000


# ---- refusals -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "rest", "message"), [
    ("binding_curve", "binding_curve = { gap = 3, range_A = [3, 4, 0.1] }", "gap: expected 0 ... 0"),
    ("binding_curve", "binding_curve = { range_A = [3, 4, 0.5] }", "at least five points"),
    ("binding_curve", "binding_curve = { }", "exactly one of them"),
    ("binding_curve", 'binding_curve = { range_A = [3, 4, 0.1], reference_file = "none.dat" }',
     "reference_file: expected a file"),
    ("sliding_surface", "sliding_surface = { edges = [[1, 0], [2, 0]] }", "two edges that span"),
    ("sliding_surface", "sliding_surface = { points = [2, 5] }", "greater than or equal to 3"),
    ("binding_curve", 'binding_curve = { range_A = [3, 4, 0.1], reference_file = "job.toml" }', "expected numbers"),
    ("binding_curve", "structure.pbc = [true, true, true]\nbinding_curve = { range_A = [3, 4, 0.1] }", "z is to be"),
    ("moire_map", "moire_map = { interface = [0, 2] }", "two neighbouring layers"),
    ("moire_map", "moire_map = { interface = [4, 5] }", "layer 4 does not exist"),
])
def test_bad_jobs_are_one_line(kind, rest, message, tmp_path, capsys):
    assert run(tmp_path, BILAYER.format(kind=kind, rest=rest)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hpcthermo: ")]
    assert len(said) == 1
    assert message in said[0]


def test_layers_are_not_moved_onto_their_images(tmp_path, capsys):
    """Along a periodic z the cell must hold the largest distance and the cutoff."""
    text = BILAYER.format(kind="binding_curve", rest="binding_curve = { range_A = [3, 8, 0.5] }")
    assert run(tmp_path, text.replace("vacuum_A = 30.0", "vacuum_A = 0.0")) == 2
    assert "8 A the layers are -1.20 A from their periodic image" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "message"), [("3.4 -1\n", "at least two distances between"),
                                               ("3.4 -1\n3.4 -2\n3.5 0\n", "two energies for one distance"),
                                               ("13 -1\n14 -2\n", "at least two distances between")])
def test_references_that_are_no_curve(rows, message, tmp_path, capsys):
    (tmp_path / "r.dat").write_text(rows)
    rest = 'binding_curve = { range_A = [3.0, 3.4, 0.1], reference_file = "r.dat" }'
    assert run(tmp_path, BILAYER.format(kind="binding_curve", rest=rest)) == 2
    assert message in capsys.readouterr().err
