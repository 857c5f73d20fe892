"""The machine a rank computes on: NumPy with compiled CPU kernels, or CuPy with NVRTC kernels."""

from __future__ import annotations

import ctypes
import functools
import math
import operator
import os
import time
import weakref
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import numpy as np

from hpcthermo.errors import InputError, ResourceError
from hpcthermo.gpu import compile as kernel_compile
from hpcthermo.gpu.clock import LaunchClock
from hpcthermo.heap import free_memory

REAL_DTYPE: dict[str, np.dtype[Any]] = {"mixed": np.dtype(np.float32), "double": np.dtype(np.float64)}
VECTOR_BYTES = {"avx512": 64, "avx2": 32, "baseline": 16}
#: dtype and row length of packed positions (portable.h, Position)
POSITION_DTYPE: dict[str, np.dtype[Any]] = {"mixed": np.dtype(np.int32), "double": np.dtype(np.float64)}


def supported_instruction_set() -> str:
    """Best instruction set of this processor for which kernels are built.

    ``HPCTHERMO_INSTRUCTION_SET`` overrides the choice (``avx512``, ``avx2``, ``baseline``).
    """
    forced = os.environ.get("HPCTHERMO_INSTRUCTION_SET")
    names = list(kernel_compile.instruction_sets())
    if forced:
        if forced not in names:
            raise InputError(
                f"HPCTHERMO_INSTRUCTION_SET: expected one of {', '.join(names)}, got {forced!r}; unset it or correct it"
            )
        return forced
    flags = _processor_flags()
    needed = {"avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"}, "avx2": {"avx2", "fma", "bmi2"}}
    for name in names:
        if needed.get(name, set()) <= flags:
            return name
    return names[-1]


def supports(instruction_set: str) -> bool:
    """Whether kernels of this instruction set are built and run on this processor."""
    names = list(kernel_compile.instruction_sets())
    # best first, and each processor that has one has all after it
    if instruction_set not in names or names.index(instruction_set) < names.index(supported_instruction_set()):
        return False
    return all(kernel_compile.is_current(module, instruction_set, "mixed") for module in kernel_compile.MODULES)


@functools.cache
def _processor_flags() -> frozenset[str]:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


