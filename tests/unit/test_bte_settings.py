"""Settings as plain data and tables of a job say the same; conductivities need no models of job files."""

import re
import subprocess
import sys

import pytest

from hpcthermo.config.lattice_dynamics import BteSection, FourPhononSection, LineShapesSection
from hpcthermo.errors import InputError
from hpcthermo.transport.bte.settings import BteSettings, FourPhononSettings, LineShapesSettings


@pytest.mark.parametrize(("settings", "section", "given"), [
    (BteSettings, BteSection, {"mesh": (3, 3, 3)}),
    (FourPhononSettings, FourPhononSection, {}),
    (LineShapesSettings, LineShapesSection, {"q": ((0.0, 0.0, 0.0),)}),
])
def test_the_same_names_and_defaults(settings, section, given):
    assert vars(settings(**given)) == dict(section(**given))


@pytest.mark.parametrize(("settings", "given", "message"), [
    (BteSettings, {"mesh": (3, 3, 3), "method": "LBTE"}, "bte.method: expected one of rta, lbte, got 'LBTE'"),
    (BteSettings, {"mesh": (3, 3, 3), "delta": "adaptive"}, "bte.delta: expected one of tetrahedron, "),
    (BteSettings, {"mesh": (3, 3, 3), "solver": None}, "bte.solver: expected one of cg, direct, got None"),
    (BteSettings, {"mesh": (3, 3, 3), "delta": "gaussian"}, "bte: expected sigma_THz with delta"),
    (BteSettings, {}, "bte: expected either mesh (divisions) or mesh_length_A"),
    (BteSettings, {"mesh": (3, 3, 3), "isotopes": False, "mass_variances": {"Si": 0.1}}, "bte: expected mass"),
    (FourPhononSettings, {"delta": "tetrahedron"}, "bte.four_phonon.delta: expected one of adaptive_"),
    (FourPhononSettings, {"sigma_THz": 0.1}, "bte.four_phonon: expected sigma_THz with delta"),
])
def test_settings_that_do_not_go_together_are_refused_in_one_line(settings, given, message):
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        settings(**given)
    assert "\n" not in str(refused.value)


def test_a_conductivity_from_files_loads_no_large_library_that_it_does_not_need():
    code = ("import sys, hpcthermo.phonons.files.load, hpcthermo.transport.bte.solution;"
            "from hpcthermo.gpu.backend import make_backend; make_backend('cpu', 'mixed');"
            "print({'pydantic', 'scipy', 'phonopy', 'distributed', 'ssl', '_hashlib', 'multiprocessing', 'numpy.ma'}"
            ".intersection(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
