"""`hpcthermo bench` as a user and a script meet it, on one and two ranks; what it measures, in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest

from hpcthermo.bench.case import make_case, make_network
from hpcthermo.bench.measured_engine import prepare
from hpcthermo.bench.stages import STAGES, STAGES_FROM, Timing, stage_seconds
from hpcthermo.cli import main
from hpcthermo.domain.comm import SingleProcess, world_communicator
from hpcthermo.errors import InputError
from hpcthermo.performance_model import Network
from hpcthermo.skin import DEFAULT_SKIN
from hpcthermo.structure.samples import sample_names, sample_structure

KEYS = {
    "version": str, "commit": str | None, "machine": str, "device": str, "precision": str, "instruction_set": str,
    "ranks": int, "decomposition": list, "potential": str, "structure": str, "n_atoms": int, "steps": int,
    "timestep_fs": float, "temperature_K": float, "mean_temperature_K": float, "virials_every": int, "skin_A": float,
    "rebuilds": int, "atom_steps_per_second": float, "atom_steps_per_processor_second": float,
    "seconds_per_step": float, "processor_seconds_per_step": float, "stages": dict, "stages_from": str,
    "stages_scale": float, "bytes_per_atom": float,
    "peak_memory_bytes": int, "neighbors": dict, "operations_per_atom_step": dict, "gflops": float,
    "peak_gflops": float, "fraction_of_peak": float, "bandwidth_gb_per_second": float, "ghosts": int,
    "messages_per_step": float, "bytes_per_step": float,
}


@pytest.fixture(scope="module")
def silicon(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "silicon.xyz"
    atoms = ase.build.bulk("Si", cubic=True) * (3, 3, 8)
    atoms.rattle(0.01, seed=1)
    ase.io.write(path, atoms, format="extxyz")
    return path


def bench(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "hpcthermo", "bench", *words], capture_output=True, text=True,
                          check=False, timeout=300)


def report(*words: str) -> dict:
    done = bench(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    return json.loads(done.stdout)


def said_here(words: list[str], capsys) -> str:
    """What a bench in this process writes: the start of another takes longer than the bench."""
    with pytest.raises(SystemExit) as end:
        main(["bench", *words])
    out, error = capsys.readouterr()
    assert end.value.code == 0, error
    return out


def refusal(words: list[str], capsys) -> str:
    """The one line of a bench in this process that is refused with exit code 2."""
    with pytest.raises(SystemExit) as end:
        main(["bench", *words])
    out, error = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert len(error.strip().splitlines()) == 1
    return error


@pytest.fixture(scope="module")
def on_one(silicon) -> dict:
    return report("--potential", "tersoff_si", "--structure", str(silicon), "--steps", "8", "--warm-up", "1",
                  "--skin", "1.0", "--virials-every", "2", "--precision", "double", "--model")


@pytest.fixture(scope="module")
def on_two(silicon) -> dict:
    return report("--potential", "tersoff_si", "--structure", str(silicon), "--steps", "8", "--warm-up", "1",
                  "--skin", "1.0", "--model", "--measure-network", "-n", "2")


@pytest.mark.parametrize("case", ["on_one", "on_two"])
def test_the_report_has_its_keys_and_adds_up(case, request):
    found = request.getfixturevalue(case)
    for name, kind in KEYS.items():
        assert isinstance(found[name], kind), name
    assert set(found) - set(KEYS) <= {"model"}
    assert set(found["stages"]) == set(STAGES)
    assert all(seconds >= 0.0 for seconds in found["stages"].values())
    assert (found["stages_from"], found["stages_scale"]) == (STAGES_FROM["cpu"], 1.0)
    assert sum(found["stages"].values()) == pytest.approx(found["seconds_per_step"], rel=1e-9)
    assert found["atom_steps_per_second"] == pytest.approx(found["n_atoms"] / found["seconds_per_step"])
    assert found["atom_steps_per_processor_second"] == pytest.approx(
        found["n_atoms"] / found["processor_seconds_per_step"])
    operations = sum(found["operations_per_atom_step"].values())
    assert found["gflops"] == pytest.approx(1e-9 * operations * found["atom_steps_per_second"])
    assert 0.0 < found["fraction_of_peak"] == pytest.approx(found["gflops"] / found["peak_gflops"])
    assert found["bytes_per_atom"] * found["n_atoms"] < found["peak_memory_bytes"]


def test_one_rank(on_one):
    assert (on_one["ranks"], on_one["precision"], on_one["n_atoms"]) == (1, "double", 576)
    assert (on_one["messages_per_step"], on_one["bytes_per_step"]) == (0.0, 0.0)
    assert on_one["neighbors"] == {"radial": 0, "angular": pytest.approx(4.0)}
    assert on_one["skin_A"] == 1.0
    assert on_one["stages"]["observers"] > 0.0
    assert on_one["stages"]["descriptor"] == 0.0  # a potential without stages
    # positions, velocities, forces, virials of owned atoms at least
    assert on_one["bytes_per_atom"] > 8 * (3 + 3 + 4 + 12)


def test_two_ranks_and_the_model_of_one_agree_on_messages(on_one, on_two):
    assert on_two["ranks"] == 2
    assert on_two["decomposition"] == [1, 1, 2]
    assert on_two["messages_per_step"] == 2.0  # positions out, forces back
    predicted = on_one["model"]["strong"][1]
    assert predicted["message_pairs"] == 1
    # planes of atoms enter a halo whole, so a small crystal has some more or fewer ghosts than its volume says;
    # the model samples virials every 2 steps, as the run on one rank did
    assert on_two["bytes_per_step"] == pytest.approx(predicted["bytes"] * (24 + 32) / (24 + 32 + 96 / 2), rel=0.25)
    assert (predicted["reduction_pairs"], on_two["model"]["strong"][1]["reduction_pairs"]) == (1 + 3 / 2, 1)


def test_the_model_table(on_one):
    model = on_one["model"]
    assert model["rate_atom_steps_per_second"] > 0.0
    assert model["half_atoms"] >= 0.0
    assert (model["latency_seconds"], model["bandwidth_bytes_per_second"]) == (30e-6, 20e9)
    for table in (model["strong"], model["weak"]):
        assert [row["ranks"] for row in table] == [2**k for k in range(11)]
        assert table[0]["efficiency"] == pytest.approx(1.0)
        for row in table:
            assert row["steps_per_second"] == pytest.approx(1.0 / row["seconds_per_step"])


def test_the_model_takes_the_network_between_the_ranks(on_two):
    model = on_two["model"]
    assert 0.0 < model["latency_seconds"] != 30e-6
    assert 0.0 < model["bandwidth_bytes_per_second"] != 20e9
    assert model["strong"][0]["efficiency"] == pytest.approx(1.0)


def test_a_deterministic_job_keeps_its_skin(silicon, tmp_path, capsys):
    job = tmp_path / "job.toml"
    job.write_text(f"""kind = "md"
