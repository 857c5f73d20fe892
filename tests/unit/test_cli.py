"""The command line as a user meets it: what help loads, exit codes, one line per error."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from job_files import NEMD_JOB

from hpcthermo.cli import main
from hpcthermo.config import parse_job
from hpcthermo.config.schema import job_schema, schema_text
from hpcthermo.templates import KINDS, write_template

ROOT = Path(__file__).parents[2]


def leave(arguments: list[str], capsys) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command run in this process."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    output = capsys.readouterr()
    return end.value.code, output.out, output.err


def test_help_loads_nothing_that_takes_long():
    code = ("import sys, hpcthermo, hpcthermo.cli\n"
            "try: hpcthermo.cli.main(['--help'])\nexcept SystemExit: pass\n"
            "print([m for m in ('mpi4py', 'cupy', 'matplotlib', 'numpy', 'pydantic', 'h5py') if m in sys.modules])")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "bench" in result.stdout
    assert result.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["walk"], ["run", "--fast", "x"], ["bench", "--steps", "0"], ["run", "absent.toml"],
     ["run", "absent.toml", "-n", "2"], ["check", "."], ["run", "absent.toml", "-n", "0"],
     ["run", "absent.toml", "-n", "-1"], ["check", "absent.toml", "-n", "0"], ["analyze", "absent"], ["plot", "absent"],
     ["status", "absent"], ["init", "nemdd"],
     ["run", "absent.toml", "-n", "many"], ["run", "misspelt.toml"], ["run", "misspelt.toml", "-n", "2"],
     ["check", "misspelt.toml"], ["bench", "misspelt.toml"]],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "misspelt.toml").write_text(NEMD_JOB.replace("timestep_fs", "timstep_fs"))
    code, out, err = leave(arguments, capsys)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("hpcthermo: ")


def test_no_command_prints_the_help(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["hpcthermo"])
    code, out, _ = leave([], capsys)
    assert code == 0
    assert "doctor" in out


def test_under_a_launcher_only_rank_0_speaks(capsys, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    code, _, err = leave(["check", "absent.toml"], capsys)
    assert (code, err) == (2, "")


def test_another_number_of_ranks_than_the_launcher_started_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    code, _, err = leave(["run", "absent.toml", "-n", "2"], capsys)
    assert code == 2
    assert "a launcher has started 4" in err


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_a_valid_job(kind, tmp_path):
    written = write_template(kind, tmp_path / "job.toml", slurm=True)
    assert [path.name for path in written] == ["job.toml", "job.slurm"]
    assert parse_job(tomllib.loads(written[0].read_text())).kind == kind
    assert "run job.toml" in written[1].read_text()


def test_init_does_not_overwrite(capsys, tmp_path):
    path = tmp_path / "job.toml"
    assert leave(["init", "md", "--out", str(path)], capsys)[0] == 0
    before = path.read_text()
    assert leave(["init", "nemd", "--out", str(path)], capsys)[0] == 2
    assert path.read_text() == before


def test_the_published_schema_is_current():
    published = (ROOT / "docs" / "job.schema.json").read_text()
    assert published == schema_text(), "run: hpcthermo schema > docs/job.schema.json"


def test_the_schema_accepts_what_the_program_accepts():
    jsonschema = pytest.importorskip("jsonschema")
    job = tomllib.loads(NEMD_JOB)
    validator = jsonschema.Draft202012Validator(job_schema())
    assert validator.is_valid(job)
    assert not validator.is_valid({**job, "colour": "red"})
    assert not validator.is_valid({**job, "kind": "nmd"})
    json.dumps(job_schema())
