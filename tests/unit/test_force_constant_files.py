"""Files of force constants: what is read is what was written, and what does not belong together is refused."""

import gzip
import lzma

import h5py
import numpy as np
import pytest
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from spring_crystal import diamond, rocksalt, springs, supercell_of

from hpcthermo.errors import InputError
from hpcthermo.phonons.consistency import violations
from hpcthermo.phonons.files.load import load_lattice_dynamics
from hpcthermo.phonons.files.phonopy_yaml import read_phonopy_yaml
from hpcthermo.phonons.lattice_dynamics import SupercellForceConstants


def phonopy_of(crystal, counts):
    atoms = PhonopyAtoms(symbols=list(crystal.symbols), cell=crystal.cell, scaled_positions=crystal.positions,
                         masses=crystal.masses)
    return Phonopy(atoms, np.diag(counts), primitive_matrix=np.eye(3), log_level=0)


@pytest.fixture(scope="module")
def salt(tmp_path_factory):
    """A folder with the files of rocksalt with springs, and what is in them."""
    folder = tmp_path_factory.mktemp("salt, % of 'NaCl' \u00e9")
    crystal = rocksalt()
    supercell = supercell_of(crystal, (2, 2, 2))
    second, third = springs(supercell, 2), springs(supercell, 3)
    phonopy = phonopy_of(crystal, (2, 2, 2))
    phonopy.save(folder / "phonopy.yaml")
    for name, values in (("fc2", second), ("fc3", third)):
        with h5py.File(folder / f"{name}.hdf5", "w") as file:
            file["force_constants" if name == "fc2" else name] = values
            file["p2s_map"] = supercell.origin_of
    return folder, supercell, second, third


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 2, 1)])
@pytest.mark.parametrize("order", [2, 3])
def test_springs_keep_all_invariants(counts, order):
    supercell = supercell_of(rocksalt(), counts)
    found = violations(SupercellForceConstants(supercell, springs(supercell, order)))
    assert found.worst < 1e-12


def test_what_is_read_is_what_is_there(salt):
    folder, supercell, second, third = salt
    read = load_lattice_dynamics(folder / "phonopy.yaml", fc2=folder / "fc2.hdf5", fc3=folder / "fc3.hdf5")
    assert np.array_equal(read.force_constants[2].values, second)
    assert np.array_equal(read.force_constants[3].values, third)
    assert read.crystal.symbols == ("Na", "Cl")
    assert np.allclose(read.crystal.masses, [23.0, 35.5], atol=0)
    assert np.array_equal(read.supercell(3).atom_of, supercell.atom_of)
    assert read.second.order == 2
    assert read.third.order == 3
    assert read.sources["fc3"] == str(folder / "fc3.hdf5")
    with pytest.raises(InputError, match=r"give crystal\.fc4"):
        read.fourth  # noqa: B018


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_yaml(salt, tmp_path, suffix, compress):
    path = tmp_path / f"phonopy.yaml{suffix}"
    path.write_bytes(compress((salt[0] / "phonopy.yaml").read_bytes()))
    assert np.array_equal(read_phonopy_yaml(path).supercell.positions,
                          read_phonopy_yaml(salt[0] / "phonopy.yaml").supercell.positions)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="damaged"):
        read_phonopy_yaml(path)


def test_supercell_and_primitive_cell_from_matrices_alone(tmp_path):
    path = tmp_path / "phonopy_unitcell.yaml"
    path.write_text("""
unit_cell:
  lattice: [[5.6, 0, 0], [0, 5.6, 0], [0, 0, 5.6]]
  points:
  - {symbol: Na, coordinates: [0, 0, 0]}
  - {symbol: Na, coordinates: [0, 0.5, 0.5]}
  - {symbol: Na, coordinates: [0.5, 0, 0.5]}
  - {symbol: Na, coordinates: [0.5, 0.5, 0]}
  - {symbol: Cl, coordinates: [0.5, 0.5, 0.5]}
  - {symbol: Cl, coordinates: [0.5, 0, 0]}
  - {symbol: Cl, coordinates: [0, 0.5, 0]}
  - {symbol: Cl, coordinates: [0, 0, 0.5]}
primitive_matrix: auto
supercell_matrix: [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
""")
    read = read_phonopy_yaml(path)
    assert read.crystal.n_atoms == 2
    assert read.crystal.volume == pytest.approx(5.6**3 / 4)
    assert read.supercell.n_atoms == 64
    assert read.crystal.masses == pytest.approx([22.98976928, 35.45])


