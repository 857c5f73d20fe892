"""The GPU text of the kernels on a CPU: a backend whose warps are fibres of warp_emulator.h.

Whole engines run on it as they would on a GPU, on few atoms: 32 lanes, blocks of several groups, fewer groups
than atoms. Lanes and blocks run in ascending or descending order; a missing GROUP_SYNC shows as a difference.
Argument types are checked against the kernel's, which a real launch does not do, and arrays are as strict as
CuPy's (device_array.py).
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from device_array import DeviceNumpy, unwrapped

from hpcthermo.gpu.backend import Backend
from hpcthermo.gpu.compile import BUILD_FOLDER, PRECISIONS, host_compiler, module_source
from hpcthermo.gpu.cuda import THREADS_PER_BLOCK

HEADER = Path(__file__).with_name("warp_emulator.h")
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno",
         "-fno-strict-aliasing", "-w")
CODES = {"float32": "f", "float64": "d", "int32": "i", "uint32": "u", "int64": "l", "uint64": "l"}


def kernels_of(text):
    """Names of the kernels that a module's text defines directly, for GPUs."""
    for_gpus = re.sub(r"^#if !HPCTHERMO_GPU$.*?^#endif$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^KERNEL(?:_RESIDENT)?\((\w+)[,)]", for_gpus, flags=re.MULTILINE)


@functools.cache
def library(module, precision, groups_per_block):
    """Shared library and text of a module."""
    text = module_source(module)
    return compiled(module.split()[0], text, precision, groups_per_block), text


def compiled(name, text, precision="double", groups_per_block=2):
    """Shared library of a kernel text with an entry emulate_K for each kernel K; kept from run to run."""
    launches = "".join(f"EMULATED_LAUNCH({k})\n" for k in kernels_of(text))
    source = f'{HEADER.read_text()}\n#line 1 "{name}"\n{text}\n{launches}'
    macros = (f"-DREAL={PRECISIONS[precision]}", f"-DGROUPS_PER_BLOCK={groups_per_block}")
    command = [host_compiler(), *FLAGS, *macros]
    stamp = hashlib.sha256((" ".join(command) + source).encode()).hexdigest()[:20]
    folder = BUILD_FOLDER / "emulated"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}_{precision}_{stamp}.so"
    with open(folder / f"{target.stem}.lock", "w") as lock:
        # ranks that need the same library wait for the one that builds it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            temporary = target.with_suffix(f".{os.getpid()}.tmp")
            done = subprocess.run([*command, "-x", "c++", "-", "-o", str(temporary)], input=source, text=True,
                                  capture_output=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{name}: {done.stderr[:6000]}")
            temporary.replace(target)
    return ctypes.CDLL(str(target))


def run_grid(of_library, text, kernel, blocks, threads, arguments, from_last=False):
    """Launch a grid; raises EmulationError with the source lines at which a warp went wrong."""
    function = getattr(of_library, f"emulate_{kernel}")
    function.restype = ctypes.c_char_p
    memory, codes = arguments_and_codes(arguments)
    pointers = (ctypes.c_void_p * len(memory))(*[ctypes.addressof(m) for m in memory])
    problem = function(pointers, codes.encode(), blocks, threads, int(from_last))
    if problem:
        raise EmulationError(f"{kernel}: {with_lines(problem.decode(), text)}")


def arguments_and_codes(values):
    """Memory of the arguments as a launch takes them, and their types as warp_emulator.h wants them."""
    memory, codes = [], ""
    for value in values:
        if value is None:
            memory.append(ctypes.c_void_p(None))
            codes += "0"
        elif isinstance(value, np.ndarray):
            if not value.flags.c_contiguous:
                raise ValueError("kernel arguments must be C-contiguous")
            memory.append(ctypes.c_void_p(value.ctypes.data))
            codes += CODES[value.dtype.name]
        elif isinstance(value, float):
            memory.append(ctypes.c_double(value))
            codes += "D"
        else:
            memory.append(ctypes.c_int(value))
            codes += "I"
    return memory, codes


class EmulatedGpuBackend(Backend):
    """`CudaBackend` with fibres for threads and host memory for device memory.

    Parameters
    ----------
    from_last : bool
        Run lanes, warps and blocks in descending order.
    resident_blocks : int
        Blocks of a launch with per="scratch" at most.
    """

    device = "cuda"
    instruction_set = "emulated"
    lanes = 32

    def __init__(self, precision, from_last=False, groups_per_block=2, resident_blocks=3):
        super().__init__(precision)
        if platform.machine().lower() not in ("x86_64", "amd64"):
            pytest.skip("the warp emulator needs an x86-64 processor")
        self.xp = DeviceNumpy()
        self.transfers = self.xp.transfers
        self._copies = []
        self.from_last, self.groups_per_block, self.resident_blocks = from_last, groups_per_block, resident_blocks
        self.scratch_slices = groups_per_block * resident_blocks

    def _launch(self, module, kernel, begin, end, arguments, per):
        threads = THREADS_PER_BLOCK if per == "thread" else 32 * self.groups_per_block
        items = THREADS_PER_BLOCK if per == "thread" else self.groups_per_block
        blocks = -(-(end - begin) // items)
        if per == "scratch":
            blocks = min(blocks, self.resident_blocks)
        of_library, text = library(module, self.precision, self.groups_per_block)
        run_grid(of_library, text, kernel, blocks, threads, (begin, end, *unwrapped(arguments)), self.from_last)

    def to_host(self, array):
        self.transfers.to_host += 1
        return np.array(unwrapped(array))

    def synchronize(self):
        self.finish_copies()

    def from_host(self, array):
        return self.xp.asarray(array)

    def copy_to_host(self, source, target):
        # done at the latest possible time
        assert source.flags.c_contiguous
        assert target.flags.c_contiguous
        self.transfers.to_host += 1
        self._copies.append((source.memory, target))

    def copy_to_device(self, source, target):
        assert source.flags.c_contiguous
        assert target.flags.c_contiguous
        self.transfers.to_device += 1
        self._copies.append((source, target.memory))

    def finish_copies(self):
        for source, target in self._copies:
            target[...] = source
        self._copies = []

    def join_copies(self):
        self.finish_copies()

    def empty_aligned(self, shape, dtype):
        return self.xp.empty(shape, dtype=dtype)

    def host_buffer(self, count):
        return np.full(count, np.nan)


class EmulationError(AssertionError):
    """A kernel did what no warp may do."""


def with_lines(text, source):
    """The message with the source lines it names."""
    lines = source.splitlines()
    return re.sub(r"line (\d+)", lambda m: f"line {m[1]}: {lines[int(m[1]) - 1].strip()}", text)
