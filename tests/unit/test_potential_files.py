"""Parameter files of empirical potentials: formats, mixing, inference of the style, refusals."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated
from sample_tables import finnis_sinclair_text, funcfl_text
from sample_triplets import stillinger_weber_text

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import CpuBackend
from hpcthermo.potentials.embedded import embedded_names, embedded_potential, embedded_source
from hpcthermo.potentials.load import load_potential
from hpcthermo.potentials.overlay import OverlayPotential
from hpcthermo.potentials.tersoff_file import COLUMNS, parse_gpumd_tersoff, parse_lammps_tersoff

EMPIRICAL = Path(__file__).parents[2].parent / "shared" / "data" / "empirical"
needs_files = pytest.mark.skipif(not EMPIRICAL.exists(), reason="no parameter files in ../shared beside this checkout")

LAMMPS_SI = ("# a comment\nSi Si Si 3.0 1.0 1.3258 4.8381 2.0417 0.0000 22.956  # first line\n"
             " 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7\n")
GPUMD_1989 = ("tersoff_1989 2 Si Ge\n1.8308e3 471.18 2.4799 1.7322 1.1e-6 0.78734 1.0039e5 16.217 -0.59825 2.7 3.0\n"
              "1769.0 419.23 2.4451 1.7047 9.0166e-7 0.75627 1.0643e5 15.652 -0.43884 2.8 3.1\n1.00061\n")
GPUMD_1988_ROW = "3264.7 95.373 3.2394 1.3258 0.33675 22.956 4.8381 2.0417 0.0 2.8 3.2 3 2.3304192 1.0"
LAMMPS_MOD = ("Si Si Si 1 2.3890327 -0.365 1 1 1.345797 121.00047 3.0 0.3 3.2300135 3281.5905 0.93810551 0.20173476\n"
              " 730418.72 1000000.0 1.0 26.0\n")
LAMMPS_SW = ("Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333\n         7.049556277 0.6022245584 4.0 0.0 0.0\n")
MIXED_SW = stillinger_weber_text()
LAMMPS_ILP = "# pairs\nC C 3.2 7.5 1.2 0.1 37.5 15.5 0.8 3.7 25000.0 1.0 2.0"
GPUMD_ILP = "tersoff_ilp 1 C\n0\n3.2 7.5 1.2 0.1 37.5 15.5 0.8 3.7 25000.0 1.0 2.0 16.0"
PAIRS = "lj 2 Si Ge\n0.02 2.1 6.0\n0.015 2.2 6.5\n0.015 2.2 6.5\n0.01 2.3 7.0\n"


def column(model, name, *triplet):
    return model.parameters[tuple(model.elements.index(e) for e in triplet)][COLUMNS.index(name)]


def write(tmp_path, text, name="potential.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


# ---- formats ------------------------------------------------------------------------------------------

def test_lammps_entry_over_several_lines():
    model = parse_lammps_tersoff(LAMMPS_SI, "file")
    assert model.elements == ("Si",)
    assert column(model, "A", "Si", "Si", "Si") == 3264.7
    assert column(model, "lambda3", "Si", "Si", "Si") == 1.3258


def test_1989_mixing_rules():
    model = parse_gpumd_tersoff(GPUMD_1989, "file")
    assert column(model, "A", "Si", "Ge", "Ge") == pytest.approx(np.sqrt(1830.8 * 1769.0))
    assert column(model, "lambda1", "Si", "Ge", "Ge") == pytest.approx((2.4799 + 2.4451) / 2)
    assert column(model, "B", "Ge", "Si", "Si") == pytest.approx(1.00061 * np.sqrt(471.18 * 419.23))
    assert column(model, "B", "Ge", "Ge", "Ge") == pytest.approx(419.23)
    assert column(model, "n", "Ge", "Si", "Si") == 0.75627  # that of the centre
    inner, outer = np.sqrt(2.7 * 2.8), np.sqrt(3.0 * 3.1)
    # the cutoff of a row is that of the pair ik
    assert column(model, "R", "Si", "Si", "Ge") - column(model, "D", "Si", "Si", "Ge") == pytest.approx(inner)
    assert column(model, "R", "Si", "Si", "Ge") + column(model, "D", "Si", "Si", "Ge") == pytest.approx(outer)


def test_1988_alpha_is_the_cube_of_lambda3():
    with_header = parse_gpumd_tersoff("tersoff_1988 1 Si\n" + GPUMD_1988_ROW, "file")
    lammps = parse_lammps_tersoff(LAMMPS_SI, "file")
    assert np.allclose(with_header.parameters, lammps.parameters, rtol=1e-6)
    without_header = parse_gpumd_tersoff(GPUMD_1988_ROW, "file", ["Si"])
    assert np.array_equal(without_header.parameters, with_header.parameters)


@needs_files
def test_the_published_bnc_set_is_the_same_in_three_places():
    lammps = load_potential(EMPIRICAL / "BNC.tersoff").model
    gpumd_file = EMPIRICAL / "Tersoff_BNC_Kinaci2012.gpumd.txt"
    gpumd = load_potential({"path": gpumd_file, "elements": ["B", "C", "N"]}).model
    embedded = embedded_potential("tersoff_bnc").model
    for triplet in itertools.product("BCN", repeat=3):
        for name in COLUMNS:
            expected = column(lammps, name, *triplet)
            assert column(gpumd, name, *triplet) == pytest.approx(expected, rel=1e-7), (triplet, name)
            assert column(embedded, name, *triplet) == pytest.approx(expected, rel=1e-7), (triplet, name)


@needs_files
@pytest.mark.parametrize(("file", "name"), [
    ("Tersoff_Si_1989.gpumd.txt", "tersoff_si"), ("Si.tersoff", "tersoff_si_1988"),
    ("C_Lindsay_2010.tersoff", "tersoff_graphene"),
    ("Si.sw", "sw_si")])
def test_embedded_sets_equal_the_published_files(file, name):
    published = load_potential(EMPIRICAL / file).model.parameters
    assert np.allclose(embedded_potential(name).model.parameters, published, rtol=1e-9)


def test_embedded_names_have_sources():
    assert {"tersoff_si", "tersoff_graphene", "tersoff_bnc", "lj_gr_hbn"} <= set(embedded_names())
    for name in embedded_names():
        assert "(" in embedded_source(name)
        assert embedded_potential(name).elements


def test_interlayer_set_is_the_universal_force_field():
    model = embedded_potential("lj_gr_hbn").model
    c, b = model.elements.index("C"), model.elements.index("B")
    assert model.epsilon[c, c] == pytest.approx(4.553e-3, abs=1e-6)
    assert model.sigma[c, c] == pytest.approx(3.431, abs=1e-3)
    assert model.epsilon[c, b] == pytest.approx(5.962e-3, abs=1e-6)
    assert model.between_layers_only
    assert (model.cutoff == 10.0).all()


def test_universal_force_field_mixes_geometrically_unless_asked():
    model = embedded_potential("lj_uff").model
    pt, mo = model.elements.index("Pt"), model.elements.index("Mo")
    # minima of like pairs at x, and D in kcal/mol, as the paper has them
    assert model.sigma[pt, pt] * 2 ** (1 / 6) == pytest.approx(2.754)
    assert model.epsilon[mo, mo] * 96485.33212 / 4184 == pytest.approx(0.056)
    assert model.sigma[pt, mo] * 2 ** (1 / 6) == pytest.approx(np.sqrt(2.754 * 3.052))
    assert model.epsilon[pt, mo] == pytest.approx(np.sqrt(model.epsilon[pt, pt] * model.epsilon[mo, mo]))
    other = load_potential({"name": "lj_uff", "mixing": "lorentz_berthelot", "between_layers_only": False}).model
    assert other.sigma[pt, mo] * 2 ** (1 / 6) == pytest.approx((2.754 + 3.052) / 2)
    assert np.array_equal(other.epsilon, model.epsilon)
    assert (model.between_layers_only, other.between_layers_only) == (True, False)
    # the set that came before is part of it
    small = embedded_potential("lj_gr_hbn").model
    same = np.ix_(*[[model.elements.index(symbol) for symbol in small.elements]] * 2)
    assert np.allclose(other.sigma[same], small.sigma)
    assert np.allclose(other.epsilon[same], small.epsilon)


# ---- styles are inferred from the content -----------------------------------------------------------------

@pytest.mark.parametrize(("text", "style"), [(LAMMPS_SI, "tersoff"), (GPUMD_1989, "tersoff"), (PAIRS, "lennard_jones"),
                                             (LAMMPS_MOD, "tersoff_mod"), (LAMMPS_SW, "stillinger_weber"),
                                             (LAMMPS_ILP, "ilp"), (GPUMD_ILP, "ilp"),
                                             ("tersoff_1988 1 Si\n" + GPUMD_1988_ROW, "tersoff")])
def test_style_from_content(tmp_path, text, style):
    path = write(tmp_path, text)
    assert load_potential(path).style == style
    assert load_potential(path.name, tmp_path).style == style
    assert load_potential({"path": path.name, "style": style}, tmp_path).style == style
    wrong = "nep" if style == "tersoff" else "tersoff"
    with pytest.raises(InputError, match="style is"):
        load_potential({"path": path.name, "style": wrong}, tmp_path)


@needs_files
@pytest.mark.parametrize("file", ["EAM_Zhou2004_18elements.gpumd.txt"])
def test_other_styles_are_not_mistaken(file):
    with pytest.raises(InputError, match="not recognised"):
        load_potential(EMPIRICAL / file)


def test_lists_are_overlays(tmp_path):
    path = write(tmp_path, PAIRS)
    overlay = load_potential(["tersoff_si", {"path": path.name, "cutoff_A": 5.0}], tmp_path)
    assert isinstance(overlay, OverlayPotential)
    assert overlay.elements == ("Si",)
    bound = overlay.bind(("Si",), CpuBackend("double"))
    assert (bound.cutoff, bound.ghost_depth, bound.exchanges_fields) == (5.0, 5.0, False)
    assert load_potential(["tersoff_si"]).style == "tersoff"
    assert load_potential(overlay) is overlay


def test_options_of_an_embedded_pair_potential():
    model = load_potential({"name": "lj_gr_hbn", "cutoff_A": 7.0, "between_layers_only": False, "shifted": False}).model
    assert (model.cutoff == 7.0).all()
    assert (model.between_layers_only, model.shifted) == (False, False)


def test_labels_that_are_no_symbols_are_mapped(tmp_path):
    first, second = (LAMMPS_SI.replace("Si Si Si", " ".join([label] * 3)) for label in ("Si(B)", "Si(D)"))
    path = write(tmp_path, first + second.replace("3264.7", "1.0"))
    with pytest.raises(InputError, match="no chemical symbol"):
        load_potential(path)
    model = load_potential({"path": str(path), "elements": {"Si(D)": "Si"}}).model
    assert model.elements == ("Si",)
    assert column(model, "A", "Si", "Si", "Si") == 1.0


# ---- refusals ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("spec", "message"), [
    ([], "at least one"),
    ([["tersoff_si"]], "list within a list"),
    ("nowhere.txt", "neither a file"),
    ("a\0b", "potential"),
    (3, "expected a path"),
    ({"name": "tersoff_si", "path": "x"}, "exactly one"),
    ({}, "exactly one"),
    ({"name": "tersoff_xe"}, "no embedded potential"),
    ({"name": "tersoff_si", "cutoff_A": 3.0}, "only potentials of style lennard_jones"),
    ({"name": "tersoff_si", "elements": ["Si"]}, "leave elements out"),
    ({"name": "tersoff_si", "color": 1}, "unknown key"),
    ({"name": "lj_gr_hbn", "cutoff_A": float("nan")}, "cutoff_A"),
    ({"name": "lj_gr_hbn", "cutoff_A": 1e9}, "cutoff"),
    ({"name": "lj_uff", "mixing": "arithmetic"}, "geometric or lorentz_berthelot"),
    ({"name": "sw_si", "mixing": "geometric"}, "only potentials of style lennard_jones"),
    ({"name": "lj_gr_hbn", "between_layers_only": 1}, "true or false"),
    ({"path": ".", "style": "tersoff"}, "no file"),
    (["tersoff_si", "tersoff_graphene"], "no element in common"),
])
def test_bad_specifications(spec, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        load_potential(spec, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "elements", "message"), [
    ("", None, "empty file"),
    ("\0\1\2", None, "binary"),
    ("tersoff_1989 3 Si Ge C\n", None, "1 to 2 elements"),
    ("tersoff_1989 2 Si\n", None, "announces 2"),
    ("tersoff_1989 1 Sx\n" + "1 " * 11, None, "no chemical symbol"),
    ("tersoff_1988 99999999 Si\n", None, "elements"),
    (GPUMD_1989.replace("1.00061\n", ""), None, "rows"),
    (GPUMD_1989.replace("471.18", "nan"), None, "finite number"),
    (GPUMD_1989, ["Ge", "Si"], "the header says"),
    (GPUMD_1988_ROW, None, "does not name its elements"),
    (GPUMD_1988_ROW, ["Si", "Ge"], "expected 8 rows"),
    (GPUMD_1988_ROW, {"a": "Si"}, "got a mapping"),
    (LAMMPS_SI + LAMMPS_SI, None, "appears twice"),
    (LAMMPS_SI + "Si Si", None, "no multiple of"),
    (LAMMPS_SI.replace("3.0 1.0", "2.0 1.0"), None, "m = 1 or 3"),
    (LAMMPS_SI.replace("0.2 3.2394", "20.2 3.2394"), None, "D <= R"),
    (LAMMPS_SI.replace("95.373 3.0", "95.373 300.0"), None, "R \\+ D"),
    (LAMMPS_SI.replace("22.956", "0"), None, "n > 0"),
    (LAMMPS_SI, {"Ge": "Ge"}, "the file has Si"),
    (LAMMPS_SI, ["Ge"], "the file names Si"),
    (LAMMPS_MOD.replace("-0.365 1 1", "-0.365 1 2"), None, "beta_ters = 1"),
    (LAMMPS_MOD.replace("Si Si Si 1 ", "Si Si Si 2 "), None, "beta = 1 or 3"),
    (LAMMPS_MOD.replace("1000000.0", "0"), None, "c3 > 0"),
    (LAMMPS_SW.replace("1.80", "18.0"), None, "a sigma <= 20 A"),
    (LAMMPS_SW.replace("21.0", "-21.0"), None, "of at least 0"),
    (MIXED_SW.replace("C Si Si 1.7 2.0", "C Si Si 1.7 2.05"), None, "sigma must be the same for C Si Si and Si C C"),
    (MIXED_SW.replace("Si C Si 1.6", "Si C Si 1.5"), None, "epsilon lambda must be the same for Si C Si and Si Si C"),
    ("lj 2 Si\n1 1 1", None, "lj N symbols"),
    (PAIRS.replace("0.015 2.2 6.5\n", "0.016 2.2 6.5\n", 1), None, "symmetric"),
    (PAIRS.replace("6.0", "-6.0"), None, "cutoff"),
    (PAIRS.replace("2.1", "0.0"), None, "sigma"),
    ("Hello world\n", None, "not recognised"),
])
def test_damaged_files(tmp_path, text, elements, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        load_potential({"path": str(path), "elements": elements})
    assert "\n" not in str(caught.value)


def test_a_table_that_is_too_large_is_not_read(tmp_path):
    path = write(tmp_path, LAMMPS_SI + "#" * (5 * 2**20))
    with pytest.raises(InputError, match="at most"):
        load_potential(path)


def test_a_name_that_is_also_a_file_is_ambiguous(tmp_path):
    write(tmp_path, LAMMPS_SI, "tersoff_si")
    with pytest.raises(InputError, match="an embedded potential and a file"):
        load_potential("tersoff_si", tmp_path)
    assert load_potential({"name": "tersoff_si"}, tmp_path).model.source.startswith("tersoff_si (Si, J. Tersoff")
    assert load_potential({"path": "tersoff_si"}, tmp_path).model.parameters[0, 0, 0, 2] == 1.3258


def test_missing_triplets_are_named_when_they_are_needed(tmp_path):
    path = write(tmp_path, LAMMPS_SI + LAMMPS_SI.replace("Si", "Ge"))
    potential = load_potential(path)
    assert potential.bind(("Si",), CpuBackend("double")).cutoff == pytest.approx(3.2)
    with pytest.raises(InputError, match="no parameters for the triplet Ge Ge Si"):
        potential.bind(("Ge", "Si"), CpuBackend("double"))
    with pytest.raises(InputError, match="no parameters for C"):
        potential.bind(("C",), CpuBackend("double"))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([LAMMPS_SI, GPUMD_1989, "tersoff_1988 1 Si\n" + GPUMD_1988_ROW, PAIRS, LAMMPS_MOD, MIXED_SW,
                        LAMMPS_ILP, GPUMD_ILP, finnis_sinclair_text(60, 50), funcfl_text(50)]),
       st.integers(0, 2**32), st.booleans())
def test_mutated_files_are_read_or_refused(tmp_path_factory, text, seed, twice):
    path = tmp_path_factory.getbasetemp() / "mutated.txt"
    data = mutated(text, random.Random(seed))
    if twice:
        data = mutated(data.decode("utf-8", "replace") or "\n", random.Random(seed + 1))
    path.write_bytes(data)
    message = ""
    try:
        potential = load_potential(path)
        potential.bind(potential.elements, CpuBackend("mixed"))
    except InputError as error:
        message = str(error)
    assert "\n" not in message