potential = "tersoff_si"
structure.file = "{silicon}"
execution.deterministic = true
[[stage]]
ensemble = "nve"
temperature_K = 300
timestep_fs = 0.5
steps = 1
""")
    found = json.loads(said_here([str(job), "--steps", "4", "--warm-up", "1", "--json"], capsys))
    assert found["skin_A"] == DEFAULT_SKIN


def test_text_for_people(silicon, capsys):
    said = said_here(["--potential", "tersoff_si", "--structure", str(silicon), "--steps", "2", "--model",
                      "--latency", "5"], capsys)
    for words in ("atom-step/s", "host", "GFLOP/s", "bytes per atom", "ghosts", "5 us per message pair", "1024"):
        assert words in said


SILICON = ["--potential", "tersoff_si", "--structure", "silicon"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--potential", "tersoff_si"], "both --potential and --structure"),
        (["--structure", "silicon"], "both --potential and --structure"),
        (["--potential", "", "--structure", "silicon"], "--potential: expected a file or an embedded name"),
        (["--potential", "", "--structure", ""], "--potential"),
        (["--potential", "tersoff_graphene,,lj_gr_hbn", "--structure", "graphite"], "with one comma between"),
        (["--potential", "tersoff_si,", "--structure", "silicon"], "with one comma between"),
        (["--potential", "tersoff_si", "--structure", ""], "--structure"),
        ([*SILICON, "--precision", "quad"], "mixed or double"),
        ([*SILICON, "--device", "abacus"], "cpu or cuda"),
        ([*SILICON, "--device", ""], "cpu or cuda"),
        ([*SILICON, "--skin", "wide"], "--skin"),
        ([*SILICON, "--skin", "-1"], "--skin"),
        ([*SILICON, "--skin", "nan"], "--skin"),
        ([*SILICON, "--skin", ""], "--skin"),
        (["--steps", "many"], "--steps"),
        (["--steps", "-3"], "--steps"),
        (["--warm-up", "-1"], "--warm-up"),
        (["--virials-every", "-1"], "--virials-every"),
        (["--virials-every", "11", "--steps", "10"], "at most the 10 measured steps, got 11"),
        (["--temperature", "nan"], "--temperature"),
        (["--temperature", "-1"], "--temperature"),
        (["--timestep", "nan"], "--timestep"),
        (["--timestep", "0"], "--timestep"),
        (["--latency", "5"], "--latency: only the model has a network; add --model"),
        (["--bandwidth", "5"], "--bandwidth: only the model has a network; add --model"),
        (["--measure-network", "-n", "2"], "--measure-network: only the model has a network; add --model"),
        (["--model", "--latency", "inf"], "--latency"),
        (["--model", "--bandwidth", "nan"], "--bandwidth"),
        (["--model", "--bandwidth", "0"], "--bandwidth"),
        (["--model", "--measure-network", "--latency", "5"], "got both"),
        (["--structure", "silicon", "job.toml"], "not both"),
        (["--potential", "", "job.toml"], "not both"),
        (["absent.toml"], "absent.toml"),
        (["-n", "5000"], "got 5000"),
        (["-n", "0"], "got 0"),
        (["-n", "-2"], "got -2"),
    ],
)
def test_options_are_refused_before_anything_starts(words, reason, capsys):
    assert reason in refusal(words, capsys)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--potential", "tersoff_si", "--structure", "absent.xyz"], "neither a file nor a built-in crystal"),
        (["--potential", "tersoff_si", "--structure", "."], "'.' is neither a file nor"),
        (["--potential", "absent.txt", "--structure", "silicon"], "neither a file in . nor an embedded potential"),
        (["--potential", ".", "--structure", "silicon"], "potential"),
        (["--potential", "tersoff_si", "--structure", "graphite"], "no parameters for C"),
        ([*SILICON, "--model", "--measure-network"], "at least 2 ranks"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, reason, capsys):
    assert reason in refusal(words, capsys)


@pytest.mark.parallel(2)
def test_more_ranks_than_atoms_are_refused(tmp_path):
    comm = world_communicator()
    path = comm.bcast(tmp_path / "atom.xyz")
    if comm.rank == 0:
        path.write_text('1\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3\nSi 0 0 0\n')
    with pytest.raises(InputError, match="2 ranks for 1 atoms"):
        prepare(make_case(None, "tersoff_si", str(path), None, None, "auto"), comm)


def test_options_become_a_case():
    case = make_case(None, "a,b", "graphite", None, None, "0.8", steps=7)
    assert (case.potential, case.structure, case.steps) == (["a", "b"], "graphite", 7)
    assert (case.execution.device, case.execution.precision, case.execution.skin_A) == ("cpu", "mixed", 0.8)
    with pytest.raises(InputError):
        make_case(None, None, "graphite", None, None, "auto")


def test_the_network_of_the_model():
    assert make_network(False, False, None, None) is None
    assert make_network(True, False, None, None) == Network(30e-6, 20e9)
    assert make_network(True, False, 5.0, 2.0) == Network(pytest.approx(5e-6), 2e9)
    with pytest.raises(InputError, match="got both"):
        make_network(True, True, None, 2.0)


def stretch(wall, rebuilds=0.0, observers=0.0, **kernels) -> Timing:
    return Timing(wall, wall, {"neighbours": rebuilds, "observers": observers}, kernels, 0, 0, 0)


def test_the_host_has_what_kernels_leave_of_a_stretch_without_a_clock():
    """A GPU: 1 s as in a run; waiting for each launch makes it 3 s, which says nothing of the host in a run."""
    plain, clocked = stretch(1.0, rebuilds=0.1), stretch(3.0, rebuilds=0.4, forces=0.6, halo=0.1, integrate=0.1)
    found = stage_seconds(plain, clocked, 0.25, SingleProcess())
    assert found.seconds == pytest.approx({"neighbours": 0.1, "descriptor": 0.15, "forces": 0.45, "halo": 0.1,
                                           "integrate": 0.1, "observers": 0.0, "host": 0.1})
    assert found.scale == 1.0


def test_the_share_of_the_host_is_never_negative():
    plain, clocked = stretch(1.0, rebuilds=0.1), stretch(3.0, forces=1.0, halo=0.5, integrate=0.4)
    found = stage_seconds(plain, clocked, 0.0, SingleProcess())
    assert found.scale == pytest.approx(0.5)
    assert found.seconds["host"] == pytest.approx(0.0, abs=1e-15)
    assert found.seconds["host"] >= 0.0
    assert found.seconds["forces"] == pytest.approx(0.5)
    assert sum(found.seconds.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", sample_names())
def test_built_in_crystals_are_crystals(name):
    snapshot = sample_structure(name)
    assert 8_000 < snapshot.n_atoms < 12_000
    assert snapshot.periodic.all()
    atoms = ase.Atoms([snapshot.species[t] for t in snapshot.types[::37]], snapshot.positions[::37])
    assert set(atoms.get_chemical_symbols()) == set(snapshot.species)
    # every atom has the neighbours of its lattice at the nearest distance
    from scipy.spatial import cKDTree

    cell = np.linalg.norm(snapshot.cell, axis=1)
    assert np.allclose(snapshot.cell, np.diag(cell))
    tree = cKDTree(snapshot.positions % cell, boxsize=cell)
    bonds = [len(near) - 1 for near in tree.query_ball_point(tree.data, 2.5 if name == "silicon" else 1.7)]
    assert set(bonds) == {4 if name in ("silicon", "diamond") else 3}
