"""The comparison with peers: statistics, the same problem for both codes, refusals of one line."""

import os
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_rounds_take_turns_and_who_goes_first_alternates():
    from rounds import interleaved

    order = []
    runs = {name: lambda name=name: order.append(name) or name + str(order.count(name)) for name in "abc"}
    results = interleaved(runs, 3)
    assert "".join(order) == "abc" + "cba" + "abc"
    # the results of one round stay together, whatever its order
    assert results == {"a": ["a1", "a2", "a3"], "b": ["b1", "b2", "b3"], "c": ["c1", "c2", "c3"]}


def test_the_peer_gets_the_skin_that_is_fastest_for_it():
    from compare import LAMMPS_SKINS_A, LAMMPS_TRIAL_STEPS, fastest_skin

    asked, seconds = [], {0.3: 0.04, 0.5: 0.02, 1.0: 0.025, 2.0: 0.05}

    def run(steps, skin):
        asked.append((steps, skin))
        return {"processor_seconds": seconds[skin]}

    skin, about = fastest_skin(run, 1000, 60, lambda text: None)
    assert skin == 0.5
    assert asked == [(LAMMPS_TRIAL_STEPS, tried) for tried in LAMMPS_SKINS_A]
    assert "skin 0.5 A, the fastest of 0.3 A 25, 0.5 A 50, 1 A 40, 2 A 20 (1000 atom-step/s" in about


def test_the_peer_runs_the_pair_style_that_is_fastest():
    from compare import fastest_style

    seconds = {"sw": 0.04, "sw/omp": 0.02, "sw/mod": 0.05}
    runs = {style: lambda steps, skin, style=style: {"processor_seconds": seconds[style]} for style in seconds}
    run, about = fastest_style(runs, 1000, lambda text: None)
    assert run is runs["sw/omp"]
    assert "LAMMPS: sw/omp, the fastest of sw 25, sw/omp 50, sw/mod 20 (1000 atom-step/s" in about
    assert fastest_style({"sw": runs["sw"]}, 1000, lambda text: None) == (runs["sw"], "")


def test_an_embedded_potential_becomes_a_file_for_the_peer(tmp_path):
    from compare import file_for_lammps

    from hpcthermo.potentials.load import load_potential

    path = file_for_lammps("tersoff_mod_si", tmp_path)
    read, embedded = (load_potential(spec).model for spec in (path, "tersoff_mod_si"))
    assert read.elements == embedded.elements
    assert (read.parameters == embedded.parameters).all()
    assert file_for_lammps(path, tmp_path) == path


def test_a_slow_round_does_not_change_the_ratio():
    """A machine that is half as fast for one round slows both: ratios stay, medians of speeds would not be paired."""
    from rounds import ratios, spread

    ours, peer = [100.0, 50.0, 104.0], [10.0, 5.0, 10.0]
    ratio = spread(ratios(ours, peer))
    assert (ratio.median, ratio.low, ratio.high) == (10.0, 10.0, 10.4)
    assert spread([3.0, 1.0, 2.0]).text() == "2 (1 to 3)"


def test_rounds_must_match():
    from rounds import ratios

    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_a_skin_is_tuned_once_and_shared_by_runs_that_are_compared(monkeypatch):
    import own

    asked = []

    def bench(potential, structure, skin=None, **options):
        asked.append((skin, options))
        return {"skin_A": 0.7 if skin is None else skin}

    monkeypatch.setattr(own, "bench", bench)
    plain = own.TunedBench("nep.txt", Path("a.xyz"), steps=5)
    virials = own.TunedBench("nep.txt", Path("a.xyz"), like=plain, virials_every=1)
    for run in (plain, virials, virials, plain):
        run()
    plain_options, virial_options = {"steps": 5}, {"virials_every": 1}
    assert asked == [(None, plain_options), (0.7, virial_options), (0.7, virial_options), (0.7, plain_options)]
    own.TunedBench("nep.txt", Path("a.xyz"), skin=1.0, like=plain)()
    assert asked[-1] == (1.0, {})


