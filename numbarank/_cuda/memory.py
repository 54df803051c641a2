"""Reading, converting and writing inside kernels: the twin of the CPU backend's file of this name.

A value is read from where it is: an array, a single cell on the device, or a number. Kernels are built from the
functions that are chosen here, so one text serves every combination. Indices are unsigned: signed ones cost a division.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from numbarank._cuda import vectors
from numbarank._cuda.driver import SIMULATING, cuda, inline

_BITS = np.dtype(np.uint16)


class Source(NamedTuple):
    """How a kernel reads an input, a group of elements at a time.

    ``prepare(source, divisor)`` runs once a thread; ``fill(values, prepared, group)`` sets an array to the elements of
    a group, in the compute dtype.
    """

    prepare: Callable
    fill: Callable


@functools.cache
def source(element, compute, width):
    """Return how to read a number (None), or an array: (dtype, whether its one element stands for all)."""
    if element is None:
        return Source(_itself, _repeat(width))
    dtype, is_cell = element
    convert = converter(dtype, compute)

    @inline
    def quotient(source, divisor):
        return convert(source[0]) / divisor

    if is_cell:
        return Source(quotient, _repeat(width))
    return Source(_itself, _fill_simply(width, convert) if SIMULATING or width == 1 else _fill(width, convert))


@functools.cache
def sink(dtype, compute, width):
    """Return the function that writes an array of values as a group of a result; nothing where there is no dtype."""
    if dtype is None:
        return _write_nothing
    convert = converter(compute, dtype)
    return _write_simply(width, convert) if SIMULATING or width == 1 else _write(width, convert, bits_dtype(dtype))


@inline
def _itself(source, divisor):
    return source


@inline
def _write_nothing(destination, group, values):
    pass


def _repeat(width):
    @inline
    def repeat(values, number, group):
        for j in range(width):
            values[j] = number

    return repeat


def _fill_simply(width, convert):
    @inline
    def fill(values, source, group):
        for j in range(width):
            values[j] = convert(source[group * np.uint64(width) + np.uint64(j)])

    return fill


def _write_simply(width, convert):
    @inline
    def write(destination, group, values):
        for j in range(width):
            destination[group * np.uint64(width) + np.uint64(j)] = convert(values[j])

    return write


def _fill(width, convert):
    load = vectors.loader(width)

    @inline
    def fill(values, source, group):
        loaded = load(source, group)
        for j in range(width):
            values[j] = convert(loaded[j])

    return fill


def _write(width, convert, dtype):
    store, element = vectors.storer(width), numba.from_dtype(dtype)

    @inline
    def write(destination, group, values):
        converted = cuda.local.array(width, element)
        for j in range(width):
            converted[j] = convert(values[j])
        store(destination, group, converted)

    return write


def bits_dtype(dtype):
    """Return the dtype that kernels see: bfloat16, which numba does not know, as its bits."""
    return _BITS if dtype.kind == "V" else dtype


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
    if source == dtype:
        return _cast(bits_dtype(dtype).type)
    if source.name in ("float16", "bfloat16"):
        widen = _cast(np.float32) if source.name == "float16" else _from_bfloat16
        return _compose(widen, converter(np.dtype(np.float32), dtype))
    if dtype.name == "bfloat16":
        return _compose(_to_odd_float32, _to_bfloat16) if source.itemsize > 4 else _float32_to_bfloat16
    return _cast(dtype.type)


def _compose(first, second):
    @inline
    def both(x):
        return second(first(x))

    return both


def _cast(number):
    @inline
    def cast(x):
        return number(x)

    return cast


@inline
def _from_bfloat16(bits):
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@inline
def _to_bfloat16(x):
    """Round a float32 to the nearest, ties to even."""
    bits = x.view(np.uint32)
    upper = bits >> np.uint32(16)
    if x != x:
        return np.uint16(upper | np.uint32(0x40))
    return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16))


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
