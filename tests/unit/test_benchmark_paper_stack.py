"""The shortened job of paper_stack.py is still that of the paper."""

import tomllib
from pathlib import Path

import pytest

from hpcthermo.config import load_job

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_shortened_job_has_two_hundred_steps_and_the_structure_of_the_paper(tmp_path):
    from paper_stack import PAPER, write_job

    (tmp_path / "nep.txt").write_text("nep4 3 B N C")
    short = load_job(write_job(tmp_path / "run", tmp_path / "nep.txt"))
    assert short.structure.model_dump(mode="json", exclude_unset=True) == tomllib.loads(PAPER.read_text())["structure"]
    assert (short.execution.device, short.execution.replicas, short.execution.skin_A) == ("cpu", 1, 1.0)
    assert short.total_steps == 200


def test_a_missing_potential_is_one_line(tmp_path):
    from paper_stack import write_job

    with pytest.raises(SystemExit, match="no file"):
        write_job(tmp_path, tmp_path / "absent.txt")
