"""Whose commit a figure belongs to: the package's own, or none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hpcthermo
from hpcthermo.bench import provenance

CODE = "from hpcthermo.bench.provenance import source_commit; print(source_commit())"


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True,
                          check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout of another project with this package somewhere inside."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "notes.txt").write_text("of another project")
    git(tmp_path, "add", "notes.txt")
    git(tmp_path, "commit", "--quiet", "-m", "notes")
    shutil.copytree(Path(hpcthermo.__file__).parent, tmp_path / "hpcthermo",
                    ignore=shutil.ignore_patterns("_build", "__pycache__"))
    return tmp_path


def found_in(checkout: Path) -> str:
    return subprocess.run([sys.executable, "-B", "-c", CODE], cwd=checkout, env={"PATH": "/usr/bin:/bin"},
                          capture_output=True, text=True, check=True).stdout.strip()


def test_another_projects_commit_is_not_ours(checkout):
    assert found_in(checkout) == "None"


def test_commit_and_changes_of_a_tracked_package(checkout):
    git(checkout, "add", "hpcthermo")
    git(checkout, "commit", "--quiet", "-m", "package")
    commit = git(checkout, "rev-parse", "--short", "HEAD")
    assert found_in(checkout) == commit
    (checkout / "notes.txt").write_text("changed, but no part of the package")
    assert found_in(checkout) == commit
    with (checkout / "hpcthermo" / "skin.py").open("a") as file:
        file.write("# another line\n")
    assert found_in(checkout) == f"{commit} with changes"


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.source_commit() is None
