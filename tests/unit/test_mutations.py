"""Damaged job files, structures and potentials: one line and exit code 2, no traceback, hang or huge allocation."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import POTENTIALS, STRUCTURE, mutated

HERE = Path(__file__).parent


def run_mutations(kind: str, first: int, count: int, folder: Path) -> dict:
    if kind == "potential" and not any(path.exists() for path in POTENTIALS):
        pytest.skip("the potential files of ../shared are not beside this checkout")
    result = subprocess.run([sys.executable, str(HERE / "mutations.py"), kind, str(first), str(count), str(folder)],
                            capture_output=True, text=True, timeout=60 + 5 * count, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


@pytest.mark.parametrize(("kind", "count"), [("job", 60), ("structure", 60), ("potential", 60)])
def test_damaged_inputs_are_refused_in_one_line(kind, count, tmp_path):
    found = run_mutations(kind, 0, count, tmp_path)
    assert found["others"] == []
    assert found["refused"] > count // 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["job", "structure", "potential"])
def test_five_hundred_damaged_inputs(kind, tmp_path):
    found = run_mutations(kind, 1000, 500, tmp_path)
    assert found["others"] == []


@pytest.mark.parametrize("seed", [1, 5, 9])
def test_the_command_line_refuses_a_damaged_structure(seed, tmp_path):
    (tmp_path / "model.xyz").write_bytes(mutated(STRUCTURE, random.Random(seed))[:200])
    (tmp_path / "job.toml").write_text(
        'kind = "minimize"\npotential = "tersoff_si"\nstructure.file = "model.xyz"\n')
    result = subprocess.run([sys.executable, "-m", "hpcthermo", "check", str(tmp_path / "job.toml")],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
