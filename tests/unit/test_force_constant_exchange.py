"""Force constants through the files of other programs and back, and forces into force constants."""

import itertools
import lzma
import sys

import numpy as np
import phonopy
import pytest
from phonopy.file_IO import parse_BORN, parse_FORCE_CONSTANTS, parse_FORCE_SETS, write_FORCE_CONSTANTS, write_FORCE_SETS
from phonopy.structure.atoms import PhonopyAtoms
from spring_crystal import diamond, rocksalt, springs, supercell_of

from hpcthermo.errors import InputError
from hpcthermo.phonons.consistency import largest_difference
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.displacement_dataset import DisplacementDataset
from hpcthermo.phonons.files.born import read_born, write_born
from hpcthermo.phonons.files.control import read_control
from hpcthermo.phonons.files.export import (
    in_phonopy_order,
    write_phonopy_files,
    write_shengbte_files,
    write_tdep_files,
)
from hpcthermo.phonons.files.force_constants_text import read_force_constants, write_force_constants
from hpcthermo.phonons.files.force_sets import read_force_sets, read_forces, write_force_sets, write_forces
from hpcthermo.phonons.files.hdf5 import read_list, write_list
from hpcthermo.phonons.files.interaction_blocks import read_blocks, write_blocks
from hpcthermo.phonons.files.load import load_lattice_dynamics
from hpcthermo.phonons.files.phonopy_yaml import read_phonopy_yaml, write_phonopy_yaml
from hpcthermo.phonons.files.tdep import read_tdep, write_tdep
from hpcthermo.phonons.files.yaml_displacements import read_displacements
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.lattice_dynamics import LatticeDynamics, SupercellForceConstants

BORN = DielectricResponse(np.array([np.diag([1.1, 1.1, 1.1]), np.diag([-1.1, -1.1, -1.1])]), 2.5 * np.eye(3), 14.4)


@pytest.fixture(scope="module")
def salt():
    """Rocksalt with springs, atoms of the conventional supercell in an order of nobody's."""
    crystal = rocksalt()
    ordered = supercell_of(crystal, (2, 2, 2))
    mixed = np.random.default_rng(0).permutation(ordered.n_atoms)
    symbols = [crystal.symbols[i] for i in ordered.atom_of[mixed]]
    supercell = Supercell.match(crystal, ordered.cell, ordered.positions[mixed], symbols)
    constants = {order: SupercellForceConstants(supercell, springs(supercell, order)) for order in (2, 3)}
    return LatticeDynamics(crystal, constants, BORN)


def same(one, other, orders=(2, 3), within=1e-13):
    for order in orders:
        assert largest_difference(one.interactions(order), other.interactions(order)) <= within


def test_files_of_phonopy(salt, tmp_path):
    written = write_phonopy_files(salt, tmp_path)
    assert [path.name for path in written] == ["phono3py.yaml", "fc2.hdf5", "fc3.hdf5"]
    read = load_lattice_dynamics(written[0], fc2=written[1], fc3=written[2])
    ordered = in_phonopy_order(salt)
    for order in (2, 3):
        assert np.array_equal(read.force_constants[order].values, ordered.force_constants[order].values)
    assert np.array_equal(read.crystal.cell, salt.crystal.cell)
    assert np.array_equal(read.crystal.masses, salt.crystal.masses)
    assert np.array_equal(read.dielectric.born, BORN.born)
    assert read.dielectric.factor == BORN.factor
    same(read, salt)
    assert write_phonopy_files(salt, tmp_path, full=True)
    same(load_lattice_dynamics(written[0], fc2=written[1], fc3=written[2]), salt)


def test_phonopy_reads_our_files(salt, tmp_path):
    second = LatticeDynamics(salt.crystal, {2: salt.force_constants[2]})
    yaml, fc2 = write_phonopy_files(second, tmp_path)
    read = phonopy.load(yaml, force_constants_filename=fc2, symmetrize_fc=False, log_level=0)
    q = np.random.default_rng(3).random((6, 3))
    read.run_qpoints(q)
    ours = HarmonicCrystal(salt.crystal, salt.second).phonons(q).frequencies
    # phonopy's own unit of frequency differs in the seventh digit
    assert np.abs(read.qpoints.frequencies / ours - 1.0).max() < 1e-6


@pytest.mark.parametrize("crystal", [diamond(), diamond(symbols=("Zn", "S"), masses=(65.0, 32.1))],
                         ids=["diamond", "zincblende"])
