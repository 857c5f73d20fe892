"""Labelled frames in files: what is written is read back, what others write is understood, bad frames are named."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest

from hpcthermo.datasets.ase_atoms import atoms_of_frame, frame_of_atoms
from hpcthermo.datasets.extended_xyz import extended_xyz_text
from hpcthermo.datasets.files import examine_file, format_of_file, read_dataset, write_dataset
from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.errors import InputError

SHELF = Path(__file__).parents[3] / "shared" / "data" / "training"
LABELS = ("cell", "periodic", "positions", "forces", "virial")


def random_frames(count: int = 3, periodic: tuple[bool, bool, bool] = (True, True, True)) -> list[LabelledFrame]:
    rng = np.random.default_rng(1)
    frames = []
    for k in range(count):
        virial = rng.normal(size=(3, 3))
        frames.append(LabelledFrame(
            cell=6.0 * np.eye(3) + rng.normal(size=(3, 3)) / 7.0, periodic=np.array(periodic), symbols=("B", "N", "C"),
            positions=rng.normal(size=(3, 3)), energy=rng.normal() / 3.0, forces=rng.normal(size=(3, 3)) / 3.0,
            virial=virial + virial.T, weight=1.0 + k / 3.0, group=("bilayer, twisted", "strained")[k % 2],
            provenance={"engine": "Quantum ESPRESSO", "version": "6.7", "settings_hash": "1234e567",
                        "note": 'a "quoted" \\ back = slash'}, energy_weight=0.5))
    return frames


def same(a: LabelledFrame, b: LabelledFrame) -> bool:
    def equal(name: str) -> bool:
        first, second = getattr(a, name), getattr(b, name)
        return np.array_equal(first, second) if first is not None and second is not None else first is second
    return a.symbols == b.symbols and a.energy == b.energy and all(map(equal, LABELS))


def test_extended_xyz_keeps_every_bit(tmp_path):
    frames = [*random_frames(), LabelledFrame(np.zeros((3, 3)), np.zeros(3), ("H",), np.zeros((1, 3)), energy=-1.0)]
    write_dataset(frames, tmp_path / "set.xyz")
    again = read_dataset(tmp_path / "set.xyz")
    assert all(same(a, b) for a, b in zip(frames, again, strict=True))
    assert [(f.weight, f.energy_weight, f.group, f.provenance) for f in frames] == \
        [(f.weight, f.energy_weight, f.group, f.provenance) for f in again]


def test_ase_reads_what_we_write_and_we_what_ase_writes(tmp_path):
    frames = random_frames()
    write_dataset(frames, tmp_path / "ours.xyz")
    read = ase.io.read(tmp_path / "ours.xyz", index=":")
    assert [atoms.info["engine"] for atoms in read] == ["Quantum ESPRESSO"] * 3
    for frame, atoms in zip(frames, read, strict=True):
        np.testing.assert_allclose(frame_of_atoms(atoms).virial, frame.virial, rtol=1e-12)
        np.testing.assert_array_equal(atoms.get_forces(), frame.forces)
    ase.io.write(tmp_path / "theirs.xyz", [atoms_of_frame(frame) for frame in frames])
    for frame, theirs in zip(frames, read_dataset(tmp_path / "theirs.xyz"), strict=True):
        np.testing.assert_allclose(theirs.virial, frame.virial, atol=1e-7)
        np.testing.assert_allclose(theirs.forces, frame.forces, atol=1e-7)
        assert (theirs.energy, theirs.group, theirs.weight) == (frame.energy, frame.group, frame.weight)


def test_gpumd_conventions(tmp_path):
    """Any case of keys, columns in any order, spaces around '=' and in quotes, others' columns, the stress alone."""
    (tmp_path / "train.xyz").write_text(
        '2\nLATTICE = " 4 0 0 0 5 0 0 0 6 " Energy=-3.5 Weight=2 config_type=dimer STRESS="1 0 0 0 2 0 0 0 3" step=7 '
        "properties=charge:R:1:Force:R:3:species:S:1:pos:R:3\n0.5 1 2 3 C 0.1 0.2 0.3\n-0.5 -1 -2 -3 N 1.1 1.2 1.3\n\n")
    frame, = read_dataset(tmp_path / "train.xyz")
    assert (frame.symbols, frame.energy, frame.weight, frame.group, dict(frame.provenance)) == \
        (("C", "N"), -3.5, 2.0, "dimer", {"step": "7"})
    np.testing.assert_array_equal(frame.cell, np.diag([4.0, 5.0, 6.0]))
    np.testing.assert_array_equal(frame.forces, [[1, 2, 3], [-1, -2, -3]])
    np.testing.assert_allclose(frame.virial, -120.0 * np.diag([1.0, 2.0, 3.0]))
    assert frame.periodic.all()


