"""Arrays that behave like CuPy's where NumPy is more lenient, in host memory.

What CuPy refuses, or does with a hidden copy between host and device, is an error here: `np.asarray` of a device
array, operations and index arrays that mix the two, host arrays as kernel arguments. Reductions give arrays without
dimensions, as on a device; turning one into a number counts as a copy to the host. Fresh memory holds NaN.
"""

from __future__ import annotations

import operator

import numpy as np


class Transfers:
    """Copies between device and host so far."""

    to_host = 0
    to_device = 0


class DeviceArray:
    """A NumPy array, in `memory`, behind CuPy's manners."""

    __slots__ = ("memory", "transfers")
    __array_ufunc__ = None  # NumPy's operators leave the work, and the refusal, to this class

    def __init__(self, memory, transfers):
        self.memory, self.transfers = memory, transfers

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion of a device array to NumPy: use backend.to_host")

    def __getattr__(self, name):
        found = getattr(self.memory, name)
        if not callable(found):
            return self._wrap(found)
        return lambda *arguments, **named: self._wrap(found(*map(unwrapped, arguments), **unwrapped(named)))

    def _wrap(self, value):
        return wrapped(value, self.transfers)

    def __getitem__(self, index):
        index = unwrapped(index)
        found = self.memory[index]
        if isinstance(found, np.generic):  # one element is a view as well
            found = self.memory[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return self._wrap(found)

    def __setitem__(self, index, value):
        self.memory[unwrapped(index)] = unwrapped(value)

    def __len__(self):
        return len(self.memory)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def _read(self, convert):
        self.transfers.to_host += 1
        return convert(self.memory)

    def __float__(self):
        return self._read(float)

    def __int__(self):
        return self._read(int)

    def __bool__(self):
        return self._read(bool)

    def __index__(self):
        return self._read(operator.index)

    def __neg__(self):
        return self._wrap(-self.memory)

    def __invert__(self):
        return self._wrap(~self.memory)


def _add_operators():
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
        for prefix in ("", "r", "i"):
            method = f"__{prefix}{name}__"

            def apply(self, other, method=method):
                return self._wrap(getattr(self.memory, method)(unwrapped(other)))

            setattr(DeviceArray, method, apply)
    for name in ("lt", "le", "eq", "ne", "gt", "ge"):

        def compare(self, other, method=f"__{name}__"):
            return self._wrap(getattr(self.memory, method)(unwrapped(other)))

        setattr(DeviceArray, f"__{name}__", compare)


_add_operators()


def wrapped(value, transfers):
    """NumPy arrays, scalars among them, as device arrays."""
    if isinstance(value, (np.ndarray, np.generic)):
        return DeviceArray(np.asarray(value), transfers)
    return tuple(wrapped(v, transfers) for v in value) if isinstance(value, tuple) and value and isinstance(
        value[0], np.ndarray) else value


def unwrapped(value):
    """The memory of device arrays; host arrays are refused."""
    if isinstance(value, DeviceArray):
        return value.memory
    if isinstance(value, np.ndarray):
        raise TypeError("a NumPy array meets a device array: use backend.from_host")
    if isinstance(value, (tuple, list)):
        return type(value)(unwrapped(v) for v in value)
    if isinstance(value, dict):
        return {k: unwrapped(v) for k, v in value.items()}
    return value


class DeviceNumpy:
    """NumPy's functions on device arrays, as `backend.xp`."""

    def __init__(self):
        self.transfers = Transfers()

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found

        def call(*arguments, **named):
            return wrapped(found(*map(unwrapped, arguments), **unwrapped(named)), self.transfers)

        return call

    def asarray(self, value, dtype=None):
        """Device array of host values."""
        if isinstance(value, DeviceArray):
            return wrapped(np.asarray(value.memory, dtype), self.transfers)
        self.transfers.to_device += 1
        array = self.empty(np.shape(value), dtype or np.asarray(value).dtype)
        array.memory[...] = value
        return array

    array = asarray

    def empty(self, shape, dtype=np.float64):
        """Memory on a 256-byte boundary that holds NaN or large negative integers."""
        shape = (shape,) if np.isscalar(shape) else tuple(shape)
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        block = np.empty(count * dtype.itemsize + 256, np.uint8)
        start = -block.ctypes.data % 256
        memory = block[start:start + count * dtype.itemsize].view(dtype).reshape(shape)
        if dtype.kind == "f":
            memory.fill(np.nan)
        elif dtype.kind == "i":
            memory.fill(-123456789 if dtype.itemsize > 2 else -1)
        return DeviceArray(memory, self.transfers)
