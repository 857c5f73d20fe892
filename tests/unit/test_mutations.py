"""Damaged job files, structures and potentials: one line and exit code 2, no traceback, hang or huge allocation."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import POTENTIALS, STRUCTURE, USES, mutated
from test_cli import leave

HERE = Path(__file__).parent
KINDS = list(USES)


def run_mutations(first: int, count: int, folder: Path) -> dict:
    """Outcomes by kind of input, from one process whose memory is limited."""
    kinds = [kind for kind in KINDS if kind != "potential" or any(path.exists() for path in POTENTIALS)]
    result = subprocess.run([sys.executable, str(HERE / "mutations.py"), str(first), str(count), str(folder), *kinds],
                            capture_output=True, text=True, timeout=60 + 15 * count, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


def outcomes(found: dict, kind: str) -> dict:
    if kind not in found:
        pytest.skip("the potential files of ../shared are not beside this checkout")
    return found[kind]


@pytest.fixture(scope="module")
def thirty(tmp_path_factory) -> dict:
    return run_mutations(0, 30, tmp_path_factory.mktemp("thirty"))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_inputs_are_refused_in_one_line(kind, thirty):
    found = outcomes(thirty, kind)
    assert found["others"] == []
    assert found["refused"] > 30 // 4


@pytest.fixture(scope="module")
def five_hundred(tmp_path_factory) -> dict:
    return run_mutations(1000, 500, tmp_path_factory.mktemp("five_hundred"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_five_hundred_damaged_inputs(kind, five_hundred):
    assert outcomes(five_hundred, kind)["others"] == []


def damaged_structure(seed: int, folder: Path) -> Path:
    """A job with a damaged structure."""
    (folder / "model.xyz").write_bytes(mutated(STRUCTURE, random.Random(seed))[:200])
    path = folder / "job.toml"
    path.write_text('kind = "minimize"\npotential = "tersoff_si"\nstructure.file = "model.xyz"\n')
    return path


def test_the_command_line_refuses_a_damaged_structure(tmp_path):
    result = subprocess.run([sys.executable, "-m", "hpcthermo", "check", str(damaged_structure(1, tmp_path))],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("seed", [5, 9])
def test_the_command_in_this_process_refuses_a_damaged_structure(seed, tmp_path, capsys):
    code, _, error = leave(["check", str(damaged_structure(seed, tmp_path))], capsys)
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert "Traceback" not in error