def test_python_objects_in_yaml_are_refused(salt, tmp_path):
    path = tmp_path / "phonopy.yaml"
    path.write_text("evil: !!python/object/apply:os.system ['touch " + str(tmp_path / "ran") + "']\n"
                    + (salt[0] / "phonopy.yaml").read_text())
    with pytest.raises(InputError, match="plain YAML") as refused:
        read_phonopy_yaml(path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


DAMAGE = {
    "expected YAML": lambda text: text[:2000] + "\n  : ][",
    "found neither": lambda text: text.replace("unit_cell:", "x:").replace("primitive_cell:", "y:"),
    "NaN": lambda text: text.replace("0.500000000000000,", ".nan,", 1),
    "positive masses": lambda text: text.replace("mass: 35.5", "mass: -35.5"),
    "images": lambda text: text.replace("0.250000000000000", "0.270000000000000"),
    "two within": lambda text: text.replace("0.500000000000000,  0.500000000000000,  0.5", "0.0, 0.0, 0.001"),
    "at most 10,000": lambda text: text.replace("coordinates: [  0.000000000000000", "coordinates: [ 9.0e+9"),
    "not read": lambda text: text.replace("physical_unit:", "physical_unit: !!python/name:os.system"),
    "independent vectors": lambda text: text.replace("2.8", "0.0"),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damaged_yaml_is_refused_in_one_line(salt, tmp_path, message):
    path = tmp_path / "phonopy.yaml"
    text = (salt[0] / "phonopy.yaml").read_text()
    path.write_text(DAMAGE[message](text))
    assert path.read_text() != text
    with pytest.raises(InputError, match=message) as refused:
        read_phonopy_yaml(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def _written(path, values, **more):
    with h5py.File(path, "w") as file:
        file["force_constants"] = values
        for name, content in more.items():
            file[name] = content
    return path


def test_force_constants_that_do_not_belong_to_the_crystal_are_refused(salt, tmp_path):
    folder, _, second, _ = salt
    path = tmp_path / "fc2.hdf5"

    def refused(message, values=second, name=path, **more):
        if name is path:
            _written(path, values, **more)
        with pytest.raises(InputError, match=message) as error:
            load_lattice_dynamics(folder / "phonopy.yaml", fc2=name)
        assert str(name) in str(error.value)
        assert "\n" not in str(error.value)

    refused("expected the shape", second[:, :4])
    refused("p2s_map", p2s_map=np.array([0, 1]))
    refused("p2s_map", p2s_map=np.array([8, 0]))
    refused("p2s_map", p2s_map=np.array([0, 800]))
    refused("p2s_map", p2s_map=np.array([0.5, 8.5]))
    refused("4 dimensions, got one of the shape", second.ravel())
    refused("zeros only", np.zeros_like(second))
    bad = second.copy()
    bad[1, 3, 0, 0] = np.nan
    refused("NaN", bad)
    refused("complex", second + 1e-3j)
    refused("symmetry of the crystal|exchanged", second[:, np.random.default_rng(1).permutation(16)])
    other = springs(supercell_of(diamond(), (2, 2, 2)), 2)
    refused("symmetry of the crystal|exchanged", other)
    refused("vanishes", second + 0.05 * np.eye(3))
    refused("expected force constants in", physical_unit="furlong")
    refused("dataset force_constants", name=folder / "fc3.hdf5")
    _written(path, second)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_lattice_dynamics(folder / "phonopy.yaml", fc2=path)
    with pytest.raises(InputError, match="No such file"):
        load_lattice_dynamics(folder / "phonopy.yaml", fc2=tmp_path / "none.hdf5")


def test_full_force_constants_and_other_units(salt, tmp_path):
    folder, supercell, second, _ = salt
    full = np.zeros((16, 16, 3, 3))
    codes = {tuple(row): J for J, row in enumerate(np.rint(supercell.positions * 4).astype(int) % 4)}
    for J in range(16):
        shift = supercell.positions[J] - supercell.positions[supercell.origin_of[supercell.atom_of[J]]]
        moved = np.rint((supercell.positions + shift) * 4).astype(int) % 4
        full[J, [codes[tuple(row)] for row in moved]] = second[supercell.atom_of[J]]
    path = _written(tmp_path / "fc2.hdf5", full)
    read = load_lattice_dynamics(folder / "phonopy.yaml", fc2=path)
    assert np.array_equal(read.force_constants[2].values, second)
    path = _written(tmp_path / "fc2.hdf5", second / (13.605693122994 / 0.529177210903**2), physical_unit="Ry/au^2")
    read = load_lattice_dynamics(folder / "phonopy.yaml", fc2=path)
    assert np.allclose(read.force_constants[2].values, second, rtol=1e-14, atol=0)