def test_files_of_shengbte(crystal, tmp_path):
    # a cubic supercell, which is no diagonal one of the primitive cell
    cube = 2 * crystal.cell[0, 1] * np.eye(3)
    shifts = np.array(list(np.ndindex(3, 3, 3))) - 1
    places = (shifts[:, None] + crystal.positions) @ crystal.cell @ np.linalg.inv(cube)
    inside = ((places > -1e-6) & (places < 1 - 1e-6)).all(axis=2)
    supercell = Supercell.match(crystal, cube, places[inside], [crystal.symbols[i] for i in np.nonzero(inside)[1]])
    constants = {order: SupercellForceConstants(supercell, springs(supercell, order)) for order in (2, 3)}
    lattice = LatticeDynamics(crystal, constants, BORN if "Zn" in crystal.symbols else None)
    control, second, third = write_shengbte_files(lattice, tmp_path)
    read = load_lattice_dynamics(shengbte_control=control, fc2=second, fc3=third)
    same(read, lattice)
    assert np.array_equal(read.crystal.masses, crystal.masses)
    assert (read.dielectric is None) == (lattice.dielectric is None)
    if read.dielectric is not None:
        assert np.array_equal(read.dielectric.born, BORN.born)


def test_files_of_tdep(salt, tmp_path):
    cell, second, third = write_tdep_files(salt, tmp_path)
    second.write_text(second.read_text().replace("\n", "   How many atoms 2 per unit cell\n", 1))
    read = load_lattice_dynamics(tdep_unit_cell=cell, fc2=second, fc3=third)
    same(read, salt)
    second.write_text(second.read_text() + "1.0 2.0\n")
    with pytest.raises(InputError, match="dipole"):
        load_lattice_dynamics(tdep_unit_cell=cell, fc2=second)


@pytest.mark.parametrize(("order", "terms"), [(3, 40), (4, 10)])
@pytest.mark.parametrize(("write", "read"), [(write_blocks, read_blocks), (write_tdep, read_tdep)],
                         ids=["blocks", "tdep"])
