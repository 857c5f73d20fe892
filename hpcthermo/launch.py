"""Start ranks for ``hpcthermo run -n N`` with the launcher of the MPI library that mpi4py uses.

The launcher gets a process group of its own and dies with this process. SIGTERM and SIGINT go from here to every
rank (which then writes a checkpoint and leaves with 75), not to the launcher, which would kill the ranks.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hpcthermo.errors import InputError, ResourceError
from hpcthermo.progress import TERMINAL_WIDTH

_PROBE = "from mpi4py import MPI; print(MPI.Get_library_version())"
_FAMILIES = {"Open MPI": ("Open MPI", "OpenRTE", "PRRTE", "prte"), "MPICH": ("MPICH", "HYDRA", "Intel", "MVAPICH")}
_PR_SET_PDEATHSIG = 1
#: what each rank runs; `domain.comm.abort_on_error` ends all ranks if one fails, and leaves quietly if all do
_RANK_MODULE = ["-m", "hpcthermo"]


@dataclass(frozen=True)
class MpiInstallation:
    """The MPI library of mpi4py and its launcher.

    Attributes
    ----------
    library : str
        First line of the library's version text.
    family : str
        "MPICH" (also Intel MPI and MVAPICH, which share its ABI) or "Open MPI".
    launcher : str
        Path of mpiexec.
    """

    library: str
    family: str
    launcher: str


def mpi_family(text: str) -> str:
    """Family of an MPI library or launcher by its version text; "" if unknown."""
    for family, words in _FAMILIES.items():
        if any(word.lower() in text.lower() for word in words):
            return family
    return ""


def mpi_library() -> str:
    """Version text of the MPI library that mpi4py loads, found in a process of its own.

    Raises
    ------
    ResourceError
        If mpi4py finds none.
    """
    result = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False,
                            env=_without_launcher(), stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise ResourceError(f"mpi4py finds no MPI library ({reason}); install one: pip install 'hpcthermo[mpi]', "
                            "or see INSTALL.md for a cluster's MPI")
    return result.stdout.strip(" \0\n").split("\n", maxsplit=1)[0].strip()


def find_installation() -> MpiInstallation:
    """The MPI library of mpi4py and a launcher of the same family.

    Raises
    ------
    ResourceError
        If the library or its launcher is absent, or the launchers at hand belong to another MPI.
    """
    library = mpi_library()
    family = mpi_family(library)
    foreign = []
    for launcher in _launchers():
        version = subprocess.run([launcher, "--version"], capture_output=True, text=True, check=False,
                                 stdin=subprocess.DEVNULL)
        found = mpi_family(version.stdout + version.stderr)
        if found == family:
            return MpiInstallation(library, family, launcher)
        foreign.append(f"{launcher} ({found or 'unknown'})")
    if foreign:
        raise ResourceError(
            f"mpi4py uses {library}, but the launcher at hand is of another MPI: {', '.join(foreign)}; put the "
            "launcher of that MPI first in PATH, or rebuild mpi4py: "
            "pip install --no-binary mpi4py --force-reinstall mpi4py"
        )
    raise ResourceError(f"mpi4py uses {library}, but no mpiexec is in {sys.prefix}/bin or PATH; add it to PATH, "
                        "or: pip install 'hpcthermo[mpi]'")


def _launchers() -> list[str]:
    """Launchers at hand, those installed beside this Python first."""
    beside = [str(Path(sys.prefix) / "bin" / name) for name in ("mpiexec", "mpirun")]
    candidates = [path for path in beside if os.access(path, os.X_OK)]
    candidates += [path for name in ("mpiexec", "mpirun") if (path := shutil.which(name))]
    return list(dict.fromkeys(candidates))


def start_ranks(n_ranks: int, arguments: list[str]) -> int:
    """Run ``hpcthermo arguments`` on that many ranks of this machine and return the exit code.

    Raises
    ------
    InputError
        For a number of ranks that makes no sense.
    ResourceError
        Without MPI.
    """
    if not 1 <= n_ranks <= 4096:
        raise InputError(f"-n: expected 1 to 4096 ranks on this machine, got {n_ranks}; for more use the cluster's "
                         "launcher: srun python -m mpi4py -m hpcthermo run job.toml")
    installation = find_installation()
    command = [installation.launcher, "-n", str(n_ranks), sys.executable, *_RANK_MODULE, *arguments]
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 2:  # the user insists
            process.terminate()
        for pid in rank_processes(process.pid):
            os.kill(pid, signal.SIGTERM)

    process = subprocess.Popen(command, env=_rank_environment(installation.family), stdin=subprocess.DEVNULL,
                               start_new_session=True, preexec_fn=die_with_parent)  # noqa: PLW1509 no threads here
    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def rank_processes(launcher: int) -> list[int]:
    """Process ids of the ranks under a launcher: descendants that run this package, without their own children."""
    import psutil

    try:
        family = psutil.Process(launcher).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    ranks = []
    for process in family:
        try:
            command = process.cmdline()
            if command[:1 + len(_RANK_MODULE)] == [sys.executable, *_RANK_MODULE]:
                ranks.append(process.pid)
        except psutil.Error:
            continue
    return ranks


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask the kernel (Linux) for a signal when the parent of this process dies, so that no rank is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _without_launcher() -> dict[str, str]:
    """The environment without the traces of a launcher."""
    # with SLURM_ a launcher would start its ranks through srun, inside a step that has one task and no more
    traces = ("PMI_", "PMIX_", "OMPI_COMM_", "HYDI_", "MPI_LOCAL", "SLURM_")
    return {name: value for name, value in os.environ.items() if not name.startswith(traces)}


def _rank_environment(family: str) -> dict[str, str]:
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if family == "Open MPI":
        # more ranks than cores, and root in a container, are the user's choice
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                        "OMPI_MCA_rmaps_base_oversubscribe": "1",
                        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    if sys.stderr.isatty():
        environment[TERMINAL_WIDTH] = str(shutil.get_terminal_size().columns)
    return environment | _without_launcher()


def needs_launcher(n_ranks: int | None) -> bool:
    """Whether ranks have to be started here: asked for with ``-n``, and not under a launcher already.

    A launcher of one rank (a shell by ``srun --pty bash``) counts as none.

    Raises
    ------
    InputError
        If a launcher has started another number of ranks.
    """
    from hpcthermo.domain.comm import launcher_ranks

    started = launcher_ranks()
    if n_ranks is None or started is None or started == 1:
        return n_ranks is not None and n_ranks != 1
    if started != n_ranks:
        raise InputError(f"-n: {n_ranks} ranks asked for, but a launcher has started {started}; leave -n out under "
                         "mpirun and srun")
    return False
