"""Job files about lattice vibrations, the refusal of one, and the conductivity of force constants."""

from test_cli import leave

from hpcthermo.config.lattice_dynamics import BteSection
from hpcthermo.transport.bte.solution import solve

AT_HAND = """
kind = "bte"
[crystal]
phonopy_yaml = "phonopy.yaml"
fc2 = "fc2.hdf5"
fc3 = "fc3.hdf5"
[bte]
mesh = [11, 11, 11]
temperatures_K = [300.0]
method = "rta"
"""
#: of force constants, in the folder of a run
FILES = {"phonopy_yaml": "phono3py.yaml", "fc2": "fc2.hdf5", "fc3": "fc3.hdf5"}
AT_HAND_OF_RUN = "[crystal]\n" + "".join(f'{name} = "out/{file}"\n' for name, file in FILES.items())
SILICON = """
kind = "bte"
potential = "tersoff_si"
[structure]
builder = "crystal"
crystal = "Si"
[force_constants]
supercell = [1, 1, 1]
[phonon]
mesh = [4, 4, 4]
points_per_line = 5
[bte]
mesh = [4, 4, 4]
temperatures_K = [300.0, 1000.5]
method = "lbte"
normal_umklapp = true
"""
GRAPHENE = """
kind = "bte"
potential = "tersoff_graphene"
[structure]
builder = "layered_stack"
cell = "hexagonal"
vacuum_A = 20.0
layers = [{ material = "graphene", count = 1, repeat = [1, 1] }]
[force_constants]
supercell = [5, 5, 1]
cutoff3_A = 4.0
[phonon]
points_per_line = 5
dos = false
[bte]
mesh = [10, 10, 1]
method = "lbte"
thickness_A = 3.35
"""
HARMONIC = SILICON[:SILICON.index("[phonon]")].replace('kind = "bte"', 'kind = "fc"')


def refusal(text, capsys, tmp_path, command="bte"):
    """The one line of a command that refuses a job."""
    path = tmp_path / "job.toml"
    path.write_text(text)
    code, out, err = leave([command, str(path), "--out", str(tmp_path / "out")], capsys)
    lines = [line for line in err.splitlines() if line.startswith("hpcthermo: ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert "Traceback" not in err
    return lines[0]


def solution(lattice, **settings):
    return solve(lattice, BteSection(**{"mesh": (3, 3, 3), "coherence": False, **settings}))