def test_lists_of_any_values(order, terms, write, read, tmp_path):
    """Also where no symmetry hides a transposition."""
    random = np.random.default_rng(order)
    crystal = Crystal(np.array([[3.1, 0.2, 0], [0.1, 4.2, 0.3], [-0.4, 0, 5.3]]), random.random((3, 3)),
                      ("B", "C", "N"), np.array([10.8, 12.0, 14.0]))
    there = Interactions.merged(random.integers(0, 3, (terms, order)), random.integers(-3, 4, (terms, order - 1, 3)),
                                random.standard_normal((terms,) + (3,) * order))
    path = tmp_path / "list"
    write(there, crystal, path)
    back = read(path, order, crystal)
    assert np.array_equal(back.atoms, there.atoms)
    assert np.array_equal(back.vectors, there.vectors)
    assert np.array_equal(back.values, there.values)
    text = path.read_text()
    path.write_text(text[:len(text) // 2])
    with pytest.raises(InputError, match=str(path)):
        read(path, order, crystal)


def test_blocks_in_another_unit_or_of_another_cell_are_refused(salt, tmp_path):
    path = tmp_path / "FORCE_CONSTANTS_3RD"
    write_blocks(salt.third, salt.crystal, path)
    nanometre = Crystal(salt.crystal.cell / 10.3, salt.crystal.positions, salt.crystal.symbols, salt.crystal.masses)
    with pytest.raises(InputError, match="lattvec times lfactor"):
        read_blocks(path, 3, nanometre)
    path.write_text(path.read_text().replace("0.000", "0.x00", 1))
    with pytest.raises(InputError, match="damaged"):
        read_blocks(path, 3, salt.crystal)


def test_control_with_repeats_commas_and_comments(tmp_path):
    path = tmp_path / "CONTROL"
    path.write_text("""&allocations
 nelements=2, natoms=3, ngrid(:)=5 5 5 norientations=0
&end
&crystal
  lfactor=0.1d0,     ! nm
  lattvec(:,1)=3.0 2*0.0, lattvec(:,2)=0.0, 4.0, 0.0
  lattvec(:,3)=0.0 0.0 5.0E0
  elements="Zn","O"
  types=1 2*2 positions(:,1)=3*0.0 positions(:,2)=3*.5, positions(:,3)=0.5 0 0
  epsilon(:,1)=1 2 3 epsilon(:,2)=4 5 6 epsilon(:,3)=7 8 9
  born(:,1,1)=1 2 3 born(:,2,1)=4 5 6 born(:,3,1)=7 8 9
  born(:,:,2)=9*0.0 born(:,:,3)=9*1
  scell(:)=2 3 4 /
&end
""")
    read = read_control(path)
    assert np.allclose(read.crystal.cell, np.diag([3.0, 4.0, 5.0]), atol=1e-15)
    assert read.crystal.symbols == ("Zn", "O", "O")
    assert read.crystal.masses == pytest.approx([65.38, 15.999, 15.999])
    assert np.array_equal(read.crystal.positions[1:], [[0.5, 0.5, 0.5], [0.5, 0, 0]])
    assert read.scell == (2, 3, 4)
    assert np.array_equal(read.dielectric.born[0], np.arange(1, 10).reshape(3, 3))
    assert np.array_equal(read.dielectric.dielectric, np.arange(1, 10).reshape(3, 3))
    for old, new, message in (("lattvec(:,3)", "xattvec(:,3)", "missing"), ("natoms=3", "natoms=4", "positions|types"),
                              ("types=1 2*2", "types=1 2 3", "types"), ("scell", "skell", "scell"),
                              ("2*0.0,", "2*0.0 1.0,", "fill the shape"), ("5.0E0", "five", "lattvec")):
        path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            read_control(path)
        path.write_text(path.read_text().replace(new, old, 1))


@pytest.mark.parametrize("full", [True, False])
def test_force_constants_as_text(salt, tmp_path, full):
    path = tmp_path / "FORCE_CONSTANTS"
    found = salt.force_constants[2]
    write_force_constants(found, path, full)
    assert np.array_equal(read_force_constants(path, found.supercell).values, found.values)
    origins = None if full else found.supercell.origin_of
    assert np.abs(parse_FORCE_CONSTANTS(path, origins) - (found.full() if full else found.values)).max() < 1e-14
    write_FORCE_CONSTANTS(found.full() if full else found.values, path, p2s_map=origins)
    assert np.abs(read_force_constants(path, found.supercell).values - found.values).max() < 1e-14


def _dataset(supercell, kind, forces=True):
    random = np.random.default_rng(5)
    atoms = {"single": np.array([[0], [7]]), "pairs": np.array([[0, -1], [7, -1], [0, 0], [0, 3], [7, 2]]),
             "all": np.tile(np.arange(supercell.n_atoms), (3, 1))}[kind]
    vectors = 0.01 * random.standard_normal((*atoms.shape, 3))
    if kind == "pairs":
        vectors[[2, 3, 4], 0] = vectors[[0, 0, 1], 0]
    vectors[atoms < 0] = 0.0
    values = random.standard_normal((len(atoms), supercell.n_atoms, 3))
    return DisplacementDataset(atoms, vectors, values if forces else None)


@pytest.mark.parametrize("kind", ["single", "all"])
def test_force_sets(salt, tmp_path, kind):
    supercell = salt.supercell(2)
    there = _dataset(supercell, kind)
    path = tmp_path / "FORCE_SETS"
    write_force_sets(there, path)
    back = read_force_sets(path, supercell.n_atoms)
    assert np.array_equal(back.atoms, there.atoms)
    assert np.array_equal(back.vectors, there.vectors)
    assert np.array_equal(back.forces, there.forces)
    theirs = parse_FORCE_SETS(path, natom=supercell.n_atoms)
    if kind == "single":
        assert np.array_equal([one["number"] for one in theirs["first_atoms"]], [0, 7])
        assert np.abs(np.array([one["forces"] for one in theirs["first_atoms"]]) - there.forces).max() < 1e-14
    else:
        assert np.abs(theirs["displacements"] - there.vectors).max() < 1e-14
    write_FORCE_SETS(theirs, path)
    assert np.abs(read_force_sets(path, supercell.n_atoms).forces - there.forces).max() < 1e-8
    with pytest.raises(InputError, match="supercell"):
        read_force_sets(path, supercell.n_atoms + 1)


def test_forces_of_phono3py(salt, tmp_path):
    supercell = salt.supercell(3)
    there = _dataset(supercell, "pairs")
    path = tmp_path / "FORCES_FC3"
    write_forces(there, path)
    back = read_forces(path, _dataset(supercell, "pairs", forces=False), supercell.n_atoms)
    assert np.array_equal(back.forces, there.forces)
    other = DisplacementDataset(there.atoms, 2.0 * there.vectors)
    with pytest.raises(InputError, match="one calculation"):
        read_forces(path, other, supercell.n_atoms)
    with pytest.raises(InputError, match="got 80 rows"):
        read_forces(path, _dataset(supercell, "single", forces=False), supercell.n_atoms)


@pytest.mark.parametrize("forces", [True, False])
@pytest.mark.parametrize(("kind", "order"), [("single", 2), ("pairs", 3), ("all", 2), ("all", 3)])
def test_displacements_in_yaml(salt, tmp_path, kind, order, forces):
    ordered = in_phonopy_order(salt)
    there = _dataset(ordered.supercell(order), kind, forces)
    path = tmp_path / "phono3py_params.yaml.xz"
    write_phonopy_yaml(LatticeDynamics(ordered.crystal, ordered.force_constants, None, {order: there}), tmp_path / "y")
    path.write_bytes(lzma.compress((tmp_path / "y").read_bytes()))
    back = read_phonopy_yaml(path).datasets
    assert list(back) == [order]
    assert np.array_equal(back[order].atoms, there.atoms)
    assert np.array_equal(back[order].vectors, there.vectors)
    assert (back[order].forces is None) != forces
    if forces:
        assert np.array_equal(back[order].forces, there.forces)


def test_forces_become_force_constants(tmp_path):
    """Harmonic forces of displaced cells, one atom or all of them moved, give back the springs they came from."""
    crystal = rocksalt()
    supercell = supercell_of(crystal, (2, 2, 2))
    there = SupercellForceConstants(supercell, springs(supercell, 2))
    write_phonopy_yaml(LatticeDynamics(crystal, {2: there}), tmp_path / "phonopy.yaml")
    full = there.full()
    for atoms in (np.repeat([0, 8], 6)[:, None], np.tile(np.arange(16), (20, 1))):
        vectors = 0.01 * np.random.default_rng(2).standard_normal((*atoms.shape, 3))
        moved = DisplacementDataset(atoms, vectors)
        forces = -np.einsum("ijab,cjb->cia", full, moved.dense(16))
        write_force_sets(moved.with_forces(forces), tmp_path / "FORCE_SETS")
        read = load_lattice_dynamics(tmp_path / "phonopy.yaml", force_sets=tmp_path / "FORCE_SETS")
        assert np.abs(read.force_constants[2].values - there.values).max() < 1e-8
        assert read.sources["fc2"].endswith("FORCE_SETS")


def test_born(tmp_path):
    """Charges of the independent atoms are spread by symmetry as phonopy does."""
    # rutile: two independent atoms out of six
    u = 0.305
    positions = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [u, u, 0], [-u, -u, 0], [0.5 - u, 0.5 + u, 0.5],
                          [0.5 + u, 0.5 - u, 0.5]])
    crystal = Crystal(np.diag([4.59, 4.59, 2.96]), positions, ("Ti",) * 2 + ("O",) * 4,
                      np.array([47.9] * 2 + [16.0] * 4))
    path = tmp_path / "BORN"
    path.write_text("14.4\n6.1 0 0 0 6.1 0 0 0 7.3\n6.3 1.1 0 1.1 6.3 0 0 0 7.5\n"
                    "-3.2 -1.8 0 -1.8 -3.2 0 0 0 -3.7\n")
    ours = read_born(path, crystal)
    theirs = parse_BORN(PhonopyAtoms(symbols=list(crystal.symbols), cell=crystal.cell, scaled_positions=positions),
                        filename=path)
    assert np.abs(ours.born - theirs["born"]).max() < 1e-10
    assert np.abs(ours.dielectric - theirs["dielectric"]).max() < 1e-10
    assert ours.factor == theirs["factor"] == 14.4
    write_born(ours, crystal, path)
    phonopy_cell = PhonopyAtoms(symbols=list(crystal.symbols), cell=crystal.cell, scaled_positions=positions)
    assert np.abs(parse_BORN(phonopy_cell, filename=path)["born"] - ours.born).max() < 1e-10
    again = read_born(path, crystal)
    assert np.abs(again.born - ours.born).max() < 1e-14
    path.write_text("14.4\n6.1 0 0 0 7.1 0 0 0 6.1\n6.3 0 0 0 6.3 0 0 0 7.5\n-3 0 0 0 -3 0 0 0 -3.7\n")
    with pytest.raises(InputError, match="dielectric tensor with the symmetry"):
        read_born(path, crystal)
    path.write_text("default\n" + "1 0 0 0 1 0 0 0 1\n" * 4)
    with pytest.raises(InputError, match="2 independent"):
        read_born(path, crystal)


