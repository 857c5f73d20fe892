"""As much of CuPy as gpu/cuda.py uses, over the warp emulator: `CudaBackend` itself runs on it.

Kernels, fills, assignments and copies on a stream that is being captured are recorded, with the memory and the values
they were given, and done when the graph is launched; what would allocate or wait fails, as it would on a GPU or in
gpu/cuda.py. Otherwise everything is done at once. `calls` tells what was asked of streams and graphs, in order.
"""

from __future__ import annotations

import contextlib
import sys
import types

import numpy as np
import pytest
from device_array import DeviceArray, DeviceNumpy, unwrapped
from emulated_gpu import compiled, kernels_of, run_grid

from hpcthermo.gpu import cuda

#: attribute names of the real package that are used; checked against CuPy where it is installed
USED = ("cuda.Device", "cuda.Stream", "cuda.Stream.use", "cuda.Stream.begin_capture", "cuda.Stream.end_capture",
        "cuda.Stream.record", "cuda.Stream.wait_event", "cuda.Stream.synchronize", "cuda.Graph.launch",
        "cuda.Event.synchronize", "cuda.Event.done", "cuda.using_allocator", "cuda.alloc_pinned_memory",
        "cuda.runtime.getDevice", "cuda.runtime.getDeviceCount", "cuda.runtime.CUDARuntimeError",
        "cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor", "cuda.MemoryPointer.copy_to_host_async",
        "cuda.MemoryPointer.copy_from_host_async", "RawModule", "RawModule.get_function", "RawKernel.num_regs",
        "RawKernel.local_size_bytes", "RawKernel.shared_size_bytes", "RawKernel.const_size_bytes", "RawKernel.kernel",
        "cuda.Function.ptr", "asnumpy", "asarray", "isin", "bincount", "argsort", "flatnonzero", "isfinite", "take",
        "stack", "concatenate", "cumsum", "arange", "rint")

MULTIPROCESSORS, BLOCKS_PER_MULTIPROCESSOR = 2, 1


class FakeCudaError(RuntimeError):
    """Stands for CUDARuntimeError."""


class Stream:
    def __init__(self, module, non_blocking=False):
        self.cupy, self.non_blocking = module, non_blocking

    def use(self):
        self.cupy.current = self

    def _note(self, what):
        self.cupy.calls.append((what, self.cupy.streams.index(self)))

    def begin_capture(self):
        if not self.non_blocking or self.cupy.recording is not None:
            raise FakeCudaError("capture of a default stream, or a second one")
        self._note("begin_capture")
        self.cupy.recording = []

    def end_capture(self):
        self._note("end_capture")
        recorded, self.cupy.recording = self.cupy.recording, None
        return Graph(self.cupy, recorded)

    def record(self):
        self.cupy.refuse_in_capture("an event")
        self._note("record")
        return types.SimpleNamespace(done=True, synchronize=lambda: self.cupy.calls.append(("wait for event", None)))

    def wait_event(self, event):
        self.cupy.refuse_in_capture("an event")
        self._note("wait_event")

    def synchronize(self):
        self.cupy.refuse_in_capture("synchronize")
        self._note("synchronize")


class Graph:
    def __init__(self, module, recorded):
        self.cupy, self.recorded = module, recorded

    def launch(self, stream):
        self.cupy.refuse_in_capture("the launch of a graph")
        self.cupy.calls.append(("launch graph", self.cupy.streams.index(stream)))
        for work in self.recorded:
            work()


class FakeArray(DeviceArray):
    """Device array whose work is recorded while its stream is captured."""

    __slots__ = ()

    @property
    def data(self):
        return types.SimpleNamespace(copy_to_host_async=self._to_host, copy_from_host_async=self._from_host)

    def _to_host(self, pointer, n_bytes, stream):
        self._copy(pointer, n_bytes, stream, to_host=True)

    def _from_host(self, pointer, n_bytes, stream):
        self._copy(pointer, n_bytes, stream, to_host=False)

    def _copy(self, pointer, n_bytes, stream, to_host):
        cupy = self.transfers.cupy
        assert n_bytes == self.memory.nbytes
        assert self.memory.flags.c_contiguous
        if not cupy.is_pinned(pointer, n_bytes):
            raise FakeCudaError("an asynchronous copy with pageable memory")
        host, device = pointer, self.memory.ctypes.data
        target, source = (host, device) if to_host else (device, host)
        cupy.calls.append(("copy to host" if to_host else "copy to device", cupy.streams.index(stream)))
        cupy.do(lambda: np.ctypeslib.ctypes.memmove(target, source, n_bytes))

    def fill(self, value):
        self.transfers.cupy.do(lambda: self.memory.fill(value))

    def __setitem__(self, index, value):
        index, value = unwrapped(index), unwrapped(value)
        self.transfers.cupy.do(lambda: self.memory.__setitem__(index, value))

    def _read(self, convert):
        self.transfers.cupy.refuse_in_capture("reading a value")
        return super()._read(convert)

    def _wrap(self, value):
        found = super()._wrap(value)
        owner = isinstance(value, (np.ndarray, np.generic)) and getattr(value, "base", None) is None
        if owner:
            self.transfers.cupy.refuse_in_capture("a new array")
        return FakeArray(found.memory, self.transfers) if isinstance(found, DeviceArray) else found


class FakeTransfers:
    """Copies so far, and the longest each way in bytes."""

    def __init__(self, cupy):
        self.cupy, self.to_host, self.to_device, self.longest_to_host, self.longest_to_device = cupy, 0, 0, 0, 0


