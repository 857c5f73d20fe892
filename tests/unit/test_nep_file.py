"""Reading nep.txt: what each part becomes, and files that are not what they claim."""

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ase.data import chemical_symbols

from hpcthermo.errors import InputError
from hpcthermo.potentials.nep_file import read_nep_file
from hpcthermo.potentials.zbl import COULOMB_EV_A

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
from nep_reference import write_model


def replace_line(path, number, text):
    lines = path.read_text().split("\n")
    lines[number] = text
    path.write_text("\n".join(lines))
    return path


def test_blocks_come_in_the_order_of_the_format(tmp_path):
    path = write_model(tmp_path / "nep.txt", elements=("B", "N"), n_max=(1, 0), basis=(2, 1), flags=(2, 2, 0),
                       neurons=3)
    header = path.read_text().split("\n")[:6]
    d = 2 + 1 * 3
    count = 2 * (d + 2) * 3 + 1 + 4 * (2 * 3 + 1 * 2) + d
    numbers = np.arange(1.0, count + 1)
    path.write_text("\n".join([*header, *map(str, numbers)]) + "\n")
    model = read_nep_file(path)
    assert model.extra_invariants == ("222",)
    assert model.input_weights.shape == (2, 3, d)
    assert model.input_weights[0, 1, 0] == 1 + d
    assert model.neuron_biases[0, 0] == 3 * d + 1
    assert model.output_weights[0, 0] == 3 * d + 4
    assert model.input_weights[1, 0, 0] == 3 * d + 7
    b1 = 2 * (d + 2) * 3 + 1
    assert np.all(model.output_biases == b1)
    # index ((n (bR + 1) + k) T + t_i) T + t_j
    assert model.radial_coefficients[1, 2, 0, 1] == b1 + 1 + ((1 * 3 + 2) * 2 + 0) * 2 + 1
    assert model.angular_coefficients[0, 1, 1, 0] == b1 + 1 + 24 + ((0 * 2 + 1) * 2 + 1) * 2
    np.testing.assert_array_equal(model.scaler, numbers[-d:])


def test_versions_share_or_split_the_network(tmp_path):
    nep3 = read_nep_file(write_model(tmp_path / "3.txt", kind="nep3"))
    assert nep3.version == 3
    np.testing.assert_array_equal(nep3.input_weights[0], nep3.input_weights[2])
    nep5 = read_nep_file(write_model(tmp_path / "5.txt", kind="nep5"))
    assert len(set(nep5.output_biases)) == 3


def test_cutoffs_by_type(tmp_path):
    model = read_nep_file(write_model(tmp_path / "nep.txt", cutoff="5 3.5 4.6 4.2 5.5 4"))
    np.testing.assert_array_equal(model.radial_cutoffs, [5, 4.6, 5.5])
    np.testing.assert_array_equal(model.angular_cutoffs, [3.5, 4.2, 4])


def test_repulsion(tmp_path):
    model = read_nep_file(write_model(tmp_path / "a.txt", kind="nep4_zbl", zbl="zbl 1 2"))
    assert model.screening[0, 1, 0] == pytest.approx(COULOMB_EV_A * 5 * 6)
    assert model.screening[0, 1, 1] == pytest.approx(2.134563 * (5**0.23 + 6**0.23))
    assert tuple(model.screening[2, 1, 2:4]) == (1, 2)
    model = read_nep_file(write_model(tmp_path / "b.txt", kind="nep4_zbl", zbl="zbl 1 2 0.7"))
    assert tuple(model.screening[1, 1, 2:4]) == (0, pytest.approx(1.4))  # carbon: radius 1 A
    model = read_nep_file(write_model(tmp_path / "c.txt", kind="nep4_zbl", zbl="zbl 0 0"))
    np.testing.assert_array_equal(model.screening[0, 2, 2:], model.screening[2, 0, 2:])
    assert model.screening[0, 2, 2] != model.screening[0, 1, 2]


BAD_HEADERS = {
    "not a nep": (0, "hello world"),
    "empty first line": (0, ""),
    "version 2": (0, "nep2 3 B C N"),
    "unknown suffix": (0, "nep4_spin 3 B C N"),
    "dipole": (0, "nep4_dipole 3 B C N"),
    "polarizability": (0, "nep4_polarizability 3 B C N"),
    "charge": (0, "nep4_charge1 3 B C N"),
    "charge with zbl and vdw": (0, "nep4_zbl_charge_vdw 3 B C N"),
    "temperature": (0, "nep3_temperature 3 B C N"),
    "too few elements": (0, "nep4 3 B C"),
    "no such element": (0, "nep4 3 B C Qq"),
    "element twice": (0, "nep4 3 B C C"),
    "a billion elements": (0, "nep4 1000000000 B C N"),
    "no cutoff": (1, "n_max 4 4"),
    "negative cutoff": (1, "cutoff -5 4 100 50"),
    "cutoff is not a number": (1, "cutoff nan 4 100 50"),
    "huge cutoff": (1, "cutoff 5e9 4 100 50"),
    "three numbers": (1, "cutoff 5 4 3"),
    "huge n_max": (2, "n_max 100000 4"),
    "fractional n_max": (2, "n_max 4.5 4"),
    "negative basis": (3, "basis_size -1 8"),
    "huge degree": (4, "l_max 999999 1 1"),
    "huge network": (5, "ANN 999999 0"),
    "empty network": (5, "ANN 0 0"),
    "other network": (5, "ANN 60 0"),
    "non-ascii": (2, "n_max \u0664 4"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_bad_headers_are_refused_in_one_line(tmp_path, name):
    path = replace_line(write_model(tmp_path / "nep.txt"), *BAD_HEADERS[name])
    with pytest.raises(InputError) as error:
        read_nep_file(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["nan", "inf", "1e300", "abc", "0x10", "1,5", ""])
def test_bad_numbers_are_refused_in_one_line(tmp_path, text):
    path = replace_line(write_model(tmp_path / "nep.txt"), 100, text)
    with pytest.raises(InputError) as error:
        read_nep_file(path)
    assert "\n" not in str(error.value)


def test_truncated_and_overlong_files_are_refused(tmp_path):
    path = write_model(tmp_path / "nep.txt")
    text = path.read_text()
    for changed in (text[: len(text) // 2], "", text[:40], text + "1.0\n", text + "1.0\n" * 100_000):
        path.write_text(changed)
        with pytest.raises(InputError):
            read_nep_file(path)


def test_binary_missing_and_folder_are_refused(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 1000)
    for path in (binary, tmp_path / "absent", tmp_path):
        with pytest.raises(InputError):
            read_nep_file(path)


def test_a_lying_header_allocates_nothing(tmp_path):
    """The largest model a header can ask for is refused by the size of the file."""
    symbols = chemical_symbols[1:95]
    path = tmp_path / "nep.txt"
    path.write_text(f"nep4 {len(symbols)} {' '.join(symbols)}\ncutoff 6 5 100 100\nn_max 12 8\nbasis_size 16 16\n"
                    "l_max 8 1 1 1 1 1 1\nANN 120 0\n" + "0.5\n" * 1000)
    tracemalloc.start()
    with pytest.raises(InputError, match="cannot be"):
        read_nep_file(path)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
