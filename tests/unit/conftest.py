"""What several files of tests share."""

import pytest
from lattice_job_cases import FILES, SILICON

from hpcthermo.cli import main
from hpcthermo.phonons.files.load import load_lattice_dynamics


@pytest.fixture(scope="session")
def silicon_run(tmp_path_factory, figures_made_plain):
    """Folder of a tiny run: eight atoms are no converged supercell."""
    folder = tmp_path_factory.mktemp("silicon")
    (folder / "job.toml").write_text(SILICON)
    with figures_made_plain(), pytest.raises(SystemExit) as end:
        main(["bte", str(folder / "job.toml"), "--out", str(folder / "out")])
    assert end.value.code == 0
    return folder


@pytest.fixture(scope="session")
def lattice(silicon_run):
    """Its force constants."""
    return load_lattice_dynamics(**{name: silicon_run / "out" / file for name, file in FILES.items()})