class FakeCupy(DeviceNumpy):
    """The module; `calls` lists (what, number of the stream)."""

    def __init__(self, from_last=False):
        super().__init__()
        self.transfers = FakeTransfers(self)
        self.from_last = from_last
        self.calls, self.recording, self.current, self.streams, self.pinned = [], None, None, [], []
        self.launched = []
        self.ndarray = FakeArray
        runtime = types.SimpleNamespace(getDevice=lambda: 0, getDeviceCount=lambda: 1, CUDARuntimeError=FakeCudaError)
        driver = types.SimpleNamespace(
            occupancyMaxActiveBlocksPerMultiprocessor=lambda pointer, threads, shared: BLOCKS_PER_MULTIPROCESSOR)
        self.cuda = types.SimpleNamespace(
            runtime=runtime, driver=driver, Device=self._device, Stream=self._stream,
            using_allocator=self._using_allocator, alloc_pinned_memory=self._alloc_pinned)

    def _device(self, index=0):
        attributes = {"MultiProcessorCount": MULTIPROCESSORS, "MaxThreadsPerMultiProcessor": 2048}
        device = types.SimpleNamespace(id=index, use=lambda: None, attributes=attributes)
        return _Context(device)

    def _stream(self, non_blocking=False):
        self.streams.append(Stream(self, non_blocking))
        return self.streams[-1]

    @contextlib.contextmanager
    def _using_allocator(self, allocator):
        self.allocator = allocator
        yield
        self.allocator = None

    def _alloc_pinned(self, n_bytes):
        self.pinned.append(bytearray(n_bytes))
        return self.pinned[-1]

    def is_pinned(self, pointer, n_bytes):
        for block in self.pinned:
            start = np.frombuffer(block, np.uint8).ctypes.data
            if start <= pointer and pointer + n_bytes <= start + len(block):
                return True
        return False

    def do(self, work):
        """Do it now, or record it."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def refuse_in_capture(self, what):
        if self.recording is not None:
            if what == "a new array":
                self.allocator(8)
            raise FakeCudaError(f"{what} while a stream is captured")

    def empty(self, shape, dtype=np.float64):
        self.refuse_in_capture("a new array")
        return FakeArray(super().empty(shape, dtype).memory, self.transfers)

    def asarray(self, value, dtype=None):
        self.refuse_in_capture("a new array")
        if not isinstance(value, DeviceArray):
            self.transfers.longest_to_device = max(self.transfers.longest_to_device, np.asarray(value).nbytes)
        return FakeArray(super().asarray(value, dtype).memory, self.transfers)

    array = asarray

    def __getattr__(self, name):
        found = super().__getattr__(name)
        if isinstance(found, type) or not callable(found):
            return found

        def call(*arguments, **named):
            self.refuse_in_capture("a new array")
            result = found(*arguments, **named)
            return FakeArray(result.memory, self.transfers) if isinstance(result, DeviceArray) else result

        return call

    def asnumpy(self, array):
        self.refuse_in_capture("reading a value")
        self.transfers.to_host += 1
        self.transfers.longest_to_host = max(self.transfers.longest_to_host, array.nbytes)
        return np.array(array.memory)

    def RawModule(self, code, options):
        return RawModule(self, code, options)


class _Context:
    """A device that is also a context manager."""

    def __init__(self, device):
        self.__dict__.update(vars(device))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@contextlib.contextmanager
def installed_cupy(from_last=False):
    """A new `FakeCupy` as the module cupy, with nothing kept of another one in gpu/cuda.py."""
    kept = [cuda.work_stream, cuda.copy_stream, cuda._module, cuda.kernel_function, cuda.kernel_facts,
            cuda._multiprocessors_of]
    with pytest.MonkeyPatch.context() as patch:
        fake = FakeCupy(from_last)
        patch.setitem(sys.modules, "cupy", fake)
        for function in kept:
            function.cache_clear()
        yield fake
        for function in kept:
            function.cache_clear()


class RawModule:
    def __init__(self, cupy, code, options):
        self.cupy, self.code = cupy, code
        known = dict(option.removeprefix("-D").split("=") for option in options if option.startswith("-D"))
        assert known.keys() == {"REAL", "GROUPS_PER_BLOCK"}
        self.precision = {"float": "mixed", "double": "double"}[known["REAL"]]
        self.groups_per_block = int(known["GROUPS_PER_BLOCK"])

    def get_function(self, name):
        return RawKernel(self, name)


class RawKernel:
    num_regs, local_size_bytes, shared_size_bytes, const_size_bytes = 64, 0, 0, 0

    def __init__(self, module, name):
        self.module, self.name = module, name
        self.kernel = types.SimpleNamespace(ptr=1)
        self.library = compiled(f"fake_{kernels_of(module.code)[0]}", module.code, module.precision,
                                module.groups_per_block)

    def __call__(self, grid, block, arguments):
        given = []
        for value in arguments:
            if isinstance(value, DeviceArray):
                given.append(value.memory)
            elif isinstance(value, np.uint64) and value == 0:
                given.append(None)
            elif isinstance(value, (np.float64, np.int32)):
                given.append(value.item())
            else:
                raise TypeError(f"Unsupported type {type(value)}")
        cupy = self.module.cupy
        cupy.launched.append((self.name, grid[0], block[0], cupy.recording is not None))
        assert cupy.current is not None
        cupy.do(lambda: run_grid(self.library, self.module.code, self.name, grid[0], block[0], given, cupy.from_last))