def test_interlayer_pairs_are_those_of_different_layers():
    from compare import lammps_setup
    from systems import standard_system

    atoms = standard_system("bnc_layers", 500)
    setup = lammps_setup(atoms, ["BNC.tersoff", "lj_gr_hbn"])
    # graphene, graphene, B and N, B and N: six types, of which 15 - 2 pairs lie in different layers
    assert len(setup["masses"]) == 6
    assert sorted(set(setup["types"])) == [1, 2, 3, 4, 5, 6]
    coefficients = [line.split() for line in setup["commands"] if "lj/cut" in line and line.startswith("pair_coeff")]
    active = {(int(i), int(j)) for _, i, j, _, epsilon, *_ in coefficients if float(epsilon) > 0.0}
    layer_of = {kind: layer for kind, layer in zip(setup["types"], atoms.arrays["layer"].tolist(), strict=True)}
    assert active == {(i, j) for i in layer_of for j in layer_of if i < j and layer_of[i] != layer_of[j]}


def test_layers_of_the_interlayer_potential_are_molecules():
    from compare import lammps_setup
    from systems import standard_system

    atoms = standard_system("bnc_layers", 500)
    setup = lammps_setup(atoms, ["BNC.tersoff", "BNCH.ILP"], "ilp/graphene/hbn/opt")
    assert setup["molecules"] == [layer + 1 for layer in atoms.arrays["layer"].tolist()]
    assert [round(mass) for mass in setup["masses"]] == [11, 12, 14]
    symbols = atoms.get_chemical_symbols()
    assert all(symbols[k] == "BCN"[kind - 1] for k, kind in enumerate(setup["types"]))
    assert any(line.startswith("pair_coeff * * ilp/graphene/hbn/opt BNCH.ILP B C N") for line in setup["commands"])


def test_different_physics_is_refused():
    from compare import RefusedError, agreement
    from systems import standard_system

    from hpcthermo import Calculator

    atoms = standard_system("silicon", 64)
    reference = atoms.copy()
    reference.calc = Calculator("tersoff_si")
    same = {"energy": reference.get_potential_energy(), "forces": reference.get_forces()}
    assert "differ by" in agreement(atoms, ["tersoff_si"], same)
    with pytest.raises(RefusedError, match="do not compute the same"):
        agreement(atoms, ["tersoff_si_1988"], same)


def test_table_says_what_is_missed():
    from compare import CASES, table

    own = {"atom_steps_per_processor_second": 2000.0, "atom_steps_per_second": 1500.0, "rebuilds": 2, "skin_A": 1.0,
           "instruction_set": "avx2", "temperature_K": 300.0, "neighbors": {"radial": 3.0}}
    peer = {"processor_seconds": 0.1, "wall_seconds": 0.2, "rebuilds": 1, "temperature_K": 310.0}
    results = {"lammps": [peer, peer], "mixed": [own, own],
               "double": [{**own, "atom_steps_per_processor_second": 1400.0}] * 2}
    text = "\n".join(table(CASES["tersoff_bnc"], 100, results, "skin 0.5 A as asked for"))
    # the peer makes 100 atoms / 0.1 s = 1000 atom-step/s; 1.5 times that is asked for
    assert "2 (2 to 2), asked for 1.5: reached" in text
    assert "1.4 (1.4 to 1.4), asked for 1.5: MISSED" in text
    assert "310 (310 to 310) K at the end, skin 0.5 A as asked for" in text
    assert "skin mixed 1 A, double 1 A" in text
    assert "lammps [1, 1], mixed [2, 2], double [2, 2]" in text


@pytest.mark.parametrize(("arguments", "words"), [
    (["nep_si", "--data", "."], "needs --calorine"),
    (["nep_si", "--data", ".", "--calorine", sys.executable], "no file Si_2022_NEP4_4body.txt"),
    (["tersoff_si", "--data", ".", "--lammps", "no_such_python"], "no interpreter no_such_python"),
])
def test_refusals_are_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    import compare

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)  # the other tests keep their cores
    with pytest.raises(SystemExit) as end:
        compare.main()
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert len(error.splitlines()) == 1
    assert words in error


def test_peer_without_its_package_is_one_line(tmp_path):
    from peers import PeerError, calorine_run
    from systems import standard_system

    # this interpreter has no calorine: the GPL peer is kept in an environment of its own
    with pytest.raises(PeerError, match="calorine") as error:
        calorine_run(sys.executable, standard_system("silicon", 64), tmp_path / "nep.txt", 1)
    assert "\n" not in str(error.value)
