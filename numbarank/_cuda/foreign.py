"""Arrays of other packages on CUDA devices, taken over without a copy and never without a check."""

import math
import numbers
import re

import numpy as np

from numbarank._cuda import dlpack, driver
from numbarank._cuda.memory import bits_dtype
from numbarank._packages import LEGACY_DEFAULT_STREAM

_BFLOAT16_TYPESTRS = ("<V2", "|V2", "V2")
_NUMBER_TYPESTR = re.compile("[<>=|]?[biufc][1-9][0-9]?")
_LARGEST = 2**63


def wrap(value, package=None):
    """Return a device array on the memory of a numba array, or of one with a CUDA array interface or DLPack.

    It is on the stream that its interface names, or on the current one of its ``Package`` where it names none.

    Raises
    ------
    TypeError, ValueError, BufferError
        If what the object says about its memory is not well formed; nothing is read through its pointer then.
    """
    if isinstance(value, driver.DeviceArray):
        return value
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is None:
        return _array_at(*dlpack.take(value))
    device = _device_that_holds(value)
    array = _array_at(*_read_interface(interface, package), value, device)
    array.package = package
    return array


def wrap_writable(value, package=None):
    """Return a device array to write into on the memory of an object, which must not call itself read-only."""
    array = wrap(value, package)
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is not None and interface["data"][1]:
        raise ValueError("its memory is read-only")
    return array


def empty_beside(array, shape, dtype):
    """Return an uninitialised array on the device and the stream of another: memory of its package, if it has one."""
    package, size = getattr(array, "package", None), math.prod(shape) * dtype.itemsize
    with driver.activate(driver.device_of(array)):
        if package is None or size == 0 or package.current_stream() != _handle(array.stream):
            return driver.empty(tuple(shape), dtype, array.stream)
        memory = package.allocate(size)
        address = memory.__cuda_array_interface__["data"][0]
        strides = driver.contiguous_strides(shape, dtype.itemsize)
        result = _view(address, shape, strides, dtype, memory, array.stream)
    result.package = package
    return result


def _handle(stream):
    return driver.stream_pointer(stream) or LEGACY_DEFAULT_STREAM


def _device_that_holds(value):
    """The interface does not name the device, DLPack does; without it, it is the current one."""
    if not hasattr(value, "__dlpack_device__"):
        return driver.current_device()
    device = value.__dlpack_device__()
    if not isinstance(device, tuple) or len(device) != 2 or not _is_index(device[1]):
        raise TypeError(f"__dlpack_device__ returned {device!r}; it must be (type, number)")
    return int(device[1])


def _read_interface(interface, package):
    """Return address, shape, strides in bytes, dtype and stream of a CUDA array interface (version 0 to 3)."""
    if not isinstance(interface, dict):
        raise TypeError(f"__cuda_array_interface__ is a {type(interface).__name__}; it must be a dict")
    missing = {"shape", "typestr", "data", "version"} - interface.keys()
    if missing:
        raise TypeError(f"__cuda_array_interface__ has no {', '.join(sorted(missing))}")
    if not _is_index(interface["version"]) or not 0 <= interface["version"] <= 3:
        raise ValueError(f"__cuda_array_interface__ has version {interface['version']!r}; 0 to 3 are known")
    if interface.get("mask") is not None:
        raise TypeError("__cuda_array_interface__ has a mask; numbarank has no masks: pass the unmasked elements")
    shape, strides = interface["shape"], interface.get("strides")
    names_stream = package is None or "stream" in interface
    stream = _stream(interface.get("stream") if names_stream else package.current_stream())
    return _address(interface["data"]), shape, strides, _dtype(interface["typestr"]), stream


def _address(data):
    if not isinstance(data, (tuple, list)) or len(data) != 2 or not _is_index(data[0] or 0):
        raise TypeError(f"__cuda_array_interface__ has data {data!r}; it must be (address, is_read_only)")
    return int(data[0] or 0)


def _dtype(typestr):
    if isinstance(typestr, str) and typestr in _BFLOAT16_TYPESTRS:
        return dlpack.bfloat16()
    if not isinstance(typestr, str) or not _NUMBER_TYPESTR.fullmatch(typestr):
        raise TypeError(f"__cuda_array_interface__ has typestr {typestr!r}; it must be one of numbers")
    try:
        dtype = np.dtype(typestr)
    except TypeError as error:
        raise TypeError(f"__cuda_array_interface__ has typestr {typestr!r}: {error}") from error
    if not dtype.isnative:
        raise TypeError(f"__cuda_array_interface__ has typestr {typestr!r}; the byte order must be the machine's own")
    return dtype


def _stream(pointer):
    if pointer is None:
        return 0
    if not _is_index(pointer) or not 0 < pointer < 2 * _LARGEST:
        raise ValueError(f"__cuda_array_interface__ has stream {pointer!r}; it must be None or a positive int")
    return driver.stream_at(int(pointer))


def _array_at(address, shape, strides, dtype, stream, owner, device):
    """Check a layout and return the array there."""
    shape = _indices("shape", shape)
    strides = driver.contiguous_strides(shape, dtype.itemsize) if strides is None else _indices("strides", strides)
    if len(strides) != len(shape):
        raise ValueError(f"a device array has shape {shape} and strides {strides}; their lengths must be equal")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize >= _LARGEST:
        raise ValueError(f"a device array has shape {shape}; each length must be at least 0, and its memory finite")
    with driver.activate(driver.device_number(f"cuda:{device}")):
        if math.prod(shape) == 0:
            return driver.empty(shape, dtype, stream)
        _check_address(address, shape, strides, dtype)
        return _view(address, shape, strides, dtype, owner, stream)


def _view(address, shape, strides, dtype, owner, stream):
    """Return the array at an address; numba, which does not know bfloat16, takes its bits."""
    bits = bits_dtype(dtype)
    array = driver.array_at(address, shape, strides, bits, owner, stream)
    return array if bits is dtype else driver.relabel(array, dtype)


def _check_address(address, shape, strides, dtype):
    if address == 0:
        raise ValueError(f"a device array of shape {shape} has a null pointer")
    steps = [stride for length, stride in zip(shape, strides, strict=True) if length > 1]
    if any(place % dtype.alignment for place in (address, *steps)):
        raise ValueError(f"a device array of {dtype} has address {address:#x} and strides {strides}: not aligned")
    first, last = driver.extent(address, shape, strides, dtype.itemsize)
    if first <= 0 or last >= _LARGEST:
        raise ValueError(
            f"a device array of shape {shape} at address {address:#x} has strides {strides}, which no memory can hold"
        )
    driver.check_allocated(first, last)


def _indices(name, values):
    if not isinstance(values, (tuple, list)) or not all(map(_is_index, values)):
        raise TypeError(f"a device array has {name} {values!r}; it must be a tuple of int")
    return tuple(map(int, values))


def _is_index(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