class Reading:
    """Values on their way from the device to the host (there already, on a CPU)."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def value(self) -> np.ndarray:
        """The values as they were when the reading began; waits for them."""
        return self._values


class Backend:
    """Arrays and kernels of one device in one precision.

    Attributes
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    precision : str
        ``"mixed"`` (float32 pair arithmetic, float64 state and sums) or ``"double"``.
    instruction_set : str
        ``"avx512"``, ``"avx2"``, ``"baseline"``, or ``"cuda"``.
    xp : module
        ``numpy`` or ``cupy``.
    real : numpy.dtype
        Type of pair arithmetic.
    lanes : int
        Neighbours processed together; lists are padded to this many slots.
    groups_per_block : int
        Groups that share a block's memory.
    scratch_slices : int
        Atoms in work at the same time in kernels launched per="scratch"; each needs its own scratch memory.
    clock : LaunchClock or None
        If set, each launch is waited for and its seconds are added to it.
    """

    device: str
    instruction_set: str
    xp: Any
    lanes: int
    groups_per_block: int = 1
    scratch_slices: int

    def __init__(self, precision: str) -> None:
        if precision not in REAL_DTYPE:
            raise InputError(f"precision: expected 'mixed' or 'double', got {precision!r}")
        self.precision = precision
        self.real = REAL_DTYPE[precision]
        self.clock: LaunchClock | None = None

    def launch(self, module: str, kernel: str, begin: int, end: int, *arguments: Any, per: str = "group") -> None:
        """Run a kernel over the items [begin, end).

        Parameters
        ----------
        module, kernel : str
            Kernel header (without ``.h``) and name in it.
        begin, end : int
            Range of items, the kernel's first two arguments.
        *arguments
            int (C int), float (C double), C-contiguous array (pointer) or None (null pointer).
        per : {"group", "thread", "scratch"}
            Whether the kernel shares its items out with FOR_EACH_GROUP or FOR_EACH_THREAD
            (decides the size of the launch on a GPU); "scratch" is "group" with no more groups
            than there are slices of scratch memory.
        """
        if end <= begin:
            return
        if self.clock is None:
            self._launch(module, kernel, begin, end, arguments, per)
            return
        self.synchronize()
        start = time.perf_counter()
        self._launch(module, kernel, begin, end, arguments, per)
        self.synchronize()
        self.clock.add(module, kernel, time.perf_counter() - start)

    def _launch(self, module: str, kernel: str, begin: int, end: int, arguments: tuple[Any, ...], per: str) -> None:
        raise NotImplementedError

    def bound(self, *arguments: Any) -> tuple[Any, ...]:
        """The arguments in a form that `launch` takes faster; arrays have to be kept by whoever calls this."""
        return arguments

    def repeat(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do work that launches the same kernels on the same memory each time it comes with this key.

        A device may record the launches and play them back; `forget` ends that.
        """
        work()

    def forget(self) -> None:
        """Forget what `repeat` has recorded: memory has changed."""

    def to_host(self, array: Any) -> np.ndarray:
        """Copy (GPU) or view (CPU) of an array in host memory."""
        raise NotImplementedError

    def begin_read(self, array: Any) -> Reading:
        """Begin to read a small array without waiting for the device."""
        return Reading(self.to_host(array).copy())

    def synchronize(self) -> None:
        """Wait until all work given to the device is done."""
        raise NotImplementedError

    def from_host(self, array: np.ndarray) -> Any:
        """The same values in device memory (the array itself on a CPU)."""
        raise NotImplementedError

    def begin_copies(self) -> None:
        """Copies that begin from now on see all work given so far done; they may run beside later work."""

    def copy_to_host(self, source: Any, target: np.ndarray) -> None:
        """Begin to copy a contiguous device array into a host buffer; `finish_copies` completes it."""
        raise NotImplementedError

    def copy_to_device(self, source: np.ndarray, target: Any) -> None:
        """Begin to copy a host buffer into a contiguous device array; work after `join_copies` sees it."""
        target[...] = self.from_host(source)

    def finish_copies(self) -> None:
        """Wait for the copies begun so far, not for other work."""
        self.synchronize()

    def join_copies(self) -> None:
        """Work given from now on sees the copies begun so far done."""

    def empty_aligned(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """Memory that starts on a cache line, for rows that kernels load as one vector."""
        raise NotImplementedError

    def host_buffer(self, count: int) -> np.ndarray:
        """Host memory for `count` float64 values, page-locked where a GPU copies to and from it."""
        raise NotImplementedError

    def free_memory(self) -> float:
        """Bytes of the device that may still be taken."""
        raise NotImplementedError


class CpuBackend(Backend):
    """One core with SIMD lanes."""

    device = "cpu"
    scratch_slices = 4  # ATOMS_TOGETHER in portable_cpu.h

    def __init__(self, precision: str, instruction_set: str | None = None) -> None:
        super().__init__(precision)
        self.instruction_set = instruction_set or supported_instruction_set()
        self.xp = np
        self.lanes = VECTOR_BYTES[self.instruction_set] // self.real.itemsize

    def _launch(self, module: str, kernel: str, begin: int, end: int, arguments: tuple[Any, ...], per: str) -> None:
        function = _cpu_function(module, kernel, self.instruction_set, self.precision)
        function(int(begin), int(end), *[_cpu_argument(a) for a in arguments])

    def bound(self, *arguments: Any) -> tuple[Any, ...]:
        return tuple(_cpu_argument(argument) for argument in arguments)

    def to_host(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def synchronize(self) -> None:
        return None

    def from_host(self, array: np.ndarray) -> Any:
        return array

    def copy_to_host(self, source: Any, target: np.ndarray) -> None:
        target[...] = source

    def empty_aligned(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        block = np.empty(n_bytes + 64, dtype=np.uint8)
        start = -block.ctypes.data % 64
        return block[start:start + n_bytes].view(dtype).reshape(shape)

    def host_buffer(self, count: int) -> np.ndarray:
        return np.empty(count, dtype=np.float64)

    def free_memory(self) -> float:
        return free_memory()


_is_current = functools.cache(kernel_compile.is_current)


@functools.cache
def _cpu_function(module: str, kernel: str, instruction_set: str, precision: str) -> Any:
    path = kernel_compile.library_path(module, instruction_set, precision)
    if not path.exists():
        raise ResourceError(
            f"CPU kernel library {path.name} is missing; reinstall hpcthermo with a C++17 compiler "
            "or run: python -m hpcthermo.gpu.compile"
        )
    if not _is_current(module, instruction_set, precision):
        # its kernels may take other arguments
        raise ResourceError(f"CPU kernel library {path.name} was built from other sources than the installed ones; "
                            "run: python -m hpcthermo.gpu.compile")
    function = getattr(ctypes.CDLL(str(path)), kernel)
    function.restype = None
    return function


def _cpu_argument(value: Any) -> Any:
    if isinstance(value, ctypes.c_void_p):
        return value
    if isinstance(value, np.ndarray):
        known = _Address.of.get(id(value))
        # most arrays come again in every step
        return known.pointer if known is not None and known() is value else _Address(value).pointer
    if isinstance(value, float):
        return ctypes.c_double(value)
    # ctypes passes int as C int and None as a null pointer
    return None if value is None else operator.index(value)


class _Address(weakref.ref):
    """Where an array lies, noted until the array ends: to ask NumPy takes several times longer."""

    __slots__ = ("key", "pointer")
    #: by id of the array
    of: ClassVar[dict[int, _Address]] = {}

    def __new__(cls, array: np.ndarray) -> _Address:
        return super().__new__(cls, array, _Address._forget)

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array, _Address._forget)  # type: ignore[call-arg]
        if not array.flags.c_contiguous:
            raise ValueError("kernel arguments must be C-contiguous")
        self.key = id(array)
        self.pointer = ctypes.c_void_p(array.ctypes.data)
        _Address.of[self.key] = self

    @staticmethod
    def _forget(address: _Address) -> None:
        # the id may belong to another array by now
        if _Address.of.get(address.key) is address:
            del _Address.of[address.key]


class CudaBackend(Backend):
    """One GPU through CuPy; a warp is a group."""

    device = "cuda"
    instruction_set = "cuda"
    lanes = 32
    groups_per_block = 4

    def __init__(self, precision: str, device_index: int = 0) -> None:
        super().__init__(precision)
        from hpcthermo.gpu import cuda

        self.xp = cuda.array_module(device_index)
        self._cuda = cuda
        self._recorder = cuda.Recorder()
        self.scratch_slices = cuda.scratch_groups(self.groups_per_block)

    def _launch(self, module: str, kernel: str, begin: int, end: int, arguments: tuple[Any, ...], per: str) -> None:
        self._cuda.launch(module, kernel, self.precision, begin, end, arguments, per, self.groups_per_block)

    def repeat(self, key: Hashable, work: Callable[[], None]) -> None:
        if self.clock is None:
            self._recorder.repeat(key, work)
        else:
            work()  # launches are timed one by one

    def forget(self) -> None:
        self._recorder.forget()

    def begin_read(self, array: Any) -> Reading:
        return self._cuda.PinnedReading(array)

    def to_host(self, array: Any) -> np.ndarray:
        return np.asarray(self.xp.asnumpy(array))

    def synchronize(self) -> None:
        self._cuda.synchronize()

    def from_host(self, array: np.ndarray) -> Any:
        return self.xp.asarray(array)

    def begin_copies(self) -> None:
        self._cuda.begin_copies()

    def copy_to_host(self, source: Any, target: np.ndarray) -> None:
        self._cuda.copy_to_host(source, target)

    def copy_to_device(self, source: np.ndarray, target: Any) -> None:
        self._cuda.copy_to_device(source, target)

    def finish_copies(self) -> None:
        self._cuda.finish_copies()

    def join_copies(self) -> None:
        self._cuda.join_copies()

    def empty_aligned(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        return self.xp.empty(shape, dtype=dtype)

    def host_buffer(self, count: int) -> np.ndarray:
        return self._cuda.pinned_buffer(count)

    def free_memory(self) -> float:
        return self._cuda.free_memory()


def make_backend(device: str = "cpu", precision: str = "mixed", device_index: int = 0,
                 instruction_set: str | None = None) -> Backend:
    """Backend by name; on a CPU the best instruction set, or the one given.

    Raises
    ------
    InputError
        For an unknown device or precision.
    ResourceError
        If CuPy or a GPU is absent.
    """
    if device == "cpu":
        return CpuBackend(precision, instruction_set)
    if device == "cuda":
        return CudaBackend(precision, device_index)
    raise InputError(f"device: expected 'cpu' or 'cuda', got {device!r}")
