"""Reading, converting and writing inside kernels: the twin of the CPU room's file of this name.

A value is read from where it is: an array, a single cell on the device, or a number. The kernels are built from the
functions chosen here, so one text serves every combination. Indices are unsigned: signed ones cost a division.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from numbarank._cuda.driver import inline


class Source(NamedTuple):
    """How a kernel reads an input.

    ``prepare(source, divisor)`` runs once a thread, ``at(prepared, k)`` returns the value for element ``k``.
    """

    prepare: Callable
    at: Callable


@inline
def _itself(source, divisor):
    return source


@inline
def _same(source, k):
    return source


NUMBER = Source(_itself, _same)


@functools.cache
def elements(dtype, compute):
    """Return how to read an array, in the compute dtype."""
    convert = converter(dtype, compute)

    @inline
    def at(source, k):
        return convert(source[k])

    return Source(_itself, at)


@functools.cache
def cell(dtype, compute):
    """Return how to read an array of one element that stands for all, divided by the divisor."""
    convert = converter(dtype, compute)

    @inline
    def prepare(source, divisor):
        return convert(source[0]) / divisor

    return Source(prepare, _same)


@functools.cache
def writer(compute, dtype):
    """Return the function that writes an element of a result; nothing, where there is no dtype."""
    if dtype is None:
        return _skip
    convert = converter(compute, dtype)

    @inline
    def write(destination, k, value):
        destination[k] = convert(value)

    return write


@inline
def _skip(destination, k, value):
    pass


@inline
def offset(k, shape, strides):
    """Return where element ``k`` in C order lies, for strides counted in elements."""
    position = np.int64(0)
    for axis in range(len(shape) - 1, 0, -1):
        position += np.int64(k % shape[axis]) * strides[axis]
        k //= shape[axis]
    return position + np.int64(k) * strides[0]


@functools.cache
def converter(source, dtype):
    """Return the device function that turns an element of one dtype into another, rounded once.

    bfloat16 elements are handled as their bits, which are the upper half of a float32.
    """
    if source.name == "bfloat16":
        return _compose(_from_bfloat16, converter(np.dtype(np.float32), dtype))
    if dtype.name == "bfloat16":
        return _compose(_to_odd_float32, _to_bfloat16) if source.itemsize > 4 else _float32_to_bfloat16
    return _cast(dtype.type)


def _compose(first, second):
    @inline
    def both(x):
        return second(first(x))

    return both


def _cast(kind):
    @inline
    def cast(x):
        return kind(x)

    return cast


@inline
def _from_bfloat16(bits):
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@inline
def _to_bfloat16(x):
    """Round a float32 to the nearest, ties to even."""
    if x != x:
        return np.uint16(0x7FC0)
    bits = x.view(np.uint32)
    tie = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + tie) >> np.uint32(16))


@inline
def _float32_to_bfloat16(x):
    return _to_bfloat16(np.float32(x))


@inline
def _to_odd_float32(x):
    """Round to odd: a second rounding, to fewer bits, then gives what a single one would."""
    bits = np.float64(x).view(np.uint64)
    dropped = np.uint64(0x1FFFFFFF)
    kept = bits & ~dropped
    if bits & dropped:
        kept |= np.uint64(0x20000000)
    return np.float32(kept.view(np.float64))
