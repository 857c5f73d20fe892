"""Settings as plain data and tables of a job say the same; conductivities need no models of job files."""

import subprocess
import sys

import pytest

from hpcthermo.config.lattice_dynamics import BteSection, FourPhononSection, LineShapesSection
from hpcthermo.transport.bte.settings import BteSettings, FourPhononSettings, LineShapesSettings


@pytest.mark.parametrize(("settings", "section", "given"), [
    (BteSettings, BteSection, {"mesh": (3, 3, 3)}),
    (FourPhononSettings, FourPhononSection, {}),
    (LineShapesSettings, LineShapesSection, {"q": ((0.0, 0.0, 0.0),)}),
])
def test_the_same_names_and_defaults(settings, section, given):
    assert vars(settings(**given)) == dict(section(**given))


def test_a_conductivity_from_files_loads_no_large_library_that_it_does_not_need():
    code = ("import sys, hpcthermo.phonons.files.load, hpcthermo.transport.bte.solution;"
            "print({name.split('.')[0] for name in sys.modules} & {'pydantic', 'scipy', 'phonopy', 'distributed'})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
