"""A stable radix sort of 64-bit keys with an item beside each, and what loops that work together need."""

import functools

import numba
import numpy as np
from numba import prange, types
from numba.extending import overload

from numbarank._cpu.kernels import inline

BUCKETS, DIGITS = 256, 8
INSERTION_BELOW = 40
_SIGN, _SIGN32 = np.uint64(1 << 63), np.uint32(1 << 31)


# only other loops call these, so that nothing is compiled for calls from Python
_INNER = {"error_model": "numpy", "nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def loop(function):
    """Compile a part of loops that keeps to itself."""
    return numba.njit(**_INNER)(function)


def loop_together(is_parallel):
    """Return the decorator for a part of loops in which all threads share the work, or one does it all."""
    return numba.njit(**_INNER, parallel=is_parallel)


@loop
def number_rows(where, weights, rows):
    """Number the rows that take part: those of a mask, if there is one, that weigh something; return how many."""
    size = 0
    for row in range(len(rows)):
        rows[size] = row
        size += (where.size == 0 or where[row]) and (weights.size == 0 or weights[row] > 0)
    return size


def sort_key(number):
    """Return a number of 64 bits that stands in the same order; 0 and -0 have the same. Only for compiled loops."""
    raise TypeError("sort_key works in compiled loops only")


@overload(sort_key)
def _sort_key(number):
    def of_float32(number):
        bits = np.float32(number + np.float32(0)).view(np.uint32)
        return np.uint64(~bits if bits & _SIGN32 else bits | _SIGN32)

    def of_float(number):
        bits = np.float64(number + 0.0).view(np.uint64)
        return ~bits if bits & _SIGN else bits | _SIGN

    def of_signed(number):
        return np.uint64(number) ^ _SIGN

    def of_unsigned(number):
        return number

    if number == types.float32:
        return of_float32
    if isinstance(number, types.Float):
        return of_float
    return of_signed if number.signed else of_unsigned


@loop
def fill_keys(numbers, rows, keys, part, parts):
    """Set a part of the keys to those of the rows' numbers; return the bits in which any differs from the first.

    Without ``rows``, the numbers stand in the order of the keys.
    """
    first, last = part_of(0, len(keys), part, parts)
    key, bits = sort_key(numbers[0 if rows is None else rows[0]]), np.uint64(0)
    for i in range(first, last):
        keys[i] = sort_key(numbers[i if rows is None else rows[i]])
        bits |= keys[i] ^ key
    return bits


@loop
def find_blocks(keys, starts):
    """Note where each block of equal keys starts and where the last one ends; return how many they are."""
    blocks = 0
    for i in range(len(keys)):
        if i == 0 or keys[i] != keys[i - 1]:
            starts[blocks] = i
            blocks += 1
    starts[blocks] = len(keys)
    return blocks


@loop
def weight_of_pairs(rows, weights, starts, blocks):
    """Return the sum of the weights of all pairs of blocks; without weights that is the number of pairs."""
    pairs = below = 0.0
    for block in range(blocks):
        weight = np.float64(starts[block + 1] - starts[block])
        if weights.size > 0:
            weight = 0.0
            for i in range(starts[block], starts[block + 1]):
                weight += weights[rows[i]]
        pairs += below * weight
        below += weight
    return pairs


@inline
def part_of(start, stop, part, parts):
    """Return where one of so many equal parts of a range starts and stops."""
    size = stop - start
    return start + size * part // parts, start + size * (part + 1) // parts


@functools.cache
def sorter(pieces, is_parallel):
    """Return the loop that sorts keys that differ in some bits, and items with them, in so many pieces."""

    @loop_together(is_parallel)
    def sort(keys, items, spare_keys, spare_items, bits):
        size = len(keys)
        if size < INSERTION_BELOW:
            return _insert(keys, items)
        counts = np.empty((pieces, BUCKETS), np.int64)
        is_here = True
        for digit in range(DIGITS):
            if _value(bits, digit) == 0:
                continue
            for piece in prange(pieces):
                part = slice(piece * size // pieces, (piece + 1) * size // pieces)
                _count(keys[part] if is_here else spare_keys[part], digit, counts[piece])
            place = 0
            for value in range(BUCKETS):
                for piece in range(pieces):
                    place, counts[piece, value] = place + counts[piece, value], place
            for piece in prange(pieces):
                part = slice(piece * size // pieces, (piece + 1) * size // pieces)
                if is_here:
                    _scatter(keys[part], items[part], digit, counts[piece], spare_keys, spare_items)
                else:
                    _scatter(spare_keys[part], spare_items[part], digit, counts[piece], keys, items)
            is_here = not is_here
        if not is_here:
            for piece in prange(pieces):
                part = slice(piece * size // pieces, (piece + 1) * size // pieces)
                _copy(spare_keys[part], spare_items[part], keys[part], items[part])

    return sort


@loop
def _count(keys, digit, counts):
    """Count how often a digit has each value."""
    counts[:] = 0
    for key in keys:
        counts[_value(key, digit)] += 1


@loop
def _value(key, digit):
    return key >> np.uint64(8 * digit) & np.uint64(BUCKETS - 1)


@loop
def _insert(keys, items):
    for i in range(1, len(keys)):
        key, item = keys[i], items[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j], items[j] = keys[j - 1], items[j - 1]
            j -= 1
        keys[j], items[j] = key, item


@loop
def _copy(keys, items, to_keys, to_items):
    for k in range(len(keys)):
        to_keys[k], to_items[k] = keys[k], items[k]


@loop
def _scatter(keys, items, digit, places, to_keys, to_items):
    """Move each item to the next place of its digit's value."""
    for k in range(len(keys)):
        key = keys[k]
        value = _value(key, digit)
        place = places[value]
        to_keys[place], to_items[place] = key, items[k]
        places[value] = place + 1
