"""What a figure belongs to: the source, the machine, the memory of this process."""

from __future__ import annotations

import platform
import resource
import subprocess
from pathlib import Path

import hpcthermo
from hpcthermo.gpu.backend import Backend


def source_commit(*also: Path) -> str | None:
    """Short hash of the commit of this package's source, ``with changes`` if files differ from it.

    None for a package that is not tracked by git, also if it is installed somewhere below a checkout of another
    project.

    Parameters
    ----------
    *also : Path
        Further tracked files and folders of the same checkout whose changes count.
    """
    folder = Path(hpcthermo.__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", "--", Path(hpcthermo.__file__).name)
        found = _git(folder, "rev-parse", "--short", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", *map(str, also))
    except (OSError, subprocess.CalledProcessError):
        return None
    return found + (" with changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True,
                          check=True).stdout.strip()


def machine_name(backend: Backend) -> str:
    """Model of the processor or GPU."""
    if backend.device == "cuda":
        runtime = backend.xp.cuda.runtime
        return str(runtime.getDeviceProperties(runtime.getDevice())["name"].decode())
    return processor_name()


def processor_name() -> str:
    """Model of the processor, with family and model number: virtual machines shorten the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    family = f" (family {fields['cpu family']} model {fields['model']})" if "cpu family" in fields else ""
    return fields.get("model name", platform.machine()) + family


def peak_memory_bytes() -> int:
    """Most memory this process has had."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