def test_pairs_left_out_have_a_place_in_a_file_of_forces(tmp_path):
    """FORCES_FC3 has zeros for pairs beyond the cutoff; forces in the YAML file itself are of the others alone."""
    supercell = supercell_of(diamond(), [2, 1, 1])
    pairs = [{"atom": 2, "displacement": [0, 0.03, 0]}, {"atom": 3, "displacement": [0, 0.03, 0], "included": False}]
    first = {"atom": 1, "displacement": [0.03, 0, 0], "paired_with": pairs}
    found = read_displacements({"displacement_pairs": [first]}, {3: supercell}, tmp_path, 1.0, 1.0)
    assert found[3].atoms.tolist() == [[0, -1], [0, 1], [0, 2]]
    for cell in (first, pairs[0]):
        cell["forces"] = np.zeros((4, 3)).tolist()
    found = read_displacements({"displacement_pairs": [first]}, {3: supercell}, tmp_path, 1.0, 1.0)
    assert found[3].atoms.tolist() == [[0, -1], [0, 1]]


def test_reading_starts_no_phonopy():
    """Opening a job's files must not wait for the libraries that make force constants."""
    import subprocess

    code = "import sys, hpcthermo.phonons.files.load; print('phonopy' in sys.modules, 'symfc' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


def test_convert(salt, tmp_path, capsys):
    """phono3py's files to ShengBTE's to TDEP's, and back to a list."""
    from hpcthermo.cli import main

    def convert(source, target):
        with pytest.raises(SystemExit) as left:
            main(["convert", str(source), str(target)])
        return left.value.code

    lattice = LatticeDynamics(diamond(), {order: SupercellForceConstants(cell, springs(cell, order))
                                          for cell in [supercell_of(diamond(), (2, 2, 2))] for order in (2, 3)})
    folders = [tmp_path / name for name in ("a b", "shengbte", "tdep")]
    folders[0].mkdir()
    write_phonopy_files(lattice, folders[0])
    cells = [folders[0] / "phono3py.yaml", folders[1] / "CONTROL", folders[2] / "infile.ucposcar"]
    for source, target in itertools.pairwise(cells):
        assert convert(source, target) == 0
        shown = capsys.readouterr().out
        assert f"wrote {target}" in shown
        assert "read fc3" in shown
    read = load_lattice_dynamics(tdep_unit_cell=cells[2], fc2=folders[2] / "infile.forceconstant",
                                 fc3=folders[2] / "infile.forceconstant_thirdorder")
    same(read, lattice)
    assert convert(cells[0], cells[1]) == 2
    assert "is there already" in capsys.readouterr().err
    (folders[0] / "fc2.hdf5").unlink()
    assert convert(cells[0], tmp_path / "new" / "CONTROL") == 2
    assert "found none" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_lists_in_hdf5(salt, tmp_path):
    random = np.random.default_rng(4)
    path = tmp_path / "fc4.hdf5"
    there = Interactions.merged(random.integers(0, 2, (9, 4)), random.integers(-3, 4, (9, 3, 3)),
                                random.standard_normal((9, 3, 3, 3, 3)))
    write_list(there, salt.crystal, path)
    back = read_list(path, 4, salt.crystal)
    assert np.array_equal(back.atoms, there.atoms)
    assert np.array_equal(back.vectors, there.vectors)
    assert np.array_equal(back.values, there.values)
    with pytest.raises(InputError, match="order 3"):
        read_list(path, 3, salt.crystal)
    with pytest.raises(InputError, match="one calculation"):
        read_list(path, 4, diamond())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="damaged"):
        read_list(path, 4, salt.crystal)


def test_fourth_order_of_a_supercell():
    """Dense arrays of order 4 become the list that its parts give, as for order 3."""
    cell = supercell_of(diamond(), (2, 1, 1))
    third = springs(cell, 3)
    via_members = SupercellForceConstants(cell, third).interactions()
    pairs = np.argwhere(np.abs(third).max(axis=(3, 4, 5)) > 1e-13)
    members = np.c_[cell.origin_of[pairs[:, 0]], pairs[:, 1:]]
    assert largest_difference(via_members, Interactions.of_supercell(cell, members, third[tuple(pairs.T)])) < 1e-13
    random = np.random.default_rng(0).standard_normal((2, 4, 4, 4, 3, 3, 3, 3))
    found = SupercellForceConstants(cell, random).interactions(average_origins=False)
    total = found.values[found.atoms[:, 0] == 0].sum(axis=0)
    assert np.allclose(total, random[0].sum(axis=(0, 1, 2)))
