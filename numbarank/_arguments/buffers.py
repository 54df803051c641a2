"""Buffers of the caller, for results."""

from typing import NamedTuple

import numpy as np

from numbarank._arguments.dtypes import gradient_dtype
from numbarank._arguments.inputs import is_on_cuda, on_cuda
from numbarank._arguments.words import blaming, type_name
from numbarank._packages import is_a


class Result(NamedTuple):
    """What a caller's buffer must fit."""

    words: str
    shape: tuple
    dtype: np.dtype


def gradients_of(inputs):
    """Return what the gradients of inputs are."""
    return [
        Result(f"the gradient of {item.name}", item.array.shape, gradient_dtype(item.array.dtype)) for item in inputs
    ]


def read_sequence(name, value):
    """Return the items of a tuple or list of arrays."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} is a {type_name(value)}; it must be a tuple of arrays, one for each gradient")
    with blaming(f"{name} does not give out its items"):
        return tuple(value)


def read_out(buffers, results, sources, device, arrays, names=None):
    """Return the caller's buffers for ``results`` as arrays: they may share memory with no source.

    Raises
    ------
    TypeError
        If a buffer is no array, or has another dtype than its result.
    ValueError
        If a buffer is on another device, has another shape, is not C-contiguous and writable, or overlaps.
    """
    if len(buffers) != len(results):
        raise ValueError(f"out holds {len(buffers)} buffers; it must hold {len(results)}, one for each gradient")
    names = names or [f"out[{i}]" for i in range(len(buffers))]
    buffers = [_as_array(name, buffer, device, arrays) for name, buffer in zip(names, buffers, strict=True)]
    for name, buffer, result in zip(names, buffers, results, strict=True):
        _check_buffer(name, buffer, result, device, arrays)
    others = [(source.name, source.array) for source in sources if source.device == device]
    for name, buffer in zip(names, buffers, strict=True):
        for other, array in others:
            if arrays.overlap(buffer, array):
                raise ValueError(f"{name} shares memory with {other}: pass buffers of their own")
        others.append((name, buffer))
    return buffers


def _as_array(name, buffer, device, arrays):
    if arrays.is_array(buffer):
        return buffer
    if device != "cpu" and is_on_cuda(name, buffer):
        return on_cuda(name, buffer, arrays.wrap_writable).array
    expected = f"an array on {device}"
    if device == "cpu":
        has_view = is_a(buffer, "torch", "Tensor")
        expected = "a numpy.ndarray, and no subclass of it" + (f": pass {name}.numpy()" if has_view else "")
    raise TypeError(f"{name} is a {type_name(buffer)}; it must be {expected}")


def _check_buffer(name, buffer, result, device, arrays):
    if arrays.device_of(buffer) != device:
        raise ValueError(f"{name} is on {arrays.device_of(buffer)}; it must be on {device}, as the inputs are")
    if buffer.dtype != result.dtype:
        raise TypeError(f"{name} has dtype {buffer.dtype}; {result.words} has {result.dtype}")
    if buffer.shape != result.shape:
        raise ValueError(f"{name} has shape {buffer.shape}; {result.words} has {result.shape}")
    if not arrays.is_writable_and_contiguous(buffer):
        raise ValueError(f"{name} must be writable and C-contiguous: allocate it with numpy.empty")
