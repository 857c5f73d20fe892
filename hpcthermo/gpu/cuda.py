"""CuPy and NVRTC behind `CudaBackend`; imported only when a GPU is asked for.

All work of a rank goes to one stream, which is not the default stream, so that it can be recorded as a graph. Copies
between device and host that may run beside kernels go to a second stream, ordered by events.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from hpcthermo.errors import ResourceError
from hpcthermo.gpu.backend import Reading
from hpcthermo.gpu.compile import GPU_FLAGS, PRECISIONS, module_source

THREADS_PER_BLOCK = 128
#: groups for which each multiprocessor gets scratch memory: those of a kernel with 64 registers a thread
_SCRATCH_GROUPS = 32


def array_module(device_index: int) -> Any:
    """CuPy with the given device and a stream of its own made current.

    Raises
    ------
    ResourceError
        If CuPy is not installed or no GPU is visible.
    """
    try:
        import cupy
    except ImportError as error:
        raise ResourceError(
            "device 'cuda' needs CuPy; install the extra that fits the driver: pip install 'hpcthermo[cuda12]' "
            "(or [cuda13])"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ResourceError(f"device 'cuda': no usable GPU ({error}); use device = \"cpu\"") from error
    device = cupy.cuda.Device(device_index % count)
    device.use()
    work_stream(device.id).use()
    return cupy


@functools.cache
def work_stream(device_id: int) -> Any:
    """The stream of all kernels of a device."""
    import cupy

    with cupy.cuda.Device(device_id):
        return cupy.cuda.Stream(non_blocking=True)


@functools.cache
def copy_stream(device_id: int) -> Any:
    """The stream of copies that run beside kernels."""
    import cupy

    with cupy.cuda.Device(device_id):
        return cupy.cuda.Stream(non_blocking=True)


def _streams() -> tuple[Any, Any]:
    """Work stream and copy stream of the current device."""
    import cupy

    device_id = cupy.cuda.runtime.getDevice()
    return work_stream(device_id), copy_stream(device_id)


# ---- kernels ---------------------------------------------------------------------------------------


@functools.cache
def _module(name: str, precision: str, groups_per_block: int) -> Any:
    import cupy

    options = (*GPU_FLAGS, f"-DREAL={PRECISIONS[precision]}", f"-DGROUPS_PER_BLOCK={groups_per_block}")
    return cupy.RawModule(code=module_source(name), options=options)


@functools.cache
def kernel_function(module: str, kernel: str, precision: str, groups_per_block: int) -> Any:
    """Compiled kernel (cupy.RawKernel); compilation happens on its first use."""
    return _module(module, precision, groups_per_block).get_function(kernel)


@dataclass(frozen=True)
class KernelFacts:
    """What the driver says of a compiled kernel on the current GPU.

    Attributes
    ----------
    registers : int
        Of one thread.
    local_bytes, shared_bytes, constant_bytes : int
        Local (spilled) memory of one thread, static shared memory of a block, constants.
    blocks_per_multiprocessor : int
        That run at once.
    occupancy : float
        Share of the warps a multiprocessor can hold.
    """

    registers: int
    local_bytes: int
    shared_bytes: int
    constant_bytes: int
    blocks_per_multiprocessor: int
    occupancy: float


@functools.cache
def kernel_facts(module: str, kernel: str, precision: str, groups_per_block: int, threads: int) -> KernelFacts:
    """Registers, memory and occupancy of a kernel in blocks of `threads` threads."""
    import cupy

    function = kernel_function(module, kernel, precision, groups_per_block)
    # at least one: the launch itself says it if a block does not fit
    blocks = max(1, int(cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.kernel.ptr, threads, 0)))
    most_threads = int(cupy.cuda.Device().attributes["MaxThreadsPerMultiProcessor"])
    return KernelFacts(function.num_regs, function.local_size_bytes, function.shared_size_bytes,
                       function.const_size_bytes, blocks, blocks * threads / most_threads)


def multiprocessors() -> int:
    """Multiprocessors of the current GPU."""
    import cupy

    return _multiprocessors_of(cupy.cuda.runtime.getDevice())


@functools.cache
def _multiprocessors_of(device_id: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device_id).attributes["MultiProcessorCount"])


def scratch_groups(groups_per_block: int) -> int:
    """Groups that scratch memory is made for, in whole blocks."""
    return max(1, _SCRATCH_GROUPS * multiprocessors() // groups_per_block) * groups_per_block


def grid_of(n_items: int, per: str, groups_per_block: int, most_blocks: int) -> tuple[int, int]:
    """Blocks and threads of a block for a launch over `n_items`; at most `most_blocks` with per="scratch"."""
    threads = THREADS_PER_BLOCK if per == "thread" else 32 * groups_per_block
    items = THREADS_PER_BLOCK if per == "thread" else groups_per_block
    blocks = -(-n_items // items)
    return min(blocks, most_blocks) if per == "scratch" else blocks, threads


def _argument(value: Any) -> Any:
    """What CuPy passes for an argument of `Backend.launch`: C int, C double, pointer or null pointer."""
    if value is None:
        return np.uint64(0)
    if isinstance(value, float):
        return np.float64(value)
    if isinstance(value, (int, np.integer)):
        return np.int32(operator.index(value))
    if isinstance(value, (np.generic, np.ndarray)) or not hasattr(value, "flags"):
        raise TypeError(f"kernel arguments are int, float, device arrays or None, not {type(value).__name__}")
    if not value.flags.c_contiguous:
        raise ValueError("kernel arguments must be C-contiguous")
    return value


def launch(module: str, kernel: str, precision: str, begin: int, end: int, arguments: tuple[Any, ...], per: str,
           groups_per_block: int) -> None:
    """Launch one kernel over [begin, end) on the current stream."""
    function = kernel_function(module, kernel, precision, groups_per_block)
    most_blocks = 0
    if per == "scratch":
        # no more than run at once: further ones would wait, with scratch memory of their own
        resident = kernel_facts(module, kernel, precision, groups_per_block, 32 * groups_per_block)
        most_blocks = min(resident.blocks_per_multiprocessor * multiprocessors(),
                          scratch_groups(groups_per_block) // groups_per_block)
    blocks, threads = grid_of(end - begin, per, groups_per_block, most_blocks)
    function((blocks,), (threads,), (np.int32(begin), np.int32(end), *[_argument(a) for a in arguments]))


# ---- graphs ----------------------------------------------------------------------------------------


class Recorder:
    """Work that comes again and again: plain at first, recorded the second time, then played back.

    The work has to launch the same kernels with the same arguments each time its key comes, and may neither allocate
    device memory nor wait for the device nor copy from or to pageable host memory.
    """

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()
        self._graphs: dict[Hashable, Any] = {}

    def repeat(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do the work on the work stream."""
        stream, _ = _streams()
        if key not in self._graphs:
            if key not in self._seen:
                # compiles kernels and makes memory that is kept
                self._seen.add(key)
                work()
                return
            self._graphs[key] = _recorded(work, stream)
        self._graphs[key].launch(stream)

    def forget(self) -> None:
        """Drop all recordings (those in flight end by themselves) and begin anew."""
        self._seen.clear()
        self._graphs.clear()