GOOD = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0'


@pytest.mark.parametrize(("header", "row", "reason"), [
    (GOOD, "C 0 0 0 0 nan 0", "forces: expected finite numbers"),
    (GOOD, "C 0 0 0 0 0", "atom 0: expected 7 columns"),
    (GOOD, "C 0 0 0 0 x 0", "not what its key or column says"),
    (GOOD, "Carbon 0 0 0 0 0 0", "species: expected chemical symbols, got Carbon"),
    (GOOD.replace("-1.0", "inf"), "C 0 0 0 0 0 0", "energy: expected a finite number"),
    (GOOD + " weight=-2", "C 0 0 0 0 0 0", "weight: expected a finite number of 0 or more"),
    (GOOD + " energy_weight=nan", "C 0 0 0 0 0 0", "energy_weight: expected"),
    (GOOD.replace("9 0 0 0 9 0 ", ""), "C 0 0 0 0 0 0", "Lattice: expected 9 numbers"),
    (GOOD + ' virial="1 2 3"', "C 0 0 0 0 0 0", "virial must hold 9 numbers"),
    (GOOD + ' virial="1 0 0 0 1 0 0 0 1" stress="1 0 0 0 1 0 0 0 1"', "C 0 0 0 0 0 0", "times -volume x stress"),
    (GOOD + ' pbc="T F"', "C 0 0 0 0 0 0", "pbc: expected three"),
    (GOOD.replace("pos:R:3", "R:3"), "C 0 0 0 0 0 0", "Properties: expected"),
    ("energy=1", "C 0 0 0", None),
])
def test_bad_frames_are_named(tmp_path, header, row, reason):
    path = tmp_path / "set.xyz"
    path.write_text(f"1\n{GOOD}\nC 0 0 0 0 0 0\n1\n{header}\n{row}\n1\n{GOOD}\nC 0 0 0 0 0 0\n")
    found = examine_file(path)
    assert len(found) == 3
    if reason is None:
        assert len(read_dataset(path)) == 3
        return
    assert isinstance(found[1], BadFrame)
    with pytest.raises(InputError, match="frame 1: ") as refusal:
        read_dataset(path)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(("text", "reason"), [
    ("2\nenergy=1\nC 0 0 0\n", "expected 2 rows of atoms, the file ends after 1"),
    ("1\nenergy=1\nC 0 0 0\nC 0 0 0\n", "line 4: frame 1: expected its number of atoms"),
    ("hello\n", "is no data set"),
    ("", "is no data set"),
])
def test_files_that_are_no_frames(tmp_path, text, reason):
    (tmp_path / "set.xyz").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_dataset(tmp_path / "set.xyz")


def test_a_provenance_cannot_pose_as_a_label():
    frame = LabelledFrame(np.eye(3), np.ones(3), ("H",), np.zeros((1, 3)), provenance={"Energy": "1"})
    with pytest.raises(InputError, match="provenance"):
        extended_xyz_text(frame)


@pytest.mark.parametrize("periodic", [(True, True, True), (False, False, False)])
def test_deepmd_keeps_every_bit(tmp_path, periodic):
    frames = random_frames(5, periodic)
    if not any(periodic):
        frames = [replace(frame, cell=np.zeros((3, 3))) for frame in frames]
    write_dataset(frames, tmp_path / "systems")
    assert sorted(path.name for path in (tmp_path / "systems").iterdir()) == \
        ["bilayer_twisted-B1C1N1", "strained-B1C1N1"]
    again = read_dataset(tmp_path / "systems")
    assert all(same(a, b) for a, b in zip([*frames[::2], *frames[1::2]], again, strict=True))
    assert {frame.group for frame in again} == {"bilayer_twisted-B1C1N1", "strained-B1C1N1"}
    with pytest.raises(InputError, match="exists"):
        write_dataset(frames, tmp_path / "systems")
    # a virial without a cell has no stress, and is not lost for it
    write_dataset(again, tmp_path / "set.xyz")
    assert all(same(a, b) for a, b in zip(again, read_dataset(tmp_path / "set.xyz"), strict=True))
    assert ("stress=" in (tmp_path / "set.xyz").read_text()) == any(periodic)


