"""Jobs about lattice vibrations: tables, structures and resources that are refused."""

import sys
import tomllib

import pytest
from lattice_job_cases import AT_HAND, SILICON, refusal
from test_cli import leave

from hpcthermo.config import JobFileError, parse_job
from hpcthermo.errors import InputError

#: they share the run of silicon (conftest.py)
pytestmark = pytest.mark.xdist_group("lattice_jobs")


def test_the_job_of_force_constants_at_hand_has_natural_isotopes():
    job = parse_job(tomllib.loads(AT_HAND))
    assert job.bte.isotopes
    assert job.bte.mesh == (11, 11, 11)
    assert job.structure is None


@pytest.mark.parametrize(("old", "new", "told"), [
    ("mesh = [11, 11, 11]", "", "either mesh (divisions) or mesh_length_A"),
    ("mesh = [11, 11, 11]", "mesh = [11, 11]", "or three rows of three, got 2 values; correct it"),
    ("mesh = [11, 11, 11]", "mesh = 11", "bte.mesh: expected three whole numbers"),
    ("mesh = [11, 11, 11]", "mesh = [11, 11, 11.5]", "bte.mesh[2]: expected an integer"),
    ("mesh = [11, 11, 11]", "mesh = [[1, 1, 0], [1, 1, 0], [0, 0, 9]]", "determinant other than zero"),
    ('method = "rta"', 'method = "exact"', "bte.method: expected 'rta' or 'lbte'"),
    ('method = "rta"', 'delta = "gaussian"', "sigma_THz"),
    ("[300.0]", "[300.0, 300.0]", "remove the repeated ones"),
    ('phonopy_yaml = "phonopy.yaml"', "", "one of phonopy_yaml"),
    ("[crystal]", "potential = 'tersoff_si'\n[crystal]", "either [crystal]"),
    ('method = "rta"', '[bte.four_phonon]', "add crystal.fc4"),
    ('method = "rta"', '[bte.four_phonon]\ndelta = "gaussian"', "sigma_THz"),
    ('kind = "bte"', 'kind = "bte_convergence"\nconvergence = { cutoffs3_A = [3.0, 4.0] }', "needs [structure]"),
    ('method = "rta"', "mass_variances = { Si = -1.0 }", "bte.mass_variances.Si: expected greater than or equal to 0"),
    ('method = "rta"', "mass_variances = { silicon = 0.1 }", "bte.mass_variances.silicon"),
    ('method = "rta"', "isotopes = false\nmass_variances = { Si = 0.1 }", "with isotopes = true only"),
    ('method = "rta"', "[bte.line_shapes]", "bte.line_shapes.q: required key is missing"),
    ('method = "rta"', "[bte.line_shapes]\nq = [[0, 0]]", "bte.line_shapes.q[0]: expected a list of more values"),
    ('method = "rta"', "[bte.line_shapes]\nq = [[0, 0, 0]]\nwidth_THz = 0", "width_THz: expected greater than 0"),
    ('method = "rta"', "[bte.line_shapes]\nq = [[0, 0, 1e30]]", "q[0][2]: expected less than or equal to 100"),
])
def test_wrong_tables_are_refused(old, new, told):
    text = AT_HAND.replace(old, new)
    if new.startswith("potential"):
        text = "potential = 'tersoff_si'\n" + AT_HAND
    with pytest.raises(JobFileError) as refused:
        parse_job(tomllib.loads(text))
    assert told in str(refused.value)


def test_no_source_of_force_constants_is_refused():
    with pytest.raises(JobFileError, match=r"\[structure\] with potential; add them"):
        parse_job({"kind": "phonon"})


@pytest.mark.parametrize(("old", "new", "told"), [
    ("mesh = [4, 4, 4]\ntemperatures", "mesh = [4, 4, 3]\ntemperatures", "mesh: expected one with the symmetry"),
    ("supercell = [1, 1, 1]", "supercell = [1, 1, 1]\ncutoff3_A = 4.0", "half the shortest width of the supercell"),
    ("supercell = [1, 1, 1]", "supercell = [1, 1, 1]\norder = 2", "force_constants.order of at least 3, got 2"),
    ("supercell = [1, 1, 1]", "supercell = [1, 1, 1]\nsupercell2 = [1, 1, 2]",
     "48 rotations of the crystal, got one with 16; for example [2, 2, 2]"),
    ("[force_constants]", "[relaxation]\nrelax = false\n[force_constants]\nprimitive = true", "is not relaxed"),
    ("[force_constants]", "[relaxation]\nrelax = false\n[force_constants]", "its cell is not relaxed"),
    ("[force_constants]", "[relaxation]\nforce_tolerance_eV_per_A = 1e-4\n[force_constants]", ""),
    ("mesh = [4, 4, 4]\npoints", "path = 'GAMMA-Q'\nmesh = [4, 4, 4]\npoints", "phonon.path: expected names of points"),
])
def test_nonsense_is_refused_in_one_line(old, new, told, capsys, tmp_path):
    text = SILICON.replace(old, new).replace('method = "lbte"\nnormal_umklapp = true', "coherence = false")
    if not told:  # an unstable crystal: far too wide
        told = "is unstable"
        text = text.replace('crystal = "Si"', 'crystal = "Si"\nlattice_constant_A = 6.6').replace(
            "force_tolerance_eV_per_A = 1e-4", "relax = false\nfree_cell_components = []")
    if "its cell" in told:  # 0.5 % too wide: no forces, 1.5 GPa
        text = text.replace('crystal = "Si"', 'crystal = "Si"\nlattice_constant_A = 5.46')
    elif "relaxed" in told:
        text = text.replace('builder = "crystal"\ncrystal = "Si"', "file = 'si.xyz'")
        from ase.build import bulk

        silicon = bulk("Si", "diamond", 5.43, cubic=True)
        silicon.positions[0] += 0.1
        silicon.write(tmp_path / "si.xyz")
    assert told in refusal(text, capsys, tmp_path)
    if "phonon.path" in told or "half the" in told:  # before any force
        assert not (tmp_path / "out" / "campaign").exists()


def test_commands_look_at_the_kind(capsys, tmp_path):
    assert "expected kind phonon, got bte; use `hpcthermo run`" in refusal(SILICON, capsys, tmp_path, "phonon")


def test_several_ranks_are_refused(tmp_path):
    from hpcthermo.domain.comm import SingleProcess
    from hpcthermo.lattice_jobs.run import LatticeRun

    class Two(SingleProcess):
        size = 2

    with pytest.raises(InputError, match="one process with threads, got 2 ranks"):
        LatticeRun(parse_job(tomllib.loads(SILICON)), Two(), tmp_path, False)


def test_a_gpu_without_cupy_is_refused_before_work(silicon_run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    (silicon_run / "cuda.toml").write_text(
        'kind = "bte"\n[crystal]\nphonopy_yaml = "out/phono3py.yaml"\nfc2 = "out/fc2.hdf5"\nfc3 = "out/fc3.hdf5"\n'
        '[bte]\nmesh = [4, 4, 4]\n[execution]\ndevice = "cuda"\n')
    code, _, err = leave(["bte", str(silicon_run / "cuda.toml"), "--out", str(silicon_run / "cuda")], capsys)
    assert code != 0
    assert "device 'cuda' needs CuPy; install" in err
    assert "Traceback" not in err