def _recorded(work: Callable[[], None], stream: Any) -> Any:
    import cupy

    stream.begin_capture()
    try:
        with cupy.cuda.using_allocator(_refuse_memory):
            work()
    except BaseException:
        # leave the stream usable; the first error says more
        with suppress(cupy.cuda.runtime.CUDARuntimeError):
            stream.end_capture()
        raise
    return stream.end_capture()


def _refuse_memory(n_bytes: int) -> NoReturn:
    raise RuntimeError(f"work that is recorded as a graph asks for {n_bytes} bytes of device memory, which a later "
                       "allocation could get as well; make the memory before")


# ---- host and device -------------------------------------------------------------------------------


def synchronize() -> None:
    """Wait for all work and all copies."""
    for stream in _streams():
        stream.synchronize()


def pinned_buffer(count: int, dtype: Any = np.float64) -> np.ndarray:
    """Page-locked host memory for `count` values."""
    import cupy

    memory = cupy.cuda.alloc_pinned_memory(max(count, 1) * np.dtype(dtype).itemsize)
    return np.frombuffer(memory, dtype=dtype, count=count)


def free_memory() -> float:
    """Bytes of the device that nobody has taken."""
    import cupy

    return float(cupy.cuda.runtime.memGetInfo()[0])


def begin_copies() -> None:
    """Copies that begin from now on come after all work given so far."""
    work, copies = _streams()
    copies.wait_event(work.record())


def copy_to_host(source: Any, target: np.ndarray) -> None:
    """Begin to copy a contiguous device array into page-locked host memory."""
    source.data.copy_to_host_async(target.ctypes.data, source.nbytes, _streams()[1])


def copy_to_device(source: np.ndarray, target: Any) -> None:
    """Begin to copy page-locked host memory into a contiguous device array."""
    target.data.copy_from_host_async(source.ctypes.data, source.nbytes, _streams()[1])


def finish_copies() -> None:
    """Wait until all copies are done; work goes on."""
    _streams()[1].synchronize()


def join_copies() -> None:
    """Work given from now on comes after all copies begun so far."""
    work, copies = _streams()
    work.wait_event(copies.record())


class PinnedReading(Reading):
    """A small device array on its way to the host."""

    #: buffers that may still be written to, though nobody may want their values any more
    _in_flight: list[PinnedReading] = []  # noqa: RUF012

    def __init__(self, array: Any) -> None:
        stream, _ = _streams()
        host = pinned_buffer(array.size, array.dtype)
        super().__init__(host.reshape(array.shape))
        array.data.copy_to_host_async(host.ctypes.data, array.nbytes, stream)
        self._arrived = stream.record()
        PinnedReading._in_flight = [r for r in PinnedReading._in_flight if not r._arrived.done]
        PinnedReading._in_flight.append(self)

    def value(self) -> np.ndarray:
        """The values as they were when the reading began; waits for them, not for later work."""
        self._arrived.synchronize()
        return super().value()


def device_count() -> int:
    """GPUs that CuPy sees; 0 without a driver."""
    import cupy

    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0