def test_deepmd_mixed_types_and_damage(tmp_path):
    write_dataset(random_frames(2)[:1], tmp_path / "systems")
    system = next((tmp_path / "systems").iterdir())
    np.save(system / "set.000" / "real_atom_types.npy", np.array([[2, 0, -1]]))
    assert read_dataset(system)[0].symbols == ("C", "B")
    np.save(system / "set.000" / "real_atom_types.npy", np.array([[2, 0, 3]]))
    with pytest.raises(InputError, match="frame 0: types: expected 0"):
        read_dataset(system)
    np.save(system / "set.000" / "real_atom_types.npy", np.full((1, 3), -1))
    with pytest.raises(InputError, match="frame 0: species: expected at least one atom, got none"):
        read_dataset(system)
    np.save(system / "set.000" / "real_atom_types.npy", np.array([[2, 0, 1]]))
    (system / "type_map.raw").write_text("B\nFoo\nC\n")
    with pytest.raises(InputError, match="frame 0: species: expected chemical symbols, got Foo"):
        read_dataset(system)
    (system / "type_map.raw").write_text("B\nN\nC\n")
    np.save(system / "set.000" / "force.npy", np.zeros((2, 9)))
    with pytest.raises(InputError, match=r"force.npy: expected shape \(1, 9\)"):
        read_dataset(system)


def test_deepmd_has_no_half_periodic_frames(tmp_path):
    with pytest.raises(InputError, match="frame 0: DeePMD"):
        write_dataset(random_frames(1, (True, True, False)), tmp_path / "systems")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not SHELF.is_dir(), reason="no data sets in ../shared beside this checkout")
def test_sets_of_the_shelf():
    pbte = read_dataset(SHELF / "pbte" / "train.xyz")
    assert (len(pbte), pbte[3].energy, pbte[3].symbols.count("Pb")) == (25, -945.3533, 125)
    silicon = read_dataset(SHELF / "si128_dft")
    assert (len(silicon), silicon[3].energy, set(silicon[3].symbols)) == (804, -692.00857600, {"Si"})
    assert np.trace(silicon[3].virial) == pytest.approx(3 * -81.91213146)  # an expanded cell


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="program" type="string">vasp</i><i name="version" type="string">6.3.0</i></generator>
 <incar><i name="ENCUT">400</i></incar>
 <kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
 <parameters><separator name="electronic"><i type="int" name="NELM">3</i><i name="EDIFF">0.00001</i></separator>
 </parameters>
 <atominfo><atoms>2</atoms><types>1</types><array name="atoms"><set>
  <rc><c>Si</c><c>1</c></rc><rc><c>Si</c><c>1</c></rc></set></array></atominfo>
 <structure name="initialpos"><crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 4</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0.5 0.5 0.5</v></varray></structure>
{steps}</modeling>
"""


def vasp_step(energies: list[float]) -> str:
    loops = "".join(f'<scstep><energy><i name="e_fr_energy">{e}</i><i name="e_wo_entrp">{e}</i>'
                    f'<i name="e_0_energy">{e + 0.25}</i></energy></scstep>' for e in energies)
    return f"""<calculation>{loops}
 <structure><crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 4</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0.5 0.5 0.51</v></varray></structure>
 <varray name="forces"><v>0 0 0.5</v><v>0 0 -0.5</v></varray>
 <varray name="stress"><v>16.021766 0 0</v><v>0 16.021766 0</v><v>0 0 -16.021766</v></varray>
 <energy><i name="e_fr_energy">{energies[-1]}</i><i name="e_0_energy">0.0</i></energy></calculation>
"""


def test_vasprun(tmp_path):
    """Free energies, VASP's pressure in kbar as a virial of the same sign, steps that ended at NELM."""
    path = tmp_path / "vasprun.xml"
    path.write_text(VASPRUN.format(steps=vasp_step([-9.0, -10.0]) + vasp_step([-9.0, -10.0, -10.5])
                                   + vasp_step([-9.0, -10.0, -10.000001])))
    first, unconverged, last = examine_file(path)
    assert isinstance(unconverged, BadFrame)
    assert isinstance(first, LabelledFrame)
    assert isinstance(last, LabelledFrame)
    assert (first.energy, last.energy) == (-10.0, -10.000001)
    assert dict(first.provenance) == {"engine": "VASP", "version": "6.3.0"}
    np.testing.assert_allclose(first.virial, 0.01 * 64.0 * np.diag([1.0, 1.0, -1.0]), atol=1e-7)
    np.testing.assert_array_equal(first.forces, [[0, 0, 0.5], [0, 0, -0.5]])
    path.write_text(VASPRUN.format(steps=vasp_step([-9.0, -10.0])).removesuffix("</modeling>\n"))
    assert len(read_dataset(path)) == 1  # a run that was stopped


