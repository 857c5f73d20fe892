"""Start of MPI ranks, for the tests marked ``parallel`` and for those that start their own.

A module of its own, for a name that no ``conftest.py`` of a folder shadows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CHILD = "HPCTHERMO_TEST_OUTCOMES"  # folder of outcome files; set in ranks
TIME_LIMIT = 60.0  # seconds for one test, or for the start of a batch
ROOT = Path(__file__).parents[1]


def mpi_environment() -> dict[str, str]:
    """The environment without traces of a launcher, one thread per rank."""
    launcher = ("PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPI_LOCAL", "OMPI_", "SLURM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(launcher)}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def mpiexec() -> str:
    """The launcher beside this Python, else the one on the path."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if not found:
        pytest.skip("no mpiexec: install the extra hpcthermo[mpi] or a system MPI")
    return found


def run_ranks(ranks: int, arguments: list[str], timeout: float = TIME_LIMIT,
              environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python arguments`` on that many ranks (0: without launcher); return code 124 if it had to be stopped."""
    launcher = [mpiexec(), "-n", str(ranks)] if ranks else []
    command = [*launcher, sys.executable, *arguments]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   cwd=ROOT, env={**mpi_environment(), **(environment or {})}, start_new_session=True)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = 124
            process.terminate()  # the launcher passes it on to the ranks
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        return subprocess.CompletedProcess(command, code, output.read(), "")
