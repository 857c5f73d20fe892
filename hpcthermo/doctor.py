"""``hpcthermo doctor``: what this installation has, and whether its physics is right."""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hpcthermo.errors import HpcthermoError
from hpcthermo.gpu import compile as kernel_compile
from hpcthermo.potentials.formats import CALCULATOR_STYLES


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes
    ----------
    verdict : str
        "ok", "absent" (a part that is optional) or "FAILED".
    """

    name: str
    verdict: str
    detail: str


def examine(quick: bool) -> int:
    """Print all findings; under a launcher rank 0 prints.

    Returns
    -------
    int
        0 if nothing failed, else 4 (resources).
    """
    from hpcthermo.domain.comm import world_communicator
    from hpcthermo.physics_check import physics_findings

    comm = world_communicator()
    start = time.monotonic()
    findings = [_mpi_world(comm.size), _placement(comm)]
    if comm.rank == 0:
        findings += [_guarded(name, look) for name, look in _LOOKS.items()]
        if not quick:
            findings += physics_findings(_guarded)
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.name:<{width}}  {finding.verdict:<6}  {finding.detail}")
        print(f"{time.monotonic() - start:.1f} s")
    failed = comm.bcast(any(finding.verdict == "FAILED" for finding in findings) if comm.rank == 0 else None)
    return 4 if failed else 0


def _guarded(name: str, look: Callable[[], tuple[str, str]]) -> Finding:
    """A finding even if looking itself goes wrong."""
    try:
        return Finding(name, *look())
    except HpcthermoError as error:
        return Finding(name, "FAILED", str(error))
    except Exception as error:  # whatever a broken installation raises is the finding
        return Finding(name, "FAILED", f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")


def _mpi_world(size: int) -> Finding:
    from hpcthermo.domain.comm import launcher_ranks

    started = launcher_ranks()
    return Finding("ranks", "ok", f"{size} (launcher: {started if started else 'none'})")


def _placement(comm: object) -> Finding:
    """Node and GPU of each rank (collective)."""
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.preparation import local_rank

    assert isinstance(comm, Communicator)
    local = local_rank(comm)
    devices = gpu_count()
    own = f"{comm.rank} on {platform.node()}, " + (f"GPU {local % devices}" if devices else "no GPU")
    return Finding("placement", "ok", "; ".join(comm.allgather(own)[:16]))


def gpu_count() -> int:
    """GPUs that CuPy sees; 0 without CuPy or driver."""
    if importlib.util.find_spec("cupy") is None:
        return 0
    try:
        from hpcthermo.gpu.cuda import device_count
    except (ImportError, HpcthermoError):
        return 0
    return device_count()


def _mpi_library() -> tuple[str, str]:
    from hpcthermo.launch import find_installation

    found = find_installation()
    return "ok", f"{found.library}; launcher {found.launcher}"


def _gpu() -> tuple[str, str]:
    if importlib.util.find_spec("cupy") is None:
        return "absent", "CuPy is not installed; pip install 'hpcthermo[cuda12]' for GPUs"
    count = gpu_count()
    return ("ok", f"{count} visible") if count else ("absent", "CuPy finds no GPU")


def _nvrtc() -> tuple[str, str]:
    present = [name for name in ("nvidia.cuda_nvrtc", "cupy") if _has_module(name)]
    return ("ok", f"from {present[0]}") if present else ("absent", "only needed for GPUs")


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _hdf5() -> tuple[str, str]:
    import h5py

    return "ok", f"HDF5 {h5py.version.hdf5_version}, h5py {h5py.__version__}"


def _write_speed() -> tuple[str, str]:
    """Time to write and sync 32 MiB in the working folder."""
    import tempfile

    block = os.urandom(1 << 20)
    start = time.perf_counter()
    with tempfile.TemporaryFile(dir=".") as stream:
        for _ in range(32):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    return "ok", f"{32 / (time.perf_counter() - start):.0f} MiB/s in {os.getcwd()}"


def _kernels() -> tuple[str, str]:
    from hpcthermo.gpu.backend import supported_instruction_set

    name = supported_instruction_set()
    missing = [m for m in kernel_compile.MODULES for p in kernel_compile.PRECISIONS
               if not kernel_compile.is_current(m, name, p)]
    if missing:
        return "FAILED", (f"{', '.join(sorted(set(missing)))} not built for {name} from the installed sources; "
                          "run: python -m hpcthermo.gpu.compile")
    sets = ", ".join(kernel_compile.instruction_sets())
    return "ok", f"{', '.join(kernel_compile.MODULES)}; instruction set {name} of {sets}"


def _threads() -> tuple[str, str]:
    threads, cores = os.environ.get("OMP_NUM_THREADS", "not set"), len(os.sched_getaffinity(0))
    return "ok", f"OMP_NUM_THREADS {threads} (1 is best), {cores} cores for this process"


def _potentials() -> tuple[str, str]:
    from hpcthermo.potentials.embedded import embedded_names

    return "ok", ", ".join(embedded_names())


def _calculator(style: str) -> tuple[str, str]:
    from hpcthermo.potentials.calculators import usable

    found, detail = usable(style)
    return "ok" if found else "absent", detail


def _versions() -> tuple[str, str]:
    from hpcthermo.results import versions

    return "ok", ", ".join(f"{name} {number}" for name, number in versions().items())


_LOOKS: dict[str, Callable[[], tuple[str, str]]] = {
    "versions": _versions, "mpi": _mpi_library, "gpu": _gpu, "nvrtc": _nvrtc, "hdf5": _hdf5, "disk": _write_speed,
    "kernels": _kernels, "threads": _threads, "potentials": _potentials,
    **{f"style {style}": partial(_calculator, style) for style in CALCULATOR_STYLES},
}