OUTCAR_HEAD = """ vasp.6.3.0 20Jan22 (build) complex
 POTCAR:    PAW_PBE Si 05Jan2001
 POTCAR:    PAW_PBE Si 05Jan2001
   ions per type =               2
"""
OUTCAR_STEP = """ Iteration      1(   1)
------------------------ aborting loop {why} ----------------------------------------
  in kB      10.0 20.0 30.0 1.0 2.0 3.0
      direct lattice vectors                 reciprocal lattice vectors
     4.0 0.0 0.0     0.25 0.0 0.0
     0.0 4.0 0.0     0.0 0.25 0.0
     0.0 0.0 4.0     0.0 0.0 0.25

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.0 0.0 0.0         0.0 0.0 0.5
      2.0 2.0 2.04         0.0 0.0 -0.5
 -----------------------------------------------------------------------------------
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       -10.00000000 eV

  energy  without entropy=      -10.10000000  energy(sigma->0) =      -10.05000000
"""


def test_outcar(tmp_path):
    path = tmp_path / "OUTCAR"
    path.write_text(OUTCAR_HEAD + OUTCAR_STEP.format(why="because EDIFF is reached")
                    + OUTCAR_STEP.format(why="EDIFF was not reached (unconverged)"))
    frame, unconverged = examine_file(path)
    assert isinstance(unconverged, BadFrame)
    assert isinstance(frame, LabelledFrame)
    assert (frame.energy, frame.symbols, frame.provenance["version"]) == (-10.0, ("Si", "Si"), "6.3.0")
    np.testing.assert_array_equal(frame.positions[1], [2.0, 2.0, 2.04])
    # in kB: XX YY ZZ XY YZ ZX
    pressure = np.array([[10.0, 1.0, 3.0], [1.0, 20.0, 2.0], [3.0, 2.0, 30.0]])
    np.testing.assert_allclose(frame.virial, pressure * 64.0 / 1602.1766, rtol=1e-6)


PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
PW_INPUT = """&control
 calculation='relax', outdir='{folder}', pseudo_dir='{pseudo}', tprnfor=.true., tstress=.true., nstep=2,
 forc_conv_thr=1d-6
/
&system
 ibrav=0, nat=2, ntyp=1, ecutwfc=16, occupations='smearing', smearing='gaussian', degauss=0.05
/
&electrons
 conv_thr=1d-9, electron_maxstep={steps}
/
&ions
/
ATOMIC_SPECIES
Al 26.98 Al.pz-vbc.UPF
CELL_PARAMETERS angstrom
{cell} 0 0
0 2.8 0
0 0.1 4.0
ATOMIC_POSITIONS crystal
Al 0 0 0
Al 0.46 0.5 0.53
K_POINTS automatic
2 1 1 0 0 0
"""


@pytest.mark.skipif(shutil.which("pw.x") is None or not (PSEUDOPOTENTIALS / "Al.pz-vbc.UPF").exists(),
                    reason="needs pw.x and its pseudopotentials")
def test_pw_output(tmp_path):
    """The two steps of a relaxation: their energies differ as forces and displacements say; sign of the virial."""
    def run(cell: float, steps: int = 60) -> Path:
        path = tmp_path / f"{cell}_{steps}.out"
        text = PW_INPUT.format(folder=tmp_path / "scratch", pseudo=PSEUDOPOTENTIALS, cell=cell, steps=steps)
        path.write_text(subprocess.run(["pw.x"], input=text, capture_output=True, text=True, cwd=tmp_path, timeout=120,
                                       check=False).stdout)
        return path

    relaxed = run(2.8)
    assert format_of_file(relaxed).name == "pwscf"
    first, second = read_dataset(relaxed)
    work = -0.5 * float(((first.forces + second.forces) * (second.positions - first.positions)).sum())
    assert second.energy - first.energy == pytest.approx(work, rel=0.02)
    assert first.provenance["engine"] == "Quantum ESPRESSO"
    short, long = read_dataset(run(2.50))[0], read_dataset(run(2.54))[0]
    slope = -(long.energy - short.energy) / np.log(2.54 / 2.50)
    assert slope == pytest.approx(0.5 * (short.virial + long.virial)[0, 0], rel=0.1)
    assert [type(found) for found in examine_file(run(2.8, 2))] == [BadFrame]
