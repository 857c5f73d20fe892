"""The one caller of compilers: host C++ for the CPU kernels, NVRTC for the GPU kernels.

Every kernel module is one header in ``kernels/``. For the CPU it becomes a shared library per
instruction set and precision, built when the package is installed (``setup.py``) and again by
``python -m hpcthermo.gpu.compile`` after a source has changed. For the GPU the headers are inlined
into one text, so that a compile cache keyed by the text sees every change.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KERNEL_FOLDER = Path(__file__).parent / "kernels"
BUILD_FOLDER = Path(__file__).parent / "_build"
#: modules with CPU libraries; on a GPU, nep_gpu (by `specialised`) takes the place of nep
MODULES = ("neighbors", "rebuild", "integrate", "langevin", "minimize", "halo", "nep", "tersoff",
           "stillinger_weber", "lennard_jones", "ilp", "eam", "meam", "linewidths", "cubic_strength", "collisions",
           "surfaces", "four_phonon", "peak", "nep_training")
PRECISIONS = {"mixed": "float", "double": "double"}
GPU_ARCHITECTURES = ("sm_80", "sm_90")
#: float32 numbers below 1e-38 become 0, which saves four instructions by square root
GPU_FLAGS = ("-std=c++17", "--ftz=true")

_X86_FLAGS: dict[str, tuple[str, ...]] = {
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "avx2": ("-march=x86-64-v3",),
    "baseline": ("-march=x86-64",),
}
_OTHER_FLAGS: dict[str, tuple[str, ...]] = {"baseline": ()}
# no -ffast-math: sums must not depend on how a compiler regroups them, and NaN must stay visible
_COMMON_FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wall", "-Wno-psabi", "-Wno-unused-function",
)


def instruction_sets() -> dict[str, tuple[str, ...]]:
    """Compiler flags by instruction set, best first, for this kind of processor."""
    return _X86_FLAGS if platform.machine().lower() in ("x86_64", "amd64") else _OTHER_FLAGS


def inline_headers(text: str, seen: set[str] | None = None) -> str:
    """Replace each ``#include "x.h"`` of a kernel header by that header's text, once."""
    seen = set() if seen is None else seen

    def insert(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in seen:
            return ""
        seen.add(name)
        return inline_headers((KERNEL_FOLDER / name).read_text(), seen)

    text = re.sub(r"^#pragma once\n", "", text, flags=re.MULTILINE)
    return re.sub(r'^[ \t]*#include "([^"]+)".*$', insert, text, flags=re.MULTILINE)


def specialised(header: str, **constants: int) -> str:
    """Name of a module that is a kernel header with integer constants defined before it."""
    return " ".join([header, *(f"{name}={value}" for name, value in constants.items())])


def module_source(module: str) -> str:
    """Text of a kernel module, as named in `MODULES` or by `specialised`, with all its headers inlined."""
    header, *constants = module.split()
    definitions = "".join(f"#define {constant.replace('=', ' ', 1)}\n" for constant in constants)
    return definitions + inline_headers((KERNEL_FOLDER / f"{header}.h").read_text())


def library_path(module: str, instruction_set: str, precision: str) -> Path:
    """Where the shared library of a CPU kernel module lies."""
    return BUILD_FOLDER / f"{module}_{instruction_set}_{precision}.so"


def host_compiler() -> str:
    """Name of a C++17 host compiler.

    Raises
    ------
    RuntimeError
        If none is found; the message names the fix.
    """
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    raise RuntimeError(
        "no C++ compiler found: hpcthermo builds its CPU kernels at install time; "
        "install one (Debian/Ubuntu: apt-get install g++) or set CXX"
    )


def _host_flags(instruction_set: str, precision: str) -> list[str]:
    return [*_COMMON_FLAGS, *instruction_sets()[instruction_set], f"-DREAL={PRECISIONS[precision]}"]


def _stamp(flags: list[str], source: str) -> str:
    text = (" ".join(flags) + source).encode()
    try:
        # the interpreter's own: hashlib loads all of OpenSSL, 3.5 MiB in each process that runs a kernel
        sha256 = importlib.import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
    except ImportError:
        sha256 = importlib.import_module("hashlib").sha256
    digest: str = sha256(text).hexdigest()
    return digest


def is_current(module: str, instruction_set: str, precision: str) -> bool:
    """Whether the library of a CPU kernel module was built from the present source with the present flags."""
    library = library_path(module, instruction_set, precision)
    stamp_file = library.with_suffix(".stamp")
    stamp = _stamp(_host_flags(instruction_set, precision), module_source(module))
    return library.exists() and stamp_file.exists() and stamp_file.read_text() == stamp


def _compile_one(compiler: str, module: str, instruction_set: str, precision: str, folder: Path) -> None:
    flags, source = _host_flags(instruction_set, precision), module_source(module)
    stamp = _stamp(flags, source)
    target = folder / library_path(module, instruction_set, precision).name
    stamp_file = target.with_suffix(".stamp")
    if target.exists() and stamp_file.exists() and stamp_file.read_text() == stamp:
        return
    # write beside the target and rename: a running process keeps the library it has mapped
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    result = subprocess.run([compiler, *flags, "-x", "c++", "-", "-o", str(temporary)], input=source, text=True,
                            capture_output=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(
            f"{compiler} could not build kernel {module} ({instruction_set}, {precision}); "
            f"a C++17 compiler is needed (g++ 9 or newer):\n{result.stderr}"
        )
    temporary.replace(target)
    stamp_file.write_text(stamp)


def build_cpu_kernels(folder: Path = BUILD_FOLDER, modules: tuple[str, ...] = MODULES) -> None:
    """Compile every CPU kernel library whose source or flags have changed."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = host_compiler()
    jobs = [(m, i, p) for m in modules for i in instruction_sets() for p in PRECISIONS]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for future in [pool.submit(_compile_one, compiler, *job, folder) for job in jobs]:
            future.result()


if __name__ == "__main__":
    try:
        build_cpu_kernels(modules=tuple(sys.argv[1:]) or MODULES)
    except RuntimeError as error:
        sys.exit(f"hpcthermo: {error}")
