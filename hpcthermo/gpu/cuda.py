"""CuPy and NVRTC behind `CudaBackend`; imported only when a GPU is asked for."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from hpcthermo.errors import ResourceError
from hpcthermo.gpu.compile import PRECISIONS, module_source

THREADS_PER_BLOCK = 128


def array_module(device_index: int) -> Any:
    """CuPy with the given device made current.

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
    cupy.cuda.Device(device_index % count).use()
    return cupy


@functools.cache
def _module(name: str, precision: str, groups_per_block: int) -> Any:
    import cupy

    options = ("-std=c++17", f"-DREAL={PRECISIONS[precision]}", f"-DGROUPS_PER_BLOCK={groups_per_block}")
    return cupy.RawModule(code=module_source(name), options=options)


def _argument(value: Any) -> Any:
    if value is None:
        return np.uint64(0)
    if isinstance(value, float):
        return np.float64(value)
    if isinstance(value, (int, np.integer)):
        return np.int32(value)
    return value


def launch(module: str, kernel: str, precision: str, begin: int, end: int, arguments: tuple[Any, ...], per: str,
           groups_per_block: int) -> None:
    """Launch one kernel over [begin, end) on the current stream."""
    function = _module(module, precision, groups_per_block).get_function(kernel)
    threads = THREADS_PER_BLOCK if per == "thread" else 32 * groups_per_block
    items = THREADS_PER_BLOCK if per == "thread" else groups_per_block
    blocks = (end - begin + items - 1) // items
    if per == "scratch":
        blocks = min(blocks, resident_groups(groups_per_block) // groups_per_block)
    function((blocks,), (threads,), (np.int32(begin), np.int32(end), *[_argument(a) for a in arguments]))


@functools.cache
def resident_groups(groups_per_block: int) -> int:
    """Warps that fill the current GPU once: 16 on each multiprocessor, in whole blocks."""
    import cupy

    multiprocessors = int(cupy.cuda.Device().attributes["MultiProcessorCount"])
    return max(1, 16 * multiprocessors // groups_per_block) * groups_per_block


def synchronize() -> None:
    """Wait for the current stream."""
    import cupy

    cupy.cuda.get_current_stream().synchronize()


def pinned_buffer(count: int) -> np.ndarray:
    """Page-locked host memory for `count` float64 values."""
    import cupy

    memory = cupy.cuda.alloc_pinned_memory(max(count, 1) * 8)
    return np.frombuffer(memory, dtype=np.float64, count=count)


def copy_to_host(source: Any, target: np.ndarray) -> None:
    """Begin to copy a contiguous device array into page-locked host memory on the current stream."""
    import cupy

    source.data.copy_to_host_async(target.ctypes.data, source.nbytes, cupy.cuda.get_current_stream())


def device_count() -> int:
    """GPUs that CuPy sees; 0 without a driver."""
    import cupy

    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0
